//! A model client: what the SDK's session does, and what it must never see.

use super::rng::Rng;
use crate::{
    model::{
        Change, Content, Conversation, Entry, EntryRow, Flags, Kind, MessageId, Reign, Stamp, UserKey, What,
    },
    relay::{Open, Outgoing, SessionId},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

pub const USERS: [&str; 4] = ["ann", "bo", "cy", "di"];

/// The user of that name.
pub fn user(name: &str) -> UserKey {
    UserKey::new("app", name).expect("id")
}

/// Everybody with one device or two, of which one in `thin` is thin.
pub fn people(rng: &mut Rng, thin: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for name in USERS {
        clients.push(Client::new(user(name), "phone", rng.one_in(thin)));
        if rng.one_in(2) {
            clients.push(Client::new(user(name), "web", rng.one_in(thin)));
        }
    }
    clients
}

/// A message for somebody, under the client's id `c{number}`.
pub fn outgoing(rng: &mut Rng, number: u64, to: &str) -> Outgoing {
    Outgoing {
        cid: format!("c{number}").into(),
        kind: Kind::Private,
        to: to.into(),
        class: "RC:TxtMsg".into(),
        content: Content::empty(),
        flags: Flags::default().with(Flags::COUNTED, !rng.one_in(4)).with(Flags::STORED, !rng.one_in(8)),
        push: None,
        check_blacklist: true,
        again: false,
    }
}

/// The messages of a conversation that count as unread, counted one by one in the rows of a mailbox.
pub fn unread_by_hand(rows: &[(Stamp, EntryRow)], of: &Conversation) -> u32 {
    let read = |row: &EntryRow| match row {
        EntryRow::Change(Change::Read { conversation, upto, .. }) if conversation == of => Some(*upto),
        _ => None,
    };
    let watermark = rows.iter().filter_map(|(_, row)| read(row)).max().unwrap_or_default();
    let counts = |row: &EntryRow| {
        matches!(row, EntryRow::Message { conversation, mine: false, flags, .. }
            if conversation == of && flags.has(Flags::COUNTED))
    };
    rows.iter().filter(|(pos, row)| *pos > watermark && counts(row)).count() as u32
}

/// What a client says; in order, until the line is cut.
pub enum Up {
    Send(Outgoing),
    Ack(Stamp),
    Read(Conversation),
    Recall(MessageId),
}

/// What the node tells a client; in order, until the line is cut.
#[derive(Clone, Debug)]
pub enum Down {
    Welcome {
        start: Stamp,
        reign: Option<Reign>,
        forked: bool,
    },
    Entry {
        prev: Stamp,
        entry: Entry,
    },
    Live,
    Sent {
        cid: Arc<str>,
        id: MessageId,
        place: Option<(Stamp, Option<Stamp>)>,
    },
    /// The answer to a read or recall: its place takes part in the chain.
    Placed {
        pos: Stamp,
        prev: Option<Stamp>,
    },
    Refused,
}

pub struct Client {
    pub user: UserKey,
    pub device: Arc<str>,
    /// Keeps its own cursor over reconnects; a thin client leaves that to the node.
    pub thin: bool,
    /// Last position handled.
    pub last: Stamp,
    /// Sends without an answer, oldest first.
    pub unsent: VecDeque<Outgoing>,
    /// Every send that was answered.
    pub acked: BTreeMap<MessageId, Arc<str>>,
    /// Messages handed to the app, in order.
    pub seen: Vec<MessageId>,
    pub known: BTreeSet<MessageId>,
    /// Where the very first stream began: what lies before it is not owed.
    pub began: Option<Stamp>,
    pub live: bool,
    /// Under which reign `last` was given.
    pub reign: Option<Reign>,
    /// Messages may have come twice: its mailbox had two owners for a while.
    pub doubles: bool,
    /// A send was refused, so its order is the client's own doing.
    pub refused: bool,
}

/// What the client does about a frame.
pub enum Next {
    Nothing,
    /// A gap: it has to connect again.
    Reconnect,
}

impl Client {
    pub fn new(user: UserKey, device: &str, thin: bool) -> Self {
        Self {
            user,
            device: device.into(),
            thin,
            last: Stamp::ZERO,
            unsent: VecDeque::new(),
            acked: BTreeMap::new(),
            seen: Vec::new(),
            known: BTreeSet::new(),
            began: None,
            live: false,
            reign: None,
            doubles: false,
            refused: false,
        }
    }

    /// The cursor for a hello.
    pub fn cursor(&self) -> Option<Stamp> {
        (!self.thin && self.began.is_some()).then_some(self.last)
    }

    /// Its hello.
    pub fn open(&self, rng: &mut Rng, session: SessionId) -> Open {
        Open {
            session,
            user: self.user.clone(),
            device: self.device.clone(),
            token_issued: Stamp(1),
            cursor: self.cursor(),
            reign: self.reign,
            window: 1 + rng.below(6) as u16,
            delivered: rng.one_in(2),
            carried: false,
        }
    }

    /// It reads a conversation, or takes one of its messages back.
    pub fn reads_or_recalls(&self, rng: &mut Rng) -> Up {
        let recall = rng.one_in(3);
        let mine: Vec<_> = self.acked.keys().copied().collect();
        if recall && !mine.is_empty() {
            Up::Recall(mine[rng.below(mine.len())])
        } else {
            Up::Read(Conversation { kind: Kind::Private, target: USERS[rng.below(USERS.len())].into() })
        }
    }

    pub fn take(&mut self, down: Down) -> Next {
        match down {
            Down::Welcome { start, reign, forked } => {
                self.doubles |= forked;
                self.reign = reign;
                if self.cursor().is_some() && forked {
                    assert!(start <= self.last, "{:?}: sent on from {start}, past {}", self.user, self.last);
                } else if self.cursor().is_some() {
                    assert_eq!(start, self.last, "{:?}: the stream must go on from the cursor", self.user);
                }
                self.began.get_or_insert(start);
                self.last = start;
                self.live = false;
            }
            Down::Live => self.live = true,
            Down::Entry { prev, entry } => {
                assert!(entry.pos > prev, "positions must grow: {} after {prev}", entry.pos);
                if prev != self.last {
                    return Next::Reconnect;
                }
                self.last = entry.pos;
                if let What::Message { message, .. } = &entry.what {
                    if message.from == self.user {
                        self.settle(message.cid.clone(), message.id);
                    }
                    self.show(message.id);
                }
            }
            Down::Sent { cid, id, place } => {
                self.settle(cid, id);
                if let Some((pos, Some(prev))) = place
                    && prev == self.last
                {
                    self.last = pos;
                    self.show(id);
                }
            }
            Down::Placed { pos, prev } => {
                if prev == Some(self.last) {
                    self.last = pos;
                }
            }
            Down::Refused => self.refused = true,
        }
        Next::Nothing
    }

    fn settle(&mut self, cid: Arc<str>, id: MessageId) {
        self.unsent.retain(|out| out.cid != cid);
        self.acked.insert(id, cid);
    }

    fn show(&mut self, id: MessageId) {
        if self.known.insert(id) {
            self.seen.push(id);
        } else {
            let double = self.thin || self.doubles;
            assert!(double, "{:?}/{}: {id} came twice", self.user, self.device);
        }
    }
}
