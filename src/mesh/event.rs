//! What the owner of the mesh hears.
//!
//! One bounded queue. Readers of links wait for room in it and QUIC then holds the senders back, so a slow owner
//! costs a bounded amount of memory: so many events, and so many bytes of frames, whichever is reached first.

use super::{failure::Why, lanes::Lane, member::Member};
use crate::model::NodeId;
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A link is up. Frames may have been sent on it before this is read.
    LinkUp {
        /// Who is at the other end.
        peer: PeerInfo,
        /// Tells links apart, on this node: a later link has a higher one.
        generation: u64,
    },
    /// A link ended; it comes after all its frames. What was still queued or under way is lost.
    LinkDown {
        /// Who was at the other end.
        peer: NodeId,
        /// Of [`Event::LinkUp`].
        generation: u64,
        /// Why it ended.
        why: Why,
    },
    /// Frames came, in the order in which they were sent on their lane.
    Frames {
        /// Who sent them.
        peer: NodeId,
        /// Of [`Event::LinkUp`].
        generation: u64,
        /// On which lane.
        lane: Lane,
        /// At least one.
        frames: Vec<Bytes>,
    },
    /// A node is in the cluster, or runs anew: then without a [`Event::MemberDown`] before, but with a higher incarnation.
    MemberUp {
        /// The node.
        member: Arc<Member>,
    },
    /// A member does not answer.
    MemberDown {
        /// Which one.
        node: NodeId,
    },
    /// A member said that it leaves. Where nobody heard its goodbye but from others, it is [`Event::MemberDown`].
    MemberLeft {
        /// Which one.
        node: NodeId,
    },
}

/// Who is at the other end of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerInfo {
    /// What it says of itself; name and number are those of its certificate.
    pub member: Arc<Member>,
    /// Version of the protocol that is spoken.
    pub version: u16,
    /// Optional parts of the protocol that both know.
    pub features: u64,
    /// Version of its program, for people.
    pub software: Arc<str>,
}

/// Bytes of frames are counted in these.
const UNIT: usize = 1_024;

/// The sending end of the owner's queue.
#[derive(Clone)]
pub(super) struct EventSender {
    queue: mpsc::Sender<(Event, Option<OwnedSemaphorePermit>)>,
    room: Arc<Semaphore>,
    units: u32,
}

/// The owner is gone.
#[derive(Debug)]
pub(super) struct NoOwner;

impl EventSender {
    /// Waits for room.
    pub(super) async fn send(&self, event: Event) -> Result<(), NoOwner> {
        let room = match &event {
            Event::Frames { frames, .. } => {
                // Small frames weigh more than their bytes.
                let bytes: usize = frames.iter().map(|frame| frame.len() + 48).sum();
                let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
                Some(self.room.clone().acquire_many_owned(units).await.map_err(|_| NoOwner)?)
            }
            _ => None,
        };
        self.queue.send((event, room)).await.map_err(|_| NoOwner)
    }

    /// Waits for room for an event without frames.
    pub(super) async fn reserve(&self) -> Result<Slot<'_>, NoOwner> {
        self.queue.reserve().await.map(Slot).map_err(|_| NoOwner)
    }
}

/// Room for one event.
pub(super) struct Slot<'a>(mpsc::Permit<'a, (Event, Option<OwnedSemaphorePermit>)>);

impl Slot<'_> {
    pub(super) fn send(self, event: Event) {
        self.0.send((event, None));
    }
}

/// The owner's end of the queue.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<(Event, Option<OwnedSemaphorePermit>)>,
}

impl Events {
    /// The next event; `None` when the mesh is gone.
    pub async fn recv(&mut self) -> Option<Event> {
        self.queue.recv().await.map(|(event, _room)| event)
    }

    /// Waits for an event and appends it and those that wait behind it, `limit` at most. Returns how many; 0 when the
    /// mesh is gone. Nothing is lost when the wait is broken off.
    pub async fn recv_many(&mut self, events: &mut Vec<Event>, limit: usize) -> usize {
        let Some(first) = self.recv().await else { return 0 };
        events.push(first);
        let mut taken = 1;
        while taken < limit
            && let Ok((event, _room)) = self.queue.try_recv()
        {
            events.push(event);
            taken += 1;
        }
        taken
    }
}

/// A queue of `capacity` events and `bytes` of frames.
pub(super) fn queue(capacity: usize, bytes: usize) -> (EventSender, Events) {
    let (tx, rx) = mpsc::channel(capacity);
    let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
    let room = Arc::new(Semaphore::new(units as usize));
    (EventSender { queue: tx, room, units }, Events { queue: rx })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_slow_owner_holds_senders_back_by_bytes_and_by_number() {
        let (sender, mut events) = queue(3, 2_048);
        let frames = |len| Event::Frames {
            peer: NodeId(1),
            generation: 1,
            lane: Lane::Chat,
            frames: vec![Bytes::from(vec![0; len])],
        };
        // One that is larger than all room passes when it is alone.
        sender.send(frames(1 << 20)).await.unwrap();
        let short = Duration::from_millis(20);
        assert!(tokio::time::timeout(short, sender.send(frames(1))).await.is_err());
        events.recv().await.unwrap();
        let down = Event::MemberDown { node: NodeId(1) };
        for _ in 0..3 {
            sender.send(down.clone()).await.unwrap();
        }
        assert!(tokio::time::timeout(short, sender.send(down.clone())).await.is_err());
        let mut all = Vec::new();
        assert_eq!(events.recv_many(&mut all, 2).await, 2);
        sender.send(down).await.unwrap();
        drop(events);
        assert!(sender.send(frames(1)).await.is_err());
    }
}
