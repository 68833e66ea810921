//! User tokens: what an app's back end gets from the server API and a client shows when it connects.
//!
//! A token is signed, not stored: any node checks it with the app's secret alone. It is revoked by a changed secret
//! or by the directory's "tokens issued before" (see [`crate::gossip::FactKey::TokensBefore`]), for which it carries
//! the moment of its issue.
//!
//! Format, version 1: base64url without padding (RFC 4648, section 5) of
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version: 1 |
//! | 8 | issued, microseconds since 1970, big endian |
//! | 8 | expires, likewise; 0: never |
//! | 1 | length of the app key, 1 to 64 |
//! | 1..=64 | app key |
//! | 1..=64 | user id: the rest up to the signature |
//! | 32 | HMAC-SHA256 (RFC 2104) with the app secret as its key over `hongyan-token` and all bytes above |
//!
//! At most 178 bytes, so at most 238 characters.

use crate::model::{Stamp, UserKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::sync::Arc;

/// Longest token in characters.
pub const MAX_TOKEN: usize = 238;

const VERSION: u8 = 1;
/// Version, two stamps, length of the app key.
const HEAD: usize = 18;
const SIGNATURE: usize = 32;
/// Keeps these signatures apart from all else that is signed with an app's secret.
const DOMAIN: &[u8] = b"hongyan-token";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who may connect with it.
    pub user: UserKey,
    /// When it was issued.
    pub issued: Stamp,
    /// From when on it is no longer good; `None`: it stays good.
    pub expires: Option<Stamp>,
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a token at all, or cut, or of a version that this node does not know.
    #[error("this is not a token of this service")]
    Garbled,
    /// Its app is not one of this service.
    #[error("the token is for an app that is not known here")]
    UnknownApp,
    /// Changed, or signed with another secret.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// Over.
    #[error("the token has expired; get a new one from the app's back end")]
    Expired {
        /// When.
        at: Stamp,
    },
}

/// Makes a token that says `claims`, signed with the secret of the user's app.
#[must_use]
pub fn issue(secret: &str, claims: &Claims) -> String {
    let (app, id) = (claims.user.app(), claims.user.id());
    // A token that expired at the beginning of time would read as one that never does.
    let expires = claims.expires.map_or(0, |at| at.0.max(1));
    let mut bytes = Vec::with_capacity(HEAD + app.len() + id.len() + SIGNATURE);
    bytes.push(VERSION);
    bytes.extend_from_slice(&claims.issued.0.to_be_bytes());
    bytes.extend_from_slice(&expires.to_be_bytes());
    bytes.push(app.len() as u8); // a UserKey's app key has 1 to 64 bytes
    bytes.extend_from_slice(app.as_bytes());
    bytes.extend_from_slice(id.as_bytes());
    let signature = signer(secret, &bytes).finalize().into_bytes();
    bytes.extend_from_slice(&signature);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Checks a token at the moment `now`.
///
/// * `lookup`: the secret of an app by its key; `None` for apps that are unknown or locked.
///
/// # Errors
/// Why the token is not good. Nothing that it says may be believed then.
pub fn verify(
    text: &str,
    now: Stamp,
    lookup: impl Fn(&str) -> Option<Arc<str>>,
) -> Result<Claims, TokenError> {
    if text.len() > MAX_TOKEN {
        return Err(TokenError::Garbled);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Garbled)?;
    let (signed, signature) = bytes.split_last_chunk::<SIGNATURE>().ok_or(TokenError::Garbled)?;
    let claims = read(signed).ok_or(TokenError::Garbled)?;
    let secret = lookup(claims.user.app()).ok_or(TokenError::UnknownApp)?;
    signer(&secret, signed)
        .verify_slice(signature) // in constant time
        .map_err(|_| TokenError::BadSignature)?;
    match claims.expires {
        Some(at) if at <= now => Err(TokenError::Expired { at }),
        _ => Ok(claims),
    }
}

fn signer(secret: &str, signed: &[u8]) -> Hmac<Sha256> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    hmac.update(DOMAIN);
    hmac.update(signed);
    hmac
}

