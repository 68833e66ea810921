//! Keys and values of the embedded store, as bytes.
//!
//! | keyspace | key | value |
//! | --- | --- | --- |
//! | `bodies` | kind (1), hash of the log (3), log without its kind, time (8 bytes, big endian), message id (16) | a message without what the key says |
//! | `entries` | hash of the user (4), user, NUL, position (8) | an entry that points at its message |
//! | `mailboxes` | hash of the user (4), user, NUL | checkpoint of the mailbox |
//! | `conversations` | hash of the user (4), user, NUL, kind (1), target | checkpoint of the conversation |
//! | `facts` | tag (1), user, and for a blacklist NUL and the other's id | the fact |
//! | `meta` | `batch` | number and highest stamp of the batch that wrote it |
//! | all but `meta` | one zero byte | number and highest stamp of the last batch that wrote there |
//!
//! A user is its [`UserKey`] text (app, NUL, id); NUL occurs in no id, so no user's or log's range runs into
//! another's, and within it byte order is the order of positions. Tags of facts that
//! [`crate::gossip::Directory::holds`] come first, so those are one range.
//!
//! The hashes (of XXH3) are for speed alone: the engine keeps the first four bytes of a key beside its pointer, so
//! most of the some twenty comparisons of an insert are decided there, without a cache miss for the key itself. With
//! plain keys, which all start with the same app, these misses were a third of all CPU spent on a message.
//!
//! Every value starts with `FORMAT`. Lengths are LEB128; the last part of a value has none. A value is built in
//! a scratch buffer and copied once into an allocation of its exact size. Decoders take any bytes: they check every
//! length against what is left before they allocate, and answer with [`Broken`], never with a panic.

use super::{ConversationRow, MailboxRow};
use crate::{
    gossip::{Fact, FactKey},
    model::{Content, Conversation, EntryRow, Flags, Kind, Log, Message, MessageId, Push, Stamp, UserKey},
};
use bytes::Bytes;
use fjall::Slice;
use serde::{Serialize, de::DeserializeOwned};
use std::{ops::Range, sync::Arc};

/// First byte of every value.
pub(super) const FORMAT: u8 = 1;

/// Key of the row that every batch writes into `meta`.
pub(super) const BATCH_KEY: &[u8] = b"batch";

/// Longest key that is written; the engine's own limit is 65,535 bytes. Ids are at most 64 bytes, so real keys stay
/// below 260.
pub(super) const MAX_KEY: usize = 4_096;

/// Contents from this size on are shared with the block that they were read from instead of copied: below it, a copy
/// costs less than keeping a whole block in memory for it.
const SHARE_FROM: usize = 4_096;

/// Bytes that do not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub(super) &'static str);

type Decoded<T> = Result<T, Broken>;

/// What is left of a key or value.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The rest of a value after its format byte.
    fn value(bytes: &'a [u8]) -> Decoded<Self> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => Ok(Self(rest)),
            Some(_) => Err(Broken("a value has an unknown format number")),
            None => Err(Broken("a value is empty")),
        }
    }

    fn take(&mut self, len: usize) -> Decoded<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(Broken("a value ends early"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Broken("a value ends early"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Decoded<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn stamp(&mut self) -> Decoded<Stamp> {
        Ok(Stamp(u64::from_be_bytes(self.array()?)))
    }

    fn id(&mut self) -> Decoded<MessageId> {
        Ok(MessageId(u128::from_be_bytes(self.array()?)))
    }

    fn number(&mut self) -> Decoded<u32> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| Broken("a number is too large"));
            }
        }
        Err(Broken("a number is too long"))
    }

    fn kind(&mut self) -> Decoded<Kind> {
        Kind::from_number(u64::from(self.byte()?)).ok_or(Broken("an unknown conversation kind"))
    }

    fn text(&mut self) -> Decoded<&'a str> {
        let len = self.number()? as usize;
        utf8(self.take(len)?)
    }

    /// Up to the next NUL, which is skipped.
    fn until_nul(&mut self) -> Decoded<&'a str> {
        let at = self.0.iter().position(|&byte| byte == 0).ok_or(Broken("a key has no end mark"))?;
        let text = utf8(&self.0[..at])?;
        self.0 = &self.0[at + 1..];
        Ok(text)
    }

    /// App and user id, with the NUL after it.
    fn user(&mut self) -> Decoded<UserKey> {
        let (app, id) = (self.until_nul()?, self.until_nul()?);
        UserKey::new(app, id).map_err(|_| Broken("a key names no user"))
    }

    /// The same behind its hash.
    fn hashed_user(&mut self) -> Decoded<UserKey> {
        let hash: [u8; 4] = self.array()?;
        let user = self.user()?;
        let right = xxhash_rust::xxh3::xxh3_64(user.as_str().as_bytes()).to_be_bytes();
        if right[..4] == hash { Ok(user) } else { Err(Broken("a key has a wrong hash")) }
    }

    fn end(self) -> Decoded<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Broken("bytes are left over")) }
    }
}

