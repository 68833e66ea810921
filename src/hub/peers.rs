//! What the relay sends to other nodes, and what is known of the links to them.
//!
//! Flow: an effect becomes a frame on the link that the relay knows of; what the link has no room for waits here, and goes
//! before all that comes after it.
//! Invariants: a frame for a link that is gone is dropped, never put on the next one: the relay starts anew with each link.

use crate::{
    model::NodeId,
    relay::{Frame, Lane},
};
use bytes::Bytes;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

/// Bytes that may wait for a link besides what it queues itself; past that it is ended, and begun anew from what is on disk.
const MAX_WAITING: usize = 256 << 20;

/// The links to other nodes. Methods are called on the driver's task and must return at once.
pub trait Links: Send + Sync + 'static {
    /// Queues a frame on the link of that generation.
    ///
    /// # Errors
    /// When it was not taken.
    fn send(&self, to: NodeId, generation: u64, lane: Lane, frame: Bytes) -> Result<(), Unsent>;

    /// Ends the link of that generation.
    fn close(&self, to: NodeId, generation: u64, why: &str);
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// There is no room at the moment.
    Full,
    /// The link is gone, or will never take it.
    Never,
}

/// What happened among nodes, in order.
#[derive(Debug)]
pub enum PeerNews {
    /// A link is up.
    LinkUp {
        /// To which node.
        peer: NodeId,
        /// Tells links with it apart.
        generation: u64,
    },
    /// A link is down.
    LinkDown {
        /// To which node.
        peer: NodeId,
        /// Which link.
        generation: u64,
    },
    /// Frames have come.
    Frames {
        /// From which node.
        peer: NodeId,
        /// Over which link.
        generation: u64,
        /// The frames.
        frames: Vec<Frame>,
    },
    /// A node is there and lives.
    MemberUp(NodeId),
    /// A node is taken for dead, or has left.
    MemberDown(NodeId),
}

/// One link.
struct Wire {
    generation: u64,
    waiting: VecDeque<(Lane, Bytes)>,
    bytes: usize,
}

/// All links, and who is there.
pub(super) struct Wires {
    links: Option<Arc<dyn Links>>,
    wires: HashMap<NodeId, Wire>,
    pub members: BTreeSet<NodeId>,
}

impl Wires {
    pub fn new(links: Option<Arc<dyn Links>>) -> Self {
        Self { links, wires: HashMap::new(), members: BTreeSet::new() }
    }

    /// Whether this node may have peers at all.
    pub fn is_meshed(&self) -> bool {
        self.links.is_some()
    }

    /// A link is up; says whether another has to be told down first.
    pub fn up(&mut self, peer: NodeId, generation: u64) -> bool {
        let wire = Wire { generation, waiting: VecDeque::new(), bytes: 0 };
        self.wires.insert(peer, wire).is_some()
    }

    /// A link is down; says whether it was the one that is known.
    pub fn down(&mut self, peer: NodeId, generation: u64) -> bool {
        let known = self.is_known(peer, generation);
        if known {
            self.wires.remove(&peer);
        }
        known
    }

    /// Whether that is the link that the relay knows of.
    pub fn is_known(&self, peer: NodeId, generation: u64) -> bool {
        self.wires.get(&peer).is_some_and(|wire| wire.generation == generation)
    }

    /// Sends a frame, or has it wait.
    pub fn send(&mut self, to: NodeId, frame: &Frame) {
        let (Some(links), Some(wire)) = (&self.links, self.wires.get_mut(&to)) else { return };
        let lane = frame.lane();
        let bytes = match postcard::to_stdvec(frame) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) => {
                // A frame that cannot be written is a mistake of this program; the link begins anew without it.
                return links.close(to, wire.generation, &format!("a frame cannot be written: {error}"));
            }
        };
        if wire.waiting.is_empty() || lane == Lane::Ephemeral {
            match links.send(to, wire.generation, lane, bytes.clone()) {
                Ok(()) => return,
                Err(Unsent::Full) if lane == Lane::Ephemeral => return,
                Err(Unsent::Full) => {}
                Err(Unsent::Never) => {
                    return links.close(to, wire.generation, "a frame was not taken by the link");
                }
            }
        }
        wire.bytes += bytes.len();
        wire.waiting.push_back((lane, bytes));
        if wire.bytes > MAX_WAITING {
            links.close(to, wire.generation, "more waits for the link than may");
        }
    }

    /// Sends what waits as far as there is room; says whether more waits.
    pub fn flush(&mut self) -> bool {
        let Some(links) = &self.links else { return false };
        let mut more = false;
        for (peer, wire) in &mut self.wires {
            while let Some((lane, frame)) = wire.waiting.front() {
                if links.send(*peer, wire.generation, *lane, frame.clone()) == Err(Unsent::Full) {
                    break;
                }
                wire.bytes -= frame.len();
                wire.waiting.pop_front();
            }
            more |= !wire.waiting.is_empty();
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    /// A link with room for some frames.
    #[derive(Default)]
    struct Narrow {
        room: Mutex<usize>,
        sent: Mutex<Vec<Bytes>>,
        closed: Mutex<Vec<u64>>,
    }

    impl Links for Narrow {
        fn send(&self, _to: NodeId, _generation: u64, _lane: Lane, frame: Bytes) -> Result<(), Unsent> {
            let mut room = self.room.lock();
            if *room == 0 {
                return Err(Unsent::Full);
            }
            *room -= 1;
            self.sent.lock().push(frame);
            Ok(())
        }
        fn close(&self, _to: NodeId, generation: u64, _why: &str) {
            self.closed.lock().push(generation);
        }
    }

    #[test]
    fn what_has_no_room_waits_and_keeps_its_order() {
        let narrow = Arc::new(Narrow::default());
        *narrow.room.lock() = 1;
        let mut wires = Wires::new(Some(narrow.clone()));
        let peer = NodeId(7);
        let frame = |upto| Frame::Done { upto };
        wires.send(peer, &frame(0)); // there is no link
        wires.up(peer, 3);
        (1..=4).for_each(|n| wires.send(peer, &frame(n)));
        assert!(wires.flush());
        *narrow.room.lock() = 2;
        assert!(wires.flush());
        *narrow.room.lock() = 9;
        wires.send(peer, &frame(5));
        assert!(!wires.flush());
        let sent: Vec<Frame> =
            narrow.sent.lock().iter().map(|bytes| postcard::from_bytes(bytes).unwrap()).collect();
        assert_eq!(sent, (1..=5).map(frame).collect::<Vec<_>>());
        assert!(narrow.closed.lock().is_empty());
    }

    #[test]
    fn what_waited_for_a_link_that_is_gone_is_not_sent_over_the_next() {
        let narrow = Arc::new(Narrow::default());
        let mut wires = Wires::new(Some(narrow.clone()));
        let peer = NodeId(7);
        wires.up(peer, 3);
        wires.send(peer, &Frame::Done { upto: 1 });
        assert!(wires.down(peer, 3) && !wires.down(peer, 3));
        assert!(!wires.up(peer, 4) && wires.is_known(peer, 4) && !wires.is_known(peer, 3));
        *narrow.room.lock() = 9;
        assert!(!wires.flush() && narrow.sent.lock().is_empty());
    }
}
