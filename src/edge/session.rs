//! One session of a device, whatever its transport.
//!
//! Purpose: be the relay's [`Port`] for one device, and hold what waits for it.
//! Flow: the driver and the pager write frames into the outbox and wake the transport; the transport takes
//! chunks, and reports what it hears.
//! Invariants: the lock is held for a few memory copies only, never over an await (P8); frames leave in the order in which they
//! were written; after `end` nothing more is written.

use super::{
    Edge, codes::Code, encode, outbox::Outbox, pager, rate::Buckets, relays, tunnel::near,
    tunnel::wire::Opening,
};
use crate::{
    hub::Port,
    model::{Conversation, DeviceId, Entry, Message, Reign, Stamp, UserKey},
    relay::{Answer, KickReason, NotResumed, Open, Place, Refused, SessionId},
    store::Profile,
};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};
use tokio::sync::Notify;

/// How a session is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// WebSocket.
    WebSocket,
    /// Long polling.
    Polling,
    /// A link: the client is at another node.
    Link,
}

impl Transport {
    /// The word used in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Polling => "polling",
            Self::Link => "link",
        }
    }
}

/// Why a session is over, and with which code its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The client said `bye`.
    Bye,
    /// The node is stopping.
    Leaving,
    /// Something went wrong, or somebody wanted it so.
    Code(Code),
}

impl End {
    /// The WebSocket close code.
    #[must_use]
    pub const fn close(self) -> u16 {
        match self {
            Self::Bye => 1000,
            Self::Leaving => 1001,
            Self::Code(code) => code.close(),
        }
    }

    /// The word in logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bye => "bye",
            Self::Leaving => "leaving",
            Self::Code(code) => code.word(),
        }
    }
}

/// Longest backlog of answers to a session that does not read, as a multiple of `limits.outbox`; pushes stop at once that.
const ANSWERS: usize = 4;

#[derive(Default)]
pub(super) struct State {
    pub outbox: Outbox,
    /// Last position sent.
    pub sent: Stamp,
    /// Last position acked.
    pub acked: Stamp,
    /// The pager waits for an ack of this position before it reads.
    pub gate: Stamp,
    /// Positions that the pager sent and that are not acked.
    pub paged: VecDeque<Stamp>,
    /// The relay pushes.
    live: bool,
    /// There was no room for a push; none is taken until the session has read on.
    full: bool,
    welcomed: bool,
    pub end: Option<End>,
    /// The relay did not let it in, since the mailbox is at another node.
    elsewhere: bool,
    /// What `hello` said and found, until it is let in.
    hello: Option<Box<Hello>>,
    /// The way to its mailbox, when that is at another node.
    pub carrier: Option<Box<near::Carrier>>,
}

#[derive(Default)]
struct Hello {
    profile: Profile,
    open: Option<Open>,
}

/// One session.
pub struct Session {
    /// Its number.
    pub id: SessionId,
    /// Its user.
    pub user: UserKey,
    /// Its device.
    pub device: DeviceId,
    /// How it is carried.
    pub transport: Transport,
    /// Where it comes from.
    pub address: IpAddr,
    /// Entries that may be on their way.
    pub window: usize,
    pub(super) edge: Arc<Edge>,
    pub(super) state: Mutex<State>,
    pub(super) rate: Mutex<Buckets>,
    /// Wakes the transport when there is something to write.
    pub(super) waker: AtomicWaker,
    /// Wakes the pager when the client has acked or room was made.
    pub(super) room: Notify,
    /// Requests being answered beside the stream.
    pub(super) beside: AtomicU32,
    /// Seconds since the edge started, when something was last heard.
    heard: AtomicU32,
    /// Seconds since the edge started, when the transport last made room while something waited; 0: nothing waits.
    stuck: AtomicU32,
    cut: AtomicBool,
    /// The transport is to ask whether the client is still there.
    probe: AtomicBool,
    me: Weak<Self>,
}

/// What a new session is made of.
pub struct Draft {
    /// Its user.
    pub user: UserKey,
    /// Its device.
    pub device: DeviceId,
    /// How it is carried.
    pub transport: Transport,
    /// Where it comes from.
    pub address: IpAddr,
    /// Entries that may be on their way.
    pub window: usize,
    /// Name and portrait.
    pub profile: Profile,
}