fn utf8(bytes: &[u8]) -> Decoded<&str> {
    std::str::from_utf8(bytes).map_err(|_| Broken("a text is not UTF-8"))
}

fn put_number(out: &mut Vec<u8>, number: u32) {
    let mut rest = number;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u32);
    out.extend_from_slice(text.as_bytes());
}

// Keys ---------------------------------------------------------------------------------------------------------------

/// Sets the hash in front of `key`, whose first bytes are left free for it: four, or three behind the kind of a log.
fn set_hash(key: &mut [u8], kind: Option<u8>, of: Range<usize>) {
    let hash = xxhash_rust::xxh3::xxh3_64(&key[of]).to_be_bytes();
    key[..4].copy_from_slice(&hash[..4]);
    if let Some(kind) = kind {
        key[0] = kind;
    }
}

/// What a log's keys start with.
pub(super) fn log_key(out: &mut Vec<u8>, log: &[u8]) {
    out.clear();
    let (kind, rest) = log.split_first().map_or((0, log), |(kind, rest)| (*kind, rest));
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(rest);
    set_hash(out, Some(kind), 4..4 + rest.len());
}

fn place(out: &mut Vec<u8>, at: Stamp, id: MessageId) {
    out.extend_from_slice(&at.0.to_be_bytes());
    out.extend_from_slice(&id.0.to_be_bytes());
}

/// Key of a body, from its log's bytes.
pub(super) fn body_key(out: &mut Vec<u8>, log: &[u8], at: Stamp, id: MessageId) {
    log_key(out, log);
    place(out, at, id);
}

/// Key of a body, from the message alone: what [`body_key`] gives for its log, without building the log.
pub(super) fn message_key(out: &mut Vec<u8>, message: &Message) {
    out.clear();
    out.extend_from_slice(&[0; 4]);
    let (app, from) = (message.from.app(), message.from.id());
    out.extend_from_slice(app.as_bytes());
    out.push(0);
    let (a, b) = match message.kind {
        Kind::Private if from > &*message.to => (&*message.to, Some(from)),
        Kind::Private | Kind::System => (from, Some(&*message.to)),
        _ => (&*message.to, None),
    };
    out.extend_from_slice(a.as_bytes());
    out.push(0);
    if let Some(b) = b {
        out.extend_from_slice(b.as_bytes());
        out.push(0);
    }
    let end = out.len();
    set_hash(out, Some(message.kind.number()), 4..end);
    place(out, message.at, message.id);
}

/// Length of a body's key without time and id: what all keys of one log start with.
pub(super) fn log_len(key: &[u8]) -> Decoded<usize> {
    key.len().checked_sub(24).ok_or(Broken("a key is too short"))
}

/// Log, time and id of a body's key.
pub(super) fn read_body_key(key: &[u8]) -> Decoded<(Log, Stamp, MessageId)> {
    let (log, place) = key.split_at(log_len(key)?);
    let mut place = Reader(place);
    Ok((read_log(log)?, place.stamp()?, place.id()?))
}

