//! A line between a model client and the node on which its session lives: both directions keep their order, and a cut loses
//! what is on the way.

use super::{
    client::{Client, Down, Next, Up},
    rng::Rng,
};
use crate::{
    model::{EntryRow, Stamp, UserKey},
    relay::{Answer, Command, Effect, Input, ReplyTo, SessionId},
    store::{Store, memory::MemoryStore},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// All lines of a world; `P`: what it has to know of each besides.
pub type Lines<P> = BTreeMap<SessionId, Line<P>>;

/// A line; see the module's text.
pub struct Line<P> {
    pub client: usize,
    pub place: P,
    pub down: VecDeque<Down>,
    pub up: VecDeque<Up>,
    /// Last position sent to the client by the node.
    sent: Stamp,
    /// The node has to read the store for this session; when it stands behind acks, from which position on.
    reading: Option<Stamp>,
    /// All that stood in the store was sent; the node has yet to ask whether it may go live.
    attach: bool,
    acked: Stamp,
    requests: BTreeMap<u64, Option<Arc<str>>>,
    pub welcomed: bool,
}

/// Some line of those that are meant.
pub fn pick<P>(lines: &Lines<P>, rng: &mut Rng, meant: impl Fn(&Line<P>) -> bool) -> Option<SessionId> {
    let all: Vec<_> = lines.iter().filter(|(_, line)| meant(line)).map(|(id, _)| *id).collect();
    (!all.is_empty()).then(|| all[rng.below(all.len())])
}

impl<P> Line<P> {
    pub fn new(client: usize, place: P) -> Self {
        Self {
            client,
            place,
            down: VecDeque::new(),
            up: VecDeque::new(),
            sent: Stamp::ZERO,
            reading: None,
            attach: false,
            acked: Stamp::ZERO,
            requests: BTreeMap::new(),
            welcomed: false,
        }
    }

    /// The client says something, if it is welcome.
    pub fn say(&mut self, up: Up) {
        if self.welcomed {
            self.up.push_back(up);
        }
    }

    /// The client says again what was not answered, and acks, unless it still has something to say.
    pub fn try_again(&mut self, client: &Client) {
        if self.welcomed && self.up.is_empty() {
            self.up.extend(client.unsent.iter().cloned().map(Up::Send));
            self.up.push_back(Up::Ack(client.last));
        }
    }

    /// Whether nothing is on the way and the node has nothing to do for it.
    pub fn is_quiet(&self) -> bool {
        self.down.is_empty() && self.up.is_empty() && self.reading.is_none() && !self.attach
    }

    /// What its node does about it: [`Effect::Live`], [`Effect::ReadOn`], [`Effect::Push`], [`Effect::Welcome`].
    pub fn hear(&mut self, effect: Effect) {
        match effect {
            Effect::Welcome { start, why, reign, .. } => {
                let forked = why == Some(crate::relay::NotResumed::Forked);
                (self.sent, self.acked, self.reading) = (start, start, Some(start));
                self.down.push_back(Down::Welcome { start, reign, forked });
            }
            Effect::Live { .. } => self.down.push_back(Down::Live),
            Effect::ReadOn { .. } => self.reading = Some(self.sent),
            Effect::Push { prev, entry, .. } => {
                assert!(self.reading.is_none(), "pushed to a session that is reading");
                self.sent = entry.pos;
                self.down.push_back(Down::Entry { prev, entry });
            }
            other => unreachable!("not for a session's line: {other:?}"),
        }
    }

    /// The node answers what was asked under that number.
    pub fn answer(&mut self, r: u64, answer: Option<Answer>) {
        let Some(cid) = self.requests.remove(&r) else { return };
        let place = answer.as_ref().and_then(Answer::place);
        if let Some(place) = place
            && place.prev.is_some()
        {
            self.sent = place.pos;
        }
        self.down.push_back(match (answer, cid) {
            (Some(Answer::Sent { id, .. }), Some(cid)) => {
                Down::Sent { cid, id, place: place.map(|place| (place.pos, place.prev)) }
            }
            (Some(_), _) => match place {
                Some(place) => Down::Placed { pos: place.pos, prev: place.prev },
                None => return,
            },
            (None, Some(_)) => Down::Refused,
            (None, None) => return,
        });
    }

    /// Whether the node may read on for it.
    pub fn wants_page(&self) -> bool {
        self.reading.is_some_and(|from| self.acked >= from)
    }

    /// The node reads a page for it.
    pub fn read_on(&mut self, store: &MemoryStore, user: &UserKey, limit: usize) {
        let page = store.entries(user, self.sent, limit, 1 << 20).expect("memory");
        for entry in page.entries {
            let prev = std::mem::replace(&mut self.sent, entry.pos);
            self.down.push_back(Down::Entry { prev, entry });
        }
        self.attach = !page.more;
        self.reading = page.more.then_some(self.sent);
    }

    /// Where the node has read to, when it is to ask whether the session may go live; meanwhile more may have come.
    pub fn attach(&mut self) -> Option<Stamp> {
        std::mem::take(&mut self.attach).then_some(self.sent)
    }

    /// The client takes the next thing; what it does about that. `None`: there is nothing.
    pub fn deliver(&mut self, client: &mut Client) -> Option<Next> {
        let down = self.down.pop_front()?;
        let (welcome, refused) = (matches!(down, Down::Welcome { .. }), matches!(down, Down::Refused));
        if matches!(client.take(down), Next::Reconnect) || refused {
            return Some(Next::Reconnect);
        }
        if welcome {
            self.welcomed = true;
            self.up.extend(client.unsent.iter().cloned().map(Up::Send));
        }
        Some(Next::Nothing)
    }

    /// The next thing that the client says, as its node takes it; `None` inside: it comes to nothing.
    pub fn take_up(
        &mut self,
        to: (SessionId, u64),
        user: &UserKey,
        store: &MemoryStore,
    ) -> Option<Option<Input>> {
        let (session, r) = to;
        let (asked, command) = match self.up.pop_front()? {
            Up::Ack(pos) => {
                self.acked = self.acked.max(pos);
                return Some(Some(Input::Ack { session, pos }));
            }
            Up::Send(out) => (Some(out.cid.clone()), Command::Send(out)),
            Up::Read(conversation) => (None, Command::Read { conversation, upto: None, remove: false }),
            Up::Recall(id) => {
                let found = store.rows(user).into_iter().find_map(|(_, row)| match row {
                    EntryRow::Message { id: of, at, conversation, .. } if of == id => {
                        store.message(&conversation.log(user), at, id).expect("memory")
                    }
                    _ => None,
                });
                let Some(original) = found else { return Some(None) };
                (None, Command::Recall { original, extra: "".into() })
            }
        };
        self.requests.insert(r, asked);
        Some(Some(Input::Command { to: ReplyTo::Session(session, r), user: user.clone(), command }))
    }
}
