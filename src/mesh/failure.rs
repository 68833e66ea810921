//! Why a connection did not become a link, and why a link ended.
//!
//! The side that refuses says why in the close of the connection (RFC 9000, 10.2), so both sides can log it.

use quinn::{ConnectionError, VarInt};
use serde::Serialize;

/// Longest reason that is sent, and shown of what was sent, in bytes.
const MAX_REASON: usize = 256;

/// Codes with which connections are closed.
pub(super) mod code {
    pub(in crate::mesh) const REFUSED: u32 = 1;
    pub(in crate::mesh) const DUPLICATE: u32 = 2;
    pub(in crate::mesh) const LEAVING: u32 = 3;
    pub(in crate::mesh) const BROKEN: u32 = 4;
    pub(in crate::mesh) const REPLACED: u32 = 5;
    pub(in crate::mesh) const STOPPING: u32 = 6;
    pub(in crate::mesh) const TAKEN: u32 = 7;
}

/// Why a connection did not become a link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The handshake failed: no certificate, one of another authority, one that expired.
    #[error("the certificates do not agree: {0}")]
    Certificate(String),
    /// The certificate names another node than was expected.
    #[error("expected {expected}, but the certificate is that of {named}")]
    WrongName {
        /// Who should answer.
        expected: String,
        /// Who does.
        named: String,
    },
    /// The peer has this node's name.
    #[error(
        "another process calls itself {0}, as this node does; give each node a name and certificate of its own"
    )]
    OwnName(String),
    /// The address leads to this node itself.
    #[error("the address leads to the node itself")]
    Itself,
    /// What came is not this protocol.
    #[error("garbage: {0}")]
    Garbage(&'static str),
    /// No version that both speak.
    #[error("no common version: the peer speaks {} to {}, this node {} to {}; update the older one", theirs.0, theirs.1, ours.0, ours.1)]
    Version {
        /// Lowest and highest version of this node.
        ours: (u16, u16),
        /// Lowest and highest version of the peer.
        theirs: (u16, u16),
    },
    /// The clocks are too far apart.
    #[error("the clock of {node} is {} s {}, the bound is 60 s; set both clocks by NTP", ahead.unsigned_abs(), if *ahead > 0 { "ahead" } else { "behind" })]
    Clock {
        /// Whose.
        node: String,
        /// By how many seconds it is ahead of this node's.
        ahead: i64,
    },
    /// Another process of that name is linked, and alive.
    #[error(
        "another process called {0} is linked; a restarted one is let in as soon as the old link has ended"
    )]
    NameTaken(String),
    /// The peer is linked with another process of this node's name: an earlier start, whose link ends in a moment, or one
    /// that runs elsewhere.
    #[error(
        "the peer is linked with another process of this node's name; if this node was just started that passes within seconds"
    )]
    TakenThere,
    /// Another name has the same number.
    #[error("{node} and {other} have the same number; rename one of them")]
    NumberTaken {
        /// The peer.
        node: String,
        /// The node that was there before.
        other: String,
    },
    /// There is a link with that node already.
    #[error("there is a link already")]
    Duplicate,
    /// The node leaves the cluster.
    #[error("the node leaves")]
    Leaving,
    /// It took too long.
    #[error("no answer in time")]
    Slow,
    /// The peer refused, and said why.
    #[error("refused by the peer: {0}")]
    ByPeer(String),
    /// Nothing answers there, or what did broke off.
    #[error("{0}")]
    Unreachable(String),
}