/// A log from what its keys start with.
pub(super) fn read_log(bytes: &[u8]) -> Decoded<Log> {
    let mut reader = Reader(bytes);
    let kind = reader.kind()?;
    reader.take(3)?;
    let app = reader.until_nul()?;
    let a = reader.until_nul()?;
    let log = match kind {
        Kind::Private | Kind::System => {
            let b = reader.until_nul()?;
            let user = UserKey::new(app, a).map_err(|_| Broken("a key names no user"))?;
            if kind == Kind::Private { Log::between(&user, b) } else { Log::system(&user, b) }
        }
        _ => Log::group(kind, app, a),
    };
    let mut again = Vec::with_capacity(bytes.len());
    log_key(&mut again, log.as_bytes());
    if again == bytes { Ok(log) } else { Err(Broken("a key names no log")) }
}

/// User and NUL: the key of a mailbox's row, and the start of all of a user's keys.
pub(super) fn user_key(out: &mut Vec<u8>, user: &UserKey) {
    out.clear();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(user.as_str().as_bytes());
    let end = out.len();
    set_hash(out, None, 4..end);
    out.push(0);
}

/// Key of an entry.
pub(super) fn entry_key(out: &mut Vec<u8>, user: &UserKey, pos: Stamp) {
    user_key(out, user);
    out.extend_from_slice(&pos.0.to_be_bytes());
}

/// Position of an entry's key.
pub(super) fn read_entry_pos(key: &[u8]) -> Decoded<Stamp> {
    let (_, pos) = key.split_last_chunk().ok_or(Broken("a key is too short"))?;
    Ok(Stamp(u64::from_be_bytes(*pos)))
}

/// User and position of an entry's key.
pub(super) fn read_entry_key(key: &[u8]) -> Decoded<(UserKey, Stamp)> {
    let mut reader = Reader(key);
    let (user, pos) = (reader.hashed_user()?, reader.stamp()?);
    reader.end()?;
    Ok((user, pos))
}

/// Key of a conversation's row.
pub(super) fn conversation_key(out: &mut Vec<u8>, user: &UserKey, conversation: &Conversation) {
    user_key(out, user);
    out.push(conversation.kind.number());
    out.extend_from_slice(conversation.target.as_bytes());
}

/// User and conversation of its row's key.
pub(super) fn read_conversation_key(key: &[u8]) -> Decoded<(UserKey, Conversation)> {
    let mut reader = Reader(key);
    let (user, kind) = (reader.hashed_user()?, reader.kind()?);
    let target = utf8(reader.0)?.into();
    Ok((user, Conversation { kind, target }))
}

/// Tags of facts: [`crate::gossip::Directory::holds`] those below [`TAG_NAME`].
pub(super) const TAG_BLOCKED: u8 = 1;
const TAG_TOKENS: u8 = 2;
const TAG_BLACKLIST: u8 = 3;
pub(super) const TAG_NAME: u8 = 4;
const TAG_PORTRAIT: u8 = 5;
pub(super) const TAG_CREATED: u8 = 6;

/// Key of a fact.
pub(super) fn fact_key(out: &mut Vec<u8>, key: &FactKey) {
    let (tag, user) = match key {
        FactKey::Blocked(user) => (TAG_BLOCKED, user),
        FactKey::TokensBefore(user) => (TAG_TOKENS, user),
        FactKey::Blacklist(user, _) => (TAG_BLACKLIST, user),
        FactKey::Name(user) => (TAG_NAME, user),
        FactKey::Portrait(user) => (TAG_PORTRAIT, user),
        FactKey::Created(user) => (TAG_CREATED, user),
    };
    out.clear();
    out.push(tag);
    out.extend_from_slice(user.as_str().as_bytes());
    if let FactKey::Blacklist(_, other) = key {
        out.push(0);
        out.extend_from_slice(other.as_bytes());
    }
}

