//! Whom to dial, and when.
//!
//! Two kinds of targets: *seeds*, which are addresses, at each of which any node of the cluster may answer, and
//! *nodes*, whose name and last address are known. Both are dialled for as long as there is no link with them, for
//! ever: after a partition that outlasted everything else, this is how its sides find each other again.
//! Pace: full jitter (Brooker, "Exponential Backoff and Jitter", 2015), 100 ms doubled up to 5 s; up to 30 s for a node
//! that is down or was refused. Of two nodes the one with the smaller number dials first.
//! Pure: time comes in as an argument.

use super::{failure::Failure, member::Member};
use crate::model::NodeId;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// The same for a node that is down or was refused, and for one's own address.
const SLOW: Duration = Duration::from_secs(30);
/// How long the one with the larger number lets the other go first.
const COURTESY: Duration = Duration::from_millis(300);
/// A link that ends sooner was no success: what made it end may do so again.
const STABLE: Duration = Duration::from_secs(10);
/// Nodes that are remembered; those that are down for longest go first.
const MAX_NODES: usize = 2_048;

/// Whom an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A seed by its place in the list.
    Seed(usize),
    /// A node by its number.
    Node(NodeId),
}

/// What to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) target: Target,
    /// Host and port.
    pub(super) address: Arc<str>,
    /// The name that must answer, where one is known.
    pub(super) expected: Option<Arc<str>>,
}

/// How a target fares, for status.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) member: Option<Arc<Member>>,
    pub(super) address: Arc<str>,
    pub(super) last: Option<Failure>,
}

#[derive(Debug)]
struct Pace {
    next: Instant,
    failures: u32,
    busy: bool,
    last: Option<Failure>,
}

impl Pace {
    fn at(next: Instant) -> Self {
        Self { next, failures: 0, busy: false, last: None }
    }

    fn delay(&self, longest: Duration, random: &mut SmallRng) -> Duration {
        // What an earlier start has left behind passes soon.
        let slow =
            |why: &Failure| (why.is_refusal() && *why != Failure::TakenThere) || *why == Failure::Itself;
        let slow = self.last.as_ref().is_some_and(slow);
        let longest = if slow { SLOW } else { longest };
        let most = FIRST.saturating_mul(1 << self.failures.min(10)).min(longest);
        let most = if slow { most.max(LONGEST) } else { most };
        FIRST / 4 + most.mul_f64(random.random())
    }
}

#[derive(Debug)]
struct Seed {
    address: Arc<str>,
    /// Who answered there last.
    node: Option<NodeId>,
    pace: Pace,
}

#[derive(Debug)]
struct Node {
    member: Arc<Member>,
    /// When it was declared down; `None` while it is up.
    down: Option<Instant>,
    pace: Pace,
}

#[derive(Debug)]
pub(super) struct Dialler {
    me: NodeId,
    seeds: Vec<Seed>,
    nodes: BTreeMap<NodeId, Node>,
    random: SmallRng,
}

impl Dialler {
    pub(super) fn new(me: NodeId, seeds: &[String], now: Instant, random: u64) -> Self {
        let seed =
            |address: &String| Seed { address: address.as_str().into(), node: None, pace: Pace::at(now) };
        Self {
            me,
            seeds: seeds.iter().map(seed).collect(),
            nodes: BTreeMap::new(),
            random: SmallRng::seed_from_u64(random),
        }
    }

    /// What to try now. Each is under way until [`Self::failed`], or [`Self::free`].
    pub(super) fn due(&mut self, now: Instant, linked: impl Fn(NodeId) -> bool) -> Vec<Attempt> {
        let ready = |pace: &Pace| !pace.busy && pace.next <= now;
        let mut due = Vec::new();
        for (place, seed) in self.seeds.iter_mut().enumerate() {
            if ready(&seed.pace) && !seed.node.is_some_and(&linked) {
                seed.pace.busy = true;
                let (target, address) = (Target::Seed(place), seed.address.clone());
                due.push(Attempt { target, address, expected: None });
            }
        }
        for (number, node) in &mut self.nodes {
            if ready(&node.pace) && !linked(*number) {
                node.pace.busy = true;
                let (target, address) = (Target::Node(*number), node.member.address.clone());
                due.push(Attempt { target, address, expected: Some(node.member.name.clone()) });
            }
        }
        due
    }

    /// When there may be something to try next.
    pub(super) fn deadline(&self, linked: impl Fn(NodeId) -> bool) -> Option<Instant> {
        let seeds = self.seeds.iter().filter(|seed| !seed.node.is_some_and(&linked)).map(|seed| &seed.pace);
        let nodes = self.nodes.iter().filter(|(number, _)| !linked(**number)).map(|(_, node)| &node.pace);
        seeds.chain(nodes).filter(|pace| !pace.busy).map(|pace| pace.next).min()
    }

