//! The outboxes as they stand in memory: a queue of parcels for each peer, and who has any.
//!
//! Purpose: what of a peer's parcels is to be sent, is under way and is over, and which users have parcels where, without
//! looking through them.
//! Invariants: the rows of a queue are in order of their numbers, without gaps, the same that are on disk.
//! Pure: time comes in as an argument.

use super::{
    Limits,
    hash::{Map, map},
};
use crate::model::{Item, NodeId, Parcel, Stamp, UserHash, UserKey};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// What a parcel may take on top of twice the time of the quickest before its peer counts as behind, in microseconds.
const SLACK_US: u64 = 40_000;
/// How long the quickest parcel counts, and as long again: the way to the peer may have become longer.
const QUICKEST_US: u64 = 30_000_000;

/// The outbox of parcels that must wait for others of the same user.
pub(super) const HELD: NodeId = NodeId(0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not on disk yet.
    Writing,
    /// To be sent.
    Ready,
    /// Sent over the present link.
    Sent,
    /// Sent over a link that is gone, or before a restart.
    Unsure,
    /// Not wanted there; it is to be put where it belongs.
    Returned,
    /// Put into another outbox.
    Gone,
}

#[derive(Debug)]
pub(super) struct Row {
    pub number: u64,
    /// When it was put in.
    pub since: Stamp,
    pub state: State,
    /// Whose mailbox it is for.
    pub to: UserHash,
    /// Its message stands in its log on this node.
    pub logged: bool,
    pub parcel: Arc<Parcel>,
}

#[derive(Debug)]
pub(super) struct Queue {
    /// In order of the numbers, without gaps.
    pub rows: VecDeque<Row>,
    /// Number of the last row ever put in.
    pub last: u64,
    /// How many of the first rows were sent.
    pub sent: usize,
    /// Bytes of those in [`State::Sent`].
    pub flying: usize,
    /// The peer has said over the present link that it has dealt with all up to this number.
    pub done: u64,
    /// Users of whom the peer has returned a parcel over the present link.
    pub returned: Map<UserHash, ()>,
    quickest: Quickest,
}

/// The shortest time that a parcel of late has taken from here to the peer's disk.
#[derive(Debug)]
struct Quickest {
    since: Stamp,
    now: u64,
    before: u64,
}

impl Quickest {
    pub fn add(&mut self, now: Stamp, took: u64) {
        if now.0.saturating_sub(self.since.0) > QUICKEST_US {
            *self = Self { since: now, now: u64::MAX, before: self.now };
        }
        self.now = self.now.min(took);
    }

    /// How long a parcel may take, in microseconds.
    pub fn patience(&self, most: u64) -> u64 {
        most.min(self.now.min(self.before).saturating_mul(2).saturating_add(SLACK_US))
    }
}

impl Queue {
    pub fn new() -> Self {
        let quickest = Quickest { since: Stamp::ZERO, now: u64::MAX, before: u64::MAX };
        Self { rows: VecDeque::new(), last: 0, sent: 0, flying: 0, done: 0, returned: map(), quickest }
    }

    /// Takes off the first row if it is over.
    fn pop_done(&mut self, now: Stamp) -> Option<Row> {
        let row = self.rows.front()?;
        if row.state != State::Gone && (row.state != State::Sent || row.number > self.done) {
            return None;
        }
        let row = self.rows.pop_front()?;
        self.sent = self.sent.saturating_sub(1);
        if row.state == State::Sent {
            self.flying = self.flying.saturating_sub(size(&row.parcel));
            self.quickest.add(now, now.0.saturating_sub(row.since.0));
        }
        Some(row)
    }

    pub fn row(&mut self, number: u64) -> Option<&mut Row> {
        let first = self.rows.front()?.number;
        self.rows.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }
}

/// How many parcels of a user wait in each outbox. Nearly always it is one outbox, for which nothing is allocated.
#[derive(Debug, Default)]
pub(super) struct Counts {
    first: Option<(NodeId, u32)>,
    others: Vec<(NodeId, u32)>,
}

