//! What a mesh is made from.

use super::{hello::PROTOCOL, tls::TlsError};
use crate::{config::Config, listen::BindError, metrics::Metrics};
use std::{
    fmt,
    net::SocketAddr,
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Gives wall time in microseconds since 1970.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl WallClock {
    /// A clock of one's own, for tests.
    pub fn new(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(clock))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> u64 {
        (self.0)()
    }
}

impl Default for WallClock {
    /// The system's clock.
    fn default() -> Self {
        Self::new(|| {
            let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(age.as_micros()).unwrap_or(u64::MAX)
        })
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WallClock({})", self.now())
    }
}

/// What a mesh is made from.
#[derive(Clone, Debug)]
pub struct MeshOptions {
    /// Name of this node. 1 to 64 letters, digits, `-`, `_`, `.`.
    pub node: String,
    /// Region of this node; may be empty.
    pub region: String,
    /// Where peers connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where peers reach this node: host and port. `None`: where it listens, which then must not be all addresses.
    pub advertise: Option<String>,
    /// Nodes that are asked for the others: hosts and ports.
    pub seeds: Vec<String>,
    /// Folder of the certificates.
    pub certs: PathBuf,
    /// Where clients reach this node; may be empty.
    pub url: String,
    /// Tells starts of this node apart: higher than at every earlier start. By default microseconds since 1970.
    pub incarnation: u64,
    /// Wall time.
    pub clock: WallClock,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// Frames that may wait on one lane of one link. At least 1; by default 65,536.
    pub lane_frames: usize,
    /// Bytes that may wait on one lane of one link, at least one frame all the same. By default 32 MiB.
    pub lane_bytes: usize,
    /// Events that may wait for the owner. At least 1; by default 1,024.
    pub events: usize,
    /// Bytes of frames that may wait for the owner. By default 64 MiB.
    pub event_bytes: usize,
    /// How often the certificates' files are looked at. By default 5 s.
    pub certs_look: Duration,
    /// Versions that are spoken: those of this program but in tests.
    pub protocol: RangeInclusive<u16>,
}

impl MeshOptions {
    /// A node called `node` that listens on `listen`, alone until seeds are given.
    #[must_use]
    pub fn new(node: &str, listen: SocketAddr, certs: impl Into<PathBuf>) -> Self {
        let clock = WallClock::default();
        Self {
            node: node.to_owned(),
            region: String::new(),
            listen,
            advertise: None,
            seeds: Vec::new(),
            certs: certs.into(),
            url: String::new(),
            incarnation: clock.now(),
            clock,
            metrics: Arc::default(),
            lane_frames: 65_536,
            lane_bytes: 32 << 20,
            events: 1_024,
            event_bytes: 64 << 20,
            certs_look: Duration::from_secs(5),
            protocol: PROTOCOL,
        }
    }

    /// As the configuration says; `None` when the mesh is off.
    #[must_use]
    pub fn from_config(config: &Config, metrics: Arc<Metrics>) -> Option<Self> {
        let mesh = &config.mesh;
        let advertise = Some(mesh.advertise.clone()).filter(|address| !address.is_empty());
        Some(Self {
            region: config.region.clone(),
            advertise,
            seeds: mesh.seeds.clone(),
            url: mesh.public_url.clone(),
            metrics,
            ..Self::new(&config.node, mesh.listen?, &mesh.certs)
        })
    }
}

/// Why there is no mesh.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeshError {
    /// The address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Peers could not be told where this node is.
    #[error(
        "mesh.listen is no address that others can use, so mesh.advertise must say at which host and port they reach this node"
    )]
    NoAddress,
    /// A value is out of bounds.
    #[error("{0} is out of bounds")]
    Bounds(&'static str),
    /// The system refused the socket to the QUIC endpoint.
    #[error("no QUIC endpoint: {0}")]
    Endpoint(#[from] std::io::Error),
    /// No random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// A part of the mesh ended by itself, which is a mistake of this program.
    #[error("the mesh broke off: {0}")]
    Broke(String),
}
