//! Who is in the cluster: what nodes tell each other about themselves.

use crate::{
    config::{is_name, keys},
    model::NodeId,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its number, which follows from the name.
    pub node: NodeId,
    /// Its name. 1 to 64 letters, digits, `-`, `_`, `.`.
    pub name: Arc<str>,
    /// Its region; may be empty.
    pub region: Arc<str>,
    /// Where nodes reach it: host and port. At most 128 bytes.
    pub address: Arc<str>,
    /// Where clients reach it; may be empty. At most 128 bytes.
    pub url: Arc<str>,
    /// Tells its starts apart: a later start has a higher one.
    pub incarnation: u64,
}

impl Member {
    /// Whether every part is within its bounds, and the number is that of the name.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        is_name(&self.name)
            && self.node == NodeId::of(&self.name)
            && (self.region.is_empty() || is_name(&self.region))
            && keys::is_endpoint(&self.address)
            && (self.url.is_empty() || keys::is_url(&self.url))
    }
}

/// A member as the failure detector knows it: a start of a node, and how often that start had to come back after it
/// was declared down while it lived. Of two identities of one node the later one counts; what else is said about a
/// node does not tell identities apart, so nobody can rename another.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Wire", try_from = "Wire")]
pub(super) struct Identity {
    pub(super) member: Arc<Member>,
    pub(super) renewals: u32,
}

/// The parts in the order in which they are sent. The number is left out: it follows from the name.
#[derive(Clone, Serialize, Deserialize)]
struct Wire {
    name: Arc<str>,
    region: Arc<str>,
    address: Arc<str>,
    url: Arc<str>,
    incarnation: u64,
    renewals: u32,
}

impl Identity {
    fn rank(&self) -> (u64, u32) {
        (self.member.incarnation, self.renewals)
    }

    pub(super) fn node(&self) -> NodeId {
        self.member.node
    }
}

impl From<Identity> for Wire {
    fn from(identity: Identity) -> Self {
        let Member { name, region, address, url, incarnation, .. } = (*identity.member).clone();
        Self { name, region, address, url, incarnation, renewals: identity.renewals }
    }
}

impl TryFrom<Wire> for Identity {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let Wire { name, region, address, url, incarnation, renewals } = wire;
        let member = Member { node: NodeId::of(&name), name, region, address, url, incarnation };
        if !member.is_sound() {
            return Err("no member");
        }
        Ok(Self { member: Arc::new(member), renewals })
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.node() == other.node() && self.rank() == other.rank()
    }
}

impl Eq for Identity {}

impl foca::Identity for Identity {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(Self { member: self.member.clone(), renewals: self.renewals.checked_add(1)? })
    }

    fn addr(&self) -> NodeId {
        self.node()
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        debug_assert_eq!(self.addr(), adversary.addr());
        self.rank() > adversary.rank()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use foca::Identity as _;

    pub(in crate::mesh) fn identity(name: &str, incarnation: u64) -> Identity {
        let member = Member {
            node: NodeId::of(name),
            name: name.into(),
            region: "eu".into(),
            address: "127.0.0.1:7400".into(),
            url: "https://eu.example.com".into(),
            incarnation,
        };
        Identity { member: Arc::new(member), renewals: 0 }
    }

    #[test]
    fn a_later_start_and_a_renewal_win() {
        let first = identity("eu-1", 7);
        let renewed = first.renew().unwrap();
        let restarted = identity("eu-1", 8);
        assert!(renewed.win_addr_conflict(&first) && !first.win_addr_conflict(&renewed));
        assert!(restarted.win_addr_conflict(&renewed) && !renewed.win_addr_conflict(&restarted));
        assert!(first != renewed && first == identity("eu-1", 7));
    }

    #[test]
    fn the_largest_identity_leaves_room_for_three_in_a_datagram() {
        let mut member = (*identity(&"n".repeat(64), u64::MAX).member).clone();
        member.region = "r".repeat(64).into();
        member.address = format!("{}:65535", "a".repeat(122)).into();
        member.url = format!("https://{}", "u".repeat(120)).into();
        let bytes = postcard::to_stdvec(&Identity { member: Arc::new(member), renewals: u32::MAX }).unwrap();
        assert!(postcard::from_bytes::<Identity>(&bytes).is_ok());
        assert!(3 * bytes.len() + 16 < super::super::swim::MAX_PACKET, "{}", bytes.len());
    }

    #[test]
    fn what_is_out_of_bounds_is_no_identity() {
        let good = Wire::from(identity("eu-1", 7));
        let reads =
            |wire: Wire| postcard::from_bytes::<Identity>(&postcard::to_stdvec(&wire).unwrap()).is_ok();
        assert!(reads(good.clone()));
        assert!(!reads(Wire { name: "a b".into(), ..good.clone() }));
        assert!(!reads(Wire { region: "x".repeat(65).into(), ..good.clone() }));
        assert!(!reads(Wire { address: "nowhere".into(), ..good.clone() }));
        assert!(!reads(Wire { url: "javascript:alert(1)".into(), ..good }));
    }
}
