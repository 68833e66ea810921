//! Reading what a server sends without making values of it.
//!
//! Purpose: a generator that parses as a browser does would be slower than the server it measures. This looks at the
//! few fields that the load needs, and steps over the rest.
//! Scope: JSON as `docs/protocol.md` has it. It does not prove that the rest is well-formed; tests of the server do.

/// The load's own marks in a message's text: `hb:PAIR:SEQ:NS:` and padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Which pair.
    pub(super) pair: u64,
    /// The how-manieth of its sender, from 0.
    pub(super) seq: u64,
    /// When it was sent, in nanoseconds since the run began.
    pub(super) sent: u64,
}

impl Mark {
    /// Writes a text of `size` bytes, or as few as the mark takes.
    pub(super) fn write(&self, out: &mut Vec<u8>, size: usize) {
        let start = out.len();
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(b"hb:");
        for number in [self.pair, self.seq, self.sent] {
            out.extend_from_slice(digits.format(number).as_bytes());
            out.push(b':');
        }
        out.resize(out.len().max(start + size), b'.');
    }

    /// Reads one back.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let mut numbers = text.strip_prefix(b"hb:")?.splitn(4, |byte| *byte == b':').map(whole);
        Some(Self { pair: numbers.next()??, seq: numbers.next()??, sent: numbers.next()?? })
    }
}

/// What the load needs of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Type.
    pub(super) t: &'a [u8],
    /// Number of the request that it answers.
    pub(super) r: Option<u64>,
    /// Position.
    pub(super) pos: Option<u64>,
    /// Position before.
    pub(super) prev: Option<u64>,
    /// Where the stream starts.
    pub(super) cursor: Option<u64>,
    /// Seconds between pings.
    pub(super) ping: Option<u64>,
    /// Milliseconds to wait after a refusal.
    pub(super) retry_after: Option<u64>,
    /// Why it was refused or ended.
    pub(super) code: &'a [u8],
    /// Where to go.
    pub(super) url: &'a [u8],
    /// The order that positions belong to.
    pub(super) epoch: &'a [u8],
    /// Why, for people.
    pub(super) msg: &'a [u8],
    /// The mark in the message's text, when it has one.
    pub(super) mark: Option<Mark>,
    /// Long polling: secret of the session.
    pub(super) sid: &'a [u8],
    /// Long polling: number of the answer.
    pub(super) seq: Option<u64>,
    /// Long polling: the frames, as they stand there.
    pub(super) frames: &'a [u8],
}

/// This is not what a server of the protocol sends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("what the server sent cannot be read from byte {0} on")]
pub(super) struct Unreadable(usize);

/// Hands on the frames of a transport message: one object, or an array of them.
///
/// # Errors
/// When it is neither; what came before was handed on.
pub(super) fn frames<'a>(message: &'a [u8], mut each: impl FnMut(Frame<'a>)) -> Result<(), Unreadable> {
    let mut scanner = Scanner { bytes: message, at: 0 };
    if !scanner.next_is(b'[') {
        each(scanner.frame()?);
        return Ok(());
    }
    if scanner.next_is(b']') {
        return Ok(());
    }
    loop {
        each(scanner.frame()?);
        if scanner.next_is(b']') {
            return Ok(());
        }
        scanner.want(b',')?;
    }
}

