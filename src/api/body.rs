//! Bodies: from bytes to [`Params`]. Pure.
//!
//! Both encodings are read on every endpoint; the content type decides (`docs` of the vendor name one for each
//! endpoint, its SDKs do not keep to it).

use super::{
    error::{ApiError, Code},
    params::{Params, Value},
};
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// Largest body that is taken: 1 MiB.
pub const MAX_BODY: usize = 1 << 20;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-www-form-urlencoded`, and whatever is not JSON.
    Form,
    /// A JSON object.
    Json,
}

impl Encoding {
    /// By the `Content-Type` header: case and parameters do not matter; none is a form.
    #[must_use]
    pub fn of(content_type: Option<&str>) -> Self {
        let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
        let media = media.trim().to_ascii_lowercase();
        if media == "application/json" || media == "text/json" || media.ends_with("+json") {
            Self::Json
        } else {
            Self::Form
        }
    }
}

/// Reads a body.
///
/// # Errors
/// A form never fails as a whole; JSON does when it is malformed or no object.
pub fn decode(encoding: Encoding, body: &[u8]) -> Result<Params<'_>, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(Params::blank());
    }
    match encoding {
        Encoding::Form => Ok(Params::new(form(body))),
        Encoding::Json => json(body).map(Params::new),
    }
}

/// `a=1&b=2`: percent-encoded UTF-8, `+` is a space. Fields that are empty are left out: they count as absent.
fn form(body: &[u8]) -> Vec<(Cow<'_, str>, Value<'_>)> {
    body.trim_ascii()
        .split(|&b| b == b'&')
        .filter_map(|pair| {
            let (name, value) = match pair.iter().position(|&b| b == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            if value.is_empty() {
                return None;
            }
            // A name that is no UTF-8 is an unknown name.
            let name = unescape(name)?;
            Some((name, unescape(value).map_or(Value::NotUtf8, Value::Text)))
        })
        .collect()
}

/// Undoes percent-encoding; `None` when the result is no UTF-8. A `%` without two hex digits stands for itself.
fn unescape(text: &[u8]) -> Option<Cow<'_, str>> {
    if !text.iter().any(|b| matches!(b, b'%' | b'+')) {
        return std::str::from_utf8(text).ok().map(Cow::Borrowed);
    }
    let digit = |b: Option<&u8>| b.and_then(|&b| (b as char).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        at += match text[at] {
            b'+' => {
                bytes.push(b' ');
                1
            }
            b'%' => {
                if let (Some(high), Some(low)) = (digit(text.get(at + 1)), digit(text.get(at + 2))) {
                    bytes.push((high << 4 | low) as u8);
                    3
                } else {
                    bytes.push(b'%');
                    1
                }
            }
            other => {
                bytes.push(other);
                1
            }
        };
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn json(body: &[u8]) -> Result<Vec<(Cow<'_, str>, Value<'_>)>, ApiError> {
    let wrong = |error: &serde_json::Error| {
        let what = if error.is_data() { "is not a JSON object" } else { "is not JSON" };
        let message = format!("the body {what} (line {}, column {}).", error.line(), error.column());
        ApiError::new(Code::Parameter, message)
    };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let members = deserializer.deserialize_any(Members).map_err(|error| wrong(&error))?;
    deserializer.end().map_err(|error| wrong(&error))?;
    Ok(members.into_iter().map(|(name, raw)| (Cow::Owned(name), Value::Json(raw))).collect())
}

/// The members of an object in their order, with repeated names, values as they stand.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }

    /// PHP writes an empty map as an empty list.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        match seq.next_element::<serde::de::IgnoredAny>()? {
            None => Ok(Vec::new()),
            Some(_) => Err(serde::de::Error::custom("a list")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_content_type_decides() {
        for json in ["application/json", "Application/json", "APPLICATION/JSON; charset=UTF-8", "text/json"] {
            assert_eq!(Encoding::of(Some(json)), Encoding::Json, "{json}");
        }
        for form in [
            None,
            Some(""),
            Some("application/x-www-form-urlencoded"),
            Some("text/plain"),
            Some("x; application/json"),
        ] {
            assert_eq!(Encoding::of(form), Encoding::Form, "{form:?}");
        }
    }

    type Pair = (String, Option<String>);

    fn pairs(body: &str) -> Vec<Pair> {
        form(body.as_bytes())
            .into_iter()
            .map(|(name, value)| match value {
                Value::Text(text) => (name.into_owned(), Some(text.into_owned())),
                _ => (name.into_owned(), None),
            })
            .collect()
    }

    #[test]
    fn forms_are_read_as_sdks_write_them() {
        let pair = |name: &str, value: &str| -> Pair { (name.to_owned(), Some(value.to_owned())) };
        let cases: &[(&str, Vec<Pair>)] = &[
            ("", vec![]),
            ("&&=&", vec![]),
            ("userId=u1", vec![pair("userId", "u1")]),
            ("userId=u1&name=&portraitUri", vec![pair("userId", "u1")]),
            ("toUserId=a&x=1&toUserId=b", vec![pair("toUserId", "a"), pair("x", "1"), pair("toUserId", "b")]),
            ("name=A+B%20C%2BD", vec![pair("name", "A B C+D")]),
            ("name=%E9%B8%BF%e9%9b%81", vec![pair("name", "鸿雁")]),
            ("name=鸿雁", vec![pair("name", "鸿雁")]),
            ("group%5Bg1%5D=One", vec![pair("group[g1]", "One")]),
            ("a=100%&b=%zz&c=%4", vec![pair("a", "100%"), pair("b", "%zz"), pair("c", "%4")]),
            ("a=b=c", vec![pair("a", "b=c")]),
            ("a=%FF", vec![("a".to_owned(), None)]),
            ("%FF=a", vec![]),
            ("minute=undefined\r\n", vec![pair("minute", "undefined")]),
        ];
        for (body, want) in cases {
            assert_eq!(&pairs(body), want, "{body:?}");
        }
    }

    #[test]
    fn json_is_an_object_or_refused_by_place() {
        let read = |body: &'static str| decode(Encoding::Json, body.as_bytes());
        assert_eq!(read(r#" {"a":1,"a":2} "#).unwrap().list("a", 9).unwrap().len(), 2);
        assert!(read("[]").is_ok());
        assert!(read("").unwrap().is_blank());
        assert!(read(" \r\n").unwrap().is_blank());
        assert!(!read("{}").unwrap().is_blank());
        for bad in ["[1]", "1", "\"a\"", "null"] {
            let error = read(bad).err().unwrap();
            assert_eq!(error.code, Code::Parameter);
            assert!(error.message.contains("object"), "{error}");
        }
        for bad in ["{", "{\"a\":}", "{\"a\":1} x", "a=1", "{\"a\":\"\u{1}\"}"] {
            assert!(read(bad).err().unwrap().message.contains("JSON"), "{bad}");
        }
    }

    #[test]
    fn deep_nesting_does_no_harm() {
        for open in ["[", "{\"a\":"] {
            let deep = format!("{{\"a\":{}", open.repeat(200_000));
            assert!(decode(Encoding::Json, deep.as_bytes()).is_err());
        }
        let closed = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        if let Ok(params) = decode(Encoding::Json, closed.as_bytes()) {
            let _ = (params.text("a"), params.list("a", 3), params.map("a"));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            for encoding in [Encoding::Form, Encoding::Json] {
                if let Ok(params) = decode(encoding, &body) {
                    let _ = (params.text("a"), params.is_blank());
                }
            }
        }

        #[test]
        fn what_is_escaped_comes_back(text in any::<String>()) {
            let escaped: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
            let back = unescape(escaped.as_bytes());
            prop_assert_eq!(back.as_deref(), Some(text.as_str()));
        }
    }
}
