//! The client's end: a session here whose mailbox is at another node.

use super::{Wire, wire::Opening};
use crate::{
    edge::{
        Edge,
        codes::Code,
        session::{End, Session},
    },
    model::NodeId,
};
use std::{sync::Arc, time::Duration};

/// Bytes taken by the client's transport after which credit is given back.
const CREDIT_AT: usize = 32 * 1_024;
/// Clients that are sent after their mailboxes go so far apart,
const APART: Duration = Duration::from_millis(2);
/// and all of them within this.
const SPREAD: Duration = Duration::from_secs(2);

/// How a session here is carried to its mailbox.
#[derive(Debug)]
pub struct Carrier {
    to: NodeId,
    /// Part of a message that has come down.
    part: Vec<u8>,
    /// Bytes handed to the client's transport and not given back as credit.
    taken: usize,
}

/// Has `session`, which was not let in yet, let in at `to`.
pub fn carry(session: &Arc<Session>, to: NodeId, opening: Opening) {
    let edge = &session.edge;
    session.state.lock().carrier = Some(Box::new(Carrier { to, part: Vec::new(), taken: 0 }));
    edge.tunnels.near.lock().insert(session.id.0, (to, Arc::downgrade(session)));
    let frame = Wire::Open { id: session.id.0, open: Box::new(opening) };
    if !edge.tunnels.send(to, &frame) {
        session.end(End::Code(Code::Busy), "the node that has the mailbox cannot be reached; connect again");
    }
    if session.ended().is_some() {
        // Its client went before it was carried: nobody will say so any more.
        session.state.lock().carrier = None;
        edge.tunnels.near.lock().remove(&session.id.0);
        edge.tunnels.send(to, &Wire::Gone { id: session.id.0 });
    }
}

/// Hands a message of the client on. `false`: the session is not carried.
pub fn up(session: &Session, message: &[u8]) -> bool {
    let Some(to) = session.state.lock().carrier.as_ref().map(|carrier| carrier.to) else { return false };
    let id = session.id.0;
    if !session.edge.tunnels.parts(to, message, |last, bytes| Wire::Up { id, last, bytes }) {
        session.end(End::Code(Code::Busy), "the node that has the mailbox cannot be reached; connect again");
    }
    true
}

/// The client's transport has taken bytes.
pub fn took(session: &Session, bytes: usize) {
    let due = {
        let mut state = session.state.lock();
        let Some(carrier) = &mut state.carrier else { return };
        carrier.taken += bytes;
        if carrier.taken < CREDIT_AT {
            return;
        }
        (carrier.to, std::mem::take(&mut carrier.taken))
    };
    let bytes = u32::try_from(due.1).unwrap_or(u32::MAX);
    if !session.edge.tunnels.send(due.0, &Wire::Credit { id: session.id.0, bytes })
        && let Some(carrier) = &mut session.state.lock().carrier
    {
        // The lane is full, and has room again when the client takes more; or there is no link, and the session is about to end.
        carrier.taken += due.1;
    }
}

/// The client is gone.
pub fn leave(session: &Session) {
    let Some(carrier) = session.state.lock().carrier.take() else { return };
    let tunnels = &session.edge.tunnels;
    if tunnels.near.lock().remove(&session.id.0).is_some() {
        tunnels.send(carrier.to, &Wire::Gone { id: session.id.0 });
    }
}

/// Tells the clients whose mailbox is at another node to go to that node, a few at a time. Their sessions go on until they are
/// there. Gives the time over which they go.
pub fn send_after(edge: &Edge) -> Duration {
    let all: Vec<_> = edge.tunnels.near.lock().values().cloned().collect();
    let over = SPREAD.min(APART.saturating_mul(u32::try_from(all.len()).unwrap_or(u32::MAX)));
    let count = all.len().max(1) as u64;
    for (i, (to, session)) in all.into_iter().enumerate() {
        if let Some(session) = session.upgrade().filter(|session| session.is_welcomed()) {
            session.ask_away(&edge.tunnels.url(to), over.as_millis() as u64 * i as u64 / count);
        }
    }
    over
}

fn find(edge: &Edge, from: NodeId, id: u64) -> Option<Arc<Session>> {
    let near = edge.tunnels.near.lock();
    near.get(&id).filter(|(to, _)| *to == from).and_then(|(_, session)| session.upgrade())
}

pub(super) fn down(edge: &Edge, from: NodeId, id: u64, last: bool, bytes: &[u8]) {
    let Some(session) = find(edge, from, id) else {
        // The word that its client is gone may have found no room.
        edge.tunnels.send(from, &Wire::Gone { id });
        return;
    };
    let whole = {
        let mut state = session.state.lock();
        let Some(carrier) = &mut state.carrier else { return };
        carrier.part.extend_from_slice(bytes);
        if !last {
            return;
        }
        // Messages are joined on their way to the client: a bracket and a comma of each are never written.
        carrier.taken += 1;
        std::mem::take(&mut carrier.part)
    };
    let first = !session.is_welcomed();
    session.hand_down(&whole);
    if first && edge.is_draining() {
        // It came too late to be told with the others.
        session.ask_away(&edge.tunnels.url(from), 0);
    }
}

pub(super) fn ended(edge: &Edge, from: NodeId, id: u64, end: End, elsewhere: bool) {
    let found = find(edge, from, id);
    {
        let mut near = edge.tunnels.near.lock();
        if near.get(&id).is_some_and(|(to, _)| *to == from) {
            near.remove(&id);
        }
    }
    let Some(session) = found else { return };
    session.state.lock().carrier = None;
    if elsewhere && !session.is_welcomed() {
        // The mailbox has moved while the question was on its way; a client that comes again finds it.
        return session.end(End::Code(Code::Busy), "the mailbox is moving; connect again");
    }
    session.finish(end);
}

pub(super) fn unlinked(edge: &Edge, peer: NodeId) {
    let mut lost = Vec::new();
    edge.tunnels.near.lock().retain(|_, (to, session)| {
        if *to == peer {
            lost.extend(session.upgrade());
        }
        *to != peer
    });
    for session in lost {
        session.state.lock().carrier = None;
        session.move_on("", 0);
    }
}
