//! A last-writer-wins register (Shapiro et al., "A comprehensive study of CRDTs", 2011, section 3.2.1).

use crate::model::Stamp;
use serde::{Deserialize, Serialize};

/// A value and when it was written, or a grave: removed at that time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell<V> {
    /// When it was written; stamps of one node are unique.
    pub stamp: Stamp,
    /// Number of the node that wrote it; breaks ties between nodes.
    pub node: u32,
    /// The value; `None` when it was removed.
    pub value: Option<V>,
}

impl<V> Cell<V> {
    /// Whether this one replaces `other`.
    #[must_use]
    pub fn beats(&self, other: &Self) -> bool {
        (self.stamp, self.node) > (other.stamp, other.node)
    }

    /// Takes `other` in if it is later. Says whether anything changed.
    pub fn merge(&mut self, other: Self) -> bool {
        let newer = other.beats(self);
        if newer {
            *self = other;
        }
        newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cells() -> impl Strategy<Value = Vec<Cell<u8>>> {
        // One writer never gives one stamp twice, so the value follows from stamp and node.
        proptest::collection::vec((0_u64..20, 0_u32..3), 1..12).prop_map(|all| {
            all.into_iter()
                .map(|(stamp, node)| {
                    let value = (stamp as u8).wrapping_mul(7).wrapping_add(node as u8);
                    Cell { stamp: Stamp(stamp), node, value: (!value.is_multiple_of(3)).then_some(value) }
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn any_order_and_any_repetition_end_the_same(all in cells(), seed in any::<u64>()) {
            let mut forwards = all[0].clone();
            for cell in &all { forwards.merge(cell.clone()); }
            let mut shuffled = all.clone();
            shuffled.rotate_left(seed as usize % all.len());
            shuffled.reverse();
            shuffled.extend(all.iter().cloned());
            let mut backwards = shuffled[0].clone();
            for cell in shuffled { backwards.merge(cell); }
            prop_assert_eq!(forwards, backwards);
        }
    }
}
