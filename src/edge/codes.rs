//! Error codes, close codes and HTTP statuses: the one table of what clients see (`docs/protocol.md`, section 5).

use crate::relay::Refused;
use serde::{Deserialize, Serialize};

/// Why a session or a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// `bad_frame`
    BadFrame,
    /// `bad_token`
    BadToken,
    /// `token_expired`
    TokenExpired,
    /// `user_blocked`
    UserBlocked,
    /// `unsupported_version`
    UnsupportedVersion,
    /// `too_large`
    TooLarge,
    /// `rate_limited`
    RateLimited,
    /// `rejected_by_blacklist`
    Blacklisted,
    /// `not_allowed`
    NotAllowed,
    /// `not_found`
    NotFound,
    /// `not_supported`
    NotSupported,
    /// `busy`
    Busy,
    /// `session_gone`
    SessionGone,
    /// `timeout`: nothing heard
    Silent,
    /// `replaced` by another session of the device
    Replaced,
    /// `too_many` sessions or frames
    TooMany,
    /// `internal`
    Internal,
}

impl Code {
    /// The word in `err` and `kick`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        self.row().0
    }

    /// The WebSocket close code.
    #[must_use]
    pub const fn close(self) -> u16 {
        self.row().1
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.row().2
    }

    const fn row(self) -> (&'static str, u16, u16) {
        match self {
            Self::BadFrame => ("bad_frame", 4400, 400),
            Self::BadToken => ("bad_token", 4401, 401),
            Self::TokenExpired => ("token_expired", 4401, 401),
            Self::UserBlocked => ("user_blocked", 4403, 403),
            Self::UnsupportedVersion => ("unsupported_version", 4406, 406),
            Self::TooLarge => ("too_large", 1009, 413),
            Self::RateLimited => ("rate_limited", 4429, 429),
            Self::Blacklisted => ("rejected_by_blacklist", 4403, 403),
            Self::NotAllowed => ("not_allowed", 4403, 403),
            Self::NotFound => ("not_found", 4404, 404),
            Self::NotSupported => ("not_supported", 4400, 400),
            Self::Busy => ("busy", 1013, 503),
            Self::SessionGone => ("session_gone", 4404, 404),
            Self::Silent => ("timeout", 4408, 408),
            Self::Replaced => ("replaced", 4409, 409),
            Self::TooMany => ("too_many", 4429, 429),
            Self::Internal => ("internal", 1011, 500),
        }
    }

    /// The code of a refusal, and after how many milliseconds it is worth trying again.
    #[must_use]
    pub fn of(refused: &Refused) -> (Self, Option<u64>) {
        match refused {
            Refused::Blacklisted { .. } => (Self::Blacklisted, None),
            Refused::UserBlocked { .. } => (Self::UserBlocked, None),
            Refused::TokenRevoked => (Self::TokenExpired, None),
            Refused::Unsupported { .. } => (Self::NotSupported, None),
            Refused::Invalid(_) => (Self::BadFrame, None),
            Refused::NotFound(_) => (Self::NotFound, None),
            Refused::Busy(wait) => (Self::Busy, u64::try_from(wait.as_millis()).ok()),
            Refused::Elsewhere => (Self::Busy, Some(200)),
            Refused::Failed | Refused::Ended => (Self::Internal, None),
        }
    }
}
