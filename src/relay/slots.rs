//! The mailboxes that are in memory, and those on their way there.

use super::{
    Input,
    hash::{Map, map},
    mailbox::Mailbox,
};
use crate::{
    model::{Stamp, UserHash, UserKey},
    store::Snapshot,
};

/// A mailbox in memory. Good until the mailbox leaves memory; after that it leads to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    at: u32,
    /// How often its place was used before.
    turn: u32,
}

/// Inputs that may wait for one mailbox to be read. Past that, commands are refused as busy.
const MAX_PARKED: usize = 4_096;

#[derive(Debug)]
enum State {
    /// Being read; these inputs wait for it.
    Loading(Vec<Input>),
    Ready(Box<Mailbox>),
    /// Nothing is to be added to it for the moment; these inputs wait for that to end.
    Frozen(Box<Mailbox>, Vec<Input>),
}

#[derive(Debug, Default)]
struct Place {
    turn: u32,
    state: Option<State>,
}

#[derive(Debug)]
pub(super) struct Slots {
    places: Vec<Place>,
    free: Vec<u32>,
    by_user: Map<UserKey, Slot>,
    /// By number; only with peers.
    by_hash: Option<Map<UserHash, Slot>>,
    hand: usize,
}

/// What became of an input that needs a mailbox.
pub(super) enum Parked {
    /// It waits; the mailbox has to be read first (`true`: nobody has asked for that yet).
    Waits(bool),
    /// Too many wait already; here it is back.
    Full(Box<Input>),
}

impl Slots {
    pub fn new(peers: bool) -> Self {
        Self { places: Vec::new(), free: Vec::new(), by_user: map(), by_hash: peers.then(map), hand: 0 }
    }

    fn state(&self, slot: Slot) -> Option<&State> {
        self.places.get(slot.at as usize).filter(|place| place.turn == slot.turn)?.state.as_ref()
    }

    fn state_mut(&mut self, slot: Slot) -> Option<&mut State> {
        self.places.get_mut(slot.at as usize).filter(|place| place.turn == slot.turn)?.state.as_mut()
    }

    /// The slot of a mailbox that is in memory and open.
    pub fn find(&self, user: &UserKey) -> Option<Slot> {
        let slot = *self.by_user.get(user)?;
        self.is_open(slot).then_some(slot)
    }

    /// Whether a mailbox is in memory and open.
    pub fn is_open(&self, slot: Slot) -> bool {
        matches!(self.state(slot), Some(State::Ready(_)))
    }

    /// The slot of a frozen mailbox.
    pub fn frozen(&self, user: &UserKey) -> Option<Slot> {
        let slot = *self.by_user.get(user)?;
        matches!(self.state(slot), Some(State::Frozen(..))).then_some(slot)
    }

