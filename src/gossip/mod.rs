//! Floor 1: tables that every node holds whole.
//!
//! Of two values for one key the later one wins, so values may arrive in any order, any number of times, and all nodes
//! end with the same table.
//!
//! * [`Table`]: rows of a few bytes by key hash, in memory whole.
//! * [`Directory`]: facts about users, as [`Cell`]s. Those that decisions need are in memory.
//!
//! Pure: no clock, no randomness, no I/O, no tokio.

mod cell;
mod directory;
mod index;
mod shard;
mod summary;
mod table;


pub use cell::Cell;
pub use directory::{Directory, Fact, FactKey, FactValue};
pub use summary::{Summary, leaf_of};
pub use table::{Merged, Row, Table};
