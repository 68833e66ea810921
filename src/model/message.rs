//! Messages, and the form in which their content is kept.

use super::{Conversation, ConversationName, Kind, Log, MessageId, Stamp, UserKey};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How far a client's clock may be off for its ULIDs to tell when it first sent something, in microseconds.
pub const MAX_CLIENT_SKEW_US: u64 = 60_000_000;

/// Bits that travel with a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags(pub u8);

impl Flags {
    /// Counts as unread for those who receive it.
    pub const COUNTED: Self = Self(1);
    /// Stands in history and in the conversation list.
    pub const STORED: Self = Self(2);
    /// Live sessions only: never written, has no position.
    pub const STATUS: Self = Self(4);
    /// Mentions somebody.
    pub const MENTIONED: Self = Self(8);
    /// Taken back: the content is gone.
    pub const RECALLED: Self = Self(16);
    /// Sent through the server API without a copy for the sender: not in his history either.
    pub const NO_SENDER_COPY: Self = Self(32);
    /// When it was accepted, its sender's mailbox could not tell whether an earlier owner had accepted it already: a log may
    /// hold it twice, at two times.
    pub const DOUBTED: Self = Self(64);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the bits of `other` set, or cleared.
    #[must_use]
    pub const fn with(self, other: Self, on: bool) -> Self {
        if on { Self(self.0 | other.0) } else { Self(self.0 & !other.0) }
    }
}

/// What a push service may show, as the sender gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// Text of the notification.
    pub text: String,
    /// Payload for the app.
    pub data: String,
}

/// One message, shared by all who hand it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id; see [`MessageId::of`].
    pub id: MessageId,
    /// Kind of conversation.
    pub kind: Kind,
    /// Who sent it.
    pub from: UserKey,
    /// User or group that it is addressed to, within the sender's app.
    #[serde(deserialize_with = "super::shared::text")]
    pub to: Arc<str>,
    /// When the node that accepted it did so; unique on that node.
    pub at: Stamp,
    /// Class, such as `RC:TxtMsg`; 1 to 64 bytes.
    #[serde(deserialize_with = "super::shared::text")]
    pub class: Arc<str>,
    /// Content; see [`Content`].
    pub content: Content,
    /// How it is kept and shown.
    pub flags: Flags,
    /// The client's own id of the send.
    #[serde(deserialize_with = "super::shared::text")]
    pub cid: Arc<str>,
    /// For a push service.
    pub push: Option<Box<Push>>,
}

impl Message {
    /// The conversation of this message as `user` sees it.
    #[must_use]
    pub fn conversation(&self, user: &UserKey) -> Conversation {
        let ConversationName { kind, target } = self.conversation_name(user);
        let target = if *target == *self.to { self.to.clone() } else { target.into() };
        Conversation { kind, target }
    }

    /// The same, to look it up by.
    #[must_use]
    pub fn conversation_name(&self, user: &UserKey) -> ConversationName<'_> {
        let target = match self.kind {
            Kind::Private if user.id() == self.from.id() => &self.to,
            Kind::Private | Kind::System => self.from.id(),
            _ => &self.to,
        };
        ConversationName { kind: self.kind, target }
    }

    /// The log in which this message stands.
    #[must_use]
    pub fn log(&self) -> Log {
        match self.kind {
            Kind::Private => Log::between(&self.from, &self.to),
            Kind::System => Log::system(&self.from, &self.to),
            _ => Log::group(self.kind, self.from.app(), &self.to),
        }
    }

    /// Where this one is [`Flags::DOUBTED`]: the first and the last moment at which another owner may have accepted it.
    #[must_use]
    pub fn doubted(&self) -> Option<(Stamp, Stamp)> {
        // Nobody sends for longer what was not answered, and a ULID says when its sender began to.
        const LONGEST_US: u64 = 600_000_000;
        if !self.flags.has(Flags::DOUBTED) {
            return None;
        }
        let since = match self.cid.parse::<MessageId>() {
            Ok(ulid) => ulid.made().0.saturating_sub(MAX_CLIENT_SKEW_US),
            Err(_) => self.at.0.saturating_sub(LONGEST_US),
        };
        Some((Stamp(since), Stamp(self.at.0.saturating_add(MAX_CLIENT_SKEW_US))))
    }

    /// The message as it stands after it was taken back.
    #[must_use]
    pub fn recalled(&self) -> Self {
        Self {
            content: Content::empty(),
            flags: self.flags.with(Flags::RECALLED, true),
            push: None,
            ..self.clone()
        }
    }
}

/// Why bytes are not a content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Neither a JSON object, array nor string.
    #[error("content must be a JSON object, an array or a string")]
    WrongType,
    /// Over the limit.
    #[error("content is {len} bytes, the limit is {max}")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("content is nested deeper than {MAX_DEPTH} objects and arrays")]
    TooDeep,
}

/// Content of a message: the JSON text of an object, an array or a string, as the sender wrote it.
///
/// It is never parsed and written again. Text that is no JSON object or array (the server API allows any)
/// is kept as a JSON string, so that it fits every frame as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content(Bytes);

