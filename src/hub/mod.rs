//! Between the relay and the world: one task that runs the state machine, and the handle that leads to it.
//!
//! Purpose: keep `relay` free of I/O, and everyone else free of `relay`'s state.
//! Flow: sessions and the server API hand in inputs through a bounded queue → the driver feeds them to the relay in
//! batches → commits go to the store thread, pushes and answers to [`Port`]s and waiting callers.
//! Invariants: the driver never waits for a socket or the disk; what it cannot hand over at once has a named outcome.

mod asks;
mod driver;
mod peers;
mod reads;

pub use driver::DriverEnd;
pub use peers::{Links, PeerNews, Unsent, fuzz_chunk, read_chunk};

use crate::{
    metrics::Metrics,
    model::{Entry, Message, NodeId, Reign, Stamp, UserHash, UserKey},
    relay::{Answer, Command, Input, KickReason, Limits, NotResumed, Open, Refused, ReplyTo, SessionId},
    store::{Store, StoreError},
};
use asks::Asked;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
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
    /// The user is served by another node: carry the session there.
    fn carry(&self, to: NodeId);
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
    /// What happened among nodes.
    Peers(Vec<PeerNews>),
    /// The answer to a question that the store had to be asked.
    Reply(ReplyTo, Result<Answer, Refused>),
    /// Give all mailboxes away, within that time.
    Drain(Duration),
    /// Who owns the mailbox of a user.
    Owner(UserHash, oneshot::Sender<Option<NodeId>>),
    /// How the relay is.
    Status(oneshot::Sender<HubStatus>),
    /// Write all checkpoints, finish what is under way, end.
    Stop,
}

/// What whoever asks a node that leaves is told to wait; another node answers at once.
const RETIRED: Duration = Duration::from_secs(1);

struct Inner {
    queue: mpsc::Sender<Job>,
    store: Arc<dyn Store>,
    next_session: AtomicU64,
    metrics: Arc<Metrics>,
    open: Arc<AtomicBool>,
    retired: AtomicBool,
}

/// How the relay is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubStatus {
    /// Users whose mailbox this node owns, and those of them who are online. Without peers: mailboxes in memory.
    pub owned: (usize, usize),
    /// Users of all nodes that are known.
    pub known: usize,
    /// Equal on two nodes when their tables of who owns whom are.
    pub digest: u64,
    /// Parcels that wait, for each node.
    pub outbox: Vec<(NodeId, usize)>,
    /// What else waits for peers, by name.
    pub waiting: Vec<(&'static str, usize)>,
    /// A draining node has nothing left that can go.
    pub drained: bool,
    /// Whether sessions are let in.
    pub open: bool,
}

/// A handle; clones are cheap and all lead to the same relay.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

/// Bounds of a hub.
#[derive(Clone)]
pub struct HubOptions {
    /// Which node this is; [`NodeId::LOCAL`] has no peers.
    pub node: NodeId,
    /// The links to its peers.
    pub links: Option<Arc<dyn Links>>,
    /// There should be others: sessions are let in once their tables are known, or after a while.
    pub seeded: bool,
    /// Jobs that may wait for the relay.
    pub queue: usize,
    /// The relay's own bounds.
    pub relay: Limits,
}

impl HubOptions {
    /// A hub without peers.
    #[must_use]
    pub const fn alone(queue: usize, relay: Limits) -> Self {
        Self { node: NodeId::LOCAL, links: None, seeded: false, queue, relay }
    }
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
        let open = Arc::new(AtomicBool::new(options.links.is_none()));
        let driver =
            driver::Driver::new(store.clone(), options, metrics.clone(), queue.clone(), open.clone()).await?;
        let (told, end) = oneshot::channel();
        tracker.spawn(async move {
            // Nobody listens any more when the node is already gone.
            let _ = told.send(driver.run(jobs).await);
        });
        let inner = Arc::new(Inner {
            queue,
            store,
            next_session: AtomicU64::new(1),
            metrics,
            open,
            retired: AtomicBool::new(false),
        });
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

    /// From now on nothing is asked any more: this node leaves, and what it took could not go to the others.
    pub fn retire(&self) {
        self.inner.retired.store(true, Ordering::Release);
    }

    /// Asks for many things at once; the answers are in the order of the questions.
    pub async fn ask_all(&self, commands: Vec<(UserKey, Command)>) -> Vec<Result<Answer, Refused>> {
        let count = commands.len();
        if self.inner.retired.load(Ordering::Acquire) {
            return (0..count).map(|_| Err(Refused::Busy(RETIRED))).collect();
        }
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

    /// Hands in inputs at once; `false` when the queue is full.
    #[must_use]
    pub fn submit_now(&self, inputs: Vec<Input>) -> bool {
        self.inner.queue.try_send(Job::Inputs(inputs)).is_ok()
    }

    /// Hands in what happened among nodes, waiting while the queue is full.
    ///
    /// # Errors
    /// [`Refused::Ended`] when the node is stopping.
    pub async fn peers(&self, news: Vec<PeerNews>) -> Result<(), Refused> {
        self.inner.queue.send(Job::Peers(news)).await.map_err(|_| Refused::Ended)
    }

    /// Whether sessions may be let in: a node that has just started waits until it knows what its peers know, or for three
    /// seconds.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inner.open.load(Ordering::Relaxed)
    }

    /// Which node owns the mailbox of `user`, as far as is known here; `None`: nobody, or this node has no peers.
    pub async fn owner(&self, user: &UserKey) -> Option<NodeId> {
        let (sender, answer) = oneshot::channel();
        self.inner.queue.send(Job::Owner(UserHash::of(user), sender)).await.ok()?;
        answer.await.ok()?
    }

    /// How the relay is; `None` when it has ended.
    pub async fn status(&self) -> Option<HubStatus> {
        let (sender, answer) = oneshot::channel();
        self.inner.queue.send(Job::Status(sender)).await.ok()?;
        answer.await.ok()
    }

    /// Begins to give all mailboxes to other nodes; [`HubStatus::drained`] tells when it is over.
    ///
    /// * `within`: how long that may take. Users who are here go no faster than the others take them in, as long as
    ///   that is fast enough.
    pub async fn drain(&self, within: Duration) {
        // A closed queue means that it has ended already.
        let _ = self.inner.queue.send(Job::Drain(within)).await;
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
