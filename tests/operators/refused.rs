//! What is wrong is said where an operator looks.

use crate::{
    common::{KEY, PATIENCE, SECRET},
    program::{Said, command, run, runs, status},
};
use serde_json::json;
use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Stdio},
    time::Instant,
};

/// An address that is free at the moment.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A node with a certificate of an authority of its own.
struct Node {
    child: Child,
    admin: SocketAddr,
    mesh: SocketAddr,
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
        let node = Self { child, admin, mesh };
        let start = Instant::now();
        while run(&["health", "--admin-listen", &admin.to_string()]).code != 0 {
            let log = || fs::read_to_string(folder.join("log")).unwrap();
            assert!(start.elapsed() < PATIENCE, "{name} does not start: {}", log());
            assert!(runs(node.child.id()), "{name} has ended: {}", log());
        }
        node
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
    let start = Instant::now();
    for node in [&b, &a] {
        loop {
            let (code, status) = status(node.admin);
            let problems = status["problems"].as_array().unwrap();
            let told = problems.iter().any(|problem| {
                problem.as_str().unwrap().contains("is refused: the certificates do not agree")
            });
            if told {
                assert_eq!(code, 1);
                let other = &status["nodes"][0];
                assert_eq!(
                    (&other["link"], &other["member"]),
                    (&json!("refused"), &json!(false)),
                    "{status:#}"
                );
                break;
            }
            assert!(start.elapsed() < PATIENCE, "not told: {status:#}");
        }
    }
    let said = run(&["status", "--admin-listen", &b.admin.to_string()]);
    let address = a.mesh.to_string();
    let row = said.out.lines().find(|line| line.starts_with(&address)).unwrap_or_else(|| panic!("{said:?}"));
    assert!(row.contains("refused"), "{said:?}");
    assert_eq!((said.code, said.err.as_str()), (1, "hongyan: not all is well\n"));
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
