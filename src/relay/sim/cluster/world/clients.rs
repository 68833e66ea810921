//! What clients and back ends of the simulated cluster do, and what reaches them.

use super::{
    super::super::{
        client::{Next, USERS, Up, outgoing, user},
        line::{Line, pick},
    },
    Call, Meant, Place, World,
};
use crate::{
    model::{MessageId, Stamp, UserKey},
    relay::{Answer, Command, Directive, Input, Outgoing, ReplyTo, SessionId, Ticket},
};
use std::sync::Arc;

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
        let out = outgoing(&mut self.rng, number, to);
        let to = from.sibling(to).expect("id");
        let owed = (0..self.clients.len())
            .filter(|&at| {
                let client = &self.clients[at];
                client.began.is_some() && (client.user == *from || client.user == to)
            })
            .collect();
        let meant = Meant { from: from.clone(), to, number, owed, by: None, maybe: false };
        self.sent.insert(MessageId::of(from, &out.cid), meant);
        out
    }

    pub(super) fn client_sends(&mut self) {
        let at = self.rng.below(self.clients.len());
        let to = USERS[self.rng.below(USERS.len())];
        let from = self.clients[at].user.clone();
        let out = self.meant(&from, to);
        self.sent.get_mut(&MessageId::of(&from, &out.cid)).expect("just meant").by = Some(at);
        self.clients[at].unsent.push_back(out.clone());
        self.say(at, Up::Send(out));
    }

    fn say(&mut self, client: usize, up: Up) {
        if let Some(line) = self.lines.values_mut().find(|line| line.client == client) {
            line.say(up);
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
        let from = user(USERS[self.rng.below(USERS.len())]);
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
        if self.line_of(at).is_some() {
            let up = self.clients[at].reads_or_recalls(&mut self.rng);
            self.say(at, up);
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
        self.clients[at].live = false;
        let open = self.clients[at].open(&mut self.rng, session);
        let place = Place { entry, home: entry, open: open.clone() };
        self.lines.insert(session, Line::new(at, place));
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
            for at in [line.place.entry, line.place.home] {
                if self.nodes[at].up {
                    self.nodes[at].inputs.push_back(Input::Close { session });
                }
            }
        }
    }

    pub(super) fn read_on(&mut self) {
        let limit = 1 + self.rng.below(4);
        let Some(session) = pick(&self.lines, &mut self.rng, Line::wants_page) else { return };
        let Some(line) = self.lines.get_mut(&session) else { return };
        line.read_on(&self.nodes[line.place.home].disk.store, &self.clients[line.client].user, limit);
    }

    pub(super) fn ask_to_go_live(&mut self) {
        for (&session, line) in &mut self.lines {
            let asked = line.attach().map(|at| Input::Attach { session, at });
            self.nodes[line.place.home].inputs.extend(asked);
        }
    }

    pub(super) fn deliver_down(&mut self) {
        let Some(session) = pick(&self.lines, &mut self.rng, |line| !line.down.is_empty()) else { return };
        for _ in 0..=self.rng.below(4) {
            let Some(line) = self.lines.get_mut(&session) else { return };
            let client = &mut self.clients[line.client];
            client.doubles |= self.trouble;
            match line.deliver(client) {
                None => return,
                Some(Next::Reconnect) => return self.cut(session),
                Some(Next::Nothing) if self.rng.one_in(2) => line.up.push_back(Up::Ack(client.last)),
                Some(Next::Nothing) => {}
            }
        }
    }

    pub(super) fn deliver_up(&mut self) {
        let Some(session) = pick(&self.lines, &mut self.rng, |line| !line.up.is_empty()) else { return };
        for _ in 0..=self.rng.below(4) {
            let Some(line) = self.lines.get_mut(&session) else { return };
            let (user, node) = (&self.clients[line.client].user, &mut self.nodes[line.place.home]);
            let Some(input) = line.take_up((session, self.next), user, &node.disk.store) else { return };
            self.next += 1;
            node.inputs.extend(input);
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
        if let Some(line) = self.lines.get_mut(&session) {
            line.answer(r, answer);
        }
    }
}
