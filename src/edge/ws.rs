//! WebSocket transport.
//!
//! One task a socket, which polls both directions: reading never waits for a slow write, nor writing for a slow
//! read, and an idle session costs one small task. What waits in the outbox goes out as one message, one write.

use super::{
    Edge,
    codes::Code,
    encode,
    frames::decode,
    hello::{Rejected, hello, leave},
    requests,
    session::{End, Session, Transport},
};
use crate::hub::Job;
use axum::{
    body::Bytes,
    extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket},
};
use futures_util::{SinkExt, StreamExt, future::poll_fn};
use std::{
    net::IpAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio_util::sync::PollSender;

/// How long a client that is being sent away may take to read the reason.
const GOODBYE: Duration = Duration::from_secs(3);

/// Runs one socket until it is gone.
pub async fn run(edge: Arc<Edge>, mut socket: WebSocket, address: IpAddr) {
    let first = tokio::time::timeout(edge.config.sessions.hello_timeout, first_text(&mut socket)).await;
    let rejected = match first {
        Err(_) => Rejected::new(Code::Silent, "no hello came in time"),
        Ok(None) => return,
        Ok(Some(Err(rejected))) => rejected,
        Ok(Some(Ok(text))) => match hello(&edge, text.as_str(), Transport::WebSocket, address).await {
            Ok(session) => return serve(socket, session).await,
            Err(rejected) => rejected,
        },
    };
    edge.hub.metrics().refused.get(rejected.code.word()).inc();
    tracing::debug!(code = rejected.code.word(), %address, why = rejected.msg, "hello refused");
    let mut text = Vec::new();
    encode::error(&mut text, None, rejected.code.word(), &rejected.msg, None);
    let goodbye = async {
        // Whether the client hears it is up to the client.
        let _ = socket.send(Message::Text(utf8(text))).await;
        close(&mut socket, rejected.code.close(), rejected.code.word()).await;
    };
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
}

async fn first_text(socket: &mut WebSocket) -> Option<Result<Utf8Bytes, Rejected>> {
    loop {
        match socket.recv().await? {
            Ok(Message::Text(text)) => return Some(Ok(text)),
            Ok(Message::Binary(_)) => {
                return Some(Err(Rejected::new(Code::BadFrame, "binary messages are not taken")));
            }
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Close(_)) => return None,
            Err(error) => {
                return too_large(&error)
                    .then(|| Err(Rejected::new(Code::TooLarge, "the message is too large")));
            }
        }
    }
}

async fn serve(socket: WebSocket, session: Arc<Session>) {
    let queue = PollSender::new(session.edge.hub.queue());
    let mut pump = Pump { socket, session, queue, job: None, writing: false };
    let end = poll_fn(|cx| pump.poll(cx)).await;
    let Pump { mut socket, session, .. } = pump;
    let _farewell = Farewell::begin(&session.edge);
    leave(&session);
    if let Some(end) = end {
        let goodbye = async {
            while let (Some(chunk), _) = session.take() {
                if socket.send(Message::Text(utf8(chunk))).await.is_err() {
                    return;
                }
            }
            close(&mut socket, end.close(), end.word()).await;
        };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }
}

/// Counts a socket that is being told goodbye, so that a drain waits for it.
struct Farewell(Arc<Edge>);

