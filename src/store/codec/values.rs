//! Values, both ways.

use super::{
    super::{ClaimRow, ConversationRow, MailboxRow},
    Broken, Decoded, FORMAT, Reader, put_number, put_text, utf8,
};
use crate::{
    gossip::Fact,
    model::{Change, Content, Conversation, EntryRow, Flags, Message, Push, UserKey},
};
use bytes::Bytes;
use fjall::Slice;
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;

/// Contents from this size on are shared with the block that they were read from instead of copied: below it, a copy
/// costs less than keeping a whole block in memory for it.
pub(in crate::store) const SHARE_FROM: usize = 4_096;

const HAS_PUSH: u8 = 1;

/// Value of a body: format, flags, bits, sender, target, class, send id, push, and the content as it is.
pub(in crate::store) fn body_value(out: &mut Vec<u8>, message: &Message) {
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
pub(in crate::store) fn read_body(key: &[u8], value: &Slice) -> Decoded<Message> {
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
pub(in crate::store) fn entry_value(out: &mut Vec<u8>, row: &EntryRow) {
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
        EntryRow::Change(Change::Read { conversation, upto, ordinal, removed }) => {
            out.push(if *removed { ROW_READ_REMOVED } else { ROW_READ });
            out.extend_from_slice(&upto.0.to_be_bytes());
            put_number(out, *ordinal);
            conversation
        }
        EntryRow::Change(Change::Receipt { conversation, at }) => {
            out.push(ROW_RECEIPT);
            out.extend_from_slice(&at.0.to_be_bytes());
            conversation
        }
        EntryRow::Change(Change::Recall { conversation, id, at, by, extra }) => {
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
pub(in crate::store) fn read_entry(value: &[u8]) -> Decoded<EntryRow> {
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
        tag @ (ROW_READ | ROW_READ_REMOVED) => EntryRow::Change(Change::Read {
            upto: reader.stamp()?,
            ordinal: reader.number()?,
            removed: tag == ROW_READ_REMOVED,
            conversation: conversation(reader)?,
        }),
        ROW_RECEIPT => {
            EntryRow::Change(Change::Receipt { at: reader.stamp()?, conversation: conversation(reader)? })
        }
        ROW_RECALL => EntryRow::Change(Change::Recall {
            id: reader.id()?,
            at: reader.stamp()?,
            by: reader.text()?.into(),
            extra: reader.text()?.into(),
            conversation: conversation(reader)?,
        }),
        _ => return Err(Broken("an unknown sort of entry")),
    })
}

/// Value of a row that is written seldom: format, then postcard.
pub(super) fn row_value<T: Serialize>(out: &mut Vec<u8>, row: &T) -> Decoded<()> {
    out.clear();
    out.push(FORMAT);
    *out = postcard::to_extend(row, std::mem::take(out)).map_err(|_| Broken("a row does not encode"))?;
    Ok(())
}

pub(super) fn read_row<T: DeserializeOwned>(value: &[u8]) -> Decoded<T> {
    read_part(Reader::value(value)?)
}

/// What follows the format byte.
pub(super) fn read_part<T: DeserializeOwned>(reader: Reader<'_>) -> Decoded<T> {
    let (row, rest) = postcard::take_from_bytes(reader.0).map_err(|_| Broken("a row does not decode"))?;
    Reader(rest).end()?;
    Ok(row)
}

/// Value of a mailbox's row.
pub(in crate::store) fn mailbox_value(out: &mut Vec<u8>, row: &MailboxRow) -> Decoded<()> {
    row_value(out, row)
}

/// A mailbox's row.
pub(in crate::store) fn read_mailbox(value: &[u8]) -> Decoded<MailboxRow> {
    read_row(value)
}

/// Value of a conversation's row.
pub(in crate::store) fn conversation_value(out: &mut Vec<u8>, row: &ConversationRow) -> Decoded<()> {
    row_value(out, row)
}

/// A conversation's row.
pub(in crate::store) fn read_conversation(value: &[u8]) -> Decoded<ConversationRow> {
    read_row(value)
}

/// Value of a fact.
pub(in crate::store) fn fact_value(out: &mut Vec<u8>, fact: &Fact) -> Decoded<()> {
    row_value(out, fact)
}

/// A fact.
pub(in crate::store) fn read_fact(value: &[u8]) -> Decoded<Fact> {
    read_row(value)
}

/// Value of a claim.
pub(in crate::store) fn claim_value(out: &mut Vec<u8>, row: &ClaimRow) -> Decoded<()> {
    row_value(out, row)
}

/// A claim.
pub(in crate::store) fn read_claim(value: &[u8]) -> Decoded<ClaimRow> {
    read_row(value)
}
