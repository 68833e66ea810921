//! Deterministic simulation of a node: relay, a disk that loses what was not synced, sessions, clients.
//!
//! One thread, one seed: every delay, cut, crash and choice comes from it, so a failing seed replays exactly.
//! `HONGYAN_SEED=n` replays one, `HONGYAN_SEEDS=n` runs as many as told.
//! Invariants are checked while it runs (order, chain, once) and after everything has healed (nothing acked is lost,
//! mailboxes hold each message once, unread counts agree with a count by hand).

mod client;
mod cluster;
mod disk;
mod line;
mod rng;
mod world;

use super::sabotage::Sabotage;
use rng::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// Runs one seed; panics with what went wrong.
fn run(seed: u64, sabotage: Option<Sabotage>) {
    let mut world = World::new(Rng::new(seed), sabotage);
    for _ in 0..world.length() {
        world.step();
    }
    world.heal();
    world.verify();
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_default()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds(from: u64, count: u64) {
    if let Some(seed) = number("HONGYAN_SEED") {
        println!("replaying HONGYAN_SEED={seed}");
        return run(seed, None);
    }
    let count = number("HONGYAN_SEEDS").unwrap_or(count);
    for seed in from..from + count {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed, None))) {
            panic!("HONGYAN_SEED={seed} fails: {}", message(&*panic));
        }
    }
}

// Two tests, so that two cores share the work.
#[test]
fn what_is_acked_survives_and_arrives_once_first_half() {
    seeds(1, 4_000);
}

#[test]
fn what_is_acked_survives_and_arrives_once_second_half() {
    seeds(1_000_001, 4_000);
}

/// The first seed that finds a planted fault.
fn found(sabotage: Sabotage) -> Option<u64> {
    found_by(200, |seed| run(seed, Some(sabotage)))
}

/// The first seed below `end` with which `run` panics.
fn found_by(end: u64, run: impl Fn(u64)) -> Option<u64> {
    // The failures are wanted here; their texts are not.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let seed = (1..end).find(|&seed| catch_unwind(AssertUnwindSafe(|| run(seed))).is_err());
    std::panic::set_hook(hook);
    seed
}

#[test]
fn an_ack_before_the_fsync_is_found() {
    assert!(found(Sabotage::AckBeforeFsync).is_some());
}

#[test]
fn a_cursor_moved_before_delivery_is_found() {
    assert!(found(Sabotage::CursorBeforeDelivery).is_some());
}

#[test]
fn a_retried_send_stored_twice_is_found() {
    assert!(found(Sabotage::RetryStoredTwice).is_some());
}

#[test]
fn a_session_live_before_the_tail_is_found() {
    assert!(found(Sabotage::LiveBeforeTail).is_some());
}
