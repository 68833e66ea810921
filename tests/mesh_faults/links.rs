//! Links that break, and weather.

use super::{
    Scene,
    books::{Pair, Sent, quantile},
    cluster::Cluster,
    crowd::{self, Crowd, USERS, home, never},
    ms,
};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// How long a message may be under way on a machine with other work.
const UNDER_WAY: Duration = Duration::from_millis(500);
/// Longer than a link lives without a word.
const CUT: Duration = Duration::from_secs(6);

/// Users with a device at two nodes.
const SECONDS: &[usize] = &[0, 4, 8];

/// While it was cut, a mailbox of somebody with devices on both sides had two owners. Each keeps its order, but what one of
/// them took in or sent comes to the others only afterwards, and so does what was under way when it was cut. All else keeps
/// its order throughout.
fn two_owners(from: Instant, to: Instant) -> impl Fn(Pair, &Sent) -> bool + Sync {
    move |pair, sent| (is_double(pair.0) || is_double(pair.1)) && (from - UNDER_WAY..to).contains(&sent.at)
}

fn is_double(user: usize) -> bool {
    SECONDS.contains(&user)
}

/// Nobody who has one device had to connect again.
fn nobody_moved(crowd: &Crowd) {
    for user in (0..USERS).filter(|user| !is_double(*user)) {
        let place = crowd.books.place(user);
        assert!(place.outages.is_empty(), "user {user}: {:?}", place.outages);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_cut_and_then_one_direction_of_it() {
    let Some(scene) = Scene::begin() else { return };
    let cluster = Cluster::start(scene.seed).await;
    let mut crowd = Crowd::gather(&cluster, scene.seed, SECONDS).await;
    crowd.chat(2 * SECOND).await;
    let begun = Instant::now();
    cluster.cables.cut(0, 1, true);
    crowd.chat(CUT).await;
    cluster.cables.cut(0, 1, false);
    let mended = Instant::now();
    cluster.settled().await;
    let both = mended.elapsed();
    crowd.chat(SECOND).await;
    cluster.cables.set(1, 0, |weather| weather.cut = true);
    crowd.chat(CUT).await;
    cluster.cables.set(1, 0, |weather| weather.cut = false);
    let mended = Instant::now();
    cluster.settled().await;
    let one = mended.elapsed();
    let may_be_late = two_owners(begun, Instant::now());
    crowd.chat(2 * SECOND).await;
    crowd.hush().await;
    let sums = crowd.books.close(&may_be_late);
    let beside = crowd.books.gaps_within(
        |(from, to)| [from, to].iter().all(|user| home(*user) == 2 && !is_double(*user)),
        |_| true,
    );
    let more = [
        ("linked again, ms after both directions", ms(both)),
        ("linked again, ms after one direction", ms(one)),
        ("gap p99 of who has nothing to do with it, ms", ms(quantile(&beside, 0.99))),
    ];
    crowd::report("one link of three cut for 6 s, then one direction of it for 6 s", &sums, &more);
    sums.check();
    nobody_moved(&crowd);
    crowd.audit(&cluster, &may_be_late).await;
    cluster.check_logs();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_partition_work_and_everything_arrives_after_it() {
    let Some(scene) = Scene::begin() else { return };
    let seconds = std::env::var("TEST_FAULTS_PARTITION").ok().and_then(|seconds| seconds.parse().ok());
    let lasts = Duration::from_secs(seconds.unwrap_or(10));
    let cluster = Cluster::start(scene.seed).await;
    let mut crowd = Crowd::gather(&cluster, scene.seed, SECONDS).await;
    crowd.chat(2 * SECOND).await;
    let alone = |user: usize| home(user) == 2;
    for other in 0..2 {
        cluster.cables.cut(other, 2, true);
    }
    let parted = Instant::now();
    crowd.chat(lasts).await;
    let open = crowd.books.open();
    let healed = Instant::now();
    for other in 0..2 {
        cluster.cables.cut(other, 2, false);
    }
    cluster.settled().await;
    let linked = healed.elapsed();
    let may_be_late = two_owners(parted, Instant::now());
    crowd.chat(2 * SECOND).await;
    let arrived = crowd.hush().await;
    let sums = crowd.books.close(&may_be_late);
    let during = |at: Instant| at > parted && at < healed - SECOND;
    let mut acks: Vec<Duration> = Vec::new();
    for (pair, list) in crowd.books.sent() {
        for message in list.iter().filter(|message| during(message.at) && !is_double(pair.0)) {
            acks.push(message.acked.expect("all are answered").duration_since(message.at));
        }
    }
    acks.sort();
    let late = acks.iter().filter(|ack| **ack > 2 * SECOND).count();
    let within = crowd.books.gaps_within(
        |pair| alone(pair.0) == alone(pair.1) && !is_double(pair.0) && !is_double(pair.1),
        during,
    );
    let more = [
        ("messages sent during it", acks.len().to_string()),
        (
            "answered after p50 / p99 / max, ms",
            format!(
                "{} / {} / {}",
                ms(quantile(&acks, 0.5)),
                ms(quantile(&acks, 0.99)),
                ms(quantile(&acks, 1.0))
            ),
        ),
        (
            "gap within a side p50 / p99 / max, ms",
            format!(
                "{} / {} / {}",
                ms(quantile(&within, 0.5)),
                ms(quantile(&within, 0.99)),
                ms(quantile(&within, 1.0))
            ),
        ),
        ("open at its end (for the other side)", open.len().to_string()),
        ("linked again after, ms", ms(linked)),
        ("all arrived, ms after the last was sent", ms(arrived)),
    ];
    crowd::report(&format!("partition 2|1 of {} s", lasts.as_secs()), &sums, &more);
    sums.check();
    assert_eq!(late, 0, "sends that waited for an answer though their owner was there");
    let slowest = within.last().copied().unwrap_or_default();
    assert!(slowest < 5 * SECOND, "within a side a message took {slowest:?}");
    assert!(!open.is_empty(), "nobody wrote to the other side");
    nobody_moved(&crowd);
    crowd.audit(&cluster, &may_be_late).await;
    cluster.check_logs();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cables_that_are_long_and_lose_one_packet_in_fifty() {
    let Some(scene) = Scene::begin() else { return };
    let cluster = Cluster::start(scene.seed).await;
    cluster.cables.set_all(|weather| {
        weather.delay = Duration::from_millis(40);
        weather.jitter = Duration::from_millis(10);
        weather.lost_of_1000 = 20;
    });
    let mut crowd = Crowd::gather(&cluster, scene.seed, SECONDS).await;
    crowd.chat(15 * SECOND).await;
    let arrived = crowd.hush().await;
    let sums = crowd.books.close(never);
    let (carried, lost) = cluster.cables.carried();
    let across = crowd.books.gaps_within(|pair| home(pair.0) != home(pair.1), |_| true);
    let more = [
        ("datagrams that arrived / were lost", format!("{carried} / {lost}")),
        (
            "gap between nodes p50 / p99 / max, ms",
            format!(
                "{} / {} / {}",
                ms(quantile(&across, 0.5)),
                ms(quantile(&across, 0.99)),
                ms(quantile(&across, 1.0))
            ),
        ),
        ("all arrived, ms after the last was sent", ms(arrived)),
    ];
    crowd::report("all cables 40 to 50 ms long, 2 % lost, for 15 s", &sums, &more);
    sums.check();
    nobody_moved(&crowd);
    crowd.audit(&cluster, &never).await;
    cluster.check_logs();
}
