//! What a client is told to do.

use super::{books::Books, net::Network};
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// How a client is to behave.
#[derive(Clone)]
pub struct Plan {
    pub user: usize,
    /// Which of the user's.
    pub device: usize,
    /// The node where it begins.
    pub home: usize,
    /// To whom it writes, in turn; nobody: it only reads.
    pub to: Vec<usize>,
    /// Time between two messages, on average.
    pub pace: Duration,
    pub networks: Vec<Network>,
    pub books: Arc<Books>,
    /// Whether it writes.
    pub talking: Arc<AtomicBool>,
    pub seed: u64,
}

/// A user's name.
pub fn name(user: usize) -> String {
    format!("user-{user}")
}
