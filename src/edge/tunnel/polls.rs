//! Requests of polling clients that ask one node about a session at another.

use super::{Poll, Wire, wire::PART};
use crate::{
    edge::{Edge, poll},
    model::NodeId,
};
use axum::{
    body::{Body, to_bytes},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// Requests of other nodes that may be under way here.
const MOST: usize = 100_000;
/// How much longer than the client's own wait an answer may take.
const SPARE: Duration = Duration::from_secs(5);
/// Longest answer, in bytes: what a session's outbox holds at the most, with room.
const LONGEST: usize = 512 << 20;

struct Question {
    of: NodeId,
    body: Vec<u8>,
    asker: oneshot::Sender<(u16, Vec<u8>)>,
}

/// Requests that went to other nodes.
#[derive(Default)]
pub(super) struct Questions {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Question>>,
    /// Requests of others that are under way here.
    here: AtomicUsize,
}

impl Questions {
    pub fn answered(&self, from: NodeId, number: u64, status: u16, last: bool, bytes: &[u8]) {
        let mut open = self.open.lock();
        let Some(question) = open.get_mut(&number).filter(|question| question.of == from) else { return };
        if question.body.len() + bytes.len() > LONGEST {
            // No node answers so; whoever asked hears that there is no answer.
            open.remove(&number);
            return;
        }
        question.body.extend_from_slice(bytes);
        if last && let Some(question) = open.remove(&number) {
            // A client that has gone away needs no answer.
            let _ = question.asker.send((status, question.body));
        }
    }

    pub fn unlinked(&self, peer: NodeId) {
        self.open.lock().retain(|_, question| question.of != peer);
    }
}

/// See [`super::forward`].
pub(super) async fn forward(edge: &Arc<Edge>, sid: &str, poll: Poll) -> Option<Response> {
    let of = poll::node_of(sid).filter(|node| *node != edge.me() && *node != NodeId::LOCAL)?;
    let questions = &edge.tunnels.questions;
    let number = questions.next.fetch_add(1, Ordering::Relaxed) + 1;
    let wait = Duration::from_secs(if let Poll::Get { wait, .. } = &poll { *wait } else { 0 });
    let (asker, answer) = oneshot::channel();
    questions.open.lock().insert(number, Question { of, body: Vec::new(), asker });
    // Whatever ends this future, the question goes with it.
    let _closing = Closing { edge, number };
    if !edge.tunnels.send(of, &Wire::Ask { number, poll }) {
        return None;
    }
    let wait = wait.min(edge.config.sessions.poll_wait_max) + SPARE;
    let (status, body) = tokio::time::timeout(wait, answer).await.ok()?.ok()?;
    let status = StatusCode::from_u16(status).ok()?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Some((status, headers, Body::from(body)).into_response())
}

struct Closing<'a> {
    edge: &'a Edge,
    number: u64,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.edge.tunnels.questions.open.lock().remove(&self.number);
    }
}

/// A request that came to another node.
pub(super) fn asked(edge: &Arc<Edge>, from: NodeId, number: u64, poll: Poll) {
    let questions = &edge.tunnels.questions;
    if questions.here.fetch_add(1, Ordering::AcqRel) >= MOST {
        questions.here.fetch_sub(1, Ordering::AcqRel);
        let status = StatusCode::TOO_MANY_REQUESTS.as_u16();
        edge.tunnels.send(from, &Wire::Answer { number, status, last: true, bytes: Vec::new() });
        return;
    }
    let edge = edge.clone();
    edge.tracker.clone().spawn(async move {
        let response = match poll {
            Poll::Get { sid, seq, wait } => poll::ask_here(&edge, &sid, seq, wait).await,
            Poll::Post { sid, body } => poll::tell_here(&edge, &sid, &body.into()).await,
            Poll::Delete { sid } => {
                poll::end_here(&edge, &sid).await.map(axum::response::IntoResponse::into_response)
            }
        };
        let response = response.unwrap_or_else(axum::response::IntoResponse::into_response);
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), LONGEST).await.unwrap_or_default();
        edge.tunnels.parts(from, &body, |last, bytes| Wire::Answer { number, status, last, bytes });
        edge.tunnels.questions.here.fetch_sub(1, Ordering::AcqRel);
    });
}

const _: () = assert!(PART < 2 << 20, "a part fits into a frame of the link");
