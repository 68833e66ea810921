//! The queue of one lane: bounded in frames and in bytes, and never waited for.

use bytes::Bytes;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use tokio::sync::mpsc;

/// Why a frame was not sent. It leaves no trace then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no link with that node.
    #[error("there is no link")]
    NoLink,
    /// As much waits on that lane as may.
    #[error("the lane is full")]
    Full,
    /// The frame is larger than its lane allows.
    #[error("a frame of {len} bytes, the limit is {max}")]
    TooLong {
        /// Its length, in bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
}

/// The queue of one lane, and what went over it.
pub(super) struct LaneQueue {
    queue: mpsc::Sender<Bytes>,
    max_bytes: usize,
    queued_bytes: AtomicUsize,
    pub(super) sent_frames: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) received_frames: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) full: AtomicU64,
}

impl LaneQueue {
    pub(super) fn new(queue: mpsc::Sender<Bytes>, max_bytes: usize) -> Self {
        Self {
            queue,
            max_bytes,
            queued_bytes: AtomicUsize::new(0),
            sent_frames: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            received_frames: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            full: AtomicU64::new(0),
        }
    }

    /// Queues a frame; never waits.
    pub(super) fn put(&self, frame: Bytes) -> Result<(), SendError> {
        let len = frame.len();
        let before = self.queued_bytes.fetch_add(len, Relaxed);
        // An empty lane takes one frame of any size.
        let fits = before == 0 || before.saturating_add(len) <= self.max_bytes;
        let put = if fits { self.queue.try_send(frame) } else { Err(mpsc::error::TrySendError::Full(frame)) };
        put.map_err(|error| {
            self.queued_bytes.fetch_sub(len, Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => {
                    self.full.fetch_add(1, Relaxed);
                    SendError::Full
                }
                mpsc::error::TrySendError::Closed(_) => SendError::NoLink,
            }
        })
    }

    pub(super) fn queued_frames(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Relaxed)
    }

    /// So many frames and bytes do not wait any more.
    pub(super) fn written(&self, frames: usize, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Relaxed);
        self.sent_frames.fetch_add(frames as u64, Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_bounded_in_frames_and_in_bytes_and_takes_one_frame_of_any_size() {
        let (sender, mut waiting) = mpsc::channel(3);
        let queue = LaneQueue::new(sender, 100);
        let frame = |len| Bytes::from(vec![0; len]);
        assert_eq!(queue.put(frame(500)), Ok(()));
        assert_eq!(queue.put(frame(1)), Err(SendError::Full));
        waiting.try_recv().unwrap();
        queue.written(1, 500);
        for _ in 0..3 {
            assert_eq!(queue.put(frame(10)), Ok(()));
        }
        assert_eq!(queue.put(frame(10)), Err(SendError::Full));
        assert_eq!((queue.queued_frames(), queue.queued_bytes()), (3, 30));
        assert_eq!(queue.full.load(Relaxed), 2);
        drop(waiting);
        assert_eq!(queue.put(frame(1)), Err(SendError::NoLink));
    }
}
