//! The mailboxes that are in memory, and those on their way there.

use super::{
    Input,
    hash::{Map, map},
    mailbox::Mailbox,
};
use crate::{model::UserKey, store::Snapshot};

/// Index of a mailbox in memory; stays good while anything refers to the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(pub u32);

/// Inputs that may wait for one mailbox to be read. Past that, commands are refused as busy.
const MAX_PARKED: usize = 4_096;

#[derive(Debug)]
enum State {
    /// Being read; these inputs wait for it.
    Loading(Vec<Input>),
    Ready(Box<Mailbox>),
}

#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Option<State>>,
    free: Vec<u32>,
    by_user: Map<UserKey, Slot>,
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
    pub fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), by_user: map(), hand: 0 }
    }

    /// The slot of a mailbox that is in memory.
    pub fn find(&self, user: &UserKey) -> Option<Slot> {
        let slot = *self.by_user.get(user)?;
        matches!(self.slots.get(slot.0 as usize), Some(Some(State::Ready(_)))).then_some(slot)
    }

    pub fn get(&self, slot: Slot) -> Option<&Mailbox> {
        match self.slots.get(slot.0 as usize) {
            Some(Some(State::Ready(mailbox))) => Some(mailbox),
            _ => None,
        }
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Mailbox> {
        match self.slots.get_mut(slot.0 as usize) {
            Some(Some(State::Ready(mailbox))) => Some(mailbox),
            _ => None,
        }
    }

    /// Keeps `input` until the mailbox of `user`, which is not in memory, has been read.
    pub fn park(&mut self, user: &UserKey, input: Input) -> Parked {
        if let Some(slot) = self.by_user.get(user) {
            return match self.slots.get_mut(slot.0 as usize) {
                Some(Some(State::Loading(parked))) if parked.len() < MAX_PARKED => {
                    parked.push(input);
                    Parked::Waits(false)
                }
                _ => Parked::Full(Box::new(input)),
            };
        }
        let state = Some(State::Loading(vec![input]));
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = state;
                index
            }
            None => {
                self.slots.push(state);
                self.slots.len() as u32 - 1
            }
        };
        self.by_user.insert(user.clone(), Slot(index));
        Parked::Waits(true)
    }

    /// The mailbox of `user` has been read: gives the inputs that waited for it.
    pub fn loaded(&mut self, user: &UserKey, snapshot: Snapshot) -> Vec<Input> {
        let Some(slot) = self.by_user.get(user) else {
            return Vec::new();
        };
        match self.slots.get_mut(slot.0 as usize) {
            Some(Some(state @ State::Loading(..))) => {
                let ready = State::Ready(Box::new(Mailbox::restore(user.clone(), snapshot)));
                match std::mem::replace(state, ready) {
                    State::Loading(parked) => parked,
                    State::Ready(_) => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }

    /// The mailbox of `user` could not be read: gives the inputs that waited for it.
    pub fn failed(&mut self, user: &UserKey) -> Vec<Input> {
        let Some(&slot) = self.by_user.get(user) else {
            return Vec::new();
        };
        if !matches!(self.slots.get(slot.0 as usize), Some(Some(State::Loading(..)))) {
            return Vec::new();
        }
        self.by_user.remove(user);
        self.free.push(slot.0);
        match self.slots[slot.0 as usize].take() {
            Some(State::Loading(parked)) => parked,
            _ => Vec::new(),
        }
    }

    /// How many mailboxes are in memory or on their way.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Forgets some of the mailboxes that nobody uses, until `limit` are left or all were looked at (clock algorithm:
    /// what was used since the hand last came by gets a second chance).
    pub fn evict(&mut self, limit: usize) {
        let mut looks = self.slots.len() * 2;
        while self.len() > limit && looks > 0 {
            looks -= 1;
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            let Some(Some(State::Ready(mailbox))) = self.slots.get_mut(self.hand) else {
                continue;
            };
            let idle =
                mailbox.sessions.is_empty() && !mailbox.is_dirty() && mailbox.committed == mailbox.last;
            if !idle || std::mem::take(&mut mailbox.used) {
                continue;
            }
            self.by_user.remove(&mailbox.user);
            self.slots[self.hand] = None;
            self.free.push(self.hand as u32);
        }
    }
}
