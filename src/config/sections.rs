//! The tables of the configuration, one struct each. Bounds are enforced by [`super::Config::validate`].

use super::form;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// `[tls]`: HTTPS on `listen`. Both paths or neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file with the certificate chain, leaf first. Empty: plain HTTP.
    pub certificate: PathBuf,
    /// PEM file with the private key. Empty: plain HTTP.
    pub key: PathBuf,
}

/// `[mesh]`: links to other nodes of the cluster, over QUIC (UDP) with certificates of the cluster's authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeshConfig {
    /// Where other nodes connect: IP address and UDP port; port 0 takes a free one. `None` (`off`): a node alone.
    #[serde(with = "form::address_or_off")]
    pub listen: Option<SocketAddr>,
    /// Where other nodes reach this one: host and port. Empty: `listen`, which then must not be all addresses.
    pub advertise: String,
    /// Nodes that are asked for the others, by host and port; names are looked up at each attempt.
    pub seeds: Vec<String>,
    /// Folder with `ca.pem`, `NODE.pem` and `NODE.key`. Relative to where the process starts.
    pub certs: PathBuf,
    /// Where clients reach this node, such as `https://eu.example.com`; at most 128 bytes. Empty: clients are not
    /// told of it.
    pub public_url: String,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            listen: None,
            advertise: String::new(),
            seeds: Vec::new(),
            certs: "certs".into(),
            public_url: String::new(),
        }
    }
}

/// `[limits]`: bounds of everything that clients can make grow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest content of one message, in bytes. 1,024..=1,048,576.
    pub content: usize,
    /// Largest frame, or array of frames, taken from a client, in bytes. 4,096..=16,777,216, and at least
    /// 1,024 more than `content`.
    pub frame: usize,
    /// Entries pushed to a session and not yet acked before it falls back to reading pages, unless its
    /// `hello` asks for another number. 1..=1,024.
    pub window: u32,
    /// Messages that one session may send in a second, on average. 0..=100,000; 0 is no limit.
    pub sends_per_second: u32,
    /// Messages that one session may send at once after a pause. 1..=1,000,000.
    pub sends_burst: u32,
    /// Frames of any type that one session may send in a second, on average; one that goes on for too long
    /// is ended. 0..=1,000,000; 0 is no limit.
    pub frames_per_second: u32,
    /// Sessions of one user at a time. 1..=1,000.
    pub sessions_per_user: usize,
    /// Sessions from one network address at a time. 0..=1,000,000; 0 is no limit, which is right behind a
    /// reverse proxy.
    pub sessions_per_address: usize,
    /// Client connections (sockets) at a time. 1..=1,000,000; the process needs as many open files.
    pub connections: usize,
    /// Inputs waiting for the relay; when full, requests are answered with `busy`. 64..=1,048,576.
    pub queue: usize,
    /// Bytes queued for one session before it counts as too slow. 65,536..=67,108,864, at least `frame`.
    pub outbox: usize,
    /// Writes waiting for the disk; when full, requests are answered with `busy`. 1,024..=1,048,576.
    pub pending: usize,
    /// Mailboxes kept in memory; past that, those unused for longest are dropped and read again when
    /// needed. 100..=10,000,000.
    pub mailboxes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            content: 131_072,
            frame: 262_144,
            window: 256,
            sends_per_second: 100,
            sends_burst: 200,
            frames_per_second: 500,
            sessions_per_user: 16,
            sessions_per_address: 1_000,
            connections: 20_000,
            queue: 8_192,
            outbox: 1_048_576,
            pending: 65_536,
            mailboxes: 100_000,
        }
    }
}

/// `[sessions]`: how long things may take. In seconds in the file, fractions allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionTimes {
    /// From the connection to a `hello`. 1 s..=300 s.
    #[serde(with = "form::seconds")]
    pub hello_timeout: Duration,
    /// A session from which nothing is heard for so long is ended. 1 s..=3,600 s, longer than `ping`.
    #[serde(with = "form::seconds")]
    pub idle_timeout: Duration,
    /// How often a client that has nothing to say is told to ping. 1 s..=3,600 s.
    #[serde(with = "form::seconds")]
    pub ping: Duration,
    /// Longest wait of one poll. 1 s..=300 s.
    #[serde(with = "form::seconds")]
    pub poll_wait_max: Duration,
    /// From the wish to stop until the process ends whoever is left. 0 s..=600 s.
    #[serde(with = "form::seconds")]
    pub drain_timeout: Duration,
}

impl Default for SessionTimes {
    fn default() -> Self {
        Self {
            hello_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            ping: Duration::from_secs(25),
            poll_wait_max: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// `[retention]`: how many days things are kept. 0, the default of all three, is for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Private messages, in days. 0..=36,500.
    pub private: u32,
    /// System messages, in days. 0..=36,500.
    pub system: u32,
    /// Mailbox entries, in days: how long a device may stay away and still get everything by resuming;
    /// one that was away for longer reads history instead. 0..=36,500.
    pub mailbox: u32,
}

/// `[tokens]`: user tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenConfig {
    /// Days from issue until a token no longer connects. 0..=36,500; 0 is for ever.
    pub lifetime: u32,
}

/// `[api]`: the server API that apps' back ends call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Offset from UTC of times that the server API writes as text, in hours. -12..=14.
    pub timezone: i8,
    /// Largest difference between a request's timestamp and this node's clock, in seconds in the file.
    /// 0 s..=86,400 s; 0 is not checked, since common SDKs sign once and use that signature for days.
    #[serde(with = "form::seconds")]
    pub timestamp_skew: Duration,
    /// Calls that one app may make in a second, on average. 0..=1,000,000; 0 is no limit.
    pub calls_per_second: u32,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self { timezone: 8, timestamp_skew: Duration::ZERO, calls_per_second: 0 }
    }
}

/// `[store]`: memory that the disk engine may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Blocks read from disk that are kept in memory, in MiB. 8..=65,536.
    pub cache: usize,
    /// Largest size of all journals together, in MiB: what they hold is read at every start, at about
    /// 100 MB/s, so it bounds how long a start takes. 64..=65,536.
    pub journals: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { cache: 64, journals: 256 }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`: what is logged, to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`, `off`) or directives such as
    /// `info,hongyan::relay=debug`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into() }
    }
}
