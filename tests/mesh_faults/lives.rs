//! Nodes that die, and nodes that go.

use super::{
    Scene,
    books::{Outage, Pair, Sent, Sums, quantile},
    cluster::{Cluster, NAMES, NODES},
    crowd::{self, Crowd, USERS, never},
    ms,
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const SECOND: Duration = Duration::from_secs(1);
/// Users with a device at two nodes.
const SECONDS: &[usize] = &[0, 4, 8];
/// Shorter than a link lives without a word.
const UNHEARD: Duration = Duration::from_millis(800);
/// Within this time of reconnecting a user has to be served; the promise is 1 s, and this machine may have other work.
const SERVED: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_killed_and_what_it_alone_had_comes_when_it_is_back() {
    const DEAD: usize = 1;
    let Some(scene) = Scene::begin() else { return };
    let mut cluster = Cluster::start(scene.seed).await;
    let mut crowd = Crowd::gather(&cluster, scene.seed, SECONDS).await;
    crowd.chat(4 * SECOND).await;
    let is_there = |device| crowd.books.place_of(device).node == Some(DEAD);
    let there: BTreeSet<_> = (0..USERS).filter(|user| is_there((*user, 0)) || is_there((*user, 1))).collect();
    assert!(!there.is_empty());
    // For a moment nobody hears it, so that it answers for what nobody else has.
    let unheard = Instant::now();
    for other in (0..NODES).filter(|other| *other != DEAD) {
        cluster.cables.cut(DEAD, other, true);
    }
    crowd.chat(UNHEARD).await;
    let killed = Instant::now();
    cluster.nodes[DEAD].kill();
    for other in (0..NODES).filter(|other| *other != DEAD) {
        cluster.cables.cut(DEAD, other, false);
    }
    crowd.chat(7 * SECOND).await;
    for user in &there {
        let place = crowd.books.place(*user);
        assert_ne!(place.node, Some(DEAD), "user {user} has no other node");
    }
    let alone = crowd.books.open().len();
    cluster.nodes[DEAD].start();
    let started = Instant::now();
    cluster.settled().await;
    let back = started.elapsed();
    crowd.chat(3 * SECOND).await;
    crowd.hush().await;
    // What was sent before the kill by or to somebody who was there may have been on that disk alone.
    let may_be_late =
        |pair: Pair, sent: &Sent| sent.at < killed && (there.contains(&pair.0) || there.contains(&pair.1));
    let sums = crowd.books.close(may_be_late);
    let served = |outage: &Outage| outage.served.map(|at| at.duration_since(outage.dialled));
    let mut reconnected: Vec<_> = sums.outages.iter().filter_map(served).collect();
    let mut missed: Vec<_> =
        sums.outages.iter().filter_map(|o| Some(o.served?.duration_since(killed))).collect();
    reconnected.sort();
    missed.sort();
    let more = [
        (
            "served again after reconnecting p50 / max, ms",
            format!("{} / {}", ms(quantile(&reconnected, 0.5)), ms(quantile(&reconnected, 1.0))),
        ),
        (
            "served again after the kill p50 / max, ms",
            format!("{} / {}", ms(quantile(&missed, 0.5)), ms(quantile(&missed, 1.0))),
        ),
        ("open just before it is back", alone.to_string()),
        ("ready and linked after its start, ms", ms(back)),
        ("came again and was known by its id", sums.again.to_string()),
    ];
    crowd::report("kill -9 of one node of three", &sums, &more);
    sums.check();
    assert!(sums.late > 0 || alone > 0, "it had nothing alone: {:?}", unheard.elapsed());
    for user in (0..USERS).filter(|user| !SECONDS.contains(user)) {
        let place = crowd.books.place(user);
        let (gone, again) =
            (there.contains(&user), place.outages.iter().all(|outage| outage.served.is_some()));
        assert_eq!(
            (place.outages.len(), again),
            (usize::from(gone), true),
            "user {user}: {:?}",
            place.outages
        );
    }
    assert!(reconnected.iter().all(|time| *time < SERVED), "{reconnected:?}");
    crowd.audit(&cluster, &may_be_late).await;
    cluster.check_logs();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_in_turn_is_drained_and_started_again() {
    let Some(scene) = Scene::begin() else { return };
    let mut cluster = Cluster::start(scene.seed).await;
    let mut crowd = Crowd::gather(&cluster, scene.seed, SECONDS).await;
    crowd.chat(2 * SECOND).await;
    let mut drains = Vec::new();
    for (number, name) in NAMES.iter().enumerate().take(NODES) {
        let node = &mut cluster.nodes[number];
        let asked = Instant::now();
        let ended = node.drain().await;
        // What was sent just before is on its way, too.
        drains.push((asked - SECOND / 4, asked + ended));
        println!("{name} ended {} ms after SIGTERM", ms(ended));
        crowd.chat(SECOND).await;
        cluster.nodes[number].start();
        cluster.settled().await;
        crowd.chat(SECOND).await;
    }
    crowd.hush().await;
    let sums = crowd.books.close(never);
    let during = sums.gaps_of(|_, at| drains.iter().any(|(from, to)| (*from..*to).contains(&at)));
    let longest = drains.iter().map(|(from, to)| to.duration_since(*from)).max().unwrap_or_default();
    let more = [
        ("messages sent while a node drains", during.len().to_string()),
        (
            "gap of those p50 / p99 / max, ms",
            format!(
                "{} / {} / {}",
                ms(quantile(&during, 0.5)),
                ms(quantile(&during, 0.99)),
                ms(quantile(&during, 1.0))
            ),
        ),
        ("longest drain, ms", ms(longest)),
        ("came again and was known by its id", sums.again.to_string()),
    ];
    crowd::report("each of three nodes drained in turn", &sums, &more);
    stories(&crowd, &sums, &drains);
    sums.check();
    assert_eq!(sums.again, 0, "entries that came twice over the wire");
    let slowest = quantile(&during, 0.99);
    assert!(slowest < 3 * SECOND, "the gap p99 during drains is {slowest:?}");
    crowd.audit(&cluster, &never).await;
    cluster.check_logs();
}

/// Prints what became of those who waited longest.
fn stories(crowd: &Crowd, sums: &Sums, drains: &[(Instant, Instant)]) {
    let since = |at: Instant, from: Instant| at.saturating_duration_since(from).as_millis();
    for (number, (from, to)) in drains.iter().enumerate() {
        for ((user, to), at, gap) in
            sums.gaps.iter().filter(|(_, at, gap)| (*from..*to).contains(at) && *gap > SECOND / 7)
        {
            println!(
                "drain of {}: a message of user {user} to user {to}, sent at {} ms, took {} ms",
                NAMES[number],
                since(*at, *from),
                gap.as_millis()
            );
        }
        for user in 0..USERS {
            for Outage { from: a, lost, dialled, welcomed, to: b, served } in crowd.books.place(user).outages
            {
                if (*from..*to + SECOND).contains(&welcomed) {
                    let served = served.map_or(0, |at| since(at, *from));
                    println!(
                        "drain of {}: user {user} went from {} to {}: lost {}, dialled {}, welcomed {}, served {served} ms",
                        NAMES[number],
                        NAMES[a],
                        NAMES[b],
                        since(lost, *from),
                        since(dialled, *from),
                        since(welcomed, *from)
                    );
                }
            }
        }
    }
}
