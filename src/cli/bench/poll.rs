//! The polling transport: one connection that asks, one that tells.
//!
//! HTTP/1.1 with connections that are kept; as little of it as our own server needs.

use super::{
    client::{Client, Peer as _},
    load::Place,
    pump, scan,
    tally::Shared,
};
use anyhow::{Context as _, anyhow, bail};
use std::{cell::RefCell, future::poll_fn, rc::Rc, task::Poll};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
};

/// Seconds that a poll waits.
const WAIT: u64 = 25;

/// A connection over which one request goes at a time.
struct Http {
    stream: TcpStream,
    host: String,
    /// The last answer, and the beginning of what follows.
    buffer: Vec<u8>,
    request: Vec<u8>,
}

impl Http {
    fn new(stream: TcpStream, host: &str) -> Self {
        Self { stream, host: host.to_owned(), buffer: Vec::new(), request: Vec::new() }
    }

    /// Asks and gives the body of the answer, which must be good.
    async fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<&[u8]> {
        self.request.clear();
        let begin = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        self.request.extend_from_slice(begin.as_bytes());
        self.request.extend_from_slice(body);
        self.stream.write_all(&self.request).await.context("a connection broke")?;
        self.buffer.clear();
        let (status, start, len) = loop {
            if let Some(found) = head(&self.buffer)? {
                break found;
            }
            self.more().await?;
        };
        while self.buffer.len() < start + len {
            self.more().await?;
        }
        let body = &self.buffer[start..start + len];
        if status != 200 {
            bail!("{method} is answered with {status}: {}", String::from_utf8_lossy(body));
        }
        Ok(body)
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        if self.buffer.len() > 32 << 20 {
            bail!("an answer of over 32 MiB");
        }
        self.buffer.reserve(8_192);
        let read = self.stream.read_buf(&mut self.buffer).await.context("a connection broke")?;
        if read == 0 {
            bail!("the server closed a connection");
        }
        Ok(())
    }
}

/// Status, where the body begins, and its length; `None` when the head is not all there.
fn head(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let length = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    };
    match (status, lines.find_map(length)) {
        (Some(status), Some(len)) => Ok(Some((status, end + 4, len))),
        _ => Err(anyhow!("an answer without a status or a length: {head}")),
    }
}

/// What both connections of a session share.
struct Common {
    shared: Rc<Shared>,
    client: RefCell<Client>,
    /// The client may have something to say.
    news: Notify,
    path: String,
}

/// A session that polls.
pub(super) struct Session {
    common: Common,
    asks: Http,
    tells: Http,
    seq: u64,
}

/// Opens a session and waits until it is live.
///
/// # Errors
/// When it does not come to that.
pub(super) async fn open(
    place: &Place,
    index: usize,
    shared: Rc<Shared>,
    mut client: Client,
) -> anyhow::Result<Session> {
    let mut tells = Http::new(pump::connect(place.address, 2 * index).await?, &place.host);
    let asks = Http::new(pump::connect(place.address, 2 * index + 1).await?, &place.host);
    let mut message = Vec::new();
    client.put(shared.now(), &mut message);
    let answer = tells.ask("POST", "/v1/poll", &message).await?;
    let mut sid = String::new();
    let seq = answered(answer, &mut client, &shared, |of| sid = String::from_utf8_lossy(of).into_owned())?;
    let (client, news) = (RefCell::new(client), Notify::new());
    let path = format!("/v1/poll/{sid}");
    let mut session = Session { common: Common { shared, client, news, path }, asks, tells, seq };
    while !session.common.client.borrow().is_live() {
        session.seq = session.common.ask(&mut session.asks, session.seq).await?;
    }
    Ok(session)
}

/// Hands an answer's frames to the client; gives its number.
fn answered(
    answer: &[u8],
    client: &mut Client,
    shared: &Shared,
    mut sid: impl FnMut(&[u8]),
) -> anyhow::Result<u64> {
    let (mut seq, mut frames) = (None, &b""[..]);
    scan::frames(answer, |found| {
        sid(found.sid);
        (seq, frames) = (found.seq, found.frames);
    })?;
    if frames != b"[]" {
        client.take(frames, shared.now())?;
    }
    seq.context("an answer without a number")
}

impl Session {
    /// Runs for good.
    ///
    /// # Errors
    /// Always: why the session is over.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { common, mut asks, mut tells, mut seq } = self;
        let asking = async {
            loop {
                seq = common.ask(&mut asks, seq).await?;
            }
        };
        tokio::select! {
            ended = asking => ended,
            ended = common.tell(&mut tells) => ended,
        }
    }
}

impl Common {
    /// Polls once; gives the number of the answer.
    async fn ask(&self, asks: &mut Http, seq: u64) -> anyhow::Result<u64> {
        let path = format!("{}?wait={WAIT}&seq={seq}", self.path);
        let answer = asks.ask("GET", &path, b"").await?;
        let seq = answered(answer, &mut self.client.borrow_mut(), &self.shared, |_| {})?;
        self.news.notify_one();
        Ok(seq)
    }

    /// Says what is due, for good.
    async fn tell(&self, tells: &mut Http) -> anyhow::Result<()> {
        let mut message = Vec::new();
        loop {
            message.clear();
            if self.client.borrow_mut().put(self.shared.now(), &mut message) {
                tells.ask("POST", &self.path, &message).await?;
                continue;
            }
            let deadline = self.shared.instant(self.client.borrow().deadline());
            let was_waiting = self.client.borrow().waits();
            let begun = poll_fn(|cx| {
                if was_waiting && !self.client.borrow().waits() {
                    return Poll::Ready(());
                }
                self.shared.wait(cx.waker());
                Poll::Pending
            });
            tokio::select! {
                () = self.news.notified() => {}
                () = begun => {}
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_once_they_are_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Type: x\r\ncontent-length: 12\r\n\r\n{\"seq\":1";
        assert_eq!(head(text).unwrap(), Some((200, 56, 12)));
        assert_eq!(head(&text[..40]).unwrap(), None);
        assert!(head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"SSH-2.0\r\n\r\n").is_err());
    }
}
