//! Writing frames to clients (`docs/protocol.md`), straight into a session's buffer.

use crate::{
    model::{Change, Conversation, Entry, Flags, Message, MessageId, Stamp, UserKey, What},
    relay::{ConversationState, NotResumed, Place},
};
use std::sync::Arc;

/// A JSON object being written.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    /// Begins an object at the end of `out`.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Begins a frame of type `t`.
    pub fn frame(out: &'a mut Vec<u8>, t: &str) -> Self {
        out.extend_from_slice(b"{\"t\":\"");
        out.extend_from_slice(t.as_bytes());
        out.push(b'"');
        Self { out, first: false }
    }

    /// Writes a key; the value has to follow. Keys are this program's own and need no escapes.
    pub fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A number.
    pub fn number(&mut self, key: &str, value: u64) -> &mut Self {
        let mut digits = itoa::Buffer::new();
        self.key(key).extend_from_slice(digits.format(value).as_bytes());
        self
    }

    /// A text.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        text(self.key(key), value);
        self
    }

    /// A truth value.
    pub fn bool(&mut self, key: &str, value: bool) -> &mut Self {
        self.key(key).extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    /// A message id.
    pub fn id(&mut self, key: &str, id: MessageId) -> &mut Self {
        let out = self.key(key);
        out.push(b'"');
        id.write(out);
        out.push(b'"');
        self
    }

    /// A list of texts.
    pub fn texts<S: AsRef<str>>(&mut self, key: &str, values: &[S]) -> &mut Self {
        list(self.key(key), values, |out, value| text(out, value.as_ref()));
        self
    }

    /// Kind and target of a conversation.
    pub fn conversation(&mut self, conversation: &Conversation) -> &mut Self {
        self.number("kind", conversation.kind.number().into()).text("target", &conversation.target)
    }

    /// Position and the one before.
    pub fn place(&mut self, place: Option<Place>) -> &mut Self {
        if let Some(Place { pos, prev }) = place {
            self.number("pos", pos.0);
            if let Some(prev) = prev {
                self.number("prev", prev.0);
            }
        }
        self
    }

    /// Ends the object.
    pub fn end(&mut self) {
        self.out.push(b'}');
    }
}

fn text(out: &mut Vec<u8>, value: &str) {
    let plain = value.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\');
    if plain {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else {
        // Writing into a vector cannot fail, and a string is always good JSON.
        let written = serde_json::to_writer(&mut *out, value);
        debug_assert!(written.is_ok());
    }
}

/// A JSON array of `values`.
pub fn list<T>(out: &mut Vec<u8>, values: &[T], mut each: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        each(out, value);
    }
    out.push(b']');
}

/// A message as `viewer` may see it.
pub fn message(out: &mut Vec<u8>, message: &Message, viewer: &UserKey) {
    let mut object = Object::begin(out);
    object
        .id("id", message.id)
        .number("kind", message.kind.number().into())
        .text("from", message.from.id())
        .text("to", &message.to)
        .text("type", &message.class)
        .number("at", message.at.0);
    object.key("content").extend_from_slice(message.content.json());
    if message.from == *viewer {
        object.text("cid", &message.cid);
    }
    if !message.flags.has(Flags::COUNTED) {
        object.bool("counted", false);
    }
    if !message.flags.has(Flags::STORED) {
        object.bool("stored", false);
    }
    for (flag, key) in
        [(Flags::STATUS, "status"), (Flags::MENTIONED, "mentioned"), (Flags::RECALLED, "recalled")]
    {
        if message.flags.has(flag) {
            object.bool(key, true);
        }
    }
    if let Some(push) = &message.push {
        let out = object.key("push");
        Object::begin(out).text("text", &push.text).text("data", &push.data).end();
    }
    object.end();
}

