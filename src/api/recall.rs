//! `message/recall`: a sender takes a message back.

use super::{
    endpoint::{Context, Endpoint, Outcome},
    error::ApiError,
    params::Params,
    reply::Fields,
};
use crate::{
    model::{Flags, Log, Message, MessageId, Stamp, UserKey},
    relay::{Answer, Command, Refused},
};
use std::sync::Arc;

/// How far from the given time the message is looked for, in microseconds: 5 s. A caller has the time in milliseconds,
/// and perhaps only its own idea of it.
const WINDOW_US: u64 = 5_000_000;
/// Longest `extra`, in bytes.
const MAX_EXTRA: usize = 8 * 1024;

/// A message to be taken back; `find` is `None` when it cannot be one of this service's.
#[derive(Debug, PartialEq)]
pub(super) struct Recall {
    from: UserKey,
    /// Whose mailbox has it when the sender's has not, since he was to get no copy.
    to: UserKey,
    find: Option<Find>,
    extra: Arc<str>,
}

/// Which message.
#[derive(Debug, PartialEq)]
struct Find {
    log: Log,
    id: MessageId,
    at: Stamp,
}

impl Endpoint for Recall {
    fn parse(app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        let from = params.user(app, "fromUserId")?;
        let to = params.user(app, "targetId")?;
        let target: Arc<str> = to.id().into();
        let uid = params.required("messageUID")?;
        let sent = params
            .number("sentTime", 0..=Stamp::MAX.millis())?
            .ok_or_else(|| ApiError::missing("sentTime"))?;
        let number = params
            .number("conversationType", 1..=10)?
            .ok_or_else(|| ApiError::missing("conversationType"))?;
        let log = match number {
            1 => Some(Log::between(&from, &target)),
            6 => Some(Log::system(&from, &target)),
            // Discussions, groups, rooms, ultra groups: no message of theirs is known here yet.
            2 | 3 | 4 | 10 => None,
            _ => {
                return Err(ApiError::parameter("conversationType", "must be 1, 2, 3, 4, 6 or 10"));
            }
        };
        let find = log.zip(uid.parse().ok()).map(|(log, id)| Find { log, id, at: Stamp::from_millis(sent) });
        let extra = params.short("extra", MAX_EXTRA)?.unwrap_or_default().into();
        Ok(Self { from, to, find, extra })
    }

    async fn run(self, context: Context) -> Outcome {
        let Some(find) = self.find else {
            return Ok(Fields::none());
        };
        let mut original = None;
        for of in [self.from.clone(), self.to] {
            match context.ask_all(vec![(of, find.command())]).await.pop() {
                Some(Ok(Answer::Found(found))) => original = found,
                Some(Ok(_)) => {}
                Some(Err(refused)) => return Err(refused.into()),
                None => return Err(ApiError::internal()),
            }
            if original.is_some() {
                break;
            }
        }
        let Some(original) = original else { return Ok(Fields::none()) };
        if !may_recall(&original, &self.from)? {
            return Ok(Fields::none());
        }
        let command = Command::Recall { original, extra: self.extra };
        let answer = context.ask_all(vec![(self.from, command)]).await.pop();
        match answer {
            // It went away meanwhile: as good as unknown.
            Some(Ok(_) | Err(Refused::NotFound(_))) => Ok(Fields::none()),
            Some(Err(refused)) => Err(refused.into()),
            None => Err(ApiError::internal()),
        }
    }
}

impl Find {
    /// When it may have been sent: after the first, and at the second at the latest.
    fn between(&self) -> (Stamp, Stamp) {
        let after = Stamp(self.at.0.saturating_sub(WINDOW_US + 1));
        (after, Stamp(self.at.0.saturating_add(WINDOW_US + 1_000)))
    }

    /// Asks the node that has a mailbox for the message.
    fn command(&self) -> Command {
        Command::Find { log: self.log.clone(), id: self.id, between: self.between() }
    }
}

/// Whether there is something to do; only the sender's own messages may be taken back.
fn may_recall(original: &Message, by: &UserKey) -> Result<bool, ApiError> {
    if original.from != *by {
        return Err(ApiError::parameter("messageUID", "is not a message of fromUserId"));
    }
    Ok(!original.flags.has(Flags::RECALLED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{
            body::{Encoding, decode},
            error::Code,
        },
        model::{Content, Kind},
        store::{Store as _, Write, memory::MemoryStore},
    };

    fn parse(body: &str) -> Result<Recall, ApiError> {
        Recall::parse("app", &decode(Encoding::Form, body.as_bytes()).unwrap())
    }

    const PLAIN: &str = "fromUserId=ann&targetId=bo&messageUID=00000000000000000000000007&sentTime=1700000000000&conversationType=1";

    fn message(id: u128, at: u64) -> Arc<Message> {
        Arc::new(Message {
            id: MessageId(id),
            kind: Kind::Private,
            from: UserKey::new("app", "ann").unwrap(),
            to: "bo".into(),
            at: Stamp(at),
            class: "RC:TxtMsg".into(),
            content: Content::empty(),
            flags: Flags::STORED,
            cid: "c".into(),
            push: None,
        })
    }

    #[test]
    fn unknown_messages_and_kinds_without_messages_are_nothing_to_do() {
        assert!(parse(PLAIN).unwrap().find.is_some());
        let strange = PLAIN.replace("00000000000000000000000007", "5GSB-RPM1-KP8H-9JHF");
        assert_eq!(parse(&strange).unwrap().find, None);
        for kind in ["2", "3", "4", "10"] {
            let body = PLAIN.replace("Type=1", &format!("Type={kind}"));
            assert_eq!(parse(&body).unwrap().find, None, "{kind}");
        }
        for kind in ["0", "5", "7", "11", "undefined"] {
            let body = PLAIN.replace("Type=1", &format!("Type={kind}"));
            assert_eq!(parse(&body).unwrap_err().code, Code::Parameter, "{kind}");
        }
        for field in ["fromUserId", "targetId", "messageUID", "sentTime", "conversationType"] {
            let body = PLAIN.replace(&format!("{field}="), "x=");
            assert_eq!(parse(&body).unwrap_err(), ApiError::missing(field));
        }
    }

    #[test]
    fn a_message_is_found_near_its_time_by_its_id() {
        let store = MemoryStore::default();
        let at = 1_700_000_000_000_000;
        for (id, at) in [(6, at + 1), (7, at + 999), (8, at + 1_000), (9, at + WINDOW_US + 1_001)] {
            store.commit(&[Write::Body(message(id, at))]).unwrap();
        }
        let mut find = parse(PLAIN).unwrap().find.unwrap();
        let look =
            |find: &Find| store.find(&find.log, find.id, find.between()).unwrap().map(|message| message.id.0);
        assert_eq!(look(&find), Some(7));
        find.id = MessageId(5);
        assert_eq!(look(&find), None);
        find.id = MessageId(9);
        assert_eq!(look(&find), None, "too late");
        find.at = Stamp(at + 1_000);
        assert_eq!(look(&find), Some(9));
    }

    #[test]
    fn only_the_senders_own_and_only_once() {
        let (ann, bo) = (UserKey::new("app", "ann").unwrap(), UserKey::new("app", "bo").unwrap());
        let original = message(7, 1);
        assert_eq!(may_recall(&original, &ann), Ok(true));
        assert_eq!(may_recall(&original.recalled(), &ann), Ok(false));
        assert_eq!(may_recall(&original, &bo).unwrap_err().code, Code::Parameter);
    }
}