impl Counts {
    /// The outboxes in which some wait.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.first.iter().chain(&self.others).map(|(node, _)| *node)
    }

    fn add(&mut self, node: NodeId) {
        let Some(first) = &mut self.first else {
            self.first = Some((node, 1));
            return;
        };
        match std::iter::once(first).chain(&mut self.others).find(|(at, _)| *at == node) {
            Some((_, count)) => *count += 1,
            None => self.others.push((node, 1)),
        }
    }

    /// Takes one off; `false` when none is left anywhere.
    fn take(&mut self, node: NodeId) -> bool {
        if let Some((_, count)) = self.first.iter_mut().chain(&mut self.others).find(|(at, _)| *at == node) {
            *count = count.saturating_sub(1);
        }
        self.others.retain(|(_, count)| *count > 0);
        if self.first.is_some_and(|(_, count)| count == 0) {
            self.first = self.others.pop();
        }
        self.first.is_some()
    }
}

/// All outboxes of a node.
#[derive(Debug)]
pub(super) struct Outbox {
    pub queues: BTreeMap<NodeId, Queue>,
    /// Parcels of each user in each outbox; users without are not here.
    pub to: Map<UserHash, Counts>,
    /// Parcels from each user, in all outboxes.
    pub from: Map<UserKey, u32>,
    /// Of all parcels, about.
    bytes: usize,
}

impl Outbox {
    pub fn new() -> Self {
        Self { queues: BTreeMap::new(), to: map(), from: map(), bytes: 0 }
    }

    /// Whether parcels of that user wait anywhere.
    pub fn is_waiting(&self, user: UserHash) -> bool {
        !self.to.is_empty() && self.to.contains_key(&user)
    }

    /// Whether parcels from that user wait anywhere.
    pub fn is_sending(&self, user: &UserKey) -> bool {
        self.from.contains_key(user)
    }

    /// Parcels that wait, for all nodes.
    pub fn len(&self) -> usize {
        self.queues.values().map(|queue| queue.rows.len()).sum()
    }

    /// Bytes of all parcels that wait, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Parcels that wait, for each node.
    pub fn depths(&self) -> impl Iterator<Item = (NodeId, usize)> + '_ {
        self.queues.iter().filter(|(peer, _)| **peer != HELD).map(|(peer, queue)| (*peer, queue.rows.len()))
    }

    /// Whether more waits for some peer than may without a look.
    pub fn is_deep(&self, now: Stamp, limits: &Limits) -> bool {
        self.queues.keys().any(|peer| self.is_deep_for(now, *peer, limits))
    }

    /// Whether more waits for `peer` than may, and for too long.
    pub fn is_deep_for(&self, now: Stamp, peer: NodeId, limits: &Limits) -> bool {
        let Some(queue) = self.queues.get(&peer).filter(|_| peer != HELD) else { return false };
        let patience = queue.quickest.patience(limits.outbox_wait_us);
        let late = |row: &Row| now.0.saturating_sub(row.since.0) > patience;
        queue.rows.len() > limits.outbox && queue.rows.front().is_some_and(late)
    }

    pub fn put(&mut self, peer: NodeId, number: Option<u64>, row: Row) -> u64 {
        let queue = self.queues.entry(peer).or_insert_with(Queue::new);
        let number = number.unwrap_or(queue.last + 1);
        // Rows that went before the others did not leave gaps behind at a restart.
        for gone in queue.rows.back().map_or(number, |row| row.number + 1)..number {
            queue.rows.push_back(Row { number: gone, state: State::Gone, parcel: row.parcel.clone(), ..row });
        }
        queue.last = number;
        match self.from.get_mut(&row.parcel.from) {
            Some(count) => *count += 1,
            None => _ = self.from.insert(row.parcel.from.clone(), 1),
        }
        self.to.entry(row.to).or_default().add(peer);
        self.bytes += size(&row.parcel);
        queue.rows.push_back(Row { number, ..row });
        number
    }

    /// Takes off the rows at the front of the outbox for `peer` that are over, and names those that it has. Gives the numbers
    /// of the first and the last of them.
    pub fn take_done(&mut self, now: Stamp, peer: NodeId, mut each: impl FnMut(&Row)) -> Option<(u64, u64)> {
        let mut over = None;
        while let Some(row) = self.queues.get_mut(&peer)?.pop_done(now) {
            // One that is gone was counted when it went.
            if row.state == State::Sent {
                self.count_out(peer, row.to, &row.parcel);
                over = Some((over.map_or(row.number, |(first, _)| first), row.number));
                each(&row);
            }
        }
        over
    }

    /// A row has left the outbox for `peer`.
    pub fn count_out(&mut self, peer: NodeId, to: UserHash, parcel: &Parcel) {
        self.bytes = self.bytes.saturating_sub(size(parcel));
        if self.to.get_mut(&to).is_some_and(|counts| !counts.take(peer)) {
            self.to.remove(&to);
        }
        if let Some(count) = self.from.get_mut(&parcel.from) {
            *count -= 1;
            if *count == 0 {
                self.from.remove(&parcel.from);
            }
        }
    }
}

