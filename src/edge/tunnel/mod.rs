//! Sessions and requests of clients that are at one node and belong to another.
//!
//! Purpose: every node is a door to the whole service: a user with devices at two nodes has one mailbox, and a client that
//! polls may ask any node.
//! Flow: the relay says that a session's mailbox is elsewhere → `near` sends the `hello` there and hands on whole messages in
//! both directions → `far` is an ordinary session there, whose transport is the link.
//! Invariants: a session that is carried lives no longer than the link; what comes down is bounded by credit, what goes up by
//! the lane's queue; the client hears the same frames as it would at the other node.

mod far;
pub(super) mod near;
mod polls;
pub mod wire;

pub use near::send_after;
pub use wire::Report;

use super::{Edge, session::Session};
use crate::model::NodeId;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use polls::Questions;
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wire::{Poll, Wire};

/// How often a node tells the others how it is.
const REPORT: Duration = Duration::from_secs(1);
/// After so long without a report a node is not shown to clients.
const STALE: Duration = Duration::from_secs(6);

/// The way to the edges of other nodes. Methods return at once.
pub trait Neighbours: Send + Sync + 'static {
    /// Queues a frame on the link to a node. `false`: there is no link, or no room.
    fn send(&self, to: NodeId, frame: Bytes) -> bool;
    /// The nodes that live, this one not among them.
    fn nodes(&self) -> Vec<Neighbour>;
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its number.
    pub id: NodeId,
    /// Its name.
    pub name: Arc<str>,
    /// Its region; may be empty.
    pub region: Arc<str>,
    /// Where clients reach it; may be empty.
    pub url: Arc<str>,
}

/// What an edge knows of the others.
pub struct Tunnels {
    neighbours: Option<Arc<dyn Neighbours>>,
    /// Sessions here whose mailbox is elsewhere, and where.
    near: Mutex<HashMap<u64, (NodeId, Weak<Session>)>>,
    /// Sessions of clients that are elsewhere.
    far: Mutex<HashMap<(NodeId, u64), Arc<far::Far>>>,
    questions: Questions,
    reports: RwLock<HashMap<NodeId, (Report, Instant)>>,
    /// Somebody is linked who has not heard how this node is.
    linked: Notify,
}

impl Tunnels {
    /// Nothing is known yet; without `neighbours` there are no others.
    #[must_use]
    pub fn new(neighbours: Option<Arc<dyn Neighbours>>) -> Self {
        Self {
            neighbours,
            near: Mutex::default(),
            far: Mutex::default(),
            questions: Questions::default(),
            reports: RwLock::default(),
            linked: Notify::new(),
        }
    }

    fn send(&self, to: NodeId, frame: &Wire) -> bool {
        let Some(neighbours) = &self.neighbours else { return false };
        let Ok(bytes) = frame.encode() else { return false };
        neighbours.send(to, bytes.into())
    }

    /// Sends a message in parts.
    fn parts(&self, to: NodeId, bytes: &[u8], part: impl Fn(bool, Vec<u8>) -> Wire) -> bool {
        let mut rest = bytes;
        loop {
            let (some, more) = rest.split_at(rest.len().min(wire::PART));
            rest = more;
            if !self.send(to, &part(rest.is_empty(), some.to_vec())) {
                return false;
            }
            if rest.is_empty() {
                return true;
            }
        }
    }

    /// Nodes that live.
    pub fn nodes(&self) -> Vec<Neighbour> {
        self.neighbours.as_ref().map_or_else(Vec::new, |neighbours| neighbours.nodes())
    }

    /// Sessions of clients here whose mailbox is elsewhere.
    pub fn carried(&self) -> usize {
        self.near.lock().len()
    }

    /// Where clients reach a node; empty when that is not known.
    pub fn url(&self, node: NodeId) -> Arc<str> {
        let found = self.nodes().into_iter().find(|other| other.id == node);
        found.map_or_else(|| "".into(), |other| other.url)
    }

    /// What a node told last, unless that is long ago.
    pub fn report(&self, node: NodeId) -> Option<Report> {
        let reports = self.reports.read();
        reports.get(&node).filter(|(_, heard)| heard.elapsed() < STALE).map(|(report, _)| report.clone())
    }
}

impl Edge {
    /// Frames of another node's edge, in order.
    ///
    /// # Errors
    /// When one makes no sense; those before it count.
    pub fn hear(self: &Arc<Self>, from: NodeId, frames: &[Bytes]) -> Result<(), postcard::Error> {
        for frame in frames {
            match Wire::decode(frame)? {
                Wire::Open { id, open } => far::open(self, from, id, *open),
                Wire::Up { id, last, bytes } => far::up(self, from, id, last, bytes),
                Wire::Credit { id, bytes } => far::credit(self, from, id, bytes),
                Wire::Gone { id } => far::gone(self, from, id),
                Wire::Down { id, last, bytes } => near::down(self, from, id, last, &bytes),
                Wire::Ended { id, end, elsewhere } => near::ended(self, from, id, end, elsewhere),
                Wire::Ask { number, poll } => polls::asked(self, from, number, poll),
                Wire::Answer { number, status, last, bytes } => {
                    self.tunnels.questions.answered(from, number, status, last, &bytes);
                }
                Wire::Report(report) => {
                    self.tunnels.reports.write().insert(from, (report, Instant::now()));
                }
            }
        }
        Ok(())
    }

    /// There is a link to another node, which has not heard how this one is.
    pub fn linked(&self) {
        self.tunnels.linked.notify_one();
    }

    /// The link to a node is gone, with all that was on it.
    pub fn unlinked(self: &Arc<Self>, peer: NodeId) {
        near::unlinked(self, peer);
        far::unlinked(self, peer);
        self.tunnels.questions.unlinked(peer);
    }

    /// Tells all others how this node is, now and then and when there is a new link, until `stop`.
    pub async fn report(self: Arc<Self>, stop: CancellationToken) {
        let mut rounds = tokio::time::interval(REPORT);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = rounds.tick() => {}
                () = self.tunnels.linked.notified() => {}
            }
            self.tell_report().await;
        }
    }

    /// How this node is.
    pub async fn own_report(&self) -> Report {
        let status = self.hub.status().await.unwrap_or_default();
        Report {
            sessions: u32::try_from(self.sessions()).unwrap_or(u32::MAX),
            most: u32::try_from(self.config.limits.connections).unwrap_or(u32::MAX),
            draining: self.is_draining(),
            open: status.open,
            users: status.owned.0 as u64,
            online: status.owned.1 as u64,
            known: status.known as u64,
            digest: status.digest,
            outbox: status.outbox.into_iter().map(|(peer, count)| (peer, count as u64)).collect(),
        }
    }

    /// Tells all others how this node is.
    pub async fn tell_report(&self) {
        let report = self.own_report().await;
        for node in self.tunnels.nodes() {
            // One without a link hears with the next round.
            self.tunnels.send(node.id, &Wire::Report(report.clone()));
        }
    }
}

/// Hands a request of a polling client to the node that its `sid` names. `None`: that is this node, or cannot be reached.
pub(super) async fn forward(edge: &Arc<Edge>, sid: &str, poll: Poll) -> Option<axum::response::Response> {
    polls::forward(edge, sid, poll).await
}
