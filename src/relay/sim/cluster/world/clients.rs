//! What clients and back ends of the simulated cluster do, and what reaches them.

use super::{
    super::super::client::{Down, Next},
    Call, Line, Meant, USERS, Up, World,
};
use crate::{
    model::{Content, Conversation, EntryRow, Flags, Kind, MessageId, Stamp, UserKey},
    relay::{Answer, Command, Directive, Input, Open, Outgoing, ReplyTo, SessionId, Ticket},
    store::Store,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

impl World {
    pub(super) fn open_nodes(&self) -> Vec<usize> {
        let open = |at: &usize| self.nodes[*at].up && self.nodes[*at].doors && !self.nodes[*at].draining;
        (0..self.nodes.len()).filter(open).collect()
    }

    pub(super) fn line_of(&self, client: usize) -> Option<SessionId> {
        self.lines.iter().find(|(_, line)| line.client == client).map(|(id, _)| *id)
    }

    pub(super) fn meant(&mut self, from: &UserKey, to: &str) -> Outgoing {
        let number = self.next;
        self.next += 1;
        let cid: Arc<str> = format!("c{number}").into();
        let out = Outgoing {
            cid: cid.clone(),
            kind: Kind::Private,
            to: to.into(),
            class: "RC:TxtMsg".into(),
            content: Content::empty(),
            flags: Flags::default()
                .with(Flags::COUNTED, !self.rng.one_in(4))
                .with(Flags::STORED, !self.rng.one_in(8)),
            push: None,
            check_blacklist: true,
            again: false,
        };
        let to = from.sibling(to).expect("id");
        let owed = (0..self.clients.len())
            .filter(|&at| {
                let client = &self.clients[at];
                client.began.is_some() && (client.user == *from || client.user == to)
            })
            .collect();
        let meant = Meant { from: from.clone(), to, number, owed, by: None, maybe: false };
        self.sent.insert(MessageId::of(from, &cid), meant);
        out
    }

    pub(super) fn client_sends(&mut self) {
        let at = self.rng.below(self.clients.len());
        let to = USERS[self.rng.below(USERS.len())];
        let from = self.clients[at].user.clone();
        let out = self.meant(&from, to);
        self.sent.get_mut(&MessageId::of(&from, &out.cid)).expect("just meant").by = Some(at);
        self.clients[at].unsent.push_back(out.clone());
        if let Some(session) = self.line_of(at)
            && let Some(line) = self.lines.get_mut(&session)
            && line.welcomed
        {
            line.up.push_back(Up::Send(out));
        }
    }

    /// Many send at once: several users' parcels are on the way, and are held back, together.
    pub(super) fn burst(&mut self) {
        for _ in 0..=self.rng.below(12) {
            if self.rng.one_in(3) { self.call() } else { self.client_sends() }
        }
    }

    /// A back end calls some node's server API.
    pub(super) fn call(&mut self) {
        let from = UserKey::new("app", USERS[self.rng.below(USERS.len())]).expect("id");
        let to = USERS[self.rng.below(USERS.len())];
        let number = self.next;
        self.next += 1;
        let (command, id) = if self.rng.one_in(5) {
            let other: Arc<str> = "zed".into();
            let on = self.rng.one_in(2);
            (if on { Command::Block(other) } else { Command::Unblock(other) }, None)
        } else if self.rng.one_in(8) {
            (Command::Direct(Directive::ExpireTokens { before: Stamp(1) }), None)
        } else {
            let out = self.meant(&from, to);
            let id = MessageId::of(&from, &out.cid);
            (Command::Send(out), Some(id))
        };
        self.calls.insert(number, Call { user: from, command, at: None, id });
        self.place_calls();
    }

    /// A call failed: what it asked for was done, or not. A back end that calls again sends another message.
    pub(super) fn give_up(&mut self, call: &Call) {
        if let Some(id) = call.id
            && let Some(meant) = self.sent.get_mut(&id)
        {
            meant.owed.clear();
            meant.maybe = true;
        }
    }

    /// Calls without an answer are put to some node that is there.
    pub(super) fn place_calls(&mut self) {
        self.open_doors();
        let up: Vec<_> = self.open_nodes();
        if up.is_empty() {
            return;
        }
        for (&number, call) in self.calls.iter_mut().filter(|(_, call)| call.at.is_none()) {
            let at = up[self.rng.below(up.len())];
            call.at = Some(at);
            let to = ReplyTo::Ticket(Ticket(number));
            let (user, command) = (call.user.clone(), call.command.clone());
            self.nodes[at].inputs.push_back(Input::Command { to, user, command });
        }
    }

    pub(super) fn client_reads_or_recalls(&mut self) {
        let at = self.rng.below(self.clients.len());
        let Some(session) = self.line_of(at) else { return };
        let recall = self.rng.one_in(3);
        let mine: Vec<_> = self.clients[at].acked.keys().copied().collect();
        let up = if recall && !mine.is_empty() {
            Up::Recall(mine[self.rng.below(mine.len())])
        } else {
            Up::Read(Conversation { kind: Kind::Private, target: USERS[self.rng.below(USERS.len())].into() })
        };
        if let Some(line) = self.lines.get_mut(&session)
            && line.welcomed
        {
            line.up.push_back(up);
        }
    }

    pub(super) fn connect_someone(&mut self) {
        let at = self.rng.below(self.clients.len());
        if self.line_of(at).is_none() {
            self.open_doors();
            let up: Vec<_> = self.open_nodes();
            if !up.is_empty() {
                let entry = up[self.rng.below(up.len())];
                self.connect(at, entry);
            }
        }
    }

    pub(super) fn connect(&mut self, at: usize, entry: usize) {
        let session = SessionId(self.next);
        self.next += 1;
        let client = &mut self.clients[at];
        client.live = false;
        let open = Open {
            session,
            user: client.user.clone(),
            device: client.device.clone(),
            token_issued: Stamp(1),
            cursor: client.cursor(),
            reign: client.reign,
            window: 1 + self.rng.below(6) as u16,
            delivered: self.rng.one_in(2),
            carried: false,
        };
        let line = Line {
            client: at,
            entry,
            home: entry,
            down: VecDeque::new(),
            up: VecDeque::new(),
            sent: Stamp::ZERO,
            reading: None,
            attach: false,
            acked: Stamp::ZERO,
            requests: BTreeMap::new(),
            welcomed: false,
            open: open.clone(),
        };
        self.lines.insert(session, line);
        self.sessions.insert(session, at);
        self.nodes[entry].inputs.push_back(Input::Open(open));
    }

    pub(super) fn cut_someone(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let at = self.rng.below(self.lines.len());
        let session = *self.lines.keys().nth(at).expect("bounded");
        self.cut(session);
    }

    pub(super) fn cut(&mut self, session: SessionId) {
        if let Some(line) = self.lines.remove(&session) {
            self.clients[line.client].live = false;
            for at in [line.entry, line.home] {
                if self.nodes[at].up {
                    self.nodes[at].inputs.push_back(Input::Close { session });
                }
            }
        }
    }

    pub(super) fn read_on(&mut self) {
        let limit = 1 + self.rng.below(4);
        let waiting: Vec<_> = self
            .lines
            .iter()
            .filter(|(_, line)| line.reading.is_some_and(|from| line.acked >= from))
            .map(|(id, _)| *id)
            .collect();
        if waiting.is_empty() {
            return;
        }
        let session = waiting[self.rng.below(waiting.len())];
        let Some(line) = self.lines.get_mut(&session) else { return };
        let user = self.clients[line.client].user.clone();
        let page =
            self.nodes[line.home].disk.store.entries(&user, line.sent, limit, 1 << 20).expect("memory");
        for entry in page.entries {
            let prev = std::mem::replace(&mut line.sent, entry.pos);
            line.down.push_back(Down::Entry { prev, entry });
        }
        if page.more {
            line.reading = Some(line.sent);
        } else {
            line.reading = None;
            line.attach = true;
        }
    }

    pub(super) fn ask_to_go_live(&mut self) {
        for (&session, line) in self.lines.iter_mut().filter(|(_, line)| line.attach) {
            line.attach = false;
            self.nodes[line.home].inputs.push_back(Input::Attach { session, at: line.sent });
        }
    }

    pub(super) fn deliver_down(&mut self) {
        let ids: Vec<_> =
            self.lines.iter().filter(|(_, line)| !line.down.is_empty()).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return;
        }
        let session = ids[self.rng.below(ids.len())];
        for _ in 0..=self.rng.below(4) {
            let Some(line) = self.lines.get_mut(&session) else { return };
            let Some(down) = line.down.pop_front() else { return };
            let welcome = matches!(down, Down::Welcome { .. });
            let refused = matches!(down, Down::Refused);
            let client = &mut self.clients[line.client];
            client.doubles |= self.trouble;
            if matches!(client.take(down), Next::Reconnect) || refused {
                self.cut(session);
                return;
            }
            if welcome {
                line.welcomed = true;
                line.up.extend(client.unsent.iter().cloned().map(Up::Send));
            }
            if self.rng.one_in(2) {
                line.up.push_back(Up::Ack(client.last));
            }
        }
    }

    pub(super) fn deliver_up(&mut self) {
        let ids: Vec<_> =
            self.lines.iter().filter(|(_, line)| !line.up.is_empty()).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return;
        }
        let session = ids[self.rng.below(ids.len())];
        for _ in 0..=self.rng.below(4) {
            let Some(line) = self.lines.get_mut(&session) else { return };
            let Some(up) = line.up.pop_front() else { return };
            let user = self.clients[line.client].user.clone();
            let home = line.home;
            let r = self.next;
            self.next += 1;
            let to = ReplyTo::Session(session, r);
            let command = match up {
                Up::Ack(pos) => {
                    line.acked = line.acked.max(pos);
                    self.nodes[home].inputs.push_back(Input::Ack { session, pos });
                    continue;
                }
                Up::Send(out) => {
                    line.requests.insert(r, Some(out.cid.clone()));
                    Command::Send(out)
                }
                Up::Read(conversation) => {
                    line.requests.insert(r, None);
                    Command::Read { conversation, upto: None, remove: false }
                }
                Up::Recall(id) => {
                    let store = &self.nodes[home].disk.store;
                    let found = store.rows(&user).into_iter().find_map(|(_, row)| match row {
                        EntryRow::Message { id: of, at, conversation, .. } if of == id => {
                            Some((at, conversation))
                        }
                        _ => None,
                    });
                    let Some((at, conversation)) = found else { continue };
                    let Some(original) = store.message(&conversation.log(&user), at, id).expect("memory")
                    else {
                        continue;
                    };
                    line.requests.insert(r, None);
                    Command::Recall { original, extra: "".into() }
                }
            };
            self.nodes[home].inputs.push_back(Input::Command { to, user, command });
        }
    }

    pub(super) fn end(&mut self, session: SessionId) {
        if let Some(line) = self.lines.remove(&session) {
            self.clients[line.client].live = false;
        }
    }

    pub(super) fn answered(&mut self, number: u64, ok: bool) {
        if let Some(call) = self.calls.remove(&number) {
            if ok {
                self.answered.extend(call.id);
            } else {
                self.give_up(&call);
            }
        }
    }

    pub(super) fn reply(&mut self, session: SessionId, r: u64, answer: Option<Answer>) {
        // What comes after something that was refused overtakes it, also when nobody is there any more to hear of that.
        if answer.is_none()
            && let Some(client) = self.sessions.get(&session)
        {
            self.clients[*client].refused = true;
        }
        let Some(line) = self.lines.get_mut(&session) else { return };
        let Some(cid) = line.requests.remove(&r) else { return };
        let place = answer.as_ref().and_then(Answer::place);
        if let Some(place) = place
            && place.prev.is_some()
        {
            line.sent = place.pos;
        }
        line.down.push_back(match (answer, cid) {
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
}
