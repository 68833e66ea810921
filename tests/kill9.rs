//! `kill -9`, again and again, under load: what was acknowledged is there, once, and everybody agrees.
//!
//! Eight pairs chat with the real program, each user on one device that writes and one that only listens. Sends without an
//! answer are sent again under the same id after each reconnect; cursors are kept by the devices. In the end fresh
//! devices read all mailboxes from the beginning. `HONGYAN_SEED` replays all choices (not the scheduling).

mod common;

use common::{Choices, Closed, Hello, Line, Serving};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

const PAIRS: u64 = 8;
const KILLS: u64 = 20;
/// Sends under way at a time.
const IN_FLIGHT: usize = 12;

/// An entry as a device has it: position, message id.
type Seen = Vec<(u64, String)>;

/// One device of one user, over all its connections.
struct Client {
    hello: Hello,
    peer: String,
    writes: bool,
    polls: bool,
    choices: Choices,
    cursor: u64,
    seen: Seen,
    /// Sends without an answer, by id.
    open: BTreeMap<String, Value>,
    /// Answered sends: message id, time.
    acked: BTreeMap<String, (String, u64)>,
    sent: u64,
    reconnects: u64,
}

/// What all clients share.
struct Game {
    /// No new sends; finish what is open.
    last_round: AtomicBool,
    acked: AtomicU64,
}

impl Client {
    async fn play(mut self, game: Arc<Game>) -> Self {
        loop {
            match self.session(&game).await {
                Ok(()) => return self,
                Err(Closed::Broken) => self.reconnects += 1,
                Err(Closed::Code(code, why)) => {
                    // A polling session that the node no longer knows; anything else is a fault.
                    assert_eq!((code, &*why), (404, "session_gone"), "{}", self.hello.device);
                    self.reconnects += 1;
                }
            }
            tokio::time::sleep(Duration::from_millis(self.choices.of(2..20))).await;
        }
    }

    /// One connection: ends well when all is done.
    async fn session(&mut self, game: &Game) -> Result<(), Closed> {
        if self.polls {
            self.hello.polling = self.choices.of(0..2) == 0;
        }
        let frame = self.hello.clone().cursor(self.cursor).with(json!({ "window": 64 })).frame();
        let mut line = self.open_line(&frame).await?;
        let (mut live, mut unacked) = (false, 0_u64);
        // Whatever was open may or may not have been stored: the same ids again.
        let again: Vec<Value> = self.open.values().cloned().collect();
        let mut welcomed = false;
        loop {
            let done = game.last_round.load(Ordering::Relaxed) && live && self.open.is_empty();
            let wait = Duration::from_millis(if self.writes { self.choices.of(1..12) } else { 50 });
            match tokio::time::timeout(wait, line.next()).await {
                Ok(frame) => self.take(&frame?, &mut live, &mut unacked, game),
                Err(_) if done => {
                    line.send(&json!({ "t": "ack", "pos": self.cursor })).await?;
                    // A mailbox can still grow by what the peer sends last: who leaves now reads on at the end.
                    return Ok(());
                }
                Err(_) => {}
            }
            if live && !welcomed {
                welcomed = true;
                for chunk in again.chunks(7) {
                    line.send(&chunk.into()).await?;
                }
            }
            if welcomed
                && self.writes
                && !game.last_round.load(Ordering::Relaxed)
                && self.open.len() < IN_FLIGHT
            {
                let send = self.letter();
                line.send(&send).await?;
            }
            if unacked >= 20 || (unacked > 0 && self.choices.of(0..4) == 0) {
                line.send(&json!({ "t": "ack", "pos": self.cursor })).await?;
                unacked = 0;
            }
        }
    }

    async fn open_line(&self, frame: &Value) -> Result<Line, Closed> {
        if self.hello.polling {
            return match Line::poll(self.hello.address, frame).await.ok_or(Closed::Broken)? {
                Ok(line) => Ok(line),
                Err(answer) => panic!("hello refused: {answer:?}"),
            };
        }
        let mut line = Line::ws(self.hello.address).await.map_err(|_| Closed::Broken)?;
        line.send(frame).await?;
        Ok(line)
    }

