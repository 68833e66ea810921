//! Sends: private and system messages.
//!
//! A send to many is one message to each, in one call to the relay. Senders need not be registered; they are not subject
//! to blocks, and to blacklists only on demand.

use super::{
    endpoint::{Context, Endpoint, Outcome, surprising},
    error::ApiError,
    params::Params,
    reply::Fields,
};
use crate::{
    model::{Content, ContentError, Flags, Kind, MAX_ID, MessageId, Push, UserKey, class_flags},
    relay::{Answer, Command, Outgoing, Refused},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use std::sync::Arc;

/// Largest content, in bytes.
const MAX_CONTENT: usize = 128 * 1024;
/// Longest text and payload for a push service, in bytes each. The vendor names no limit; push services take 4 kB.
const MAX_PUSH: usize = 8 * 1024;
/// Most receivers of one call. The vendor's limit for system messages has come down to 100, but back ends of the time
/// when it was 1,000 are about.
const MAX_RECEIVERS: usize = 1_000;
/// Longest message class, in bytes.
const MAX_CLASS: usize = MAX_ID;

/// `message/private/publish`, and `message/publish`, its first name.
pub(super) struct Private(Publish);

impl Endpoint for Private {
    fn parse(app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        let from = params.user(app, "fromUserId")?;
        let check_blacklist = params.flag("verifyBlacklist")?.unwrap_or(false);
        Publish::parse(from, Kind::Private, check_blacklist, params).map(Self)
    }

    async fn run(self, context: Context) -> Outcome {
        self.0.run(context).await
    }
}

/// `message/system/publish`.
pub(super) struct System(Publish);

impl Endpoint for System {
    fn parse(app: &str, params: &Params<'_>) -> Result<Self, ApiError> {
        // One PHP SDK forgets to rename `senderId` when there are several receivers.
        let from = match params.user(app, "fromUserId") {
            Err(missing) if missing == ApiError::missing("fromUserId") => {
                params.user(app, "senderId").map_err(|_| missing)?
            }
            other => other?,
        };
        Publish::parse(from, Kind::System, false, params).map(Self)
    }

    async fn run(self, context: Context) -> Outcome {
        self.0.run(context).await
    }
}

/// One message to each of some users.
#[derive(Debug, PartialEq)]
struct Publish {
    from: UserKey,
    kind: Kind,
    to: Vec<Arc<str>>,
    class: Arc<str>,
    content: Content,
    flags: Flags,
    push: Option<Box<Push>>,
    check_blacklist: bool,
}

impl Publish {
    fn parse(
        from: UserKey,
        kind: Kind,
        check_blacklist: bool,
        params: &Params<'_>,
    ) -> Result<Self, ApiError> {
        let to = params.ids("toUserId", MAX_RECEIVERS)?;
        let class: Arc<str> =
            params.short("objectName", MAX_CLASS)?.ok_or_else(|| ApiError::missing("objectName"))?.into();
        if class.chars().any(char::is_control) {
            return Err(ApiError::parameter("objectName", "holds a control character"));
        }
        let text = params.required("content")?;
        let content = Content::from_text(&text, MAX_CONTENT).map_err(|why| match why {
            ContentError::TooLarge { len, max } => ApiError::too_long("content", len, max),
            ContentError::WrongType | ContentError::TooDeep => ApiError::parameter("content", why),
        })?;
        let push = Push {
            text: params.short("pushContent", MAX_PUSH)?.unwrap_or_default().into(),
            data: params.short("pushData", MAX_PUSH)?.unwrap_or_default().into(),
        };
        let mentioned = params.flag("isMentioned")?.unwrap_or(false) && mentions(&content);
        let wishes = Wishes {
            persisted: params.flag("isPersisted")?.unwrap_or(true),
            counted: params.flag("isCounted")?.unwrap_or(true),
            include_sender: params.flag("isIncludeSender")?.unwrap_or(false),
            mentioned,
        };
        Ok(Self {
            from,
            kind,
            to,
            flags: wishes.flags(&class),
            class,
            content,
            push: (push != Push::default()).then(|| Box::new(push)),
            check_blacklist,
        })
    }

    /// The sends, each with an id of its own: `base`, a ULID, counted up.
    fn commands(&self, base: &str) -> Vec<(UserKey, Command)> {
        let first = base.parse::<MessageId>();
        let command = |(i, to): (usize, &Arc<str>)| {
            let cid = match first {
                Ok(id) => MessageId(id.0.wrapping_add(i as u128)).to_string(),
                Err(_) => format!("{base}-{i}"),
            };
            let outgoing = Outgoing {
                cid: cid.into(),
                kind: self.kind,
                to: to.clone(),
                class: self.class.clone(),
                content: self.content.clone(),
                flags: self.flags,
                push: self.push.clone(),
                check_blacklist: self.check_blacklist,
                again: false,
            };
            (self.from.clone(), Command::Send(outgoing))
        };
        self.to.iter().enumerate().map(command).collect()
    }

    /// The answer: id and time of what each receiver gets. Who has blacklisted the sender is left out without a word.
    fn answer(&self, answers: Vec<Result<Answer, Refused>>) -> Outcome {
        let mut uids: Vec<Value> = Vec::with_capacity(self.to.len());
        for (to, answer) in self.to.iter().zip(answers) {
            match answer {
                Ok(Answer::Sent { id, at, .. } | Answer::Passed { id, at }) => uids.push(json!({
                    "userId": &**to,
                    "messageUID": id.to_string(),
                    "sentTime": at.millis(),
                })),
                Ok(other) => return Err(surprising(&other)),
                Err(Refused::Blacklisted { .. }) => {}
                Err(refused) => return Err(refused.into()),
            }
        }
        Ok(Fields::none().with("messageUIDs", uids))
    }

    async fn run(self, context: Context) -> Outcome {
        let commands = self.commands(&context.hub.fresh_id());
        self.answer(context.ask_all(commands).await)
    }
}

/// What a call says about how its message is kept.
struct Wishes {
    persisted: bool,
    counted: bool,
    include_sender: bool,
    mentioned: bool,
}

impl Wishes {
    /// What the class says, less what the call does not want; a call cannot ask for more than the class has. What is not
    /// stored is not counted either, for nobody could read it away.
    fn flags(&self, class: &str) -> Flags {
        let class = class_flags(class);
        let stored = class.stored && self.persisted;
        Flags::default()
            .with(Flags::STORED, stored)
            .with(Flags::COUNTED, class.counted && self.counted && stored)
            .with(Flags::STATUS, class.status)
            .with(Flags::MENTIONED, self.mentioned)
            .with(Flags::NO_SENDER_COPY, !self.include_sender)
    }
}

/// Whether a content has a `mentionedInfo`.
fn mentions(content: &Content) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Probe {
        mentioned_info: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Probe>(content.json()).is_ok_and(|probe| probe.mentioned_info.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{
            body::{Encoding, decode},
            error::Code,
        },
        model::Stamp,
    };
    use std::time::Duration;

    fn private(body: &str) -> Result<Publish, ApiError> {
        Private::parse("app", &decode(Encoding::Form, body.as_bytes()).unwrap()).map(|call| call.0)
    }

    const PLAIN: &str = "fromUserId=a&toUserId=b&objectName=RC:TxtMsg&content=%7B%22content%22%3A%22hi%22%7D";

    #[test]
    fn a_plain_send_is_stored_and_counted_for_the_receiver_alone() {
        let call = private(PLAIN).unwrap();
        let want = Flags(Flags::STORED.0 | Flags::COUNTED.0 | Flags::NO_SENDER_COPY.0);
        assert_eq!((call.flags, call.push.clone()), (want, None));
        assert_eq!(call.content.text(), r#"{"content":"hi"}"#);
        assert!(!call.check_blacklist);
        assert_eq!(private(&format!("{PLAIN}&count=2&pushExt=&targetId=x")).unwrap(), call);
    }

    #[test]
    fn flags_take_away_from_the_class_and_never_add() {
        let flags = |more: &str, class: &str| {
            let body = format!("{PLAIN}{more}").replace("RC:TxtMsg", class);
            private(&body).unwrap().flags.0
        };
        let (counted, stored) = (Flags::COUNTED.0, Flags::STORED.0);
        let alone = Flags::NO_SENDER_COPY.0;
        for (more, class, want) in [
            ("&isPersisted=0", "RC:TxtMsg", alone),
            ("&isCounted=0", "RC:TxtMsg", stored | alone),
            ("&isPersisted=&isCounted=", "app:own", stored | counted | alone),
            ("&isPersisted=1&isCounted=1", "RC:CmdMsg", alone),
            ("&isCounted=1", "RC:InfoNtf", stored | alone),
            ("&isPersisted=1", "RC:TypSts", Flags::STATUS.0 | alone),
            ("&isIncludeSender=1", "RC:TxtMsg", stored | counted),
            ("&isMentioned=1", "RC:TxtMsg", stored | counted | alone),
        ] {
            assert_eq!(flags(more, class), want, "{class} {more}");
        }
    }

    #[test]
    fn a_mention_needs_the_flag_and_the_info() {
        let content = "fromUserId=a&toUserId=b&objectName=x&content={\"mentionedInfo\":{\"type\":1}}";
        let has = |body: &str| private(body).unwrap().flags.has(Flags::MENTIONED);
        assert!(has(&format!("{content}&isMentioned=1")));
        assert!(!has(content));
        assert!(!has(&format!("{PLAIN}&isMentioned=1")));
        let null = content.replace("{\"type\":1}", "null");
        assert!(!has(&format!("{null}&isMentioned=1")));
    }

    #[test]
    fn required_fields_and_limits() {
        for field in ["fromUserId", "toUserId", "objectName", "content"] {
            let body = PLAIN.replace(&format!("{field}="), "x=");
            let error = private(&body).unwrap_err();
            assert_eq!(error, ApiError::missing(field));
        }
        let with = |field: &str, len: usize| {
            let value = "x".repeat(len);
            private(&PLAIN.replace(&format!("{field}="), &format!("{field}={value}")))
        };
        // The fixture's own value stands behind the filling.
        assert!(with("fromUserId", 63).is_ok());
        assert_eq!(with("fromUserId", 64).unwrap_err().code, Code::TooLong);
        assert_eq!(with("toUserId", 64).unwrap_err().code, Code::TooLong);
        assert!(with("objectName", 55).is_ok());
        assert_eq!(with("objectName", 56).unwrap_err().code, Code::TooLong);
        assert!(with("content", MAX_CONTENT - 16).is_ok());
        assert_eq!(with("content", MAX_CONTENT - 15).unwrap_err().code, Code::TooLong);
        let many = |n: usize| private(&("toUserId=c&".repeat(n) + PLAIN));
        assert_eq!(many(999).unwrap().to.len(), 2);
        assert_eq!(many(1_000).unwrap_err().code, Code::Parameter);
    }

    #[test]
    fn content_need_not_be_json() {
        let call = private(&PLAIN.replace("%7B%22content%22%3A%22hi%22%7D", "[object+Object]")).unwrap();
        assert_eq!(call.content.text(), "[object Object]");
    }

    #[test]
    fn a_system_send_may_name_its_sender_otherwise() {
        let parse = |body: &str| System::parse("app", &decode(Encoding::Form, body.as_bytes()).unwrap());
        let call = parse(&PLAIN.replace("fromUserId", "senderId")).unwrap().0;
        assert_eq!((call.from.id(), call.kind), ("a", Kind::System));
        assert_eq!(parse(&PLAIN.replace("fromUserId", "x")).err(), Some(ApiError::missing("fromUserId")));
    }

    #[test]
    fn each_receiver_has_a_send_id_of_its_own() {
        let call = private(&format!("{PLAIN}&toUserId=c&toUserId=d")).unwrap();
        for base in ["01HF7YAT00ZZZZZZZZZZZZZZZZ", "", "no ulid"] {
            let mut cids: Vec<_> = call
                .commands(base)
                .into_iter()
                .map(|(from, command)| match command {
                    Command::Send(outgoing) if from == call.from => outgoing.cid,
                    other => panic!("{other:?}"),
                })
                .collect();
            cids.sort();
            cids.dedup();
            assert_eq!(cids.len(), 3);
            assert!(cids.iter().all(|cid| (1..=MAX_ID).contains(&cid.len())));
        }
    }

    #[test]
    fn a_blacklisted_send_is_dropped_in_silence_and_a_busy_node_is_not() {
        let call = private(&format!("{PLAIN}&toUserId=c")).unwrap();
        let sent = Ok(Answer::Passed { id: MessageId(7), at: Stamp::from_millis(5) });
        let dropped = Err(Refused::Blacklisted { to: "b".into() });
        let fields = call.answer(vec![dropped, sent.clone()]).unwrap();
        assert_eq!(
            fields.get("messageUIDs").unwrap(),
            &json!([{"userId": "c", "messageUID": MessageId(7).to_string(), "sentTime": 5}])
        );
        let busy = Err(Refused::Busy(Duration::from_secs(1)));
        assert_eq!(call.answer(vec![sent, busy]).unwrap_err().code, Code::Internal);
    }
}
