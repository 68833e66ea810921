//! Group commit: one thread, one fsync a batch.
//!
//! While the disk is busy with a batch, commits pile up; when it comes back, all that wait are the next
//! batch. So batching comes from the disk being busy, never from a timer, and a lone message waits for
//! one fsync only (DeWitt et al., "Implementation techniques for main memory database systems", 1984).

use super::{Store, StoreError, Write};
use parking_lot::{Condvar, Mutex};
use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What the thread reports: all commits up to a number are durable, or the disk has failed.
pub type Committed = Result<Batch, StoreError>;

/// A batch that is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Number of the newest commit in it.
    pub seq: u64,
    /// How many writes it held.
    pub writes: usize,
    /// How long writing it took, fsync included.
    pub took: Duration,
}

#[derive(Default)]
struct Waiting {
    writes: Vec<Write>,
    /// Number of the newest commit in `writes`.
    seq: u64,
    closed: bool,
}

struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

/// Handle of the store thread. Dropping it finishes what waits, then ends the thread.
pub struct GroupCommit {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl GroupCommit {
    /// Starts the thread. `done` is called on it after each batch, and for the last time after an error.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        store: Arc<dyn Store>,
        mut done: impl FnMut(Committed) + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { waiting: Mutex::default(), wake: Condvar::new() });
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            let mut batch = Vec::new();
            loop {
                let seq = {
                    let mut waiting = theirs.waiting.lock();
                    while waiting.writes.is_empty() && !waiting.closed {
                        theirs.wake.wait(&mut waiting);
                    }
                    if waiting.writes.is_empty() {
                        return;
                    }
                    std::mem::swap(&mut waiting.writes, &mut batch);
                    waiting.seq
                };
                let started = Instant::now();
                let outcome = store.commit(&batch).map(|()| Batch {
                    seq,
                    writes: batch.len(),
                    took: started.elapsed(),
                });
                batch.clear();
                let failed = outcome.is_err();
                done(outcome);
                if failed {
                    return;
                }
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Hands over a commit; `seq` grows with each call. Never blocks on the disk. How much may wait is bounded by the
    /// caller, who knows what was handed over and what came back.
    pub fn submit(&self, seq: u64, mut writes: Vec<Write>) {
        let mut waiting = self.shared.waiting.lock();
        let idle = waiting.writes.is_empty();
        if idle {
            std::mem::swap(&mut waiting.writes, &mut writes);
        } else {
            waiting.writes.append(&mut writes);
        }
        waiting.seq = seq;
        drop(waiting);
        if idle {
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for GroupCommit {
    fn drop(&mut self) {
        self.shared.waiting.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic on the store thread was reported by the panic hook; there is nothing to add here.
            let _ = thread.join();
        }
    }
}
