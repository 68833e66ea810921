//! What waits to be written to one session.
//!
//! Frames are written one behind the other into chunks, each a JSON array in the making, so that a transport sends
//! many frames with one write and nothing is allocated for each. An empty outbox holds no memory.

use std::collections::VecDeque;

/// A chunk is closed once it is this long, in bytes; a single longer frame makes a longer chunk.
const CHUNK: usize = 64 * 1_024;

#[derive(Debug, Default)]
pub struct Outbox {
    chunks: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Outbox {
    /// Writes one frame with `write`.
    pub fn frame(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let chunk = match self.chunks.back_mut() {
            Some(chunk) if chunk.len() < CHUNK => {
                chunk.push(b',');
                chunk
            }
            _ => {
                self.chunks.push_back(vec![b'[']);
                self.chunks.back_mut().unwrap_or_else(|| unreachable!("just pushed"))
            }
        };
        let before = chunk.len();
        write(chunk);
        self.bytes += chunk.len() - before;
    }

    /// The next transport message: a JSON array of frames.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        let mut chunk = self.chunks.pop_front()?;
        self.bytes = if self.chunks.is_empty() { 0 } else { self.bytes.saturating_sub(chunk.len()) };
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        }
        chunk.push(b']');
        Some(chunk)
    }

    /// Bytes that wait, without brackets and commas.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_become_arrays_and_an_empty_outbox_keeps_no_memory() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.take(), None);
        outbox.frame(|out| out.extend_from_slice(b"{\"a\":1}"));
        outbox.frame(|out| out.extend_from_slice(b"{}"));
        assert_eq!(outbox.bytes(), 9);
        assert_eq!(outbox.take().unwrap(), b"[{\"a\":1},{}]");
        assert!(outbox.is_empty() && outbox.bytes() == 0 && outbox.chunks.capacity() == 0);
    }

    #[test]
    fn long_chunks_are_parted_between_frames() {
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            outbox.frame(|out| out.extend(std::iter::repeat_n(b'1', CHUNK)));
        }
        let mut count = 0;
        while let Some(chunk) = outbox.take() {
            assert!(chunk.starts_with(b"[1") && chunk.ends_with(b"1]"));
            count += 1;
        }
        assert_eq!((count, outbox.bytes()), (3, 0));
    }
}
