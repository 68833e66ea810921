//! What two nodes say to each other to find and repair the differences of a table.
//!
//! Changes are pushed as they happen; this finds what was missed. One side of a link *drives*, the other only answers;
//! it remembers nothing of the drive, so every answer is a function of its table and the question.
//!
//! ```text
//! driver                                  peer
//!   Root: digest of my table     ───▶
//!                                ◀───     Level: the same, done    (the usual end: some 20 bytes)
//!                                ◀───     Top: tokens of my 256 branches
//!   Ask: tokens of my leaves in
//!        branches that differ    ───▶
//!                                ◀───     Marks: tokens of my rows in leaves that differ
//!                                ◀───     Rows: mine, of leaves where you have none
//!                                ◀───     End: so far I came
//!   Rows: mine that you lack     ───▶
//!   Fetch: tokens that I lack    ───▶
//!   Ask: the next ones           ───▶
//!                                ◀───     Rows: those fetched
//!                                ◀───     Marks … End
//! ```
//!
//! A *token* is 32 bits of a digest, picked by the number of the round ([`token`]): what collides in one round does not
//! in the next. A row's *place* is its leaf and its token; both sides see their rows in the order of places, so a run of places
//! with the tokens in it says which rows of that run the other has, and which of them it has in the same version. A
//! drive is one walk over all places; it can be cut anywhere and go on from there. This is range-based set
//! reconciliation (Meyer, "Range-Based Set Reconciliation", 2023) over the two fixed levels of [`super::summary`], in place of
//! ranges halved again and again, which would take more round trips.
//!
//! A row that differs is given by both sides, and the older one is found stale; that is cheaper than to name keys.
//!
//! Bounds: no message is over 64 KiB ([`MESSAGE`]); a turn (one `Ask` and all that follows from it) carries about
//! [`BURST`] bytes each way, and the next turn starts when the peer has answered, which it does after it has taken in
//! all that was sent before. So a million rows stream at one burst a round trip, and never lie in a queue.
//!
//! Loss: what is lost is found by the next round. Duplicates, answers to earlier rounds and rows nobody asked for do
//! no harm. Both may drive at once; then the one that leads goes on and the other one answers.

use super::{Merged, Row, Table};
use serde::{Deserialize, Serialize};

/// Most bytes of a message's lists; the whole is below 64 KiB.
pub const MESSAGE: usize = 62 << 10;

/// Bytes of rows and tokens after which a turn is cut.
pub const BURST: usize = 512 << 10;

/// 32 bits of a digest, big end first.
pub type Token = [u8; 4];

/// Tokens of rows by leaf, both ascending.
pub type ByLeaf = Vec<(u16, Vec<Token>)>;

/// A message of the repair of a table with rows `R`. Grows at the end only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RepairMessage<R> {
    /// Begins a round.
    Root {
        /// Number of the round, the driver's.
        round: u32,
        /// Digest of the driver's whole table.
        root: u64,
    },
    /// The tables were equal.
    Level {
        /// As in `Root`.
        round: u32,
    },
    /// The tables differ.
    Top {
        /// As in `Root`.
        round: u32,
        /// Tokens of the peer's 256 branches.
        branches: Vec<Token>,
    },
    /// What does the peer have in these branches?
    Ask {
        /// As in `Root`.
        round: u32,
        /// Number of the turn within the round.
        turn: u32,
        /// Place at which the answer is to begin.
        from: u64,
        /// Branches, ascending, with the tokens of the driver's 256 leaves in each; none when it has no row there.
        branches: Vec<(u8, Vec<Token>)>,
    },
    /// All rows of the peer in these leaves at places in `from..to`.
    Marks {
        /// As in `Ask`.
        round: u32,
        /// As in `Ask`.
        turn: u32,
        /// First place of the run.
        from: u64,
        /// Place after the run.
        to: u64,
        /// Leaves that differ, also those in which the peer has no row.
        leaves: ByLeaf,
    },
    /// Asks for the rows with these tokens.
    Fetch {
        /// As in `Root`.
        round: u32,
        /// Tokens out of `Marks`.
        leaves: ByLeaf,
    },
    /// Rows that the receiver lacks or has in another version: key, big end first, and row. Good at any time.
    Rows(Vec<([u8; 16], R)>),
    /// The answer to an `Ask` is complete.
    End {
        /// As in `Ask`.
        round: u32,
        /// As in `Ask`.
        turn: u32,
        /// Place up to which it was answered, if not to the end of the last branch.
        next: Option<u64>,
    },
}