impl Failure {
    /// The kind in one word, for counting.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::WrongName { .. } => "wrong_name",
            Self::OwnName(_) => "own_name",
            Self::Itself => "itself",
            Self::Garbage(_) => "garbage",
            Self::Version { .. } => "version",
            Self::Clock { .. } => "clock",
            Self::NameTaken(_) => "name_taken",
            Self::TakenThere => "taken_there",
            Self::NumberTaken { .. } => "number_taken",
            Self::Duplicate => "duplicate",
            Self::Leaving => "leaving",
            Self::Slow => "slow",
            Self::ByPeer(_) => "by_peer",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// Whether somebody has to do something about it, as against what passes by itself.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        !matches!(self, Self::Itself | Self::Duplicate | Self::Leaving | Self::Slow | Self::Unreachable(_))
    }

    /// The code that tells the peer.
    pub(super) const fn code(&self) -> VarInt {
        VarInt::from_u32(match self {
            Self::Duplicate | Self::Itself => code::DUPLICATE,
            Self::Leaving => code::LEAVING,
            Self::NameTaken(_) => code::TAKEN,
            _ => code::REFUSED,
        })
    }

    /// The words that tell the peer.
    pub(super) fn reason(&self) -> Vec<u8> {
        bounded(&self.to_string()).into_bytes()
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        // TLS alerts are the codes 0x100 to 0x1ff (RFC 9001, 4.8).
        let is_tls = |code: u64| (0x100..0x200).contains(&code);
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let why = bounded(&String::from_utf8_lossy(&close.reason));
                match u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX) {
                    code::REFUSED | code::BROKEN => Self::ByPeer(why),
                    code::DUPLICATE | code::REPLACED => Self::Duplicate,
                    code::LEAVING => Self::Leaving,
                    code::TAKEN => Self::TakenThere,
                    _ => Self::Unreachable(format!("closed by the peer: {why}")),
                }
            }
            ConnectionError::ConnectionClosed(close) if is_tls(close.error_code.into()) => {
                let why = bounded(&String::from_utf8_lossy(&close.reason));
                Self::Certificate(format!("the peer does not take this node's ({why})"))
            }
            ConnectionError::TransportError(error) if is_tls(error.code.into()) => {
                Self::Certificate(bounded(&error.reason))
            }
            ConnectionError::TimedOut => Self::Unreachable("no answer".into()),
            other => Self::Unreachable(bounded(&other.to_string())),
        }
    }
}

/// Text of a peer, fit to be logged.
fn bounded(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if out.len() + c.len_utf8() > MAX_REASON {
            break;
        }
        out.push(c);
    }
    out
}

/// Why a link ended. What was queued or under way when it did is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// Nothing was heard for too long.
    #[error("nothing was heard for too long")]
    TimedOut,
    /// The peer runs anew, or closed the connection.
    #[error("the peer closed it: {0}")]
    Closed(String),
    /// The peer leaves the cluster.
    #[error("the peer leaves")]
    Left,
    /// A newer connection with the same node took its place.
    #[error("a newer connection took its place")]
    Replaced,
    /// What came breaks the protocol.
    #[error("the peer broke the protocol: {0}")]
    Broken(String),
    /// This node stops.
    #[error("this node stops")]
    Stopped,
}

impl Why {
    /// The kind in one word, for counting.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Closed(_) => "closed",
            Self::Left => "left",
            Self::Replaced => "replaced",
            Self::Broken(_) => "broken",
            Self::Stopped => "stopped",
        }
    }

    /// The code and words that tell the peer, where the link's end is this side's wish.
    pub(super) fn close(&self) -> (VarInt, String) {
        let code = match self {
            Self::Left => code::LEAVING,
            Self::Replaced => code::REPLACED,
            Self::Broken(_) => code::BROKEN,
            _ => code::STOPPING,
        };
        (VarInt::from_u32(code), bounded(&self.to_string()))
    }
}

impl From<ConnectionError> for Why {
    fn from(error: ConnectionError) -> Self {
        match &error {
            ConnectionError::TimedOut => return Self::TimedOut,
            ConnectionError::LocallyClosed => return Self::Stopped,
            ConnectionError::Reset => return Self::Closed("it runs anew".into()),
            _ => {}
        }
        match Failure::from(error) {
            Failure::Duplicate => Self::Replaced,
            Failure::Leaving => Self::Left,
            other => Self::Closed(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_is_bounded_and_without_control_characters() {
        let text = bounded(&format!("a\n\u{1b}[31m{}", "雁".repeat(200)));
        assert!(text.starts_with("a  [31m雁") && text.len() <= MAX_REASON && !text.contains('\n'));
    }
}
