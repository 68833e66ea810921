//! The program, run and read.

use crate::common::{KEY, PATIENCE, SECRET};
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long a whole demo may take to start or end.
const LONG: Duration = PATIENCE.saturating_mul(3);

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The program with nothing but `arguments` and what its children need.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hongyan"));
    command.env_clear().args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Said {
    let output = command(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// What `hongyan status --json` gives: its exit code and what it printed.
pub fn status(admin: SocketAddr) -> (i32, Value) {
    let said = run(&["status", "--json", "--admin-listen", &admin.to_string()]);
    (said.code, serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}")))
}

/// Whether a process runs.
pub fn runs(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z') && !line.contains('X'))
}

/// Ends a process that a test has started, as a power cut would.
pub fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
}

/// A row of the table that a demo prints.
#[derive(Debug)]
pub struct Place {
    pub region: String,
    pub name: String,
    pub front: SocketAddr,
    pub admin: SocketAddr,
    pub pid: u32,
}

/// `hongyan demo`, with a folder for temporary ones of its own.
pub struct Demo {
    child: Child,
    folder: TempDir,
}

impl Demo {
    /// Starts one on free ports and waits until it has said what there is.
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = fs::File::create(folder.path().join("said")).unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        let child = command(&["demo", "--port", "0"])
            .args(arguments)
            .env("TMPDIR", folder.path().join("tmp"))
            .env("HONGYAN_APPS", format!("{KEY}:{SECRET}"))
            .stderr(out.try_clone().unwrap())
            .stdout(out)
            .spawn()
            .unwrap();
        let mut demo = Self { child, folder };
        demo.says("Ctrl-C ends it all.");
        demo
    }

    /// All that it has said.
    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).unwrap()
    }

    /// Waits until it says something.
    pub fn says(&mut self, what: &str) {
        let start = Instant::now();
        while !self.said().contains(what) {
            assert!(start.elapsed() < LONG, "it does not say {what:?} but\n{}", self.said());
            assert!(self.child.try_wait().unwrap().is_none(), "it has ended: {}", self.said());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The table.
    pub fn places(&self) -> Vec<Place> {
        let said = self.said();
        assert!(said.contains(&format!("App key     {KEY}\n")), "{said}");
        let place = |line: &str| {
            let cells: Vec<_> = line.split_whitespace().collect();
            let [region, name, page, admin, pid] = cells[..] else { return None };
            let front = page.strip_prefix("http://")?.strip_suffix('/')?.parse().ok()?;
            let (region, name) = (region.to_owned(), name.to_owned());
            Some(Place { region, name, front, admin: admin.parse().ok()?, pid: pid.parse().ok()? })
        };
        said.lines().filter_map(place).collect()
    }

    /// Its nodes, as the system knows them.
    pub fn children(&self) -> Vec<u32> {
        let parent = format!("PPid:\t{}", self.child.id());
        let pids =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let is_child = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|line| line == parent)
        };
        pids.filter(is_child).collect()
    }

    /// Ends one of its nodes as a power cut would.
    pub fn kill(&self, pid: u32) {
        assert!(self.children().contains(&pid), "{pid} is no node of this demo");
        kill(pid);
    }

    /// The same for the demo itself.
    pub fn kill_itself(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end and waits until it has.
    pub fn ended(&mut self) -> ExitStatus {
        assert!(
            Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success()
        );
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < LONG, "it does not end: {}", self.said());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What is left of its folder.
    pub fn left_behind(&self) -> Vec<String> {
        let names = fs::read_dir(self.temporary()).unwrap();
        names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    /// Where it makes its folder.
    pub fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Its nodes end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
