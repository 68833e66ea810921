//! What is wrong is said where an operator looks.

use crate::{
    common::{KEY, PATIENCE, SECRET, until},
    program::{Said, command, run, runs, status},
};
use hongyan::mesh::{Events, Mesh, MeshHandle, MeshOptions, PeerState, PeerStatus, WallClock};
use serde_json::{Value, json};
use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Stdio},
    time::Instant,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// An address that is free at the moment.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A node with a certificate of an authority of its own.
struct Node {
    child: Child,
    admin: SocketAddr,
    mesh: SocketAddr,
    /// The folder of the authority.
    certs: String,
}

impl Node {
    fn start(folder: &Path, name: &str, seed: Option<SocketAddr>) -> Self {
        let folder = folder.join(name);
        let certs = folder.join("certs").display().to_string();
        for arguments in [&["init"][..], &["issue", "--node", name]] {
            let said = run(&[&["certs"], arguments, &["--dir", &certs]].concat());
            assert_eq!(said.code, 0, "{said:?}");
        }
        let (admin, mesh) = (free(), UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let seeds = seed.map_or_else(String::new, |seed| format!("mesh.seeds={seed}"));
        let set =
            [format!("node={name}"), format!("mesh.listen={mesh}"), format!("mesh.certs={certs}"), seeds];
        let mut command = command(&["--listen", "127.0.0.1:0", "--admin-listen", &admin.to_string()]);
        for setting in set.iter().filter(|setting| !setting.is_empty()) {
            command.args(["--set", setting]);
        }
        let log = fs::File::create(folder.join("log")).unwrap();
        command.arg("--data").arg(folder.join("data")).env("HONGYAN_APPS", format!("{KEY}:{SECRET}"));
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let node = Self { child, admin, mesh, certs };
        let start = Instant::now();
        while run(&["health", "--admin-listen", &admin.to_string()]).code != 0 {
            let log = || fs::read_to_string(folder.join("log")).unwrap();
            assert!(start.elapsed() < PATIENCE, "{name} does not start: {}", log());
            assert!(runs(node.child.id()), "{name} has ended: {}", log());
        }
        node
    }

    /// Waits until its status shows a problem that says `text`; returns all that it shows then.
    fn shows(&self, text: &str) -> Value {
        let start = Instant::now();
        loop {
            let (code, status) = status(self.admin);
            let problems = status["problems"].as_array().unwrap();
            if problems.iter().any(|problem| problem.as_str().unwrap().contains(text)) {
                assert_eq!(code, 1);
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "no {text:?} in {status:#}");
        }
    }

    /// The links of another program, which has a certificate of this node's authority and this node for a seed.
    fn meets(&self, name: &str, change: impl FnOnce(&mut MeshOptions)) -> Stranger {
        let said = run(&["certs", "issue", "--node", name, "--dir", &self.certs]);
        assert_eq!(said.code, 0, "{said:?}");
        let mut options = MeshOptions::new(name, "127.0.0.1:0".parse().unwrap(), Path::new(&self.certs));
        options.seeds = vec![self.mesh.to_string()];
        change(&mut options);
        let (mesh, events) = Mesh::bind(options).unwrap();
        let handle = mesh.handle();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { mesh.run(CancellationToken::new()).await.unwrap() });
        Stranger { handle, _events: events, _tasks: tasks }
    }
}

/// A program that is no node of this version.
struct Stranger {
    handle: MeshHandle,
    _events: Events,
    _tasks: JoinSet<()>,
}

