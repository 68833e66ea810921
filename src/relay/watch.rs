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

    /// The session watches these no more; `each` is given those whom nobody watches now.
    fn forget(&mut self, session: SessionId, watched: &[UserKey], mut each: impl FnMut(&UserKey)) {
        for user in watched {
            if let Some(sessions) = self.0.get_mut(user) {
                sessions.retain(|id| *id != session);
                if sessions.is_empty() {
                    self.0.remove(user);
                    each(user);
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

    /// The session watches these no more.
    pub(super) fn unwatch(&mut self, session: SessionId, users: &[UserKey]) {
        let Self { watchers, mesh, .. } = self;
        watchers.forget(session, users, |user| {
            if let Some(mesh) = mesh {
                mesh.watched.remove(&UserHash::of(user));
            }
        });
    }

    /// Makes `users` the watch list of the session.
    pub(super) fn watch(&mut self, session: SessionId, mut users: Vec<UserKey>) {
        users.sort_unstable();
        users.dedup();
        let Some(state) = self.sessions.get_mut(session) else {
            return;
        };
        let before = std::mem::replace(&mut state.watching, users.clone());
        self.unwatch(session, &before);
        users.iter().for_each(|user| self.watchers.add(session, user));
        if let Some(mesh) = &mut self.mesh {
            mesh.watched.extend(users.into_iter().map(|user| (UserHash::of(&user), user)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{NodeId, Stamp},
        relay::Limits,
    };

    #[test]
    fn whom_nobody_watches_any_more_is_forgotten() {
        let mut relay = Relay::new(NodeId(1), Limits::default(), Stamp::ZERO);
        let users = ["bo", "cy"].map(|id| UserKey::new("app", id).unwrap());
        let [one, two] = [SessionId(1), SessionId(2)];
        for (session, watched) in [(one, &users[..]), (two, &users[..1])] {
            for user in watched {
                relay.watchers.add(session, user);
                relay.mesh.as_mut().unwrap().watched.insert(UserHash::of(user), user.clone());
            }
        }
        relay.unwatch(one, &users);
        let watched = &relay.mesh.as_ref().unwrap().watched;
        assert_eq!(watched.values().collect::<Vec<_>>(), [&users[0]]);
        relay.unwatch(two, &users);
        assert!(relay.mesh.unwrap().watched.is_empty() && relay.watchers.0.is_empty());
    }
}
