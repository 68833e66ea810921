//! Names of things: users, devices, messages.

use super::Stamp;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr, sync::Arc};

/// Longest user, group, device or client message id, in bytes.
pub const MAX_ID: usize = 64;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Over [`MAX_ID`] bytes.
    #[error("is {0} bytes, the limit is 64")]
    TooLong(usize),
    /// Holds a control character.
    #[error("holds a control character")]
    Control,
}

/// Checks an id that came from outside: 1 to 64 bytes of UTF-8 without control characters.
///
/// # Errors
/// What is wrong with it.
pub fn check_id(id: &str) -> Result<(), BadId> {
    match id.len() {
        0 => Err(BadId::Empty),
        n if n > MAX_ID => Err(BadId::TooLong(n)),
        _ if id.bytes().any(|b| b < 0x20 || b == 0x7f) => Err(BadId::Control),
        // Those that are left are all beyond ASCII.
        _ if !id.is_ascii() && id.chars().any(char::is_control) => Err(BadId::Control),
        _ => Ok(()),
    }
}

/// A user of an app: app key and user id in one shared text, parted by NUL.
///
/// Cloning is a reference count. The bytes are also the prefix of the user's keys in the store;
/// NUL cannot occur in either part, so one user's prefix is never the prefix of another's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey(Arc<str>);

impl UserKey {
    /// The user `id` of `app`.
    ///
    /// # Errors
    /// When `app` or `id` is not an id, see [`check_id`].
    pub fn new(app: &str, id: &str) -> Result<Self, BadId> {
        check_id(app)?;
        check_id(id)?;
        Ok(Self::joined(app, id))
    }

    /// Reads what [`Self::as_str`] gave.
    ///
    /// # Errors
    /// When it is not an app key, NUL, and a user id.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let (app, id) = text.split_once('\0').ok_or(BadId::Empty)?;
        check_id(app)?;
        check_id(id)?;
        Ok(Self(text.into()))
    }

    /// Another user of the same app.
    ///
    /// # Errors
    /// When `id` is not an id.
    pub fn sibling(&self, id: &str) -> Result<Self, BadId> {
        Self::new(self.app(), id)
    }

    /// Both are ids.
    fn joined(app: &str, id: &str) -> Self {
        let mut text = [0_u8; 2 * MAX_ID + 1];
        let (at, len) = (app.len() + 1, app.len() + 1 + id.len());
        // Put together in place: this is done for every message, and a text on the way would be one allocation more.
        text[..app.len()].copy_from_slice(app.as_bytes());
        text[at..len].copy_from_slice(id.as_bytes());
        Self(String::from_utf8_lossy(&text[..len]).into())
    }

    fn split(&self) -> usize {
        self.0.bytes().position(|b| b == 0).unwrap_or(0)
    }

    /// The app key.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.0[..self.split()]
    }

    /// The user id within the app.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0[self.split() + 1..]
    }

    /// App key, NUL, user id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app(), self.id())
    }
}

impl Serialize for UserKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UserKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Reads a key from where it stands: each parcel between nodes has four of them.
struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = UserKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an app key, NUL, and a user id")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<UserKey, E> {
        UserKey::parse(text).map_err(E::custom)
    }
}

/// A device of a user, named by the client and kept by it over restarts.
pub type DeviceId = Arc<str>;

/// A message id: 128 bits, written as a 26-character ULID (Crockford base 32, sorts as text).
///
/// The first 48 bits are milliseconds (of the client's own ULID when its send id is one), the other
/// 80 are a hash of app, sender and send id. So the same send is the same message wherever and
/// whenever it is sent again (P3), and nobody can make a second message under another's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId(pub u128);

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl MessageId {
    /// The id of what `sender` sends as `cid`.
    #[must_use]
    pub fn of(sender: &UserKey, cid: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(sender.as_str().as_bytes());
        hash.update([0]);
        hash.update(cid.as_bytes());
        let digest = hash.finalize();
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        let hashed = u128::from_be_bytes(bytes);
        match cid.parse::<Self>() {
            Ok(ulid) => Self((ulid.0 >> 80 << 80) | (hashed & ((1 << 80) - 1))),
            Err(_) => Self(hashed),
        }
    }
}

impl MessageId {
    /// When it was made, of an id that is a ULID.
    #[must_use]
    pub const fn made(self) -> Stamp {
        Stamp::from_millis((self.0 >> 80) as u64)
    }

    fn digits(self) -> [u8; 26] {
        std::array::from_fn(|i| ALPHABET[(self.0 >> (125 - 5 * i)) as usize & 31])
    }

    /// Appends the 26 characters to `out`.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.digits());
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        if text.len() != 26 {
            return Err(BadId::TooLong(text.len()));
        }
        let mut value = 0_u128;
        for (i, byte) in text.bytes().enumerate() {
            let digit =
                ALPHABET.iter().position(|&a| a == byte.to_ascii_uppercase()).ok_or(BadId::Control)?;
            if i == 0 && digit > 7 {
                return Err(BadId::Control);
            }
            value = value << 5 | digit as u128;
        }
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded_in_bytes_and_free_of_control_characters() {
        assert_eq!(check_id(""), Err(BadId::Empty));
        assert_eq!(check_id(&"x".repeat(64)), Ok(()));
        assert_eq!(check_id(&"x".repeat(65)), Err(BadId::TooLong(65)));
        assert_eq!(check_id(&"鸿".repeat(22)), Err(BadId::TooLong(66)));
        assert_eq!(check_id("a\0b"), Err(BadId::Control));
        assert_eq!(check_id("a\u{85}b"), Err(BadId::Control));
        assert_eq!(check_id("Ann+o=n-_|雁"), Ok(()));
    }

    #[test]
    fn a_message_id_reads_back_and_depends_on_sender_and_send_id_alone() {
        let ann = UserKey::new("app", "ann").unwrap();
        let bo = UserKey::new("app", "bo").unwrap();
        let id = MessageId::of(&ann, "cid-1");
        assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
        assert_eq!(id, MessageId::of(&ann, "cid-1"));
        assert_ne!(id, MessageId::of(&bo, "cid-1"));
        assert_ne!(id, MessageId::of(&ann, "cid-2"));
    }

    #[test]
    fn a_ulid_as_send_id_gives_its_time_to_the_message_id() {
        let ann = UserKey::new("app", "ann").unwrap();
        let ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        assert_eq!(&MessageId::of(&ann, ulid).to_string()[..10], &ulid[..10]);
        assert_ne!(MessageId::of(&ann, ulid).to_string(), ulid);
    }

    #[test]
    fn user_keys_split_and_survive_the_wire() {
        let ann = UserKey::new("app", "ann").unwrap();
        assert_eq!((ann.app(), ann.id()), ("app", "ann"));
        let bytes = postcard::to_stdvec(&ann).unwrap();
        assert_eq!(postcard::from_bytes::<UserKey>(&bytes).unwrap(), ann);
        assert!(postcard::from_bytes::<UserKey>(&postcard::to_stdvec("no-nul").unwrap()).is_err());
    }
}
