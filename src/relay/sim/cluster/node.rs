//! One node of the simulated cluster: its relay, its disk, what waits for them.

use super::super::{Rng, Sabotage, disk::Disk};
use crate::{
    gossip::FactKey,
    model::{EntryRow, NodeId, Stamp, UserKey},
    relay::{Effect, Input, Limits, Relay},
    store::Store,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// A read that the node has asked its store for.
pub enum Read {
    Load(UserKey),
    Export { user: UserKey, number: u64, after: Stamp },
    Rows { user: UserKey, after: Stamp },
    Facts { peer: NodeId, after: Option<FactKey> },
    Look,
}

pub struct Node {
    pub id: NodeId,
    pub relay: Relay,
    pub disk: Disk,
    pub inputs: VecDeque<Input>,
    pub reads: Vec<Read>,
    pub up: bool,
    pub draining: bool,
    /// How far its clock is ahead, in microseconds.
    pub skew: u64,
    /// The link to each peer that the relay has heard of.
    pub links: BTreeMap<NodeId, u64>,
    /// It lets nobody in before it knows what its peers know, or for a while.
    pub doors_by: u64,
    pub doors: bool,
    sabotage: Option<Sabotage>,
}

fn limits() -> Limits {
    // Small, so that eviction and checkpoints happen all the time.
    Limits {
        pending: 128,
        mailboxes: 3,
        checkpoint_us: 50_000,
        outbox: 2,
        outbox_wait_us: 20_000,
        outbox_bytes: 40 * 256,
    }
}

impl Node {
    pub fn new(name: &str, skew: u64, sabotage: Option<Sabotage>) -> Self {
        let id = NodeId::of(name);
        let mut relay = Relay::new(id, limits(), Stamp::ZERO);
        relay.sabotage = sabotage;
        relay.handle(Stamp::ZERO, Input::Looked, &mut Vec::new());
        Self {
            id,
            relay,
            disk: Disk::default(),
            inputs: VecDeque::new(),
            reads: Vec::new(),
            up: true,
            draining: false,
            skew,
            links: BTreeMap::new(),
            doors_by: 13_000_000,
            doors: false,
            sabotage,
        }
    }

    /// Power goes.
    pub fn crash(&mut self, rng: &mut Rng) {
        self.disk.crash(rng);
        self.inputs.clear();
        self.reads.clear();
        self.links.clear();
        self.up = false;
        self.draining = false;
    }

    /// It comes back with what its disk has.
    pub fn start(&mut self, now: u64) -> Vec<Effect> {
        self.up = true;
        self.doors = false;
        self.doors_by = now + 3_000_000;
        let store = &self.disk.store;
        self.relay = Relay::new(self.id, limits(), store.last_stamp().expect("memory"));
        self.relay.sabotage = self.sabotage;
        let mut inputs = Vec::new();
        store.facts(&mut |key, fact| inputs.push(Input::Fact { key, fact })).expect("memory");
        store.claims(&mut |user, row| inputs.push(Input::Claim { user, row })).expect("memory");
        let posted = |peer, number, parcel| (peer, number, parcel);
        let mut rows = Vec::new();
        store.outboxes(&mut |peer, number, parcel| rows.push(posted(peer, number, parcel))).expect("memory");
        inputs.extend(rows.into_iter().map(|(peer, number, parcel)| Input::Posted {
            peer,
            number,
            parcel: parcel.map(Arc::new),
        }));
        inputs.extend(self.mailboxes().into_iter().map(|user| Input::Holds { user }));
        inputs.push(Input::Looked);
        let mut effects = Vec::new();
        for input in inputs {
            self.handle(now, input, &mut effects);
        }
        effects
    }

    /// Users with anything of a mailbox on disk.
    pub fn mailboxes(&self) -> Vec<UserKey> {
        self.disk.store.mailboxes(None, usize::MAX).expect("memory")
    }

    pub fn handle(&mut self, now: u64, input: Input, effects: &mut Vec<Effect>) {
        self.relay.handle(Stamp(now + self.skew), input, effects);
    }

    /// Carries a read out.
    ///
    /// * `fails`: one of a mailbox finds that it cannot be read.
    pub fn read(&mut self, at: usize, fails: bool) {
        let store = &self.disk.store;
        let input = match self.reads.swap_remove(at) {
            Read::Load(user) if fails => Input::LoadFailed { user },
            Read::Export { user, number, .. } if fails => Input::Exported { user, number, page: None },
            Read::Rows { user, after } if fails => Input::Rows { user, after, rows: None },
            Read::Look => {
                let found = self.mailboxes().into_iter().map(|user| Input::Holds { user });
                self.inputs.extend(found);
                Input::Looked
            }
            Read::Facts { peer, after } => {
                let facts = store.facts_after(after.as_ref(), 2).expect("memory");
                Input::Facts { peer, facts }
            }
            Read::Load(user) => {
                let snapshot = Box::new(store.load(&user).expect("memory"));
                Input::Loaded { user, snapshot }
            }
            Read::Export { user, number, after } => {
                let page = Some(Box::new(store.export(&user, after, 3, usize::MAX).expect("memory")));
                Input::Exported { user, number, page }
            }
            Read::Rows { user, after } => {
                let rows: Vec<(Stamp, EntryRow)> =
                    store.rows(&user).into_iter().filter(|(pos, _)| *pos > after).collect();
                Input::Rows { user, after, rows: Some(rows) }
            }
        };
        self.inputs.push_back(input);
    }

    pub fn is_quiet(&self) -> bool {
        !self.disk.is_busy()
            && self.inputs.is_empty()
            && self.reads.is_empty()
            && self.relay.is_idle()
            && self.relay.is_settled()
    }
}