impl Session {
    /// A session that is not yet let in.
    pub fn new(edge: &Arc<Edge>, draft: Draft) -> Arc<Self> {
        let limits = &edge.config.limits;
        Arc::new_cyclic(|me| Self {
            id: edge.hub.next_session(),
            user: draft.user,
            device: draft.device,
            transport: draft.transport,
            address: draft.address,
            window: draft.window,
            edge: edge.clone(),
            state: Mutex::new(State {
                hello: Some(Box::new(Hello { profile: draft.profile, open: None })),
                ..State::default()
            }),
            rate: Mutex::new(Buckets::new(limits)),
            waker: AtomicWaker::new(),
            room: Notify::new(),
            beside: AtomicU32::new(0),
            heard: AtomicU32::new(edge.seconds()),
            stuck: AtomicU32::new(0),
            cut: AtomicBool::new(false),
            probe: AtomicBool::new(false),
            me: me.clone(),
        })
    }

    /// Something was heard from the client.
    pub fn hear(&self) {
        self.heard.store(self.edge.seconds(), Ordering::Relaxed);
    }

    /// Seconds since anything was heard, and since bytes that wait last moved.
    pub fn silence(&self) -> (u32, u32) {
        let now = self.edge.seconds();
        let stuck = self.stuck.load(Ordering::Relaxed);
        let heard = now.saturating_sub(self.heard.load(Ordering::Relaxed));
        (heard, if stuck == 0 { 0 } else { now.saturating_sub(stuck) })
    }

    /// Writes a frame and wakes the transport.
    pub fn write(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        self.put(&mut state, write);
    }

    fn put(&self, state: &mut State, write: impl FnOnce(&mut Vec<u8>)) {
        if state.end.is_some() {
            return;
        }
        let idle = state.outbox.is_empty();
        state.outbox.frame(write);
        self.edge.hub.metrics().frames_out.inc();
        if state.outbox.bytes() > self.edge.config.limits.outbox.saturating_mul(ANSWERS) {
            self.edge.hub.metrics().outbox_overflows.inc();
            state.end = Some(End::Code(Code::Busy));
            self.room.notify_one();
        }
        if idle {
            self.stuck.store(self.edge.seconds().max(1), Ordering::Relaxed);
            self.waker.wake();
        }
    }

    /// The next chunk to write, or why there will be none any more.
    pub fn take(&self) -> (Option<Vec<u8>>, Option<End>) {
        let mut state = self.state.lock();
        let chunk = state.outbox.take();
        let waits = !state.outbox.is_empty();
        let end = state.end;
        drop(state);
        if let Some(chunk) = &chunk {
            near::took(self, chunk.len());
            self.stuck.store(if waits { self.edge.seconds().max(1) } else { 0 }, Ordering::Relaxed);
            self.room.notify_one();
        }
        (chunk, end)
    }

    /// Whether a chunk or the end waits for the transport.
    pub fn has_news(&self) -> bool {
        let state = self.state.lock();
        !state.outbox.is_empty() || state.end.is_some()
    }

    /// Why the session is over, if it is.
    pub fn ended(&self) -> Option<End> {
        self.state.lock().end
    }

    /// Whether the relay has let the session in.
    pub fn is_welcomed(&self) -> bool {
        self.state.lock().welcomed
    }

