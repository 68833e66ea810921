//! Whole nodes: the real program, each in a network of its own, linked by cables.

use super::{
    cable::{self, Cables},
    common::{self, Answer, KEY, SECRET},
    net::Network,
};
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Where every node takes clients, in its own network.
pub const FRONT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8_080);
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9_090);
/// Names of the nodes, in the order of their addresses.
pub const NAMES: [&str; 4] = ["north", "south", "west", "stray"];

/// The program under test: `TEST_FAULTS_BINARY`, or the one that was built with this test.
pub fn binary() -> PathBuf {
    std::env::var_os("TEST_FAULTS_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_hongyan").into(), PathBuf::from)
}

/// Where clients are sent who are to go to that node; no such host exists.
pub fn url(node: usize) -> String {
    format!("http://{}.test", NAMES[node])
}

/// The node to which clients are sent by this address.
pub fn of_url(url: &str) -> Option<usize> {
    (0..NAMES.len()).find(|node| self::url(*node) == url)
}

/// Makes an authority, and certificates for these names.
pub fn certificates(folder: &Path, names: &[&str]) {
    let run = |arguments: &[&str]| {
        let output =
            Command::new(binary()).arg("certs").args(arguments).arg("--dir").arg(folder).env_clear().output();
        let output = output.expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["init"]);
    names.iter().for_each(|name| run(&["issue", "--node", name]));
}

/// A node that runs, or ran.
pub struct Node {
    pub number: usize,
    pub network: Network,
    folder: PathBuf,
    child: Option<Child>,
    starts: usize,
}

impl Node {
    /// A node that is not started yet.
    ///
    /// * `name`: its own, in whatever network it is.
    /// * `certs`: the folder with its certificate.
    /// * `nodes`: how many there are, itself among them.
    pub fn new(
        name: &str,
        number: usize,
        network: Network,
        folder: PathBuf,
        certs: &Path,
        nodes: usize,
    ) -> Self {
        let seeds: Vec<_> = (0..nodes)
            .filter(|other| *other != number)
            .map(|other| format!("\"{}\"", cable::address(other)))
            .collect();
        let settings = format!(
            "listen = \"{FRONT}\"\nadmin_listen = \"{ADMIN}\"\nnode = \"{name}\"\nregion = \"{name}\"\n[mesh]\nlisten = \"{}\"\nseeds = [{}]\n\
             certs = \"{}\"\npublic_url = \"{}\"\n[log]\nformat = \"json\"\n[[apps]]\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n",
            cable::address(number),
            seeds.join(", "),
            certs.display(),
            url(number),
        );
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("hongyan.toml"), settings).expect("a file");
        Self { number, network, folder, child: None, starts: 0 }
    }

    /// Starts the program.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "it runs");
        self.starts += 1;
        let log = fs::File::create(self.log_file()).expect("a log");
        let mut command = Command::new(binary());
        command.current_dir(&self.folder).env_clear().args(["--config", "hongyan.toml"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(self.network.within(|| command.spawn()).expect("the program runs"));
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join(format!("log-{}", self.starts))
    }

    /// What it has logged since its last start.
    pub fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.log_file()).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned())))
            .collect()
    }

    /// Whether a line of the log, at least a warning, says `text`.
    pub fn warned(&self, text: &str) -> bool {
        self.log().iter().any(|line| line["level"] != "INFO" && line.to_string().contains(text))
    }

    /// Asks its admin address.
    pub async fn admin(&self, path: &str) -> Option<Answer> {
        let stream = self.network.connect(ADMIN).await.ok()?;
        common::http_over(stream, ADMIN, &format!("GET {path}"), &[], "").await
    }

    /// A number of its metrics; 0 where there is none of that name.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.admin("/metrics").await.expect("metrics");
        let value = text.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Whether clients may come.
    pub async fn is_ready(&self) -> bool {
        self.admin("/readyz").await.is_some_and(|answer| answer.status == 200)
    }

    /// Its process, to look at what it uses.
    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it runs")
    }

    /// Whether it has ended by itself, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child().try_wait().expect("a child of ours")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("a child of ours");
        let status = child.wait().expect("a child of ours");
        assert_eq!(status.signal(), Some(9), "it had ended before");
    }

    /// SIGTERM; returns when it has ended, with how long that took.
    pub async fn drain(&mut self) -> Duration {
        let asked = Instant::now();
        let pid = self.child().id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        while self.ended().is_none() {
            assert!(asked.elapsed() < Duration::from_secs(60), "it does not end: {:#?}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let status = self.child.take().expect("it ran").wait().expect("a child of ours");
        assert!(status.success(), "{status}: {:#?}", self.log());
        asked.elapsed()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the last of what node {} said:", self.number);
            let log = self.log();
            log.iter().skip(log.len().saturating_sub(60)).for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// Three nodes, and room for a fourth that does not belong.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub cables: Cables,
    /// Where the fourth would be.
    pub outside: Network,
    pub folder: TempDir,
}

/// Nodes of a cluster.
pub const NODES: usize = 3;

impl Cluster {
    /// Three nodes that know each other.
    pub async fn start(seed: u64) -> Self {
        let networks: Vec<_> = (0..=NODES).map(|_| Network::new().expect("a network")).collect();
        let cables = Cables::between(&networks, seed);
        let folder = tempfile::tempdir().expect("a folder");
        let certs = folder.path().join("certs");
        certificates(&certs, &NAMES);
        let node = |number: usize| {
            let (name, network) = (NAMES[number], networks[number].clone());
            Node::new(name, number, network, folder.path().join(name), &certs, NODES)
        };
        let mut nodes: Vec<_> = (0..NODES).map(node).collect();
        nodes.iter_mut().for_each(Node::start);
        let outside = networks[NODES].clone();
        let cluster = Self { nodes, cables, outside, folder };
        cluster.settled().await;
        cluster
    }

    pub fn certs(&self) -> PathBuf {
        self.folder.path().join("certs")
    }

    /// Waits until all three are ready and linked with each other.
    pub async fn settled(&self) {
        common::until("all nodes are linked", async || {
            for node in &self.nodes {
                let whole = (NODES - 1) as f64;
                if !node.is_ready().await
                    || node.metric("hongyan_mesh_links").await < whole
                    || node.metric("hongyan_mesh_members").await < whole
                {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// No node has a mistake in its log.
    pub fn check_logs(&self) {
        for node in &self.nodes {
            for line in node.log() {
                assert!(line.is_object(), "{}: {line}", NAMES[node.number]);
                assert_ne!(line["level"], "ERROR", "{}: {line}", NAMES[node.number]);
            }
        }
    }
}
