//! From a decoded frame to what it asks for.
//!
//! What the relay decides becomes an [`Input`]; what only reads is answered beside the stream, by a task that asks the
//! store, with a bound on how many a session may have under way.

use super::{
    codes::Code,
    encode,
    frames::{Decoded, RawFrame, share},
    session::{End, Session},
    tunnel::near,
};
use crate::{
    model::{
        Content, ContentError, Conversation, EntryRow, Flags, Kind, MessageId, Push, Stamp, UserKey,
        check_id, class_flags,
    },
    relay::{Answer, Command, Input, Outgoing, ReadMark, Refused, ReplyTo},
    store::{Page, StoreError, doubles},
};
use bytes::Bytes;
use std::sync::{Arc, atomic::Ordering};

/// Requests that one session may have under way beside the stream.
const MAX_BESIDE: u32 = 16;
/// Longest class name, in bytes.
const MAX_CLASS: usize = 64;
/// Longest push text or payload, in bytes.
const MAX_PUSH: usize = 4_096;
/// Longest watch list, and most ids in one `users`.
const MAX_WATCH: usize = 200;
const MAX_USERS: usize = 100;

/// Why a request is refused before it reaches the relay.
struct Wrong(Code, String);

impl Wrong {
    fn field(name: &str, why: impl std::fmt::Display) -> Self {
        Self(Code::BadFrame, format!("{name} {why}"))
    }
}

impl From<Refused> for Wrong {
    fn from(why: Refused) -> Self {
        Self(Code::of(&why).0, why.to_string())
    }
}

impl From<StoreError> for Wrong {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a read failed");
        Self(Code::Internal, "the store cannot be read".into())
    }
}

/// Takes the frames of one transport message; gives the inputs for the relay, in order.
pub fn take(session: &Arc<Session>, message: &Bytes, frames: Vec<Decoded<'_>>) -> Vec<Input> {
    session.hear();
    if near::up(session, message) {
        return Vec::new();
    }
    let metrics = session.edge.hub.metrics();
    metrics.frames_in.add(frames.len() as u64);
    metrics.bytes_in.add(message.len() as u64);
    let mut inputs = Vec::with_capacity(frames.len());
    let mut ack = None;
    session.rate.lock().refill();
    for frame in frames {
        let frame = match frame {
            Ok(frame) => frame,
            Err(bad) => {
                metrics.refused.get(Code::BadFrame.word()).inc();
                session.write(|out| encode::error(out, bad.r, Code::BadFrame.word(), &bad.why, None));
                continue;
            }
        };
        let allowed = {
            let mut rate = session.rate.lock();
            let allowed = rate.frame(frame.t == "send");
            if rate.is_hopeless() {
                drop(rate);
                session.end(End::Code(Code::TooMany), "frames came faster than the limit for too long");
                break;
            }
            allowed
        };
        if frame.t == "ack" {
            // Cumulative: of several in one message the last says it all.
            match frame.pos {
                Some(pos) => ack = ack.max(Some(Stamp(pos.min(Stamp::MAX.0)))),
                None => session.write(|out| {
                    encode::error(out, None, Code::BadFrame.word(), "ack: pos is missing", None);
                }),
            }
            continue;
        }
        if let Err(wait) = allowed {
            session.refuse(frame.r, Code::RateLimited, "too fast", Some(wait));
            continue;
        }
        if let Some(input) = one(session, message, frame) {
            inputs.push(input);
        }
    }
    if let Some(pos) = ack {
        metrics.acks.inc();
        session.acked(pos);
        inputs.push(Input::Ack { session: session.id, pos });
    }
    inputs
}

fn one(session: &Arc<Session>, message: &Bytes, frame: RawFrame<'_>) -> Option<Input> {
    match &*frame.t {
        "ping" => {
            session.write(|out| {
                let mut object = encode::Object::frame(out, "pong");
                if let Some(r) = frame.r {
                    object.number("r", r);
                }
                object.number("time", session.edge.hub.now().millis()).end();
            });
            return None;
        }
        "bye" => {
            session.end(End::Bye, "");
            return None;
        }
        _ => {}
    }
    let Some(r) = frame.r else {
        let why = match &*frame.t {
            "" => "t is missing".to_owned(),
            t => format!("{t}: r is missing"),
        };
        session.write(|out| encode::error(out, None, Code::BadFrame.word(), &why, None));
        return None;
    };
    let command = match request(session, message, r, &frame) {
        Ok(command) => command?,
        Err(Wrong(code, why)) => {
            session.refuse(r, code, &why, None);
            return None;
        }
    };
    Some(Input::Command { to: ReplyTo::Session(session.id, r), user: session.user.clone(), command })
}

