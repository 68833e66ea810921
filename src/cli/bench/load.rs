//! Load: open sessions, measure, let everything arrive, judge.

use super::{
    child::Child,
    client::{Client, Pace, Part},
    order::Verdict,
    pair::Pair,
    poll,
    probe::{self, Samples},
    pump::{self, Pump},
    roam,
    rounds::Round,
    tally::{Phase, Shared, Times},
};
use crate::{
    cli::http,
    model::{Stamp, UserKey},
    token::{Claims, issue},
};
use anyhow::{Context as _, anyhow, bail};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    iter::Sum,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Sessions that are being opened at a time.
const OPENING: usize = 64;
/// How long all sessions may take to open, for each thousand of them, and at least.
const OPEN: Duration = Duration::from_secs(60);
/// How long messages may take to arrive when nothing more is sent.
const SETTLE: Duration = Duration::from_secs(30);
/// For how long servers have to use hardly any CPU to be done with what a load left them to do.
const QUIET: Duration = Duration::from_millis(500);
/// How much that is, in cores of all servers together; a merge takes one.
const IDLE: f64 = 0.05;
/// How long to wait for it.
const BUSY: Duration = Duration::from_secs(30);

/// A server.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Its address.
    pub(super) address: SocketAddr,
    /// What to call it in requests.
    pub(super) host: String,
}

impl Place {
    /// Where a child is.
    pub(super) fn of(server: &Child) -> Self {
        Self { address: server.address, host: server.address.to_string() }
    }
}

/// Where the load goes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The servers, at least one; of several, those of one pair connect to different ones.
    pub(super) places: Vec<Place>,
    /// App key.
    pub(super) app: String,
    /// App secret.
    pub(super) secret: String,
    /// Makes users and messages of this run differ from those of others.
    pub(super) run: String,
}

impl Target {
    /// The server for the `number`-th of something.
    pub(super) fn place(&self, number: usize) -> anyhow::Result<&Place> {
        self.places.get(number % self.places.len().max(1)).context("no server")
    }

    /// Id of a user.
    fn user(&self, what: &str, number: usize) -> String {
        format!("bench-{}-{what}{number}", self.run)
    }

    /// The server of a URL that one of them gave.
    pub(super) fn named(&self, url: &str) -> Option<&Place> {
        self.places.iter().find(|place| url.strip_prefix("http://") == Some(&place.host))
    }

    /// The token of a user.
    fn token(&self, user: &str) -> anyhow::Result<String> {
        let user = UserKey::new(&self.app, user).map_err(|why| anyhow!("user {why}"))?;
        let age = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
        let claims = Claims { user, issued: Stamp::from_millis(age.as_millis() as u64), expires: None };
        Ok(issue(&self.secret, &claims))
    }
}

/// How sessions are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Transport {
    /// WebSocket
    Ws,
    /// Long polling
    Poll,
}

/// How much load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Senders, each with its receiver.
    pub(super) pairs: usize,
    /// Users; those beyond the pairs are there and silent.
    pub(super) users: usize,
    /// Sends in flight of each sender.
    pub(super) window: usize,
    /// Bytes of text of a message.
    pub(super) size: usize,
    /// Time from one send of a sender to the next; zero: as soon as its window has room.
    pub(super) every: Duration,
    /// Load before it counts.
    pub(super) warmup: Duration,
    /// Load that counts.
    pub(super) measure: Duration,
}

/// What the processes used while measuring.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    /// Seconds on the clock.
    pub(super) seconds: f64,
    /// CPU seconds of the server, where it is ours.
    pub(super) server_cpu: Option<f64>,
    /// Resident memory of the server at the end, in KiB.
    pub(super) resident: Option<u64>,
    /// CPU seconds of this process.
    pub(super) own_cpu: f64,
    /// Growth of the server's metrics.
    pub(super) metrics: Option<Samples>,
}

