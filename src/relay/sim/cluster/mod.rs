//! Deterministic simulation of several nodes: relays, disks, links, members, and clients that roam between them.
//!
//! One thread, one seed, as for one node. A calm run has roaming users, nodes that drain and links of all speeds; a rough one
//! also has crashes, cuts (also of one direction), partitions, clocks that are off by seconds, and nodes taken for dead that
//! are not.

mod node;
mod verify;
mod wire;
mod world;

use super::{Rng, Sabotage, found_by, message, number};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// From this seed on mailboxes cannot be read at times.
const SHAKY: u64 = 2_000_000;

/// Runs one seed; panics with what went wrong.
fn run(seed: u64, sabotage: Option<Sabotage>) {
    let mut world = World::new(Rng::new(seed), seed.is_multiple_of(3), sabotage);
    if seed >= SHAKY {
        world.shake();
    }
    for _ in 0..world.length() {
        world.step();
    }
    world.heal();
    world.verify();
}

fn seeds(from: u64, count: u64) {
    if let Some(seed) = number("HONGYAN_CLUSTER_SEED") {
        println!("replaying HONGYAN_CLUSTER_SEED={seed}");
        return run(seed, None);
    }
    let count = number("HONGYAN_CLUSTER_SEEDS").unwrap_or(count);
    let mut failed = Vec::new();
    for seed in from..from + count {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed, None))) {
            let why = message(&*panic);
            failed.push(format!(
                "HONGYAN_CLUSTER_SEED={seed} fails: {}",
                why.lines().next().unwrap_or_default()
            ));
        }
        if failed.len() == 10 {
            break;
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn nodes_lose_double_and_reorder_nothing_first_half() {
    seeds(1, 1_000);
}

#[test]
fn nodes_lose_double_and_reorder_nothing_second_half() {
    seeds(1_000_001, 1_000);
}

#[test]
fn mailboxes_that_cannot_be_read_at_times_lose_nothing() {
    seeds(SHAKY, 400);
}

#[test]
fn seeds_that_failed_once() {
    // A claim that named the node replaced the row of a mailbox that was just being written there, under a higher term.
    for seed in [2_900, 1_006_433] {
        run(seed, None);
    }
    // A node gave a mailbox away, was told that it owns it still, and began anew under the same reign.
    run(7_790, None);
    // A merge ended because rows could not be read, after another node had claimed the mailbox, which stayed open.
    run(2_000_149, None);
    // A crash forgot a device, its mailbox took in a message and moved, and the device was to go on behind that.
    run(1_006_796, None);
}

fn found(sabotage: Sabotage) -> bool {
    found_by(1_000, |seed| {
        // Order is promised while nothing breaks: every third run is a calm one.
        let seed = if sabotage == Sabotage::ParcelsOvertake { seed * 3 } else { seed };
        run(seed, Some(sabotage));
    })
    .is_some()
}

macro_rules! planted {
    ($($name:ident: $sabotage:ident;)*) => {$(
        #[test]
        fn $name() {
            assert!(found(Sabotage::$sabotage));
        }
    )*};
}

planted! {
    an_ack_before_the_fsync_is_found: AckBeforeFsync;
    parcels_that_overtake_are_found: ParcelsOvertake;
    a_parcel_that_is_not_written_is_found: ParcelNotWritten;
    a_parcel_acked_before_the_fsync_is_found: DoneBeforeFsync;
    a_parcel_taken_twice_is_found: UnsureNotLookedUp;
    appending_to_what_is_lost_is_found: KeepsWhatIsLost;
    handing_off_the_tail_alone_is_found: HandsOffTheTail;
    forgetting_before_the_other_has_it_is_found: ForgetsBeforeTaken;
    a_clock_that_is_not_raised_is_found: ClockNotRaised;
    a_merge_that_forgets_ids_is_found: MergeForgetsIds;
    a_double_that_is_not_marked_is_found: DoubtsNotMarked;
    a_digest_that_ignores_buckets_is_found: DigestIgnoresBuckets;
    a_cursor_of_any_reign_is_found: CursorOfAnyReign;
}
