//! Lanes of a link and the frames on them.
//!
//! Each lane is one long-lived stream in each direction, so what waits on one holds up no other. A frame is its
//! length, four bytes in network order, and that many bytes. [`FrameReader`] is pure: chunks of a stream go in,
//! whole frames come out, as slices of the chunk where they lie in one.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::Serialize;
use std::fmt;

/// What goes over which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Small and urgent: claims, acks of what was taken over.
    Control,
    /// Messages.
    Chat,
    /// Large and patient: mailboxes that move, repairs.
    Bulk,
    /// Sessions that are attached to another node.
    Tunnel,
    /// What may be lost: typing, presence of rooms. Nobody waits for room on it.
    Ephemeral,
}

/// Bytes of a frame's length.
const HEAD: usize = 4;
/// Frames up to this many bytes are copied together into one write; larger ones are written from where they are.
const COPY: usize = 4_096;
/// Most bytes that one write takes together.
pub(super) const WRITE: usize = 256 * 1_024;

impl Lane {
    /// All lanes, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Control, Self::Chat, Self::Bulk, Self::Tunnel, Self::Ephemeral];

    /// The lane in one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Chat => "chat",
            Self::Bulk => "bulk",
            Self::Tunnel => "tunnel",
            Self::Ephemeral => "ephemeral",
        }
    }

    /// Largest frame, in bytes: 16 MiB on [`Lane::Bulk`], 2 MiB on the others.
    #[must_use]
    pub const fn max_frame(self) -> usize {
        match self {
            Self::Bulk => 16 << 20,
            _ => 2 << 20,
        }
    }

    /// Which lane goes first when the path carries less than is wanted; higher is sooner.
    pub(super) const fn priority(self) -> i32 {
        match self {
            Self::Control => 3,
            Self::Chat => 2,
            Self::Tunnel | Self::Ephemeral => 1,
            Self::Bulk => 0,
        }
    }

    pub(super) const fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A frame is longer than its lane allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {len} bytes, the limit is {max}")]
pub struct TooLong {
    /// Its length, in bytes.
    pub len: usize,
    /// The limit.
    pub max: usize,
}

/// Cuts a stream into frames.
#[derive(Debug)]
pub struct FrameReader {
    max: usize,
    /// Beginning of a frame whose end has not come.
    part: BytesMut,
}

impl FrameReader {
    /// A reader at the beginning of a stream.
    ///
    /// * `max`: largest frame, in bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, part: BytesMut::new() }
    }

    /// Takes the next piece of the stream and appends the frames that end in it. Memory grows with what has come,
    /// not with the length that a frame claims.
    ///
    /// # Errors
    /// When a frame is too long; the stream is of no use after that.
    pub fn take(&mut self, mut chunk: Bytes, frames: &mut Vec<Bytes>) -> Result<(), TooLong> {
        loop {
            if self.part.is_empty() {
                let Some(len) = self.length(&chunk)? else { break };
                if chunk.len() < HEAD + len {
                    break;
                }
                chunk.advance(HEAD);
                frames.push(chunk.split_to(len));
                continue;
            }
            if self.part.len() < HEAD {
                self.fill(HEAD, &mut chunk);
            }
            let Some(len) = self.length(&self.part)? else { return Ok(()) };
            self.fill(HEAD + len, &mut chunk);
            if self.part.len() < HEAD + len {
                return Ok(());
            }
            let mut frame = self.part.split().freeze();
            frame.advance(HEAD);
            frames.push(frame);
        }
        self.part.extend_from_slice(&chunk);
        Ok(())
    }

    fn length(&self, bytes: &[u8]) -> Result<Option<usize>, TooLong> {
        let Some(head) = bytes.first_chunk::<HEAD>() else { return Ok(None) };
        let len = u32::from_be_bytes(*head) as usize;
        if len > self.max { Err(TooLong { len, max: self.max }) } else { Ok(Some(len)) }
    }

    /// Moves bytes until `part` has `wanted`.
    fn fill(&mut self, wanted: usize, chunk: &mut Bytes) {
        let missing = wanted.saturating_sub(self.part.len()).min(chunk.len());
        self.part.extend_from_slice(&chunk.split_to(missing));
    }
}

