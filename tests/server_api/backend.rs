//! An app's back end, and devices of its users, around a hub whose store is in memory.

use axum::{
    Router,
    body::Body,
    http::{Request, header::CONTENT_TYPE, request::Builder},
};
use hongyan::{
    api::{ApiState, Options, auth, router},
    apps::{App, Apps, SharedApps},
    hub::{Hub, HubOptions, Port},
    metrics::Metrics,
    model::{Conversation, Entry, Message, NodeId, Reign, Stamp, UserKey},
    relay::{Answer, Input, KickReason, Limits, NotResumed, Open, Refused},
    store::memory::MemoryStore,
};
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

pub const KEY: &str = "app1";
pub const SECRET: &str = "s3cr3t-example";
pub const FORM: &str = "application/x-www-form-urlencoded";

/// An app's back end.
pub struct Backend {
    pub hub: Hub,
    pub apps: SharedApps,
    pub router: Router,
}

/// What came back: the HTTP status and the envelope.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
}

impl Reply {
    pub fn code(&self) -> u64 {
        self.body["code"].as_u64().expect("a number")
    }
}

impl Backend {
    pub async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        let hub_options = HubOptions::alone(64, Limits::default());
        let (hub, _end) = Hub::start(
            Arc::new(MemoryStore::default()),
            hub_options,
            Arc::new(Metrics::default()),
            &TaskTracker::new(),
        )
        .await
        .unwrap();
        let locked = App { disabled: true, ..App::new("locked", SECRET) };
        let apps = SharedApps::new(Apps::new([App::new(KEY, SECRET), locked]).unwrap());
        let router = router(ApiState { hub: hub.clone(), apps: apps.clone(), options });
        Self { hub, apps, router }
    }

    /// A signed request, with plain header names.
    pub fn request(path: &str, media: &str) -> Builder {
        let signature = signature("14314", "1700000000");
        Request::post(path)
            .header(CONTENT_TYPE, media)
            .header("App-Key", KEY)
            .header("Nonce", "14314")
            .header("Timestamp", "1700000000")
            .header("Signature", signature)
    }

    /// The status and the text of the answer.
    pub async fn send(&self, request: Request<Body>) -> (u16, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    pub async fn reply(&self, request: Request<Body>) -> Reply {
        let (status, body) = self.send(request).await;
        Reply { status, body: serde_json::from_str(&body).unwrap() }
    }

    /// A call with a form.
    pub async fn post(&self, path: &str, form: impl Into<Body>) -> Reply {
        self.reply(Self::request(path, FORM).body(form.into()).unwrap()).await
    }

    /// A call with a form that has to succeed; the envelope.
    pub async fn ok(&self, path: &str, form: impl Into<Body>) -> Value {
        let path = format!("/{path}.json");
        let reply = self.post(&path, form).await;
        assert_eq!((reply.status, reply.code()), (200, 200), "{path}: {reply:?}");
        reply.body
    }

    /// A call with a form that has to fail, with everything that an error has; status and code.
    pub async fn refused(&self, path: &str, form: impl Into<Body>) -> (u16, u64) {
        let reply = self.post(path, form).await;
        assert!(reply.body["errorMessage"].is_string(), "{reply:?}");
        assert_eq!(reply.body["url"], path);
        (reply.status, reply.code())
    }

    /// All that stands in a user's mailbox.
    pub async fn mailbox(&self, id: &str) -> Vec<Entry> {
        let user = user(id);
        let read = move |store: &dyn hongyan::store::Store| {
            store.entries(&user, Stamp::ZERO, 10_000, usize::MAX).map(|page| page.entries)
        };
        self.hub.read(read).await.unwrap()
    }

    /// A device of a user, live; or why it was not let in.
    pub async fn connect(&self, id: &str, token_issued: Stamp) -> Result<Device, Refused> {
        let session = self.hub.next_session();
        let (events, mut received) = mpsc::unbounded_channel();
        let open = Open {
            session,
            user: user(id),
            device: "phone".into(),
            token_issued,
            cursor: None,
            reign: None,
            window: 100,
            delivered: false,
            carried: false,
        };
        self.hub.open(open, Arc::new(Phone(Mutex::new(events)))).await.unwrap();
        loop {
            match received.recv().await.unwrap() {
                Event::Welcome(at) => {
                    self.hub.submit(vec![Input::Attach { session, at }]).await.unwrap();
                }
                Event::TurnedAway(why) => return Err(why),
                Event::Live => return Ok(Device(received)),
                other => panic!("{other:?}"),
            }
        }
    }
}

pub fn user(id: &str) -> UserKey {
    UserKey::new(KEY, id).unwrap()
}

pub fn signature(nonce: &str, timestamp: &str) -> String {
    let mut text = String::new();
    for byte in auth::signature(SECRET, nonce, timestamp) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// What a device hears.
#[derive(Debug)]
pub enum Event {
    Welcome(Stamp),
    TurnedAway(Refused),
    Live,
    Entry(Entry),
    Passed(Message),
    Kicked(KickReason),
}

/// A live device.
pub struct Device(mpsc::UnboundedReceiver<Event>);

impl Device {
    pub async fn next(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(5), self.0.recv()).await.unwrap().unwrap()
    }

    /// Whether nothing has been heard.
    pub fn silent(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

struct Phone(Mutex<mpsc::UnboundedSender<Event>>);

impl Phone {
    fn hear(&self, event: Event) {
        let _ = self.0.lock().unwrap().send(event);
    }
}

impl Port for Phone {
    fn carry(&self, _: NodeId) {}
    fn welcome(&self, start: Stamp, _why: Option<NotResumed>, _reign: Option<Reign>) {
        self.hear(Event::Welcome(start));
    }
    fn turned_away(&self, why: &Refused) {
        self.hear(Event::TurnedAway(why.clone()));
    }
    fn live(&self, _pos: Stamp) {
        self.hear(Event::Live);
    }
    fn read_on(&self) {
        panic!("devices here connect before anything is sent");
    }
    fn push(&self, _prev: Stamp, entry: &Entry) -> bool {
        self.hear(Event::Entry(entry.clone()));
        true
    }
    fn pass(&self, message: &Message) {
        self.hear(Event::Passed(message.clone()));
    }
    fn delivered(&self, _conversation: &Conversation, _at: Stamp) {}
    fn presence(&self, _user: &UserKey, _online: bool) {}
    fn kick(&self, why: &KickReason) {
        self.hear(Event::Kicked(why.clone()));
    }
    fn reply(&self, _r: u64, _answer: &Result<Answer, Refused>) {}
}