/// What a fact's key is about.
pub(super) fn read_fact_key(key: &[u8]) -> Decoded<FactKey> {
    let mut reader = Reader(key);
    let tag = reader.byte()?;
    if tag == TAG_BLACKLIST {
        let user = reader.user()?;
        return Ok(FactKey::Blacklist(user, utf8(reader.0)?.into()));
    }
    let user = UserKey::parse(utf8(reader.0)?).map_err(|_| Broken("a key names no user"))?;
    Ok(match tag {
        TAG_BLOCKED => FactKey::Blocked(user),
        TAG_TOKENS => FactKey::TokensBefore(user),
        TAG_NAME => FactKey::Name(user),
        TAG_PORTRAIT => FactKey::Portrait(user),
        TAG_CREATED => FactKey::Created(user),
        _ => return Err(Broken("an unknown sort of fact")),
    })
}

// Values -------------------------------------------------------------------------------------------------------------

const HAS_PUSH: u8 = 1;

/// Value of a body: format, flags, bits, sender, target, class, send id, push, and the content as it is.
pub(super) fn body_value(out: &mut Vec<u8>, message: &Message) {
    out.clear();
    let bits = if message.push.is_some() { HAS_PUSH } else { 0 };
    out.extend_from_slice(&[FORMAT, message.flags.0, bits]);
    put_text(out, message.from.id());
    put_text(out, &message.to);
    put_text(out, &message.class);
    put_text(out, &message.cid);
    if let Some(push) = &message.push {
        put_text(out, &push.text);
        put_text(out, &push.data);
    }
    out.extend_from_slice(message.content.json());
}

/// A message from its key and value.
pub(super) fn read_body(key: &[u8], value: &Slice) -> Decoded<Message> {
    let mut head = Reader(key);
    let kind = head.kind()?;
    head.take(3)?;
    let app = head.until_nul()?;
    let at = head.0.len().checked_sub(24).ok_or(Broken("a key is too short"))?;
    let mut place = Reader(&head.0[at..]);
    let (at, id) = (place.stamp()?, place.id()?);

    let mut reader = Reader::value(value)?;
    let flags = Flags(reader.byte()?);
    let bits = reader.byte()?;
    if bits & !HAS_PUSH != 0 {
        return Err(Broken("a message has unknown parts"));
    }
    let from = UserKey::new(app, reader.text()?).map_err(|_| Broken("a message names no sender"))?;
    let to = reader.text()?.into();
    let class = shared(reader.text()?);
    let cid = reader.text()?.into();
    let push = if bits & HAS_PUSH == 0 {
        None
    } else {
        Some(Box::new(Push { text: reader.text()?.into(), data: reader.text()?.into() }))
    };
    let content = if reader.0.len() < SHARE_FROM {
        Bytes::copy_from_slice(reader.0)
    } else {
        let start = value.len() - reader.0.len();
        Bytes::from_owner(value.clone()).slice(start..)
    };
    Ok(Message { id, kind, from, to, at, class, content: Content::trusted(content), flags, cid, push })
}

/// The class's name; the commonest one is not allocated anew for every message.
fn shared(class: &str) -> Arc<str> {
    static TEXT: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| "RC:TxtMsg".into());
    if class == &**TEXT { TEXT.clone() } else { class.into() }
}

const ROW_MESSAGE: u8 = 1;
const ROW_MINE: u8 = 2;
const ROW_READ: u8 = 3;
const ROW_READ_REMOVED: u8 = 4;
const ROW_RECEIPT: u8 = 5;
const ROW_RECALL: u8 = 6;

