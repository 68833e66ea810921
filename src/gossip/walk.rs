//! The walk of a repair: rows in the order of places, and what a peer that only answers says of them.
//!
//! Purpose: what both sides of [`super::repair`] do with a table, without any state of a round.
//! Bounds: an answer reads the branches asked about until it has gathered [`BURST`] bytes; then it says how far it came.

use super::{
    Row, Table,
    shard::Leaves,
    sync::{BURST, ByLeaf, LEAF_COST, MESSAGE, RepairMessage, Token, branch_place, place, token},
};
use std::ops::Range;

/// What a token counts for in a turn: twice its bytes, since to find and sort a row costs time without being sent.
const TOKEN_COST: usize = 8;

/// A row of this node's and where it stands in a round. Small, since they are sorted by the thousand.
pub(super) struct Standing {
    pub(super) place: u64,
    pub(super) at: u32,
}

/// This node's rows in the leaves named, all of one branch, at places within `run`, in the order of places.
pub(super) fn standing<R: Row>(
    table: &Table<R>,
    round: u32,
    leaves: &[(u16, Vec<Token>)],
    run: Range<u64>,
) -> Vec<Standing> {
    let mut wanted = Leaves::default();
    leaves.iter().for_each(|(leaf, _)| wanted.add(*leaf as u8));
    standing_in(table, round, branch_of(leaves), wanted, run)
}

/// The branch that all of these leaves are in.
pub(super) fn branch_of(leaves: &[(u16, Vec<Token>)]) -> u8 {
    leaves.first().map_or(0, |(leaf, _)| (leaf >> 8) as u8)
}

fn standing_in<R: Row>(
    table: &Table<R>,
    round: u32,
    branch: u8,
    wanted: Leaves,
    run: Range<u64>,
) -> Vec<Standing> {
    let stand = |(at, (leaf, trace))| Standing { place: place(leaf, token(trace, round)), at };
    let all = table.select(branch, wanted).map(stand);
    let mut all: Vec<_> = all.filter(|found| run.contains(&found.place)).collect();
    all.sort_unstable_by_key(|found| (found.place, found.at));
    all
}

/// Tokens by leaf, gathered in the order of places.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) leaves: ByLeaf,
    bytes: usize,
}

impl Gathered {
    /// Names a leaf, with no tokens yet.
    fn open(&mut self, leaf: u16) -> &mut Vec<Token> {
        if self.leaves.last().is_none_or(|(last, _)| *last != leaf) {
            self.bytes += LEAF_COST;
            self.leaves.push((leaf, Vec::new()));
        }
        let last = self.leaves.len() - 1;
        &mut self.leaves[last].1
    }

    /// Adds the token of a place; twice the same is once.
    pub(super) fn add(&mut self, place: u64) {
        let token = (place as u32).to_be_bytes();
        let tokens = self.open((place >> 32) as u16);
        if tokens.last() != Some(&token) {
            tokens.push(token);
            self.bytes += size_of::<Token>();
        }
    }

    /// Whether a token in a new leaf might be too much for a message.
    const fn is_full(&self) -> bool {
        self.bytes + LEAF_COST + size_of::<Token>() > MESSAGE
    }
}

/// Answers an `Ask`: rows for leaves where the driver has none, tokens of rows for others that differ.
pub(super) fn answer<R: Row>(
    table: &Table<R>,
    (round, turn): (u32, u32),
    from: u64,
    asked: &[(u8, Vec<Token>)],
    out: &mut Vec<RepairMessage<R>>,
    give: &mut Vec<(u128, R)>,
) {
    let (mut start, mut spent) = (from, 0);
    let mut marks = Gathered::default();
    let mut flush = |marks: &mut Gathered, to: u64| {
        let leaves = std::mem::take(marks).leaves;
        if !leaves.is_empty() {
            out.push(RepairMessage::Marks { round, turn, from: start, to, leaves });
        }
        start = to;
    };
    let mut next = None;
    'walk: for (branch, theirs) in asked {
        let (mut differ, mut bare) = (Leaves::default(), Leaves::default());
        for (leaf, digest) in (0..=255).zip(table.leaves(*branch)) {
            let there = theirs.get(usize::from(leaf)).copied().unwrap_or_default();
            if token(digest, round) != there {
                differ.add(leaf);
                if there == Token::default() {
                    bare.add(leaf);
                }
            }
        }
        if differ.is_empty() {
            continue;
        }
        let end = branch_place(u64::from(*branch) + 1);
        let mut rows = standing_in(table, round, *branch, differ, from..end).into_iter().peekable();
        for leaf in (0..=255).filter(|&leaf| differ.has(leaf)) {
            let whole = u16::from(*branch) << 8 | u16::from(leaf);
            if place(whole, [0xff; 4]) < from {
                continue;
            }
            let first = place(whole, [0; 4]).max(from);
            if spent >= BURST {
                next = Some(first);
                break 'walk;
            }
            if !bare.has(leaf) {
                if marks.is_full() {
                    flush(&mut marks, first);
                }
                marks.open(whole);
                spent += LEAF_COST;
            }
            let mut last = None;
            while let Some(row) = rows.next_if(|row| row.place >> 32 == u64::from(whole)) {
                if spent >= BURST && last.is_some_and(|last| last != row.place) {
                    next = Some(row.place);
                    break 'walk;
                }
                last = Some(row.place);
                if bare.has(leaf) {
                    give.push(table.row_at(*branch, row.at));
                    spent += size_of::<u128>() + R::COST;
                } else {
                    if marks.is_full() {
                        flush(&mut marks, row.place);
                    }
                    marks.add(row.place);
                    spent += TOKEN_COST;
                }
            }
        }
    }
    let end = asked.last().map_or(from, |(last, _)| branch_place(u64::from(*last) + 1));
    flush(&mut marks, next.unwrap_or(end));
    out.push(RepairMessage::End { round, turn, next });
}

/// Gives the rows with these tokens.
pub(super) fn fetched<R: Row>(table: &Table<R>, round: u32, leaves: &ByLeaf, give: &mut Vec<(u128, R)>) {
    for group in leaves.chunk_by(|a, b| a.0 >> 8 == b.0 >> 8) {
        for found in standing(table, round, group, 0..u64::MAX) {
            let (leaf, token) = ((found.place >> 32) as u16, (found.place as u32).to_be_bytes());
            let asked = group.binary_search_by_key(&leaf, |(leaf, _)| *leaf);
            if asked.is_ok_and(|asked| group[asked].1.binary_search(&token).is_ok()) {
                give.push(table.row_at(branch_of(group), found.at));
            }
        }
    }
}
