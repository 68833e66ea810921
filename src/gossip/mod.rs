//! Floor 1: tables that every node holds whole.
//!
//! Of two values for one key the later one wins, so values may arrive in any order, any number of times, and all nodes
//! end with the same table.
//!
//! * [`Table`]: rows of a few bytes by key hash, in memory whole.
//! * [`Directory`]: facts about users, as [`Cell`]s. Those that decisions need are in memory.
//! * [`Repair`]: finds and ends the differences between this node's table and a peer's, by digests kept with every
//!   table. It runs when a link comes up and every few seconds; changes are pushed at once beside it.
//!
//! Pure: no clock, no randomness, no I/O, no tokio.

mod cell;
mod directory;
mod index;
mod repair;
mod shard;
mod summary;
mod sync;
mod table;
mod walk;


pub use cell::Cell;
pub use directory::{Directory, Fact, FactKey, FactValue};
pub use repair::Repair;
pub use summary::{Summary, leaf_of};
pub use sync::{BURST, ByLeaf, Changed, MESSAGE, RepairMessage, Replica, Token, Unsound};
pub use table::{Merged, Row, Table};