    /// Ends the session; the client is told why.
    pub fn end(&self, end: End, msg: &str) {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return;
        }
        if let End::Code(code) = end {
            self.put(&mut state, |out| {
                encode::Object::frame(out, "kick").text("code", code.word()).text("msg", msg).end();
            });
        }
        state.end = Some(end);
        drop(state);
        self.waker.wake();
        self.room.notify_one();
    }

    /// The client is to go to `url`, or to any other relay, after so many milliseconds; its session here is over.
    pub fn move_on(&self, url: &str, after: u64) {
        self.ask_away(url, after);
        self.end(End::Leaving, "");
    }

    /// The client is to go to `url`, or to any other relay, after so many milliseconds; meanwhile its session goes on.
    pub fn ask_away(&self, url: &str, after: u64) {
        let mut state = self.state.lock();
        self.put(&mut state, |out| {
            let mut object = encode::Object::frame(out, "move");
            object.number("after", after);
            if !url.is_empty() {
                object.text("url", url);
            }
            object.end();
        });
    }

    /// A message of the node that has the mailbox, for the client: an array of frames.
    pub fn hand_down(&self, chunk: &[u8]) {
        let inner = chunk.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or_default();
        if inner.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        state.welcomed = true;
        state.hello = None;
        self.put(&mut state, |out| out.extend_from_slice(inner));
    }

    /// The session is over at the node that has the mailbox, which has told the client why.
    pub fn finish(&self, end: End) {
        let told = self.is_welcomed();
        if let (End::Code(code), false) = (end, told) {
            return self.end(end, code.word());
        }
        let mut state = self.state.lock();
        state.end.get_or_insert(end);
        drop(state);
        self.waker.wake();
        self.room.notify_one();
    }

    /// Whether the relay did not let it in since the mailbox is at another node.
    pub fn was_elsewhere(&self) -> bool {
        self.state.lock().elsewhere
    }

    /// What it asks of the relay, in case it has to be asked of another.
    pub fn asks(&self, open: Open) {
        if let Some(hello) = &mut self.state.lock().hello {
            hello.open = Some(open);
        }
    }

    /// Has the transport ask whether the client is still there. Browsers answer by themselves, also for hidden
    /// pages, whose timers they slow down to a tick a minute.
    pub fn probe(&self) {
        self.probe.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the transport is to ask now.
    pub fn take_probe(&self) -> bool {
        self.probe.load(Ordering::Acquire) && self.probe.swap(false, Ordering::AcqRel)
    }

    /// Whether frames wait for the transport.
    pub fn has_frames(&self) -> bool {
        !self.state.lock().outbox.is_empty()
    }

    /// Gives up on a session that is over: what it was to be told is dropped, its transport ends at once.
    pub fn cut(&self) {
        self.state.lock().outbox = Outbox::default();
        self.cut.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the transport is to end at once.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// The device has handled all up to `pos`.
    pub fn acked(&self, pos: Stamp) {
        let mut state = self.state.lock();
        state.acked = state.acked.max(pos);
        while state.paged.front().is_some_and(|first| *first <= pos) {
            state.paged.pop_front();
        }
        if state.paged.is_empty() {
            state.paged = VecDeque::new();
        }
        let waits = !state.live;
        drop(state);
        if waits {
            self.room.notify_one();
        }
    }

    /// Refuses request `r`, or a frame that has no number.
    pub fn refuse(&self, r: impl Into<Option<u64>>, code: Code, msg: &str, retry_after: Option<u64>) {
        let r = r.into();
        self.edge.hub.metrics().refused.get(code.word()).inc();
        self.write(|out| encode::error(out, r, code.word(), msg, retry_after));
    }

    /// Answers request `r`; `fields` adds what it is about.
    pub fn answer(&self, r: u64, fields: impl FnOnce(&mut encode::Object<'_>)) {
        self.write(|out| {
            let mut object = encode::Object::frame(out, "ok");
            object.number("r", r);
            fields(&mut object);
            object.end();
        });
    }

    fn start_pager(&self) {
        if let Some(me) = self.me.upgrade() {
            self.edge.tracker.spawn(pager::read_on(me));
        }
    }
}

impl Port for Session {
    fn welcome(&self, start: Stamp, why: Option<NotResumed>, reign: Option<Reign>) {
        let mut state = self.state.lock();
        (state.sent, state.acked, state.gate) = (start, start, Stamp::ZERO);
        state.welcomed = true;
        let profile = state.hello.take().map(|hello| hello.profile).unwrap_or_default();
        self.put(&mut state, |out| {
            let config = &self.edge.config;
            let mut object = encode::Object::frame(out, "welcome");
            object
                .number("v", 1)
                .text("session", &format!("{}-{}", config.node, self.id.0))
                .text("user", self.user.id())
                .text("name", &profile.name)
                .text("portrait", &profile.portrait)
                .text("node", &config.node)
                .number("time", self.edge.hub.now().millis())
                .number("cursor", start.0)
                .bool("resumed", why.is_none_or(|why| why == NotResumed::Forked));
            if let Some(reign) = reign {
                object.text("epoch", &reign.to_string());
            }
            if let Some(why) = why {
                object.text("why", encode::why(why));
            }
            object.number("ping", config.sessions.ping.as_secs().max(1));
            let limits = object.key("limits");
            encode::Object::begin(limits)
                .number("content", config.limits.content as u64)
                .number("frame", config.limits.frame as u64)
                .number("window", self.window as u64)
                .end();
            encode::list(object.key("relays"), &relays::others(&self.edge), relays::write);
            object.end();
        });
        drop(state);
        self.start_pager();
    }

    fn turned_away(&self, why: &Refused) {
        if *why == Refused::Elsewhere {
            self.state.lock().elsewhere = true;
        }
        let (code, _) = Code::of(why);
        self.edge.hub.metrics().refused.get(code.word()).inc();
        self.end(End::Code(code), &why.to_string());
    }

    fn live(&self, pos: Stamp) {
        let mut state = self.state.lock();
        state.live = true;
        self.put(&mut state, |out| encode::Object::frame(out, "live").number("pos", pos.0).end());
    }

    fn read_on(&self) {
        let mut state = self.state.lock();
        state.full = false;
        // One that was live has as much on its way as it may: it has to ack before it gets more.
        if std::mem::take(&mut state.live) {
            state.gate = state.sent;
        }
        drop(state);
        self.start_pager();
    }

    fn push(&self, prev: Stamp, entry: &Entry) -> bool {
        let mut state = self.state.lock();
        if state.full || state.outbox.bytes() > self.edge.config.limits.outbox {
            state.full = true;
            return false;
        }
        state.sent = entry.pos;
        self.put(&mut state, |out| encode::entry(out, &self.user, prev, entry));
        true
    }

    fn pass(&self, message: &Message) {
        let mut state = self.state.lock();
        if state.outbox.bytes() <= self.edge.config.limits.outbox {
            self.put(&mut state, |out| {
                let mut object = encode::Object::frame(out, "msg");
                encode::message(object.key("m"), message, &self.user);
                object.end();
            });
        }
    }

    fn delivered(&self, conversation: &Conversation, at: Stamp) {
        let mut state = self.state.lock();
        if state.outbox.bytes() <= self.edge.config.limits.outbox {
            self.put(&mut state, |out| {
                encode::Object::frame(out, "receipt")
                    .text("what", "delivered")
                    .conversation(conversation)
                    .number("at", at.0)
                    .end();
            });
        }
    }

    fn presence(&self, user: &UserKey, online: bool) {
        self.write(|out| {
            encode::Object::frame(out, "presence").text("user", user.id()).bool("online", online).end();
        });
    }

    fn kick(&self, why: &KickReason) {
        match why {
            KickReason::Replaced => {
                self.end(End::Code(Code::Replaced), "another session of this device took over");
            }
            KickReason::Moved { to } => self.move_on(&self.edge.tunnels.url(*to), 0),
            KickReason::Blocked { .. } => self.end(End::Code(Code::UserBlocked), "the user was blocked"),
        }
    }

    fn carry(&self, to: crate::model::NodeId) {
        let open = self.state.lock().hello.take().and_then(|hello| hello.open);
        if let (Some(me), Some(open)) = (self.me.upgrade(), open) {
            near::carry(&me, to, Opening::new(open, self.address));
        }
    }

    fn reply(&self, r: u64, answer: &Result<Answer, Refused>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => {
                let (code, retry) = Code::of(why);
                return self.refuse(r, code, &why.to_string(), retry);
            }
        };
        let mut state = self.state.lock();
        // An entry that was not taken lies before this one: the client gets both with its next page.
        let place = answer
            .place()
            .map(|place| Place { prev: place.prev.filter(|prev| *prev == state.sent), ..place });
        if let Some(Place { pos, prev: Some(_) }) = place {
            state.sent = pos;
        }
        self.put(&mut state, |out| {
            let mut object = encode::Object::frame(out, "ok");
            object.number("r", r);
            match answer {
                Answer::Sent { id, at, dup, .. } => {
                    object.id("id", *id).number("at", at.0).place(place);
                    if *dup {
                        object.bool("dup", true);
                    }
                }
                Answer::Passed { id, at } => {
                    object.id("id", *id).number("at", at.0);
                }
                Answer::Read { unread, .. } => {
                    object.number("unread", (*unread).into()).place(place);
                }
                Answer::Recalled { .. } => {
                    object.place(place);
                }
                Answer::Unread(unread) => {
                    object.number("unread", *unread);
                }
                // Of the commands that sessions ask directly, only `watch` is answered with users.
                Answer::Users(online) => {
                    object.texts("online", online);
                }
                Answer::Done
                | Answer::Conversations(..)
                | Answer::Conversation(_)
                | Answer::Found(_)
                | Answer::Blocked(_) => {}
            }
            object.end();
        });
    }
}