    pub fn get(&self, slot: Slot) -> Option<&Mailbox> {
        match self.state(slot) {
            Some(State::Ready(mailbox) | State::Frozen(mailbox, _)) => Some(mailbox),
            _ => None,
        }
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Mailbox> {
        match self.state_mut(slot) {
            Some(State::Ready(mailbox) | State::Frozen(mailbox, _)) => Some(mailbox),
            _ => None,
        }
    }

    /// Keeps `input` until the mailbox of `user`, which is not in memory or is frozen, is open.
    pub fn park(&mut self, user: &UserKey, input: Input) -> Parked {
        if let Some(&slot) = self.by_user.get(user) {
            return match self.state_mut(slot) {
                // Parcels are bounded by what their sender may have under way, and must keep their order.
                Some(State::Loading(parked) | State::Frozen(_, parked))
                    if parked.len() < MAX_PARKED || matches!(&input, Input::Arrived { .. }) =>
                {
                    parked.push(input);
                    Parked::Waits(false)
                }
                _ => Parked::Full(Box::new(input)),
            };
        }
        let state = Some(State::Loading(vec![input]));
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[at as usize];
        place.state = state;
        let slot = Slot { at, turn: place.turn };
        self.by_user.insert(user.clone(), slot);
        if let Some(by_hash) = &mut self.by_hash {
            by_hash.insert(UserHash::of(user), slot);
        }
        Parked::Waits(true)
    }

    /// The mailbox of `user` has been read: gives the inputs that waited for it.
    pub fn loaded(&mut self, user: &UserKey, snapshot: Snapshot) -> Vec<Input> {
        let Some(&slot) = self.by_user.get(user) else { return Vec::new() };
        match self.state_mut(slot) {
            Some(state @ State::Loading(..)) => {
                let ready = State::Ready(Box::new(Mailbox::restore(user.clone(), snapshot)));
                match std::mem::replace(state, ready) {
                    State::Loading(parked) => parked,
                    State::Ready(_) | State::Frozen(..) => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }

    /// The mailbox of `user` could not be read: gives the inputs that waited for it.
    pub fn failed(&mut self, user: &UserKey) -> Vec<Input> {
        let Some(&slot) = self.by_user.get(user) else { return Vec::new() };
        if !matches!(self.state(slot), Some(State::Loading(..))) {
            return Vec::new();
        }
        match self.vacate(user, slot) {
            Some(State::Loading(parked)) => parked,
            _ => Vec::new(),
        }
    }

    /// From now on inputs for this mailbox wait.
    pub fn freeze(&mut self, slot: Slot) {
        let Some(place) = self.places.get_mut(slot.at as usize).filter(|place| place.turn == slot.turn)
        else {
            return;
        };
        place.state = match place.state.take() {
            Some(State::Ready(mailbox)) => Some(State::Frozen(mailbox, Vec::new())),
            other => other,
        };
    }

    /// The mailbox is open again: gives the inputs that waited.
    pub fn thaw(&mut self, slot: Slot) -> Vec<Input> {
        let Some(place) = self.places.get_mut(slot.at as usize).filter(|place| place.turn == slot.turn)
        else {
            return Vec::new();
        };
        let (open, parked) = match place.state.take() {
            Some(State::Frozen(mailbox, parked)) => (Some(State::Ready(mailbox)), parked),
            other => (other, Vec::new()),
        };
        place.state = open;
        parked
    }

    /// Gives the inputs that wait for a frozen mailbox; it stays frozen.
    pub fn unpark(&mut self, slot: Slot) -> Vec<Input> {
        match self.state_mut(slot) {
            Some(State::Frozen(_, parked)) => std::mem::take(parked),
            _ => Vec::new(),
        }
    }

    /// Takes a mailbox out of memory: gives the inputs that waited for it.
    pub fn remove(&mut self, slot: Slot) -> Vec<Input> {
        let Some(user) = self.user(slot).cloned() else { return Vec::new() };
        match self.vacate(&user, slot) {
            Some(State::Frozen(_, parked)) => parked,
            _ => Vec::new(),
        }
    }

    fn vacate(&mut self, user: &UserKey, slot: Slot) -> Option<State> {
        self.by_user.remove(user);
        if let Some(by_hash) = &mut self.by_hash {
            by_hash.remove(&UserHash::of(user));
        }
        let place = self.places.get_mut(slot.at as usize)?;
        place.turn = place.turn.wrapping_add(1);
        self.free.push(slot.at);
        place.state.take()
    }

    /// The slot of a mailbox in memory, frozen or not, by its user's number.
    pub fn by_hash(&self, user: UserHash) -> Option<Slot> {
        let slot = *self.by_hash.as_ref()?.get(&user)?;
        self.get(slot).map(|_| slot)
    }

    /// Whose the slot is.
    pub fn user(&self, slot: Slot) -> Option<&UserKey> {
        self.get(slot).map(|mailbox| &mailbox.user)
    }

    /// All mailboxes that are in memory.
    pub fn all(&self) -> Vec<Slot> {
        let slots = (0_u32..).zip(&self.places).map(|(at, place)| Slot { at, turn: place.turn });
        slots.filter(|slot| self.get(*slot).is_some()).collect()
    }

    /// How many mailboxes are in memory or on their way.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Forgets some of the mailboxes that nobody uses, until `limit` are left or all were looked at (clock algorithm:
    /// what was used since the hand last came by gets a second chance).
    pub fn evict(&mut self, now: Stamp, limit: usize) {
        let mut looks = self.places.len() * 2;
        while self.len() > limit && looks > 0 {
            looks -= 1;
            self.hand = if self.hand + 1 < self.places.len() { self.hand + 1 } else { 0 };
            let Some(Place { turn, state: Some(State::Ready(mailbox)) }) = self.places.get_mut(self.hand)
            else {
                continue;
            };
            let idle = !mailbox.pinned
                && mailbox.known_until <= now
                && mailbox.sessions.is_empty()
                && !mailbox.is_dirty()
                && mailbox.committed == mailbox.last;
            if !idle || std::mem::take(&mut mailbox.used) {
                continue;
            }
            let slot = Slot { at: self.hand as u32, turn: *turn };
            let user = mailbox.user.clone();
            self.vacate(&user, slot);
        }
    }
}
