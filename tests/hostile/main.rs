//! Clients that break the rules, lie, flood, or say nothing; and those beside them, who must not notice.

#[path = "../common/mod.rs"]
mod common;

mod doors;
mod floods;
mod frames;
mod limits;
mod polling;
mod tokens;
