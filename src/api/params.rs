//! Parameters of a call, whichever way they were written. Pure.
//!
//! An empty text and JSON's `null` count as absent. Unknown names are never looked at. Where one text is due and a
//! list came, its first item counts; where a list is due and one text came, it is a list of one.

use super::error::{ApiError, Code};
use crate::model::{UserKey, check_id};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::HashSet, ops::RangeInclusive, sync::Arc};

/// A value as it stood in the body.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// From a form; not empty.
    Text(Cow<'a, str>),
    /// From JSON.
    Json(&'a RawValue),
    /// From a form, and not UTF-8.
    NotUtf8,
}

/// Names and values in their order.
#[derive(Clone, Debug, Default)]
pub struct Params<'a> {
    fields: Vec<(Cow<'a, str>, Value<'a>)>,
    blank: bool,
}

impl<'a> Params<'a> {
    /// From a body that held something.
    #[must_use]
    pub const fn new(fields: Vec<(Cow<'a, str>, Value<'a>)>) -> Self {
        Self { fields, blank: false }
    }

    /// From a body without a byte.
    #[must_use]
    pub const fn blank() -> Self {
        Self { fields: Vec::new(), blank: true }
    }

    /// Whether the body was empty.
    #[must_use]
    pub const fn is_blank(&self) -> bool {
        self.blank
    }

    /// The text called `name`. A JSON number or boolean is its text, an object its JSON text as it stood.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<Cow<'_, str>>, ApiError> {
        Ok(self.list(name, usize::MAX)?.into_iter().next())
    }

    /// Likewise; it has to be there.
    ///
    /// # Errors
    /// When it is not there or not UTF-8.
    pub fn required(&self, name: &str) -> Result<Cow<'_, str>, ApiError> {
        self.text(name)?.ok_or_else(|| ApiError::missing(name))
    }

    /// The text called `name`, at most `max` bytes.
    ///
    /// # Errors
    /// When it is longer, or not UTF-8.
    pub fn short(&self, name: &str, max: usize) -> Result<Option<Cow<'_, str>>, ApiError> {
        let text = self.text(name)?;
        match &text {
            Some(text) if text.len() > max => Err(ApiError::too_long(name, text.len(), max)),
            _ => Ok(text),
        }
    }

    /// All texts called `name`: the name repeated, a JSON list, or both.
    ///
    /// # Errors
    /// When there are more than `max`, or one is not UTF-8.
    pub fn list(&self, name: &str, max: usize) -> Result<Vec<Cow<'_, str>>, ApiError> {
        let mut items = Vec::new();
        for (_, value) in self.fields.iter().filter(|(is, _)| is == name) {
            match value {
                Value::Text(text) => items.push(Cow::Borrowed(&**text)),
                Value::Json(raw) if raw.get().starts_with('[') => {
                    let list: Vec<&RawValue> = serde_json::from_str(raw.get())
                        .map_err(|_| ApiError::parameter(name, "is not a list"))?;
                    for item in list {
                        items.extend(scalar(name, item.get())?);
                    }
                }
                Value::Json(raw) => items.extend(scalar(name, raw.get())?),
                Value::NotUtf8 => return Err(ApiError::parameter(name, "is not UTF-8")),
            }
        }
        if items.len() > max {
            let what = format!("is given {} times, the limit is {max}", items.len());
            return Err(ApiError::parameter(name, what));
        }
        Ok(items)
    }

    /// What is given as `name[key]=value` in a form (the key is everything between the first `[` and the final `]`), or
    /// as an object called `name`, or so, in JSON.
    ///
    /// # Errors
    /// When a value is not UTF-8, or `name` is something else in JSON.
    pub fn map(&self, name: &str) -> Result<Vec<(String, String)>, ApiError> {
        let mut pairs = Vec::new();
        for (is, value) in &self.fields {
            if let Some(key) = bracketed(is, name) {
                let text = match value {
                    Value::Text(text) => Some(text.clone()),
                    Value::Json(raw) => scalar(name, raw.get())?,
                    Value::NotUtf8 => return Err(ApiError::parameter(name, "is not UTF-8")),
                };
                pairs.extend(text.map(|text| (key.to_owned(), text.into_owned())));
            } else if let (true, Value::Json(raw)) = (is == name, value) {
                let map: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(raw.get())
                    .map_err(|_| ApiError::parameter(name, "is not an object"))?;
                for (key, raw) in map {
                    let text = scalar(name, raw.get())?;
                    pairs.extend(text.map(|text| (key, text.into_owned())));
                }
            }
        }
        Ok(pairs)
    }

    /// A number.
    ///
    /// # Errors
    /// When it is not a whole number, or out of `range`.
    pub fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match text.trim().parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let what = format!("must be a whole number from {} to {}", range.start(), range.end());
                Err(ApiError::parameter(name, what))
            }
        }
    }

    /// A switch: `1` or `true`, `0` or `false`. The texts `undefined` and `null`, which scripts send for what they do not
    /// have, count as absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name)?.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("undefined" | "null") => Ok(None),
            Some("1" | "true") => Ok(Some(true)),
            Some("0" | "false") => Ok(Some(false)),
            Some(_) => Err(ApiError::parameter(name, "must be 0 or 1")),
        }
    }

    /// A required id.
    ///
    /// # Errors
    /// When it is not there or not an id.
    pub fn id(&self, name: &str) -> Result<Arc<str>, ApiError> {
        let id = self.required(name)?;
        check_id(&id).map_err(|why| ApiError::bad_id(name, why))?;
        Ok(id.into())
    }

    /// A required user id of `app`.
    ///
    /// # Errors
    /// When it is not there or not an id.
    pub fn user(&self, app: &str, name: &str) -> Result<UserKey, ApiError> {
        UserKey::new(app, &self.required(name)?).map_err(|why| ApiError::bad_id(name, why))
    }

    /// One to `max` ids, each once, in their order. All that were given are counted.
    ///
    /// # Errors
    /// When there is none, or more than `max`, or one is not an id.
    pub fn ids(&self, name: &str, max: usize) -> Result<Vec<Arc<str>>, ApiError> {
        let given = self.list(name, max)?;
        if given.is_empty() {
            return Err(ApiError::missing(name));
        }
        let mut seen = HashSet::new();
        let mut ids = Vec::with_capacity(given.len());
        for id in &given {
            check_id(id).map_err(|why| ApiError::bad_id(name, why))?;
            if seen.insert(&**id) {
                ids.push(Arc::from(&**id));
            }
        }
        Ok(ids)
    }
}