fn read(signed: &[u8]) -> Option<Claims> {
    let (&[version], rest) = signed.split_first_chunk()?;
    if version != VERSION {
        return None;
    }
    let (issued, rest) = rest.split_first_chunk()?;
    let (expires, rest) = rest.split_first_chunk()?;
    let (&[len], rest) = rest.split_first_chunk()?;
    let (app, id) = rest.split_at_checked(usize::from(len))?;
    let user = UserKey::new(std::str::from_utf8(app).ok()?, std::str::from_utf8(id).ok()?).ok()?;
    let expires = u64::from_be_bytes(*expires);
    Some(Claims {
        user,
        issued: Stamp(u64::from_be_bytes(*issued)),
        expires: (expires != 0).then_some(Stamp(expires)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "s3cr3t-example";

    fn claims(app: &str, id: &str) -> Claims {
        Claims {
            user: UserKey::new(app, id).unwrap(),
            issued: Stamp(1_700_000_000_000_000),
            expires: Some(Stamp(1_800_000_000_000_000)),
        }
    }

    fn check(text: &str, now: u64) -> Result<Claims, TokenError> {
        verify(text, Stamp(now), |app| (app == "app").then(|| SECRET.into()))
    }

    #[test]
    fn a_token_says_what_it_was_made_for() {
        let mut want = claims("app", "Ann|雁");
        assert_eq!(check(&issue(SECRET, &want), 1), Ok(want.clone()));
        want.expires = None;
        assert_eq!(check(&issue(SECRET, &want), u64::MAX), Ok(want));
    }

    #[test]
    fn the_longest_token_fits_and_is_safe_in_an_address() {
        let long = "x".repeat(64);
        let text = issue(&"k".repeat(300), &claims(&long, &long));
        assert_eq!(text.len(), MAX_TOKEN);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
    }

    #[test]
    fn each_refusal_says_why() {
        let good = claims("app", "ann");
        let text = issue(SECRET, &good);
        let end = 1_800_000_000_000_000;
        assert!(check(&text, end - 1).is_ok());
        assert_eq!(check(&text, end), Err(TokenError::Expired { at: Stamp(end) }));
        assert_eq!(check(&issue(SECRET, &claims("other", "ann")), 1), Err(TokenError::UnknownApp));
        assert_eq!(check(&issue("another secret", &good), 1), Err(TokenError::BadSignature));
        // A bad signature is not told apart further: an expired forgery is a forgery.
        assert_eq!(check(&issue("another secret", &good), end), Err(TokenError::BadSignature));
        for garbled in ["", "a", "token", "==", &format!("{text}="), &text[..text.len() - 4]] {
            assert!(
                matches!(check(garbled, 1), Err(TokenError::Garbled | TokenError::BadSignature)),
                "{garbled}"
            );
        }
        assert_eq!(check(&"A".repeat(10_000), 1), Err(TokenError::Garbled));
    }

    #[test]
    fn a_token_that_expired_at_the_beginning_of_time_has_expired() {
        let text = issue(SECRET, &Claims { expires: Some(Stamp::ZERO), ..claims("app", "ann") });
        assert!(matches!(check(&text, 1), Err(TokenError::Expired { .. })));
    }

    #[test]
    fn one_changed_character_anywhere_is_refused() {
        let text = issue(SECRET, &claims("app", "ann"));
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ ";
        for at in 0..text.len() {
            for &other in alphabet {
                let mut changed = text.clone().into_bytes();
                if changed[at] == other {
                    continue;
                }
                changed[at] = other;
                let changed = String::from_utf8(changed).unwrap();
                // The app key itself may change into one that is unknown.
                assert!(check(&changed, 1).is_err(), "{changed}");
                assert!(verify(&changed, Stamp(1), |_| Some(SECRET.into())).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_and_never_panics(text in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(verify(&text, Stamp(1), |_| Some(SECRET.into())).is_err());
            let encoded = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert!(verify(&encoded, Stamp(1), |_| Some(SECRET.into())).is_err());
        }

        #[test]
        fn any_claims_come_back(app in "[a-z]{1,64}", id in "[^\\p{Cc}]{1,16}", issued in any::<u64>(), life in proptest::option::of(2..u64::MAX)) {
            let want = Claims { user: UserKey::new(&app, &id).unwrap(), issued: Stamp(issued), expires: life.map(Stamp) };
            let got = verify(&issue(SECRET, &want), Stamp(1), |_| Some(SECRET.into()));
            prop_assert_eq!(got, Ok(want));
        }
    }
}
