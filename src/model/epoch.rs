//! Whose numbering a position belongs to.

use super::{NodeId, Stamp};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// One owner's time with a mailbox: the positions that it gave.
///
/// Positions of one mailbox grow strictly while it moves from owner to owner in order. An owner that was believed dead and
/// was not goes on giving positions beside its successor; so a cursor is only good together with the reign under which it was
/// given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reign {
    /// Grows with each new owner.
    pub term: u32,
    /// The owner.
    pub owner: NodeId,
}

/// A reign, and where it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// The reign.
    pub reign: Reign,
    /// Every position that it gave is above this one.
    pub base: Stamp,
    /// The owner took over without having the mailbox: what it held may still come.
    pub recovered: bool,
}

impl fmt::Display for Reign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.owner)
    }
}

/// A text that is no reign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an epoch that a node gave")]
pub struct BadReign;

impl FromStr for Reign {
    type Err = BadReign;

    fn from_str(text: &str) -> Result<Self, BadReign> {
        let (term, owner) = text.split_once('.').ok_or(BadReign)?;
        let owner = u32::from_str_radix(owner, 16).map_err(|_| BadReign)?;
        Ok(Self { term: term.parse().map_err(|_| BadReign)?, owner: NodeId(owner) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reign_reads_back_and_later_terms_are_greater() {
        let reign = Reign { term: 7, owner: NodeId(0xab) };
        assert_eq!(reign.to_string(), "7.000000ab");
        assert_eq!("7.000000ab".parse(), Ok(reign));
        assert_eq!("7".parse::<Reign>(), Err(BadReign));
        assert_eq!("-1.0".parse::<Reign>(), Err(BadReign));
        assert!(Reign { term: 8, owner: NodeId(1) } > reign);
    }
}
