//! Keys and values of the embedded store, as bytes.
//!
//! | keyspace | key | value |
//! | --- | --- | --- |
//! | `bodies` | kind (1), hash of the log (3), log without its kind, time (8 bytes, big endian), message id (16) | a message without what the key says |
//! | `entries` | hash of the user (4), user, NUL, position (8) | an entry that points at its message |
//! | `mailboxes` | hash of the user (4), user, NUL | checkpoint of the mailbox |
//! | `conversations` | hash of the user (4), user, NUL, kind (1), target | checkpoint of the conversation |
//! | `facts` | tag (1), user, and for a blacklist NUL and the other's id | the fact |
//! | `claims` | hash of the user (16) | owner, term, stamp and chain of the mailbox |
//! | `outbox` | node (4), number of the first (8, big endian) | a pack: how many parcels, and each with its length before it; one that begins with 2 points at its message in `bodies` |
//! | | the same, and 1 | which parcels of the pack are done: how many runs, and first and last of each, counted from 0 |
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
//! Every value starts with the format's number, 1 (but for parcels that point). Lengths are LEB128; the last part of a value has none. A value is built in
//! a scratch buffer and copied once into an allocation of its exact size. Decoders take any bytes: they check every
//! length against what is left before they allocate, and answer with [`Broken`], never with a panic.

mod batch;
mod keys;
mod packs;
mod values;

pub use batch::BatchMark;
pub(super) use batch::*;
pub(super) use keys::*;
pub(super) use packs::*;
pub(super) use values::*;

use crate::model::{Kind, MessageId, Stamp, UserKey};
use fjall::Slice;

/// First byte of every value.
pub(super) const FORMAT: u8 = 1;

/// Bytes that do not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub(super) &'static str);

type Decoded<T> = Result<T, Broken>;

/// What is left of a key or value.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The rest of a value after its format byte.
    pub(super) fn value(bytes: &'a [u8]) -> Decoded<Self> {
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
    if let Ok(row) = read_claim(bytes) {
        claim_value(&mut out, &row).expect("a row encodes");
        assert_eq!(read_claim(&out), Ok(row));
    }
    if let Ok(parcel) = read_parcel(bytes) {
        packed_value(&mut out, &parcel).expect("a row encodes");
        assert_eq!(read_parcel(&out), Ok(parcel));
    }
    if let Ok((peer, first, is_gone)) = read_outbox_key(bytes) {
        outbox_key(&mut out, peer, first, is_gone);
        assert_eq!(out, bytes);
    }
    if let Ok(parcels) = read_pack(bytes) {
        let (mut packed, mut one) = (Vec::new(), Vec::new());
        for parcel in &parcels {
            packed_value(&mut one, parcel).expect("a row encodes");
            put_parcel(&mut packed, &one);
        }
        pack_value(&mut out, parcels.len() as u32, &packed);
        assert_eq!(read_pack(&out), Ok(parcels));
    }
    if let Ok(gone) = read_gone(bytes) {
        gone_value(&mut out, &gone);
        assert_eq!(read_gone(&out), Ok(gone));
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
mod tests;
