//! The real program, in a process of its own.

use super::{
    Hello, PATIENCE,
    node::{KEY, SECRET, token},
};
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// `hongyan serve`, with a data folder that outlives it.
pub struct Serving {
    pub address: SocketAddr,
    child: Child,
    folder: TempDir,
    starts: usize,
}

impl Serving {
    /// Starts it with `settings`, lines of its configuration file, on a free port.
    pub fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = format!("[[apps]]\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n");
        let file = format!("admin_listen = \"off\"\n{settings}\n[log]\nformat = \"json\"\n{app}");
        fs::write(folder.path().join("hongyan.toml"), file).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let child = spawn(&folder, address, 0);
        let mut serving = Self { address, child, folder, starts: 0 };
        serving.wait();
        serving
    }

    /// Starts it again on the same folder and port. It must be gone.
    pub fn restart(&mut self) {
        let start = Instant::now();
        loop {
            self.starts += 1;
            self.child = spawn(&self.folder, self.address, self.starts);
            if self.wait() {
                return;
            }
            // Somebody's outgoing connection may sit on the port for a moment.
            assert!(start.elapsed() < PATIENCE, "it does not start again: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until it serves; `false` when its port is taken.
    fn wait(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let log = self.log();
            let serving = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(line) = serving.into_iter().find(|line| line["message"] == "serving") {
                self.address = line["address"].as_str().unwrap().parse().unwrap();
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                assert!(log.contains("in use by another process; stop that"), "it ended: {log}");
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not begin to serve: {}", self.log());
    }

    /// What it has logged since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(log(&self.folder, self.starts)).unwrap_or_default()
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not end: {}", self.log());
    }

    /// Resident memory, in KiB.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// A device of a user, ready to connect.
    pub fn device(&self, user: &str, device: &str) -> Hello {
        Hello {
            address: self.address,
            token: token(user),
            device: device.into(),
            cursor: None,
            polling: false,
            more: Value::Null,
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log(folder: &TempDir, start: usize) -> PathBuf {
    folder.path().join(format!("log-{start}"))
}

fn spawn(folder: &TempDir, address: SocketAddr, start: usize) -> Child {
    Command::new(env!("CARGO_BIN_EXE_hongyan"))
        .current_dir(folder.path())
        .env_clear()
        .args(["--config", "hongyan.toml", "--listen", &address.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(log(folder, start)).unwrap())
        .spawn()
        .unwrap()
}
