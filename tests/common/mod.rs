//! What the tests of whole nodes share: a node, clients of the native protocol, an app's back end.

#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

mod api;
mod device;
mod http;
mod line;
mod node;
mod process;

pub use api::Backend;
pub use device::{Device, Hello, letter, texts};
pub use http::{Answer, http, http_over};
pub use line::{Closed, Line, hello};
pub use node::{KEY, SECRET, TestNode, token, user};
pub use process::Serving;

use std::time::Duration;

/// How long a test waits for something that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `done` says so.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let start = tokio::time::Instant::now();
    while !done().await {
        assert!(start.elapsed() < PATIENCE, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// `work`, or a panic when it takes too long.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited too long for {what}"),
    }
}

/// Random choices that a seed replays (Steele et al., "Fast Splittable Pseudorandom Number Generators", 2014).
pub struct Choices(u64);

impl Choices {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `range`.
    pub fn of(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }
}

/// The wall clock.
pub fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_millis() as u64
}