/// Turns frames into what is written: small ones together in one piece, large ones as they are.
///
/// Returns how many frames were taken: all, or as many as reach [`WRITE`] bytes.
pub(super) fn pack(frames: &[Bytes], buffer: &mut BytesMut, chunks: &mut Vec<Bytes>) -> usize {
    let (mut bytes, mut taken) = (0, 0);
    for frame in frames {
        if bytes >= WRITE {
            break;
        }
        bytes += HEAD + frame.len();
        taken += 1;
        buffer.put_u32(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        if frame.len() <= COPY {
            buffer.extend_from_slice(frame);
        } else {
            chunks.push(buffer.split().freeze());
            chunks.push(frame.clone());
        }
    }
    if !buffer.is_empty() {
        chunks.push(buffer.split().freeze());
    }
    taken
}

/// Takes any bytes as a stream, in one piece and in pieces of `first byte + 1` bytes, and frames made of them.
///
/// # Panics
/// When the reader does, or when the pieces make a difference: that is what is looked for.
pub fn fuzz_frames(bytes: &[u8]) {
    const MAX: usize = 1_000;
    let Some((size, stream)) = bytes.split_first() else { return };
    let size = usize::from(*size) + 1;
    let read = |stream: &[u8], size: usize| {
        let (mut reader, mut frames) = (FrameReader::new(MAX), Vec::new());
        for piece in stream.chunks(size) {
            reader.take(Bytes::copy_from_slice(piece), &mut frames)?;
        }
        assert!(frames.iter().all(|frame| frame.len() <= MAX), "a frame over the limit");
        Ok::<_, TooLong>(frames)
    };
    assert_eq!(read(stream, size), read(stream, usize::MAX), "pieces make a difference");
    let frames: Vec<_> = stream.chunks(size).map(Bytes::copy_from_slice).collect();
    let mut chunks = Vec::new();
    let mut rest = &frames[..];
    while !rest.is_empty() {
        rest = &rest[pack(rest, &mut BytesMut::new(), &mut chunks)..];
    }
    assert_eq!(read(&chunks.concat(), size), Ok(frames), "frames do not read back");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(frames: &[Bytes]) -> Vec<u8> {
        let (mut chunks, mut rest) = (Vec::new(), frames);
        while !rest.is_empty() {
            rest = &rest[pack(rest, &mut BytesMut::new(), &mut chunks)..];
        }
        chunks.concat()
    }

    /// Reads `stream` in pieces that end at `cuts`.
    fn read(stream: &[u8], cuts: &[usize], max: usize) -> Result<Vec<Bytes>, TooLong> {
        let mut reader = FrameReader::new(max);
        let mut frames = Vec::new();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        for pair in cuts.windows(2) {
            reader.take(Bytes::copy_from_slice(&stream[pair[0]..pair[1]]), &mut frames)?;
        }
        Ok(frames)
    }

    #[test]
    fn a_frame_is_its_length_and_its_bytes() {
        assert_eq!(packed(&[Bytes::from_static(b"ab"), Bytes::new()]), b"\0\0\0\x02ab\0\0\0\0");
    }

    #[test]
    fn a_frame_of_the_limit_passes_and_one_byte_more_does_not() {
        let whole = packed(&[Bytes::from(vec![7; 100])]);
        assert_eq!(read(&whole, &[50], 100).unwrap()[0].len(), 100);
        assert_eq!(read(&whole, &[2], 99), Err(TooLong { len: 100, max: 99 }));
        assert_eq!(read(&[0xff; 4], &[], 1 << 20).unwrap_err().len, u32::MAX as usize);
    }

    #[test]
    fn a_write_takes_frames_until_it_is_large_enough() {
        let frames = vec![Bytes::from(vec![1; 100_000]); 5];
        let mut chunks = Vec::new();
        assert_eq!(pack(&frames, &mut BytesMut::new(), &mut chunks), 3);
        assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>(), 3 * 100_004);
    }

    #[test]
    fn a_claimed_length_takes_no_memory() {
        let mut reader = FrameReader::new(16 << 20);
        reader.take(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 1]), &mut Vec::new()).unwrap();
        assert!(reader.part.capacity() < 1_024);
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            sizes in proptest::collection::vec(prop_oneof![0_usize..300, 4_000_usize..4_200], 0..40),
            cuts in proptest::collection::vec(any::<usize>(), 0..40),
        ) {
            let frames: Vec<_> =
                sizes.iter().enumerate().map(|(i, len)| Bytes::from(vec![i as u8; *len])).collect();
            prop_assert_eq!(read(&packed(&frames), &cuts, 5_000).unwrap(), frames);
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(
            stream in proptest::collection::vec(prop_oneof![3 => 0_u8..3, 1 => any::<u8>()], 0..400),
            cuts in proptest::collection::vec(any::<usize>(), 0..10),
        ) {
            let whole = read(&stream, &[], 1_000);
            prop_assert_eq!(&read(&stream, &cuts, 1_000), &whole);
            for frame in whole.into_iter().flatten() {
                prop_assert!(frame.len() <= 1_000);
            }
        }
    }
}