impl Farewell {
    fn begin(edge: &Arc<Edge>) -> Self {
        edge.farewells.fetch_add(1, Ordering::AcqRel);
        Self(edge.clone())
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.farewells.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn close(socket: &mut WebSocket, code: u16, reason: &str) {
    let frame = CloseFrame { code, reason: reason.to_owned().into() };
    if socket.send(Message::Close(Some(frame))).await.is_ok() {
        // The peer's own close frame ends the stream; a browser drops the code if the socket goes first.
        while let Some(Ok(_)) = socket.recv().await {}
    }
}

struct Pump {
    socket: WebSocket,
    session: Arc<Session>,
    queue: PollSender<Job>,
    /// Read, and not yet handed to the relay: nothing more is read until it is.
    job: Option<Job>,
    writing: bool,
}

impl Pump {
    /// Moves what can be moved. Ready when the session is over: with the reason when the client can still be told.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        self.session.waker.register(cx.waker());
        loop {
            if self.session.is_cut() {
                return Poll::Ready(None);
            }
            // What came in one message with `bye` is still handed on.
            if let Some(end) = self.session.ended()
                && !self.writing
                && self.job.is_none()
            {
                return Poll::Ready(Some(end));
            }
            let wrote = match self.poll_write(cx) {
                Ok(wrote) => wrote,
                Err(()) => return Poll::Ready(None),
            };
            match self.poll_read(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(told)) => return Poll::Ready(told),
                Poll::Pending if !wrote => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    /// Whether anything was written and more may be.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, ()> {
        if self.writing {
            match self.socket.poll_flush_unpin(cx) {
                Poll::Ready(Ok(())) => self.writing = false,
                Poll::Ready(Err(_)) => return Err(()),
                Poll::Pending => return Ok(false),
            }
        }
        match self.socket.poll_ready_unpin(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Err(()),
            Poll::Pending => return Ok(false),
        }
        let (Some(chunk), _) = self.session.take() else {
            if !self.session.take_probe() {
                return Ok(false);
            }
            self.socket.start_send_unpin(Message::Ping(Bytes::new())).map_err(|_| ())?;
            self.writing = true;
            return Ok(true);
        };
        let metrics = self.session.edge.hub.metrics();
        metrics.bytes_out.add(chunk.len() as u64);
        self.socket.start_send_unpin(Message::Text(utf8(chunk))).map_err(|_| ())?;
        self.writing = true;
        Ok(true)
    }

    /// Reads one message, or hands on the last. Ready with an error when the session is over.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Option<End>>> {
        if self.job.is_some() {
            if ready!(Pin::new(&mut self.queue).poll_reserve(cx)).is_err() {
                self.job = None;
                self.session.end(End::Leaving, "");
                return Poll::Ready(Ok(()));
            }
            if let Some(job) = self.job.take() {
                // The permit is there; the queue cannot refuse.
                let _ = self.queue.send_item(job);
            }
            return Poll::Ready(Ok(()));
        }
        match ready!(self.socket.poll_next_unpin(cx)) {
            Some(Ok(Message::Text(text))) => self.take(text),
            Some(Ok(Message::Binary(_))) => {
                self.session.end(End::Code(Code::BadFrame), "binary messages are not taken");
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => self.session.hear(),
            Some(Ok(Message::Close(_))) | None => return Poll::Ready(Err(None)),
            Some(Err(error)) if too_large(&error) => {
                self.session.end(End::Code(Code::TooLarge), "the message is larger than limits.frame");
            }
            Some(Err(_)) => return Poll::Ready(Err(None)),
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, text: Utf8Bytes) {
        let message = Bytes::from(text);
        let Ok(text) = std::str::from_utf8(&message) else { return };
        match decode(text) {
            Ok(frames) => {
                let inputs = requests::take(&self.session, &message, frames);
                if !inputs.is_empty() {
                    self.job = Some(Job::Inputs(inputs));
                }
            }
            Err(bad) => self.session.end(End::Code(Code::BadFrame), &bad.to_string()),
        }
    }
}

/// What was encoded here is UTF-8; should it ever not be, the client gets an empty array and sees a gap.
fn utf8(text: Vec<u8>) -> Utf8Bytes {
    Utf8Bytes::try_from(Bytes::from(text)).unwrap_or_else(|_| Utf8Bytes::from_static("[]"))
}

fn too_large(error: &axum::Error) -> bool {
    use tokio_tungstenite::tungstenite::Error;
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
    matches!(source, Some(Error::Capacity(_)))
}