/// Value of an entry.
pub(super) fn entry_value(out: &mut Vec<u8>, row: &EntryRow) {
    out.clear();
    out.push(FORMAT);
    let conversation = match row {
        EntryRow::Message { id, at, conversation, mine, flags, ordinal } => {
            out.push(if *mine { ROW_MINE } else { ROW_MESSAGE });
            out.extend_from_slice(&id.0.to_be_bytes());
            out.extend_from_slice(&at.0.to_be_bytes());
            out.push(flags.0);
            put_number(out, *ordinal);
            conversation
        }
        EntryRow::Read { conversation, upto, ordinal, removed } => {
            out.push(if *removed { ROW_READ_REMOVED } else { ROW_READ });
            out.extend_from_slice(&upto.0.to_be_bytes());
            put_number(out, *ordinal);
            conversation
        }
        EntryRow::Receipt { conversation, at } => {
            out.push(ROW_RECEIPT);
            out.extend_from_slice(&at.0.to_be_bytes());
            conversation
        }
        EntryRow::Recall { conversation, id, at, by, extra } => {
            out.push(ROW_RECALL);
            out.extend_from_slice(&id.0.to_be_bytes());
            out.extend_from_slice(&at.0.to_be_bytes());
            put_text(out, by);
            put_text(out, extra);
            conversation
        }
    };
    out.push(conversation.kind.number());
    out.extend_from_slice(conversation.target.as_bytes());
}

/// An entry from its value.
pub(super) fn read_entry(value: &[u8]) -> Decoded<EntryRow> {
    let mut reader = Reader::value(value)?;
    let conversation = |mut reader: Reader<'_>| -> Decoded<Conversation> {
        Ok(Conversation { kind: reader.kind()?, target: utf8(reader.0)?.into() })
    };
    Ok(match reader.byte()? {
        tag @ (ROW_MESSAGE | ROW_MINE) => EntryRow::Message {
            id: reader.id()?,
            at: reader.stamp()?,
            mine: tag == ROW_MINE,
            flags: Flags(reader.byte()?),
            ordinal: reader.number()?,
            conversation: conversation(reader)?,
        },
        tag @ (ROW_READ | ROW_READ_REMOVED) => EntryRow::Read {
            upto: reader.stamp()?,
            ordinal: reader.number()?,
            removed: tag == ROW_READ_REMOVED,
            conversation: conversation(reader)?,
        },
        ROW_RECEIPT => EntryRow::Receipt { at: reader.stamp()?, conversation: conversation(reader)? },
        ROW_RECALL => EntryRow::Recall {
            id: reader.id()?,
            at: reader.stamp()?,
            by: reader.text()?.into(),
            extra: reader.text()?.into(),
            conversation: conversation(reader)?,
        },
        _ => return Err(Broken("an unknown sort of entry")),
    })
}

/// Value of a row that is written seldom: format, then postcard.
fn row_value<T: Serialize>(out: &mut Vec<u8>, row: &T) -> Decoded<()> {
    out.clear();
    out.push(FORMAT);
    *out = postcard::to_extend(row, std::mem::take(out)).map_err(|_| Broken("a row does not encode"))?;
    Ok(())
}

fn read_row<T: DeserializeOwned>(value: &[u8]) -> Decoded<T> {
    let reader = Reader::value(value)?;
    let (row, rest) = postcard::take_from_bytes(reader.0).map_err(|_| Broken("a row does not decode"))?;
    Reader(rest).end()?;
    Ok(row)
}

/// Value of a mailbox's row.
pub(super) fn mailbox_value(out: &mut Vec<u8>, row: &MailboxRow) -> Decoded<()> {
    row_value(out, row)
}

/// A mailbox's row.
pub(super) fn read_mailbox(value: &[u8]) -> Decoded<MailboxRow> {
    read_row(value)
}

/// Value of a conversation's row.
pub(super) fn conversation_value(out: &mut Vec<u8>, row: &ConversationRow) -> Decoded<()> {
    row_value(out, row)
}

/// A conversation's row.
pub(super) fn read_conversation(value: &[u8]) -> Decoded<ConversationRow> {
    read_row(value)
}

/// Value of a fact.
pub(super) fn fact_value(out: &mut Vec<u8>, fact: &Fact) -> Decoded<()> {
    row_value(out, fact)
}

/// A fact.
pub(super) fn read_fact(value: &[u8]) -> Decoded<Fact> {
    read_row(value)
}

// Batches ------------------------------------------------------------------------------------------------------------

