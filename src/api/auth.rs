//! Who calls: the four headers and their signature.
//!
//! `Signature = hex(SHA-1(secret ‖ nonce ‖ timestamp))`. The body is not covered, the nonce may come again, and by
//! default the timestamp may have any age: the vendor's Node SDKs make all four once, when a process starts, and send
//! them for as long as it lives.

use super::error::{ApiError, Code};
use crate::{
    apps::{App, Apps},
    model::Stamp,
};
use axum::http::HeaderMap;
use sha1::{Digest as _, Sha1};
use std::time::Duration;
use subtle::ConstantTimeEq as _;

/// The plain and the prefixed names; the families do not mix.
const PLAIN: [&str; 4] = ["app-key", "nonce", "timestamp", "signature"];
const PREFIXED: [&str; 4] = ["rc-app-key", "rc-nonce", "rc-timestamp", "rc-signature"];

/// Finds the app that a call comes from.
///
/// * `skew`: how far the timestamp may be from `now`; `None`: any distance.
///
/// # Errors
/// When the app is unknown or locked, or the signature or a header is missing or wrong.
pub fn admit<'a>(
    headers: &HeaderMap,
    apps: &'a Apps,
    now: Stamp,
    skew: Option<Duration>,
) -> Result<&'a App, ApiError> {
    let names = if headers.contains_key(PLAIN[0]) { PLAIN } else { PREFIXED };
    let [key, nonce, timestamp, given] = names.map(|name| {
        headers
            .get(name)
            .and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
            .filter(|value| !value.is_empty())
            .ok_or_else(|| ApiError::new(Code::Signature, format!("header {name} is required.")))
    });
    let (key, nonce, timestamp, given) = (key?, nonce?, timestamp?, given?);
    let app = apps.get(key).ok_or_else(|| ApiError::new(Code::UnknownApp, "the app key is not known."))?;
    let wanted = signature(app.secret.reveal(), nonce, timestamp);
    let matches = hex(given).is_some_and(|given| given.ct_eq(&wanted).into());
    if !matches {
        return Err(ApiError::new(Code::Signature, "the signature is wrong."));
    }
    if app.disabled {
        return Err(ApiError::new(Code::AppLocked, "the app is locked."));
    }
    if let Some(skew) = skew {
        check_age(timestamp, now, skew)?;
    }
    Ok(app)
}

/// The signature of a call.
#[must_use]
pub fn signature(secret: &str, nonce: &str, timestamp: &str) -> [u8; 20] {
    let mut hash = Sha1::new();
    hash.update(secret);
    hash.update(nonce);
    hash.update(timestamp);
    hash.finalize().into()
}

/// 40 hex digits of either case.
fn hex(text: &str) -> Option<[u8; 20]> {
    let mut bytes = [0; 20];
    if text.len() != 40 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |b: u8| (b as char).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

/// A value of eleven digits or more is milliseconds, else seconds.
fn check_age(timestamp: &str, now: Stamp, skew: Duration) -> Result<(), ApiError> {
    let wrong = |what: &str| ApiError::new(Code::Signature, format!("the timestamp {what}."));
    let number: u64 = timestamp.parse().map_err(|_| wrong("is not a number"))?;
    let millis = if timestamp.len() >= 11 { number } else { number.saturating_mul(1_000) };
    if u128::from(millis.abs_diff(now.millis())) > skew.as_millis() {
        return Err(wrong("is too far from this server's clock"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "app1";
    const SECRET: &str = "s3cr3t-example";
    const SIGNED: &str = "60d37e517e914040b7a60632692ef15dfd7bcd0c";

    fn apps() -> Apps {
        let locked = App { disabled: true, ..App::new("locked", SECRET) };
        Apps::new([App::new(KEY, SECRET), locked]).unwrap()
    }

    fn headers(names: [&'static str; 4], values: [&str; 4]) -> HeaderMap {
        names
            .into_iter()
            .zip(values)
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn code(headers: &HeaderMap) -> Result<String, Code> {
        admit(headers, &apps(), Stamp::ZERO, None).map(|app| app.key.to_string()).map_err(|error| error.code)
    }

    #[test]
    fn signatures_agree_with_the_worked_examples() {
        for (secret, nonce, timestamp, want) in [
            (SECRET, "14314", "1700000000", SIGNED),
            (SECRET, "14314", "1700000000000", "3c12bab8cdfec365d68fe4dcff5d2ca367c49113"),
            (SECRET, "0.8375", "1408710653000", "c3211544f1fdb4789c9d74c9d526a25a0e105def"),
            ("Y1W2MeFwwwRxa0", "14314", "1408710653000", "30be0bbca9c9b2e27578701e9fda2358a814c88f"),
        ] {
            assert_eq!(Some(signature(secret, nonce, timestamp)), hex(want));
        }
    }

    #[test]
    fn both_families_and_both_cases_are_taken() {
        let upper = SIGNED.to_ascii_uppercase();
        for names in [PLAIN, PREFIXED] {
            for signed in [SIGNED, &upper] {
                let headers = headers(names, [KEY, "14314", "1700000000", signed]);
                assert_eq!(code(&headers), Ok(KEY.to_owned()));
            }
        }
    }

    #[test]
    fn families_do_not_mix() {
        let mut headers = headers(PREFIXED, [KEY, "14314", "1700000000", SIGNED]);
        headers.insert("app-key", KEY.parse().unwrap());
        assert_eq!(code(&headers), Err(Code::Signature));
    }

    #[test]
    fn each_failure_has_its_code() {
        let with = |values| code(&headers(PLAIN, values));
        assert_eq!(with(["other", "14314", "1700000000", SIGNED]), Err(Code::UnknownApp));
        assert_eq!(with([KEY, "14315", "1700000000", SIGNED]), Err(Code::Signature));
        assert_eq!(with([KEY, "14314", "1700000000", &SIGNED[1..]]), Err(Code::Signature));
        assert_eq!(with([KEY, "14314", "1700000000", "é"]), Err(Code::Signature));
        assert_eq!(with(["locked", "14314", "1700000000", SIGNED]), Err(Code::AppLocked));
        for at in 0..4 {
            let mut values = [KEY, "14314", "1700000000", SIGNED];
            values[at] = "";
            assert_eq!(with(values), Err(Code::Signature), "{at} empty");
            let mut missing = headers(PLAIN, [KEY, "14314", "1700000000", SIGNED]);
            missing.remove(PLAIN[at]);
            assert_eq!(code(&missing), Err(Code::Signature), "{at} missing");
        }
        assert_eq!(code(&HeaderMap::new()), Err(Code::Signature));
    }

    #[test]
    fn age_counts_only_when_asked_for() {
        let now = Stamp::from_millis(1_700_000_000_000);
        let skew = Duration::from_secs(60);
        for good in ["1700000000", "1700000060", "1700000000000", "1699999940000"] {
            assert_eq!(check_age(good, now, skew), Ok(()), "{good}");
        }
        for bad in ["1700000061", "1699999939999", "0", "x", "17000000000000000000000"] {
            assert!(check_age(bad, now, skew).is_err(), "{bad}");
        }
    }
}
