//! Floor 1: tables that every node holds whole.
//!
//! A table maps keys to [`Cell`]s; of two cells for one key the later writer wins, so cells may
//! arrive in any order, any number of times, and all nodes end with the same table. Today one
//! node keeps the directory in such cells; spreading and repairing them between nodes builds on this.
//!
//! Pure: no clock, no randomness, no I/O, no tokio.

mod cell;
mod claims;
mod directory;

pub use cell::Cell;
pub use claims::{Claim, Merged, Presence};
pub use directory::{Directory, Fact, FactKey, FactValue};
