//! Between the relay and the world: one task that runs the state machine, and the handle that leads to it.
//!
//! Purpose: keep `relay` free of I/O, and everyone else free of `relay`'s state.
//! Flow: sessions and the server API hand in inputs through a bounded queue → the driver feeds them to the relay in
//! batches → commits go to the store thread, pushes and answers to [`Port`]s and waiting callers.
//! Invariants: the driver never waits for a socket or the disk; what it cannot hand over at once has a named outcome.

mod asks;
mod driver;

pub use driver::DriverEnd;

use crate::{
    metrics::Metrics,
    model::{Entry, Message, Reign, Stamp, UserKey},
    relay::{Answer, Command, Input, KickReason, Limits, NotResumed, Open, Refused, SessionId},
    store::{Store, StoreError},
};
use asks::Asked;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

/// One session's end of the driver. Methods are called on the driver's task and must return at once.
pub trait Port: Send + Sync + 'static {
    /// The session is let in; send it entries after `start` from the store, then ask to attach.
    fn welcome(&self, start: Stamp, why: Option<NotResumed>, reign: Option<Reign>);
    /// The session is not let in.
    fn turned_away(&self, why: &Refused);
    /// Nothing is missing up to `pos`; pushes follow.
    fn live(&self, pos: Stamp);
    /// Pushes have stopped: read on from the last entry sent.
    fn read_on(&self);
    /// An entry. `false`: no room; it was not taken, and the session has to read on.
    fn push(&self, prev: Stamp, entry: &Entry) -> bool;
    /// A status message; may be dropped when there is no room.
    fn pass(&self, message: &Message);
    /// The peer's device has what this user sent.
    fn delivered(&self, conversation: &crate::model::Conversation, at: Stamp);
    /// A watched user came or went.
    fn presence(&self, user: &UserKey, online: bool);
    /// The session is over.
    fn kick(&self, why: &KickReason);
    /// The answer to request `r`.
    fn reply(&self, r: u64, answer: &Result<Answer, Refused>);
}

/// What goes through the queue.
pub(crate) enum Job {
    /// Inputs in order.
    Inputs(Vec<Input>),
    /// A new session.
    Open(Open, Arc<dyn Port>),
    /// Commands whose caller waits for all answers.
    Ask(Vec<(UserKey, Command)>, oneshot::Sender<Vec<Asked>>),
    /// Write all checkpoints, finish what is under way, end.
    Stop,
}

struct Inner {
    queue: mpsc::Sender<Job>,
    store: Arc<dyn Store>,
    next_session: AtomicU64,
    metrics: Arc<Metrics>,
}

/// A handle; clones are cheap and all lead to the same relay.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

/// Bounds of a hub.
#[derive(Clone, Copy, Debug)]
pub struct HubOptions {
    /// Jobs that may wait for the relay.
    pub queue: usize,
    /// The relay's own bounds.
    pub relay: Limits,
}

impl Hub {
    /// Starts the driver and the store thread on the current runtime. The receiver is told once, when the driver has ended.
    ///
    /// # Errors
    /// When the store cannot be read, or no thread can be had.
    pub async fn start(
        store: Arc<dyn Store>,
        options: HubOptions,
        metrics: Arc<Metrics>,
        tracker: &TaskTracker,
    ) -> Result<(Self, oneshot::Receiver<DriverEnd>), StoreError> {
        let (queue, jobs) = mpsc::channel(options.queue);
        let driver =
            driver::Driver::new(store.clone(), options.relay, metrics.clone(), queue.clone()).await?;
        let (told, end) = oneshot::channel();
        tracker.spawn(async move {
            // Nobody listens any more when the node is already gone.
            let _ = told.send(driver.run(jobs).await);
        });
        let inner = Arc::new(Inner { queue, store, next_session: AtomicU64::new(1), metrics });
        Ok((Self { inner }, end))
    }

    /// Asks the relay for something in the name of `user` and waits for the answer; what had to be written is durable by
    /// then.
    ///
    /// # Errors
    /// What the relay refused.
    pub async fn ask(&self, user: UserKey, command: Command) -> Result<Answer, Refused> {
        self.ask_all(vec![(user, command)]).await.pop().unwrap_or(Err(Refused::Ended))
    }

    /// Asks for many things at once; the answers are in the order of the questions.
    pub async fn ask_all(&self, commands: Vec<(UserKey, Command)>) -> Vec<Result<Answer, Refused>> {
        let count = commands.len();
        let (sender, answers) = oneshot::channel();
        let ended = || (0..count).map(|_| Err(Refused::Ended)).collect();
        if count == 0 || self.inner.queue.send(Job::Ask(commands, sender)).await.is_err() {
            return ended();
        }
        answers.await.unwrap_or_else(|_| ended())
    }

    /// Reads from the store on a thread that may block.
    ///
    /// # Errors
    /// What the store said.
    pub async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    {
        let store = self.inner.store.clone();
        match tokio::task::spawn_blocking(move || read(&*store)).await {
            Ok(read) => read,
            Err(_) => Err(StoreError::Engine("a read was broken off".into())),
        }
    }

    /// A number for a new session.
    #[must_use]
    pub fn next_session(&self) -> SessionId {
        SessionId(self.inner.next_session.fetch_add(1, Ordering::Relaxed))
    }

    /// Asks to let a session in; the answer comes through `port`.
    ///
    /// # Errors
    /// [`Refused::Ended`] when the node is stopping.
    pub async fn open(&self, open: Open, port: Arc<dyn Port>) -> Result<(), Refused> {
        self.inner.queue.send(Job::Open(open, port)).await.map_err(|_| Refused::Ended)
    }

    /// Hands in inputs of sessions, waiting while the queue is full.
    ///
    /// # Errors
    /// [`Refused::Ended`] when the node is stopping.
    pub async fn submit(&self, inputs: Vec<Input>) -> Result<(), Refused> {
        self.inner.queue.send(Job::Inputs(inputs)).await.map_err(|_| Refused::Ended)
    }

    /// The queue itself, for callers that poll.
    pub(crate) fn queue(&self) -> mpsc::Sender<Job> {
        self.inner.queue.clone()
    }

    /// Asks the driver to finish; its end is told through the receiver that [`Hub::start`] gave.
    pub async fn stop(&self) {
        // A closed queue means that it has ended already.
        let _ = self.inner.queue.send(Job::Stop).await;
    }

    /// The node's counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The wall clock.
    #[must_use]
    pub fn now(&self) -> Stamp {
        now()
    }

    /// A new ULID: the current time and 80 random bits.
    #[must_use]
    pub fn fresh_id(&self) -> String {
        let mut random = [0_u8; 16];
        let drawn = getrandom::fill(&mut random[6..]);
        debug_assert!(drawn.is_ok(), "the operating system gives random bytes");
        let low = u128::from_be_bytes(random) & ((1 << 80) - 1);
        crate::model::MessageId(u128::from(now().millis()) << 80 | low).to_string()
    }
}

/// The wall clock, in microseconds.
pub(crate) fn now() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
