//! What a node knows of itself and of the others, for `hongyan status` and whoever reads `GET /status`.
//!
//! The shape is stable: fields are added, never renamed. Where something is not known it is left out.

use super::Drain;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A node and what it knows of the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub node: String,
    /// Its region; may be empty.
    pub region: String,
    /// Where clients reach it; empty when it was not told.
    pub url: String,
    /// Where other nodes reach it: host and port; empty without a mesh.
    pub address: String,
    /// Version of its program.
    pub version: String,
    /// Highest version of the protocol between nodes that it speaks.
    pub protocol: u16,
    /// Seconds since it started.
    pub uptime: u64,
    /// How it is.
    #[serde(flatten)]
    pub counts: Counts,
    /// What waits for other nodes, by name.
    pub waiting: BTreeMap<String, u64>,
    /// How the drain gets on, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// The other nodes, by name.
    pub nodes: Vec<Other>,
    /// Whether all nodes that say so hold the same table of who owns whom. It differs for a moment after each change.
    pub digests_agree: bool,
    /// What is not as it should be. Empty: all is well.
    pub problems: Vec<String>,
}

/// Whether a node takes clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has just started, and waits until it knows what the others know.
    Starting,
    /// It does.
    Ready,
    /// It gives away what it has, and ends.
    Draining,
    /// Its store failed; it ends.
    Failed,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Whether it takes clients.
    pub state: State,
    /// Sessions, those among them that it serves for other nodes.
    pub sessions: u64,
    /// Users whose mailbox it owns. Without a mesh: mailboxes in its memory.
    pub users: u64,
    /// Those of them who are online. Always 0 without a mesh.
    pub online: u64,
    /// Users of all nodes that it knows of.
    pub known: u64,
    /// Sixteen hexadecimal digits, equal where the tables of who owns whom are.
    pub digest: String,
    /// Parcels that wait there, for each node.
    pub outbox: Vec<Waiting>,
}

/// Parcels that wait for a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Its name, or its number where the name is not known.
    pub node: String,
    /// How many.
    pub parcels: u64,
}

/// How the link with a node fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Frames go both ways.
    Up,
    /// It is tried again and again.
    LookedFor,
    /// One side does not take the other, and somebody has to do something about it.
    Refused,
}

/// Another node, or an address at which one is looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Other {
    /// Its name; empty while nothing but an address is known.
    pub node: String,
    /// Its region; may be empty.
    pub region: String,
    /// Where clients reach it; may be empty.
    pub url: String,
    /// Where nodes reach it: host and port.
    pub address: String,
    /// Whether it is in the cluster and alive, as far as the failure detector knows.
    pub member: bool,
    /// How the link fares.
    pub link: Link,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Version of the protocol that is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u16>,
    /// Version of its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Round trip time in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Whether its table of who owns whom equals this node's, as it said within the last seconds. It differs for a moment
    /// after each change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_agrees: Option<bool>,
    /// What it said of itself within the last seconds.
    #[serde(flatten)]
    pub counts: Option<Counts>,
}

impl Other {
    /// Its name, or else its address.
    #[must_use]
    pub fn label(&self) -> &str {
        if self.node.is_empty() { &self.address } else { &self.node }
    }
}
