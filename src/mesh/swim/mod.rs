//! Who is in the cluster: SWIM (Das, Gupta, Motivala 2002) with suspicion and refutation, by `foca`.
//!
//! Purpose: a list of members that all nodes come to agree on, and that a dead node leaves within 5 s.
//! Flow: messages travel as datagrams on the links; one for a member without a link is lost, which the detector takes
//! as it takes any loss: it asks others to look. When a link comes up, each side announces itself to the other, and
//! again every 5 s for as long as that has no effect.
//! Settings were measured with up to 50 nodes and 3 % loss: no live node was declared down, a dead one was noticed
//! after 3.4 s (median), 5.5 s at most. No custom broadcasts: they back up.
//! A node that finds itself declared down while it lives comes back by itself, under a renewed identity.
//! What is not checked: members believe each other's gossip about third ones. A certificate of the cluster is needed
//! to take part, and the sender of a message must be the peer of the link that it came over.
//! Pure: time comes in as an argument.

use super::{
    event::Event,
    member::{Identity, Member},
};
use crate::model::NodeId;
use bytes::{Buf as _, Bytes};
use foca::{
    AccumulatingRuntime, Codec as _, Config, Foca, Header, Message, NoCustomBroadcast, PeriodicParams,
    PostcardCodec, Timer,
};
use rand::{SeedableRng as _, rngs::SmallRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::{NonZeroU8, NonZeroUsize},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Longest message, in bytes. It fits the datagrams of most paths; else it goes over a stream.
pub(super) const MAX_PACKET: usize = 1_400;
/// Members, down ones included, past which nothing is heard of new ones.
const MAX_MEMBERS: usize = 1_024;
/// How often a peer that is linked and not a member is told again that this node is there.
const ANNOUNCE: Duration = Duration::from_secs(5);
/// How long a node that is down by what others say, and whose link is still up, has for the last word on that link:
/// one that leaves says so there, and gossip about it may be faster.
const LAST_WORD: Duration = Duration::from_millis(300);
/// How long a member that is down is remembered as such.
const FORGET: Duration = Duration::from_secs(3_600);

/// What the detector hears.
pub(super) enum SwimInput {
    /// A message came.
    Message {
        /// Over the link with whom.
        from: NodeId,
        /// The message.
        message: Bytes,
    },
    /// A link is up.
    LinkUp(Arc<Member>),
    /// A link ended.
    LinkDown {
        /// With whom.
        node: NodeId,
        /// Whether the peer said that it leaves.
        left: bool,
    },
    /// This node leaves; told when the others have been written to.
    Leave(oneshot::Sender<()>),
}

pub(super) struct Swim {
    foca: Foca<Identity, PostcardCodec, SmallRng, NoCustomBroadcast>,
    runtime: AccumulatingRuntime<Identity>,
    /// By deadline, then in the order in which they were set.
    timers: BTreeMap<(Instant, u64), Timer<Identity>>,
    set: u64,
    announce: Instant,
    linked: BTreeMap<NodeId, Arc<Member>>,
    messages: Vec<(NodeId, Bytes)>,
    /// Who is up.
    up: BTreeMap<NodeId, Arc<Member>>,
    /// Who the owner thinks is up, with the incarnation that it was told.
    told: BTreeMap<NodeId, u64>,
    left: BTreeSet<NodeId>,
    /// Who went down while a link with it is up, and until when [`LAST_WORD`] is waited for.
    unsaid: BTreeMap<NodeId, Instant>,
    leaving: bool,
    defunct: bool,
}

fn config() -> Config {
    const fn whole(number: usize) -> NonZeroUsize {
        NonZeroUsize::new(number).unwrap()
    }
    let every = |frequency, number| Some(PeriodicParams { frequency, num_members: whole(number) });
    Config {
        probe_period: Duration::from_millis(700),
        probe_rtt: Duration::from_millis(350),
        num_indirect_probes: whole(3),
        max_transmissions: const { NonZeroU8::new(20).unwrap() },
        suspect_to_down_after: Duration::from_millis(1_800),
        remove_down_after: Some(FORGET),
        max_packet_size: whole(MAX_PACKET),
        notify_down_members: true,
        periodic_announce: every(Duration::from_secs(30), 1),
        periodic_announce_to_down_members: every(Duration::from_secs(30), 2),
        periodic_gossip: every(Duration::from_millis(200), 3),
    }
}

impl Swim {
    pub(super) fn new(me: Arc<Member>, now: Instant, random: u64) -> Self {
        let identity = Identity { member: me, renewals: 0 };
        let random = SmallRng::seed_from_u64(random);
        Self {
            foca: Foca::new(identity, config(), random, PostcardCodec),
            runtime: AccumulatingRuntime::new(),
            timers: BTreeMap::new(),
            set: 0,
            announce: now + ANNOUNCE,
            linked: BTreeMap::new(),
            messages: Vec::new(),
            up: BTreeMap::new(),
            told: BTreeMap::new(),
            left: BTreeSet::new(),
            unsaid: BTreeMap::new(),
            leaving: false,
            defunct: false,
        }
    }

    /// Takes a message.
    ///
    /// # Errors
    /// In one word, why it was of no use.
    pub(super) fn message(&mut self, now: Instant, from: NodeId, message: &[u8]) -> Result<(), &'static str> {
        if self.leaving {
            return Ok(());
        }
        self.judge(from, message)?;
        let taken = self.foca.handle_data(message, &mut self.runtime);
        self.settle(now);
        taken.map_err(|error| match error {
            foca::Error::Decode(_) | foca::Error::MalformedPacket | foca::Error::DataTooBig => "malformed",
            _ => "unexpected",
        })
    }

    /// Judges whether the peer may say this.
    fn judge(&self, from: NodeId, mut message: &[u8]) -> Result<(), &'static str> {
        let Some(peer) = self.linked.get(&from) else { return Err("no_link") };
        let header: Header<Identity> = PostcardCodec.decode_header(&mut message).map_err(|_| "malformed")?;
        let source = &header.src.member;
        if source.name != peer.name || source.incarnation != peer.incarnation {
            return Err("not_the_sender");
        }
        let mut fresh = BTreeSet::new();
        let mut known = |identity: &Identity| {
            let node = identity.node();
            let me = &self.foca.identity().member;
            let there = [me, peer].into_iter().find(|member| member.node == node).or_else(|| {
                self.foca.iter_membership_state().map(|m| &m.id().member).find(|member| member.node == node)
            });
            match there {
                Some(member) if member.name != identity.member.name => return Err("number_taken"),
                Some(_) => {}
                None => {
                    fresh.insert(node);
                }
            }
            Ok(())
        };
        known(&header.dst)?;
        match &header.message {
            Message::PingReq { target: other, .. }
            | Message::IndirectPing { origin: other, .. }
            | Message::IndirectAck { target: other, .. }
            | Message::ForwardedAck { origin: other, .. } => known(other)?,
            _ => {}
        }
        if message.len() >= 2 {
            for _ in 0..message.get_u16() {
                let member: foca::Member<Identity> =
                    PostcardCodec.decode_member(&mut message).map_err(|_| "malformed")?;
                known(member.id())?;
            }
        }
        if !fresh.is_empty() && self.foca.iter_membership_state().len() + fresh.len() > MAX_MEMBERS {
            return Err("too_many_members");
        }
        Ok(())
    }

    /// A link is up.
    pub(super) fn link_up(&mut self, now: Instant, peer: Arc<Member>) {
        self.left.remove(&peer.node);
        self.linked.insert(peer.node, peer.clone());
        self.announce_to(now, peer);
    }

    fn announce_to(&mut self, now: Instant, peer: Arc<Member>) {
        if self.leaving {
            return;
        }
        // It is taken whatever renewals are written on it. Errors are those of encoding, which bounds exclude.
        let _ = self.foca.announce(Identity { member: peer, renewals: 0 }, &mut self.runtime);
        self.settle(now);
    }

    /// A link ended.
    ///
    /// * `left`: whether the peer said that it leaves.
    pub(super) fn link_down(&mut self, now: Instant, node: NodeId, left: bool) {
        self.linked.remove(&node);
        self.unsaid.remove(&node);
        if !left || self.leaving {
            return;
        }
        if self.told.contains_key(&node) && !self.up.contains_key(&node) {
            // Gossip was faster than the link.
            self.left.insert(node);
        }
        let gone = self.foca.iter_members().map(foca::Member::id).find(|id| id.node() == node).cloned();
        if let Some(identity) = gone {
            self.left.insert(node);
            let down = std::iter::once(foca::Member::down(identity));
            let _ = self.foca.apply_many(down, true, &mut self.runtime);
            self.settle(now);
        }
    }

    /// This node leaves: some others are told, who tell the rest.
    pub(super) fn leave(&mut self, now: Instant) {
        self.leaving = true;
        let _ = self.foca.leave_cluster(&mut self.runtime);
        self.settle(now);
        self.timers.clear();
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.leaving {
            return;
        }
        self.unsaid.retain(|_, until| *until > now);
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            let timer = entry.remove();
            // An error says that a probe was not finished in time, and that is seen to by starting the next.
            let _ = self.foca.handle_timer(timer, &mut self.runtime);
            self.settle(now);
        }
        if self.announce <= now {
            self.announce = now + ANNOUNCE;
            let strangers: Vec<_> =
                self.linked.values().filter(|peer| !self.up.contains_key(&peer.node)).cloned().collect();
            for peer in strangers {
                self.announce_to(now, peer);
            }
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Instant {
        let timer = self.timers.first_key_value().map(|((at, _), _)| at);
        self.unsaid.values().chain(timer).copied().fold(self.announce, Instant::min)
    }

    /// Takes over what the detector wants done.
    fn settle(&mut self, now: Instant) {
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.set += 1;
            self.timers.insert((now + after, self.set), timer);
        }
        while let Some((to, message)) = self.runtime.to_send() {
            self.messages.push((to.node(), message));
        }
        let mut changed = false;
        while let Some(notice) = self.runtime.to_notify() {
            changed = true;
            self.defunct = matches!(notice, foca::OwnedNotification::Defunct) && !self.leaving;
        }
        if changed {
            let before = std::mem::take(&mut self.up);
            self.up = self
                .foca
                .iter_members()
                .map(|member| (member.id().node(), member.id().member.clone()))
                .collect();
            self.left.retain(|node| !self.up.contains_key(node));
            self.unsaid.retain(|node, _| !self.up.contains_key(node));
            let gone = before.into_keys().filter(|node| !self.up.contains_key(node));
            let unsaid = gone.filter(|node| self.linked.contains_key(node) && !self.left.contains(node));
            self.unsaid.extend(unsaid.map(|node| (node, now + LAST_WORD)));
        }
    }

    /// Messages to be sent.
    pub(super) fn messages(&mut self) -> Vec<(NodeId, Bytes)> {
        std::mem::take(&mut self.messages)
    }

    /// Who is up, this node not among them.
    pub(super) fn members(&self) -> &BTreeMap<NodeId, Arc<Member>> {
        &self.up
    }

    /// Whether `node`, which is not up, said that it leaves.
    pub(super) fn has_left(&self, node: NodeId) -> bool {
        self.left.contains(&node)
    }

    /// Whether this node was declared down so often that it cannot come back.
    pub(super) fn is_defunct(&self) -> bool {
        self.defunct
    }

    /// Whether there is something that the owner was not told.
    pub(super) fn has_news(&self) -> bool {
        self.gone().is_some()
            || self.up.iter().any(|(node, member)| self.told.get(node) != Some(&member.incarnation))
    }

    /// Who is down and not told to be.
    fn gone(&self) -> Option<NodeId> {
        let down = |node: &&NodeId| !self.up.contains_key(node) && !self.unsaid.contains_key(node);
        self.told.keys().find(down).copied()
    }

    /// The next thing to tell the owner. What came and went between two of these calls is not told.
    pub(super) fn news(&mut self) -> Option<Event> {
        if let Some(node) = self.gone() {
            self.told.remove(&node);
            let left = self.left.remove(&node);
            return Some(if left { Event::MemberLeft { node } } else { Event::MemberDown { node } });
        }
        let fresh = self.up.values().find(|m| self.told.get(&m.node) != Some(&m.incarnation));
        let member = fresh?.clone();
        self.told.insert(member.node, member.incarnation);
        Some(Event::MemberUp { member })
    }
}

/// Takes any bytes as a message of a linked peer, and time that passes after it.
///
/// # Panics
/// When the detector does: that is what is looked for.
pub fn fuzz_swim(bytes: &[u8]) {
    let member = |name: &str| {
        Arc::new(Member {
            node: NodeId::of(name),
            name: name.into(),
            region: "".into(),
            address: "127.0.0.1:1".into(),
            url: "".into(),
            incarnation: 1,
        })
    };
    let (peer, start) = (member("b"), Instant::now());
    let mut swim = Swim::new(member("a"), start, 1);
    swim.link_up(start, peer.clone());
    for (second, part) in bytes.chunks(MAX_PACKET).enumerate() {
        let now = start + Duration::from_secs(second as u64);
        let _ = swim.message(now, peer.node, part);
        swim.tick(now + Duration::from_millis(700));
        while swim.has_news() {
            assert!(swim.news().is_some(), "news that are none");
        }
        assert!(swim.messages().iter().all(|(_, message)| message.len() <= MAX_PACKET));
    }
}

#[cfg(test)]
mod tests;
