//! Commands in the name of users whose mailbox is elsewhere.
//!
//! Flow: `ask` sends the command to the owner; its answer goes to whoever asked. When the owner is lost meanwhile the command
//! is looked at again: every command may come twice without harm.
//! Pure: time comes in as an argument.

use super::{Answer, Command, Effect, Frame, Input, Refused, Relay, ReplyTo, mesh::Whose};
use crate::model::{NodeId, Stamp, UserKey};
use std::{collections::BTreeMap, time::Duration};

/// How long an answer may take.
const PATIENCE_US: u64 = 5_000_000;
/// How often a command that found nobody at home is put again.
const REPEAT_US: u64 = 200_000;
/// Questions under way.
const MAX_ASKS: usize = 65_536;

#[derive(Debug)]
struct Ask {
    to: ReplyTo,
    user: UserKey,
    command: Command,
    /// Who was asked, and when; `None`: it has to be put again.
    asked: Option<NodeId>,
    /// It was sent to somebody.
    went: bool,
    since: Stamp,
    last: Stamp,
}

/// Questions under way.
#[derive(Debug, Default)]
pub(super) struct Asks {
    open: BTreeMap<u64, Ask>,
}

impl Asks {
    /// How many.
    pub fn len(&self) -> usize {
        self.open.len()
    }
}

impl Relay {
    /// Whether a command for the mailbox of `user` can be handled here. If not, it is on its way to where it can, or
    /// refused.
    pub(super) fn is_for_here(
        &mut self,
        now: Stamp,
        to: ReplyTo,
        user: &UserKey,
        command: &Command,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if self.mesh.is_none() || self.slots.find(user).is_some() {
            return true;
        }
        let owner = match self.whose(user) {
            Whose::Mine => return true,
            Whose::Nobody => self.registrar(user),
            Whose::Peer(owner) => owner,
        };
        let alive = self.mesh.as_ref().is_some_and(|mesh| mesh.is_alive(owner));
        match to {
            // Its mailbox has just moved, and the session is being told.
            ReplyTo::Session(..) => {
                effects.push(Effect::Reply { to, answer: Err(Refused::Elsewhere) });
                return false;
            }
            ReplyTo::Peer(..) if owner != self.node && self.whose(user) != Whose::Nobody => {
                effects.push(Effect::Reply { to, answer: Err(Refused::Elsewhere) });
                return false;
            }
            _ => {}
        }
        if owner == self.node || !alive || matches!(to, ReplyTo::Peer(..)) {
            self.take_over(now, user);
            return true;
        }
        let Some(mesh) = &mut self.mesh else { return true };
        if mesh.asks.open.len() >= MAX_ASKS {
            let why = Refused::Busy(Duration::from_millis(500));
            effects.push(Effect::Reply { to, answer: Err(why) });
            return false;
        }
        // Unlike any from before a restart, which may be answered still.
        let number = self.clock.tick(now).0;
        let ask = Ask {
            to,
            user: user.clone(),
            command: command.clone(),
            asked: None,
            went: false,
            since: now,
            last: now,
        };
        mesh.asks.open.insert(number, ask);
        self.put_ask(now, number, owner, effects);
        false
    }

    fn put_ask(&mut self, now: Stamp, number: u64, owner: NodeId, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        let linked = mesh.is_linked(owner);
        let Some(ask) = mesh.asks.open.get_mut(&number) else { return };
        (ask.last, ask.asked) = (now, linked.then_some(owner));
        if linked {
            ask.went = true;
            let (user, command) = (ask.user.clone(), Box::new(ask.command.clone()));
            effects.push(Effect::Send { to: owner, frame: Frame::Ask { number, user, command } });
        }
    }

    /// A peer asks for a user of this node.
    pub(super) fn asked(
        &mut self,
        now: Stamp,
        from: NodeId,
        number: u64,
        user: UserKey,
        command: Command,
        effects: &mut Vec<Effect>,
    ) {
        self.handle(now, Input::Command { to: ReplyTo::Peer(from, number), user, command }, effects);
    }

    /// The answer to a question of this node.
    pub(super) fn answered(
        &mut self,
        now: Stamp,
        from: NodeId,
        number: u64,
        answer: Result<Answer, Refused>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(ask) = mesh.asks.open.get_mut(&number).filter(|ask| ask.asked == Some(from)) else { return };
        if answer == Err(Refused::Elsewhere) {
            // The claim that says where is on its way here.
            (ask.asked, ask.last) = (None, now);
            return;
        }
        if let Some(ask) = mesh.asks.open.remove(&number) {
            effects.push(Effect::Reply { to: ask.to, answer });
        }
    }

    /// The link to `peer` has come or gone, or it is taken for dead.
    pub(super) fn ask_again(&mut self, now: Stamp, peer: NodeId, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        let mut again = Vec::new();
        for (number, ask) in &mut mesh.asks.open {
            if ask.asked.is_none_or(|asked| asked == peer) {
                ask.asked = None;
                again.push(*number);
            }
        }
        for number in again {
            self.reconsider(now, number, effects);
        }
    }

    fn reconsider(&mut self, now: Stamp, number: u64, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(ask) = mesh.asks.open.get_mut(&number) else { return };
        if ask.went
            && let Command::Send(out) = &mut ask.command
        {
            out.again = true;
        }
        let user = ask.user.clone();
        let owner = match self.whose(&user) {
            Whose::Mine => self.node,
            Whose::Nobody => self.registrar(&user),
            Whose::Peer(owner) => owner,
        };
        let alive = self.mesh.as_ref().is_some_and(|mesh| mesh.is_alive(owner));
        if owner != self.node && alive {
            return self.put_ask(now, number, owner, effects);
        }
        let ask = self.mesh.as_mut().and_then(|mesh| mesh.asks.open.remove(&number));
        if let Some(Ask { to, user, command, .. }) = ask {
            self.handle(now, Input::Command { to, user, command }, effects);
        }
    }

    pub(super) fn tick_asks(&mut self, now: Stamp, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        let (mut late, mut again) = (Vec::new(), Vec::new());
        for (number, ask) in &mesh.asks.open {
            if now.0.saturating_sub(ask.since.0) >= PATIENCE_US {
                late.push(*number);
            } else if ask.asked.is_none() && now.0.saturating_sub(ask.last.0) >= REPEAT_US {
                again.push(*number);
            }
        }
        for number in late {
            if let Some(ask) = mesh.asks.open.remove(&number) {
                let why = Refused::Busy(Duration::from_secs(1));
                effects.push(Effect::Reply { to: ask.to, answer: Err(why) });
            }
        }
        for number in again {
            self.reconsider(now, number, effects);
        }
    }
}
