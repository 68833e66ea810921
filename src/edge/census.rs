//! Who is here: all sessions, counted by user and by address.

use super::session::Session;
use crate::{config::Limits, model::UserKey, relay::SessionId};
use parking_lot::Mutex;
use std::{collections::HashMap, net::IpAddr, sync::Arc};

/// Why one more session is too many.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// Of one user.
    #[error("this user has as many sessions as are allowed")]
    OfUser,
    /// From one address.
    #[error("as many sessions as are allowed come from this address")]
    FromAddress,
}

#[derive(Default)]
struct Counts {
    sessions: HashMap<SessionId, Arc<Session>>,
    users: HashMap<UserKey, usize>,
    addresses: HashMap<IpAddr, usize>,
}

/// The sessions.
pub struct Census {
    counts: Mutex<Counts>,
    per_user: usize,
    per_address: usize,
}

impl Census {
    pub fn new(limits: &Limits) -> Self {
        Self {
            counts: Mutex::default(),
            per_user: limits.sessions_per_user,
            per_address: limits.sessions_per_address,
        }
    }

    /// Counts a session in.
    pub fn enter(&self, session: &Arc<Session>) -> Result<(), TooMany> {
        let mut counts = self.counts.lock();
        if counts.users.get(&session.user).copied().unwrap_or_default() >= self.per_user {
            // A device that comes again while its old session lingers is let in: the old one is about to go.
            let again =
                counts.sessions.values().any(|of| of.user == session.user && of.device == session.device);
            if !again {
                return Err(TooMany::OfUser);
            }
        }
        if self.per_address > 0
            && counts.addresses.get(&session.address).copied().unwrap_or_default() >= self.per_address
        {
            return Err(TooMany::FromAddress);
        }
        *counts.users.entry(session.user.clone()).or_default() += 1;
        *counts.addresses.entry(session.address).or_default() += 1;
        counts.sessions.insert(session.id, session.clone());
        Ok(())
    }

    /// Counts a session out; `false` when it was out already.
    pub fn leave(&self, session: &Session) -> bool {
        let mut counts = self.counts.lock();
        if counts.sessions.remove(&session.id).is_none() {
            return false;
        }
        subtract(&mut counts.users, &session.user);
        subtract(&mut counts.addresses, &session.address);
        true
    }

    pub fn len(&self) -> usize {
        self.counts.lock().sessions.len()
    }

    /// All sessions, as they are now.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.counts.lock().sessions.values().cloned().collect()
    }
}

fn subtract<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
