//! Durable messages per second, CPU per message and the time of a page of the embedded store, by batch size.
//!
//! A message is one body with 200 bytes of content and two entries, between two of 20,000 users; one in ten is in one of
//! 50 long conversations. All threads of the process count: the engine's flushes and merges are part of the price.
//! After each round pages of 20 are read: of the mailbox of some user, and of the history of a long conversation, each
//! from some time on. `STORE_BENCH=1024x40` runs one size only, here 40 rounds; `STORE_BENCH_DIR` says where to write,
//! `STORE_BENCH_MEMTABLE` sets that option in MiB.

use hongyan::{
    model::{Content, Conversation, EntryRow, Flags, Kind, Log, Message, MessageId, Stamp, UserKey},
    store::{Embedded, Options, Page, Store, Write},
};
use std::{path::PathBuf, sync::Arc, time::Instant};

const USERS: u64 = 20_000;
/// Conversations that are long.
const LONG: u64 = 50;
/// Pages of each kind that are read after a round.
const PAGES: usize = 50;
/// When the first message was sent.
const BEGIN: u64 = 1_800_000_000_000_000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// CPU time of this process so far, in microseconds (10 ms steps).
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10_000
}

fn message(users: &[UserKey], random: &mut Random, at: u64, out: &mut Vec<Write>) {
    let mut some = || (random.next() % USERS) as usize;
    let (mut from, mut to) = (some(), some());
    if at.is_multiple_of(10) {
        from = (at / 10 % LONG) as usize;
        to = from + 1;
    }
    let (from, to) = (&users[from], &users[to]);
    let id = MessageId(u128::from(random.next()) << 64 | u128::from(random.next()));
    let mut content = format!("{{\"content\":\"{:016x}", random.next()).into_bytes();
    content.resize(198, b'x');
    content.extend_from_slice(b"\"}");
    let at = Stamp(BEGIN + at);
    let message = Arc::new(Message {
        id,
        kind: Kind::Private,
        from: from.clone(),
        to: to.id().into(),
        at,
        class: "RC:TxtMsg".into(),
        content: Content::trusted(content.into()),
        flags: Flags(3),
        cid: "01ARZ3NDEKTSV4RRFFQ69G5FAV".into(),
        push: None,
    });
    out.push(Write::Body(message));
    for (user, target, mine) in [(from, to, true), (to, from, false)] {
        let conversation = Conversation { kind: Kind::Private, target: target.id().into() };
        let row = EntryRow::Message { id, at, conversation, mine, flags: Flags(3), ordinal: 7 };
        out.push(Write::Entry { user: user.clone(), pos: at, row });
    }
}

/// Reads pages of mailboxes and of long conversations; adds how long each took, in microseconds.
fn read(store: &Embedded, users: &[UserKey], random: &mut Random, upto: u64, took: &mut [Vec<f64>; 2]) {
    for _ in 0..PAGES {
        let at = Stamp(BEGIN + random.next() % upto);
        let user = &users[(random.next() % USERS) as usize];
        let start = Instant::now();
        store.entries(user, at, 20, usize::MAX).unwrap();
        took[0].push(start.elapsed().as_secs_f64() * 1e6);
        let number = (random.next() % LONG) as usize;
        let log = Log::between(&users[number], users[number + 1].id());
        let start = Instant::now();
        store.history(&log, Page::Before(at), 20, &|_| true).unwrap();
        took[1].push(start.elapsed().as_secs_f64() * 1e6);
    }
}

fn run(size: usize, rounds: usize, per_round: usize) {
    let base = std::env::var_os("STORE_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let folder = tempfile::tempdir_in(base).unwrap();
    let mut options = Options::default();
    if let Ok(memtable) = std::env::var("STORE_BENCH_MEMTABLE") {
        options.memtable = memtable.parse::<u64>().unwrap() << 20;
    }
    let store = Embedded::open(folder.path().join("data"), &options).unwrap();
    let users: Vec<UserKey> =
        (0..USERS).map(|i| UserKey::new("n19jmcy59f1q9", &format!("user-{i:06}")).unwrap()).collect();
    let mut random = Random(88_172_645_463_325_252);
    let mut commits = Vec::new();
    let mut pages = [Vec::new(), Vec::new()];
    let (mut at, mut rates, mut costs, mut total) = (0, Vec::new(), Vec::new(), (0, 0));
    for _ in 0..rounds {
        let batches: Vec<Vec<Write>> = (0..per_round.div_ceil(size))
            .map(|_| {
                let mut batch = Vec::with_capacity(size * 3);
                for _ in 0..size {
                    at += 1;
                    message(&users, &mut random, at, &mut batch);
                }
                batch
            })
            .collect();
        let (start, before, count) = (Instant::now(), cpu(), batches.len() * size);
        for batch in &batches {
            let one = Instant::now();
            store.commit(batch).unwrap();
            commits.push(one.elapsed().as_secs_f64() * 1_000.0);
        }
        let (spent, used) = (start.elapsed(), cpu() - before);
        rates.push(count as f64 / spent.as_secs_f64() / 1_000.0);
        costs.push(used as f64 / count as f64);
        total = (total.0 + used, total.1 + count);
        read(&store, &users, &mut random, at, &mut pages);
    }
    // What is still to be flushed or merged belongs to the messages too.
    let before = cpu();
    let mut last = before;
    loop {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let now = cpu();
        if now - last < 20_000 {
            break;
        }
        last = now;
    }
    let all = (total.0 + last - before) as f64 / total.1 as f64;
    commits.sort_by(f64::total_cmp);
    let at = |share: f64| commits[((commits.len() - 1) as f64 * share) as usize];
    let late = format!("{:6.1} {:6.1} {:6.1}", at(0.5), at(0.99), at(1.0));
    rates.sort_by(f64::total_cmp);
    costs.sort_by(f64::total_cmp);
    let show = |v: &[f64]| format!("{:8.1} {:8.1} {:8.1}", v[0], v[v.len() / 2], v[v.len() - 1]);
    let pages = pages.map(|mut took| {
        took.sort_by(f64::total_cmp);
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
        format!("{:6.0} {:6.0} {:6.0}", at(0.0), at(0.5), at(0.99))
    });
    println!(
        "{size:>5} |{} |{} | {all:13.1} | {late} | {} | {} | {}",
        show(&rates),
        show(&costs),
        pages[0],
        pages[1],
        total.1
    );
}

fn main() {
    println!(
        "batch |  k msgs/s: min median max | CPU us/msg: min median max | with the rest | commit ms: median p99 max | \
         mailbox's page us: min median p99 | history's page us: min median p99 | messages"
    );
    let one = std::env::var("STORE_BENCH").ok();
    if let Some((size, rounds)) = one.as_deref().and_then(|one| one.split_once('x')) {
        return run(size.parse().unwrap(), rounds.parse().unwrap(), 50_000);
    }
    for (size, rounds, per_round) in
        [(1, 5, 500), (32, 5, 8_000), (256, 7, 30_000), (1_024, 15, 100_000), (4_096, 15, 100_000)]
    {
        run(size, rounds, per_round);
    }
}
