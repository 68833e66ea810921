//! Long polling transport.
//!
//! The same session, carried by requests: answers are numbered, and the last is kept until the client asks with its
//! number, so that a lost answer is given again.

use super::{
    Edge,
    codes::Code,
    encode,
    frames::decode,
    hello::{Rejected, hello, leave},
    requests,
    session::{End, Session, Transport},
    tunnel,
};
use crate::model::NodeId;
use axum::{
    body::Bytes,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::future::poll_fn;
use parking_lot::Mutex;
use serde::Deserialize;
use std::{collections::HashMap, sync::Arc, task::Poll, time::Duration};
use tokio::sync::Notify;

use super::http::Peer;

/// One session carried by polls.
pub struct PollSession {
    session: Arc<Session>,
    answers: Mutex<Answers>,
    /// Number of the newest `GET`; an older one that waits gives way. Held while a `GET` leaves its waker, so that an older
    /// one cannot put its own in the newer one's place.
    turn: Mutex<u64>,
    newer: Notify,
}

#[derive(Default)]
struct Answers {
    /// Number of the last answer.
    seq: u64,
    /// Its frames.
    last: Bytes,
}

/// Sessions carried by polls, by their secret.
#[derive(Default)]
pub struct Polls(Mutex<HashMap<String, Arc<PollSession>>>);

impl Polls {
    fn get(&self, sid: &str) -> Option<Arc<PollSession>> {
        self.0.lock().get(sid).cloned()
    }

    /// Forgets the sessions that are over and whose last answer was given long enough ago.
    pub async fn reap(&self) {
        let over: Vec<_> = {
            let mut polls = self.0.lock();
            let over: Vec<_> =
                polls.iter().filter(|(_, poll)| poll.is_over()).map(|(sid, _)| sid.clone()).collect();
            over.iter().filter_map(|sid| polls.remove(sid)).collect()
        };
        for poll in over {
            leave(&poll.session);
        }
    }
}

impl PollSession {
    fn is_over(&self) -> bool {
        self.session.ended().is_some() && !self.session.has_frames()
    }

    /// The next answer: `seq` is the number of the last one that the client has.
    async fn next(&self, seq: u64, wait: Duration) -> Result<Response, Rejected> {
        let turn = {
            let mut newest = self.turn.lock();
            *newest += 1;
            *newest
        };
        self.newer.notify_waiters();
        {
            let answers = self.answers.lock();
            if seq.checked_add(1) == Some(answers.seq) {
                return Ok(answer(None, answers.seq, &answers.last));
            }
            if seq != answers.seq {
                return Err(Rejected::new(
                    Code::BadFrame,
                    format!("seq {seq} is not the last answer's, {}", answers.seq),
                ));
            }
        }
        let news = poll_fn(|cx| {
            let newest = self.turn.lock();
            if *newest != turn {
                return Poll::Pending;
            }
            self.session.waker.register(cx.waker());
            drop(newest);
            if self.session.has_news() { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            () = news => {}
            () = self.outdated(turn) => {}
            () = tokio::time::sleep(wait) => {}
        }
        let mut answers = self.answers.lock();
        if *self.turn.lock() != turn {
            return Ok(answer(None, seq, b"[]"));
        }
        match self.session.take() {
            (Some(frames), _) => {
                self.session.edge.hub.metrics().bytes_out.add(frames.len() as u64);
                answers.seq += 1;
                answers.last = frames.into();
                Ok(answer(None, answers.seq, &answers.last))
            }
            (None, Some(_)) => Err(gone()),
            (None, None) => Ok(answer(None, answers.seq, b"[]")),
        }
    }

    async fn outdated(&self, turn: u64) {
        loop {
            let notified = self.newer.notified();
            if *self.turn.lock() != turn {
                return;
            }
            notified.await;
        }
    }
}

/// The node that gave a `sid`.
pub fn node_of(sid: &str) -> Option<NodeId> {
    u32::from_str_radix(sid.get(..8)?, 16).ok().map(NodeId)
}

fn gone() -> Rejected {
    Rejected::new(Code::SessionGone, "no such session; say hello again")
}

fn answer(sid: Option<&str>, seq: u64, frames: &[u8]) -> Response {
    let mut body = Vec::with_capacity(frames.len() + 80);
    let mut object = encode::Object::begin(&mut body);
    if let Some(sid) = sid {
        object.text("sid", sid);
    }
    object.number("seq", seq);
    object.key("frames").extend_from_slice(frames);
    object.end();
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let mut body = Vec::new();
        encode::error(&mut body, None, self.code.word(), &self.msg, None);
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body)
            .into_response()
    }
}

/// `POST /v1/poll`
pub async fn begin(
    State(edge): State<Arc<Edge>>,
    Peer(address): Peer,
    body: Bytes,
) -> Result<Response, Rejected> {
    let begun = start(&edge, address, &body).await;
    if let Err(rejected) = &begun {
        edge.hub.metrics().refused.get(rejected.code.word()).inc();
    }
    begun
}

async fn start(edge: &Arc<Edge>, address: std::net::IpAddr, body: &Bytes) -> Result<Response, Rejected> {
    let text =
        std::str::from_utf8(body).map_err(|_| Rejected::new(Code::BadFrame, "the body is not UTF-8"))?;
    let session = hello(edge, text, Transport::Polling, address).await?;
    let mut secret = [0_u8; 16];
    if getrandom::fill(&mut secret).is_err() {
        leave(&session);
        return Err(Rejected::new(Code::Internal, "no random bytes to be had"));
    }
    let sid = format!("{}{:032x}", edge.me(), u128::from_be_bytes(secret));
    let poll = Arc::new(PollSession {
        session,
        answers: Mutex::default(),
        turn: Mutex::new(0),
        newer: Notify::new(),
    });
    // From here on the sweep finds it, whatever becomes of this request.
    edge.polls.0.lock().insert(sid.clone(), poll.clone());
    let session = &poll.session;
    let first = poll_fn(|cx| {
        session.waker.register(cx.waker());
        if session.has_news() { Poll::Ready(()) } else { Poll::Pending }
    });
    if tokio::time::timeout(edge.config.sessions.hello_timeout, first).await.is_err() {
        session.end(End::Code(Code::Busy), "the node is busy");
    }
    if !session.is_welcomed() {
        edge.polls.0.lock().remove(&sid);
        let code = match session.ended() {
            Some(End::Code(code)) => code,
            _ => Code::Busy,
        };
        leave(session);
        return Err(Rejected::new(code, code.word()));
    }
    let mut answers = poll.answers.lock();
    let (frames, _) = session.take();
    answers.seq = 1;
    answers.last = frames.unwrap_or_else(|| b"[]".to_vec()).into();
    Ok(answer(Some(&sid), 1, &answers.last))
}

/// The query of a `GET`.
#[derive(Deserialize)]
pub struct Ask {
    wait: Option<u64>,
    seq: Option<u64>,
}

/// `GET /v1/poll/{sid}`
pub async fn ask(
    State(edge): State<Arc<Edge>>,
    Path(sid): Path<String>,
    Query(query): Query<Ask>,
) -> Result<Response, Rejected> {
    let Some(seq) = query.seq else { return Err(Rejected::new(Code::BadFrame, "seq is missing")) };
    edge.hub.metrics().polls.inc();
    let wait = query.wait.unwrap_or(25);
    let elsewhere = tunnel::forward(&edge, &sid, tunnel::wire::Poll::Get { sid: sid.clone(), seq, wait });
    match elsewhere.await {
        Some(response) => Ok(response),
        None => ask_here(&edge, &sid, seq, wait).await,
    }
}

/// The next answer of a session here; `wait` in seconds.
pub async fn ask_here(edge: &Arc<Edge>, sid: &str, seq: u64, wait: u64) -> Result<Response, Rejected> {
    let poll = edge.polls.get(sid).ok_or_else(gone)?;
    poll.session.hear();
    let wait = Duration::from_secs(wait).min(edge.config.sessions.poll_wait_max);
    edge.hub.metrics().polls_waiting.inc();
    let waiting = Waiting(edge);
    let answer = poll.next(seq, wait).await;
    drop(waiting);
    poll.session.hear();
    answer
}

/// Counts a waiting poll out, also when its connection is gone and the request is dropped.
struct Waiting<'a>(&'a Edge);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.hub.metrics().polls_waiting.dec();
    }
}

