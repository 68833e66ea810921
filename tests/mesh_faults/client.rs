//! A user's page: one session over any number of connections to any nodes, by the rules of the SDK (`sdk/js/session.js`).
//!
//! It keeps what was not answered and says it again, in order, under the same ids; goes on from its cursor; goes to another
//! node when its own is gone or says `move`, in which case the old connection carries on until the new one is welcomed.

use super::{
    books::{Pair, parse, text},
    cluster::{self, NODES},
    common::{Choices, Closed, Line, hello, token},
    plan::{Plan, name},
    race::{Racing, Won, race},
    stream::{Stream, Verdict},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// Pause before the first new try, at the most; doubled for each further one, up to the cap.
const BACKOFF: Duration = Duration::from_millis(500);
const BACKOFF_CAP: Duration = Duration::from_secs(20);
/// A connection that has lived so long begins the pauses anew.
const STABLE: Duration = Duration::from_secs(10);
const ACK: Duration = Duration::from_millis(100);
/// An own entry that is known from its answer must be reached within this.
const HOLE: Duration = Duration::from_secs(10);
const IN_FLIGHT: usize = 128;

/// A send that has no answer.
struct Letter {
    pair: Pair,
    number: usize,
    /// Number of the request; `None` while it has to be sent.
    r: Option<u64>,
}

pub struct Client {
    plan: Plan,
    choices: Choices,
    stream: Stream,
    seen: BTreeSet<String>,
    outbox: VecDeque<Letter>,
    next_r: u64,
    line: Option<Line>,
    race: Option<Racing>,
    /// Where the session is, or was last.
    node: usize,
    welcomed_at: Instant,
    lost_at: Option<Instant>,
    pauses: u32,
    retry_at: Option<Instant>,
    /// When to go, and where.
    move_at: Option<(Instant, Option<usize>)>,
    moving: bool,
    /// Until when a `hello` that was given up may still be read.
    unheard: Vec<Instant>,
    ack_at: Option<Instant>,
    acked: u64,
    hole_by: Option<Instant>,
    busy_until: Option<Instant>,
    next_send: Instant,
}

impl Client {
    pub fn new(plan: Plan) -> Self {
        let now = Instant::now();
        let mut choices = Choices::new(plan.seed);
        let first = Duration::from_micros(choices.of(0..plan.pace.as_micros() as u64));
        Self {
            choices,
            stream: Stream::default(),
            seen: BTreeSet::new(),
            outbox: VecDeque::new(),
            next_r: 1,
            line: None,
            race: None,
            node: plan.home,
            welcomed_at: now,
            lost_at: None,
            pauses: 0,
            retry_at: Some(now),
            move_at: None,
            moving: false,
            unheard: Vec::new(),
            ack_at: None,
            acked: 0,
            hole_by: None,
            busy_until: None,
            next_send: now + first,
            plan,
        }
    }

    /// Goes on for ever.
    pub async fn run(mut self) {
        loop {
            let due = self.deadline();
            tokio::select! {
                biased;
                won = async { match &mut self.race { Some(race) => race.await, None => std::future::pending().await } } => {
                    self.race = None;
                    self.raced(won).await;
                }
                frame = async { match &mut self.line { Some(line) => line.next().await, None => std::future::pending().await } } => {
                    match frame {
                        Ok(frame) => self.frame(&frame).await,
                        Err(closed) => self.closed(&closed),
                    }
                }
                () = tokio::time::sleep_until(due.into()) => self.tick().await,
            }
        }
    }

    fn deadline(&self) -> Instant {
        let moving = self.move_at.map(|(at, _)| at);
        let times = [self.retry_at, moving, self.ack_at, self.hole_by, self.busy_until];
        times.into_iter().flatten().fold(self.next_send, Instant::min)
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.next_send {
            self.write();
            let pace = self.plan.pace.as_micros() as u64;
            self.next_send = now + Duration::from_micros(self.choices.of(pace * 4 / 5..pace * 6 / 5));
            self.pump().await;
        }
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            let others = self.others();
            self.start_race(self.node, others);
        }
        if let Some((at, to)) = self.move_at
            && now >= at
            && self.race.is_none()
        {
            self.move_at = None;
            let mut others = self.others();
            let first = to.unwrap_or(others[0]);
            others.retain(|node| *node != first);
            self.moving = true;
            self.start_race(first, others);
        }
        if self.ack_at.is_some_and(|at| now >= at) {
            self.ack().await;
        }
        if self.hole_by.is_some_and(|by| now >= by) {
            self.fault("an entry of the stream is missing");
            self.lost();
        }
        if self.busy_until.is_some_and(|until| now >= until) {
            self.busy_until = None;
            self.pump().await;
        }
    }

    /// The other nodes, in the order in which this user tries them.
    fn others(&self) -> Vec<usize> {
        (0..NODES).map(|i| (self.plan.user + i) % NODES).filter(|node| *node != self.node).collect()
    }

    fn fault(&self, text: &str) {
        self.plan.books.fault(format!(
            "{} ({}) at {}: {text}",
            name(self.plan.user),
            self.plan.device,
            cluster::NAMES[self.node]
        ));
    }

    // ── Connections ──

    fn start_race(&mut self, first: usize, others: Vec<usize>) {
        let device = format!("{}-{}", name(self.plan.user), self.plan.device);
        let mut frame = hello(&token(&name(self.plan.user)), &device, self.stream.handled, &Value::Null);
        if let (Some(_), Some(epoch)) = (self.stream.handled, &self.stream.epoch) {
            frame["epoch"] = epoch.clone().into();
        }
        let order: Vec<_> = std::iter::once(first)
            .chain(others)
            .map(|node| (node, self.plan.networks[node].clone()))
            .collect();
        self.race = Some(Box::pin(race(order, frame)));
    }

    async fn raced(&mut self, won: Option<Won>) {
        let now = Instant::now();
        // Whatever was begun beside the winner, or failed late, may still be read as a newer session.
        self.unheard.retain(|until| now < *until);
        self.unheard.push(now + Duration::from_secs(30));
        match won {
            Some(won) => self.begin(won).await,
            None if self.line.is_some() => {
                self.fault("nobody takes it though its node sends it away");
                self.lost();
            }
            None => self.wait(),
        }
    }

    async fn begin(&mut self, won: Won) {
        let Won { node, line, welcome, dialled } = won;
        let now = Instant::now();
        let why = welcome["why"].as_str().unwrap_or_default();
        let forked = why == "forked";
        if welcome["resumed"] != true && why != "new_device"
            || (why == "new_device" && self.stream.handled.is_some())
        {
            self.fault(&format!("the session does not go on at {}: {welcome}", cluster::NAMES[node]));
        }
        if self.line.is_some() {
            self.left();
        }
        let outage = self.lost_at.take().map(|lost| (self.node, lost, dialled));
        self.plan.books.welcomed((self.plan.user, self.plan.device), node, outage, forked);
        let cursor = welcome["cursor"].as_u64().expect("a cursor");
        let epoch = welcome["epoch"].as_str().map(str::to_owned);
        self.stream.start(cursor, forked || why == "ahead", epoch);
        (self.line, self.node, self.welcomed_at, self.acked) = (Some(line), node, now, cursor);
        (self.retry_at, self.move_at, self.moving) = (None, None, false);
        self.pump().await;
    }

    /// The connection is no more, or is given up.
    fn left(&mut self) {
        self.line = None;
        (self.ack_at, self.hole_by, self.busy_until) = (None, None, None);
        self.lost_at.get_or_insert_with(Instant::now);
        self.outbox.iter_mut().for_each(|letter| letter.r = None);
    }

    fn lost(&mut self) {
        self.left();
        if self.welcomed_at.elapsed() >= STABLE {
            self.pauses = 0;
        }
        if self.race.is_none() {
            self.wait();
        }
    }

    fn wait(&mut self) {
        let most = BACKOFF.saturating_mul(1 << self.pauses.min(10)).min(BACKOFF_CAP);
        self.pauses += 1;
        let pause = Duration::from_micros(self.choices.of(0..most.as_micros() as u64));
        let sent_away = self.move_at.map(|(at, _)| at);
        self.retry_at = Some(sent_away.unwrap_or_else(|| Instant::now() + pause));
    }

    fn closed(&mut self, closed: &Closed) {
        match closed.code() {
            // Without a word, stopping, fallen silent; or replaced by the connection that is on its way.
            0 | 1001 | 1006 => {}
            4409 if self.race.is_some() || self.explained() => {}
            _ => self.fault(&format!("closed: {closed:?}")),
        }
        self.lost();
    }

    fn explained(&mut self) -> bool {
        let now = Instant::now();
        self.unheard.retain(|until| now < *until);
        self.unheard.pop().is_some()
    }

    // ── What comes ──

    async fn frame(&mut self, frame: &Value) {
        match frame["t"].as_str().unwrap_or_default() {
            "ok" => self.answered(frame).await,
            "err" => self.refused(frame),
            "live" => self.stream.reach(frame["pos"].as_u64().unwrap_or_default()),
            "move" => {
                let at = Instant::now() + Duration::from_millis(frame["after"].as_u64().unwrap_or_default());
                self.move_at.get_or_insert((at, frame["url"].as_str().and_then(cluster::of_url)));
            }
            // The close says the same.
            "kick" | "pong" | "presence" => {}
            _ => self.entry(frame),
        }
        self.hole_by = self.stream.is_holed().then(|| self.hole_by.unwrap_or_else(|| Instant::now() + HOLE));
        if self.line.is_some() && self.stream.last() > self.acked {
            self.ack_at.get_or_insert_with(|| Instant::now() + ACK);
        }
    }

    fn entry(&mut self, frame: &Value) {
        let (Some(pos), Some(prev)) = (frame["pos"].as_u64(), frame["prev"].as_u64()) else { return };
        match self.stream.accept(pos, prev) {
            Verdict::Gap => {
                self.fault(&format!("a gap in the stream: {frame}"));
                return self.lost();
            }
            Verdict::Seen => return,
            Verdict::Next => {}
        }
        let message = &frame["m"];
        let (Some(id), Some(said)) = (message["id"].as_str(), message["content"]["content"].as_str()) else {
            return;
        };
        let Some((pair, number)) = parse(said) else { return self.fault(&format!("nobody sent {frame}")) };
        let first = self.seen.insert(id.to_owned());
        if pair.0 == self.plan.user && self.plan.device == 0 {
            self.settle(pair, number);
        } else if first {
            self.plan.books.came((self.plan.user, self.plan.device), pair, number);
        } else {
            self.plan.books.again();
        }
    }

    async fn answered(&mut self, frame: &Value) {
        let Some(place) =
            self.outbox.iter().position(|letter| letter.r.is_some() && letter.r == frame["r"].as_u64())
        else {
            return;
        };
        let letter = &self.outbox[place];
        self.seen.insert(frame["id"].as_str().unwrap_or_default().to_owned());
        self.settle(letter.pair, letter.number);
        if let (Some(pos), Some(prev), None) =
            (frame["pos"].as_u64(), frame["prev"].as_u64(), frame.get("dup"))
        {
            self.stream.own(pos, prev);
        }
        self.pump().await;
    }

    fn settle(&mut self, pair: Pair, number: usize) {
        let before = self.outbox.len();
        self.outbox.retain(|letter| (letter.pair, letter.number) != (pair, number));
        if self.outbox.len() < before {
            self.plan.books.acked(pair, number);
        }
    }

    fn refused(&mut self, frame: &Value) {
        let wait = Duration::from_millis(frame["retry_after"].as_u64().unwrap_or(1_000));
        match frame["code"].as_str().unwrap_or_default() {
            "busy" | "rate_limited" => {
                let asked = frame["r"].as_u64();
                self.outbox.iter_mut().filter(|letter| letter.r == asked).for_each(|letter| letter.r = None);
                self.busy_until = Some(Instant::now() + wait);
            }
            _ => self.fault(&frame.to_string()),
        }
    }

    // ── What goes ──

    /// The page sends one more.
    fn write(&mut self) {
        let Some(to) = self.plan.to.first().copied().filter(|_| self.plan.talking.load(Ordering::Relaxed))
        else {
            return;
        };
        self.plan.to.rotate_left(1);
        let pair = (self.plan.user, to);
        self.outbox.push_back(Letter { pair, number: self.plan.books.send(pair), r: None });
    }

    async fn pump(&mut self) {
        let Some(line) = &mut self.line else { return };
        if self.busy_until.is_some() {
            return;
        }
        let flying = self.outbox.iter().filter(|letter| letter.r.is_some()).count();
        let mut frames = Vec::new();
        for letter in
            self.outbox.iter_mut().filter(|letter| letter.r.is_none()).take(IN_FLIGHT.saturating_sub(flying))
        {
            let said = text(letter.pair, letter.number);
            frames.push(
                json!({ "t": "send", "r": self.next_r, "id": said, "kind": 1, "target": name(letter.pair.1),
                "type": "RC:TxtMsg", "content": { "content": said } }),
            );
            letter.r = Some(self.next_r);
            self.next_r += 1;
        }
        if !frames.is_empty() && line.send(&Value::Array(frames)).await.is_err() {
            self.lost();
        }
    }

    async fn ack(&mut self) {
        self.ack_at = None;
        let pos = self.stream.last();
        let Some(line) = &mut self.line else { return };
        if pos > self.acked {
            self.acked = pos;
            if line.send(&json!({ "t": "ack", "pos": pos })).await.is_err() {
                self.lost();
            }
        }
    }
}