impl Stranger {
    /// Waits until it knows that it is refused, because of `text`.
    async fn is_refused(&self, text: &str) {
        let refused =
            |peer: &PeerStatus| matches!(&peer.state, PeerState::Refused { why } if why.contains(text));
        until(text, async || self.handle.peers().iter().any(refused)).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_node_of_another_authority_is_shown_as_refused_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let a = Node::start(folder.path(), "a", None);
    let b = Node::start(folder.path(), "b", Some(a.mesh));
    for node in [&b, &a] {
        let status = node.shows("is refused: the certificates do not agree");
        let other = &status["nodes"][0];
        assert_eq!((&other["link"], &other["member"]), (&json!("refused"), &json!(false)), "{status:#}");
    }
    let said = run(&["status", "--admin-listen", &b.admin.to_string()]);
    let address = a.mesh.to_string();
    let row = said.out.lines().find(|line| line.starts_with(&address)).unwrap_or_else(|| panic!("{said:?}"));
    assert!(row.contains("refused"), "{said:?}");
    assert_eq!((said.code, said.err.as_str()), (1, "hongyan: not all is well\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_of_another_version_or_time_is_shown_as_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let a = Node::start(folder.path(), "a", None);
    let later = a.meets("later", |options| options.protocol = 2..=3);
    // It and the node see each other an hour off, whichever of them is.
    let slow = a.meets("slow", |options| {
        let clock = options.clock.clone();
        options.clock = WallClock::new(move || clock.now() - 3_600_000_000);
    });
    // Whoever is first to see it says so to the other, so the words may be those of either.
    let (version, time) = ("no common version: the peer speaks ", "3600 s ");
    a.shows(version);
    let status = a.shows(time);
    for (name, why) in [("later", version), ("slow", time)] {
        let other = status["nodes"].as_array().unwrap().iter().find(|node| node["node"] == name);
        let other = other.unwrap_or_else(|| panic!("no {name} in {status:#}"));
        assert_eq!((&other["link"], &other["member"]), (&json!("refused"), &json!(false)), "{status:#}");
        assert!(other["why"].as_str().unwrap().contains(why), "{status:#}");
    }
    later.is_refused(version).await;
    slow.is_refused(time).await;
    let said = run(&["status", "--admin-listen", &a.admin.to_string()]);
    let row = |name: &str| {
        said.out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{said:?}"))
    };
    assert!(row("later").contains("refused") && row("slow").contains("refused"), "{said:?}");
    assert!(said.out.contains("later is refused: ") && said.out.contains("slow is refused: "), "{said:?}");
    assert_eq!((said.code, said.err.as_str()), (1, "hongyan: not all is well: 2 problems\n"));
}

#[test]
fn a_node_alone_is_well_and_drains_and_then_nobody_answers() {
    let folder = tempfile::tempdir().unwrap();
    let admin = free().to_string();
    let mut child = command(&["--listen", "127.0.0.1:0", "--admin-listen", &admin])
        .arg("--data")
        .arg(folder.path().join("data"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while run(&["health", "--admin-listen", &admin]).code != 0 {
        assert!(start.elapsed() < PATIENCE, "it does not start");
    }
    let said = run(&["status", "--admin-listen", &admin]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("It is a node alone: mesh.listen is off."), "{said:?}");
    let said = run(&["drain", "--admin-listen", &admin]);
    assert_eq!(
        (said.code, said.out.lines().last()),
        (0, Some("local has let its sessions go and ended.")),
        "{said:?}"
    );
    assert!(child.wait().unwrap().success());
    for command in ["status", "drain"] {
        let Said { code, out, err } = run(&[command, "--admin-listen", &admin]);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains(&format!("no node answers at {admin}; is it running?")), "{err}");
    }
}

#[test]
fn a_demo_on_a_busy_port_says_which_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Two in a row, so that the second node's is the busy one.
    let (busy, port) = loop {
        let first = free();
        let Ok(second) = TcpListener::bind((first.ip(), first.port().saturating_add(1))) else { continue };
        if first.port() < 60_000 {
            break (second, first.port());
        }
    };
    let output =
        command(&["demo", "--port", &port.to_string()]).env("TMPDIR", folder.path()).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{err}");
    let expected = format!(
        "port {} for the chat page of us-1 is not free; stop what uses it",
        busy.local_addr().unwrap().port()
    );
    assert!(err.contains(&expected) && err.contains("hongyan demo --port 18080"), "{err}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