/// `POST /v1/poll/{sid}`
pub async fn tell(
    State(edge): State<Arc<Edge>>,
    Path(sid): Path<String>,
    body: Bytes,
) -> Result<Response, Rejected> {
    let post = tunnel::wire::Poll::Post { sid: sid.clone(), body: body.to_vec() };
    match tunnel::forward(&edge, &sid, post).await {
        Some(response) => Ok(response),
        None => tell_here(&edge, &sid, &body).await,
    }
}

/// What the client of a session here says.
pub async fn tell_here(edge: &Arc<Edge>, sid: &str, body: &Bytes) -> Result<Response, Rejected> {
    let poll = edge.polls.get(sid).ok_or_else(gone)?;
    if poll.session.ended().is_some() {
        return Err(gone());
    }
    let text =
        std::str::from_utf8(body).map_err(|_| Rejected::new(Code::BadFrame, "the body is not UTF-8"))?;
    let frames = decode(text).map_err(|bad| Rejected::new(Code::BadFrame, bad.to_string()))?;
    let inputs = requests::take(&poll.session, body, frames);
    if !inputs.is_empty() && edge.hub.submit(inputs).await.is_err() {
        return Err(gone());
    }
    if poll.session.ended() == Some(End::Bye) {
        // The user is offline at once, not when the sweep comes by; nobody asks for what still waits.
        edge.polls.0.lock().remove(sid);
        leave(&poll.session);
    }
    let mut out = Vec::new();
    let mut object = encode::Object::begin(&mut out);
    object.key("frames").extend_from_slice(b"[]");
    object.end();
    Ok(([(header::CONTENT_TYPE, "application/json")], out).into_response())
}

/// `DELETE /v1/poll/{sid}`
pub async fn end(State(edge): State<Arc<Edge>>, Path(sid): Path<String>) -> Result<Response, Rejected> {
    match tunnel::forward(&edge, &sid, tunnel::wire::Poll::Delete { sid: sid.clone() }).await {
        Some(response) => Ok(response),
        None => end_here(&edge, &sid).await.map(IntoResponse::into_response),
    }
}

/// Ends a session here.
pub async fn end_here(edge: &Arc<Edge>, sid: &str) -> Result<StatusCode, Rejected> {
    let poll = edge.polls.0.lock().remove(sid).ok_or_else(gone)?;
    poll.session.end(End::Bye, "");
    leave(&poll.session);
    Ok(StatusCode::NO_CONTENT)
}