/// Number of a batch, and the highest stamp that it or any before it wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchMark {
    /// Batches are counted from 1; 0 is before the first.
    pub number: u64,
    /// The highest position, time or stamp of a fact so far.
    pub last: Stamp,
}

/// Keyspaces that batches write to, beside `meta`; the place of a name is the keyspace's number here.
pub(super) const KEYSPACES: [&str; 5] = ["bodies", "entries", "mailboxes", "conversations", "facts"];

/// For each keyspace the number of the last batch that wrote to it; 0: none.
pub(super) type Touched = [u64; KEYSPACES.len()];

/// The row that a batch writes into `meta`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BatchRow {
    pub(super) mark: BatchMark,
    /// The state before this batch, so that the oldest journal says what the tables must hold already.
    pub(super) before: Touched,
}

/// What a batch's row starts with; with its checksum it can be found among bytes that make no sense otherwise.
pub(super) const BATCH_MAGIC: [u8; 8] = *b"\x01HYbatch";
/// Length of a batch's row.
pub(super) const BATCH_LEN: usize = 32 + 8 * KEYSPACES.len();

/// Value of a batch's row: magic, number, stamp, `before`, and a checksum of these (XXH3).
pub(super) fn batch_value(row: &BatchRow) -> [u8; BATCH_LEN] {
    let mut out = [0; BATCH_LEN];
    out[..8].copy_from_slice(&BATCH_MAGIC);
    let numbers = [row.mark.number, row.mark.last.0].into_iter().chain(row.before);
    for (place, number) in out[8..].chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    let sum = xxhash_rust::xxh3::xxh3_64(&out[..BATCH_LEN - 8]);
    out[BATCH_LEN - 8..].copy_from_slice(&sum.to_be_bytes());
    out
}

/// A batch's row.
pub(super) fn read_batch(value: &[u8]) -> Decoded<BatchRow> {
    let mut reader = Reader(value);
    if reader.array()? != BATCH_MAGIC {
        return Err(Broken("a batch's row has an unknown format"));
    }
    let mark = BatchMark { number: reader.stamp()?.0, last: reader.stamp()? };
    let mut row = BatchRow { mark, before: Touched::default() };
    for before in &mut row.before {
        *before = reader.stamp()?.0;
    }
    reader.stamp()?;
    reader.end()?;
    if batch_value(&row) == value { Ok(row) } else { Err(Broken("a batch's row has a wrong checksum")) }
}

/// Key, before all others, of a row that every batch writes into each keyspace that it writes to: what is in that
/// keyspace's tables is what batches up to this one wrote.
pub(super) const MARK_KEY: &[u8] = &[0];

/// Value of that row.
pub(super) fn mark_value(mark: BatchMark) -> [u8; 17] {
    let mut out = [FORMAT; 17];
    out[1..9].copy_from_slice(&mark.number.to_be_bytes());
    out[9..].copy_from_slice(&mark.last.0.to_be_bytes());
    out
}

/// That row.
pub(super) fn read_mark(value: &[u8]) -> Decoded<BatchMark> {
    let mut reader = Reader::value(value)?;
    let mark = BatchMark { number: reader.stamp()?.0, last: reader.stamp()? };
    reader.end()?;
    Ok(mark)
}