fn whole(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits
        .iter()
        .try_fold(0_u64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&mut self) -> u8 {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !byte.is_ascii_whitespace() {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    fn next_is(&mut self, byte: u8) -> bool {
        let is = self.peek() == byte;
        self.at += usize::from(is);
        is
    }

    fn want(&mut self, byte: u8) -> Result<(), Unreadable> {
        if self.next_is(byte) { Ok(()) } else { Err(Unreadable(self.at)) }
    }

    fn frame(&mut self) -> Result<Frame<'a>, Unreadable> {
        let mut frame = Frame::default();
        self.fields(|scanner, key| {
            match key {
                b"t" => frame.t = scanner.text()?,
                b"r" => frame.r = scanner.number()?,
                b"pos" => frame.pos = scanner.number()?,
                b"prev" => frame.prev = scanner.number()?,
                b"cursor" => frame.cursor = scanner.number()?,
                b"ping" => frame.ping = scanner.number()?,
                b"retry_after" => frame.retry_after = scanner.number()?,
                b"seq" => frame.seq = scanner.number()?,
                b"code" => frame.code = scanner.text()?,
                b"msg" => frame.msg = scanner.text()?,
                b"url" => frame.url = scanner.text()?,
                b"epoch" => frame.epoch = scanner.text()?,
                b"sid" => frame.sid = scanner.text()?,
                b"m" => frame.mark = scanner.message()?,
                b"frames" => {
                    scanner.peek();
                    let start = scanner.at;
                    scanner.skip()?;
                    frame.frames = &scanner.bytes[start..scanner.at];
                }
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        Ok(frame)
    }

    /// The mark of a message: `{…,"content":{"content":"hb:…"},…}`.
    fn message(&mut self) -> Result<Option<Mark>, Unreadable> {
        let mut mark = None;
        self.fields(|scanner, key| {
            if key != b"content" || scanner.peek() != b'{' {
                return scanner.skip();
            }
            scanner.fields(|scanner, key| {
                if key != b"content" || scanner.peek() != b'"' {
                    return scanner.skip();
                }
                mark = Mark::read(scanner.text()?);
                Ok(())
            })
        })?;
        Ok(mark)
    }

    /// Steps through an object; `each` has to step over the value.
    fn fields(
        &mut self,
        mut each: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.want(b'{')?;
        if self.next_is(b'}') {
            return Ok(());
        }
        loop {
            let key = self.text()?;
            self.want(b':')?;
            each(self, key)?;
            if self.next_is(b'}') {
                return Ok(());
            }
            self.want(b',')?;
        }
    }

    /// A string's bytes, escapes as they stand.
    fn text(&mut self) -> Result<&'a [u8], Unreadable> {
        self.want(b'"')?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(step) = rest.iter().position(|byte| *byte == b'"' || *byte == b'\\') else {
                return Err(Unreadable(start));
            };
            self.at += step;
            if self.bytes[self.at] == b'"' {
                self.at += 1;
                return Ok(&self.bytes[start..self.at - 1]);
            }
            self.at += 2;
        }
    }

    /// A whole number; `None` for any other value, which is stepped over.
    fn number(&mut self) -> Result<Option<u64>, Unreadable> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(whole(&self.bytes[start..self.at]))
    }

    /// Steps over a value.
    fn skip(&mut self) -> Result<(), Unreadable> {
        match self.peek() {
            b'"' => self.text().map(|_| ()),
            b'{' | b'[' => {
                let mut depth = 0_usize;
                loop {
                    match self.peek() {
                        b'"' => {
                            self.text()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        0 => return Err(Unreadable(self.at)),
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
            }
            _ => {
                let rest = self.bytes.get(self.at..).unwrap_or_default();
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
                let len = rest.iter().position(ends).unwrap_or(rest.len());
                self.at += len;
                if len == 0 { Err(Unreadable(self.at)) } else { Ok(()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Frame<'_>> {
        let mut found = Vec::new();
        frames(text.as_bytes(), |frame| found.push(frame)).unwrap();
        found
    }

    #[test]
    fn the_fields_of_hot_frames_are_found_wherever_they_stand() {
        let found = all(concat!(
            r#"[{"t":"ok","r":7,"id":"01KB","at":9,"pos":1764000000000123,"prev":12},"#,
            r#" {"t":"msg","pos":2,"prev":1,"m":{"id":"x","from":"a\"b","content":{"n":[1,{"content":"no"}],"content":"hb:3:44:555:..."},"pos":99}},"#,
            r#"{"pos" : 5 , "t":"live"}]"#
        ));
        assert_eq!(
            (found[0].t, found[0].r, found[0].pos, found[0].prev),
            (&b"ok"[..], Some(7), Some(1_764_000_000_000_123), Some(12))
        );
        assert_eq!(found[1].mark, Some(Mark { pair: 3, seq: 44, sent: 555 }));
        assert_eq!((found[1].pos, found[1].prev), (Some(2), Some(1)));
        assert_eq!((found[2].t, found[2].pos), (&b"live"[..], Some(5)));
        assert!(all("[]").is_empty());
    }

    #[test]
    fn single_frames_answers_of_polls_and_refusals_are_read() {
        let kick = all(r#"{"t":"kick","code":"replaced","msg":"by \\ another"}"#);
        assert_eq!((kick[0].code, kick[0].msg), (&b"replaced"[..], &b"by \\\\ another"[..]));
        let answer = all(r#"{"sid":"ab","seq":3,"frames":[{"t":"live","pos":0}]}"#);
        assert_eq!((answer[0].sid, answer[0].seq), (&b"ab"[..], Some(3)));
        assert_eq!(answer[0].frames, br#"[{"t":"live","pos":0}]"#);
        let busy = all(r#"{"t":"err","r":1,"code":"busy","retry_after":100}"#);
        assert_eq!((busy[0].r, busy[0].retry_after), (Some(1), Some(100)));
    }

    #[test]
    fn other_texts_have_no_mark_and_odd_numbers_are_none() {
        let found =
            all(r#"[{"pos":-1,"m":{"content":"hb:1:2:3:"}},{"r":1.5,"m":{"content":{"content":"hi"}}}]"#);
        assert_eq!((found[0].pos, found[0].mark), (None, None));
        assert_eq!((found[1].r, found[1].mark), (None, None));
        assert_eq!(Mark::read(b"hb:1:2:"), None);
        assert_eq!(Mark::read(b"hb:1:x:3:"), None);
    }

    #[test]
    fn nonsense_and_what_was_cut_off_is_an_error_and_never_panics() {
        let whole =
            r#"[{"t":"msg","pos":2,"m":{"a":"\"","content":{"content":"hb:1:2:3:"}}},{"t":"ok","r":1}]"#;
        for len in 0..whole.len() {
            assert!(frames(&whole.as_bytes()[..len], |_| {}).is_err(), "{}", &whole[..len]);
        }
        for text in ["", "x", "[1]", "{\"t\"}", "{\"t\":}", "[{}", "{\"t\":\"a\"", "[{} {}]", "{\"m\":{]}"] {
            assert!(frames(text.as_bytes(), |_| {}).is_err(), "{text}");
        }
    }

    #[test]
    fn marks_fill_the_size_that_was_asked_for() {
        let mark = Mark { pair: 12, seq: 345, sent: 6_789 };
        let mut text = Vec::new();
        mark.write(&mut text, 200);
        assert_eq!(text.len(), 200);
        assert_eq!(Mark::read(&text), Some(mark));
        text.clear();
        mark.write(&mut text, 0);
        assert_eq!(Mark::read(&text), Some(mark));
    }
}
