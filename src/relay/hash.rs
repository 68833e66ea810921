//! Hash maps with a fixed hasher.
//!
//! The standard library's map draws random keys, which a pure floor must not do. Nothing iterates over these maps in
//! an order that reaches an effect. The keys are the node's own, so that ids chosen to collide would have to be chosen
//! for this build.

use ahash::RandomState;

/// A hash map with a fixed hasher.
pub(super) type Map<K, V> = hashbrown::HashMap<K, V, RandomState>;

/// An empty map; allocates nothing.
pub(super) fn map<K, V>() -> Map<K, V> {
    Map::with_hasher(RandomState::with_seeds(
        0x9ae1_6a3b_2f90_404f,
        0x3c6e_f372_fe94_f82b,
        0xa54f_f53a_5f1d_36f1,
        0x510e_527f_ade6_82d1,
    ))
}
