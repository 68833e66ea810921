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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gossip::{Fact, FactKey},
        model::{
            Change, Conversation, EntryRow, Kind, Log, Message, MessageId, NodeId, Parcel, Stamp, UserHash,
            UserKey,
        },
        store::{ClaimRow, EntryPage, Export, MailboxRow, Page, Profile, Snapshot, memory::MemoryStore},
    };
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A store whose commits wait until they are let go, and fail when told so.
    struct Slow {
        inner: MemoryStore,
        /// Size of each batch, as it begins.
        begun: Mutex<Sender<usize>>,
        /// One message lets one commit end; `false` makes it fail.
        go: Mutex<Receiver<bool>>,
    }

    impl Store for Slow {
        fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
            self.begun.lock().send(writes.len()).unwrap();
            if self.go.lock().recv().unwrap() {
                self.inner.commit(writes)
            } else {
                Err(StoreError::Engine("the disk is gone".into()))
            }
        }
        fn last_stamp(&self) -> Result<Stamp, StoreError> {
            self.inner.last_stamp()
        }
        fn load(&self, user: &UserKey) -> Result<Snapshot, StoreError> {
            self.inner.load(user)
        }
        fn entries(&self, user: &UserKey, after: Stamp, a: usize, b: usize) -> Result<EntryPage, StoreError> {
            self.inner.entries(user, after, a, b)
        }
        fn entry(&self, user: &UserKey, pos: Stamp) -> Result<Option<EntryRow>, StoreError> {
            self.inner.entry(user, pos)
        }
        fn history(
            &self,
            log: &Log,
            page: Page,
            limit: usize,
            keep: &dyn Fn(&Message) -> bool,
        ) -> Result<(Vec<Arc<Message>>, bool), StoreError> {
            self.inner.history(log, page, limit, keep)
        }
        fn message(&self, log: &Log, at: Stamp, id: MessageId) -> Result<Option<Arc<Message>>, StoreError> {
            self.inner.message(log, at, id)
        }
        fn facts(&self, each: &mut dyn FnMut(FactKey, Fact)) -> Result<(), StoreError> {
            self.inner.facts(each)
        }
        fn facts_after(&self, after: Option<&FactKey>, a: usize) -> Result<Vec<(FactKey, Fact)>, StoreError> {
            self.inner.facts_after(after, a)
        }
        fn profile(&self, user: &UserKey) -> Result<Profile, StoreError> {
            self.inner.profile(user)
        }
        fn users(&self, app: &str, after: &str, limit: usize) -> Result<Vec<UserKey>, StoreError> {
            self.inner.users(app, after, limit)
        }
        fn mailbox(&self, user: &UserKey) -> Result<Option<MailboxRow>, StoreError> {
            self.inner.mailbox(user)
        }
        fn claims(&self, each: &mut dyn FnMut(UserHash, ClaimRow)) -> Result<(), StoreError> {
            self.inner.claims(each)
        }
        fn outboxes(&self, each: &mut dyn FnMut(NodeId, u64, Option<Parcel>)) -> Result<(), StoreError> {
            self.inner.outboxes(each)
        }
        fn export(&self, user: &UserKey, after: Stamp, a: usize, b: usize) -> Result<Export, StoreError> {
            self.inner.export(user, after, a, b)
        }
        fn mailboxes(&self, resume: Option<&UserKey>, limit: usize) -> Result<Vec<UserKey>, StoreError> {
            self.inner.mailboxes(resume, limit)
        }
        fn expired_mailboxes(
            &self,
            cutoff: Stamp,
            resume: Option<&UserKey>,
            limit: usize,
        ) -> Result<Vec<(UserKey, Stamp)>, StoreError> {
            self.inner.expired_mailboxes(cutoff, resume, limit)
        }
        fn expired_logs(
            &self,
            kind: Kind,
            cutoff: Stamp,
            resume: Option<&Log>,
            limit: usize,
        ) -> Result<Vec<(Log, Stamp)>, StoreError> {
            self.inner.expired_logs(kind, cutoff, resume, limit)
        }
    }

    struct Bench {
        store: Arc<Slow>,
        commits: GroupCommit,
        begun: Receiver<usize>,
        go: Sender<bool>,
        done: Receiver<Option<u64>>,
    }

    fn bench() -> Bench {
        let ((begun_tx, begun), (go, go_rx), (done_tx, done)) = (channel(), channel(), channel());
        let (begun_tx, go_rx) = (Mutex::new(begun_tx), Mutex::new(go_rx));
        let store = Arc::new(Slow { inner: MemoryStore::default(), begun: begun_tx, go: go_rx });
        let commits = GroupCommit::start(store.clone(), move |result| {
            done_tx.send(result.ok().map(|batch| batch.seq)).unwrap();
        })
        .unwrap();
        Bench { store, commits, begun, go, done }
    }

    fn receipt(pos: u64) -> Vec<Write> {
        let conversation = Conversation { kind: Kind::Private, target: "bo".into() };
        let row = EntryRow::Change(Change::Receipt { conversation, at: Stamp(pos) });
        vec![Write::Entry { user: UserKey::new("app", "ann").unwrap(), pos: Stamp(pos), row }]
    }

    #[test]
    fn what_arrives_during_a_commit_is_one_batch() {
        let bench = bench();
        bench.commits.submit(1, receipt(1));
        assert_eq!(bench.begun.recv(), Ok(1));
        (2..=5).for_each(|seq| bench.commits.submit(seq, receipt(seq)));
        bench.go.send(true).unwrap();
        assert_eq!(bench.done.recv(), Ok(Some(1)));
        assert_eq!(bench.begun.recv(), Ok(4));
        bench.go.send(true).unwrap();
        assert_eq!(bench.done.recv(), Ok(Some(5)));
        assert_eq!(bench.store.last_stamp().unwrap(), Stamp(5));
    }

    #[test]
    fn an_error_is_the_last_word() {
        let bench = bench();
        bench.commits.submit(1, receipt(1));
        bench.begun.recv().unwrap();
        bench.commits.submit(2, receipt(2));
        bench.go.send(false).unwrap();
        assert_eq!(bench.done.recv(), Ok(None));
        bench.commits.submit(3, receipt(3));
        // The thread has ended: nothing begins, and `done` is gone.
        assert!(bench.done.recv().is_err());
        assert!(bench.begun.try_recv().is_err());
        assert_eq!(bench.store.last_stamp().unwrap(), Stamp::ZERO);
    }

    #[test]
    fn dropping_finishes_what_waits() {
        let bench = bench();
        bench.commits.submit(1, receipt(1));
        bench.begun.recv().unwrap();
        bench.commits.submit(2, receipt(2));
        bench.go.send(true).unwrap();
        bench.go.send(true).unwrap();
        drop(bench.commits);
        assert_eq!(bench.done.iter().collect::<Vec<_>>(), [Some(1), Some(2)]);
        assert_eq!(bench.store.last_stamp().unwrap(), Stamp(2));
    }
}
