//! A cluster's certificates and its nodes, each with the events that it has told.

use hongyan::{
    mesh::{
        Event, Events, Lane, Mesh, MeshHandle, MeshOptions, PeerState, SendError,
        certs::{self, Issue},
    },
    model::NodeId,
};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything; a loaded machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One authority.
pub struct Cluster {
    folder: TempDir,
}

impl Cluster {
    pub fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certs::init(folder.path(), 10).unwrap();
        let cluster = Self { folder };
        names.iter().for_each(|name| cluster.issue(name));
        cluster
    }

    pub fn certs(&self) -> &Path {
        self.folder.path()
    }

    /// A certificate, in the place of an older one.
    pub fn issue(&self, name: &str) {
        certs::issue(self.certs(), &Issue { node: name, hosts: &[], days: 1, replace: true }).unwrap();
    }

    pub fn options(&self, name: &str, seeds: &[&Node]) -> MeshOptions {
        MeshOptions {
            region: "test".into(),
            seeds: seeds.iter().map(|seed| seed.handle.me().address.to_string()).collect(),
            ..MeshOptions::new(name, "127.0.0.1:0".parse().unwrap(), self.certs())
        }
    }

    pub fn start(&self, name: &str, seeds: &[&Node]) -> Node {
        Node::start(self.options(name, seeds))
    }

    /// Nodes that are all linked; the first is the only seed of the others.
    pub async fn linked<const N: usize>(
        &self,
        names: [&str; N],
        change: impl Fn(&mut MeshOptions),
    ) -> [Node; N] {
        let mut seeds = Vec::new();
        let mut nodes = names.map(|name| {
            let mut options = self.options(name, &[]);
            options.seeds.clone_from(&seeds);
            change(&mut options);
            let node = Node::start(options);
            if seeds.is_empty() {
                seeds.push(node.handle.me().address.to_string());
            }
            node
        });
        acquainted(nodes.each_mut()).await;
        nodes
    }
}