impl Row {
    pub fn new(since: Stamp, state: State, parcel: Arc<Parcel>, logged: bool) -> Self {
        Self::to(UserHash::of(&parcel.to), since, state, parcel, logged)
    }

    /// One whose addressee's number is known.
    pub fn to(to: UserHash, since: Stamp, state: State, parcel: Arc<Parcel>, logged: bool) -> Self {
        Self { number: 0, since, state, to, logged, parcel }
    }
}

/// About how many bytes a parcel takes on its way.
pub(super) fn size(parcel: &Parcel) -> usize {
    match &parcel.item {
        Item::Message(message) | Item::Recall { message, .. } => 256 + message.content.json().len(),
        Item::Receipt { .. } => 256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Conversation, Kind};

    const PEER: NodeId = NodeId(7);

    fn put(outbox: &mut Outbox, now: u64) -> u64 {
        let user = |id| UserKey::new("app", id).unwrap();
        let conversation = Conversation { kind: Kind::Private, target: "bo".into() };
        let item = Item::Receipt { conversation, at: Stamp(now) };
        let parcel = Arc::new(Parcel { to: user("bo"), from: user("ann"), item, since: None });
        outbox.put(PEER, None, Row::new(Stamp(now), State::Sent, parcel, false))
    }

    #[test]
    fn counts_say_where_parcels_of_a_user_wait() {
        let mut counts = Counts::default();
        let nodes = |counts: &Counts| counts.nodes().map(|node| node.0).collect::<Vec<_>>();
        for node in [7, 7, 8, 9] {
            counts.add(NodeId(node));
        }
        assert_eq!(nodes(&counts), [7, 8, 9]);
        assert!(counts.take(NodeId(7)) && counts.take(NodeId(8)) && counts.take(NodeId(5)));
        assert_eq!(nodes(&counts), [7, 9]);
        assert!(counts.take(NodeId(7)));
        assert_eq!(nodes(&counts), [9]);
        assert!(!counts.take(NodeId(9)) && nodes(&counts).is_empty());
    }

    #[test]
    fn a_peer_is_behind_when_much_waits_for_longer_than_it_did_of_late() {
        let limits = Limits { outbox: 2, outbox_wait_us: 400_000, ..Limits::default() };
        let mut outbox = Outbox::new();
        (0..3).for_each(|now| _ = put(&mut outbox, now));
        let deep = |outbox: &Outbox, now| outbox.is_deep_for(Stamp(now), PEER, &limits);
        // Nothing has come through yet: only the limit counts.
        assert_eq!((deep(&outbox, 400_000), deep(&outbox, 400_001)), (false, true));
        let done = |outbox: &mut Outbox, upto, now| {
            outbox.queues.get_mut(&PEER).unwrap().done = upto;
            outbox.take_done(Stamp(now), PEER, |row| assert!(row.number <= upto))
        };
        assert_eq!(done(&mut outbox, 1, 5_000), Some((1, 1)));
        put(&mut outbox, 10);
        // Twice the 5 ms and 40 ms, for the row that was put in at 1.
        assert_eq!((deep(&outbox, 50_001), deep(&outbox, 50_002)), (false, true));
        assert_eq!(done(&mut outbox, 2, 60_000), Some((2, 2)));
        assert!(!deep(&outbox, 300_000), "two rows are no more than may wait");
        // Much later the way is longer, and the old time is forgotten.
        for now in [40_000_000, 80_000_000] {
            let number = put(&mut outbox, now - 150_000);
            assert_ne!(done(&mut outbox, number, now), None);
        }
        (0..3).for_each(|_| _ = put(&mut outbox, 80_000_000));
        assert_eq!((deep(&outbox, 80_340_000), deep(&outbox, 80_340_001)), (false, true));
    }
}
