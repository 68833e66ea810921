//! The task that runs the relay.

use super::{Job, Port, asks::Asks, now};
use crate::{
    metrics::Metrics,
    model::{EntryRow, NodeId, Stamp, UserKey},
    relay::{Answer, Effect, Input, Limits, Relay, ReplyTo, SessionId},
    store::{Committed, GroupCommit, Store, StoreError},
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::{Notify, mpsc};

/// Jobs taken at once.
const BATCH: usize = 512;
/// Rows of a mailbox handed over at once, and bytes of content after which a part ends.
const EXPORT_ROWS: usize = 512;
const EXPORT_BYTES: usize = 512 * 1_024;
/// Names of mailboxes read at once.
const LOOK_ROWS: usize = 1_024;
/// How often time is told to the relay when nothing happens.
const TICK: Duration = Duration::from_millis(500);

/// How the driver ended.
#[derive(Debug)]
pub enum DriverEnd {
    /// As asked; everything is on disk.
    Stopped,
    /// The store failed; nothing after its last report was acknowledged.
    StoreFailed(StoreError),
}

/// What the store thread reports, newest only.
#[derive(Default)]
struct Disk {
    outcome: Mutex<Option<Committed>>,
    changed: Notify,
}

pub(super) struct Driver {
    relay: Relay,
    store: Arc<dyn Store>,
    commits: Option<GroupCommit>,
    disk: Arc<Disk>,
    ports: HashMap<SessionId, Arc<dyn Port>>,
    asks: Asks,
    effects: Vec<Effect>,
    /// More writes than this waiting for the disk: no new jobs are taken.
    pause_at: usize,
    metrics: Arc<Metrics>,
    /// For what the driver's own reads find.
    queue: mpsc::Sender<Job>,
}

impl Driver {
    pub async fn new(
        store: Arc<dyn Store>,
        limits: Limits,
        metrics: Arc<Metrics>,
        queue: mpsc::Sender<Job>,
    ) -> Result<Self, StoreError> {
        let reader = store.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let mut facts = Vec::new();
            reader.facts(&mut |key, fact| facts.push(Input::Fact { key, fact }))?;
            Ok::<_, StoreError>((reader.last_stamp()?, facts))
        });
        let (last, facts) =
            reading.await.map_err(|_| StoreError::Engine("a read was broken off".into()))??;
        let disk = Arc::new(Disk::default());
        let reports = disk.clone();
        let counts = metrics.clone();
        let commits = GroupCommit::start(store.clone(), move |committed| {
            match &committed {
                Ok(batch) => {
                    counts.commit_batch.observe(batch.writes as u64);
                    counts.fsync_seconds.observe_time(batch.took);
                }
                Err(_) => counts.commits_failed.inc(),
            }
            let mut outcome = reports.outcome.lock();
            // After a failure nothing comes, so what is replaced is only ever an older number.
            *outcome = Some(committed);
            drop(outcome);
            reports.changed.notify_one();
        })
        .map_err(|error| StoreError::Engine(format!("no thread for the store: {error}")))?;
        let mut driver = Self {
            relay: Relay::new(NodeId::LOCAL, limits, last),
            store,
            commits: Some(commits),
            disk,
            ports: HashMap::new(),
            asks: Asks::default(),
            effects: Vec::new(),
            pause_at: limits.pending / 2,
            metrics,
            queue,
        };
        for fact in facts {
            driver.feed(fact);
        }
        Ok(driver)
    }

    pub async fn run(mut self, mut jobs: mpsc::Receiver<Job>) -> DriverEnd {
        let mut batch = Vec::with_capacity(BATCH);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stopping = false;
        loop {
            let taking = self.relay.pending() <= self.pause_at;
            tokio::select! {
                biased; // the disk first: what it has finished makes room
                () = self.disk.changed.notified() => {}
                taken = jobs.recv_many(&mut batch, BATCH), if taking => if taken == 0 { return DriverEnd::Stopped },
                _ = ticks.tick() => {}
            }
            let outcome = self.disk.outcome.lock().take();
            match outcome {
                Some(Ok(batch)) => self.feed(Input::Committed { seq: batch.seq }),
                Some(Err(error)) => return DriverEnd::StoreFailed(error),
                None => {}
            }
            self.metrics.relay_batch.observe(batch.len() as u64);
            for job in batch.drain(..) {
                stopping |= self.job(job);
            }
            self.feed(Input::Tick);
            if stopping {
                self.relay.checkpoint_all(now(), &mut self.effects);
                self.dispatch();
                if self.relay.is_idle() {
                    self.commits = None; // waits for the store thread
                    return DriverEnd::Stopped;
                }
            }
            self.metrics.relay_queue.set(jobs.len());
            self.metrics.commits_pending.set(self.relay.pending());
            self.metrics.mailboxes.set(self.relay.mailboxes());
        }
    }

    /// Takes one job; `true` when it asks to stop.
    fn job(&mut self, job: Job) -> bool {
        match job {
            Job::Inputs(inputs) => {
                for input in inputs {
                    if let Input::Close { session } = &input {
                        self.ports.remove(session);
                    }
                    self.feed(input);
                }
            }
            Job::Open(open, port) => {
                self.ports.insert(open.session, port);
                self.feed(Input::Open(open));
            }
            Job::Ask(commands, caller) => {
                let tickets = self.asks.begin(commands.len(), caller);
                for (to, (user, command)) in tickets.zip(commands) {
                    self.feed(Input::Command { to, user, command });
                }
            }
            Job::Stop => return true,
        }
        false
    }

    fn feed(&mut self, input: Input) {
        self.relay.handle(now(), input, &mut self.effects);
        self.dispatch();
    }

    fn dispatch(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            self.effect(effect);
        }
        // Effects that came of dispatching these (a session without room) are behind them in order.
        let more = std::mem::replace(&mut self.effects, effects);
        if !more.is_empty() {
            self.effects.extend(more);
            self.dispatch();
        }
    }

    fn effect(&mut self, effect: Effect) {
        match &effect {
            Effect::Reply { answer: Ok(Answer::Sent { dup: false, .. }), .. } => {
                self.metrics.messages_accepted.inc();
            }
            Effect::Reply { answer: Ok(Answer::Sent { dup: true, .. }), .. } => {
                self.metrics.messages_duplicate.inc();
            }
            _ => {}
        }
        match effect {
            Effect::Commit { seq, writes } => {
                self.metrics.commits.inc();
                if let Some(commits) = &self.commits {
                    commits.submit(seq, writes);
                }
            }
            Effect::Load(user) => self.load(user),
            Effect::Push { session, prev, entry } => {
                let Some(port) = self.ports.get(&session) else { return };
                if port.push(prev, &entry) {
                    self.metrics.entries_pushed.inc();
                } else {
                    self.metrics.sessions_lagged.inc();
                    self.relay.handle(now(), Input::Lag { session }, &mut self.effects);
                }
            }
            Effect::Reply { to: ReplyTo::Session(session, r), answer } => {
                if let Some(port) = self.ports.get(&session) {
                    port.reply(r, &answer);
                }
            }
            Effect::Reply { to: ReplyTo::Ticket(ticket), answer } => self.asks.answer(ticket, answer),
            Effect::Welcome { session, start, why, reign } => match self.ports.get(&session) {
                Some(port) => port.welcome(start, why, reign),
                // It left while its mailbox was being read, before the relay knew of it.
                None => self.relay.handle(now(), Input::Close { session }, &mut self.effects),
            },
            Effect::Export { user, number, after } => {
                let name = user.clone();
                self.read(move |store| {
                    let page = store.export(&name, after, EXPORT_ROWS, EXPORT_BYTES);
                    let page = told(&name, page).map(Box::new);
                    Input::Exported { user: name, number, page }
                });
            }
            Effect::Rows { user, after } => self.read(move |store| {
                let rows = told(&user, rows(store, &user, after));
                Input::Rows { user, after, rows }
            }),
            Effect::Look => self.look(),
            // Without peers there is nobody to send to or to carry to.
            Effect::Send { .. } | Effect::Reply { to: ReplyTo::Peer(..), .. } | Effect::Carry { .. } => {}
            Effect::TurnAway { session, why } => {
                self.tell(session, |port| port.turned_away(&why));
                self.ports.remove(&session);
            }
            Effect::Live { session, pos } => self.tell(session, |port| port.live(pos)),
            Effect::ReadOn { session } => self.tell(session, Port::read_on),
            Effect::Pass { session, message } => {
                self.metrics.messages_passed.inc();
                self.tell(session, |port| port.pass(&message));
            }
            Effect::Delivered { session, conversation, at } => {
                self.tell(session, |port| port.delivered(&conversation, at));
            }
            Effect::Presence { session, user, online } => {
                self.tell(session, |port| port.presence(&user, online));
            }
            Effect::Kick { session, why } => {
                self.tell(session, |port| port.kick(&why));
                self.ports.remove(&session);
            }
        }
    }

    fn tell(&self, session: SessionId, say: impl FnOnce(&dyn Port)) {
        if let Some(port) = self.ports.get(&session) {
            say(&**port);
        }
    }

    /// Names all mailboxes of the store to the relay, some at a time, no faster than it takes them.
    fn look(&self) {
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

    fn load(&self, user: UserKey) {
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