impl Content {
    /// `{}`.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Bytes::from_static(b"{}"))
    }

    /// From JSON text that a parser has already found to be well formed.
    ///
    /// # Errors
    /// When it is not an object, array or string, is over `max` bytes, or nested deeper than [`MAX_DEPTH`].
    pub fn from_json(json: Bytes, max: usize) -> Result<Self, ContentError> {
        if json.len() > max {
            return Err(ContentError::TooLarge { len: json.len(), max });
        }
        match json.first() {
            Some(b'{' | b'[' | b'"') if is_deep(&json) => Err(ContentError::TooDeep),
            Some(b'{' | b'[' | b'"') => Ok(Self(json)),
            _ => Err(ContentError::WrongType),
        }
    }

    /// From any text: a JSON object or array not nested deeper than [`MAX_DEPTH`] stands as it is, all else becomes a JSON
    /// string.
    ///
    /// # Errors
    /// When it is over `max` bytes.
    pub fn from_text(text: &str, max: usize) -> Result<Self, ContentError> {
        if text.len() > max {
            return Err(ContentError::TooLarge { len: text.len(), max });
        }
        let whole =
            matches!(text.as_bytes(), [b'{', .., b'}'] | [b'[', .., b']']) && !is_deep(text.as_bytes());
        if whole && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() {
            return Ok(Self(Bytes::copy_from_slice(text.as_bytes())));
        }
        let quoted = serde_json::Value::from(text).to_string();
        Ok(Self(quoted.into()))
    }

    /// From the store, which got it from one of the above.
    #[must_use]
    pub const fn trusted(json: Bytes) -> Self {
        Self(json)
    }

    /// The JSON text.
    #[must_use]
    pub const fn json(&self) -> &Bytes {
        &self.0
    }

    /// The text that [`Self::from_text`] would make this content from.
    #[must_use]
    pub fn text(&self) -> String {
        match self.0.first() {
            Some(b'"') => serde_json::from_slice(&self.0).unwrap_or_default(),
            _ => String::from_utf8_lossy(&self.0).into_owned(),
        }
    }
}

/// Objects and arrays inside each other in a content at the most. Most parsers give up somewhere above that, and a message that
/// its addressee cannot parse would keep all after it away.
pub const MAX_DEPTH: usize = 100;

/// Whether a good JSON text is nested deeper than [`MAX_DEPTH`].
fn is_deep(json: &[u8]) -> bool {
    let opens = json.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if opens <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    json.iter().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_DEPTH
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_as_it_was() {
        for text in
            ["{\"content\":\"hi\"}", "[1, 2]", "plain", "{not json}", "\"quoted\"", "", "{\"a\": \n 1}", "12"]
        {
            assert_eq!(Content::from_text(text, 1_000).unwrap().text(), text);
        }
    }

    #[test]
    fn contents_are_bounded_and_typed() {
        assert!(matches!(Content::from_json("12".into(), 10), Err(ContentError::WrongType)));
        assert!(matches!(
            Content::from_json("{\"a\":1}".into(), 3),
            Err(ContentError::TooLarge { len: 7, max: 3 })
        ));
    }

    #[test]
    fn contents_are_not_deeper_than_parsers_go() {
        let nested = |n: usize| {
            let (open, close) = ("[".repeat(n - 1), "]".repeat(n - 1));
            format!(r#"{{"a":"[[[\\\"{{[","b":{open}{close}}}"#)
        };
        let quoted = format!("\"{}\"", "[".repeat(500));
        let wide = format!("[{}{{}}]", "[],".repeat(500));
        for fine in [nested(MAX_DEPTH), wide, quoted] {
            assert!(serde_json::from_str::<serde_json::Value>(&fine).is_ok(), "{fine}");
            assert!(Content::from_json(fine.clone().into(), 10_000).is_ok(), "{fine}");
        }
        let deep = nested(MAX_DEPTH + 1);
        assert_eq!(Content::from_json(deep.clone().into(), 10_000), Err(ContentError::TooDeep));
        let kept = Content::from_text(&deep, 10_000).unwrap();
        assert_eq!((kept.json()[0], kept.text()), (b'"', deep));
    }

    #[test]
    fn a_private_message_is_seen_under_the_peer_by_both() {
        let ann = UserKey::new("app", "ann").unwrap();
        let bo = UserKey::new("app", "bo").unwrap();
        let message = Message {
            id: MessageId(1),
            kind: Kind::Private,
            from: ann.clone(),
            to: "bo".into(),
            at: Stamp(1),
            class: "RC:TxtMsg".into(),
            content: Content::empty(),
            flags: Flags::default(),
            cid: "1".into(),
            push: None,
        };
        assert_eq!(&*message.conversation(&ann).target, "bo");
        assert_eq!(&*message.conversation(&bo).target, "ann");
        assert_eq!(message.conversation(&ann).log(&ann), message.conversation(&bo).log(&bo));
    }
}
