//! Floor 4: what peers talk to. It moves opaque frames between nodes and knows which nodes there are.
//!
//! Purpose: one link with every other node of the cluster, over which any number of frames go on lanes that do not
//! hold each other up; and a list of members from which a dead node is gone within 5 s.
//! Flow: [`Mesh::bind`] opens the socket and reads the certificates, [`Mesh::run`] works until it is stopped.
//! [`MeshHandle::send`] queues a frame and never waits; what comes is read from [`Events`].
//! Invariants: at most one link with a node, whose name is proven by its certificate; every queue is bounded, and
//! what is full says so; nothing that a peer sends ends more than its own link.
//!
//! | part | what |
//! | --- | --- |
//! | [`certs`], `tls`, `transport` | certificates, TLS, QUIC |
//! | `hello`, `establish`, `links` | from a connection to the one link with a node |
//! | `lanes`, `queue`, `link` | frames on a link |
//! | `dial`, `driver` | whom to dial and when; the tasks |
//! | `member`, `swim` | who is in the cluster |
//! | `event`, `status` | what the owner hears and sees |
//!
//! A frame that was sent may be lost when the link ends, and only then: whoever needs more keeps it until it is
//! acknowledged.

pub mod certs;
mod dial;
mod driver;
mod establish;
mod event;
mod failure;
mod hello;
mod lanes;
mod link;
mod links;
mod member;
mod options;
mod queue;
mod shared;
mod status;
mod swim;
mod tls;
mod transport;

pub use event::{Event, Events, PeerInfo};
pub use failure::{Failure, Why};
pub use hello::{FEATURES, Hello, PROTOCOL, Welcome, fuzz_hello};
pub use lanes::{FrameReader, Lane, TooLong, fuzz_frames};
pub use member::Member;
pub use options::{MeshError, MeshOptions, WallClock};
pub use queue::SendError;
pub use status::{LaneStatus, PeerState, PeerStatus};
pub use swim::fuzz_swim;
pub use tls::TlsError;

use crate::{config, listen, model::NodeId};
use bytes::Bytes;
use dial::Dialler;
use parking_lot::{Mutex, RwLock};
use shared::Shared;
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};
use swim::{Swim, SwimInput};
use tls::Tls;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Inputs that may wait for the failure detector; datagrams past that are lost.
const SWIM_QUEUE: usize = 1_024;
/// How long the parts get to end when the mesh is stopped.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A mesh that is bound to its address. Nothing is sent or taken until it runs.
pub struct Mesh {
    shared: Arc<Shared>,
    swim: Swim,
    inputs: mpsc::Receiver<SwimInput>,
    certs_look: Duration,
}

