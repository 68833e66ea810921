//! The client side of WebSocket framing (RFC 6455), as little of it as a load generator needs.
//!
//! Purpose: many small frames with one write and no copy of what comes in whole, so that one core of generator outruns
//! one core of server.
//! Masking: the RFC wants a mask of a client; the key is its choice. The key here is zero, which leaves the payload
//! as it is and costs nothing. A mask protects proxies from hostile pages, and here there is neither.

/// Opcode of a text frame.
pub(super) const TEXT: u8 = 0x1;
/// Opcode of a close frame.
const CLOSE: u8 = 0x8;
/// Opcode of a ping.
const PING: u8 = 0x9;
/// Opcode of a pong.
pub(super) const PONG: u8 = 0xA;

/// Longest message taken, in bytes.
const LONGEST: usize = 16 << 20;

/// Why the stream cannot be read any further.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// Bits or opcodes that nobody agreed on.
    #[error("a WebSocket frame begins with {0:#04x} {1:#04x}")]
    Header(u8, u8),
    /// A message over 16 MiB.
    #[error("a WebSocket message of {0} bytes")]
    TooLong(u64),
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got<'a> {
    /// A whole text message.
    Text(&'a [u8]),
    /// A ping; it wants its payload back.
    Ping(&'a [u8]),
    /// The end, with the code (1005 when there was none) and the reason.
    Close(u16, &'a [u8]),
}

/// Appends one whole frame of a client to `out`.
pub(super) fn encode(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    const MASKED: u8 = 0x80;
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..126 => out.push(MASKED | len as u8),
        len @ 126..65_536 => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Takes a server's bytes apart, in whatever pieces they come.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
    /// The beginning of a message of several frames.
    message: Vec<u8>,
    parted: bool,
}

/// A frame's header: first byte, where the payload begins, how long it is.
type Header = (u8, usize, usize);

impl Decoder {
    /// Takes the next bytes and hands on what they complete.
    ///
    /// # Errors
    /// When the bytes are no WebSocket frames; the decoder is of no use then.
    pub(super) fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(Got<'_>)) -> Result<(), Broken> {
        let mut held = std::mem::take(&mut self.rest);
        if held.is_empty() {
            let used = self.frames(chunk, &mut each)?;
            self.rest = chunk[used..].to_vec();
            return Ok(());
        }
        held.extend_from_slice(chunk);
        let used = self.frames(&held, &mut each)?;
        held.drain(..used);
        // What is whole needs no memory until the next part comes.
        self.rest = if held.is_empty() { Vec::new() } else { held };
        Ok(())
    }

    /// Hands on all whole frames; gives the number of bytes they take.
    fn frames(&mut self, bytes: &[u8], each: &mut impl FnMut(Got<'_>)) -> Result<usize, Broken> {
        let mut used = 0;
        while let Some((first, start, len)) = header(&bytes[used..])? {
            let Some(payload) = bytes[used..].get(start..start + len) else { break };
            used += start + len;
            let (last, opcode) = (first & 0x80 != 0, first & 0x0F);
            match opcode {
                TEXT | 0 if self.parted != (opcode == 0) => return Err(Broken::Header(first, 0)),
                TEXT if last => each(Got::Text(payload)),
                TEXT | 0 => {
                    if self.message.len() + len > LONGEST {
                        return Err(Broken::TooLong((self.message.len() + len) as u64));
                    }
                    self.message.extend_from_slice(payload);
                    self.parted = !last;
                    if last {
                        each(Got::Text(&std::mem::take(&mut self.message)));
                    }
                }
                PING => each(Got::Ping(payload)),
                PONG => {}
                CLOSE => match payload.split_first_chunk::<2>() {
                    Some((code, reason)) => each(Got::Close(u16::from_be_bytes(*code), reason)),
                    None => each(Got::Close(1005, b"")),
                },
                _ => return Err(Broken::Header(first, 0)),
            }
        }
        Ok(used)
    }
}

/// Reads a header; `None` when it is not all there.
fn header(bytes: &[u8]) -> Result<Option<Header>, Broken> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err(Broken::Header(first, second));
    }
    let (start, len) = match second {
        126 => match rest.first_chunk::<2>() {
            Some(len) => (4, u16::from_be_bytes(*len).into()),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(len) => (10, u64::from_be_bytes(*len)),
            None => return Ok(None),
        },
        len => (2, len.into()),
    };
    if len > LONGEST as u64 {
        return Err(Broken::TooLong(len));
    }
    Ok(Some((first, start, len as usize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a server writes it.
    fn from_server(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            len @ 0..126 => bytes.push(len as u8),
            len @ 126..65_536 => {
                bytes.push(126);
                bytes.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                bytes.push(127);
                bytes.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(payload);
        bytes
    }

    fn texts(decoder: &mut Decoder, chunk: &[u8]) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        decoder
            .feed(chunk, |what| match what {
                Got::Text(text) => got.push(text.to_vec()),
                other => got.push(format!("{other:?}").into_bytes()),
            })
            .unwrap();
        got
    }

    #[test]
    fn lengths_of_7_16_and_64_bits_are_written_with_a_zero_mask() {
        for (len, head) in [
            (0_usize, vec![0x81, 0x80]),
            (125, vec![0x81, 0x80 | 125]),
            (126, vec![0x81, 0xFE, 0, 126]),
            (65_535, vec![0x81, 0xFE, 0xFF, 0xFF]),
            (65_536, vec![0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let payload = vec![b'x'; len];
            let mut out = Vec::new();
            encode(&mut out, TEXT, &payload);
            let body = head.len() + 4;
            assert_eq!(out[..head.len()], head);
            assert_eq!(out[head.len()..body], [0; 4]);
            assert_eq!(out[body..], payload);
        }
    }

    #[test]
    fn frames_of_all_lengths_are_read_in_any_pieces() {
        let sent: Vec<Vec<u8>> =
            [0, 1, 125, 126, 127, 65_535, 65_536, 70_000].map(|len| vec![b'y'; len]).into();
        let bytes: Vec<u8> = sent.iter().flat_map(|payload| from_server(0x81, payload)).collect();
        for piece in [1, 2, 3, 7, 1_000, 4_096, 65_537, bytes.len()] {
            let mut decoder = Decoder::default();
            let got: Vec<_> = bytes.chunks(piece).flat_map(|chunk| texts(&mut decoder, chunk)).collect();
            assert!(got == sent, "in pieces of {piece}");
            assert_eq!(decoder.rest.capacity(), 0);
        }
    }

    #[test]
    fn a_message_in_several_frames_is_put_together_around_a_ping() {
        let mut decoder = Decoder::default();
        let mut bytes = from_server(0x01, b"he");
        bytes.extend(from_server(0x89, b"?"));
        bytes.extend(from_server(0x00, b"ll"));
        bytes.extend(from_server(0x80, b"o"));
        bytes.extend(from_server(0x81, b"again"));
        let got = texts(&mut decoder, &bytes);
        assert_eq!(got, [&b"Ping([63])"[..], b"hello", b"again"]);
    }

    #[test]
    fn the_end_comes_with_code_and_reason() {
        let mut decoder = Decoder::default();
        let mut ends = Vec::new();
        let mut note = |got: Got<'_>| ends.push(format!("{got:?}"));
        decoder.feed(&from_server(0x88, b"\x0f\xa0no"), &mut note).unwrap();
        decoder.feed(&from_server(0x88, b""), &mut note).unwrap();
        assert_eq!(ends, ["Close(4000, [110, 111])", "Close(1005, [])"]);
    }

    #[test]
    fn what_no_server_may_send_is_an_error() {
        for bad in [&[0xC1, 0][..], &[0x81, 0x80], &[0x82, 0], &[0x80, 0], &[0x83, 0]] {
            assert!(Decoder::default().feed(bad, |_| {}).is_err(), "{bad:?}");
        }
        let long = [0x81, 127, 0, 0, 0, 0, 0xFF, 0, 0, 0];
        assert_eq!(Decoder::default().feed(&long, |_| {}), Err(Broken::TooLong(0xFF00_0000)));
        // A new message may not begin inside one of several frames.
        let mut twice = from_server(0x01, b"a");
        twice.extend(from_server(0x81, b"b"));
        assert!(Decoder::default().feed(&twice, |_| {}).is_err());
    }
}
