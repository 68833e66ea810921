//! What can go wrong with a call, with the numbers that callers see.

use crate::{model::BadId, relay::Refused, store::StoreError};

/// Kinds of failure. Their numbers are in [`Code::numbers`] and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// No such endpoint.
    NotFound,
    /// Our own fault; may be tried again. The only one with a 5xx status, at which SDKs try another host.
    Internal,
    /// No app has this key.
    UnknownApp,
    /// A parameter is wrong.
    Parameter,
    /// A required parameter is not there: told as [`Code::Parameter`], or as [`Code::NoBody`] when nothing came at all.
    Missing,
    /// No body where something is required.
    NoBody,
    /// The signature is wrong, or a header is missing.
    Signature,
    /// A parameter is too long.
    TooLong,
    /// The app is locked.
    AppLocked,
    /// Called too often.
    TooOften,
    /// The body is too large.
    BodyTooLarge,
}

impl Code {
    /// The number in the answer's `code`, the HTTP status, and the number as text for metrics.
    #[must_use]
    pub const fn numbers(self) -> (u16, u16, &'static str) {
        match self {
            Self::NotFound => (404, 404, "404"),
            Self::Internal => (1000, 500, "1000"),
            Self::UnknownApp => (1001, 401, "1001"),
            Self::Parameter | Self::Missing => (1002, 400, "1002"),
            Self::NoBody => (1003, 400, "1003"),
            Self::Signature => (1004, 401, "1004"),
            Self::TooLong => (1005, 400, "1005"),
            Self::AppLocked => (1006, 401, "1006"),
            Self::TooOften => (1008, 429, "1008"),
            Self::BodyTooLarge => (1508, 400, "1508"),
        }
    }
}

/// Why a call was refused. The text never holds a value that the caller sent, so that it may be logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of failure.
    pub code: Code,
    /// For people: the offending field and what is wrong with it.
    pub message: String,
}

impl ApiError {
    /// A failure with a text.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// `field` is required and not there.
    #[must_use]
    pub fn missing(field: &str) -> Self {
        Self::new(Code::Missing, format!("{field} is required."))
    }

    /// Something is wrong with `field`.
    #[must_use]
    pub fn parameter(field: &str, what: impl std::fmt::Display) -> Self {
        Self::new(Code::Parameter, format!("{field} {what}."))
    }

    /// `field` has `len` bytes, more than `max`.
    #[must_use]
    pub fn too_long(field: &str, len: usize, max: usize) -> Self {
        Self::new(Code::TooLong, format!("{field} is {len} bytes, the limit is {max}."))
    }

    /// `field` is not an id.
    #[must_use]
    pub fn bad_id(field: &str, why: BadId) -> Self {
        match why {
            BadId::Empty => Self::missing(field),
            BadId::TooLong(_) => Self::new(Code::TooLong, format!("{field} {why}.")),
            BadId::Control => Self::parameter(field, why),
        }
    }

    /// The node failed; what happened is for its log, not for the caller.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(Code::Internal, "internal error, try again.")
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Busy(_) | Refused::Elsewhere => {
                Self::new(Code::Internal, "the node is busy, try again.")
            }
            Refused::Failed | Refused::Ended => Self::internal(),
            Refused::Invalid(what) | Refused::NotFound(what) => Self::new(Code::Parameter, what),
            Refused::Unsupported { kind } => Self::new(
                Code::Parameter,
                format!("conversation kind {} is not supported here.", kind.number()),
            ),
            Refused::Blacklisted { .. } => {
                Self::new(Code::Parameter, "the addressee has blacklisted the sender.")
            }
            Refused::UserBlocked { .. } => Self::new(Code::Parameter, "the user is blocked."),
            Refused::TokenRevoked => Self::new(Code::Parameter, "the user's token was revoked."),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "server api: the store could not be read");
        Self::internal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_our_own_faults_are_5xx() {
        for code in [
            Code::NotFound,
            Code::UnknownApp,
            Code::Parameter,
            Code::Missing,
            Code::NoBody,
            Code::Signature,
            Code::TooLong,
            Code::AppLocked,
            Code::TooOften,
            Code::BodyTooLarge,
        ] {
            let (number, status, label) = code.numbers();
            assert!((400..500).contains(&status), "{code:?}");
            assert_eq!(number.to_string(), label);
        }
        assert_eq!(Code::Internal.numbers(), (1000, 500, "1000"));
    }

    #[test]
    fn a_node_that_is_busy_or_failing_says_1000() {
        for refused in [Refused::Busy(Duration::from_secs(1)), Refused::Failed, Refused::Ended] {
            assert_eq!(ApiError::from(refused).code, Code::Internal);
        }
        assert_eq!(ApiError::from(Refused::Invalid("x".into())).code, Code::Parameter);
    }

    #[test]
    fn ids_fail_by_what_is_wrong_with_them() {
        assert_eq!(ApiError::bad_id("userId", BadId::Empty).message, "userId is required.");
        assert_eq!(ApiError::bad_id("userId", BadId::TooLong(70)).code, Code::TooLong);
        assert_eq!(ApiError::bad_id("userId", BadId::Control).code, Code::Parameter);
    }
}
