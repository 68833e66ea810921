//! The two sides of a repair as one state machine for each peer; [`super::sync`] tells the protocol.
//!
//! Purpose: end every difference between this node's table and a peer's, in few bytes when little differs, and in a
//! paced stream of bounded messages when much does.
//! Flow: [`Repair::start`] when the link comes up, [`Repair::again`] every ten seconds or so; every message from the
//! peer into [`Repair::take`] (tables whose rows travel) or [`Repair::compare`] (marks of things kept elsewhere).
//! Invariants: a message changes the table by merges alone; of one message follow a bounded number of messages; the
//! walk's place only grows within a round.
//! Pure: no time, no randomness. What it gives comes in the order of places, so a seed replays.

use super::{
    Merged, Replica, Row, Table,
    sync::{
        BURST, ByLeaf, Changed, MESSAGE, RepairMessage, Token, Unsound, ask_cost, branch_place, place, token,
    },
    walk::{Gathered, answer, branch_of, fetched, standing},
};
use std::ops::Range;

/// Repair of one table with one peer.
#[derive(Clone, Debug)]
pub struct Repair {
    lead: bool,
    round: u32,
    drive: Option<Drive>,
    /// Whether a question of the peer was answered since [`Repair::again`] last looked.
    served: bool,
    completed: u64,
}

/// A round that this node drives.
#[derive(Clone, Debug, Default)]
struct Drive {
    /// Whether anything came since [`Repair::again`] last looked.
    moved: bool,
    /// Number of the last `Ask`; zero before the first.
    turn: u32,
    /// Branches that differ and are not walked through, ascending. `None` until the peer's `Top` is there.
    branches: Option<Vec<u8>>,
    /// Everything before this place is done.
    from: u64,
    /// How many of `branches` the last `Ask` was about, and the place after them.
    asked: (usize, u64),
    /// How many to ask about in the next turn at most: as many as the last turns got through, then twice as many.
    width: usize,
    /// Bytes of rows given and fetched in this turn; past [`BURST`] the rest waits for the next one, from `cut` on.
    spent: usize,
    cut: Option<u64>,
    /// Whether rows were fetched whose arrival is still to be waited for.
    fetching: bool,
}

impl Repair {
    /// Nothing under way.
    ///
    /// * `lead`: whether this node goes on when both drive at once. True on one side of a link, false on the other:
    ///   for instance on the one with the lower number.
    #[must_use]
    pub const fn new(lead: bool) -> Self {
        Self { lead, round: 0, drive: None, served: false, completed: 0 }
    }

    /// Begins a round afresh: the link came up.
    pub fn start<R: Row>(&mut self, table: &Table<R>) -> RepairMessage<R> {
        self.round = self.round.wrapping_add(1);
        self.drive = Some(Drive::default());
        RepairMessage::Root { round: self.round, root: table.summary().root() }
    }

    /// Begins a round unless one is getting on, driven from here or from there. To be called every ten seconds or so, and
    /// every second until the first round is [`Self::completed`]: where tables are equal it costs some 20 bytes.
    pub fn again<R: Row>(&mut self, table: &Table<R>) -> Option<RepairMessage<R>> {
        let served = std::mem::take(&mut self.served);
        let moved = self.drive.as_mut().is_some_and(|drive| std::mem::take(&mut drive.moved));
        (!served && !moved).then(|| self.start(table))
    }

    /// Whether this node drives a round.
    #[must_use]
    pub const fn is_driving(&self) -> bool {
        self.drive.is_some()
    }

    /// How many rounds that this node drove came to their end. After each the node has all that the peer had when it
    /// began. One that gave way to the peer's is not counted; the next one is, which then finds nothing to do.
    #[must_use]
    pub const fn completed(&self) -> u64 {
        self.completed
    }

