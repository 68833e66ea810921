//! The nodes that a client can go to (`docs/protocol.md`, section 7).

use super::{Edge, encode};
use crate::model::NodeId;
use std::sync::Arc;

/// Nodes listed to clients at the most.
const MOST: usize = 16;

/// One node, as clients are told of it.
pub struct Relay {
    node: Arc<str>,
    region: Arc<str>,
    /// Empty: the node that answers, which does not know its own address.
    url: Arc<str>,
    /// 0 to 1,000.
    load: u64,
    draining: bool,
}

/// This node, and the others that take clients.
pub fn list(edge: &Edge) -> Vec<Relay> {
    let config = &edge.config;
    let load = |sessions: u64, most: u64| (sessions * 1_000).checked_div(most).unwrap_or(1_000).min(1_000);
    let mut all = vec![Relay {
        node: (*config.node).into(),
        region: (*config.region).into(),
        url: (*config.mesh.public_url).into(),
        load: load(edge.sessions() as u64, config.limits.connections as u64),
        draining: edge.is_draining(),
    }];
    for other in edge.tunnels.nodes() {
        let Some(report) = edge.tunnels.report(other.id) else { continue };
        if other.url.is_empty() || report.draining || !report.open || all.len() >= MOST {
            continue;
        }
        let load = load(report.sessions.into(), report.most.into());
        all.push(Relay { node: other.name, region: other.region, url: other.url, load, draining: false });
    }
    all
}

/// [`list`], empty for a node without peers.
pub fn others(edge: &Edge) -> Vec<Relay> {
    if edge.me() == NodeId::LOCAL { Vec::new() } else { list(edge) }
}

/// Writes one of them.
pub fn write(out: &mut Vec<u8>, relay: &Relay) {
    let mut object = encode::Object::begin(out);
    object.text("node", &relay.node).text("region", &relay.region).text("url", &relay.url);
    let load = format!("{}.{:03}", relay.load / 1_000, relay.load % 1_000);
    object.key("load").extend_from_slice(load.as_bytes());
    object.bool("draining", relay.draining);
    object.end();
}