impl Used {
    /// Adds another time of the same processes, after this one.
    pub(super) fn add(&mut self, later: &Self) {
        self.seconds += later.seconds;
        self.own_cpu += later.own_cpu;
        self.resident = later.resident.or(self.resident);
        if let Some(cpu) = later.server_cpu {
            *self.server_cpu.get_or_insert_default() += cpu;
        }
        if let Some(metrics) = &later.metrics {
            self.metrics.get_or_insert_default().add(metrics);
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Messages delivered while measuring.
    pub(super) delivered: u64,
    /// Transport messages that this took to the clients.
    pub(super) batches: u64,
    /// Send to `ok`.
    pub(super) ack: Times,
    /// Send to receive.
    pub(super) end_to_end: Times,
    /// CPU, memory, metrics of all rounds.
    pub(super) used: Used,
    /// Each round by itself.
    pub(super) rounds: Vec<Round>,
    /// Losses and the like, of the whole run.
    pub(super) verdict: Verdict,
    /// Sends that were never answered.
    pub(super) unanswered: usize,
    /// Refused sends by code.
    pub(super) refused: BTreeMap<String, u64>,
}

/// Sessions that run until this is dropped.
pub(super) struct Sessions {
    pub(super) shared: Rc<Shared>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Sessions {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self { shared: Rc::new(Shared::new()?), tasks: JoinSet::new() })
    }

    /// Starts one.
    pub(super) fn start(&mut self, session: impl Future<Output = anyhow::Result<()>> + 'static) {
        self.tasks.spawn_local(session);
    }

    /// Waits until `done`; sessions must not end meanwhile.
    ///
    /// # Errors
    /// When one does. `false` when the time is over.
    pub(super) async fn until(
        &mut self,
        limit: Duration,
        mut done: impl FnMut() -> bool,
    ) -> anyhow::Result<bool> {
        let end = Instant::now() + limit;
        while !done() {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(false);
            }
            self.watch(rest.min(Duration::from_millis(5))).await?;
        }
        Ok(true)
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// When a session ends meanwhile.
    pub(super) async fn watch(&mut self, time: Duration) -> anyhow::Result<()> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            Some(ended) = self.tasks.join_next() => match ended {
                Ok(Ok(())) => bail!("a session ended by itself"),
                Ok(Err(error)) => Err(error.context("a session did not last")),
                Err(broken) => Err(broken.into()),
            },
        }
    }

    /// Waits until `count` sessions are live.
    ///
    /// # Errors
    /// When that takes too long, or one ends meanwhile.
    pub(super) async fn all_live(&mut self, count: usize) -> anyhow::Result<()> {
        let shared = self.shared.clone();
        let limit = OPEN * (1 + count as u32 / 1_000);
        if !self.until(limit, || shared.live.get() >= count).await? {
            bail!("{} of {count} sessions are live after {} s", shared.live.get(), limit.as_secs());
        }
        Ok(())
    }
}

/// A session to open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who {
    /// Kind of user, the first half of the name.
    pub(super) what: &'static str,
    /// Which of the kind.
    pub(super) number: usize,
    /// Which of all sessions.
    pub(super) index: usize,
    /// Which server, counted around.
    pub(super) at: usize,
}

/// Opens sessions, not too many at a time.
#[derive(Clone)]
pub(super) struct Opener {
    target: Rc<Target>,
    gate: Rc<Semaphore>,
    /// Whether sessions go on at another server when theirs goes away.
    roams: bool,
}

impl Opener {
    pub(super) fn new(target: &Target, roams: bool) -> Self {
        Self { target: Rc::new(target.clone()), gate: Rc::new(Semaphore::new(OPENING)), roams }
    }

    /// The session of `who`.
    pub(super) async fn session(
        self,
        shared: Rc<Shared>,
        part: Part,
        transport: Transport,
        who: Who,
    ) -> anyhow::Result<()> {
        let Who { what, number, index, at } = who;
        let turn = self.gate.acquire().await?;
        let target = &self.target;
        let place = target.place(at)?;
        let token = target.token(&target.user(what, number))?;
        let client = Client::new(&shared, part, Client::hello(&token), &format!("{}-{number}-", target.run));
        match transport {
            Transport::Ws if self.roams => roam::run(target, who, &shared, client.roaming(token), turn).await,
            Transport::Ws => {
                let stream = pump::connect(place.address, index).await?;
                let stream = pump::upgrade(stream, &place.host, "/v1/ws").await?;
                let mut pump = Pump::new(stream, &shared, client);
                pump.ready().await?;
                drop(turn);
                pump.run().await
            }
            Transport::Poll => {
                let session = poll::open(place, index, shared.clone(), client).await?;
                drop(turn);
                session.run().await
            }
        }
    }
}

/// The books of all pairs.
pub(super) type Pairs = Vec<Rc<RefCell<Pair>>>;