/// The command of a request; `None` when it is being answered beside the stream.
fn request(
    session: &Arc<Session>,
    message: &Bytes,
    r: u64,
    frame: &RawFrame<'_>,
) -> Result<Option<Command>, Wrong> {
    Ok(Some(match &*frame.t {
        "send" => Command::Send(outgoing(session, message, frame)?),
        "read" => {
            let conversation = conversation(frame)?;
            let Some(upto) = frame.upto else {
                return Ok(Some(Command::Read { conversation, upto: None, remove: false }));
            };
            return beside(session, r, read_upto(session.clone(), r, conversation, Stamp(upto)));
        }
        "remove" => Command::Read { conversation: conversation(frame)?, upto: None, remove: true },
        "recall" => {
            let id: MessageId = frame.id.parse().map_err(|_| Wrong::field("id", "is not a message id"))?;
            let at = Stamp(frame.at.ok_or_else(|| Wrong::field("at", "is missing"))?);
            let conversation = conversation(frame)?;
            if frame.extra.len() > MAX_PUSH {
                return Err(Wrong::field("extra", format_args!("is over {MAX_PUSH} bytes")));
            }
            return beside(
                session,
                r,
                recall(session.clone(), r, conversation, at, id, (*frame.extra).into()),
            );
        }
        "unread" => Command::Unread,
        "block" => Command::Block(user(session, frame)?.id().into()),
        "unblock" => Command::Unblock(user(session, frame)?.id().into()),
        "watch" => Command::Watch(users(session, "users", frame.users.as_deref(), MAX_WATCH)?),
        "blocks" => return beside(session, r, blacklist(session.clone(), r, None)),
        "blocked" => {
            let other: Arc<str> = user(session, frame)?.id().into();
            return beside(session, r, blacklist(session.clone(), r, Some(other)));
        }
        "history" => {
            let page = match (frame.before, frame.after) {
                (Some(_), Some(_)) => return Err(Wrong::field("before", "and after exclude each other")),
                (_, Some(after)) => Page::After(Stamp(after)),
                (before, None) => Page::Before(before.map_or(Stamp::MAX, Stamp)),
            };
            let limit = limit(frame, 20, 100)?;
            return beside(session, r, history(session.clone(), r, conversation(frame)?, page, limit));
        }
        "conversations" => {
            let command = Command::Conversations {
                before: frame.before.map_or(Stamp::MAX, Stamp),
                limit: limit(frame, 100, 500)?,
            };
            return beside(session, r, conversations(session.clone(), r, command));
        }
        "conversation" => {
            let command = Command::Conversation(conversation(frame)?);
            return beside(session, r, conversations(session.clone(), r, command));
        }
        "users" => {
            let users = users(session, "ids", frame.ids.as_deref(), MAX_USERS)?;
            return beside(session, r, profiles(session.clone(), r, users));
        }
        "hello" => return Err(Wrong(Code::BadFrame, "hello: the session has begun already".into())),
        "" => return Err(Wrong(Code::BadFrame, "t is missing".into())),
        t => {
            let t: String = t.chars().take(32).collect();
            return Err(Wrong(Code::BadFrame, format!("t: {t} is not a type of frame")));
        }
    }))
}

fn conversation(frame: &RawFrame<'_>) -> Result<Conversation, Wrong> {
    let kind = frame.kind.ok_or_else(|| Wrong::field("kind", "is missing"))?;
    let kind =
        Kind::from_number(kind).ok_or_else(|| Wrong::field("kind", "is not a conversation kind (1 to 6)"))?;
    if !matches!(kind, Kind::Private | Kind::System) {
        return Err(Refused::Unsupported { kind }.into());
    }
    Conversation::new(kind, &frame.target).map_err(|bad| Wrong::field("target", bad))
}

fn user(session: &Session, frame: &RawFrame<'_>) -> Result<UserKey, Wrong> {
    session.user.sibling(&frame.user).map_err(|bad| Wrong::field("user", bad))
}

