//! Networks of their own: one for each node, with nothing in it but loopback.
//!
//! Purpose: nodes that reach each other over real sockets and the cables of [`super::cable`], and over nothing else.
//! A network has no name and belongs to the processes and descriptors in it, so it goes with them, whatever ends the test.
//! Nothing leads out of one: no packet of these tests leaves the machine.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd as _,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// Set to make a machine that allows no networks of its own a failure instead of a skipped test.
const NEEDED: &str = "TEST_NEED_NAMESPACES";
/// How long a connection within one network may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A network. Clones are the same one.
#[derive(Clone)]
pub struct Network(Arc<File>);

impl Network {
    /// A new network, its loopback device up.
    pub fn new() -> io::Result<Self> {
        // Holds the network until it is open here too; `cat` ends with its input, that is, with this process at the latest.
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo up && cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut up = [0; 3];
        let held = holder.stdout.as_mut().expect("piped").read_exact(&mut up);
        let opened = held.and_then(|()| File::open(format!("/proc/{}/ns/net", holder.id())));
        drop(holder.stdin.take());
        let output = holder.wait_with_output()?;
        let opened = opened.map_err(|error| {
            let said = String::from_utf8_lossy(&output.stderr);
            io::Error::new(error.kind(), format!("{} ({error})", said.trim()))
        })?;
        Ok(Self(Arc::new(opened)))
    }

    /// Does `work` on a thread in this network. Sockets and processes that it makes stay there.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let network = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(self.0.as_fd(), network)
                    .expect("into a network of ours");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A TCP connection to an address in this network.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<tokio::net::TcpStream> {
        let network = self.clone();
        let connected = tokio::task::spawn_blocking(move || {
            network.within(|| {
                let stream = TcpStream::connect_timeout(&to, CONNECT)?;
                stream.set_nonblocking(true)?;
                Ok::<_, io::Error>(stream)
            })
        });
        tokio::net::TcpStream::from_std(connected.await.map_err(io::Error::other)??)
    }
}

/// Whether this machine lets the test have networks; says loudly when it does not, and fails where it must.
pub fn allowed() -> bool {
    let Err(error) = Network::new() else { return true };
    let needed = std::env::var_os(NEEDED).is_some_and(|value| !value.is_empty() && value != "0");
    assert!(!needed, "{NEEDED} is set, and this machine allows no network namespace: {error}");
    let line = "=".repeat(100);
    // Past the capture of the test harness.
    let _ = writeln!(
        io::stderr(),
        "\n{line}\nSKIPPED: tests of faults between nodes need network namespaces (root on Linux, `unshare`, `ip`): {error}\n\
         Nothing was tested here. {NEEDED}=1 makes this a failure.\n{line}\n"
    );
    false
}
