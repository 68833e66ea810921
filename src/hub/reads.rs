//! What the driver reads from the store for the relay: beside it, on threads that may block; what comes of it is an input.

use super::{Job, driver::Driver};
use crate::{
    model::{EntryRow, Log, MessageId, NodeId, Stamp, UserKey},
    relay::{Answer, Input, Refused, ReplyTo},
    store::{Store, StoreError},
};

/// Rows of a mailbox handed over at once, and bytes of content after which a part ends.
const EXPORT_ROWS: usize = 512;
const EXPORT_BYTES: usize = 512 * 1_024;
/// Names of mailboxes read at once.
const LOOK_ROWS: usize = 1_024;
/// Facts told to a peer at once.
const FACTS: usize = 512;

impl Driver {
    pub(super) fn export(&self, user: UserKey, number: u64, after: Stamp) {
        self.read(move |store| {
            let page = store.export(&user, after, EXPORT_ROWS, EXPORT_BYTES);
            let page = told(&user, page).map(Box::new);
            Input::Exported { user, number, page }
        });
    }

    pub(super) fn find(&self, to: ReplyTo, log: Log, id: MessageId, between: (Stamp, Stamp)) {
        let (store, queue) = (self.store.clone(), self.queue.clone());
        tokio::task::spawn_blocking(move || {
            let answer = match store.find(&log, id, between) {
                Ok(found) => Ok(Answer::Found(found)),
                Err(error) => {
                    tracing::error!(%error, "a message cannot be read");
                    Err(Refused::Failed)
                }
            };
            // The driver is gone when this fails, and nobody waits for the answer any more.
            let _ = queue.blocking_send(Job::Reply(to, answer));
        });
    }

    pub(super) fn rows(&self, user: UserKey, after: Stamp) {
        self.read(move |store| {
            let rows = told(&user, rows(store, &user, after));
            Input::Rows { user, after, rows }
        });
    }

    pub(super) fn facts(&self, peer: NodeId, after: Option<crate::gossip::FactKey>) {
        self.read(move |store| {
            let facts = store.facts_after(after.as_ref(), FACTS).unwrap_or_else(|error| {
                tracing::error!(%error, "the directory cannot be read");
                Vec::new()
            });
            Input::Facts { peer, facts }
        });
    }

    /// Names all mailboxes of the store to the relay, some at a time, no faster than it takes them.
    pub(super) fn look(&self) {
        let (store, queue) = (self.store.clone(), self.queue.clone());
        tokio::task::spawn_blocking(move || {
            let mut resume: Option<UserKey> = None;
            loop {
                let found = match store.mailboxes(resume.as_ref(), LOOK_ROWS) {
                    Ok(found) => found,
                    Err(error) => {
                        tracing::error!(%error, "the mailboxes cannot be listed");
                        Vec::new()
                    }
                };
                resume = found.last().cloned();
                let over = resume.is_none();
                let mut inputs: Vec<_> = found.into_iter().map(|user| Input::Holds { user }).collect();
                if over {
                    inputs.push(Input::Looked);
                }
                if queue.blocking_send(Job::Inputs(inputs)).is_err() || over {
                    return;
                }
            }
        });
    }

    /// Reads beside the driver; what comes of it is an input.
    fn read(&self, read: impl FnOnce(&dyn Store) -> Input + Send + 'static) {
        let (store, queue) = (self.store.clone(), self.queue.clone());
        tokio::task::spawn_blocking(move || {
            let input = read(&*store);
            // The driver is gone when this fails, and nobody waits for what was read any more.
            let _ = queue.blocking_send(Job::Inputs(vec![input]));
        });
    }

    pub(super) fn load(&self, user: UserKey) {
        let (store, queue) = (self.store.clone(), self.queue.clone());
        let metrics = self.metrics.clone();
        tokio::task::spawn_blocking(move || {
            let input = match store.load(&user) {
                Ok(snapshot) => Input::Loaded { user, snapshot: Box::new(snapshot) },
                Err(error) => {
                    tracing::error!(?user, %error, "a mailbox cannot be read");
                    Input::LoadFailed { user }
                }
            };
            metrics.mailboxes_loaded.inc();
            // The driver is gone when this fails, and nobody waits for the mailbox any more.
            let _ = queue.blocking_send(Job::Inputs(vec![input]));
        });
    }
}

/// All rows of a mailbox after a position.
fn rows(store: &dyn Store, user: &UserKey, after: Stamp) -> Result<Vec<(Stamp, EntryRow)>, StoreError> {
    let (mut found, mut from) = (Vec::new(), after);
    loop {
        let page = store.export(user, from, EXPORT_ROWS, usize::MAX)?;
        from = page.last;
        found.extend(page.rows.into_iter().map(|(pos, row, _)| (pos, row)));
        if !page.more {
            return Ok(found);
        }
    }
}

fn told<T>(user: &UserKey, read: Result<T, StoreError>) -> Option<T> {
    read.inspect_err(|error| tracing::error!(?user, %error, "a mailbox cannot be read")).ok()
}
