//! Where [`Status`] comes from.
//!
//! Flow: the hub, the edge, the mesh and what the others have reported → one [`Status`], judged: what is not as it should
//! be stands in `problems`, a sentence each.

use super::{
    life::{Drain, Life},
    status::{Counts, Link, Other, State, Status, Waiting},
};
use crate::{
    admin::Operated,
    config::Config,
    edge::{Edge, tunnel::Report},
    hub::{Hub, HubStatus},
    mesh::{Member, MeshHandle, PROTOCOL, PeerState, PeerStatus},
    model::NodeId,
};
use serde::Serialize;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the relay may take to say how it is; past that the node is shown without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// All that knows something of the node.
pub(super) struct Overview {
    life: Arc<Life>,
    edge: Arc<Edge>,
    hub: Hub,
    mesh: Option<MeshHandle>,
    node: String,
    region: String,
    url: String,
    started: Instant,
}

impl Overview {
    pub fn new(
        config: &Config,
        life: &Arc<Life>,
        edge: &Arc<Edge>,
        hub: &Hub,
        mesh: Option<&MeshHandle>,
    ) -> Self {
        Self {
            life: life.clone(),
            edge: edge.clone(),
            hub: hub.clone(),
            mesh: mesh.cloned(),
            node: config.node.clone(),
            region: config.region.clone(),
            url: config.mesh.public_url.clone(),
            started: Instant::now(),
        }
    }

    fn state(&self, open: bool) -> State {
        match self.life.unready() {
            Some("draining") => State::Draining,
            Some(_) => State::Failed,
            None if open => State::Ready,
            None => State::Starting,
        }
    }

    async fn look(&self) -> Status {
        // A relay that has ended, or is ending, has nothing to say any more.
        let hub = tokio::time::timeout(PATIENCE, self.hub.status()).await.ok().flatten().unwrap_or_default();
        let (members, peers) =
            self.mesh.as_ref().map(|mesh| (mesh.members(), mesh.peers())).unwrap_or_default();
        let names = Names::of(self.mesh.as_ref().map(MeshHandle::me).iter().chain(&members), &peers);
        let sessions = self.edge.sessions() as u64;
        let counts = own(&hub, self.state(hub.open), sessions, &names);
        let report = |peer: NodeId| self.edge.tunnels().report(peer);
        let nodes = others(&members, peers, report, &names);
        let left = || Drain {
            mailboxes: if self.mesh.is_some() { counts.users } else { 0 },
            parcels: counts.outbox.iter().map(|waiting| waiting.parcels).sum(),
            sessions,
            ..Drain::default()
        };
        let mut status = Status {
            node: self.node.clone(),
            region: self.region.clone(),
            url: self.url.clone(),
            address: self.mesh.as_ref().map_or_else(String::new, |mesh| mesh.me().address.to_string()),
            version: env!("CARGO_PKG_VERSION").into(),
            protocol: *PROTOCOL.end(),
            uptime: self.started.elapsed().as_secs(),
            waiting: hub
                .waiting
                .iter()
                .map(|(name, count)| (name.replace(' ', "_"), *count as u64))
                .collect(),
            drain: self.life.drain(left),
            digests_agree: true,
            problems: Vec::new(),
            counts,
            nodes,
        };
        judge(&mut status);
        status
    }
}

impl Operated for Overview {
    fn ready(&self) -> Result<(), String> {
        match self.state(self.hub.is_open()) {
            State::Ready => Ok(()),
            State::Starting => Err("starting: it waits for what the other nodes know".into()),
            State::Draining | State::Failed => Err(self.life.unready().unwrap_or("stopping").into()),
        }
    }

    async fn status(&self) -> impl Serialize + Send {
        self.look().await
    }

    fn drain(&self, within: Option<Duration>) {
        self.life.ask(within);
    }
}

/// Names of nodes by their numbers.
struct Names(HashMap<NodeId, String>);

impl Names {
    fn of<'a>(members: impl Iterator<Item = &'a Arc<Member>>, peers: &[PeerStatus]) -> Self {
        let peers =
            peers.iter().filter(|peer| !peer.name.is_empty()).map(|peer| (peer.node, peer.name.to_string()));
        Self(peers.chain(members.map(|member| (member.node, member.name.to_string()))).collect())
    }

    fn waiting(&self, outbox: impl Iterator<Item = (NodeId, u64)>) -> Vec<Waiting> {
        let name = |node: NodeId| self.0.get(&node).cloned().unwrap_or_else(|| node.to_string());
        let waiting = outbox.filter(|(_, parcels)| *parcels > 0);
        let mut all: Vec<_> = waiting.map(|(node, parcels)| Waiting { node: name(node), parcels }).collect();
        all.sort_by(|a, b| a.node.cmp(&b.node));
        all
    }
}