/// One item of JSON as text; `None` for nothing. Lists and objects are their own JSON text.
fn scalar<'a>(name: &str, raw: &'a str) -> Result<Option<Cow<'a, str>>, ApiError> {
    let text = match raw.as_bytes().first() {
        Some(b'"') => match raw[1..raw.len() - 1].contains('\\') {
            false => Cow::Borrowed(&raw[1..raw.len() - 1]),
            true => Cow::Owned(
                serde_json::from_str(raw)
                    .map_err(|_| ApiError::new(Code::Parameter, format!("{name} is not Unicode text.")))?,
            ),
        },
        Some(b'n') => return Ok(None),
        _ => Cow::Borrowed(raw),
    };
    Ok((!text.is_empty()).then_some(text))
}

/// `key` of `name[key]`.
fn bracketed<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::body::{Encoding, decode};

    fn form(body: &str) -> Params<'_> {
        decode(Encoding::Form, body.as_bytes()).unwrap()
    }

    fn json(body: &str) -> Params<'_> {
        decode(Encoding::Json, body.as_bytes()).unwrap()
    }

    #[test]
    fn lists_are_repeated_names_or_json_lists() {
        for params in [
            form("toUserId=a&x=y&toUserId=b&toUserId="),
            json(r#"{"toUserId":["a","",null,"b"]}"#),
            json(r#"{"toUserId":"a","toUserId":["b"]}"#),
        ] {
            assert_eq!(params.list("toUserId", 2).unwrap(), ["a", "b"]);
            assert_eq!(params.text("toUserId").unwrap().unwrap(), "a");
            assert_eq!(params.list("toUserId", 1).unwrap_err().code, Code::Parameter);
        }
        assert_eq!(json(r#"{"a":"x"}"#).list("a", 9).unwrap(), ["x"]);
        assert_eq!(json(r#"{"a":[1,true,"\u96c1"]}"#).list("a", 9).unwrap(), ["1", "true", "雁"]);
        // No suffix and no commas.
        assert!(form("toUserId[]=a").list("toUserId", 9).unwrap().is_empty());
        assert_eq!(form("toUserId=a,b").list("toUserId", 9).unwrap(), ["a,b"]);
    }

    #[test]
    fn json_inside_a_field_stands_as_it_was() {
        let inner = r#"{"b":1, "a":"\u0041"}"#;
        let as_object = format!(r#"{{"content":{inner}}}"#);
        let as_text = format!(r#"{{"content":{}}}"#, serde_json::Value::from(inner));
        for body in [&as_object, &as_text] {
            assert_eq!(json(body).required("content").unwrap(), inner);
        }
    }

    #[test]
    fn empty_is_absent() {
        for params in [
            form("userId=&a=1"),
            form("userId"),
            form(""),
            json(r#"{"userId":""}"#),
            json(r#"{"userId":null}"#),
            json(r#"{"userId":[]}"#),
        ] {
            let error = params.id("userId").unwrap_err();
            assert_eq!((error.code, error.message.as_str()), (Code::Missing, "userId is required."));
        }
    }

    #[test]
    fn maps_have_brackets_or_are_objects() {
        let want = [("g1".to_owned(), "One".to_owned()), ("g[2]".to_owned(), "T wo".to_owned())];
        assert_eq!(
            form("group%5Bg1%5D=One&userId=u&group[g[2]]=T+wo&group[x]=&group=z").map("group").unwrap(),
            want
        );
        assert_eq!(json(r#"{"group":{"g1":"One","g[2]":"T wo","x":null}}"#).map("group").unwrap(), want);
        assert_eq!(json(r#"{"group[g1]":"One","group[g[2]]":"T wo"}"#).map("group").unwrap(), want);
        assert!(json(r#"{"group":3}"#).map("group").is_err());
    }

    #[test]
    fn numbers_are_whole_and_in_range() {
        assert_eq!(form("minute=10").number("minute", 1..=43200).unwrap(), Some(10));
        assert_eq!(json(r#"{"minute":10}"#).number("minute", 1..=43200).unwrap(), Some(10));
        assert_eq!(form("minute=").number("minute", 1..=43200).unwrap(), None);
        for bad in ["undefined", "0", "43201", "-1", "1.5", "1e2", "99999999999999999999999"] {
            let body = format!("minute={bad}");
            let error = form(&body).number("minute", 1..=43200).unwrap_err();
            assert_eq!(error.code, Code::Parameter, "{bad}");
        }
    }

    #[test]
    fn flags_are_switches() {
        for (body, want) in [
            ("f=1", Some(true)),
            ("f=0", Some(false)),
            ("f=true", Some(true)),
            ("f=False", Some(false)),
            ("f=", None),
            ("f=undefined", None),
        ] {
            assert_eq!(form(body).flag("f").unwrap(), want, "{body}");
        }
        assert_eq!(json(r#"{"f":true}"#).flag("f").unwrap(), Some(true));
        assert_eq!(json(r#"{"f":0}"#).flag("f").unwrap(), Some(false));
        assert!(form("f=2").flag("f").is_err());
    }

    #[test]
    fn ids_are_counted_before_they_are_made_unique() {
        let body = "userId=a&userId=b&userId=a";
        assert_eq!(form(body).ids("userId", 3).unwrap(), [Arc::from("a"), Arc::from("b")]);
        assert!(form(body).ids("userId", 2).is_err());
        let long = format!("userId=a&userId={}", "x".repeat(65));
        assert_eq!(form(&long).ids("userId", 2).unwrap_err().code, Code::TooLong);
        assert_eq!(form("userId=a%00").ids("userId", 2).unwrap_err().code, Code::Parameter);
    }

    #[test]
    fn bad_utf8_hurts_only_the_field_that_has_it() {
        let params = form("junk=%FF&userId=a&name=%C3%28");
        assert_eq!(params.required("userId").unwrap(), "a");
        assert_eq!(params.text("name").unwrap_err().code, Code::Parameter);
    }
}
