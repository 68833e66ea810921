//! Names of nodes, and the short numbers that stand for nodes and users where space counts.

use super::UserKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// A node, as a number: the first four bytes of the SHA-256 of its name. Zero is no node: the single node of local mode.
///
/// Two names with one number cannot be in one cluster; a link refuses the second (one chance in four billion a pair).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The node of local mode: without a name, without peers.
    pub const LOCAL: Self = Self(0);

    /// The node called `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let digest = Sha256::digest(name.as_bytes());
        let mut bytes = [0_u8; 4];
        bytes.copy_from_slice(&digest[..4]);
        Self(u32::from_be_bytes(bytes).max(1))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A user, as a number: the first 16 bytes of the SHA-256 of its key. Nobody can make two users with one number, so tables of
/// all users need not hold their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UserHash(pub u128);

impl UserHash {
    /// The number of `user`.
    #[must_use]
    pub fn of(user: &UserKey) -> Self {
        let digest = Sha256::digest(user.as_str().as_bytes());
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(u128::from_be_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_from_names_alone_and_no_name_is_zero() {
        assert_eq!(NodeId::of("eu-1"), NodeId::of("eu-1"));
        assert_ne!(NodeId::of("eu-1"), NodeId::of("eu-2"));
        assert_ne!(NodeId::of(""), NodeId::LOCAL);
        let user = |id| UserKey::new("app", id).unwrap();
        assert_eq!(UserHash::of(&user("ann")), UserHash::of(&user("ann")));
        assert_ne!(UserHash::of(&user("ann")), UserHash::of(&user("bo")));
    }
}