    fn pace(&mut self, target: Target) -> Option<&mut Pace> {
        match target {
            Target::Seed(place) => self.seeds.get_mut(place).map(|seed| &mut seed.pace),
            Target::Node(node) => self.nodes.get_mut(&node).map(|node| &mut node.pace),
        }
    }

    /// An attempt did not make a link.
    pub(super) fn failed(&mut self, now: Instant, target: Target, why: Failure) {
        let down = match target {
            Target::Seed(_) => false,
            Target::Node(node) => self.nodes.get(&node).is_some_and(|node| node.down.is_some()),
        };
        let longest = if down { SLOW } else { LONGEST };
        let mut random = SmallRng::seed_from_u64(self.random.random());
        if let Some(pace) = self.pace(target) {
            pace.last = Some(why);
            pace.next = now + pace.delay(longest, &mut random);
            pace.failures = pace.failures.saturating_add(1);
        }
    }

    /// An attempt made a link with `node`.
    pub(super) fn linked(&mut self, target: Target, node: NodeId) {
        if let Target::Seed(place) = target
            && let Some(seed) = self.seeds.get_mut(place)
        {
            seed.node = Some(node);
        }
        if let Some(pace) = self.pace(target) {
            pace.last = None;
        }
    }

    /// A seed has turned out to be a node that is linked already.
    pub(super) fn found(&mut self, target: Target, node: NodeId) {
        if let Target::Seed(place) = target
            && let Some(seed) = self.seeds.get_mut(place)
        {
            seed.node = Some(node);
        }
    }

    /// An attempt is over, in whatever way.
    pub(super) fn free(&mut self, target: Target) {
        if let Some(pace) = self.pace(target) {
            pace.busy = false;
        }
    }

    /// A node is there: dial it, if it does not come first.
    pub(super) fn learn(&mut self, now: Instant, member: &Arc<Member>) {
        let next = now + self.courtesy(member.node);
        let node = self.nodes.entry(member.node).or_insert_with(|| Node {
            member: member.clone(),
            down: None,
            pace: Pace::at(next),
        });
        let back = node.down.take().is_some() || node.member != *member;
        node.member = member.clone();
        if back {
            node.pace.failures = 0;
            node.pace.next = node.pace.next.min(next);
        }
        if self.nodes.len() > MAX_NODES
            && let Some(oldest) = self
                .nodes
                .iter()
                .filter_map(|(number, node)| Some((node.down?, *number)))
                .min()
                .map(|(_, number)| number)
        {
            self.nodes.remove(&oldest);
        }
    }

    /// A link ended.
    ///
    /// * `seed`: the target that had made it, where that was not the node itself.
    /// * `lived`: how long it was up. After a long life it is dialled again at once, after a short one with the pace of
    ///   failures.
    pub(super) fn lost(&mut self, now: Instant, node: NodeId, seed: Option<Target>, lived: Duration) {
        let courtesy = self.courtesy(node);
        let mut random = SmallRng::seed_from_u64(self.random.random());
        for target in [Some(Target::Node(node)), seed.filter(|seed| *seed != Target::Node(node))] {
            let Some(pace) = target.and_then(|target| self.pace(target)) else { continue };
            pace.next = now + courtesy;
            if lived < STABLE {
                pace.next += pace.delay(LONGEST, &mut random);
                pace.failures = pace.failures.saturating_add(1);
            } else {
                pace.failures = 0;
            }
        }
    }

