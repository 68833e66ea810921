//! Answers: the envelope, in JSON or XML.

use super::error::ApiError;
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use serde::ser::{SerializeMap as _, Serializer as _};
use serde_json::Value;

/// How the caller wants the answer, by the path's suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.json`, and whatever has neither suffix.
    Json,
    /// `.xml`.
    Xml,
}

/// An endpoint's own fields, beside `code`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    /// Nothing but the code.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    /// The field with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(is, _)| *is == name).map(|(_, value)| value)
    }
}

/// The response to a call of `path`.
#[must_use]
pub fn respond(format: Format, path: &str, outcome: Result<Fields, ApiError>) -> Response {
    let (status, fields) = match outcome {
        Ok(fields) => {
            let mut all = vec![("code", 200.into())];
            all.extend(fields.0);
            (200, all)
        }
        Err(error) => {
            let (code, status, _) = error.code.numbers();
            let all =
                vec![("url", path.into()), ("code", code.into()), ("errorMessage", error.message.into())];
            (status, all)
        }
    };
    let (media, body) = match format {
        Format::Json => ("application/json; charset=utf-8", json(&fields)),
        Format::Xml => ("text/xml; charset=utf-8", xml(&fields)),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

fn json(fields: &[(&str, Value)]) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    let mut serializer = serde_json::Serializer::new(&mut body);
    let written = serializer.serialize_map(Some(fields.len())).and_then(|mut map| {
        for (name, value) in fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    });
    debug_assert!(written.is_ok(), "a Vec takes all that is written");
    body
}

/// `<xml>` with an element for each field. Lists of objects have the shape that the vendor's Java serialiser gave them.
fn xml(fields: &[(&str, Value)]) -> Vec<u8> {
    let mut body = String::from("<xml>");
    for (name, value) in fields {
        let name = if *name == "chatRooms" { "chatrooms" } else { name };
        element(&mut body, name, |body| match value {
            Value::Array(items) => items.iter().for_each(|item| xml_item(body, item)),
            value => escape(body, &plain(value)),
        });
    }
    body.push_str("</xml>");
    body.into_bytes()
}

fn xml_item(body: &mut String, item: &Value) {
    let Value::Object(object) = item else {
        return element(body, "string", |body| escape(body, &plain(item)));
    };
    element(body, "concurrent-hash-map", |body| {
        for (key, value) in object {
            element(body, "entry", |body| {
                element(body, "string", |body| escape(body, key));
                element(body, "string", |body| escape(body, &plain(value)));
            });
        }
    });
}

fn element(body: &mut String, name: &str, inside: impl FnOnce(&mut String)) {
    body.extend(["<", name, ">"]);
    inside(body);
    body.extend(["</", name, ">"]);
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn escape(body: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => body.push_str("&amp;"),
            '<' => body.push_str("&lt;"),
            '>' => body.push_str("&gt;"),
            // XML 1.0 has no way to write these.
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => {}
            '\u{fffe}' | '\u{ffff}' => {}
            c => body.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::error::Code;
    use http_body_util::BodyExt as _;
    use serde_json::json;

    async fn text(response: Response) -> (u16, String, String) {
        let status = response.status().as_u16();
        let media = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, media, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn success_has_the_number_200_first_and_the_fields_beside_it() {
        let fields = Fields::none().with("userId", "u1").with("token", "t");
        assert_eq!(
            text(respond(Format::Json, "/x.json", Ok(fields))).await,
            (
                200,
                "application/json; charset=utf-8".to_owned(),
                r#"{"code":200,"userId":"u1","token":"t"}"#.to_owned()
            )
        );
    }

    #[tokio::test]
    async fn an_error_always_has_all_three_fields() {
        let error = ApiError::missing("userId");
        let (status, _, body) = text(respond(Format::Json, "/user/getToken.json", Err(error))).await;
        assert_eq!(status, 400);
        assert_eq!(body, r#"{"url":"/user/getToken.json","code":1002,"errorMessage":"userId is required."}"#);
        let silent = ApiError::new(Code::Internal, "");
        let (status, _, body) = text(respond(Format::Json, "/", Err(silent))).await;
        assert_eq!(status, 500);
        assert!(body.contains(r#""errorMessage":"""#));
    }

    #[tokio::test]
    async fn xml_is_flat_and_escaped() {
        let (_, media, body) = text(respond(Format::Xml, "/x.xml", Ok(Fields::none()))).await;
        assert_eq!(
            (media.as_str(), body.as_str()),
            ("text/xml; charset=utf-8", "<xml><code>200</code></xml>")
        );
        let users = json!([{"userId": "a<b"}, "c&d\u{1}"]);
        let (_, _, body) =
            text(respond(Format::Xml, "/x.xml", Ok(Fields::none().with("users", users)))).await;
        assert_eq!(
            body,
            "<xml><code>200</code><users><concurrent-hash-map><entry><string>userId</string>\
             <string>a&lt;b</string></entry></concurrent-hash-map><string>c&amp;d</string></users></xml>"
        );
    }
}