impl Mesh {
    /// Reads the certificates and binds the address. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn bind(options: MeshOptions) -> Result<(Self, Events), MeshError> {
        let sound = [
            ("mesh: node", config::is_name(&options.node)),
            ("mesh: region", options.region.is_empty() || config::is_name(&options.region)),
            ("mesh: url", options.url.is_empty() || config::keys::is_url(&options.url)),
            ("mesh: lane_frames", options.lane_frames > 0),
            ("mesh: events", options.events > 0),
            ("mesh: protocol", !options.protocol.is_empty()),
        ];
        if let Some((what, _)) = sound.iter().find(|(_, good)| !good) {
            return Err(MeshError::Bounds(what));
        }
        let tls = Tls::load(&options.certs, &options.node)?;
        let socket = listen::bind_udp("mesh.listen", options.listen)?;
        let ends = tls.ends();
        let endpoint = transport::endpoint(socket, &ends)?;
        let local = endpoint.local_addr()?;
        let address = match options.advertise {
            Some(address) if config::keys::is_endpoint(&address) => address,
            Some(_) => return Err(MeshError::Bounds("mesh.advertise")),
            None if local.ip().is_unspecified() => return Err(MeshError::NoAddress),
            // One with a zone, as link-local ones have, means nothing elsewhere.
            None if !config::keys::is_endpoint(&local.to_string()) => return Err(MeshError::NoAddress),
            None => local.to_string(),
        };
        let me = Arc::new(Member {
            node: NodeId::of(&options.node),
            name: options.node.as_str().into(),
            region: options.region.into(),
            address: address.into(),
            url: options.url.into(),
            incarnation: options.incarnation,
        });
        let now = Instant::now();
        let (events, receiver) = event::queue(options.events, options.event_bytes);
        let (swim_inputs, inputs) = mpsc::channel(SWIM_QUEUE);
        let swim = Swim::new(me.clone(), now, getrandom::u64()?);
        let dialler = Dialler::new(me.node, &options.seeds, now, getrandom::u64()?);
        let shared = Shared {
            me,
            protocol: options.protocol,
            clock: options.clock,
            metrics: options.metrics,
            client: RwLock::new(transport::client(&ends)),
            endpoint,
            tls,
            links: links::Links::default(),
            events,
            swim: swim_inputs,
            dialler: Mutex::new(dialler),
            wake: Notify::new(),
            members: RwLock::default(),
            notes: Mutex::default(),
            leaving: AtomicBool::new(false),
            lane: (options.lane_frames, options.lane_bytes),
        };
        let mesh = Self { shared: Arc::new(shared), swim, inputs, certs_look: options.certs_look };
        Ok((mesh, receiver))
    }

    /// The way to send and to look, for any number of owners.
    #[must_use]
    pub fn handle(&self) -> MeshHandle {
        MeshHandle { shared: self.shared.clone() }
    }

    /// Works until `stop`; then links are closed, and their ends are told to the owner as far as it still listens.
    /// When the future is dropped, everything ends at once. The socket is free when the handles are gone too.
    ///
    /// # Errors
    /// When a part of it broke off, which is a mistake of this program.
    pub async fn run(self, stop: CancellationToken) -> Result<(), MeshError> {
        let Self { shared, swim, inputs, certs_look } = self;
        info!(node = %shared.me.name, address = %shared.me.address, "mesh");
        let parts = stop.child_token();
        let swim_stop = CancellationToken::new();
        let mut detector = JoinSet::new();
        detector.spawn(driver::membership(shared.clone(), swim, inputs, swim_stop.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(driver::accept(shared.clone(), parts.clone()));
        tasks.spawn(driver::dial(shared.clone(), parts.clone()));
        tasks.spawn(driver::watch(shared.clone(), certs_look, parts.clone()));
        let broke = tokio::select! {
            () = stop.cancelled() => None,
            ended = tasks.join_next() => Some(ended),
            ended = detector.join_next() => Some(ended),
        };
        parts.cancel();
        let (code, reason) = Why::Stopped.close();
        shared.endpoint.close(code, reason.as_bytes());
        let ended = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS, ended).await;
        swim_stop.cancel();
        let _ = tokio::time::timeout(LAST_WORDS, shared.endpoint.wait_idle()).await;
        match broke {
            None => Ok(()),
            Some(_) if stop.is_cancelled() => Ok(()),
            Some(ended) => Err(MeshError::Broke(format!("{ended:?}"))),
        }
    }
}

/// Sends, looks, leaves. Clones lead to the same mesh.
#[derive(Clone)]
pub struct MeshHandle {
    shared: Arc<Shared>,
}

impl MeshHandle {
    /// Where it is bound.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.shared.endpoint.local_addr()
    }

    /// This node, as others see it.
    #[must_use]
    pub fn me(&self) -> Arc<Member> {
        self.shared.me.clone()
    }

    /// Queues a frame for a peer. Frames of one lane arrive in this order, until the link ends.
    ///
    /// # Errors
    /// [`SendError::Full`] when as much waits as may: on [`Lane::Ephemeral`] the frame is simply lost, and on the others
    /// the caller keeps it. The rest says itself.
    pub fn send(&self, peer: NodeId, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        let send = |link: &link::Link| link.send(&self.shared, lane, frame);
        self.shared.links.with(peer, send).unwrap_or(Err(SendError::NoLink))
    }

    /// [`Self::send`], on the link of that generation and no later one.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_on(&self, peer: NodeId, generation: u64, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        let send = |link: &link::Link| {
            if link.generation() == generation {
                link.send(&self.shared, lane, frame)
            } else {
                Err(SendError::NoLink)
            }
        };
        self.shared.links.with(peer, send).unwrap_or(Err(SendError::NoLink))
    }

    /// Ends the link of that generation, since what came over it makes no sense. It is made again after a pause.
    pub fn close(&self, peer: NodeId, generation: u64, why: &str) {
        self.shared.links.with(peer, |link| {
            if link.generation() == generation {
                link.break_off(why);
            }
        });
    }

    /// Whether there is a link with that node.
    #[must_use]
    pub fn is_linked(&self, peer: NodeId) -> bool {
        self.shared.links.get(peer).is_some()
    }

    /// All peers: those with a link first, then those that are looked for or were refused.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.shared.peers()
    }

    /// Who is in the cluster, this node not among them, by number.
    #[must_use]
    pub fn members(&self) -> Vec<Arc<Member>> {
        self.shared.members.read().values().cloned().collect()
    }

    /// Leaves the cluster: peers hear it at once, links are closed, new ones refused. What is still queued is lost, so
    /// drain first. There is no way back but another start.
    pub async fn leave(&self) {
        let (told, done) = oneshot::channel();
        if self.shared.swim.send(SwimInput::Leave(told)).await.is_ok() {
            // Gone without an answer is gone all the same.
            let _ = done.await;
        }
    }
}
