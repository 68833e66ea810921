//! Decoding what clients send (`docs/protocol.md`).
//!
//! One pass over the text: strings without escapes and contents stay where they are in the message and are
//! not copied. A frame with a wrong field is an error of its own; the frames beside it are taken.

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// Frames in one transport message at the most.
pub const MAX_FRAMES: usize = 1_024;

/// A frame as it came: every field that any frame has. Strings that are not there are empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawFrame<'a> {
    /// Type of the frame.
    #[serde(borrow)]
    pub t: Cow<'a, str>,
    /// Number of the request.
    pub r: Option<u64>,
    /// Protocol version.
    pub v: Option<u64>,
    /// `hello`: token.
    #[serde(borrow)]
    pub token: Cow<'a, str>,
    /// `hello`: device.
    #[serde(borrow)]
    pub device: Cow<'a, str>,
    /// `hello`: last position handled.
    pub cursor: Option<u64>,
    /// `hello`: the `epoch` of the `welcome` before which it got that position.
    #[serde(borrow)]
    pub epoch: Cow<'a, str>,
    /// `hello`: entries not acked before the server pauses.
    pub window: Option<u16>,
    /// `hello`: tell of deliveries.
    pub delivered: bool,
    /// Id of a send or of a message.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Conversation kind.
    pub kind: Option<u64>,
    /// Conversation target.
    #[serde(borrow)]
    pub target: Cow<'a, str>,
    /// Message class.
    #[serde(rename = "type", borrow)]
    pub class: Cow<'a, str>,
    /// Message content.
    #[serde(borrow)]
    pub content: Option<&'a RawValue>,
    /// Counts as unread.
    pub counted: Option<bool>,
    /// Stands in history.
    pub stored: Option<bool>,
    /// Live sessions only.
    pub status: Option<bool>,
    /// Mentions somebody.
    pub mentioned: Option<bool>,
    /// For a push service.
    pub push: Option<RawPush>,
    /// `ack`: position.
    pub pos: Option<u64>,
    /// `read`: position.
    pub upto: Option<u64>,
    /// Message time.
    pub at: Option<u64>,
    /// Paging.
    pub before: Option<u64>,
    /// Paging.
    pub after: Option<u64>,
    /// Paging.
    pub limit: Option<u64>,
    /// `recall`: something to say.
    #[serde(borrow)]
    pub extra: Cow<'a, str>,
    /// A user id.
    #[serde(borrow)]
    pub user: Cow<'a, str>,
    /// `watch`: user ids.
    pub users: Option<Vec<String>>,
    /// `users`: user ids.
    pub ids: Option<Vec<String>>,
}

/// A frame that must be an object: the derived reader would take an array of its fields as well.
struct AnObject<'a>(RawFrame<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for AnObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = RawFrame<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a frame, which is an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<RawFrame<'de>, M::Error> {
                RawFrame::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(ObjectVisitor).map(Self)
    }
}

/// What a push service may show.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawPush {
    /// Text.
    pub text: String,
    /// Payload.
    pub data: String,
}

/// A frame, or what is wrong with it.
pub type Decoded<'a> = Result<RawFrame<'a>, BadFrame>;

/// A frame that cannot be understood.
#[derive(Debug, PartialEq, Eq)]
pub struct BadFrame {
    /// The request it belongs to, as far as that can be read.
    pub r: Option<u64>,
    /// What is wrong, naming the field where possible.
    pub why: String,
}

/// A transport message that is no frame and no array of frames: the connection is not worth keeping.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// Not JSON, or neither an object nor an array of objects.
    #[error("a message must be a JSON object or an array of objects: {0}")]
    NotFrames(String),
    /// Over [`MAX_FRAMES`].
    #[error("a message holds at most {MAX_FRAMES} frames")]
    TooMany,
}

