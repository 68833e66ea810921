//! The table of links: at most one with each node.
//!
//! Of two nodes the one with the smaller number decides which connection is their link: it is the *arbiter*. Both
//! may dial at once; the arbiter takes the first connection that is ready and turns the other down, and its peer takes
//! what the arbiter has taken. One place decides, so there is never none and never two.
//!
//! Two processes of one name: the one that is in the cluster and alive stays. A second one, be it a restart or a copy
//! of the certificate, is let in when the first one has ended its link by its own word, which a reset from the address on
//! which it started anew is too, or when it is no member any more, at most 5 s after its death. So a second process with a
//! copied certificate cannot push out a node that works, not even by a third that has no link with that node.

use super::{failure::Failure, link::Link, member::Member};
use crate::model::NodeId;
use parking_lot::RwLock;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// A follower that knows nothing of a link this old has lost it; one that is younger may be on its way to it.
const SETTLED: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Links {
    up: RwLock<HashMap<NodeId, Arc<Link>>>,
    generations: AtomicU64,
    /// Incarnations of nodes whose own word ended their last link: they closed it, or run anew.
    ended: RwLock<HashMap<NodeId, u64>>,
}

impl Links {
    /// The link with `node`, if there is one.
    pub(super) fn get(&self, node: NodeId) -> Option<Arc<Link>> {
        self.up.read().get(&node).filter(|link| link.is_alive()).cloned()
    }

    pub(super) fn info(&self, node: NodeId) -> Option<Arc<Member>> {
        self.up.read().get(&node).map(|link| link.peer.member.clone())
    }

    pub(super) fn all(&self) -> Vec<Arc<Link>> {
        let mut all: Vec<_> = self.up.read().values().cloned().collect();
        all.sort_by_key(|link| link.peer.member.node);
        all
    }

    /// Does something with the link without cloning it: the way of every frame.
    pub(super) fn with<T>(&self, node: NodeId, act: impl FnOnce(&Link) -> T) -> Option<T> {
        self.up.read().get(&node).map(|link| act(link))
    }

    /// Whether the peer may be linked; and whether it is already.
    ///
    /// * `member`: the node of that number that is in the cluster, if there is one.
    pub(super) fn may_join(&self, peer: &Member, member: Option<&Member>) -> Result<bool, Failure> {
        let alive = self.get(peer.node);
        let ended = self.ended.read().get(&peer.node).copied();
        let other = member
            .filter(|member| member.incarnation != peer.incarnation && ended != Some(member.incarnation));
        if alive.is_none() && other.is_some() {
            return Err(Failure::NameTaken(peer.name.to_string()));
        }
        may_join(alive.as_deref(), peer)
    }

    /// The arbiter's decision. On success the link is in the table, and the one whose place it took comes back.
    ///
    /// * `linked`: whether the peer says that there is a link.
    pub(super) fn arbitrate(&self, link: &Arc<Link>, linked: bool) -> Result<Option<Arc<Link>>, Failure> {
        let mut up = self.up.write();
        let node = link.peer.member.node;
        let alive = up.get(&node).filter(|link| link.is_alive());
        may_join(alive.map(Arc::as_ref), &link.peer.member)?;
        if alive.is_some_and(|alive| linked || alive.born.elapsed() < SETTLED) {
            return Err(Failure::Duplicate);
        }
        Ok(self.enter(&mut up, link))
    }

    /// The follower takes what the arbiter has taken.
    pub(super) fn follow(&self, link: &Arc<Link>) -> Result<Option<Arc<Link>>, Failure> {
        let mut up = self.up.write();
        let node = link.peer.member.node;
        may_join(up.get(&node).filter(|link| link.is_alive()).map(Arc::as_ref), &link.peer.member)?;
        Ok(self.enter(&mut up, link))
    }

    fn enter(&self, up: &mut HashMap<NodeId, Arc<Link>>, link: &Arc<Link>) -> Option<Arc<Link>> {
        link.generation.get_or_init(|| self.generations.fetch_add(1, Relaxed) + 1);
        self.ended.write().remove(&link.peer.member.node);
        up.insert(link.peer.member.node, link.clone())
    }

    /// Notes that a link was ended by the peer's own word.
    pub(super) fn note_end(&self, link: &Link) {
        let member = &link.peer.member;
        self.ended.write().insert(member.node, member.incarnation);
    }

    /// Takes a link out, unless another has taken its place.
    pub(super) fn remove(&self, link: &Link) {
        let mut up = self.up.write();
        let node = link.peer.member.node;
        if up.get(&node).is_some_and(|there| there.generation() == link.generation()) {
            up.remove(&node);
        }
    }
}

fn may_join(alive: Option<&Link>, peer: &Member) -> Result<bool, Failure> {
    let Some(there) = alive.map(|link| &link.peer.member) else { return Ok(false) };
    if there.name != peer.name {
        let (node, other) = (peer.name.to_string(), there.name.to_string());
        return Err(Failure::NumberTaken { node, other });
    }
    if there.incarnation != peer.incarnation {
        return Err(Failure::NameTaken(peer.name.to_string()));
    }
    Ok(true)
}
