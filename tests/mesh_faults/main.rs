//! Real faults: three real nodes, each a process in a network namespace of its own, while people chat.
//!
//! What breaks is real (links, directions of links, processes, certificates); what may not happen is counted: every message
//! that was sent has to come once and in order, and stand once in every mailbox and history. Times are reported, and bounded
//! only so far that a machine with other work does not fail. Figures: `cargo nextest run --test mesh_faults --no-capture`.
//!
//! | variable | |
//! | --- | --- |
//! | `HONGYAN_SEED` | replays all choices (not the scheduling) |
//! | `TEST_FAULTS_BINARY` | another program than the one just built, such as one of the release profile |
//! | `TEST_FAULTS_PARTITION` | seconds that the partition lasts; 10 |
//! | `TEST_FAULTS_JSON` | a file to which the figures are appended |
//! | `TEST_NEED_NAMESPACES` | `1`: a machine that allows no namespaces is a failure, not a skipped test |

#[path = "../common/mod.rs"]
mod common;
#[path = "../mesh_links/raw.rs"]
mod raw;

mod books;
mod cable;
mod client;
mod cluster;
mod crowd;
mod links;
mod lives;
mod net;
mod plan;
mod race;
mod strangers;
mod stream;

use parking_lot::{Mutex, MutexGuard};

/// One test at a time: they would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

/// A test of this binary, while it runs.
struct Scene {
    seed: u64,
    _alone: MutexGuard<'static, ()>,
}

impl Scene {
    /// `None`, said loudly, where the machine does not allow it.
    fn begin() -> Option<Self> {
        let alone = ALONE.lock();
        if !net::allowed() {
            return None;
        }
        let seed = std::env::var("HONGYAN_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | common::now_ms() & 0xf_ffff);
        println!("HONGYAN_SEED={seed}");
        Some(Self { seed, _alone: alone })
    }
}

/// Milliseconds, for a report.
fn ms(time: std::time::Duration) -> String {
    time.as_millis().to_string()
}