/// Why a message from a peer was left alone. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsound {
    /// Its lists are longer than [`MESSAGE`] allows.
    #[error("the lists of a repair message are over {MESSAGE} bytes")]
    TooLarge,
    /// A list is not ascending, or not of the length it has to have.
    #[error("a list of a repair message is out of order or of a wrong length")]
    Shape,
    /// A place lies outside of the run that the message, or the question before it, is about.
    #[error("a repair message names a place outside of its run")]
    Range,
}

/// Bytes that a leaf takes in a [`ByLeaf`] beside its tokens, at most.
pub(super) const LEAF_COST: usize = 6;

impl<R> RepairMessage<R> {
    /// Whether its lists have the sizes and the order that they must have.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self) -> Result<(), Unsound> {
        match self {
            Self::Top { branches, .. } if branches.len() != 256 => Err(Unsound::Shape),
            Self::Ask { branches, .. } => {
                let sized = |tokens: &[Token]| tokens.is_empty() || tokens.len() == 256;
                if !branches.is_sorted_by(|a, b| a.0 < b.0) || !branches.iter().all(|(_, all)| sized(all)) {
                    return Err(Unsound::Shape);
                }
                let bytes: usize = branches.iter().map(|(_, tokens)| ask_cost(tokens.len())).sum();
                if bytes > MESSAGE { Err(Unsound::TooLarge) } else { Ok(()) }
            }
            Self::Marks { from, to, leaves, .. } => {
                check_leaves(leaves)?;
                let ends = [leaves.first(), leaves.last()];
                for (leaf, tokens) in ends.into_iter().flatten() {
                    let all = || tokens.iter().map(|&token| place(*leaf, token));
                    let inside = |place| (*from..*to).contains(&place);
                    let overlaps = place(*leaf, [0xff; 4]) >= *from && place(*leaf, [0; 4]) < *to;
                    if !overlaps || !all().all(inside) {
                        return Err(Unsound::Range);
                    }
                }
                Ok(())
            }
            Self::Fetch { leaves, .. } => check_leaves(leaves),
            Self::Rows(rows) if rows.len() * size_of::<[u8; 16]>() > MESSAGE => Err(Unsound::TooLarge),
            Self::Root { .. } | Self::Level { .. } | Self::Top { .. } | Self::Rows(_) | Self::End { .. } => {
                Ok(())
            }
        }
    }
}

/// Bytes that a branch takes in an `Ask`, at most.
pub(super) const fn ask_cost(tokens: usize) -> usize {
    3 + tokens * size_of::<Token>()
}

fn check_leaves(leaves: &ByLeaf) -> Result<(), Unsound> {
    let bytes: usize = leaves.iter().map(|(_, tokens)| LEAF_COST + tokens.len() * size_of::<Token>()).sum();
    if bytes > MESSAGE {
        return Err(Unsound::TooLarge);
    }
    let ascending = leaves.iter().all(|(_, tokens)| tokens.is_sorted_by(|a, b| a < b));
    if ascending && leaves.is_sorted_by(|a, b| a.0 < b.0) { Ok(()) } else { Err(Unsound::Shape) }
}