/// A pushed entry.
pub fn entry(out: &mut Vec<u8>, viewer: &UserKey, prev: Stamp, entry: &Entry) {
    let t = match &entry.what {
        What::Message { .. } => "msg",
        What::Change(Change::Read { .. }) => "read",
        What::Change(Change::Receipt { .. }) => "receipt",
        What::Change(Change::Recall { .. }) => "recall",
    };
    let mut object = Object::frame(out, t);
    object.number("pos", entry.pos.0).number("prev", prev.0);
    match &entry.what {
        What::Message { message: of, .. } => message(object.key("m"), of, viewer),
        What::Change(Change::Read { conversation, upto, removed, .. }) => {
            object.conversation(conversation).number("upto", upto.0);
            if *removed {
                object.bool("removed", true);
            }
        }
        What::Change(Change::Receipt { conversation, at }) => {
            object.text("what", "read").conversation(conversation).number("at", at.0);
        }
        What::Change(Change::Recall { conversation, id, at, by, extra }) => {
            object.conversation(conversation).id("id", *id).number("at", at.0).text("by", by);
            if !extra.is_empty() {
                object.text("extra", extra);
            }
        }
    }
    object.end();
}

/// A conversation of a list, with its newest message and how far the peer's devices have got.
pub fn conversation(
    out: &mut Vec<u8>,
    viewer: &UserKey,
    state: &ConversationState,
    last: Option<&Arc<Message>>,
    peer_delivered: Stamp,
) {
    let mut object = Object::begin(out);
    object
        .conversation(&state.conversation)
        .number("pos", state.last.0)
        .number("unread", state.unread.into())
        .number("read", state.read.0);
    match last {
        Some(of) => message(object.key("last"), of, viewer),
        None => object.key("last").extend_from_slice(b"null"),
    }
    object.number("peer_read", state.peer_read.0).number("peer_delivered", peer_delivered.0).end();
}

/// An error frame, or the body of an HTTP error.
pub fn error(out: &mut Vec<u8>, r: Option<u64>, code: &str, msg: &str, retry_after_ms: Option<u64>) {
    let mut object = Object::frame(out, "err");
    if let Some(r) = r {
        object.number("r", r);
    }
    object.text("code", code).text("msg", msg);
    if let Some(ms) = retry_after_ms {
        object.number("retry_after", ms);
    }
    object.end();
}

/// The word for why a stream was not resumed.
#[must_use]
pub const fn why(why: NotResumed) -> &'static str {
    match why {
        NotResumed::NewDevice => "new_device",
        NotResumed::Trimmed => "trimmed",
        NotResumed::Ahead => "ahead",
        NotResumed::Forked => "forked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Content, Kind, Push};

    fn letter() -> Message {
        Message {
            id: MessageId(7),
            kind: Kind::Private,
            from: UserKey::new("app", "an\"n").unwrap(),
            to: "bo".into(),
            at: Stamp(12),
            class: "RC:TxtMsg".into(),
            content: Content::from_text("{\"content\":\"hi\"}", 100).unwrap(),
            flags: Flags::STORED,
            cid: "c1".into(),
            push: Some(Box::new(Push { text: "p\n".into(), data: String::new() })),
        }
    }

    #[test]
    fn frames_are_good_json_with_the_documented_fields() {
        let viewer = UserKey::new("app", "bo").unwrap();
        let entry_of =
            Entry { pos: Stamp(12), what: What::Message { message: Arc::new(letter()), ordinal: 1 } };
        let mut out = Vec::new();
        entry(&mut out, &viewer, Stamp(3), &entry_of);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"t":"msg","pos":12,"prev":3,"m":{"id":"00000000000000000000000007","kind":1,"from":"an\"n",
                "to":"bo","type":"RC:TxtMsg","at":12,"content":{"content":"hi"},"counted":false,"push":{"text":"p\n","data":""}}})
        );
    }

    #[test]
    fn only_the_sender_sees_his_own_send_id() {
        let mut out = Vec::new();
        message(&mut out, &letter(), &letter().from);
        assert!(String::from_utf8(out).unwrap().contains("\"cid\":\"c1\""));
    }
}
