//! Who watches whom come and go.

use super::{
    Effect, Relay, SessionId,
    hash::{Map, map},
};
use crate::model::{UserHash, UserKey};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Watchers(Map<UserKey, Vec<SessionId>>);

impl Watchers {
    pub fn new() -> Self {
        Self(map())
    }

    pub fn tell(&self, user: &UserKey, online: bool, effects: &mut Vec<Effect>) {
        for &session in self.0.get(user).into_iter().flatten() {
            effects.push(Effect::Presence { session, user: user.clone(), online });
        }
    }

    pub fn forget(&mut self, session: SessionId, watched: &[UserKey]) {
        for user in watched {
            if let Some(sessions) = self.0.get_mut(user) {
                sessions.retain(|id| *id != session);
                if sessions.is_empty() {
                    self.0.remove(user);
                }
            }
        }
    }

    fn add(&mut self, session: SessionId, user: &UserKey) {
        self.0.entry(user.clone()).or_default().push(session);
    }
}

impl Relay {
    /// Whether `user` has a session, here or elsewhere.
    pub(super) fn is_online(&self, user: &UserKey) -> bool {
        if let Some(mailbox) = self.slots.find(user).and_then(|slot| self.slots.get(slot)) {
            return !mailbox.sessions.is_empty();
        }
        let Some(mesh) = &self.mesh else { return false };
        self.claim_of(user)
            .is_some_and(|claim| claim.online && (claim.owner == self.node || mesh.is_alive(claim.owner)))
    }

    pub(super) fn online(&self, users: &[UserKey]) -> Vec<Arc<str>> {
        users.iter().filter(|user| self.is_online(user)).map(|user| user.id().into()).collect()
    }

    /// Makes `users` the watch list of the session.
    pub(super) fn watch(&mut self, session: SessionId, mut users: Vec<UserKey>) {
        users.sort_unstable();
        users.dedup();
        let Some(state) = self.sessions.get_mut(session) else {
            return;
        };
        let before = std::mem::replace(&mut state.watching, users.clone());
        self.watchers.forget(session, &before);
        users.iter().for_each(|user| self.watchers.add(session, user));
        if let Some(mesh) = &mut self.mesh {
            mesh.watched.extend(users.into_iter().map(|user| (UserHash::of(&user), user)));
        }
    }
}
