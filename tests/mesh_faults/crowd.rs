//! Users who chat while things break, and the reckoning afterwards.

use super::{
    books::{self, Books, Pair, Sent, Sums, parse, quantile},
    client::Client,
    cluster::{Cluster, FRONT, NODES},
    common::{Choices, Device, Hello, PATIENCE, token},
    plan::{Plan, name},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Users at each node in the beginning.
const AT_EACH: usize = 4;
/// Time between two messages of a user.
const PACE: Duration = Duration::from_millis(300);
/// How long what is under way may take to arrive after the last fault is over.
const SETTLE: Duration = Duration::from_secs(40);

/// The users. Each writes to one at his own node and to one at each other node.
pub struct Crowd {
    pub books: Arc<Books>,
    talking: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

/// The node where a user begins.
pub fn home(user: usize) -> usize {
    user % NODES
}

/// How many there are.
pub const USERS: usize = AT_EACH * NODES;

impl Crowd {
    /// All come, and begin to write when all are there.
    ///
    /// * `seconds`: users who have a second device, at another node, that reads along.
    pub async fn gather(cluster: &Cluster, seed: u64, seconds: &[usize]) -> Self {
        let mut choices = Choices::new(seed);
        let (books, talking) = (Arc::new(Books::default()), Arc::new(AtomicBool::new(false)));
        let networks: Vec<_> = cluster.nodes.iter().map(|node| node.network.clone()).collect();
        let mut clients = JoinSet::new();
        for user in 0..USERS {
            // The next at the same node, at the node after it, at the one before it.
            let to = [NODES, 1, NODES - 1].map(|step| (user + step) % USERS).to_vec();
            let plan = Plan {
                user,
                device: 0,
                home: home(user),
                to,
                pace: PACE,
                networks: networks.clone(),
                books: books.clone(),
                talking: talking.clone(),
                seed: choices.next(),
            };
            let second = Plan {
                device: 1,
                home: (home(user) + 1) % NODES,
                to: Vec::new(),
                seed: choices.next(),
                ..plan.clone()
            };
            clients.spawn(Client::new(plan).run());
            if seconds.contains(&user) {
                clients.spawn(Client::new(second).run());
            }
        }
        let crowd = Self { books, talking, clients };
        let begun = Instant::now();
        let devices = (0..USERS).map(|user| (user, 0)).chain(seconds.iter().map(|user| (*user, 1)));
        while devices.clone().any(|device| crowd.books.place_of(device).node.is_none()) {
            assert!(begun.elapsed() < PATIENCE, "not all are welcomed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        crowd.talking.store(true, Ordering::Relaxed);
        crowd
    }

    /// Lets them chat for a while.
    pub async fn chat(&mut self, time: Duration) {
        let over = tokio::time::sleep(time);
        tokio::select! {
            () = over => {}
            Some(ended) = self.clients.join_next() => panic!("a client broke off: {ended:?}"),
        }
    }

    /// They fall silent; returns when all that they wrote has come, with how long that took.
    pub async fn hush(&mut self) -> Duration {
        self.talking.store(false, Ordering::Relaxed);
        let begun = Instant::now();
        loop {
            let open = self.books.open();
            if open.is_empty() {
                return begun.elapsed();
            }
            assert!(
                begun.elapsed() < SETTLE,
                "after {SETTLE:?}, {} of {:?}: {open:#?}",
                open.len(),
                self.books.counts()
            );
            self.chat(Duration::from_millis(50)).await;
        }
    }

    /// All that they wrote stands once and in order in both mailboxes and in both histories, at a reader's who comes new.
    pub async fn audit(&self, cluster: &Cluster, may_be_late: &May<'_>) {
        let sent = self.books.sent();
        for user in 0..USERS {
            let node = self.books.place(user).node.expect("he is somewhere");
            let mailbox = read(cluster, node, user).await;
            let mine = |pair: &Pair| pair.0 == user || pair.1 == user;
            check(&format!("mailbox of {}", name(user)), &sent, &mine, may_be_late, &mailbox);
            let mut historian = device(cluster, node, user, "historian", None).await;
            for peer in (0..USERS)
                .filter(|peer| sent.keys().any(|pair| *pair == (user, *peer) || *pair == (*peer, user)))
            {
                let ours = |pair: &Pair| [(user, peer), (peer, user)].contains(pair);
                let history = history(&mut historian, peer).await;
                let what = format!("history of {} and {}", name(user), name(peer));
                check(&what, &sent, &ours, may_be_late, &history);
            }
        }
    }
}

/// Whether something may be so of a message.
pub type May<'a> = dyn Fn(Pair, &Sent) -> bool + Sync + 'a;

/// Of no message.
pub fn never(_: Pair, _: &Sent) -> bool {
    false
}

/// These texts are these messages, each once, those of one sender to one receiver in order.
fn check(
    what: &str,
    sent: &BTreeMap<Pair, Vec<Sent>>,
    of: &dyn Fn(&Pair) -> bool,
    may_be_late: &May<'_>,
    texts: &[String],
) {
    let mut there: BTreeMap<Pair, Vec<usize>> = BTreeMap::new();
    for text in texts {
        let (pair, number) = parse(text).unwrap_or_else(|| panic!("{what}: nobody sent {text}"));
        there.entry(pair).or_default().push(number);
    }
    for (pair, list) in sent.iter().filter(|(pair, _)| of(pair)) {
        let numbers = there.remove(pair).unwrap_or_default();
        let once: BTreeSet<_> = numbers.iter().copied().collect();
        let missing: Vec<_> = (0..list.len()).filter(|number| !once.contains(number)).collect();
        assert!(missing.is_empty(), "{what}: of {pair:?} these are missing: {missing:?}");
        assert_eq!(numbers.len(), once.len(), "{what}: of {pair:?} something is there twice: {numbers:?}");
        let breaks = books::breaks(&numbers);
        let bad: Vec<_> = breaks.iter().filter(|number| !may_be_late(*pair, &list[**number])).collect();
        assert!(bad.is_empty(), "{what}: of {pair:?} these are out of order: {bad:?}");
    }
    assert!(there.is_empty(), "{what}: {there:?} should not be there");
}

/// A device of a user at a node, live.
async fn device(cluster: &Cluster, node: usize, user: usize, device: &str, cursor: Option<u64>) -> Device {
    let network = &cluster.nodes[node].network;
    let stream = network.connect(FRONT).await.expect("the node takes connections");
    let hello = Hello {
        address: FRONT,
        token: token(&name(user)),
        device: device.into(),
        cursor,
        polling: false,
        more: Value::Null,
    };
    let mut device =
        hello.attempt_over(stream).await.unwrap_or_else(|closed| panic!("{}: {closed:?}", name(user)));
    device.live().await;
    device
}

async fn read(cluster: &Cluster, node: usize, user: usize) -> Vec<String> {
    let reader = device(cluster, node, user, "reader", Some(0)).await;
    assert_eq!(reader.welcome["resumed"], true, "{}", reader.welcome);
    reader.texts()
}

async fn history(reader: &mut Device, peer: usize) -> Vec<String> {
    let (mut after, mut texts) = (json!(0), Vec::new());
    loop {
        let page = reader
            .request(json!({ "t": "history", "kind": 1, "target": name(peer), "after": after, "limit": 100 }))
            .await;
        let messages = page["messages"].as_array().expect("messages");
        texts.extend(super::common::texts(messages));
        if let Some(last) = messages.last() {
            after = last["at"].clone();
        }
        if page["more"] == false {
            return texts;
        }
    }
}

/// Prints the figures of a run, and appends them to the file that `TEST_FAULTS_JSON` names.
///
/// * `more`: figures of this run alone.
pub fn report(what: &str, sums: &Sums, more: &[(&str, String)]) {
    let ms = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1_000.0);
    let all = sums.gaps_of(|_, _| true);
    let mut rows: Vec<(&str, String)> = vec![
        ("messages", sums.sent.to_string()),
        ("lost / twice / out of order", format!("{} / {} / {}", sums.lost, sums.twice, sums.breaks)),
        ("late, as only a node that was away had them", sums.late.to_string()),
        (
            "delivery gap p50 / p99 / max, ms",
            format!(
                "{} / {} / {}",
                ms(quantile(&all, 0.5)),
                ms(quantile(&all, 0.99)),
                ms(quantile(&all, 1.0))
            ),
        ),
        ("the worst client's p50 / p99, ms", format!("{} / {}", ms(sums.worst(0.5)), ms(sums.worst(0.99)))),
        ("changes of connection", sums.outages.len().to_string()),
    ];
    let mut times: Vec<Duration> =
        sums.outages.iter().filter_map(|o| Some(o.served?.duration_since(o.dialled))).collect();
    times.sort();
    if !times.is_empty() {
        let figures = format!("{} / {}", ms(quantile(&times, 0.5)), ms(quantile(&times, 1.0)));
        rows.push(("served again after dialling p50 / max, ms", figures));
    }
    rows.extend(more.iter().map(|(key, value)| (*key, value.clone())));
    println!("\n== {what}");
    rows.iter().for_each(|(key, value)| println!("{key:>46}  {value}"));
    if let Some(path) = std::env::var_os("TEST_FAULTS_JSON") {
        let figures: serde_json::Map<_, _> =
            rows.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))).collect();
        let line = json!({ "run": what, "figures": figures });
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        writeln!(file.expect("the file of figures"), "{line}").expect("the file of figures");
    }
}
