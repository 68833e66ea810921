//! The books of one sender and its receiver: what was sent, answered, refused, delivered.

use super::{
    order::{Order, Verdict},
    scan::Mark,
};
use std::collections::{BTreeSet, VecDeque};

/// A sender and a receiver.
#[derive(Debug, Default)]
pub(super) struct Pair {
    number: u64,
    /// Id of the user who receives.
    to: String,
    sent: u64,
    refused: BTreeSet<u64>,
    /// Sends that were not answered, by sequence number: when they were sent.
    under_way: VecDeque<Option<u64>>,
    open: usize,
    order: Order,
    gaps: u64,
}

impl Pair {
    /// A pair that has said nothing.
    pub(super) fn new(number: usize, to: String) -> Self {
        Self { number: number as u64, to, ..Self::default() }
    }

    /// Whether everything sent was answered, and everything accepted was delivered.
    pub(super) fn is_settled(&self) -> bool {
        self.open == 0 && self.order.received() + self.refused.len() as u64 >= self.sent
    }

    /// What went wrong.
    pub(super) fn verdict(&self) -> Verdict {
        let first = self.sent - self.under_way.len() as u64;
        let unanswered = (first..).zip(&self.under_way).filter(|(_, sent)| sent.is_some());
        let unanswered = unanswered.map(|(seq, _)| seq).collect();
        Verdict { gaps: self.gaps, ..self.order.judge(self.sent, &self.refused, &unanswered) }
    }

    /// Sends that nobody ever answered.
    pub(super) fn unanswered(&self) -> usize {
        self.open
    }

    /// Messages that arrived, each counted once.
    pub(super) fn arrived(&self) -> u64 {
        self.order.received()
    }

    /// Sends that nobody ever answered, oldest first.
    pub(super) fn open_sends(&self) -> impl Iterator<Item = Mark> {
        let first = self.sent - self.under_way.len() as u64;
        let open = (first..).zip(&self.under_way);
        open.filter_map(|(seq, sent)| sent.map(|sent| Mark { pair: self.number, seq, sent }))
    }

    /// The send `seq`, if nobody answered it.
    pub(super) fn open_send(&self, seq: u64) -> Option<Mark> {
        self.open_sends().find(|mark| mark.seq == seq)
    }

    /// Takes the answer to `seq`; gives when that was sent.
    pub(super) fn answered(&mut self, seq: u64) -> Option<u64> {
        let first = self.sent - self.under_way.len() as u64;
        let sent = self.under_way.get_mut(usize::try_from(seq.checked_sub(first)?).ok()?)?.take()?;
        self.open -= 1;
        while self.under_way.front().is_some_and(Option::is_none) {
            self.under_way.pop_front();
        }
        Some(sent)
    }

    /// Id of the user who receives.
    pub(super) fn to(&self) -> &str {
        &self.to
    }

    /// Numbers the next message, which goes out at `now`.
    pub(super) fn send(&mut self, now: u64) -> Mark {
        let mark = Mark { pair: self.number, seq: self.sent, sent: now };
        self.sent += 1;
        self.open += 1;
        self.under_way.push_back(Some(now));
        mark
    }

    /// Message `seq` was refused.
    pub(super) fn refused(&mut self, seq: u64) {
        if self.answered(seq).is_some() {
            self.refused.insert(seq);
        }
    }

    /// A message was delivered; `false` when it was never sent here.
    pub(super) fn received(&mut self, mark: &Mark) -> bool {
        let ours = mark.pair == self.number && mark.seq < self.sent;
        if ours {
            self.order.receive(mark.seq);
        }
        ours
    }

    /// An entry's `prev` was not the position before.
    pub(super) fn gap(&mut self) {
        self.gaps += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_any_order_make_room_and_only_what_was_accepted_can_be_lost() {
        let mut pair = Pair::new(7, "bo".into());
        let marks: Vec<_> = (0..5).map(|now| pair.send(10 + now)).collect();
        assert_eq!((pair.answered(2), pair.answered(2), pair.answered(9)), (Some(12), None, None));
        pair.refused(0);
        assert_eq!((pair.answered(1), pair.unanswered()), (Some(11), 2));
        assert!(pair.received(&marks[2]) && !pair.received(&Mark { pair: 8, ..marks[1] }));
        assert!(!pair.received(&Mark { seq: 5, ..marks[1] }));
        // 1 was accepted and has not come; 3 and 4 were never answered.
        assert_eq!(pair.verdict(), Verdict { losses: 1, ..Verdict::default() });
        assert!(!pair.is_settled());
        assert!(pair.received(&marks[1]));
        assert_eq!(pair.verdict(), Verdict { breaks: 1, ..Verdict::default() });
        for mark in &marks[3..] {
            assert!(pair.answered(mark.seq).is_some() && pair.received(mark));
        }
        assert!(pair.is_settled());
        assert_eq!(pair.arrived(), 4);
        pair.gap();
        assert_eq!(pair.verdict(), Verdict { breaks: 1, gaps: 1, ..Verdict::default() });
    }
}
