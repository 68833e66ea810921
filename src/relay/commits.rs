//! What waits for the disk.
//!
//! Purpose: nobody is told of a thing before it is durable (P1).
//! Flow: [`Commits::write`] and [`Commits::after`] collect; [`Commits::flush`] hands the writes over under a number;
//! [`Commits::durable`] gives back what may be told now, in the order in which it was collected.
//! Invariants: numbers grow by one; what follows a write comes back only after that write's number.

use super::{Effect, api::ReplyTo, slots::Slot};
use crate::{
    gossip::Claim,
    model::{Entry, NodeId, Stamp, UserKey},
    relay::{Answer, Refused},
    store::Write,
};
use std::collections::VecDeque;

/// What is to be told once the writes before it are durable.
#[derive(Debug)]
pub(super) enum After {
    /// An entry of a mailbox; `answer` is for whoever caused it.
    Entry { slot: Slot, entry: Entry, answer: Option<(ReplyTo, Answer)> },
    /// Something that only had to wait.
    Effect(Effect),
    /// Parcels are in the outbox: from the first of these numbers to the last.
    Posts { peer: NodeId, numbers: (u64, u64) },
    /// Parcels of a peer are in their mailboxes: from the first of these numbers to the last.
    Received { from: NodeId, link: Stamp, numbers: (u64, u64) },
    /// A mailbox that a peer gave is here.
    Took { user: UserKey, from: NodeId, number: u64, claim: Claim },
    /// A mailbox that a peer gave is part of the one that was here.
    Merged { user: UserKey, slot: Slot, from: NodeId, number: u64 },
    /// An answer that only had to wait.
    Reply { to: ReplyTo, answer: Result<Answer, Refused> },
}

/// Numbers behind each other, as runs: the first and the last of each.
type Runs<Of> = Vec<(Of, (u64, u64))>;

/// What is told once something is durable.
#[derive(Debug, Default)]
struct Told {
    after: Vec<After>,
    /// Parcels, told first: they have the longest way to go. Many at a time, so they are not told one by one.
    posts: Runs<NodeId>,
    received: Runs<(NodeId, Stamp)>,
}

impl Told {
    fn is_empty(&self) -> bool {
        self.after.is_empty() && self.posts.is_empty() && self.received.is_empty()
    }

    fn append(&mut self, mut later: Self) {
        if self.is_empty() {
            *self = later;
            return;
        }
        self.after.append(&mut later.after);
        self.posts.append(&mut later.posts);
        self.received.append(&mut later.received);
    }

    fn all(self) -> impl Iterator<Item = After> {
        let posts = self.posts.into_iter().map(|(peer, numbers)| After::Posts { peer, numbers });
        let received = self.received.into_iter();
        let received = received.map(|((from, link), numbers)| After::Received { from, link, numbers });
        posts.chain(self.after).chain(received)
    }
}

/// Puts a number behind the others.
fn run_on<Of: PartialEq>(runs: &mut Runs<Of>, of: Of, number: u64) {
    match runs.iter_mut().rev().find(|(known, _)| *known == of) {
        Some((_, (_, last))) if last.checked_add(1) == Some(number) => *last = number,
        _ => runs.push((of, (number, number))),
    }
}

#[derive(Debug, Default)]
pub(super) struct Commits {
    seq: u64,
    writes: Vec<Write>,
    told: Told,
    flight: VecDeque<(u64, usize, Told)>,
    pending: usize,
}

impl Commits {
    pub fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    pub fn after(&mut self, after: After) {
        self.told.after.push(after);
    }

    /// A parcel was put into the outbox for `peer`.
    pub fn posted(&mut self, peer: NodeId, number: u64) {
        run_on(&mut self.told.posts, peer, number);
    }

    /// What came over that link under that number was put into its mailbox.
    pub fn received(&mut self, from: NodeId, link: Stamp, number: u64) {
        run_on(&mut self.told.received, (from, link), number);
    }

    /// Writes handed over or collected, and not yet durable.
    pub fn pending(&self) -> usize {
        self.pending + self.writes.len()
    }

    /// Whether nothing waits for the disk.
    pub fn is_idle(&self) -> bool {
        self.flight.is_empty() && self.writes.is_empty() && self.told.is_empty()
    }

    /// Hands over what was collected. Gives back what can be told at once: that which follows no write at all.
    pub fn flush(&mut self, effects: &mut Vec<Effect>) -> impl Iterator<Item = After> + use<> {
        let mut now = Told::default();
        if !self.writes.is_empty() {
            self.seq += 1;
            // The next turn is likely to be as long as this one.
            let room = Vec::with_capacity(self.writes.len());
            let writes = std::mem::replace(&mut self.writes, room);
            self.pending += writes.len();
            let told = Told { after: Vec::with_capacity(self.told.after.len()), ..Told::default() };
            let told = std::mem::replace(&mut self.told, told);
            self.flight.push_back((self.seq, writes.len(), told));
            effects.push(Effect::Commit { seq: self.seq, writes });
        } else if !self.told.is_empty() {
            let told = std::mem::take(&mut self.told);
            match self.flight.back_mut() {
                // Waits for the commit that is under way: what it tells of may be in there.
                Some((_, _, under_way)) => under_way.append(told),
                None => now = told,
            }
        }
        now.all()
    }

    /// All commits up to `seq` are durable: what may be told now.
    pub fn durable(&mut self, seq: u64) -> impl Iterator<Item = After> + use<> {
        let mut all = Told::default();
        while let Some((number, _, _)) = self.flight.front()
            && *number <= seq
        {
            let Some((_, writes, told)) = self.flight.pop_front() else {
                break;
            };
            self.pending -= writes;
            all.append(told);
        }
        all.all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parcels_are_told_in_runs_and_before_the_rest_of_their_commit() {
        let mut commits = Commits::default();
        let (peer, other) = (NodeId(7), NodeId(8));
        commits.write(Write::OutboxDone { peer, from: 1, upto: 1 });
        commits.after(After::Effect(Effect::Look));
        for number in [4, 5, 6, 9] {
            commits.posted(peer, number);
            commits.received(other, Stamp(1), number);
        }
        commits.posted(other, 7);
        commits.received(other, Stamp(2), 10);
        let mut effects = Vec::new();
        assert_eq!(commits.flush(&mut effects).count(), 0);
        // Without a write of its own it follows the commit before it.
        commits.posted(peer, 10);
        assert_eq!((commits.flush(&mut effects).count(), commits.is_idle(), effects.len()), (0, false, 1));
        let told = commits.durable(1).map(|after| match after {
            After::Posts { peer, numbers } => (peer.0, numbers),
            After::Received { from, link, numbers } => (100 * from.0 + link.0 as u32, numbers),
            _ => (0, (0, 0)),
        });
        let told: Vec<_> = told.collect();
        let posts = [(7, (4, 6)), (7, (9, 9)), (8, (7, 7)), (7, (10, 10))];
        assert_eq!(told[..4], posts);
        assert_eq!(told[4..], [(0, (0, 0)), (801, (4, 6)), (801, (9, 9)), (802, (10, 10))]);
        assert!(commits.is_idle());
        commits.posted(peer, 11);
        assert_eq!(commits.flush(&mut effects).count(), 1, "nothing is under way");
    }
}
