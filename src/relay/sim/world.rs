//! The world of the simulation: one node, its disk, its sessions, the lines to its clients.

use super::{
    client::{Client, Down, Next},
    disk::Disk,
    rng::Rng,
};
use crate::{
    model::{Change, Content, Conversation, EntryRow, Flags, Kind, MessageId, NodeId, Stamp, UserKey},
    relay::{
        Answer, Command, Effect, Input, Limits, Open, Outgoing, Relay, ReplyTo, SessionId, sabotage::Sabotage,
    },
    store::Store,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// A line between a client and the node: both directions keep their order, and a cut loses what is on the way.
struct Line {
    client: usize,
    down: VecDeque<Down>,
    up: VecDeque<Up>,
    /// Last position sent to the client by the node.
    sent: Stamp,
    /// The node has to read the store for this session; when it stands behind acks, from which position on.
    reading: Option<Stamp>,
    /// All that stood in the store was sent; the node has yet to ask whether it may go live.
    attach: bool,
    acked: Stamp,
    requests: BTreeMap<u64, Option<Arc<str>>>,
    welcomed: bool,
}

enum Up {
    Send(Outgoing),
    Ack(Stamp),
    Read(Conversation),
    Recall(MessageId),
}

pub struct World {
    rng: Rng,
    now: u64,
    relay: Relay,
    disk: Disk,
    inputs: VecDeque<Input>,
    loads: Vec<UserKey>,
    lines: BTreeMap<SessionId, Line>,
    clients: Vec<Client>,
    sent: BTreeMap<MessageId, (UserKey, UserKey)>,
    next: u64,
    sabotage: Option<Sabotage>,
}

const USERS: [&str; 4] = ["ann", "bo", "cy", "di"];

fn limits() -> Limits {
    // Small, so that eviction and checkpoints happen all the time.
    Limits { pending: 64, mailboxes: 2, checkpoint_us: 50_000, outbox: 2, outbox_wait_us: 20_000 }
}

impl World {
    pub fn new(mut rng: Rng, sabotage: Option<Sabotage>) -> Self {
        let mut clients = Vec::new();
        for name in USERS {
            let user = UserKey::new("app", name).expect("id");
            clients.push(Client::new(user.clone(), "phone", rng.one_in(3)));
            if rng.one_in(2) {
                clients.push(Client::new(user, "web", rng.one_in(3)));
            }
        }
        let mut world = Self {
            rng,
            now: 1_000_000,
            relay: Relay::new(NodeId::LOCAL, limits(), Stamp::ZERO),
            disk: Disk::default(),
            inputs: VecDeque::new(),
            loads: Vec::new(),
            lines: BTreeMap::new(),
            clients,
            sent: BTreeMap::new(),
            next: 1,
            sabotage,
        };
        world.relay.sabotage = sabotage;
        world
    }

    pub fn length(&mut self) -> usize {
        200 + self.rng.below(400)
    }

    fn line_of(&self, client: usize) -> Option<SessionId> {
        self.lines.iter().find(|(_, line)| line.client == client).map(|(id, _)| *id)
    }

    pub fn step(&mut self) {
        self.now += self.rng.below(4_000) as u64;
        match self.rng.below(100) {
            0..=19 => self.client_sends(),
            20..=27 => self.connect_someone(),
            28..=30 => self.cut_someone(),
            31..=33 => self.client_reads_or_recalls(),
            34 if self.rng.one_in(3) => self.crash(),
            _ => self.work(),
        }
    }

    /// Something that was under way moves on by one step.
    fn work(&mut self) {
        match self.rng.below(7) {
            0 => self.sync(),
            6 => self.ask_to_go_live(),
            1 => self.feed(),
            2 => self.load(),
            3 => self.read_on(),
            4 => self.deliver_down(),
            _ => self.deliver_up(),
        }
    }

    fn client_sends(&mut self) {
        let at = self.rng.below(self.clients.len());
        let to = USERS[self.rng.below(USERS.len())];
        let cid: Arc<str> = format!("c{}", self.next).into();
        self.next += 1;
        let stored = !self.rng.one_in(8);
        let out = Outgoing {
            cid: cid.clone(),
            kind: Kind::Private,
            to: to.into(),
            class: "RC:TxtMsg".into(),
            content: Content::empty(),
            flags: Flags::default().with(Flags::COUNTED, !self.rng.one_in(4)).with(Flags::STORED, stored),
            push: None,
            check_blacklist: true,
            again: false,
        };
        let client = &mut self.clients[at];
        let id = MessageId::of(&client.user, &cid);
        self.sent.insert(id, (client.user.clone(), client.user.sibling(to).expect("id")));
        client.unsent.push_back(out.clone());
        if let Some(session) = self.line_of(at)
            && let Some(line) = self.lines.get_mut(&session)
            && line.welcomed
        {
            line.up.push_back(Up::Send(out));
        }
    }

    fn client_reads_or_recalls(&mut self) {
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

    fn connect_someone(&mut self) {
        let at = self.rng.below(self.clients.len());
        if self.line_of(at).is_none() {
            self.connect(at);
        }
    }

    fn connect(&mut self, at: usize) {
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
            reign: None,
            window: 1 + self.rng.below(6) as u16,
            delivered: self.rng.one_in(2),
            carried: false,
        };
        let line = Line {
            client: at,
            down: VecDeque::new(),
            up: VecDeque::new(),
            sent: Stamp::ZERO,
            reading: None,
            attach: false,
            acked: Stamp::ZERO,
            requests: BTreeMap::new(),
            welcomed: false,
        };
        self.lines.insert(session, line);
        self.inputs.push_back(Input::Open(open));
    }

    fn cut_someone(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let at = self.rng.below(self.lines.len());
        let session = *self.lines.keys().nth(at).expect("bounded");
        self.cut(session);
    }

    fn cut(&mut self, session: SessionId) {
        if let Some(line) = self.lines.remove(&session) {
            self.clients[line.client].live = false;
            self.inputs.push_back(Input::Close { session });
        }
    }

    fn crash(&mut self) {
        self.disk.crash(&mut self.rng);
        self.lines.clear();
        self.inputs.clear();
        self.loads.clear();
        self.clients.iter_mut().for_each(|client| client.live = false);
        // The machine's clock may come back wrong.
        self.now = self.now.saturating_sub(self.rng.below(200_000) as u64).max(1);
        let last = self.disk.store.last_stamp().expect("memory");
        self.relay = Relay::new(NodeId::LOCAL, limits(), last);
        self.relay.sabotage = self.sabotage;
        let mut facts = Vec::new();
        self.disk.store.facts(&mut |key, fact| facts.push((key, fact))).expect("memory");
        for (key, fact) in facts {
            self.handle(Input::Fact { key, fact });
        }
    }

    fn sync(&mut self) {
        if let Some(seq) = self.disk.sync(&mut self.rng) {
            self.inputs.push_back(Input::Committed { seq });
        }
    }

    /// The node takes a batch of inputs.
    fn feed(&mut self) {
        for _ in 0..=self.rng.below(8) {
            let Some(input) = self.inputs.pop_front() else {
                break;
            };
            self.handle(input);
        }
        self.handle(Input::Tick);
    }

    fn load(&mut self) {
        if self.loads.is_empty() {
            return;
        }
        let at = self.rng.below(self.loads.len());
        let user = self.loads.swap_remove(at);
        let snapshot = Box::new(self.disk.store.load(&user).expect("memory"));
        self.inputs.push_back(Input::Loaded { user, snapshot });
    }

    /// The node reads a page for a session that is not live.
    fn read_on(&mut self) {
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
        let Some(line) = self.lines.get_mut(&session) else {
            return;
        };
        let user = self.clients[line.client].user.clone();
        let page = self.disk.store.entries(&user, line.sent, limit, 1 << 20).expect("memory");
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

    /// The node asks whether a session that has read all may go live; meanwhile more may have come.
    fn ask_to_go_live(&mut self) {
        for (&session, line) in self.lines.iter_mut().filter(|(_, line)| line.attach) {
            line.attach = false;
            self.inputs.push_back(Input::Attach { session, at: line.sent });
        }
    }

    fn deliver_down(&mut self) {
        let ids: Vec<_> =
            self.lines.iter().filter(|(_, line)| !line.down.is_empty()).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return;
        }
        let session = ids[self.rng.below(ids.len())];
        for _ in 0..=self.rng.below(4) {
            let Some(line) = self.lines.get_mut(&session) else {
                return;
            };
            let Some(down) = line.down.pop_front() else { return };
            let welcome = matches!(down, Down::Welcome { .. });
            let client = &mut self.clients[line.client];
            if matches!(client.take(down), Next::Reconnect) {
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

    fn deliver_up(&mut self) {
        let ids: Vec<_> =
            self.lines.iter().filter(|(_, line)| !line.up.is_empty()).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return;
        }
        let session = ids[self.rng.below(ids.len())];
        for _ in 0..=self.rng.below(4) {
            let Some(line) = self.lines.get_mut(&session) else {
                return;
            };
            let Some(up) = line.up.pop_front() else { return };
            let user = self.clients[line.client].user.clone();
            let r = self.next;
            self.next += 1;
            let to = ReplyTo::Session(session, r);
            match up {
                Up::Ack(pos) => {
                    line.acked = line.acked.max(pos);
                    self.inputs.push_back(Input::Ack { session, pos });
                }
                Up::Send(out) => {
                    line.requests.insert(r, Some(out.cid.clone()));
                    self.inputs.push_back(Input::Command { to, user, command: Command::Send(out) });
                }
                Up::Read(conversation) => {
                    line.requests.insert(r, None);
                    let command = Command::Read { conversation, upto: None, remove: false };
                    self.inputs.push_back(Input::Command { to, user, command });
                }
                Up::Recall(id) => {
                    let found = self.disk.store.rows(&user).into_iter().find_map(|(_, row)| match row {
                        EntryRow::Message { id: of, at, conversation, .. } if of == id => {
                            Some((at, conversation))
                        }
                        _ => None,
                    });
                    let Some((at, conversation)) = found else { continue };
                    let log = conversation.log(&user);
                    let Some(original) = self.disk.store.message(&log, at, id).expect("memory") else {
                        continue;
                    };
                    line.requests.insert(r, None);
                    let command = Command::Recall { original, extra: "".into() };
                    self.inputs.push_back(Input::Command { to, user, command });
                }
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.relay.handle(Stamp(self.now), input, &mut effects);
        for effect in effects {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Commit { seq, writes } => self.disk.submit(seq, writes),
            Effect::Load(user) => self.loads.push(user),
            Effect::Welcome { session, start, .. } => {
                if let Some(line) = self.lines.get_mut(&session) {
                    line.sent = start;
                    line.acked = start;
                    line.reading = Some(start);
                    line.down.push_back(Down::Welcome { start, reign: None, forked: false });
                } else {
                    self.inputs.push_back(Input::Close { session });
                }
            }
            Effect::TurnAway { session, .. } | Effect::Kick { session, .. } => {
                if let Some(line) = self.lines.remove(&session) {
                    self.clients[line.client].live = false;
                }
            }
            Effect::Live { session, .. } => {
                if let Some(line) = self.lines.get_mut(&session) {
                    line.down.push_back(Down::Live);
                }
            }
            Effect::ReadOn { session } => {
                if let Some(line) = self.lines.get_mut(&session) {
                    line.reading = Some(line.sent);
                }
            }
            Effect::Push { session, prev, entry } => {
                if let Some(line) = self.lines.get_mut(&session) {
                    assert!(line.reading.is_none(), "pushed to a session that is reading");
                    line.sent = entry.pos;
                    line.down.push_back(Down::Entry { prev, entry });
                }
            }
            Effect::Reply { to: ReplyTo::Session(session, r), answer } => self.reply(session, r, answer.ok()),
            Effect::Export { .. }
            | Effect::Facts { .. }
            | Effect::Find { .. }
            | Effect::Look
            | Effect::Rows { .. }
            | Effect::Send { .. }
            | Effect::Carry { .. } => {
                panic!("a node alone has no peers: {effect:?}");
            }
            Effect::Reply { .. }
            | Effect::Pass { .. }
            | Effect::Delivered { .. }
            | Effect::Presence { .. } => {}
        }
    }

    fn reply(&mut self, session: SessionId, r: u64, answer: Option<Answer>) {
        let Some(line) = self.lines.get_mut(&session) else {
            return;
        };
        let Some(cid) = line.requests.remove(&r) else {
            return;
        };
        let place = match &answer {
            Some(Answer::Sent { place, .. } | Answer::Read { place, .. } | Answer::Recalled { place }) => {
                *place
            }
            _ => None,
        };
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
                None => Down::Refused,
            },
            (None, _) => Down::Refused,
        });
    }

    /// Ends all faults and lets everything settle.
    pub fn heal(&mut self) {
        for round in 0..4_000 {
            for at in 0..self.clients.len() {
                if self.line_of(at).is_none() {
                    self.connect(at);
                }
            }
            self.now += 1_000;
            self.sync();
            self.feed();
            self.load();
            self.read_on();
            self.ask_to_go_live();
            self.deliver_down();
            self.deliver_up();
            // What was refused as busy is tried again, and everybody acks.
            if round % 50 == 49 {
                for line in self.lines.values_mut().filter(|line| line.welcomed && line.up.is_empty()) {
                    let client = &self.clients[line.client];
                    line.up.extend(client.unsent.iter().cloned().map(Up::Send));
                    line.up.push_back(Up::Ack(client.last));
                }
            }
            let quiet = !self.disk.is_busy()
                && self.inputs.is_empty()
                && self.loads.is_empty()
                && self.relay.is_idle();
            let lines = self.lines.values().all(|line| {
                line.down.is_empty() && line.up.is_empty() && line.reading.is_none() && !line.attach
            });
            if quiet && lines && self.clients.iter().all(|client| client.live && client.unsent.is_empty()) {
                return;
            }
        }
        let unsent: Vec<_> = self.clients.iter().map(|client| client.unsent.len()).collect();
        panic!(
            "does not settle: unsent {unsent:?}, {} inputs, live {:?}",
            self.inputs.len(),
            self.clients.iter().map(|client| client.live).collect::<Vec<_>>()
        );
    }

    pub fn verify(&mut self) {
        assert_eq!(self.relay.sessions(), self.lines.len(), "sessions that nobody holds");
        let logs: BTreeMap<UserKey, Vec<(Stamp, EntryRow)>> = USERS
            .iter()
            .map(|name| UserKey::new("app", name).expect("id"))
            .map(|user| (user.clone(), self.disk.store.rows(&user)))
            .collect();
        let messages = |user: &UserKey, after: Stamp| -> Vec<MessageId> {
            logs[user]
                .iter()
                .filter(|(pos, _)| *pos > after)
                .filter_map(|(_, row)| match row {
                    EntryRow::Message { id, .. } => Some(*id),
                    _ => None,
                })
                .collect()
        };
        // P1, P2, P3: what was sent was acked in the end, and stands in both mailboxes once.
        for (id, (from, to)) in &self.sent {
            for user in BTreeSet::from([from, to]) {
                let count = messages(user, Stamp::ZERO).iter().filter(|of| *of == id).count();
                assert_eq!(count, 1, "{id} from {from:?} to {to:?} stands {count} times with {user:?}");
            }
        }
        for client in &self.clients {
            for id in client.acked.keys() {
                assert!(self.sent.contains_key(id), "acked {id} was never sent");
            }
            // P6: what the device saw is what the mailbox holds, in its order.
            let owed = messages(&client.user, client.began.expect("connected"));
            if client.thin {
                let seen: BTreeSet<_> = client.seen.iter().collect();
                for id in &owed {
                    assert!(seen.contains(id), "{:?}/{} never saw {id}", client.user, client.device);
                }
            } else {
                assert_eq!(client.seen, owed, "{:?}/{}", client.user, client.device);
            }
        }
        // Unread counts are what a count by hand gives.
        for (user, log) in &logs {
            let snapshot = self.disk.store.load(user).expect("memory");
            let mailbox = crate::relay::mailbox::Mailbox::restore(user.clone(), snapshot);
            let mut by_hand = 0_u64;
            for peer in USERS {
                let of = Conversation { kind: Kind::Private, target: peer.into() };
                let watermark = log
                    .iter()
                    .filter_map(|(_, row)| match row {
                        EntryRow::Change(Change::Read { conversation, upto, .. }) if *conversation == of => {
                            Some(*upto)
                        }
                        _ => None,
                    })
                    .max()
                    .unwrap_or_default();
                by_hand += log
                    .iter()
                    .filter(|(pos, row)| {
                        *pos > watermark
                            && matches!(row, EntryRow::Message { conversation, mine: false, flags, .. }
                                if *conversation == of && flags.has(Flags::COUNTED))
                    })
                    .count() as u64;
            }
            assert_eq!(mailbox.unread(), by_hand, "unread of {user:?}");
        }
    }
}
