//! A device of a user: keeps a cursor, sees that no entry is missing or comes twice, pairs answers with requests.

use super::{
    line::{Closed, Line, hello},
    soon,
};
use serde_json::{Value, json};
use std::{collections::VecDeque, net::SocketAddr};
use tokio::net::TcpStream;

/// What a device says when it comes.
#[derive(Clone, Debug)]
pub struct Hello {
    pub address: SocketAddr,
    pub token: String,
    pub device: String,
    pub cursor: Option<u64>,
    pub polling: bool,
    /// Further fields.
    pub more: Value,
}

impl Hello {
    pub const fn polling(mut self) -> Self {
        self.polling = true;
        self
    }

    pub const fn cursor(mut self, cursor: u64) -> Self {
        self.cursor = Some(cursor);
        self
    }

    pub fn with(mut self, more: Value) -> Self {
        self.more = more;
        self
    }

    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// The frame.
    pub fn frame(&self) -> Value {
        hello(&self.token, &self.device, self.cursor, &self.more)
    }

    /// Connects and waits for `welcome`.
    pub async fn attempt(self) -> Result<Device, Closed> {
        let frame = self.frame();
        let line = if self.polling {
            match Line::poll(self.address, &frame).await.ok_or(Closed::Broken)? {
                Ok(line) => line,
                Err(answer) => {
                    let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
                    return Err(Closed::Code(answer.status, code));
                }
            }
        } else {
            let mut line = Line::ws(self.address).await.map_err(|_| Closed::Broken)?;
            line.send(&frame).await?;
            line
        };
        self.welcomed(line).await
    }

    /// The same over a connection that was made in another network.
    pub async fn attempt_over(self, stream: TcpStream) -> Result<Device, Closed> {
        let mut line = Line::ws_over(stream, self.address).await.map_err(|_| Closed::Broken)?;
        line.send(&self.frame()).await?;
        self.welcomed(line).await
    }

    async fn welcomed(self, mut line: Line) -> Result<Device, Closed> {
        loop {
            let frame = line.next().await?;
            match frame["t"].as_str() {
                Some("welcome") => {
                    let at = frame["cursor"].as_u64().unwrap();
                    return Ok(Device {
                        hello: self,
                        line,
                        welcome: frame,
                        at,
                        entries: Vec::new(),
                        inbox: VecDeque::new(),
                        r: 0,
                        acks: true,
                        live: false,
                    });
                }
                // The reason; the close follows.
                Some("err" | "kick") => {}
                _ => panic!("before welcome: {frame}"),
            }
        }
    }

    /// Connects; everything that was missed is in `entries`, and the device is live.
    pub async fn connect(self) -> Device {
        let who = self.clone();
        let mut device =
            soon("welcome", self.attempt()).await.unwrap_or_else(|end| panic!("{who:?}: {end:?}"));
        device.live().await;
        device
    }
}

/// A connected device.
pub struct Device {
    hello: Hello,
    pub line: Line,
    pub welcome: Value,
    /// Its cursor: the last position that it has.
    pub at: u64,
    /// All entries that came, own sends as `ok` frames among them.
    pub entries: Vec<Value>,
    inbox: VecDeque<Value>,
    r: u64,
    /// Whether it acks what it gets.
    pub acks: bool,
    live: bool,
}

impl Device {
    /// Takes one frame off the line into the inbox.
    async fn absorb(&mut self) -> Result<(), Closed> {
        let frame = self.line.next().await?;
        let t = frame["t"].as_str().unwrap_or_default();
        match (t, frame["pos"].as_u64()) {
            ("live", Some(pos)) => {
                assert!(pos >= self.at, "live at {pos}, but {} was sent", self.at);
                self.at = pos;
                self.live = true;
            }
            ("ok", Some(_)) if frame.get("prev").is_none() => {}
            (_, Some(pos)) => {
                assert_eq!(frame["prev"], self.at, "a gap, or twice: {frame}");
                assert!(pos > self.at, "positions grow: {frame}");
                self.at = pos;
                self.entries.push(frame.clone());
                if self.acks {
                    // One that has gone is noticed when the line is read.
                    let _ = self.line.send(&json!({ "t": "ack", "pos": pos })).await;
                }
            }
            _ => {}
        }
        self.inbox.push_back(frame);
        Ok(())
    }

