//! What the relay sends to other nodes, and what is known of the links to them.
//!
//! Flow: the frames of one turn of the driver are written behind each other, those of a lane together, and go out as one
//! chunk at its end; what the link has no room for waits here, and goes before all that comes after it.
//! Invariants: a frame for a link that is gone is dropped, never put on the next one: the relay starts anew with each link.

use crate::{
    model::NodeId,
    relay::{Frame, Lane},
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// Bytes from which on a chunk goes out without waiting for more.
const CHUNK: usize = 64 << 10;
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

/// Reads the frames of a chunk.
///
/// # Errors
/// When it is not frames behind each other, as the relay of another node sends them.
pub fn read_chunk(mut chunk: &[u8], frames: &mut Vec<Frame>) -> Result<(), postcard::Error> {
    while !chunk.is_empty() {
        let (frame, rest) = postcard::take_from_bytes(chunk)?;
        frames.push(frame);
        chunk = rest;
    }
    Ok(())
}

/// One link.
struct Wire {
    generation: u64,
    /// Chunks that are being written, one a lane; empty ones have room for as much as the one before.
    open: Vec<(Lane, Vec<u8>)>,
    /// For each lane: one that has no room must not hold up the others.
    waiting: [VecDeque<Bytes>; Lane::ALL.len()],
    bytes: usize,
}

/// All links, and who is there.
pub(super) struct Wires {
    links: Option<Arc<dyn Links>>,
    wires: BTreeMap<NodeId, Wire>,
    pub members: BTreeSet<NodeId>,
}

impl Wires {
    pub fn new(links: Option<Arc<dyn Links>>) -> Self {
        Self { links, wires: BTreeMap::new(), members: BTreeSet::new() }
    }

    /// Whether this node may have peers at all.
    pub fn is_meshed(&self) -> bool {
        self.links.is_some()
    }

    /// A link is up; says whether another has to be told down first.
    pub fn up(&mut self, peer: NodeId, generation: u64) -> bool {
        let wire = Wire { generation, open: Vec::new(), waiting: Default::default(), bytes: 0 };
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

    /// Writes a frame; it goes out with [`Self::flush`], or when there is enough of them.
    pub fn send(&mut self, to: NodeId, frame: &Frame) {
        let (Some(links), Some(wire)) = (&self.links, self.wires.get_mut(&to)) else { return };
        let lane = frame.lane();
        let place = wire.open.iter().position(|(of, _)| *of == lane).unwrap_or_else(|| {
            wire.open.push((lane, Vec::new()));
            wire.open.len() - 1
        });
        let Some((_, chunk)) = wire.open.get_mut(place) else { return };
        match postcard::to_extend(frame, std::mem::take(chunk)) {
            Ok(written) => *chunk = written,
            Err(error) => {
                // A frame that cannot be written is a mistake of this program; the link begins anew without it.
                return links.close(to, wire.generation, &format!("a frame cannot be written: {error}"));
            }
        }
        if chunk.len() >= CHUNK {
            wire.ship(links.as_ref(), to);
        }
    }

    /// Sends what was written, and what waits as far as there is room; says whether more waits.
    pub fn flush(&mut self) -> bool {
        let Some(links) = &self.links else { return false };
        let mut more = false;
        for (peer, wire) in &mut self.wires {
            for (lane, waiting) in Lane::ALL.into_iter().zip(&mut wire.waiting) {
                while let Some(chunk) = waiting.front() {
                    if links.send(*peer, wire.generation, lane, chunk.clone()) == Err(Unsent::Full) {
                        break;
                    }
                    wire.bytes -= chunk.len();
                    waiting.pop_front();
                }
            }
            wire.ship(links.as_ref(), *peer);
            more |= wire.waiting.iter().any(|waiting| !waiting.is_empty());
        }
        more
    }
}

impl Wire {
    /// Hands the chunks to the link, or has them wait behind others that do.
    fn ship(&mut self, links: &dyn Links, to: NodeId) {
        for (lane, chunk) in &mut self.open {
            if chunk.is_empty() {
                continue;
            }
            let room = Vec::with_capacity(chunk.len());
            let (lane, chunk) = (*lane, Bytes::from(std::mem::replace(chunk, room)));
            let Some(waiting) = self.waiting.get_mut(lane as usize) else { continue };
            if waiting.is_empty() || lane == Lane::Ephemeral {
                match links.send(to, self.generation, lane, chunk.clone()) {
                    Ok(()) => continue,
                    Err(Unsent::Full) if lane == Lane::Ephemeral => continue,
                    Err(Unsent::Full) => {}
                    Err(Unsent::Never) => {
                        links.close(to, self.generation, "a chunk was not taken by the link");
                        continue;
                    }
                }
            }
            self.bytes += chunk.len();
            waiting.push_back(chunk);
            if self.bytes > MAX_WAITING {
                links.close(to, self.generation, "more waits for the link than may");
            }
        }
    }
}

/// Reads any bytes as a chunk.
///
/// # Panics
/// When the decoder does, or what was read is not written the same or is far longer then: that is what is looked for.
pub fn fuzz_chunk(bytes: &[u8]) {
    let mut frames = Vec::new();
    // Frames before the first that makes no sense are looked at too.
    let _ = read_chunk(bytes, &mut frames);
    let write = |chunk, frame| postcard::to_extend(frame, chunk).expect("what was read can be written");
    let written = frames.iter().fold(Vec::new(), write);
    // A second of too many nanoseconds is read as several seconds, which may take a byte more.
    assert!(written.len() <= 2 * bytes.len(), "they hold more than came");
    let mut again = Vec::new();
    assert_eq!((read_chunk(&written, &mut again), &again), (Ok(()), &frames));
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    /// A link with room for some frames.
    #[derive(Default)]
    struct Narrow {
        room: Mutex<usize>,
        /// Has no room, however much there is for others.
        full: Mutex<Option<Lane>>,
        sent: Mutex<Vec<Bytes>>,
        closed: Mutex<Vec<u64>>,
    }

    impl Links for Narrow {
        fn send(&self, _to: NodeId, _generation: u64, lane: Lane, frame: Bytes) -> Result<(), Unsent> {
            let mut room = self.room.lock();
            if *room == 0 || *self.full.lock() == Some(lane) {
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
        for turn in 0..4 {
            (1..=2).for_each(|n| wires.send(peer, &frame(2 * turn + n)));
            assert_eq!(wires.flush(), turn > 0);
        }
        *narrow.room.lock() = 2;
        assert!(wires.flush());
        *narrow.room.lock() = 9;
        wires.send(peer, &frame(9));
        assert!(!wires.flush());
        let chunks = narrow.sent.lock().clone();
        let mut sent = Vec::new();
        chunks.iter().for_each(|chunk| read_chunk(chunk, &mut sent).unwrap());
        assert_eq!((chunks.len(), sent), (5, (1..=9).map(frame).collect::<Vec<_>>()));
        assert!(narrow.closed.lock().is_empty());
    }

    #[test]
    fn lanes_have_chunks_of_their_own_and_long_ones_do_not_wait() {
        let narrow = Arc::new(Narrow::default());
        *narrow.room.lock() = 99;
        let mut wires = Wires::new(Some(narrow.clone()));
        let peer = NodeId(7);
        wires.up(peer, 3);
        let bulk = Frame::Withdraw { number: 1 };
        assert_ne!(bulk.lane(), Frame::Done { upto: 0 }.lane());
        for n in 0..3 {
            wires.send(peer, &Frame::Done { upto: n });
            wires.send(peer, &bulk);
        }
        assert!(narrow.sent.lock().is_empty());
        assert!(!wires.flush() && narrow.sent.lock().len() == 2);
        while narrow.sent.lock().len() == 2 {
            wires.send(peer, &Frame::Done { upto: u64::MAX });
        }
        assert!(narrow.sent.lock()[2].len() >= CHUNK);
        assert!(read_chunk(&[0xFF; 9], &mut Vec::new()).is_err());
    }

    #[test]
    fn a_lane_without_room_holds_up_no_other() {
        let narrow = Arc::new(Narrow::default());
        (*narrow.room.lock(), *narrow.full.lock()) = (99, Some(Lane::Bulk));
        let mut wires = Wires::new(Some(narrow.clone()));
        let peer = NodeId(7);
        wires.up(peer, 3);
        let sent = || {
            let mut sent = Vec::new();
            narrow.sent.lock().drain(..).for_each(|chunk| read_chunk(&chunk, &mut sent).unwrap());
            sent
        };
        for n in 0..2 {
            wires.send(peer, &Frame::Withdraw { number: n });
            wires.send(peer, &Frame::Done { upto: n });
            assert!(wires.flush(), "one of them waits");
            assert_eq!(sent(), [Frame::Done { upto: n }]);
        }
        *narrow.full.lock() = None;
        assert!(!wires.flush());
        assert_eq!(sent(), [0, 1].map(|number| Frame::Withdraw { number }));
    }

    #[test]
    fn what_waited_for_a_link_that_is_gone_is_not_sent_over_the_next() {
        let narrow = Arc::new(Narrow::default());
        let mut wires = Wires::new(Some(narrow.clone()));
        let peer = NodeId(7);
        wires.up(peer, 3);
        wires.send(peer, &Frame::Done { upto: 1 });
        wires.flush();
        wires.send(peer, &Frame::Done { upto: 2 });
        assert!(wires.down(peer, 3) && !wires.down(peer, 3));
        assert!(!wires.up(peer, 4) && wires.is_known(peer, 4) && !wires.is_known(peer, 3));
        *narrow.room.lock() = 9;
        assert!(!wires.flush() && narrow.sent.lock().is_empty());
    }
}