    fn letter(&mut self) -> Value {
        self.sent += 1;
        let id = format!("{}-{}", self.hello.device, self.sent);
        let size = [8, 60, 400, 9_000][self.choices.of(0..4) as usize];
        let send = json!({ "t": "send", "r": self.sent, "id": id, "kind": 1, "target": self.peer, "type": "RC:TxtMsg",
            "content": { "content": "x".repeat(size) } });
        self.open.insert(id, send.clone());
        send
    }

    fn take(&mut self, frame: &Value, live: &mut bool, unacked: &mut u64, game: &Game) {
        match frame["t"].as_str().unwrap() {
            "welcome" => {
                assert!(frame["resumed"] == true || self.cursor == 0, "{frame}");
                assert_eq!(frame["cursor"], self.cursor);
            }
            "live" => {
                assert_eq!(frame["pos"], self.cursor, "all came before live");
                *live = true;
            }
            "msg" => {
                self.entry(frame, frame["m"]["id"].as_str().unwrap());
                *unacked += 1;
            }
            "ok" => {
                let r = frame["r"].as_u64().unwrap();
                let id = format!("{}-{r}", self.hello.device);
                assert!(self.open.remove(&id).is_some(), "an answer that nobody waits for: {frame}");
                let message = frame["id"].as_str().unwrap();
                self.acked.insert(id, (message.to_owned(), frame["at"].as_u64().unwrap()));
                game.acked.fetch_add(1, Ordering::Relaxed);
                if frame["prev"].is_u64() {
                    self.entry(frame, message);
                    *unacked += 1;
                }
            }
            "receipt" | "pong" => {}
            _ => panic!("{frame}"),
        }
    }

    fn entry(&mut self, frame: &Value, id: &str) {
        let pos = frame["pos"].as_u64().unwrap();
        assert_eq!(frame["prev"], self.cursor, "{}: a gap, or twice: {frame}", self.hello.device);
        assert!(pos > self.cursor, "{}: positions grow: {frame}", self.hello.device);
        self.cursor = pos;
        self.seen.push((pos, id.to_owned()));
    }
}

/// The whole mailbox, as a device sees it that was never here.
async fn mailbox(serving: &Serving, user: &str) -> Seen {
    let device = serving.device(user, "fresh").cursor(0).connect().await;
    assert_eq!(device.welcome["resumed"], true);
    device
        .entries
        .iter()
        .map(|entry| (entry["pos"].as_u64().unwrap(), entry["m"]["id"].as_str().unwrap().to_owned()))
        .collect()
}

/// Ids of a conversation's messages, oldest first.
async fn history(serving: &Serving, user: &str, target: &str) -> Vec<String> {
    let mut device = serving.device(user, "reader").connect().await;
    let (mut after, mut ids) = (json!(0), Vec::new());
    loop {
        let ask = json!({ "t": "history", "kind": 1, "target": target, "after": after, "limit": 100 });
        let page = device.request(ask).await;
        for message in page["messages"].as_array().unwrap() {
            ids.push(message["id"].as_str().unwrap().to_owned());
            after = message["at"].clone();
        }
        if page["more"] == false {
            return ids;
        }
    }
}