    /// A node is down: it is dialled on, at a slower pace.
    pub(super) fn down(&mut self, now: Instant, node: NodeId) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.down = Some(now);
        }
    }

    /// A node has left: it comes back by itself, if it does.
    pub(super) fn left(&mut self, node: NodeId) {
        self.nodes.remove(&node);
    }

    fn courtesy(&self, node: NodeId) -> Duration {
        if self.me < node { Duration::ZERO } else { COURTESY }
    }

    /// All targets, nodes first.
    pub(super) fn standings(&self, linked: impl Fn(NodeId) -> bool) -> Vec<Standing> {
        let nodes = self.nodes.values().filter(|node| !linked(node.member.node)).map(|node| Standing {
            member: Some(node.member.clone()),
            address: node.member.address.clone(),
            last: node.pace.last.clone(),
        });
        let seeds = self.seeds.iter().filter(|seed| match seed.node {
            Some(node) => !linked(node) && !self.nodes.contains_key(&node),
            None => seed.pace.last != Some(Failure::Itself),
        });
        let seeds = seeds.map(|seed| Standing {
            member: None,
            address: seed.address.clone(),
            last: seed.pace.last.clone(),
        });
        nodes.chain(seeds).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::member::tests::identity;
    use super::*;

    fn member(name: &str) -> Arc<Member> {
        identity(name, 1).member
    }

    fn unreachable() -> Failure {
        Failure::Unreachable("no answer".into())
    }

    #[test]
    fn a_seed_is_dialled_until_a_link_stands_and_again_when_it_ends() {
        let start = Instant::now();
        let mut dialler = Dialler::new(NodeId(1), &["a:1".into()], start, 7);
        let free = |_| false;
        let due = dialler.due(start, free);
        assert_eq!((due.len(), due[0].target), (1, Target::Seed(0)));
        assert!(dialler.due(start, free).is_empty(), "one attempt at a time");
        let mut now = start;
        for _ in 0..20 {
            dialler.failed(now, Target::Seed(0), unreachable());
            dialler.free(Target::Seed(0));
            let next = dialler.deadline(free).unwrap();
            assert!(next > now && next <= now + LONGEST + FIRST, "{:?}", next - now);
            now = next;
            assert_eq!(dialler.due(now, free).len(), 1);
        }
        dialler.linked(Target::Seed(0), NodeId(5));
        dialler.free(Target::Seed(0));
        assert!(dialler.due(now, |node| node == NodeId(5)).is_empty());
        assert_eq!(dialler.deadline(|_| true), None);
        dialler.lost(now, NodeId(5), Some(Target::Seed(0)), STABLE);
        assert_eq!(dialler.due(now + COURTESY, free).len(), 1);
    }

    #[test]
    fn a_link_that_ends_again_and_again_is_not_made_again_at_once() {
        let mut now = Instant::now();
        let peer = member("us-1");
        let mut dialler = Dialler::new(NodeId(1), &["a:1".into()], now, 7);
        dialler.learn(now, &peer);
        let mut waits = Vec::new();
        for _ in 0..40 {
            let due = dialler.due(now, |_| false);
            for attempt in &due {
                dialler.linked(attempt.target, peer.node);
                dialler.free(attempt.target);
            }
            dialler.lost(now, peer.node, Some(Target::Seed(0)), Duration::from_millis(5));
            let next = dialler.deadline(|_| false).unwrap();
            waits.push(next - now);
            now = next;
        }
        let late: Duration = waits[20..].iter().sum();
        assert!(late > Duration::from_secs(10), "{waits:?}");
        dialler.lost(now, peer.node, None, STABLE);
        assert!(dialler.deadline(|_| false).unwrap() <= now + COURTESY, "and after a long life it is");
    }

    #[test]
    fn of_two_nodes_the_one_with_the_smaller_number_dials_first() {
        let now = Instant::now();
        let (a, b) = (member("eu-1"), member("us-1"));
        let (small, large) = if a.node < b.node { (a, b) } else { (b, a) };
        let mut first = Dialler::new(small.node, &[], now, 7);
        first.learn(now, &large);
        assert_eq!(first.due(now, |_| false)[0].expected.as_deref(), Some(&*large.name));
        let mut second = Dialler::new(large.node, &[], now, 7);
        second.learn(now, &small);
        assert!(second.due(now, |_| false).is_empty());
        assert_eq!(second.due(now + COURTESY, |_| false).len(), 1);
    }

    #[test]
    fn a_node_that_is_down_is_dialled_for_ever_and_one_that_left_is_not() {
        let start = Instant::now();
        let peer = member("us-1");
        let mut dialler = Dialler::new(NodeId(1), &[], start, 7);
        dialler.learn(start, &peer);
        dialler.down(start, peer.node);
        let mut now = start + COURTESY;
        for _ in 0..50 {
            assert_eq!(dialler.due(now, |_| false).len(), 1);
            dialler.failed(now, Target::Node(peer.node), unreachable());
            dialler.free(Target::Node(peer.node));
            now = dialler.deadline(|_| false).unwrap();
        }
        assert!(now > start + Duration::from_secs(60), "slowly");
        dialler.learn(now, &peer);
        assert_eq!(dialler.due(now + COURTESY, |_| false).len(), 1, "and at once when it is back");
        dialler.left(peer.node);
        assert_eq!(dialler.deadline(|_| false), None);
    }

    #[test]
    fn memory_of_nodes_is_bounded() {
        let now = Instant::now();
        let mut dialler = Dialler::new(NodeId(1), &[], now, 7);
        for i in 0..MAX_NODES + 100 {
            let peer = member(&format!("n-{i}"));
            dialler.learn(now, &peer);
            dialler.down(now, peer.node);
        }
        assert!(dialler.nodes.len() <= MAX_NODES + 1);
    }
}
