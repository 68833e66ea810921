//! Whether everything came, once and in order.
//!
//! A sender numbers its messages 0, 1, 2, … A number above the expected one leaves a hole; one that fills a hole came
//! out of order; one that fills none came twice; a hole at the end is a loss. So each message is judged exactly, not
//! by sums that could cancel out.

use std::collections::BTreeSet;

/// What came from one sender.
#[derive(Debug, Default)]
pub(super) struct Order {
    next: u64,
    holes: BTreeSet<u64>,
    verdict: Verdict,
}

/// What was found, summed up; all zeros is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Acknowledged to the sender and never delivered.
    pub(super) losses: u64,
    /// Delivered more than once.
    pub(super) duplicates: u64,
    /// Delivered after a later one.
    pub(super) breaks: u64,
    /// Delivered though refused.
    pub(super) phantoms: u64,
    /// Entries whose `prev` was not the position before.
    pub(super) gaps: u64,
}

impl Verdict {
    /// Whether nothing was wrong.
    pub(super) fn good(&self) -> bool {
        *self == Self::default()
    }

    /// Adds another one.
    pub(super) fn add(&mut self, other: Self) {
        self.losses += other.losses;
        self.duplicates += other.duplicates;
        self.breaks += other.breaks;
        self.phantoms += other.phantoms;
        self.gaps += other.gaps;
    }
}

impl Order {
    /// Message `seq` was delivered.
    pub(super) fn receive(&mut self, seq: u64) {
        if seq >= self.next {
            self.holes.extend(self.next..seq);
            self.next = seq + 1;
        } else if self.holes.remove(&seq) {
            self.verdict.breaks += 1;
        } else {
            self.verdict.duplicates += 1;
        }
    }

    /// How many different ones were delivered.
    pub(super) fn received(&self) -> u64 {
        self.next - self.holes.len() as u64
    }

    fn has(&self, seq: u64) -> bool {
        seq < self.next && !self.holes.contains(&seq)
    }

    /// The end.
    ///
    /// * `sent`: how many the sender sent.
    /// * `refused`: those that it was refused.
    /// * `unanswered`: those about which it heard nothing; they may have come or not.
    pub(super) fn judge(&self, sent: u64, refused: &BTreeSet<u64>, unanswered: &BTreeSet<u64>) -> Verdict {
        let missing = self.holes.iter().copied().chain(self.next..sent);
        let lost = |seq: &u64| !refused.contains(seq) && !unanswered.contains(seq);
        Verdict {
            losses: missing.filter(lost).count() as u64,
            phantoms: refused.iter().filter(|seq| self.has(**seq)).count() as u64,
            ..self.verdict
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(order: &[u64], sent: u64, refused: &[u64], unanswered: &[u64]) -> Verdict {
        let mut of = Order::default();
        order.iter().for_each(|seq| of.receive(*seq));
        of.judge(sent, &refused.iter().copied().collect(), &unanswered.iter().copied().collect())
    }

    #[test]
    fn all_once_and_in_order_is_good() {
        assert!(judged(&[], 0, &[], &[]).good());
        assert!(judged(&[0, 1, 2, 3], 4, &[], &[]).good());
    }

    #[test]
    fn planted_losses_are_found_in_the_middle_and_at_the_end() {
        assert_eq!(judged(&[0, 2, 3], 4, &[], &[]), Verdict { losses: 1, ..Verdict::default() });
        assert_eq!(judged(&[0, 1], 4, &[], &[]), Verdict { losses: 2, ..Verdict::default() });
        assert_eq!(judged(&[], 3, &[], &[]), Verdict { losses: 3, ..Verdict::default() });
    }

    #[test]
    fn planted_duplicates_are_found() {
        assert_eq!(judged(&[0, 1, 1, 2, 0], 3, &[], &[]), Verdict { duplicates: 2, ..Verdict::default() });
    }

    #[test]
    fn planted_reorderings_are_found_and_are_no_losses() {
        assert_eq!(judged(&[0, 2, 1, 3], 4, &[], &[]), Verdict { breaks: 1, ..Verdict::default() });
        assert_eq!(judged(&[3, 2, 1, 0], 4, &[], &[]), Verdict { breaks: 3, ..Verdict::default() });
    }

    #[test]
    fn a_loss_and_a_duplicate_do_not_cancel_out() {
        let both = Verdict { losses: 1, duplicates: 1, ..Verdict::default() };
        assert_eq!(judged(&[0, 0, 2], 3, &[], &[]), both);
    }

    #[test]
    fn what_was_refused_need_not_come_and_must_not() {
        assert!(judged(&[0, 2], 4, &[1], &[3]).good());
        assert_eq!(judged(&[0, 1], 2, &[1], &[]), Verdict { phantoms: 1, ..Verdict::default() });
        assert!(judged(&[0, 1], 2, &[], &[1]).good());
    }
}