/// Lets a device read what came after it left; gives all that it has seen over its life.
async fn read_on(client: &Client) -> Seen {
    let mut seen = client.seen.clone();
    let device = client.hello.clone().cursor(client.cursor).connect().await;
    assert_eq!(device.welcome["resumed"], true);
    seen.extend(
        device
            .entries
            .iter()
            .map(|entry| (entry["pos"].as_u64().unwrap(), entry["m"]["id"].as_str().unwrap().to_owned())),
    );
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_twenty_kills_once_and_in_one_order() {
    let seed = std::env::var("HONGYAN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | common::now_ms() & 0xf_ffff);
    println!("HONGYAN_SEED={seed}");
    let mut choices = Choices::new(seed);

    let mut serving = Serving::start("[limits]\nsends_per_second = 0\nframes_per_second = 0\n");
    let game = Arc::new(Game { last_round: AtomicBool::new(false), acked: AtomicU64::new(0) });
    let mut playing = Vec::new();
    for pair in 0..PAIRS {
        for (user, peer) in
            [(format!("a{pair}"), format!("b{pair}")), (format!("b{pair}"), format!("a{pair}"))]
        {
            for writes in [true, false] {
                let device = format!("{user}-{}", if writes { "writes" } else { "listens" });
                let client = Client {
                    hello: serving.device(&user, &device),
                    peer: peer.clone(),
                    writes,
                    polls: pair == 0,
                    choices: Choices::new(choices.next()),
                    cursor: 0,
                    seen: Vec::new(),
                    open: BTreeMap::new(),
                    acked: BTreeMap::new(),
                    sent: 0,
                    reconnects: 0,
                };
                playing.push((user.clone(), tokio::spawn(client.play(game.clone()))));
            }
        }
    }
    for kill in 0..KILLS {
        let before = game.acked.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(choices.of(30..700))).await;
        // Not before something was acknowledged in this life: there has to be something to lose.
        common::until("sends are acknowledged", async || game.acked.load(Ordering::Relaxed) > before).await;
        tokio::task::block_in_place(|| {
            serving.kill();
            serving.restart();
        });
        assert!(!serving.log().contains("panicked"), "after kill {kill}: {}", serving.log());
    }
    game.last_round.store(true, Ordering::Relaxed);
    let mut clients: BTreeMap<String, Vec<Client>> = BTreeMap::new();
    for (user, task) in playing {
        clients.entry(user).or_default().push(common::soon("a client's end", task).await.unwrap());
    }
    assert!(!serving.log().contains("panicked"), "{}", serving.log());
    check(&serving, &clients).await;

    let acked: usize = clients.values().flatten().map(|client| client.acked.len()).sum();
    let reconnects: u64 = clients.values().flatten().map(|client| client.reconnects).sum();
    println!("{acked} messages, {reconnects} reconnects");
    assert!(acked as u64 > KILLS * PAIRS, "hardly anything was sent: {acked}");
    assert!(reconnects > KILLS * PAIRS, "the kills were hardly felt: {reconnects}");
}

async fn check(serving: &Serving, clients: &BTreeMap<String, Vec<Client>>) {
    for (user, devices) in clients {
        let peer = &devices[0].peer;
        let mailbox = mailbox(serving, user).await;
        assert!(mailbox.windows(2).all(|two| two[0].0 < two[1].0), "{user}: positions grow");
        let ids: Vec<_> = mailbox.iter().map(|(_, id)| id.clone()).collect();
        let single: BTreeSet<_> = ids.iter().collect();
        assert_eq!(single.len(), ids.len(), "{user}: something is there twice");

        // What was sent by both, and nothing else: everything unanswered was sent again until it was answered.
        let mut want = BTreeSet::new();
        for client in devices.iter().chain(&clients[peer]) {
            assert!(client.open.is_empty());
            assert_eq!(
                client.acked.len() as u64,
                client.sent,
                "{}: each send has its answer",
                client.hello.device
            );
            for (cid, (id, _)) in &client.acked {
                assert!(single.contains(id), "{cid} was acknowledged and is not in {user}'s mailbox");
                want.insert(id);
            }
        }
        assert_eq!(want, single, "{user}: what is there was sent");

        for client in devices {
            assert_eq!(read_on(client).await, mailbox, "{} and the mailbox differ", client.hello.device);
        }
        assert_eq!(history(serving, user, peer).await, ids, "{user}: history and mailbox differ");
    }
}