/// For fuzzing: runs every decoder over `bytes` (as key, as value, and cut in two), and for what decodes checks that
/// it encodes to bytes that decode to the same.
///
/// # Panics
/// When a decoder panics or a round trip changes something: that is what is looked for.
pub fn fuzz_decoders(bytes: &[u8]) {
    let mut out = Vec::new();
    if let Ok((log, at, id)) = read_body_key(bytes) {
        body_key(&mut out, log.as_bytes(), at, id);
        assert_eq!(out, bytes);
    }
    if let Ok((user, pos)) = read_entry_key(bytes) {
        assert_eq!(read_entry_pos(bytes), Ok(pos));
        entry_key(&mut out, &user, pos);
        assert_eq!(out, bytes);
    }
    if let Ok((user, conversation)) = read_conversation_key(bytes) {
        conversation_key(&mut out, &user, &conversation);
        assert_eq!(out, bytes);
    }
    if let Ok(key) = read_fact_key(bytes) {
        fact_key(&mut out, &key);
        assert_eq!(out, bytes);
    }
    if let Ok(row) = read_entry(bytes) {
        entry_value(&mut out, &row);
        assert_eq!(read_entry(&out), Ok(row));
    }
    if let Ok(row) = read_mailbox(bytes) {
        mailbox_value(&mut out, &row).expect("a row encodes");
        assert_eq!(read_mailbox(&out), Ok(row));
    }
    if let Ok(row) = read_conversation(bytes) {
        conversation_value(&mut out, &row).expect("a row encodes");
        assert_eq!(read_conversation(&out), Ok(row));
    }
    if let Ok(fact) = read_fact(bytes) {
        fact_value(&mut out, &fact).expect("a row encodes");
        assert_eq!(read_fact(&out), Ok(fact));
    }
    if let Ok(row) = read_batch(bytes) {
        assert_eq!(batch_value(&row), bytes);
    }
    if let Ok(mark) = read_mark(bytes) {
        assert_eq!(mark_value(mark), bytes);
    }
    // The first byte says where the key ends, the rest is key and value.
    if let Some((&cut, rest)) = bytes.split_first() {
        let (key, value) = rest.split_at(rest.len().min(usize::from(cut)));
        if let Ok(message) = read_body(key, &Slice::from(value)) {
            body_value(&mut out, &message);
            assert_eq!(read_body(key, &Slice::from(&out)), Ok(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DeviceRow, SentRow};
    use proptest::{collection::vec, option, prelude::*, sample::select};

    fn user() -> impl Strategy<Value = UserKey> {
        ("[a-z]{1,13}", "\\PC{1,16}").prop_map(|(app, id)| UserKey::new(&app, &id).unwrap())
    }

    fn stamp() -> impl Strategy<Value = Stamp> {
        any::<u64>().prop_map(Stamp)
    }

    fn kind() -> impl Strategy<Value = Kind> {
        select(
            &[
                Kind::Private,
                Kind::Discussion,
                Kind::Group,
                Kind::Chatroom,
                Kind::CustomerService,
                Kind::System,
            ][..],
        )
    }

    fn conversation() -> impl Strategy<Value = Conversation> {
        (kind(), "\\PC{1,16}").prop_map(|(kind, target)| Conversation { kind, target: target.into() })
    }

    fn message() -> impl Strategy<Value = Message> {
        let push = option::of(("\\PC{0,9}", "\\PC{0,300}"));
        let content = prop_oneof![vec(any::<u8>(), 0..300), Just(vec![7; SHARE_FROM])];
        let texts = ("\\PC{1,16}", "[a-zA-Z:]{1,64}", "\\PC{0,16}");
        (kind(), user(), texts, stamp(), any::<u128>(), any::<u8>(), content, push).prop_map(
            |(kind, from, (to, class, cid), at, id, flags, content, push)| Message {
                id: MessageId(id),
                kind,
                from,
                to: to.into(),
                at,
                class: class.into(),
                content: Content::trusted(content.into()),
                flags: Flags(flags),
                cid: cid.into(),
                push: push.map(|(text, data)| Box::new(Push { text, data })),
            },
        )
    }

    fn row() -> impl Strategy<Value = EntryRow> {
        prop_oneof![
            (conversation(), stamp(), any::<u128>(), any::<bool>(), any::<u8>(), any::<u32>()).prop_map(
                |(conversation, at, id, mine, flags, ordinal)| {
                    let (id, flags) = (MessageId(id), Flags(flags));
                    EntryRow::Message { id, at, conversation, mine, flags, ordinal }
                }
            ),
            (conversation(), stamp(), any::<u32>(), any::<bool>()).prop_map(
                |(conversation, upto, ordinal, removed)| EntryRow::Read {
                    conversation,
                    upto,
                    ordinal,
                    removed
                }
            ),
            (conversation(), stamp()).prop_map(|(conversation, at)| EntryRow::Receipt { conversation, at }),
            (conversation(), stamp(), any::<u128>(), "\\PC{1,16}", "\\PC{0,200}").prop_map(
                |(conversation, at, id, by, extra)| EntryRow::Recall {
                    conversation,
                    id: MessageId(id),
                    at,
                    by: by.into(),
                    extra: extra.into(),
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn a_message_comes_back(message in message()) {
            let (mut key, mut same, mut value) = (Vec::new(), Vec::new(), Vec::new());
            message_key(&mut key, &message);
            body_key(&mut same, message.log().as_bytes(), message.at, message.id);
            prop_assert_eq!(&key, &same);
            body_value(&mut value, &message);
            prop_assert_eq!(read_body(&key, &Slice::from(&value)), Ok(message.clone()));
            prop_assert_eq!(read_body_key(&key), Ok((message.log(), message.at, message.id)));
        }

        #[test]
        fn rows_come_back(user in user(), pos in stamp(), row in row(), conversation in conversation()) {
            let mut out = Vec::new();
            entry_value(&mut out, &row);
            prop_assert_eq!(read_entry(&out), Ok(row));
            entry_key(&mut out, &user, pos);
            prop_assert_eq!(read_entry_key(&out), Ok((user.clone(), pos)));
            conversation_key(&mut out, &user, &conversation);
            prop_assert_eq!(read_conversation_key(&out), Ok((user.clone(), conversation.clone())));
            let blacklist = FactKey::Blacklist(user.clone(), conversation.target);
            for key in [FactKey::Created(user), blacklist] {
                fact_key(&mut out, &key);
                prop_assert_eq!(read_fact_key(&out), Ok(key));
            }
        }

        #[test]
        fn mangled_bytes_are_errors_or_rows_but_never_a_panic(
            message in message(), row in row(), user in user(), places in vec((any::<usize>(), any::<u8>()), 1..4),
            cut in any::<usize>(), how in 0..6,
        ) {
            let (mut key, mut bytes) = (Vec::new(), Vec::new());
            message_key(&mut key, &message);
            match how {
                0 => body_value(&mut bytes, &message),
                1 => entry_value(&mut bytes, &row),
                2 => entry_key(&mut bytes, &user, message.at),
                3 => message_key(&mut bytes, &message),
                4 => {
                    let device = DeviceRow { device: "d".into(), cursor: message.at, seen: message.at };
                    let sent = vec![SentRow { id: message.id, at: message.at, pos: message.at }; 3];
                    let row = MailboxRow { last: message.at, trimmed: message.at, devices: vec![device; 2], sent };
                    mailbox_value(&mut bytes, &row).unwrap();
                }
                _ => {
                    let mark = BatchMark { number: message.at.0, last: message.at };
                    bytes = batch_value(&BatchRow { mark, before: [3; 5] }).to_vec();
                }
            }
            for (place, flip) in places {
                let place = place % bytes.len();
                bytes[place] ^= flip;
            }
            bytes.truncate(cut % (bytes.len() + 1));
            let _ = read_body(&key, &Slice::from(&bytes));
            fuzz_decoders(&bytes);
            bytes.insert(0, cut as u8);
            fuzz_decoders(&bytes);
        }

        #[test]
        fn any_bytes_are_errors_or_rows_but_never_a_panic(bytes in vec(any::<u8>(), 0..300)) {
            fuzz_decoders(&bytes);
        }
    }

    #[test]
    fn users_and_positions_are_in_order_and_apart() {
        let (ann, bo) = (UserKey::new("app", "ann").unwrap(), UserKey::new("app", "anna").unwrap());
        let (mut a, mut b) = (Vec::new(), Vec::new());
        entry_key(&mut a, &ann, Stamp(255));
        entry_key(&mut b, &ann, Stamp(256));
        assert!(a < b);
        user_key(&mut b, &bo);
        assert!(!b.starts_with(&a[..a.len() - 8]) && !a.starts_with(&b));
    }
}