/// A running node.
pub struct Node {
    pub handle: MeshHandle,
    pub options: MeshOptions,
    /// All that it has told.
    pub seen: Vec<Event>,
    events: Events,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Node {
    pub fn start(options: MeshOptions) -> Self {
        let (mesh, events) = Mesh::bind(options.clone()).unwrap();
        let (handle, stop) = (mesh.handle(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let token = stop.clone();
        tasks.spawn(async move { mesh.run(token).await.unwrap() });
        Self { handle, options, seen: Vec::new(), events, stop, tasks }
    }

    pub fn id(&self) -> NodeId {
        self.handle.me().node
    }

    pub fn name(&self) -> &str {
        &self.options.node
    }

    /// Waits for the first event, from now on, for which `wanted` says so.
    pub async fn next<T>(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the mesh runs");
                let found = wanted(&event);
                self.seen.push(event);
                if let Some(found) = found {
                    return found;
                }
            }
        };
        match timeout(PATIENCE, wait).await {
            Ok(found) => found,
            Err(_) => panic!(
                "{}: no {what}; seen {:#?}; peers {:#?}",
                self.options.node,
                self.seen,
                self.handle.peers()
            ),
        }
    }

    /// Takes what is told within `time`.
    pub async fn listen(&mut self, time: Duration) {
        let _ = timeout(time, async {
            while let Some(event) = self.events.recv().await {
                self.seen.push(event);
            }
        })
        .await;
    }

    /// Waits for a link with that node; returns its generation.
    pub async fn link(&mut self, peer: &str) -> u64 {
        self.next(&format!("link with {peer}"), |event| match event {
            Event::LinkUp { peer: info, generation } if &*info.member.name == peer => Some(*generation),
            _ => None,
        })
        .await
    }

    /// Waits until both a link and the membership of each of `peers` have been told, now or before.
    pub async fn knows(&mut self, peers: &[&str]) {
        let done = |seen: &[Event]| {
            peers.iter().all(|peer| {
                let linked = |event: &Event| matches!(event, Event::LinkUp { peer: info, .. } if &*info.member.name == *peer);
                let member = |event: &Event| matches!(event, Event::MemberUp { member } if &*member.name == *peer);
                seen.iter().any(linked) && seen.iter().any(member)
            })
        };
        let mut all = std::mem::take(&mut self.seen);
        if !done(&all) {
            self.next(&format!("links and members {peers:?}"), |event| {
                all.push(event.clone());
                done(&all).then_some(())
            })
            .await;
        }
        self.seen = all;
    }

    /// Waits for the end of a membership, and says whether the node had left.
    pub async fn gone(&mut self, peer: NodeId) -> bool {
        self.next("end of a membership", |event| match event {
            Event::MemberDown { node } if *node == peer => Some(false),
            Event::MemberLeft { node } if *node == peer => Some(true),
            _ => None,
        })
        .await
    }

    /// Waits for a membership; returns its incarnation.
    pub async fn member(&mut self, peer: &str) -> u64 {
        self.next(&format!("member {peer}"), |event| match event {
            Event::MemberUp { member } if &*member.name == peer => Some(member.incarnation),
            _ => None,
        })
        .await
    }

    /// Waits until status shows a refusal that says `text`, and nothing else with that peer.
    pub async fn refuses(&self, text: &str) {
        let wait = async {
            loop {
                let peers = self.handle.peers();
                let refused =
                    |state: &PeerState| matches!(state, PeerState::Refused { why } if why.contains(text));
                if peers.iter().any(|peer| refused(&peer.state)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("{}: no {text:?} in {:#?}", self.options.node, self.handle.peers());
        }
    }

    /// How many links with that node it has told of, less those that ended.
    pub fn links_with(&self, peer: NodeId) -> i32 {
        let count = |event: &Event| match event {
            Event::LinkUp { peer: info, .. } if info.member.node == peer => 1,
            Event::LinkDown { peer: node, .. } if *node == peer => -1,
            _ => 0,
        };
        self.seen.iter().map(count).sum()
    }

    pub fn ended_links(&self) -> Vec<&Event> {
        self.seen.iter().filter(|event| matches!(event, Event::LinkDown { .. })).collect()
    }

    pub fn refusals(&self, reason: &'static str) -> u64 {
        self.options.metrics.mesh_refused.get(reason).get()
    }

    /// Ends it in order.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }

    /// Ends it at once. The kernel of a real machine would say nothing; here it takes a cut wire to be silent.
    pub async fn kill(mut self) -> MeshOptions {
        let address = self.handle.local_addr().unwrap();
        self.tasks.shutdown().await;
        let mut options = self.options.clone();
        options.listen = address;
        options.incarnation += 1_000_000;
        drop(self);
        // The socket is closed by a task of its own, when the last connection has given up.
        for _ in 0..500 {
            if std::net::UdpSocket::bind(address).is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        options
    }
}

/// Waits until each of the nodes knows all others.
pub async fn acquainted<const N: usize>(nodes: [&mut Node; N]) {
    let names: Vec<_> = nodes.iter().map(|node| node.name().to_owned()).collect();
    for node in nodes {
        let others: Vec<_> = names.iter().map(String::as_str).filter(|name| *name != node.name()).collect();
        node.knows(&others).await;
    }
}

/// Checks that frames still go both ways.
pub async fn talk(a: &mut Node, b: &mut Node) {
    let start = Instant::now();
    for (from, to) in [(0, 1), (1, 0)] {
        let nodes = [&mut *a, &mut *b];
        let (sender, receiver) = (nodes[from].id(), nodes[to].id());
        let text = format!("from {}", nodes[from].name());
        // The one that decides on the link has it a moment before the other.
        while nodes[from].handle.send(receiver, Lane::Chat, text.clone().into()) == Err(SendError::NoLink)
            && start.elapsed() < PATIENCE
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let [a, b] = nodes;
        let taker = if to == 0 { a } else { b };
        taker
            .next(&text, |event| match event {
                Event::Frames { peer, frames, .. } if *peer == sender => {
                    frames.iter().any(|frame| *frame == text).then_some(())
                }
                _ => None,
            })
            .await;
    }
}
