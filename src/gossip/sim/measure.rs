//! What presence costs at a million users: memory, loading, repair. Prints a table; to be run by hand, in a release build:
//! `cargo test --release presence_at_a_million -- --ignored --nocapture`.

use super::{Seeded, claim, user};
use crate::{
    gossip::{Claim, Merged, Presence, Repair, Replica},
    model::{NodeId, UserHash},
};
use std::time::{Duration, Instant};

const USERS: u64 = 1_000_000;
const NODES: u32 = 5;

/// A number that follows from the user, and a stamp as of these years.
fn owner(n: u64) -> u32 {
    0x1234_5678 + (n % u64::from(NODES)) as u32 * 0x2345_6789
}

fn load(presence: &mut Presence, n: u64) -> Merged<Claim> {
    presence.merge(UserHash(user(n)), claim(3, owner(n), 1_790_000_000_000_000 + n))
}

#[derive(Default)]
struct Cost {
    bytes: usize,
    messages: usize,
    largest: usize,
    trips: usize,
    work: Duration,
    longest: Duration,
    changed: usize,
}

/// Repairs `a` with `b`, driven by `a`: all that one side sends arrives together, then the other one answers.
fn repair(a: &mut Presence, b: &mut Presence) -> Cost {
    let (mut drives, mut answers) = (Repair::new(true), Repair::new(false));
    let mut cost = Cost::default();
    let begun = Instant::now();
    let mut flight = vec![drives.start(a.table())];
    cost.work += begun.elapsed();
    let mut to_peer = true;
    while !flight.is_empty() {
        let (mut out, mut changed) = (Vec::new(), Vec::new());
        for message in flight {
            let bytes = postcard::to_stdvec(&message).unwrap().len();
            cost.bytes += bytes;
            cost.messages += 1;
            cost.largest = cost.largest.max(bytes);
            let begun = Instant::now();
            if to_peer {
                answers.take(b, message, &mut out, &mut changed).unwrap();
            } else {
                drives.take(a, message, &mut out, &mut changed).unwrap();
            }
            cost.work += begun.elapsed();
            cost.longest = cost.longest.max(begun.elapsed());
        }
        cost.trips += usize::from(to_peer);
        cost.changed += changed.len();
        to_peer = !to_peer;
        flight = out;
    }
    assert_eq!(drives.completed(), 1);
    cost
}

fn line(what: &str, cost: &Cost) {
    println!(
        "{what:<44} {:>11} bytes {:>5} messages (≤ {:>5}) {:>3} round trips {:>7.1} ms work, {:>5.2} ms at most at once",
        cost.bytes,
        cost.messages,
        cost.largest,
        cost.trips,
        cost.work.as_secs_f64() * 1e3,
        cost.longest.as_secs_f64() * 1e3,
    );
}

#[test]
#[ignore = "measures; run it by hand in a release build"]
fn presence_at_a_million() {
    let mut nodes: Vec<Presence> = (0..NODES).map(|node| Presence::salted(u64::from(node) * 77)).collect();
    for (at, node) in nodes.iter_mut().enumerate() {
        // Each node hears of the users in another order.
        let step = [1, 7, 11, 13, 17][at];
        let begun = Instant::now();
        (0..USERS).for_each(|n| assert_eq!(load(node, n * step % USERS), Merged::New));
        let took = begun.elapsed();
        println!(
            "node {at}: {:.2} bytes a user right after loading; {:.0} ms, {:.0} ns a merge",
            node.bytes() as f64 / USERS as f64,
            took.as_secs_f64() * 1e3,
            took.as_nanos() as f64 / USERS as f64,
        );
    }
    assert!(nodes.iter().all(|node| node.table().summary() == nodes[0].table().summary()));
    let begun = Instant::now();
    let known = (0..USERS).filter(|n| nodes[0].claim(UserHash(user(n * 7_919 % USERS))).is_some()).count();
    println!("{known} look-ups: {:.0} ns each", begun.elapsed().as_nanos() as f64 / USERS as f64);
    let begun = Instant::now();
    let owned = nodes[0].owned_by(NodeId(owner(0))).count();
    println!("owned_by: {owned} of {USERS} in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    assert_eq!(nodes[0].owned(NodeId(owner(0))).users, owned);

    let mut growing = Presence::default();
    let (mut worst, mut pauses) = ((0.0_f64, 0), Vec::new());
    for n in 0..2 * USERS {
        let begun = Instant::now();
        load(&mut growing, n);
        pauses.push(begun.elapsed());
        if n % 1_000 == 999 && n >= USERS / 4 {
            let a_user = growing.bytes() as f64 / (n + 1) as f64;
            if a_user > worst.0 {
                worst = (a_user, n + 1);
            }
        }
    }
    println!(
        "growing from {} to {}: at worst {:.2} bytes a user (at {})",
        USERS / 4,
        2 * USERS,
        worst.0,
        worst.1
    );
    pauses.truncate(USERS as usize);
    pauses.sort_unstable();
    let per = |share: f64| pauses[(pauses.len() as f64 * share) as usize - 1];
    println!(
        "one merge up to {USERS}: p50 {:?}, p99 {:?}, p99.9 {:?}, p99.99 {:?}, worst {:?}",
        per(0.5),
        per(0.99),
        per(0.999),
        per(0.9999),
        per(1.0)
    );
    drop(growing);

    let full = nodes.pop().unwrap();
    let mut other = nodes.pop().unwrap();
    for (what, empty_drives) in
        [("first repair, driven by the empty node", true), ("… by the full one", false)]
    {
        let (mut empty, mut full) = (Presence::salted(1), full.clone());
        let cost = if empty_drives { repair(&mut empty, &mut full) } else { repair(&mut full, &mut empty) };
        line(what, &cost);
        assert_eq!(empty.table().summary(), full.table().summary());
    }
    let mut full = full;
    let mut seeded = Seeded(0x5eed);
    for (turn, differ) in [0_u64, 1, 3, 10, 100, 1_000, 10_000, 100_000].into_iter().enumerate() {
        for n in 0..differ {
            // Every other row is newer here, the rest there.
            let side = if n % 2 == 0 { &mut full } else { &mut other };
            let n = seeded.next() % USERS;
            side.merge(
                UserHash(user(n)),
                claim(3, owner(n), 1_790_000_100_000_000 + turn as u64 * 1_000_000 + n),
            );
        }
        let cost = repair(&mut full, &mut other);
        line(&format!("{differ} rows differ, half newer on each side"), &cost);
        assert_eq!(full.table().summary(), other.table().summary());
        assert!(cost.changed as u64 <= differ);
    }
    // A node that was away while others came: rows are lacking on one side only.
    let mut behind = Presence::salted(5);
    (0..USERS).filter(|n| n % 10 > 0).for_each(|n| assert!(load(&mut behind, n).changed()));
    let mut ahead = Presence::salted(6);
    (0..USERS).for_each(|n| assert!(load(&mut ahead, n).changed()));
    line("100000 rows lacking on the driver's side", &repair(&mut behind, &mut ahead));
    assert_eq!(behind.table().summary(), ahead.table().summary());
}
