//! Floor 1: tables that every node holds whole.
//!
//! Of two values for one key the later one wins, so values may arrive in any order, any number of times, and all nodes
//! end with the same table.
//!
//! * [`Presence`]: who owns each user. A [`Table`]: rows of a few bytes by key hash, in memory whole.
//! * [`Directory`]: facts about users, as [`Cell`]s. Those that decisions need are in memory; [`FactMarks`] says of all of
//!   them when they were written.
//! * [`Repair`]: finds and ends the differences between this node's table and a peer's, by digests kept with every
//!   table. It runs when a link comes up and every few seconds; changes are pushed at once beside it.
//!
//! Pure: no clock, no randomness, no I/O, no tokio.

mod cell;
mod claims;
mod directory;
mod index;
mod marks;
mod repair;
mod shard;
mod summary;
mod sync;
mod table;
mod walk;

#[cfg(test)]
mod sim;

pub use cell::Cell;
pub use claims::{Claim, ClaimRow, LATEST, Owned, Presence};
pub use directory::{Directory, Fact, FactKey, FactValue};
pub use marks::{FactMark, FactMarks, fact_hash};
pub use repair::Repair;
pub use summary::{Summary, leaf_of};
pub use sync::{BURST, ByLeaf, Changed, MESSAGE, RepairMessage, Replica, Token, Unsound};
pub use table::{Merged, Row, Table};
