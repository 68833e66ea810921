//! Token buckets: how fast one session may go.

use crate::config::Limits;
use std::time::Instant;

/// A bucket that holds at most `burst` tokens and gains `rate` a second; a rate of 0 means no limit.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
}

impl Bucket {
    fn new(rate: u32, burst: u32) -> Self {
        let burst = f64::from(burst.max(rate).max(1));
        Self { rate: rate.into(), burst, tokens: burst }
    }

    fn refill(&mut self, seconds: f64) {
        self.tokens = (self.tokens + seconds * self.rate).min(self.burst);
    }

    /// Takes a token, or says in how many milliseconds there will be one.
    fn take(&mut self) -> Result<(), u64> {
        if self.rate == 0.0 {
            return Ok(());
        }
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(((1.0 - self.tokens) / self.rate * 1_000.0).ceil() as u64)
    }
}

/// The buckets of one session.
#[derive(Debug)]
pub struct Buckets {
    sends: Bucket,
    frames: Bucket,
    /// Frames refused since one was last taken.
    refused: u32,
    last: Instant,
}

/// Frames refused in a row before the session is ended.
const PATIENCE: u32 = 2_000;

impl Buckets {
    /// Full buckets.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            sends: Bucket::new(limits.sends_per_second, limits.sends_burst),
            frames: Bucket::new(limits.frames_per_second, limits.frames_per_second.saturating_mul(4)),
            refused: 0,
            last: Instant::now(),
        }
    }

    /// Time has passed; once for each transport message.
    pub fn refill(&mut self) {
        let now = Instant::now();
        let seconds = now.duration_since(self.last).as_secs_f64();
        self.last = now;
        self.sends.refill(seconds);
        self.frames.refill(seconds);
    }

    /// Takes a frame, or says in how many milliseconds one would be taken.
    pub fn frame(&mut self, send: bool) -> Result<(), u64> {
        let taken = self.frames.take().and_then(|()| if send { self.sends.take() } else { Ok(()) });
        self.refused = if taken.is_ok() { 0 } else { self.refused.saturating_add(1) };
        taken
    }

    /// Whether the client has kept on for too long after being refused.
    #[must_use]
    pub const fn is_hopeless(&self) -> bool {
        self.refused > PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_the_rate_holds() {
        let mut bucket = Bucket::new(10, 20);
        assert_eq!((0..30).filter(|_| bucket.take().is_ok()).count(), 20);
        assert_eq!(bucket.take(), Err(100));
        bucket.refill(0.5);
        assert_eq!((0..30).filter(|_| bucket.take().is_ok()).count(), 5);
        bucket.refill(1e9);
        assert_eq!((0..30).filter(|_| bucket.take().is_ok()).count(), 20);
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let mut bucket = Bucket::new(0, 0);
        assert!((0..10_000).all(|_| bucket.take().is_ok()));
    }
}
