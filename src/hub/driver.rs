//! The task that runs the relay.

use super::{HubOptions, HubStatus, Job, PeerNews, Port, asks::Asks, now, peers::Wires};
use crate::{
    metrics::Metrics,
    relay::{Answer, Effect, Frame, Input, Relay, ReplyTo, SessionId},
    store::{Committed, GroupCommit, Store, StoreError},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, mpsc};

/// Jobs taken at once.
const BATCH: usize = 512;
/// How often time is told to the relay when nothing happens: without peers, with them, and while a link has no room.
const TICK: Duration = Duration::from_millis(500);
const TICK_MESHED: Duration = Duration::from_millis(50);
const TICK_FULL: Duration = Duration::from_millis(2);
/// How long a node that has just started waits for what its peers know before it lets sessions in.
const DOORS: Duration = Duration::from_secs(3);

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
    wires: Wires,
    open: Arc<AtomicBool>,
    seeded: bool,
    started: Instant,
    pub(super) store: Arc<dyn Store>,
    commits: Option<GroupCommit>,
    disk: Arc<Disk>,
    ports: HashMap<SessionId, Arc<dyn Port>>,
    asks: Asks,
    effects: Vec<Effect>,
    /// More writes than this waiting for the disk: no new jobs are taken.
    pause_at: usize,
    pub(super) metrics: Arc<Metrics>,
    /// For what the driver's own reads find.
    pub(super) queue: mpsc::Sender<Job>,
}

impl Driver {
    pub async fn new(
        store: Arc<dyn Store>,
        options: HubOptions,
        metrics: Arc<Metrics>,
        queue: mpsc::Sender<Job>,
        open: Arc<AtomicBool>,
    ) -> Result<Self, StoreError> {
        let reader = store.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let mut held = Vec::new();
            reader.facts(&mut |key, fact| held.push(Input::Fact { key, fact }))?;
            reader.claims(&mut |user, row| held.push(Input::Claim { user, row }))?;
            let mut gone = 0_u64;
            reader.outboxes(&mut |peer, number, parcel| {
                gone += u64::from(parcel.is_none());
                held.push(Input::Posted { peer, number, parcel: parcel.map(Arc::new) });
            })?;
            if gone > 0 {
                tracing::warn!(
                    parcels = gone,
                    "messages for users of other nodes were not sent before their text was removed, by retention or by a repair"
                );
            }
            Ok::<_, StoreError>((reader.last_stamp()?, held))
        });
        let (last, held) =
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
            relay: Relay::new(options.node, options.relay, last),
            wires: Wires::new(options.links),
            open,
            seeded: options.seeded,
            started: Instant::now(),
            store,
            commits: Some(commits),
            disk,
            ports: HashMap::new(),
            asks: Asks::default(),
            effects: Vec::new(),
            pause_at: options.relay.pending / 2,
            metrics,
            queue,
        };
        for input in held {
            driver.feed(input);
        }
        if driver.wires.is_meshed() {
            driver.look();
        }
        Ok(driver)
    }

    pub async fn run(mut self, mut jobs: mpsc::Receiver<Job>) -> DriverEnd {
        let mut batch = Vec::with_capacity(BATCH);
        let mut stopping = false;
        let mut full = false;
        loop {
            let taking = self.relay.pending() <= self.pause_at;
            let tick = match (full, self.wires.is_meshed()) {
                (true, _) => TICK_FULL,
                (false, true) => TICK_MESHED,
                (false, false) => TICK,
            };
            tokio::select! {
                biased; // the disk first: what it has finished makes room
                () = self.disk.changed.notified() => {}
                taken = jobs.recv_many(&mut batch, BATCH), if taking => if taken == 0 { return DriverEnd::Stopped },
                () = tokio::time::sleep(tick) => {}
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
            full = self.wires.flush();
            if !self.open.load(Ordering::Relaxed) && self.may_open() {
                self.open.store(true, Ordering::Relaxed);
            }
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
            Job::Peers(news) => {
                for news in news {
                    self.peer(news);
                }
            }
            Job::Reply(to, answer) => self.effect(Effect::Reply { to, answer }),
            Job::Drain(within) => self.feed(Input::Drain { within: within.as_micros() as u64 }),
            Job::Owner(user, asker) => {
                // One that has gone away needs no answer, here and below.
                let _ = asker.send(self.relay.known_claim(user).map(|claim| claim.owner));
            }
            Job::Status(asker) => {
                let _ = asker.send(self.status());
            }
            Job::Stop => return true,
        }
        false
    }

    fn peer(&mut self, news: PeerNews) {
        match news {
            PeerNews::LinkUp { peer, generation } => {
                if self.wires.up(peer, generation) {
                    self.feed(Input::LinkDown { peer });
                }
                self.feed(Input::LinkUp { peer });
            }
            PeerNews::LinkDown { peer, generation } => {
                if self.wires.down(peer, generation) {
                    self.feed(Input::LinkDown { peer });
                }
            }
            PeerNews::Frames { peer, generation, frames } => {
                if self.wires.is_known(peer, generation) {
                    let now = now();
                    for frame in frames {
                        self.relay.handle(now, Input::Frame { from: peer, frame }, &mut self.effects);
                    }
                    self.dispatch();
                }
            }
            PeerNews::MemberUp(peer) => {
                self.wires.members.insert(peer);
                self.feed(Input::MemberUp { peer });
            }
            PeerNews::MemberDown(peer) => {
                self.wires.members.remove(&peer);
                self.feed(Input::MemberDown { peer });
            }
        }
    }

    /// Whether this node knows enough to let sessions in.
    fn may_open(&self) -> bool {
        let members = &self.wires.members;
        let heard = members.iter().all(|peer| self.relay.has_heard(*peer));
        let alone = self.seeded && members.is_empty();
        !self.relay.is_looking() && (heard && !alone || self.started.elapsed() >= DOORS)
    }

    fn status(&self) -> HubStatus {
        HubStatus {
            outbox: self.relay.outbox_depths(),
            waiting: self.relay.unsettled(),
            drained: self.relay.is_drained(),
            open: self.open.load(Ordering::Relaxed),
            ..self.relay.presence().map_or_else(
                || HubStatus { owned: (self.relay.mailboxes(), 0), ..HubStatus::default() },
                |(owned, known, digest)| HubStatus {
                    owned: (owned.users, owned.online),
                    known,
                    digest,
                    ..HubStatus::default()
                },
            )
        }
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
            Effect::Export { user, number, after } => self.export(user, number, after),
            Effect::Rows { user, after } => self.rows(user, after),
            Effect::Facts { peer, after } => self.facts(peer, after),
            Effect::Find { to, log, id, between } => self.find(to, log, id, between),
            Effect::Look => self.look(),
            Effect::Send { to, frame } => self.wires.send(to, &frame),
            Effect::Reply { to: ReplyTo::Peer(to, number), answer } => {
                self.wires.send(to, &Frame::Answer { number, answer: Box::new(answer) });
            }
            Effect::Carry { session, to } => {
                self.tell(session, |port| port.carry(to));
                self.ports.remove(&session);
            }
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
}