fn own(hub: &HubStatus, state: State, sessions: u64, names: &Names) -> Counts {
    Counts {
        state,
        sessions,
        users: hub.owned.0 as u64,
        online: hub.owned.1 as u64,
        known: hub.known as u64,
        digest: format!("{:016x}", hub.digest),
        outbox: names.waiting(hub.outbox.iter().map(|(node, count)| (*node, *count as u64))),
    }
}

/// What another node has reported.
fn reported(report: Report, names: &Names) -> Counts {
    Counts {
        state: match (report.draining, report.open) {
            (true, _) => State::Draining,
            (false, true) => State::Ready,
            (false, false) => State::Starting,
        },
        sessions: report.sessions.into(),
        users: report.users,
        online: report.online,
        known: report.known,
        digest: format!("{:016x}", report.digest),
        outbox: names.waiting(report.outbox.into_iter()),
    }
}

/// The other nodes, those with a name first, by name.
fn others(
    members: &[Arc<Member>],
    peers: Vec<PeerStatus>,
    report: impl Fn(NodeId) -> Option<Report>,
    names: &Names,
) -> Vec<Other> {
    let urls: HashMap<_, _> = members.iter().map(|member| (member.node, member.url.to_string())).collect();
    let other = |peer: PeerStatus| {
        let linked = peer.state == PeerState::Up;
        let (link, why) = match peer.state {
            PeerState::Up => (Link::Up, None),
            PeerState::Dialling { last } => (Link::LookedFor, last),
            PeerState::Refused { why } => (Link::Refused, Some(why)),
        };
        Other {
            node: peer.name.to_string(),
            region: peer.region.to_string(),
            url: urls.get(&peer.node).cloned().unwrap_or_default(),
            address: peer.address.to_string(),
            member: peer.member,
            link,
            why,
            protocol: linked.then_some(peer.version),
            version: linked.then(|| peer.software.to_string()),
            digest_agrees: None,
            rtt_ms: peer.rtt.map(|rtt| (rtt.as_secs_f64() * 100_000.0).round() / 100.0),
            counts: linked.then(|| report(peer.node)).flatten().map(|report| reported(report, names)),
        }
    };
    let mut all: Vec<_> = peers.into_iter().map(other).collect();
    all.sort_by(|a, b| (a.node.is_empty(), a.label()).cmp(&(b.node.is_empty(), b.label())));
    all
}

