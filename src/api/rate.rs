//! How often an app may call: a token bucket each.

use crate::model::Stamp;
use parking_lot::Mutex;
use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

/// The buckets of all apps. Bounded by the number of apps: only calls with a good signature are counted.
#[derive(Debug)]
pub struct Rates {
    per_second: NonZeroU32,
    buckets: Mutex<HashMap<Arc<str>, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Calls left, in millionths.
    left: u64,
    at: Stamp,
}

impl Rates {
    /// Each app may make `per_second` calls a second, and as many at once.
    #[must_use]
    pub fn new(per_second: NonZeroU32) -> Self {
        Self { per_second, buckets: Mutex::default() }
    }

    /// Takes one call of `app` from its bucket; false when there is none left.
    pub fn allow(&self, app: &Arc<str>, now: Stamp) -> bool {
        const CALL: u64 = 1_000_000;
        let rate = u64::from(self.per_second.get());
        let full = rate * CALL;
        let mut buckets = self.buckets.lock();
        let bucket = buckets.entry(app.clone()).or_insert(Bucket { left: full, at: now });
        // `rate` calls a second are `rate` millionths of a call a microsecond.
        let earned = now.0.saturating_sub(bucket.at.0).saturating_mul(rate);
        bucket.left = bucket.left.saturating_add(earned).min(full);
        bucket.at = now;
        let allowed = bucket.left >= CALL;
        if allowed {
            bucket.left -= CALL;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let rates = Rates::new(NonZeroU32::new(3).unwrap());
        let (a, b) = ("a".into(), "b".into());
        let taken = |at| (0..5).filter(|_| rates.allow(&a, Stamp(at))).count();
        assert_eq!(taken(1_000_000), 3);
        assert_eq!(taken(1_333_333), 0);
        assert_eq!(taken(1_333_334), 1);
        assert_eq!(taken(9_000_000), 3);
        assert!(rates.allow(&b, Stamp(9_000_000)), "apps have buckets of their own");
        assert_eq!(taken(1), 0, "a clock that steps back gives nothing");
    }
}
