//! The presence table, kept the same on all nodes.
//!
//! Flow: news are pushed at once on every link (`mesh`); whatever was missed is found by comparing digests when a link comes
//! up, and now and then after that ([`Repair`]).
//! Pure: time comes in as an argument.

use super::{Effect, Frame, Relay};
use crate::{
    gossip::{ClaimRow, Repair, RepairMessage, Replica as _},
    model::{NodeId, Stamp, UserHash},
};

/// How often two tables are compared.
const AGAIN_US: u64 = 10_000_000;
/// The same, until they were for the first time over a link.
const FIRST_US: u64 = 1_000_000;

/// The comparison with one peer, over the present link.
#[derive(Debug)]
pub(super) struct Comparison {
    claims: Repair,
    next: Stamp,
}

impl Relay {
    /// Whether this node has had all claims that `peer` had when their link came up.
    #[must_use]
    pub fn has_heard(&self, peer: NodeId) -> bool {
        let comparison = self.mesh.as_ref().and_then(|mesh| mesh.comparisons.get(&peer));
        comparison.is_some_and(|comparison| comparison.claims.completed() > 0)
    }

    pub(super) fn begin_comparison(&mut self, now: Stamp, peer: NodeId, effects: &mut Vec<Effect>) {
        let lead = self.node < peer;
        let Some(mesh) = &mut self.mesh else { return };
        let mut claims = Repair::new(lead);
        let message = claims.start(mesh.presence.table());
        effects.push(Effect::Send { to: peer, frame: Frame::Repair(message) });
        mesh.comparisons.insert(peer, Comparison { claims, next: Stamp(now.0 + FIRST_US) });
    }

    /// A message of a comparison. One that is not sound changes nothing; the next round finds out what it was to say.
    pub(super) fn compared(
        &mut self,
        now: Stamp,
        from: NodeId,
        message: RepairMessage<ClaimRow>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(comparison) = mesh.comparisons.get_mut(&from) else { return };
        #[cfg(test)]
        let message = match message {
            RepairMessage::Rows(mut rows)
                if self.sabotage == Some(super::sabotage::Sabotage::DigestIgnoresBuckets) =>
            {
                rows.retain(|(key, _)| key[0] % 2 == 0);
                RepairMessage::Rows(rows)
            }
            message => message,
        };
        let (mut out, mut changed) = (Vec::new(), Vec::new());
        if comparison.claims.take(&mut mesh.presence, message, &mut out, &mut changed).is_err() {
            return;
        }
        for message in out {
            effects.push(Effect::Send { to: from, frame: Frame::Repair(message) });
        }
        for (key, row, before) in changed {
            let claim = crate::gossip::Claim::from(row);
            self.hear(now, claim.stamp);
            self.claim_changed(now, UserHash(key), claim, before.map(Into::into), effects);
        }
        self.found(now, effects);
    }

    pub(super) fn tick_comparisons(&mut self, now: Stamp, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        for (&peer, comparison) in &mut mesh.comparisons {
            if comparison.next > now {
                continue;
            }
            let wait = if comparison.claims.completed() > 0 { AGAIN_US } else { FIRST_US };
            comparison.next = Stamp(now.0 + wait);
            if let Some(message) = comparison.claims.again(mesh.presence.table()) {
                effects.push(Effect::Send { to: peer, frame: Frame::Repair(message) });
            }
        }
    }
}