    /// The first frame, not yet taken, that `wanted` picks.
    pub async fn expect(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = soon(what, async {
            let mut seen = 0;
            loop {
                if let Some(i) = (seen..self.inbox.len()).find(|&i| wanted(&self.inbox[i])) {
                    return Ok(self.inbox.remove(i).unwrap());
                }
                seen = self.inbox.len();
                self.absorb().await?;
            }
        });
        found.await.unwrap_or_else(|closed: Closed| panic!("{what}: {closed:?}"))
    }

    /// The next frame of this type.
    pub async fn frame(&mut self, t: &str) -> Value {
        self.expect(t, |frame| frame["t"] == t).await
    }

    /// Waits until the node has sent all there was.
    pub async fn live(&mut self) {
        soon("live", async {
            while !self.live {
                self.absorb().await.unwrap_or_else(|closed| panic!("before live: {closed:?}"));
            }
        })
        .await;
    }

    /// Sends a request without waiting for its answer; gives its number.
    pub async fn ask(&mut self, mut request: Value) -> u64 {
        self.r += 1;
        request["r"] = self.r.into();
        self.line.send(&request).await.unwrap();
        self.r
    }

    /// The answer to request `r`.
    pub async fn answer(&mut self, r: u64) -> Value {
        self.expect("an answer", |frame| frame["r"] == r && frame["t"] != "pong").await
    }

    /// The answer to a request: `ok`, or a panic.
    pub async fn request(&mut self, request: Value) -> Value {
        let r = self.ask(request.clone()).await;
        let answer = self.answer(r).await;
        assert_eq!(answer["t"], "ok", "{request} → {answer}");
        answer
    }

    /// The code of the error that a request is answered with.
    pub async fn refused(&mut self, request: Value) -> String {
        let r = self.ask(request.clone()).await;
        let answer = self.answer(r).await;
        assert_eq!(answer["t"], "err", "{request} → {answer}");
        answer["code"].as_str().unwrap().to_owned()
    }

    /// Sends a text; gives the `ok`.
    pub async fn say(&mut self, to: &str, text: &str) -> Value {
        self.request(letter(to, text)).await
    }

    /// The next message's text.
    pub async fn hears(&mut self) -> String {
        let frame = self.frame("msg").await;
        frame["m"]["content"]["content"].as_str().unwrap_or_else(|| panic!("{frame}")).to_owned()
    }

    /// Sees that what came until now was all: nothing waits in the inbox, and a ping is answered with a pong at once.
    pub async fn quiet(&mut self) {
        self.r += 1;
        let r = self.r;
        self.line.send(&json!({ "t": "ping", "r": r })).await.unwrap();
        self.expect("pong", |frame| frame["t"] == "pong" && frame["r"] == r).await;
        let left: Vec<_> = self.inbox.iter().filter(|frame| frame["t"] != "live").collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// What is in the inbox and was not taken.
    pub fn untaken(&mut self) -> Vec<Value> {
        self.inbox.drain(..).collect()
    }

    /// Texts of all messages in `entries` that came as `msg`.
    pub fn texts(&self) -> Vec<String> {
        texts(self.entries.iter().filter(|entry| entry["t"] == "msg").map(|entry| &entry["m"]))
    }

    /// Goes away without a word, and comes again with its cursor.
    pub fn again(self) -> Hello {
        let at = self.at;
        self.hello.cursor(at)
    }

    /// Says `bye`, waits for the end, and comes again with its cursor.
    pub async fn leave(mut self) -> Hello {
        let _ = self.line.send(&json!({ "t": "bye" })).await;
        self.line.closed().await;
        self.again()
    }

    /// How the session ends.
    pub async fn closed(&mut self) -> Closed {
        self.line.closed().await
    }
}

/// A text message, without `r`; its id is its text.
pub fn letter(to: &str, text: &str) -> Value {
    json!({ "t": "send", "id": text, "kind": 1, "target": to, "type": "RC:TxtMsg", "content": { "content": text } })
}

/// Texts of messages.
pub fn texts<'a>(messages: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    messages
        .into_iter()
        .map(|message| message["content"]["content"].as_str().unwrap_or_default().to_owned())
        .collect()
}
