//! An app's back end, which signs its calls.

use super::{
    http::{Answer, http},
    node::{KEY, SECRET},
};
use serde_json::Value;
use sha1::{Digest as _, Sha1};
use std::{fmt::Write as _, net::SocketAddr};

/// The back end of the one app.
#[derive(Clone, Copy)]
pub struct Backend {
    pub address: SocketAddr,
}

impl Backend {
    /// The headers that sign a call.
    pub fn signed() -> Vec<String> {
        let mut signature = String::new();
        for byte in Sha1::digest(format!("{SECRET}143141700000000")) {
            write!(signature, "{byte:02x}").unwrap();
        }
        vec![
            format!("App-Key: {KEY}"),
            "Nonce: 14314".into(),
            "Timestamp: 1700000000".into(),
            format!("Signature: {signature}"),
            "Content-Type: application/x-www-form-urlencoded".into(),
        ]
    }

    /// A call with a form.
    pub async fn call(&self, path: &str, form: &[(&str, &str)], headers: &[String]) -> Answer {
        let pairs: Vec<_> = form.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
        http(self.address, &format!("POST /{path}.json"), headers, pairs.join("&")).await.unwrap()
    }

    /// The answer to a call, which must be a success.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let answer = self.call(path, form, &Self::signed()).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["code"]), (200, &200.into()), "{path} {form:?} → {body}");
        body
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(byte.into());
        } else {
            write!(out, "%{byte:02X}").unwrap();
        }
    }
    out
}
