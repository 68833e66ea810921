//! `hongyan serve`, started, asked and stopped as an operator does it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

struct Serving {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Serving {
    fn start(folder: &TempDir, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hongyan"))
            .current_dir(folder.path())
            .env_clear()
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// What stands behind `label` in what it prints.
    fn told(&mut self, label: &str) -> String {
        let mut line = String::new();
        while self.out.read_line(&mut line).unwrap() > 0 {
            if let Some(rest) = line.trim().strip_prefix(label) {
                return rest.trim().to_owned();
            }
            line.clear();
        }
        panic!("no {label} before it ended: {}", self.errors());
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(url: &str) -> String {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_first_start_tells_where_to_go_and_sigterm_ends_it_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(&folder, &["--set", "log.format=json"]);
    let page = serving.told("Chat page");
    let key = serving.told("App key");
    assert!(page.starts_with("http://127.0.0.1:"), "{page}");
    assert!(std::fs::read_to_string(folder.path().join("data/apps.toml")).unwrap().contains(&key));
    let metrics = serving.told("Metrics");
    assert!(get(&metrics).contains("\nprocess_resident_memory_bytes "));
    let admin = metrics.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    let health = Command::new(env!("CARGO_BIN_EXE_hongyan"))
        .args(["health", "--admin-listen", admin])
        .env_clear()
        .output();
    assert_eq!(health.unwrap().stdout, b"ok\n");
    let listen = page.strip_prefix("http://").unwrap().trim_end_matches('/');
    let (code, text) = run(&folder, &["token", "--user", "ann", "--name", "Ann", "--listen", listen]);
    assert_eq!((code, text.lines().count()), (Some(0), 1), "{text}");
    serving.signal("-TERM");
    assert_eq!(serving.ended().code(), Some(0));
    for line in serving.errors().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
}

#[test]
fn a_busy_address_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (key, flag) in [("listen", "--listen"), ("admin_listen", "--admin-listen")] {
        let mut arguments = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "serve"];
        arguments[if flag == "--listen" { 1 } else { 3 }] = &address;
        let output = Command::new(env!("CARGO_BIN_EXE_hongyan"))
            .current_dir(folder.path())
            .env_clear()
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        let start = format!("hongyan: {key} = {address} is in use by another process; ");
        assert!(text.lines().any(|line| line.starts_with(&start)), "{text}");
    }
}

/// Runs a command in `folder` to its end: exit code, standard output and error output together.
fn run(folder: &TempDir, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hongyan"));
    let output = command.current_dir(folder.path()).env_clear().args(arguments).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code(), text)
}

#[test]
fn a_damaged_store_stops_the_start_and_repair_says_what_it_costs() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(&folder, &["repair"]).0, Some(1));
    let mut serving = Serving::start(&folder, &[]);
    let page = serving.told("Chat page");
    // Something that was acknowledged, and would be missed.
    let listen = page.strip_prefix("http://").unwrap().trim_end_matches('/');
    let (code, text) = run(&folder, &["token", "--user", "ann", "--name", "Ann", "--listen", listen]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = run(&folder, &["repair"]);
    assert_eq!(code, Some(1), "repaired under a running node: {text}");
    serving.signal("-TERM");
    assert_eq!(serving.ended().code(), Some(0));
    let (code, text) = run(&folder, &["repair", "--dry-run"]);
    assert_eq!((code, text.as_str()), (Some(0), "nothing is damaged\n"));

    let store = folder.path().join("data/store");
    let journal = std::fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path());
    let journal = journal.filter(|path| path.extension().is_some_and(|e| e == "jnl")).min().unwrap();
    std::fs::remove_file(&journal).unwrap();
    let mut refused = Serving::start(&folder, &[]);
    assert_eq!(refused.ended().code(), Some(1));
    assert!(refused.errors().contains("hongyan repair"));
    let (code, text) = run(&folder, &["repair", "--dry-run"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(!journal.exists());
    let (code, text) = run(&folder, &["repair"]);
    assert_eq!(code, Some(0), "{text}");
    let mut serving = Serving::start(&folder, &[]);
    serving.told("Chat page");
}