fn users(session: &Session, name: &str, ids: Option<&[String]>, max: usize) -> Result<Vec<UserKey>, Wrong> {
    let ids = ids.ok_or_else(|| Wrong::field(name, "is missing"))?;
    if ids.len() > max {
        return Err(Wrong::field(name, format_args!("holds at most {max} ids")));
    }
    ids.iter().map(|id| session.user.sibling(id).map_err(|bad| Wrong::field(name, bad))).collect()
}

fn limit(frame: &RawFrame<'_>, default: usize, max: usize) -> Result<usize, Wrong> {
    match frame.limit {
        None => Ok(default),
        Some(limit) if (1..=max as u64).contains(&limit) => Ok(limit as usize),
        Some(_) => Err(Wrong::field("limit", format_args!("must be 1 to {max}"))),
    }
}

fn outgoing(session: &Session, message: &Bytes, frame: &RawFrame<'_>) -> Result<Outgoing, Wrong> {
    let Conversation { kind, target } = conversation(frame)?;
    check_id(&frame.id).map_err(|bad| Wrong::field("id", bad))?;
    if frame.class.is_empty() || frame.class.len() > MAX_CLASS || frame.class.chars().any(char::is_control) {
        return Err(Wrong::field(
            "type",
            format_args!("must be 1 to {MAX_CLASS} bytes without control characters"),
        ));
    }
    let content = frame.content.ok_or_else(|| Wrong::field("content", "is missing"))?;
    let content = Content::from_json(share(message, content.get()), session.edge.config.limits.content)
        .map_err(|error| match error {
            ContentError::TooLarge { .. } => Wrong(Code::TooLarge, error.to_string()),
            ContentError::WrongType | ContentError::TooDeep => Wrong(Code::BadFrame, error.to_string()),
        })?;
    let class = class_flags(&frame.class);
    let status = frame.status.unwrap_or(class.status);
    let flags = Flags::default()
        .with(Flags::COUNTED, !status && frame.counted.unwrap_or(class.counted))
        .with(Flags::STORED, !status && frame.stored.unwrap_or(class.stored))
        .with(Flags::STATUS, status)
        .with(Flags::MENTIONED, frame.mentioned.unwrap_or(false));
    let push = match &frame.push {
        Some(push) if push.text.len() > MAX_PUSH || push.data.len() > MAX_PUSH => {
            return Err(Wrong::field(
                "push",
                format_args!("text and data are at most {MAX_PUSH} bytes each"),
            ));
        }
        Some(push) => Some(Box::new(Push { text: push.text.clone(), data: push.data.clone() })),
        None => None,
    };
    Ok(Outgoing {
        cid: (*frame.id).into(),
        kind,
        to: target,
        class: (*frame.class).into(),
        content,
        flags,
        push,
        check_blacklist: true,
        again: false,
    })
}

/// Runs `work` beside the stream; what it says when it goes wrong is the answer.
fn beside(
    session: &Arc<Session>,
    r: u64,
    work: impl Future<Output = Result<(), Wrong>> + Send + 'static,
) -> Result<Option<Command>, Wrong> {
    if session.beside.fetch_add(1, Ordering::Relaxed) >= MAX_BESIDE {
        session.beside.fetch_sub(1, Ordering::Relaxed);
        session.refuse(r, Code::Busy, "too many requests at once", Some(100));
        return Ok(None);
    }
    let of = session.clone();
    session.edge.tracker.spawn(async move {
        if let Err(Wrong(code, why)) = work.await {
            of.refuse(r, code, &why, None);
        }
        of.beside.fetch_sub(1, Ordering::Relaxed);
    });
    Ok(None)
}

async fn submit(session: &Session, r: u64, command: Command) -> Result<(), Wrong> {
    let to = ReplyTo::Session(session.id, r);
    let input = Input::Command { to, user: session.user.clone(), command };
    Ok(session.edge.hub.submit(vec![input]).await?)
}

async fn read_upto(
    session: Arc<Session>,
    r: u64,
    conversation: Conversation,
    upto: Stamp,
) -> Result<(), Wrong> {
    let user = session.user.clone();
    let row = session.edge.hub.read(move |store| store.entry(&user, upto)).await?;
    let mark = match row {
        Some(EntryRow::Message { at, conversation: of, ordinal, .. }) if of == conversation => {
            ReadMark { pos: upto, ordinal, at }
        }
        _ => return Err(Wrong(Code::NotFound, "upto: no message of this conversation stands there".into())),
    };
    submit(&session, r, Command::Read { conversation, upto: Some(mark), remove: false }).await
}