/// Decodes a transport message.
///
/// # Errors
/// When it is no frame and no array of frames at all.
pub fn decode(text: &str) -> Result<Vec<Decoded<'_>>, BadMessage> {
    let start = text.trim_start();
    if start.starts_with('{') {
        return Ok(vec![decode_one(text)?]);
    }
    if !start.starts_with('[') {
        return Err(BadMessage::NotFrames("it starts with something else".into()));
    }
    // The usual case, all frames good, takes one pass.
    if let Ok(frames) = serde_json::from_str::<Vec<AnObject<'_>>>(text) {
        if frames.len() > MAX_FRAMES {
            return Err(BadMessage::TooMany);
        }
        return Ok(frames.into_iter().map(|AnObject(frame)| Ok(frame)).collect());
    }
    let parts: Vec<&RawValue> = serde_json::from_str(text).map_err(not_frames)?;
    if parts.len() > MAX_FRAMES {
        return Err(BadMessage::TooMany);
    }
    parts.into_iter().map(|part| decode_one(part.get())).collect()
}

fn decode_one(text: &str) -> Result<Decoded<'_>, BadMessage> {
    match serde_json::from_str(text) {
        Ok(AnObject(frame)) => Ok(Ok(frame)),
        Err(error) => {
            // Well-formed JSON with a wrong field is answered; what is not JSON ends the connection.
            let value: serde_json::Value = serde_json::from_str(text).map_err(not_frames)?;
            let Some(fields) = value.as_object() else {
                return Err(BadMessage::NotFrames("a frame must be an object".into()));
            };
            Ok(Err(BadFrame {
                r: fields.get("r").and_then(serde_json::Value::as_u64),
                why: error.to_string(),
            }))
        }
    }
}

fn not_frames(error: serde_json::Error) -> BadMessage {
    BadMessage::NotFrames(error.to_string())
}

/// The bytes of `part`, which lies in `message`, without copying.
#[must_use]
pub fn share(message: &Bytes, part: &str) -> Bytes {
    let outer = message.as_ptr() as usize;
    let inner = part.as_ptr() as usize;
    if inner >= outer && inner + part.len() <= outer + message.len() {
        message.slice(inner - outer..inner - outer + part.len())
    } else {
        Bytes::copy_from_slice(part.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_and_arrays_of_frames_are_taken() {
        let one = decode(r#" {"t":"ack","pos":5,"new_field":[1]}"#).unwrap();
        assert_eq!(one[0].as_ref().unwrap().pos, Some(5));
        let two = decode(r#"[{"t":"ping","r":1},{"t":"send","content":{"content":"\n\\u0041"}}]"#).unwrap();
        assert_eq!(two[0].as_ref().unwrap().t, "ping");
        assert_eq!(two[1].as_ref().unwrap().content.unwrap().get(), r#"{"content":"\n\\u0041"}"#);
        assert!(decode("[]").unwrap().is_empty());
    }

    #[test]
    fn a_wrong_field_spoils_its_own_frame_only() {
        let frames = decode(r#"[{"t":"ack","pos":"five","r":7},{"t":"ack","pos":6}]"#).unwrap();
        let bad = frames[0].as_ref().unwrap_err();
        assert_eq!(bad.r, Some(7));
        assert_eq!(frames[1].as_ref().unwrap().pos, Some(6));
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        for text in [
            "",
            "hello",
            "12",
            "null",
            "[1]",
            "{\"t\":",
            "[{\"t\":\"a\"}",
            "\u{feff}{}",
            "[[]]",
            "[[\"ping\"]]",
        ] {
            assert!(decode(text).is_err(), "{text:?}");
        }
        let many = format!("[{}]", vec!["{}"; MAX_FRAMES + 1].join(","));
        assert!(matches!(decode(&many), Err(BadMessage::TooMany)));
    }

    #[test]
    fn contents_are_shared_not_copied() {
        let message = Bytes::from_static(br#"{"t":"send","content":{"a":1}}"#);
        let text = std::str::from_utf8(&message).unwrap();
        let frames = decode(text).unwrap();
        let content = frames[0].as_ref().unwrap().content.unwrap().get();
        let shared = share(&message, content);
        assert_eq!(shared.as_ptr(), content.as_ptr());
        assert_eq!(shared, content.as_bytes());
    }
}