/// The token of a digest in a round: multiply-shift with an odd factor that follows from the round (Dietzfelbinger et
/// al., "A Reliable Randomized Algorithm for the Closest-Pair Problem", 1997; the factor by the finalizer of
/// SplitMix64). Two digests share a token in about one of 2^31 rounds. That of nothing is zero.
pub(super) const fn token(digest: u64, round: u32) -> Token {
    let mut factor = (round as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    factor = (factor ^ factor >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    factor = (factor ^ factor >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    factor = (factor ^ factor >> 31) | 1;
    ((digest.wrapping_mul(factor) >> 32) as u32).to_be_bytes()
}

/// Where a row stands in a round: the leaf in 16 bits, then the token in 32.
pub(super) const fn place(leaf: u16, token: Token) -> u64 {
    (leaf as u64) << 32 | u32::from_be_bytes(token) as u64
}

/// First place of a branch; of 256, the place after all.
pub(super) const fn branch_place(branch: u64) -> u64 {
    branch << 40
}

/// A key, its row, and the row that this one replaced.
pub type Changed<R> = (u128, R, Option<R>);

/// A table that repairs may write to.
pub trait Replica {
    /// Its rows.
    type Row: Row;

    /// The table.
    fn table(&self) -> &Table<Self::Row>;

    /// Takes a row in if it beats the one there, with all that has to follow from that.
    fn merge_row(&mut self, key: u128, row: Self::Row) -> Merged<Self::Row>;
}

impl<R: Row> Replica for Table<R> {
    type Row = R;

    fn table(&self) -> &Self {
        self
    }

    fn merge_row(&mut self, key: u128, row: R) -> Merged<R> {
        self.merge(key, row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_these_bytes() {
        // Nodes of different versions speak them: a change here needs a new version of the link.
        let leaves = vec![(0x0102, vec![[1, 2, 3, 4], [5, 6, 7, 8]])];
        let all: [(RepairMessage<u32>, &str); 8] = [
            (RepairMessage::Root { round: 1, root: 300 }, "00 01 ac 02"),
            (RepairMessage::Level { round: 2 }, "01 02"),
            (RepairMessage::Top { round: 3, branches: vec![[9, 8, 7, 6]] }, "02 03 01 09 08 07 06"),
            (
                RepairMessage::Ask {
                    round: 1,
                    turn: 2,
                    from: 3,
                    branches: vec![(4, vec![]), (5, vec![[1; 4]])],
                },
                "03 01 02 03 02 04 00 05 01 01 01 01 01",
            ),
            (
                RepairMessage::Marks { round: 1, turn: 2, from: 3, to: 4, leaves: leaves.clone() },
                "04 01 02 03 04 01 82 02 02 01 02 03 04 05 06 07 08",
            ),
            (RepairMessage::Fetch { round: 1, leaves }, "05 01 01 82 02 02 01 02 03 04 05 06 07 08"),
            (
                RepairMessage::Rows(vec![([0xab; 16], 7)]),
                "06 01 ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab 07",
            ),
            (RepairMessage::End { round: 1, turn: 2, next: Some(3) }, "07 01 02 01 03"),
        ];
        for (message, hex) in all {
            let bytes = postcard::to_stdvec(&message).unwrap();
            let written: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(written.join(" "), hex);
            assert_eq!(postcard::from_bytes::<RepairMessage<u32>>(&bytes).unwrap(), message);
        }
    }

    #[test]
    fn tokens_are_fixed_differ_by_round_and_nothing_is_nothing() {
        assert_eq!(token(0, 9), [0; 4]);
        assert_ne!(token(77, 1), token(77, 2));
        let tokens: std::collections::BTreeSet<_> = (1..10_000).map(|digest| token(digest, 1)).collect();
        assert_eq!(tokens.len(), 9_999);
        // The factor of round 1 is the first number of SplitMix64 from seed 0; nodes of different versions compare tokens.
        let product = 0x0123_4567_89ab_cdef_u64.wrapping_mul(0xe220_a839_7b1d_cdaf);
        assert_eq!(token(0x0123_4567_89ab_cdef, 1), ((product >> 32) as u32).to_be_bytes());
        assert_eq!(place(0x0102, [3, 4, 5, 6]), 0x0102_0304_0506);
    }
}
