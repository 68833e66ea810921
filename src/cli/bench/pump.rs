//! The WebSocket transport: one small task a session, which reads, answers and writes.
//!
//! Flow: everything that has come is taken first, then everything that is due is framed behind each other and written
//! at once; so a busy generator batches by itself.

use super::{
    client::Peer,
    tally::Shared,
    ws::{self, Decoder, Got},
};
use anyhow::{Context as _, bail};
use std::{
    future::poll_fn,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf},
    net::{TcpSocket, TcpStream},
    time::Sleep,
};

/// Bytes that are put together for one write.
const WRITE_BYTES: usize = 256 << 10;
/// A buffer that was longer than this is given back once it is empty.
const KEPT_BYTES: usize = 4 << 10;
/// Connections from one source address; Linux has some 28,000 ports for them.
const PORTS: usize = 20_000;
/// Source: RFC 6455, section 1.3, for the key `dGhlIHNhbXBsZSBub25jZQ==`.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Connects the `index`-th session. When the ports of one loopback address run out, the next address is used.
///
/// # Errors
/// What the system says.
pub(super) async fn connect(address: SocketAddr, index: usize) -> anyhow::Result<TcpStream> {
    let stream = match (address.ip(), index / PORTS) {
        (IpAddr::V4(ip), more @ 1..) if ip.is_loopback() => {
            let socket = TcpSocket::new_v4()?;
            let from = Ipv4Addr::new(127, 0, 0, u8::try_from(more + 1).context("too many sessions")?);
            socket.bind(SocketAddr::from((from, 0)))?;
            socket.connect(address).await
        }
        _ => TcpStream::connect(address).await,
    };
    let stream = stream.with_context(|| format!("no connection {} to {address}", index + 1))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A session over WebSocket.
pub(super) struct Pump<P> {
    stream: TcpStream,
    shared: Rc<Shared>,
    peer: P,
    decoder: Decoder,
    out: Vec<u8>,
    /// Bytes of `out` that are written.
    written: usize,
    timer: Option<Pin<Box<Sleep>>>,
    /// When the timer ends.
    armed: u64,
}

/// Shakes hands for a WebSocket at `path`.
///
/// # Errors
/// When there is none.
pub(super) async fn upgrade(mut stream: TcpStream, host: &str, path: &str) -> anyhow::Result<TcpStream> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        // Byte by byte, once a session: what follows belongs to the frames.
        head.push(stream.read_u8().await.context("the connection ended in the handshake")?);
        if head.len() > 8_192 {
            bail!("a head of over 8 KiB");
        }
    }
    let head = String::from_utf8_lossy(&head);
    if !head.starts_with("HTTP/1.1 101") || !head.contains(ACCEPT) {
        bail!("no WebSocket at {path}: {}", head.lines().next().unwrap_or_default());
    }
    Ok(stream)
}

impl<P: Peer> Pump<P> {
    /// A session over a WebSocket that is there.
    pub(super) fn new(stream: TcpStream, shared: &Rc<Shared>, peer: P) -> Self {
        let (decoder, shared) = (Decoder::default(), shared.clone());
        Self { stream, shared, peer, decoder, out: Vec::new(), written: 0, timer: None, armed: u64::MAX }
    }

    /// What talked over it.
    pub(super) fn into_peer(self) -> P {
        self.peer
    }

    /// Runs until the session may be loaded.
    ///
    /// # Errors
    /// When it is over before.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        poll_fn(|cx| match self.poll(cx) {
            Poll::Pending if self.peer.is_live() => Poll::Ready(Ok(())),
            other => other,
        })
        .await
    }

    /// Runs for good.
    ///
    /// # Errors
    /// Always: why the session is over.
    pub(super) async fn run(&mut self) -> anyhow::Result<()> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Moves what can be moved; ready only when the session is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<anyhow::Result<()>> {
        if self.peer.waits() {
            self.shared.wait(cx.waker());
        }
        loop {
            let read = self.poll_read(cx)?;
            let blocked = self.write(cx)?;
            if read {
                continue;
            }
            // While the socket takes nothing, time changes nothing.
            if blocked || !self.timer_ended(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Reads once; whether there may be more.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> anyhow::Result<bool> {
        let shared = self.shared.clone();
        let mut scratch = shared.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, &mut buffer) else {
            return Ok(false);
        };
        read.context("a connection broke")?;
        if buffer.filled().is_empty() {
            bail!("the server closed a connection");
        }
        let now = shared.now();
        let mut outcome = Ok(());
        let (peer, out) = (&mut self.peer, &mut self.out);
        self.decoder.feed(buffer.filled(), |got| match got {
            Got::Text(message) if outcome.is_ok() => outcome = peer.take(message, now),
            Got::Text(_) => {}
            Got::Ping(payload) => ws::encode(out, ws::PONG, payload),
            Got::Close(code, reason) if outcome.is_ok() => {
                let reason = String::from_utf8_lossy(reason);
                outcome = Err(anyhow::anyhow!("the server closed a session: {code} {reason}"));
            }
            Got::Close(..) => {}
        })?;
        outcome.map(|()| true)
    }

    /// Writes what is due; whether the socket takes no more.
    fn write(&mut self, cx: &mut Context<'_>) -> anyhow::Result<bool> {
        loop {
            let shared = self.shared.clone();
            let mut message = shared.message.borrow_mut();
            let now = shared.now();
            while self.out.len() < WRITE_BYTES {
                message.clear();
                if !self.peer.put(now, &mut message) {
                    break;
                }
                ws::encode(&mut self.out, ws::TEXT, &message);
            }
            if self.out.is_empty() {
                return Ok(false);
            }
            while self.written < self.out.len() {
                match Pin::new(&mut self.stream).poll_write(cx, &self.out[self.written..]) {
                    Poll::Ready(Ok(len)) => self.written += len,
                    Poll::Ready(Err(error)) => return Err(error).context("a connection broke"),
                    Poll::Pending => return Ok(true),
                }
            }
            self.written = 0;
            self.out.clear();
            if self.out.capacity() > KEPT_BYTES {
                self.out = Vec::new();
            }
        }
    }

    /// Sets the timer to the next deadline; whether it has come already.
    fn timer_ended(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.peer.deadline();
        // One that ends earlier than it needs to is left: setting it anew for each message would cost more.
        if self.armed > deadline || self.timer.is_none() {
            let at = self.shared.instant(deadline).into();
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(at),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(at))),
            }
            self.armed = deadline;
        }
        let ended = self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        if ended {
            self.armed = u64::MAX;
        }
        ended
    }
}
