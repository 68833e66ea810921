//! `hongyan bench`, small: every part of it runs, nothing is lost, and nothing stays behind.

use std::{
    fs,
    process::{Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;

fn bench(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hongyan"));
    command.current_dir(folder.path()).env_remove("HONGYAN_CONFIG").arg("bench").args(arguments);
    command.output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn messages_over_both_transports_arrive_once_and_in_order() {
    for transport in ["ws", "poll"] {
        let folder = tempfile::tempdir().unwrap();
        let small = ["--pairs", "3", "--users", "8", "--window", "4", "--seconds", "2", "--warmup", "0"];
        let run = json(&bench(&folder, &[&small[..], &["--transport", transport, "--json"]].concat()));
        assert!(run["delivered"].as_u64().unwrap() > 0, "{run}");
        assert!(run["echo"]["messages_per_second"].as_f64().unwrap() > 0.0, "{run}");
        assert!(run["messages_per_fsync"].as_f64().unwrap() > 0.0, "{run}");
        for wrong in ["losses", "duplicates", "order_breaks", "stream_gaps", "unanswered"] {
            assert_eq!(run[wrong], 0, "{wrong} over {transport}: {run}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something is left behind");
    }
}

#[test]
fn between_nodes_they_do_too_and_one_node_stands_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let small =
        ["--nodes", "2", "--pairs", "3", "--window", "4", "--seconds", "2", "--warmup", "0", "--rounds", "2"];
    let run = json(&bench(&folder, &[&small[..], &["--no-echo", "--json"]].concat()));
    assert!(run["delivered"].as_u64().unwrap() > 0, "{run}");
    assert!(run["alone"]["messages_per_second"].as_f64().unwrap() > 0.0, "{run}");
    let part = &run["messages_for_same_cpu_to_alone"];
    let part = ["min", "p50", "max"].map(|key| part[key].as_f64().unwrap());
    assert!(part[0] > 0.0 && part.is_sorted(), "{run}");
    assert_eq!(run["rounds_cpu_us"].as_array().map(Vec::len), Some(2), "{run}");
    for wrong in ["losses", "duplicates", "order_breaks", "stream_gaps", "unanswered"] {
        assert_eq!(run[wrong], 0, "{wrong}: {run}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something is left behind");
}

#[test]
fn idle_sessions_are_weighed() {
    let folder = tempfile::tempdir().unwrap();
    let run = json(&bench(&folder, &["--idle", "50", "--json"]));
    assert_eq!(run["idle_sessions"], 50);
    assert!(run["server_resident_kib"].as_u64() > Some(0));
}

/// A process that `parent` started.
fn child_of(parent: u32) -> Option<String> {
    let line = format!("PPid:\t{parent}");
    let of = |process: &fs::DirEntry| {
        // Others may end while we look.
        let status = fs::read_to_string(process.path().join("status")).unwrap_or_default();
        status.lines().any(|field| field == line)
    };
    let found = fs::read_dir("/proc").unwrap().filter_map(Result::ok).find(of)?;
    found.file_name().into_string().ok()
}

#[test]
fn a_run_that_is_ended_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Command::new(env!("CARGO_BIN_EXE_hongyan"))
        .current_dir(folder.path())
        .args(["bench", "--pairs", "2", "--seconds", "60"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = loop {
        std::thread::sleep(Duration::from_millis(50));
        match child_of(running.id()) {
            None if running.try_wait().unwrap().is_some() => panic!("it ended by itself"),
            None => {}
            Some(child) => break child,
        }
    };
    let kill = Command::new("kill").arg(running.id().to_string()).status().unwrap();
    assert!(kill.success());
    assert_eq!(running.wait().unwrap().code(), Some(1));
    assert!(!fs::exists(format!("/proc/{child}")).unwrap(), "the server runs on");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "its data is left behind");
}

#[test]
fn a_wrong_command_line_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = bench(&folder, &["--pairs", "5", "--users", "3"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--users 3 is too few for 5 pairs"));
}