    /// Takes a message in, for a table whose rows travel in the messages.
    ///
    /// * `out`: gets the messages to send, in order, on a lane that keeps the order.
    /// * `changed`: gets the rows that changed.
    ///
    /// # Errors
    /// When the peer cannot have meant it; then nothing changed.
    pub fn take<T: Replica>(
        &mut self,
        replica: &mut T,
        message: RepairMessage<T::Row>,
        out: &mut Vec<RepairMessage<T::Row>>,
        changed: &mut Vec<Changed<T::Row>>,
    ) -> Result<(), Unsound> {
        message.check()?;
        if let RepairMessage::Rows(rows) = message {
            for (key, row) in rows.into_iter().filter(|(_, row)| row.sound()) {
                let key = u128::from_be_bytes(key);
                match replica.merge_row(key, row) {
                    Merged::New => changed.push((key, row, None)),
                    Merged::Replaced(old) => changed.push((key, row, Some(old))),
                    Merged::Stale | Merged::Same => {}
                }
            }
            return Ok(());
        }
        let (mut replies, mut give) = (Vec::new(), Vec::new());
        self.compare(replica.table(), message, &mut replies, &mut give)?;
        // Before the replies: an answer says that what was given before has been taken in.
        let most = (MESSAGE / (size_of::<[u8; 16]>() + T::Row::COST)).max(1);
        for rows in give.chunks(most) {
            out.push(RepairMessage::Rows(rows.iter().map(|(key, row)| (key.to_be_bytes(), *row)).collect()));
        }
        out.append(&mut replies);
        Ok(())
    }

    /// Takes a message in, for a table of marks: what they stand for is sent by the caller, and merged by him.
    ///
    /// * `give`: gets keys (and marks) of which the peer lacks what this node has; at most about
    ///   [`BURST`] / [`Row::COST`] at a time. Some may be older than what the peer has.
    /// * `out`: gets the messages to send after all that was given, on the same lane.
    ///
    /// # Errors
    /// When the peer cannot have meant it; then nothing changed.
    pub fn compare<R: Row>(
        &mut self,
        table: &Table<R>,
        message: RepairMessage<R>,
        out: &mut Vec<RepairMessage<R>>,
        give: &mut Vec<(u128, R)>,
    ) -> Result<(), Unsound> {
        message.check()?;
        match message {
            RepairMessage::Root { round, root } => {
                if self.lead && self.drive.is_some() {
                    return Ok(()); // the peer has this node's own `Root`, or gets the next
                }
                self.drive = None;
                if root == table.summary().root() {
                    out.push(RepairMessage::Level { round });
                } else {
                    let branches = (0..=255).map(|branch| token(table.digest(branch), round)).collect();
                    out.push(RepairMessage::Top { round, branches });
                }
            }
            RepairMessage::Ask { round, turn, from, branches } => {
                self.served = true;
                answer(table, (round, turn), from, &branches, out, give);
            }
            RepairMessage::Fetch { round, leaves } => fetched(table, round, &leaves, give),
            RepairMessage::Level { round } => {
                if round == self.round && self.drive.as_ref().is_some_and(|drive| drive.branches.is_none()) {
                    self.complete();
                }
            }
            RepairMessage::Top { round, branches } => {
                if round == self.round {
                    self.top(table, &branches, out);
                }
            }
            RepairMessage::Marks { round, turn, from, to, leaves } => {
                if let Some(drive) = self.driven(round, turn) {
                    drive.marks(table, round, from..to, &leaves, out, give)?;
                }
            }
            RepairMessage::End { round, turn, next } => {
                if let Some(drive) = self.driven(round, turn) {
                    drive.end(next)?;
                    self.ask(table, out);
                }
            }
            RepairMessage::Rows(_) => {}
        }
        Ok(())
    }

    fn complete(&mut self) {
        self.drive = None;
        self.completed += 1;
    }

    /// The drive that an answer with these numbers belongs to.
    fn driven(&mut self, round: u32, turn: u32) -> Option<&mut Drive> {
        let current = self.round;
        self.drive.as_mut().filter(|drive| round == current && turn == drive.turn && turn > 0)
    }

    fn top<R: Row>(&mut self, table: &Table<R>, theirs: &[Token], out: &mut Vec<RepairMessage<R>>) {
        let round = self.round;
        let Some(drive) = self.drive.as_mut().filter(|drive| drive.branches.is_none()) else { return };
        let differ = |&branch: &u8| token(table.digest(branch), round) != theirs[usize::from(branch)];
        drive.moved = true;
        drive.width = 256;
        drive.branches = Some((0..=255).filter(differ).collect());
        self.ask(table, out);
    }

