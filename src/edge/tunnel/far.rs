//! The mailbox's end: a session whose client is at another node.

use super::{
    Wire,
    wire::{Opening, PART},
};
use crate::{
    edge::{
        Edge,
        codes::Code,
        frames::decode,
        hello::{enter, leave},
        requests,
        session::{Draft, End, Session, Transport},
    },
    model::NodeId,
};
use bytes::Bytes;
use futures_util::future::poll_fn;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};

/// Bytes that may be on their way to the client.
const CREDIT: usize = 256 * 1_024;
/// Sessions that one node may have here.
const MOST: usize = 1 << 20;

/// One session of a client elsewhere.
pub struct Far {
    session: OnceLock<Arc<Session>>,
    credit: AtomicUsize,
    gone: AtomicBool,
    /// Part of a message that has come up.
    part: Mutex<Vec<u8>>,
}

pub(super) fn open(edge: &Arc<Edge>, from: NodeId, id: u64, opening: Opening) {
    let refuse = |end| edge.tunnels.send(from, &Wire::Ended { id, end, elsewhere: false });
    if edge.is_draining() || !edge.hub.is_open() {
        refuse(End::Code(Code::Busy));
        return;
    }
    let far = Arc::new(Far {
        session: OnceLock::new(),
        credit: AtomicUsize::new(CREDIT),
        gone: AtomicBool::new(false),
        part: Mutex::default(),
    });
    {
        let mut all = edge.tunnels.far.lock();
        if all.len() >= MOST {
            drop(all);
            refuse(End::Code(Code::TooMany));
            return;
        }
        all.insert((from, id), far.clone());
    }
    let edge = edge.clone();
    edge.tracker.clone().spawn(async move {
        let end = run(&edge, from, id, &far, opening).await;
        edge.tunnels.far.lock().remove(&(from, id));
        if !far.gone.load(Ordering::Acquire) {
            let elsewhere = far.session.get().is_some_and(|session| session.was_elsewhere());
            // Without a link the other side has ended it already.
            edge.tunnels.send(from, &Wire::Ended { id, end, elsewhere });
        }
    });
}

/// Runs the session to its end.
async fn run(edge: &Arc<Edge>, from: NodeId, id: u64, far: &Far, opening: Opening) -> End {
    let draft = Draft {
        user: opening.user.clone(),
        device: opening.device.clone(),
        transport: Transport::Link,
        address: opening.address,
        window: opening.window.into(),
        profile: Default::default(),
    };
    let open = opening.open(crate::relay::SessionId(0));
    let session = match enter(edge, draft, open).await {
        Ok(session) => session,
        Err(rejected) => return End::Code(rejected.code),
    };
    let session = far.session.get_or_init(|| session).clone();
    let end = loop {
        let over = poll_fn(|cx| {
            session.waker.register(cx.waker());
            if far.gone.load(Ordering::Acquire) {
                return Poll::Ready(true);
            }
            let may = far.credit.load(Ordering::Acquire) > 0;
            if session.has_frames() && may || session.ended().is_some() && !session.has_frames() {
                return Poll::Ready(false);
            }
            Poll::Pending
        });
        if over.await {
            break End::Leaving;
        }
        match session.take() {
            (Some(chunk), _) => {
                let spent = |credit: usize| Some(credit.saturating_sub(chunk.len()));
                // The closure always gives a value.
                let _ = far.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, spent);
                if !edge.tunnels.parts(from, &chunk, |last, bytes| Wire::Down { id, last, bytes }) {
                    session.end(End::Code(Code::Busy), "the link has no room");
                    break End::Code(Code::Busy);
                }
            }
            (None, Some(end)) => break end,
            (None, None) => {}
        }
    };
    leave(&session);
    end
}

fn find(edge: &Edge, from: NodeId, id: u64) -> Option<Arc<Far>> {
    edge.tunnels.far.lock().get(&(from, id)).cloned()
}

pub(super) fn up(edge: &Edge, from: NodeId, id: u64, last: bool, bytes: Vec<u8>) {
    let Some(far) = find(edge, from, id) else {
        // The word that it is over may have found no room.
        edge.tunnels.send(from, &Wire::Ended { id, end: End::Code(Code::Busy), elsewhere: false });
        return;
    };
    let Some(session) = far.session.get() else { return };
    let message = {
        let mut part = far.part.lock();
        if part.is_empty() && last {
            bytes
        } else {
            part.extend_from_slice(&bytes);
            if part.len() > edge.config.limits.frame + PART {
                return session.end(End::Code(Code::TooLarge), "the message is larger than limits.frame");
            }
            if !last {
                return;
            }
            std::mem::take(&mut *part)
        }
    };
    let message = Bytes::from(message);
    let frames = std::str::from_utf8(&message).ok().and_then(|text| decode(text).ok());
    let Some(frames) = frames else {
        return session.end(End::Code(Code::BadFrame), "the message is no frame");
    };
    let inputs = requests::take(session, &message, frames);
    if !inputs.is_empty() && !edge.hub.submit_now(inputs) {
        session.end(End::Code(Code::Busy), "the node is busy");
    }
}

pub(super) fn credit(edge: &Edge, from: NodeId, id: u64, bytes: u32) {
    let Some(far) = find(edge, from, id) else { return };
    let more = |credit: usize| Some(credit.saturating_add(bytes as usize).min(CREDIT));
    let _ = far.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
    if let Some(session) = far.session.get() {
        session.waker.wake();
    }
}

pub(super) fn gone(edge: &Edge, from: NodeId, id: u64) {
    if let Some(far) = find(edge, from, id) {
        end(&far);
    }
}

fn end(far: &Far) {
    far.gone.store(true, Ordering::Release);
    if let Some(session) = far.session.get() {
        session.waker.wake();
    }
}

pub(super) fn unlinked(edge: &Edge, peer: NodeId) {
    let lost: Vec<_> = {
        let all = edge.tunnels.far.lock();
        all.iter().filter(|((from, _), _)| *from == peer).map(|(_, far)| far.clone()).collect()
    };
    lost.iter().for_each(|far| end(far));
}
