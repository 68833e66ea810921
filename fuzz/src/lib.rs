//! Targets for `cargo fuzz`. See README.md.

pub mod targets;
