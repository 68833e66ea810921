//! How the peers of a node fare, for `hongyan status`.

use super::{lanes::Lane, member::Member, shared::Shared};
use crate::model::NodeId;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// For how long a refusal is shown after it last happened, in microseconds: ten minutes.
const SHOWN_US: u64 = 600_000_000;

/// A peer, or an address at which one is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// Its number; zero while nothing but an address is known.
    pub node: NodeId,
    /// Its name; empty while nothing but an address is known.
    pub name: Arc<str>,
    /// Its region; may be empty.
    pub region: Arc<str>,
    /// Host and port at which it is reached.
    pub address: Arc<str>,
    /// Whether it is in the cluster, whatever its link.
    pub member: bool,
    /// How the link fares.
    pub state: PeerState,
    /// Version of the protocol that is spoken; 0 without a link.
    pub version: u16,
    /// Optional parts of the protocol that both know.
    pub features: u64,
    /// Version of its program, for people.
    pub software: Arc<str>,
    /// Round trip time, as QUIC measures it.
    pub rtt: Option<Duration>,
    /// Wall time since which that is so, in microseconds since 1970; 0 where it is not kept.
    pub since: u64,
    /// The lanes of its link, in their order; none without one.
    pub lanes: Vec<LaneStatus>,
}

/// How a link fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// Frames go both ways.
    Up,
    /// It is tried again and again.
    Dialling {
        /// What the last attempt failed of; `None` before its end.
        last: Option<String>,
    },
    /// One side does not take the other, and somebody has to do something about it.
    Refused {
        /// What is wrong and what to do.
        why: String,
    },
}

/// What waits on a lane, and what went over it since the link came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LaneStatus {
    /// Which lane.
    pub lane: Lane,
    /// Frames that wait to be written.
    pub queued_frames: usize,
    /// Their bytes, and those of what is being written.
    pub queued_bytes: usize,
    /// Frames written.
    pub sent_frames: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Frames taken.
    pub received_frames: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames not taken because the lane was full.
    pub full: u64,
}

impl PeerStatus {
    fn without_link(member: Option<&Member>, address: Arc<str>, is_member: bool) -> Self {
        Self {
            node: member.map_or(NodeId::LOCAL, |m| m.node),
            name: member.map_or_else(|| "".into(), |m| m.name.clone()),
            region: member.map_or_else(|| "".into(), |m| m.region.clone()),
            address,
            member: is_member,
            state: PeerState::Dialling { last: None },
            version: 0,
            features: 0,
            software: "".into(),
            rtt: None,
            since: 0,
            lanes: Vec::new(),
        }
    }
}

impl Shared {
    /// All peers: those with a link, those that are dialled, those that were refused.
    pub(super) fn peers(&self) -> Vec<PeerStatus> {
        let members = self.members.read().clone();
        let mut peers: Vec<PeerStatus> = Vec::new();
        let mut linked = BTreeSet::new();
        for link in self.links.all() {
            let lane = |lane: Lane| {
                let queue = &link.lanes[lane as usize];
                LaneStatus {
                    lane,
                    queued_frames: queue.queued_frames(),
                    queued_bytes: queue.queued_bytes(),
                    sent_frames: queue.sent_frames.load(Relaxed),
                    sent_bytes: queue.sent_bytes.load(Relaxed),
                    received_frames: queue.received_frames.load(Relaxed),
                    received_bytes: queue.received_bytes.load(Relaxed),
                    full: queue.full.load(Relaxed),
                }
            };
            let member = &link.peer.member;
            linked.insert(member.node);
            peers.push(PeerStatus {
                state: PeerState::Up,
                version: link.peer.version,
                features: link.peer.features,
                software: link.peer.software.clone(),
                rtt: Some(link.connection.rtt()),
                since: link.since,
                lanes: Lane::ALL.map(lane).to_vec(),
                ..PeerStatus::without_link(
                    Some(member),
                    member.address.clone(),
                    members.contains_key(&member.node),
                )
            });
        }
        let (mut notes, now) = (self.notes.lock().clone(), self.clock.now());
        let standings = self.dialler.lock().standings(|node| linked.contains(&node));
        for standing in standings {
            let member = standing.member.as_deref();
            let is_member = member.is_some_and(|m| members.contains_key(&m.node));
            let mut peer = PeerStatus::without_link(member, standing.address.clone(), is_member);
            // What the other side began may have been refused by this one.
            let note = notes.remove(&*peer.name);
            match (standing.last, note) {
                (Some(why), _) if why.is_refusal() => {
                    peer.state = PeerState::Refused { why: why.to_string() };
                }
                (_, Some(note)) => {
                    peer.state = PeerState::Refused { why: note.why.to_string() };
                    peer.since = note.at;
                }
                (last, None) => {
                    peer.state = PeerState::Dialling { last: last.map(|why| why.to_string()) };
                }
            }
            peers.push(peer);
        }
        let dialled: BTreeSet<_> = peers.iter().map(|peer| peer.address.to_string()).collect();
        for (name, note) in notes {
            // One that has the name or the number of a linked node is shown beside it.
            if dialled.contains(&note.address) || now.saturating_sub(note.at) > SHOWN_US {
                continue;
            }
            let is_name = crate::config::is_name(&name) && name != note.address;
            peers.push(PeerStatus {
                node: if is_name { NodeId::of(&name) } else { NodeId::LOCAL },
                name: if is_name { name.as_str().into() } else { "".into() },
                state: PeerState::Refused { why: note.why.to_string() },
                since: note.at,
                ..PeerStatus::without_link(None, note.address.as_str().into(), false)
            });
        }
        peers
    }
}
