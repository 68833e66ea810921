//! What must hold when everything has settled.

use super::{
    super::client::{USERS, unread_by_hand, user},
    world::World,
};
use crate::{
    model::{Conversation, EntryRow, Kind, MessageId, Stamp, UserHash, UserKey},
    relay::mailbox::Mailbox,
    store::{Page, Store, doubles},
};
use std::collections::{BTreeMap, BTreeSet};

impl World {
    pub fn verify(&self) {
        for node in &self.nodes {
            let here = self.lines.values().filter(|line| self.nodes[line.place.home].id == node.id).count();
            assert_eq!(node.relay.sessions(), here, "sessions that nobody holds on {}", node.id);
        }
        let owners = self.owners();
        let mut logs: BTreeMap<UserKey, Vec<(Stamp, EntryRow)>> = BTreeMap::new();
        for name in USERS {
            let user = user(name);
            for (at, node) in self.nodes.iter().enumerate() {
                let rows = node.disk.store.rows(&user);
                if owners.get(&user) == Some(&at) {
                    logs.insert(user.clone(), rows);
                } else {
                    assert!(rows.is_empty(), "{user:?} is left over on node {at}");
                }
            }
            logs.entry(user).or_default();
        }
        self.verify_messages(&logs);
        self.verify_clients(&logs);
        if !self.trouble {
            self.verify_order(&logs);
        }
        self.verify_unread(&owners, &logs);
        self.verify_history(&owners, &logs);
    }

    /// P4: all nodes agree who owns whom.
    fn owners(&self) -> BTreeMap<UserKey, usize> {
        let mut owners = BTreeMap::new();
        for name in USERS {
            let user = user(name);
            let claims: Vec<_> =
                self.nodes.iter().map(|node| node.relay.known_claim(UserHash::of(&user))).collect();
            assert!(claims.windows(2).all(|pair| pair[0] == pair[1]), "{user:?}: {claims:?}");
            if let Some(Some(claim)) = claims.first() {
                let at = self.nodes.iter().position(|node| node.id == claim.owner).expect("a node");
                owners.insert(user.clone(), at);
                let online = self.clients.iter().any(|client| client.user == user && client.live);
                assert_eq!(claim.online, online, "{user:?} online");
            }
        }
        owners
    }

    /// P1, P2, P3: what was sent stands in both mailboxes, once.
    fn verify_messages(&self, logs: &BTreeMap<UserKey, Vec<(Stamp, EntryRow)>>) {
        let mut counts: BTreeMap<(&UserKey, MessageId), usize> = BTreeMap::new();
        for (user, log) in logs {
            for (_, row) in log {
                if let EntryRow::Message { id, .. } = row {
                    *counts.entry((user, *id)).or_default() += 1;
                }
            }
        }
        for (id, meant) in &self.sent {
            for user in BTreeSet::from([&meant.from, &meant.to]) {
                let count = counts.get(&(user, *id)).copied().unwrap_or_default();
                if meant.maybe && count == 0 {
                    continue;
                }
                assert_eq!(
                    count, 1,
                    "{id} (send {} by {:?}) from {:?} to {:?} stands {count} times with {user:?}",
                    meant.number, meant.by, meant.from, meant.to
                );
            }
        }
        for client in &self.clients {
            for id in client.acked.keys() {
                assert!(self.sent.contains_key(id), "acked {id} was never sent");
            }
        }
    }

    /// P6: every device that was known when a message was made has seen it.
    fn verify_clients(&self, logs: &BTreeMap<UserKey, Vec<(Stamp, EntryRow)>>) {
        for (at, client) in self.clients.iter().enumerate() {
            for (id, meant) in self.sent.iter().filter(|(_, meant)| meant.owed.contains(&at)) {
                assert!(
                    client.known.contains(id),
                    "{:?}/{} never saw {id} (send {}, from {:?} to {:?})",
                    client.user,
                    client.device,
                    meant.number,
                    meant.from,
                    meant.to
                );
            }
            if !self.trouble && !client.thin {
                let order: BTreeMap<MessageId, usize> = logs[&client.user]
                    .iter()
                    .filter_map(|(_, row)| match row {
                        EntryRow::Message { id, .. } => Some(*id),
                        EntryRow::Change(_) => None,
                    })
                    .enumerate()
                    .map(|(i, id)| (id, i))
                    .collect();
                let seen: Vec<_> = client.seen.iter().map(|id| order[id]).collect();
                assert!(
                    seen.windows(2).all(|pair| pair[0] < pair[1]),
                    "{:?}/{} saw {seen:?}",
                    client.user,
                    client.device
                );
            }
        }
    }

    /// What one device sends another user keeps its order.
    fn verify_order(&self, logs: &BTreeMap<UserKey, Vec<(Stamp, EntryRow)>>) {
        for (user, log) in logs {
            let mut last: BTreeMap<(usize, &UserKey), u64> = BTreeMap::new();
            for (_, row) in log {
                let EntryRow::Message { id, .. } = row else { continue };
                let Some(meant) = self.sent.get(id) else { continue };
                let Some(by) = meant.by.filter(|by| !self.clients[*by].refused) else { continue };
                let before = last.insert((by, &meant.to), meant.number).unwrap_or_default();
                assert!(
                    before < meant.number,
                    "{:?} sent {:?} {} before {before}, {user:?} has them the other way round",
                    meant.from,
                    meant.to,
                    meant.number
                );
            }
        }
    }

    /// P3: what stands in a mailbox stands in the history of its conversation, and once.
    fn verify_history(
        &self,
        owners: &BTreeMap<UserKey, usize>,
        logs: &BTreeMap<UserKey, Vec<(Stamp, EntryRow)>>,
    ) {
        for (user, log) in logs {
            let Some(&owner) = owners.get(user) else { continue };
            for peer in USERS {
                let of = Conversation { kind: Kind::Private, target: peer.into() };
                let store = &self.nodes[owner].disk.store;
                let page = Page::After(Stamp::ZERO);
                let (shown, _) =
                    doubles::history(store, &of.log(user), page, usize::MAX / 2, &|_| true).expect("memory");
                let mut times: BTreeMap<MessageId, Vec<_>> = BTreeMap::new();
                shown.iter().for_each(|message| {
                    times.entry(message.id).or_default().push((message.at, message.flags));
                });
                let twice: Vec<_> = times.iter().filter(|(_, times)| times.len() > 1).collect();
                assert!(twice.is_empty(), "the history of {user:?} and {peer} shows twice: {twice:?}");
                for (_, row) in log {
                    if let EntryRow::Message { id, conversation, .. } = row
                        && *conversation == of
                    {
                        assert!(times.contains_key(id), "{id} is not in the history of {user:?} and {peer}");
                    }
                }
            }
        }
    }

    /// Unread counts are what a count by hand gives.
    fn verify_unread(
        &self,
        owners: &BTreeMap<UserKey, usize>,
        logs: &BTreeMap<UserKey, Vec<(Stamp, EntryRow)>>,
    ) {
        for (user, log) in logs {
            let Some(&owner) = owners.get(user) else { continue };
            let snapshot = self.nodes[owner].disk.store.load(user).expect("memory");
            let mailbox = Mailbox::restore(user.clone(), snapshot);
            for peer in USERS {
                let of = Conversation { kind: Kind::Private, target: peer.into() };
                let by_hand = unread_by_hand(log, &of);
                let unread = mailbox.state(&of).map_or(0, |state| state.unread);
                assert_eq!(unread, by_hand, "unread of {user:?} with {peer}");
            }
        }
    }
}