    /// Begins the next turn, or ends the round.
    fn ask<R: Row>(&mut self, table: &Table<R>, out: &mut Vec<RepairMessage<R>>) {
        let round = self.round;
        let Some(drive) = &mut self.drive else { return };
        let left = drive.branches.get_or_insert_default();
        left.retain(|&branch| branch_place(u64::from(branch) + 1) > drive.from);
        if left.is_empty() && !drive.fetching {
            return self.complete();
        }
        let (mut branches, mut bytes) = (Vec::new(), 0);
        for &branch in left.iter().take(drive.width) {
            let tokens: Vec<Token> = match table.digest(branch) {
                0 => Vec::new(),
                _ => table.leaves(branch).iter().map(|&leaf| token(leaf, round)).collect(),
            };
            bytes += ask_cost(tokens.len());
            if bytes > MESSAGE {
                break;
            }
            branches.push((branch, tokens));
        }
        let end = branches.last().map_or(drive.from, |(last, _)| branch_place(u64::from(*last) + 1));
        drive.asked = (branches.len(), end);
        drive.turn += 1;
        (drive.spent, drive.cut, drive.fetching) = (0, None, false);
        out.push(RepairMessage::Ask { round, turn: drive.turn, from: drive.from, branches });
    }
}

impl Drive {
    /// Compares a run of the peer's rows with this node's: gives what the peer lacks, fetches what is lacking here.
    fn marks<R: Row>(
        &mut self,
        table: &Table<R>,
        round: u32,
        run: Range<u64>,
        theirs: &ByLeaf,
        out: &mut Vec<RepairMessage<R>>,
        give: &mut Vec<(u128, R)>,
    ) -> Result<(), Unsound> {
        if run.start < self.from || run.end > self.asked.1 {
            return Err(Unsound::Range);
        }
        self.moved = true;
        if self.cut.is_some_and(|cut| cut <= run.start) {
            return Ok(());
        }
        let mut lacking = Gathered::default();
        'run: for group in theirs.chunk_by(|a, b| a.0 >> 8 == b.0 >> 8) {
            let branch = branch_of(group);
            let mut mine = standing(table, round, group, run.clone()).into_iter().peekable();
            let places = |(leaf, all): &(u16, Vec<Token>)| {
                let leaf = *leaf;
                all.clone().into_iter().map(move |token| place(leaf, token))
            };
            let mut theirs = group.iter().flat_map(places).peekable();
            loop {
                let next = match (mine.peek(), theirs.peek()) {
                    (Some(mine), Some(theirs)) => mine.place.min(*theirs),
                    (Some(mine), None) => mine.place,
                    (None, Some(theirs)) => *theirs,
                    (None, None) => break,
                };
                if self.spent >= BURST {
                    self.cut = Some(next);
                    break 'run;
                }
                let there = theirs.next_if_eq(&next).is_some();
                let mut here = false;
                while let Some(found) = mine.next_if(|found| found.place == next) {
                    here = true;
                    if !there {
                        give.push(table.row_at(branch, found.at));
                        self.spent += size_of::<u128>() + R::COST;
                    }
                }
                if !here {
                    lacking.add(next);
                    self.spent += size_of::<u128>() + R::COST;
                }
            }
        }
        if !lacking.leaves.is_empty() {
            self.fetching = true;
            out.push(RepairMessage::Fetch { round, leaves: lacking.leaves });
        }
        Ok(())
    }

    /// Sets the place where the next turn begins, and how much it asks about.
    fn end(&mut self, next: Option<u64>) -> Result<(), Unsound> {
        let (asked, end) = self.asked;
        if next.is_some_and(|next| next <= self.from || next > end) {
            return Err(Unsound::Range);
        }
        self.moved = true;
        let reached = next.unwrap_or(end).min(self.cut.unwrap_or(end));
        let through = |&&branch: &&u8| branch_place(u64::from(branch) + 1) <= reached;
        let done = self.branches.iter().flatten().take(asked).filter(through).count();
        self.width = if reached < end { done.max(1) } else { (self.width * 2).min(256) };
        self.from = reached;
        Ok(())
    }
}
