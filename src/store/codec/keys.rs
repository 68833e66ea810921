//! Keys, both ways.

use super::{Broken, Decoded, Reader, utf8};
use crate::{
    gossip::FactKey,
    model::{Conversation, Kind, Log, Message, MessageId, NodeId, Stamp, UserHash, UserKey},
};
use std::ops::Range;

/// Longest key that is written; the engine's own limit is 65,535 bytes. Ids are at most 64 bytes, so real keys stay
/// below 260.
pub(in crate::store) const MAX_KEY: usize = 4_096;

/// Sets the hash in front of `key`, whose first bytes are left free for it: four, or three behind the kind of a log.
fn set_hash(key: &mut [u8], kind: Option<u8>, of: Range<usize>) {
    let hash = xxhash_rust::xxh3::xxh3_64(&key[of]).to_be_bytes();
    key[..4].copy_from_slice(&hash[..4]);
    if let Some(kind) = kind {
        key[0] = kind;
    }
}

/// What a log's keys start with.
pub(in crate::store) fn log_key(out: &mut Vec<u8>, log: &[u8]) {
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
pub(in crate::store) fn body_key(out: &mut Vec<u8>, log: &[u8], at: Stamp, id: MessageId) {
    log_key(out, log);
    place(out, at, id);
}

/// Key of a body, from the message alone: what [`body_key`] gives for its log, without building the log.
pub(in crate::store) fn message_key(out: &mut Vec<u8>, message: &Message) {
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
pub(in crate::store) fn log_len(key: &[u8]) -> Decoded<usize> {
    key.len().checked_sub(24).ok_or(Broken("a key is too short"))
}

/// Log, time and id of a body's key.
pub(in crate::store) fn read_body_key(key: &[u8]) -> Decoded<(Log, Stamp, MessageId)> {
    let (log, place) = key.split_at(log_len(key)?);
    let mut place = Reader(place);
    Ok((read_log(log)?, place.stamp()?, place.id()?))
}

/// A log from what its keys start with.
pub(in crate::store) fn read_log(bytes: &[u8]) -> Decoded<Log> {
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
pub(in crate::store) fn user_key(out: &mut Vec<u8>, user: &UserKey) {
    out.clear();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(user.as_str().as_bytes());
    let end = out.len();
    set_hash(out, None, 4..end);
    out.push(0);
}

/// Key of an entry.
pub(in crate::store) fn entry_key(out: &mut Vec<u8>, user: &UserKey, pos: Stamp) {
    user_key(out, user);
    out.extend_from_slice(&pos.0.to_be_bytes());
}

/// Position of an entry's key.
pub(in crate::store) fn read_entry_pos(key: &[u8]) -> Decoded<Stamp> {
    let (_, pos) = key.split_last_chunk().ok_or(Broken("a key is too short"))?;
    Ok(Stamp(u64::from_be_bytes(*pos)))
}

/// User and position of an entry's key.
pub(in crate::store) fn read_entry_key(key: &[u8]) -> Decoded<(UserKey, Stamp)> {
    let mut reader = Reader(key);
    let (user, pos) = (reader.hashed_user()?, reader.stamp()?);
    reader.end()?;
    Ok((user, pos))
}

/// Key of a conversation's row.
pub(in crate::store) fn conversation_key(out: &mut Vec<u8>, user: &UserKey, conversation: &Conversation) {
    user_key(out, user);
    out.push(conversation.kind.number());
    out.extend_from_slice(conversation.target.as_bytes());
}

/// User and conversation of its row's key.
pub(in crate::store) fn read_conversation_key(key: &[u8]) -> Decoded<(UserKey, Conversation)> {
    let mut reader = Reader(key);
    let (user, kind) = (reader.hashed_user()?, reader.kind()?);
    let target = utf8(reader.0)?.into();
    Ok((user, Conversation { kind, target }))
}

/// Tags of facts: [`crate::gossip::Directory::holds`] those below [`TAG_NAME`].
pub(in crate::store) const TAG_BLOCKED: u8 = 1;
const TAG_TOKENS: u8 = 2;
const TAG_BLACKLIST: u8 = 3;
pub(in crate::store) const TAG_NAME: u8 = 4;
const TAG_PORTRAIT: u8 = 5;
pub(in crate::store) const TAG_CREATED: u8 = 6;

/// Key of a fact.
pub(in crate::store) fn fact_key(out: &mut Vec<u8>, key: &FactKey) {
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
pub(in crate::store) fn read_fact_key(key: &[u8]) -> Decoded<FactKey> {
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

/// Key of a claim.
pub(in crate::store) fn claim_key(out: &mut Vec<u8>, user: UserHash) {
    out.clear();
    out.extend_from_slice(&user.0.to_be_bytes());
}

/// Ends the key of what is done of a pack.
const GONE: u8 = 1;

/// User of a claim's key.
pub(in crate::store) fn read_claim_key(key: &[u8]) -> Decoded<UserHash> {
    let mut reader = Reader(key);
    let user = UserHash(reader.id()?.0);
    reader.end()?;
    Ok(user)
}

/// Key of a pack of parcels, by its first one, or of what is done of it.
pub(in crate::store) fn outbox_key(out: &mut Vec<u8>, peer: NodeId, first: u64, is_gone: bool) {
    out.clear();
    out.extend_from_slice(&peer.0.to_be_bytes());
    out.extend_from_slice(&first.to_be_bytes());
    // The longer key comes right behind the pack's own.
    out.extend(is_gone.then_some(GONE));
}

/// Node, number of the first parcel, and whether the row says what is done.
pub(in crate::store) fn read_outbox_key(key: &[u8]) -> Decoded<(NodeId, u64, bool)> {
    let mut reader = Reader(key);
    let peer = NodeId(u32::from_be_bytes(reader.array()?));
    let first = reader.stamp()?.0;
    let is_gone = reader.0 == [GONE];
    if !is_gone {
        reader.end()?;
    }
    Ok((peer, first, is_gone))
}