/// Opens all sessions and waits until they are live.
///
/// * `drains`: all connect to the first server, and go on at others when it goes away.
///
/// # Errors
/// When sessions cannot be opened or do not last.
pub(super) async fn open(
    load: &Load,
    transport: Transport,
    target: &Target,
    drains: bool,
) -> anyhow::Result<(Sessions, Pairs)> {
    let mut sessions = Sessions::new()?;
    let shared = sessions.shared.clone();
    let opener = Opener::new(target, drains);
    let at = |number: usize| if drains { 0 } else { number };
    let mut pairs = Vec::with_capacity(load.pairs);
    for number in 0..load.pairs {
        let pair = Rc::new(RefCell::new(Pair::new(number, target.user("r", number))));
        let pace = Pace::new(load.every, number, load.pairs);
        let sender = Part::Sender { pair: pair.clone(), window: load.window, size: load.size, pace };
        let receiver = Who { what: "r", number, index: 2 * number, at: at(number) };
        let other = Who { what: "s", number, index: 2 * number + 1, at: at(number + 1) };
        for (part, who) in [(Part::Receiver(pair.clone()), receiver), (sender, other)] {
            sessions.start(opener.clone().session(shared.clone(), part, transport, who));
        }
        pairs.push(pair);
    }
    for number in 2 * load.pairs..load.users {
        let who = Who { what: "i", number, index: number, at: at(number) };
        sessions.start(opener.clone().session(shared.clone(), Part::Idle, transport, who));
    }
    sessions.all_live(load.users.max(2 * load.pairs)).await?;
    Ok((sessions, pairs))
}

/// Lets everything arrive and judges it. Gives also how many sends were never answered.
///
/// # Errors
/// When a session ends meanwhile.
pub(super) async fn settle(sessions: &mut Sessions, pairs: &Pairs) -> anyhow::Result<(Verdict, usize)> {
    sessions.until(SETTLE, || pairs.iter().all(|pair| pair.borrow().is_settled())).await?;
    Ok(judge(pairs))
}

/// What went wrong so far, and how many sends were never answered.
pub(super) fn judge(pairs: &Pairs) -> (Verdict, usize) {
    let mut verdict = Verdict::default();
    pairs.iter().for_each(|pair| verdict.add(pair.borrow().verdict()));
    (verdict, pairs.iter().map(|pair| pair.borrow().unanswered()).sum())
}

/// Measures for some time, then lets the load settle.
///
/// # Errors
/// When a session ends meanwhile, or the server.
pub(super) async fn measured(
    sessions: &mut Sessions,
    time: Duration,
    servers: &[Child],
) -> anyhow::Result<Used> {
    let own = || probe::cpu_seconds(std::process::id());
    let before = metrics(servers).await?;
    let (start, server_before, own_before) = (Instant::now(), cpu(servers)?, own()?);
    sessions.shared.enter(Phase::Measuring);
    sessions.watch(time).await?;
    sessions.shared.enter(Phase::Settling);
    let (seconds, server_after, own_after) = (start.elapsed().as_secs_f64(), cpu(servers)?, own()?);
    let after = metrics(servers).await?;
    Ok(Used {
        seconds,
        server_cpu: server_after.zip(server_before).map(|(after, before)| after - before),
        resident: total(servers, |server| probe::resident_kib(server.pid()))?,
        own_cpu: own_after - own_before,
        metrics: after.zip(before).map(|(after, before)| after.since(&before)),
    })
}

/// Waits until servers use hardly any CPU: what the load left them to do, such as merging tables, is done.
///
/// # Errors
/// When a session ends meanwhile, or a server.
pub(super) async fn quiet(sessions: &mut Sessions, servers: &[Child]) -> anyhow::Result<()> {
    let limit = Instant::now() + BUSY;
    while let Some(before) = cpu(servers)? {
        sessions.watch(QUIET).await?;
        if cpu(servers)?.is_none_or(|after| after - before <= QUIET.as_secs_f64() * IDLE) {
            break;
        }
        if Instant::now() >= limit {
            eprintln!(
                "hongyan: the servers were still busy {} s after the load; what follows is of a busy machine",
                BUSY.as_secs()
            );
            break;
        }
    }
    Ok(())
}

/// CPU seconds that servers have used; `None` without any.
///
/// # Errors
/// When one has ended.
pub(super) fn cpu(servers: &[Child]) -> anyhow::Result<Option<f64>> {
    total(servers, |server| probe::cpu_seconds(server.pid()))
}

/// The sum of what servers say; `None` without any.
fn total<T: Sum>(servers: &[Child], one: impl Fn(&Child) -> anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    if servers.is_empty() { Ok(None) } else { servers.iter().map(one).sum::<anyhow::Result<T>>().map(Some) }
}

/// The metrics of all servers, added up.
async fn metrics(servers: &[Child]) -> anyhow::Result<Option<Samples>> {
    let mut sum: Option<Samples> = None;
    for admin in servers.iter().filter_map(|server| server.admin) {
        let answer = tokio::task::spawn_blocking(move || http::get(admin, "/metrics")).await?;
        let of_one = Samples::read(&answer.context("the server's metrics cannot be had")?.body);
        sum.get_or_insert_default().add(&of_one);
    }
    Ok(sum)
}
