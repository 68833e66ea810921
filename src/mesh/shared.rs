//! What the tasks of one mesh share.

use super::{
    dial::Dialler,
    event::EventSender,
    failure::Failure,
    hello::{FEATURES, Hello},
    links::Links,
    member::Member,
    options::WallClock,
    swim::SwimInput,
    tls::Tls,
};
use crate::{metrics::Metrics, model::NodeId};
use parking_lot::{Mutex, RwLock};
use quinn::{ClientConfig, Endpoint};
use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, mpsc};
use tracing::{debug, info, warn};

/// The same refusal is logged once in so long a time.
const QUIET: Duration = Duration::from_secs(60);
/// Refusals that are remembered, for the log and for status.
const MAX_NOTES: usize = 128;

pub(super) struct Shared {
    /// This node, as others see it.
    pub(super) me: Arc<Member>,
    pub(super) protocol: RangeInclusive<u16>,
    pub(super) clock: WallClock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) endpoint: Endpoint,
    pub(super) tls: Tls,
    /// What is dialled with; replaced when the certificates are.
    pub(super) client: RwLock<ClientConfig>,
    pub(super) links: Links,
    pub(super) events: EventSender,
    pub(super) swim: mpsc::Sender<SwimInput>,
    pub(super) dialler: Mutex<Dialler>,
    /// There may be something to dial.
    pub(super) wake: Notify,
    pub(super) members: RwLock<BTreeMap<NodeId, Arc<Member>>>,
    pub(super) notes: Mutex<BTreeMap<String, Note>>,
    pub(super) leaving: AtomicBool,
    /// Bounds of one lane's queue: frames and bytes.
    pub(super) lane: (usize, usize),
}

/// The last refusal of a peer.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) why: Failure,
    pub(super) address: String,
    /// Wall time, in microseconds since 1970.
    pub(super) at: u64,
    logged: Instant,
    unlogged: u64,
}

impl Shared {
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    pub(super) fn hello(&self) -> Hello {
        let me = &self.me;
        Hello {
            min: *self.protocol.start(),
            max: *self.protocol.end(),
            node: me.name.to_string(),
            incarnation: me.incarnation,
            now: self.clock.now(),
            features: FEATURES,
            region: me.region.to_string(),
            address: me.address.to_string(),
            url: me.url.to_string(),
            software: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// The name that a number stands for in this cluster, as far as is known.
    pub(super) fn name_of(&self, node: NodeId) -> Option<Arc<str>> {
        if node == self.me.node {
            return Some(self.me.name.clone());
        }
        self.links.info(node).or_else(|| self.members.read().get(&node).cloned()).map(|m| m.name.clone())
    }

    /// Counts a connection that did not become a link, and logs it when somebody has to do something about it.
    ///
    /// * `peer`: its name, where the certificate was good; else its address.
    pub(super) fn failed(&self, peer: &str, address: &str, why: &Failure) {
        if !why.is_refusal() {
            debug!(peer, address, "no link: {why}");
            return;
        }
        self.metrics.mesh_refused.get(why.label()).inc();
        let (now, at) = (Instant::now(), self.clock.now());
        let mut notes = self.notes.lock();
        if notes.len() >= MAX_NOTES
            && !notes.contains_key(peer)
            && let Some(oldest) = notes.iter().min_by_key(|(_, note)| note.at).map(|(peer, _)| peer.clone())
        {
            notes.remove(&oldest);
        }
        let fresh = Note { why: why.clone(), address: address.to_owned(), at, logged: now, unlogged: 0 };
        let known = notes
            .get(peer)
            .filter(|note| note.why.label() == why.label() && now.duration_since(note.logged) < QUIET);
        let note = match known {
            Some(known) => Note { logged: known.logged, unlogged: known.unlogged + 1, ..fresh },
            None => {
                let again = notes.get(peer).map_or(0, |note| note.unlogged);
                warn!(peer, address, again, "no link: {why}");
                fresh
            }
        };
        notes.insert(peer.to_owned(), note);
    }

    /// A link is up, so what was wrong with that peer is past.
    pub(super) fn fine(&self, peer: &str) {
        if self.notes.lock().remove(peer).is_some() {
            info!(peer, "is let in now");
        }
    }
}
