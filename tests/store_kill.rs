//! `kill -9` under load: all that was acknowledged is there afterwards, once, and batches are whole.

mod support;

use hongyan::store::{Embedded, Options, Store};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Duration,
};
use support::{PER_BATCH, Random, batch, numbers, of_batches};

const FOLDER: &str = "HONGYAN_TEST_STORE";

fn options() -> Options {
    // Small, so that tables are written and merged while the blow falls.
    Options { memtable: 1 << 20, ..Options::default() }
}

/// The child: commits batch after batch and says so. Does nothing when it runs as a test of its own.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let store = Embedded::open(folder, &options()).unwrap();
    let mut next = numbers(&store).unwrap().len() as u64 / PER_BATCH + 1;
    let mut out = std::io::stdout();
    loop {
        store.commit(&batch(next, 800)).unwrap();
        writeln!(out, "acked {next}").unwrap();
        next += 1;
    }
}

#[test]
fn all_that_was_acked_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let mut random = Random::new();
    let mut acked = 0;
    for round in 0..10 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(FOLDER, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.find(|line| line.as_ref().unwrap().starts_with("acked")).unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(random.below(400)));
        child.kill().unwrap();
        child.wait().unwrap();
        let rest = lines.map_while(Result::ok).filter(|line| line.starts_with("acked"));
        let last = std::iter::once(first).chain(rest).last().unwrap();
        let now: u64 = last.trim_start_matches("acked ").parse().unwrap();
        assert!(now > acked);
        acked = now;
        let store = Embedded::open(&path, &options()).unwrap();
        let found = numbers(&store).unwrap();
        let batches = found.len() as u64 / PER_BATCH;
        assert_eq!(found, of_batches(1..=batches));
        assert!(batches == acked || batches == acked + 1, "round {round}: {acked} acked, {batches} found");
        acked = batches;
    }
    println!("{acked} batches");
}