async fn recall(
    session: Arc<Session>,
    r: u64,
    conversation: Conversation,
    at: Stamp,
    id: MessageId,
    extra: Arc<str>,
) -> Result<(), Wrong> {
    let log = conversation.log(&session.user);
    let found = session.edge.hub.read(move |store| match store.message(&log, at, id)? {
        Some(message) => doubles::shown(store, &log, message).map(Some),
        None => Ok(None),
    });
    let original = found.await?;
    let Some(original) = original else {
        return Err(Wrong(Code::NotFound, "no such message in this conversation".into()));
    };
    if original.from != session.user {
        return Err(Wrong(Code::NotAllowed, "only the sender can take a message back".into()));
    }
    submit(&session, r, Command::Recall { original, extra }).await
}

async fn blacklist(session: Arc<Session>, r: u64, other: Option<Arc<str>>) -> Result<(), Wrong> {
    let users = match session.edge.hub.ask(session.user.clone(), Command::Blacklist).await? {
        Answer::Users(users) => users,
        _ => Vec::new(),
    };
    session.answer(r, |object| {
        match other {
            Some(other) => object.bool("blocked", users.contains(&other)),
            None => object.texts("users", &users),
        };
    });
    Ok(())
}

async fn history(
    session: Arc<Session>,
    r: u64,
    conversation: Conversation,
    page: Page,
    limit: usize,
) -> Result<(), Wrong> {
    let viewer = session.user.clone();
    let found = session.edge.hub.read(move |store| {
        doubles::history(store, &conversation.log(&viewer), page, limit, &|message| {
            message.flags.has(Flags::STORED)
                && !(message.flags.has(Flags::NO_SENDER_COPY)
                    && message.from == viewer
                    && *message.to != *viewer.id())
        })
    });
    let (messages, more) = found.await?;
    session.answer(r, |object| {
        encode::list(object.key("messages"), &messages, |out, message| {
            encode::message(out, message, &session.user);
        });
        object.bool("more", more);
    });
    Ok(())
}

async fn conversations(session: Arc<Session>, r: u64, command: Command) -> Result<(), Wrong> {
    let (states, more, one) = match session.edge.hub.ask(session.user.clone(), command).await? {
        Answer::Conversations(states, more) => (states, more, false),
        Answer::Conversation(state) => (state.into_iter().collect(), false, true),
        _ => (Vec::new(), false, false),
    };
    let viewer = session.user.clone();
    let read = session.edge.hub.read(move |store| {
        let mut found = Vec::with_capacity(states.len());
        for state in states {
            let log = state.conversation.log(&viewer);
            let last = store.message(&log, state.last_at, state.last_id)?;
            let mut delivered = state.peer_delivered.unwrap_or_default();
            if state.peer_delivered.is_none()
                && state.conversation.kind == Kind::Private
                && let Ok(peer) = viewer.sibling(&state.conversation.target)
                && let Some(row) = store.mailbox(&peer)?
            {
                delivered = row.devices.iter().map(|device| device.cursor).max().unwrap_or_default();
            }
            found.push((state, last, delivered));
        }
        Ok(found)
    });
    let found = read.await?;
    session.answer(r, |object| {
        let write = |out: &mut Vec<u8>, (state, last, delivered): &(_, Option<_>, Stamp)| {
            encode::conversation(out, &session.user, state, last.as_ref(), *delivered);
        };
        match found.as_slice() {
            [only] if one => write(object.key("conversation"), only),
            [] if one => object.key("conversation").extend_from_slice(b"null"),
            all => {
                encode::list(object.key("conversations"), all, write);
                object.bool("more", more);
            }
        }
    });
    Ok(())
}

async fn profiles(session: Arc<Session>, r: u64, users: Vec<UserKey>) -> Result<(), Wrong> {
    let read = session.edge.hub.read(move |store| {
        users
            .into_iter()
            .map(|user| store.profile(&user).map(|profile| (user, profile)))
            .collect::<Result<Vec<_>, _>>()
    });
    let mut found = read.await?;
    found.retain(|(_, profile)| profile.created.is_some());
    session.answer(r, |object| {
        encode::list(object.key("users"), &found, |out, (user, profile)| {
            let mut object = encode::Object::begin(out);
            object
                .text("id", user.id())
                .text("name", &profile.name)
                .text("portrait", &profile.portrait)
                .end();
        });
    });
    Ok(())
}