/// Says whether the tables agree, and what is not as it should be.
fn judge(status: &mut Status) {
    let mut problems = Vec::new();
    if status.counts.state == State::Failed {
        problems.push(format!("the store of {} failed; see its log", status.node));
    }
    for other in &status.nodes {
        let label = other.label();
        let tried = || "it has not answered yet".to_owned();
        match other.link {
            Link::Refused => {
                problems.push(format!(
                    "{label} is refused: {}",
                    other.why.as_deref().unwrap_or("no reason given")
                ));
            }
            Link::LookedFor => {
                problems.push(format!("no link with {label}: {}", other.why.clone().unwrap_or_else(tried)));
            }
            Link::Up if !other.member => problems.push(format!("{label} is linked, but taken for dead")),
            Link::Up if other.counts.is_none() => {
                problems.push(format!("{label} is linked, but has not said how it is for seconds"));
            }
            Link::Up => {}
        }
    }
    for other in &mut status.nodes {
        other.digest_agrees = other.counts.as_ref().map(|counts| counts.digest == status.counts.digest);
    }
    let differ = status.nodes.iter().filter(|other| other.digest_agrees == Some(false));
    let differ: Vec<_> = differ.map(Other::label).collect();
    status.digests_agree = differ.is_empty();
    if !differ.is_empty() {
        problems.push(format!(
            "presence tables differ between {} and {}; that passes within a second unless links are slow or broken",
            status.node,
            differ.join(", ")
        ));
    }
    status.problems = problems;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn member(name: &str) -> Arc<Member> {
        Arc::new(Member {
            node: NodeId::of(name),
            name: name.into(),
            region: "us".into(),
            address: "127.0.0.1:7401".into(),
            url: format!("https://{name}.example.com").into(),
            incarnation: 1,
        })
    }

    fn peer(name: &str, state: PeerState) -> PeerStatus {
        let up = state == PeerState::Up;
        PeerStatus {
            node: NodeId::of(name),
            name: name.into(),
            region: "us".into(),
            address: "127.0.0.1:7401".into(),
            member: up,
            state,
            version: u16::from(up),
            features: 0,
            software: "0.1.0".into(),
            rtt: up.then_some(Duration::from_micros(40_123)),
            since: 0,
            lanes: Vec::new(),
        }
    }

    fn report(digest: u64) -> Report {
        let outbox = vec![(NodeId::of("eu-1"), 2), (NodeId::of("ap-1"), 7), (NodeId(5), 1), (NodeId(6), 0)];
        Report { digest, open: true, users: 4, outbox, ..Report::default() }
    }

    fn status(peers: Vec<PeerStatus>, digest: u64) -> Status {
        let (me, members) = (member("eu-1"), [member("us-1")]);
        let names = Names::of([&me].into_iter().chain(&members), &peers);
        let hub = HubStatus { digest: 7, owned: (3, 1), known: 7, open: true, ..HubStatus::default() };
        let counts = own(&hub, State::Ready, 2, &names);
        let says = |node| (node == NodeId::of("us-1")).then(|| report(digest));
        let mut status = Status {
            node: "eu-1".into(),
            region: "eu".into(),
            url: String::new(),
            address: String::new(),
            version: "0.1.0".into(),
            protocol: 1,
            uptime: 5,
            counts,
            waiting: BTreeMap::new(),
            drain: None,
            nodes: others(&members, peers, says, &names),
            digests_agree: false,
            problems: Vec::new(),
        };
        judge(&mut status);
        status
    }

    #[test]
    fn what_is_well_says_so_and_what_others_said_stands_beside_it() {
        let ap = PeerState::Dialling { last: None };
        let mut good = status(vec![peer("us-1", PeerState::Up), peer("ap-1", ap)], 7);
        good.nodes.retain(|other| other.node == "us-1");
        judge(&mut good);
        assert_eq!((good.digests_agree, good.problems.as_slice()), (true, &[][..]));
        let us = &good.nodes[0];
        assert_eq!(us.digest_agrees, Some(true));
        assert_eq!((us.rtt_ms, us.url.as_str()), (Some(40.12), "https://us-1.example.com"));
        let counts = us.counts.as_ref().unwrap();
        let waits: Vec<_> = counts.outbox.iter().map(|w| (w.node.as_str(), w.parcels)).collect();
        assert_eq!(waits, [("00000005", 1), ("ap-1", 7), ("eu-1", 2)]);
        let json = serde_json::to_value(&good).unwrap();
        assert_eq!((&json["state"], &json["users"]), (&"ready".into(), &3.into()));
        assert_eq!((&json["nodes"][0]["link"], &json["nodes"][0]["users"]), (&"up".into(), &4.into()));
        assert_eq!(serde_json::from_value::<Status>(json).unwrap(), good, "what is written can be read");
    }

    #[test]
    fn each_thing_that_is_wrong_is_a_sentence() {
        let refused = PeerState::Refused { why: "the clock of ap-1 is 3600 s ahead".into() };
        let gone = PeerState::Dialling { last: Some("no answer".into()) };
        let bad = status(vec![peer("us-1", PeerState::Up), peer("sa-1", gone), peer("ap-1", refused)], 8);
        assert!(!bad.digests_agree);
        let names: Vec<_> = bad.nodes.iter().map(Other::label).collect();
        assert_eq!(names, ["ap-1", "sa-1", "us-1"]);
        let agrees: Vec<_> = bad.nodes.iter().map(|other| other.digest_agrees).collect();
        assert_eq!(agrees, [None, None, Some(false)]);
        assert_eq!(bad.problems[0], "ap-1 is refused: the clock of ap-1 is 3600 s ahead");
        assert_eq!(bad.problems[1], "no link with sa-1: no answer");
        assert!(bad.problems[2].starts_with("presence tables differ between eu-1 and us-1;"), "{bad:?}");
        assert_eq!(bad.problems.len(), 3);
        let silent = PeerStatus { node: NodeId::of("x"), name: "x".into(), ..peer("us-1", PeerState::Up) };
        assert_eq!(status(vec![silent], 7).problems, ["x is linked, but has not said how it is for seconds"]);
        let text = serde_json::to_string(&bad).unwrap();
        assert_eq!(
            serde_json::from_str::<Status>(&text).unwrap(),
            bad,
            "a node that says nothing is read too"
        );
    }
}
