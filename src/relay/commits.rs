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
    /// A parcel is in the outbox.
    Post { peer: NodeId, number: u64 },
    /// A peer's parcel is in its mailbox.
    Received { from: NodeId, link: Stamp, number: u64 },
    /// A mailbox that a peer gave is here.
    Took { user: UserKey, from: NodeId, number: u64, claim: Claim },
    /// A mailbox that a peer gave is part of the one that was here.
    Merged { user: UserKey, slot: Slot, from: NodeId, number: u64 },
    /// An answer that only had to wait.
    Reply { to: ReplyTo, answer: Result<Answer, Refused> },
}

#[derive(Debug, Default)]
pub(super) struct Commits {
    seq: u64,
    writes: Vec<Write>,
    after: Vec<After>,
    flight: VecDeque<(u64, usize, Vec<After>)>,
    pending: usize,
}

impl Commits {
    pub fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    pub fn after(&mut self, after: After) {
        self.after.push(after);
    }

    /// Writes handed over or collected, and not yet durable.
    pub fn pending(&self) -> usize {
        self.pending + self.writes.len()
    }

    /// Whether nothing waits for the disk.
    pub fn is_idle(&self) -> bool {
        self.flight.is_empty() && self.writes.is_empty() && self.after.is_empty()
    }

    /// Hands over what was collected. Gives back what can be told at once: that which follows no write at all.
    pub fn flush(&mut self, effects: &mut Vec<Effect>) -> Vec<After> {
        if self.writes.is_empty() {
            return match self.flight.back_mut() {
                // Waits for the commit that is under way: what it tells of may be in there.
                Some((_, _, after)) => {
                    after.append(&mut self.after);
                    Vec::new()
                }
                None => std::mem::take(&mut self.after),
            };
        }
        self.seq += 1;
        let writes = std::mem::take(&mut self.writes);
        self.pending += writes.len();
        self.flight.push_back((self.seq, writes.len(), std::mem::take(&mut self.after)));
        effects.push(Effect::Commit { seq: self.seq, writes });
        Vec::new()
    }

    /// All commits up to `seq` are durable: what may be told now.
    pub fn durable(&mut self, seq: u64) -> Vec<After> {
        let mut told = Vec::new();
        while let Some((number, _, _)) = self.flight.front()
            && *number <= seq
        {
            let Some((_, writes, mut after)) = self.flight.pop_front() else {
                break;
            };
            self.pending -= writes;
            told.append(&mut after);
        }
        told
    }
}
