//! One session of the native protocol, without its transport.
//!
//! Purpose: say what a client says (`docs/protocol.md`) and check what it is told.
//! Flow: a transport hands in messages with [`Peer::take`] and asks for what is due with [`Peer::put`], at once and
//! when [`Peer::deadline`] has come.
//! Pure: time comes in as an argument.

use super::{
    pair::Pair,
    scan::{self, Frame},
    tally::{Phase, Shared},
};
use anyhow::bail;
use std::{cell::RefCell, rc::Rc};

/// Entries after which a client acks at the latest.
const ACK_EVERY: u32 = 64;
/// Time after which it does, in nanoseconds.
const ACK_WITHIN: u64 = 50_000_000;
/// Bytes after which a transport message is closed; the server takes 256 KiB.
const BATCH_BYTES: usize = 128 << 10;
/// Frames in a transport message.
const BATCH_FRAMES: usize = 512;
/// Entries that the server may push before it hears an ack.
pub(super) const STREAM_WINDOW: u32 = 1_024;

/// What talks over a transport.
pub(super) trait Peer {
    /// Takes a transport message.
    ///
    /// # Errors
    /// When the session is over, or what was said cannot be read.
    fn take(&mut self, message: &[u8], now: u64) -> anyhow::Result<()>;
    /// Writes the next transport message that is due; `false` when none is.
    fn put(&mut self, now: u64, out: &mut Vec<u8>) -> bool;
    /// When something will be due though nothing comes in, in nanoseconds since the run began.
    fn deadline(&self) -> u64;
    /// Whether it may be loaded.
    fn is_live(&self) -> bool;
    /// Whether it waits for the phase of the run to change.
    fn waits(&self) -> bool;
}

/// What a session does.
#[derive(Clone)]
pub(super) enum Part {
    /// Keeps so many sends of so many bytes in flight.
    Sender {
        /// To whom.
        pair: Rc<RefCell<Pair>>,
        /// Sends in flight.
        window: usize,
        /// Bytes of text.
        size: usize,
    },
    /// Receives what the sender sends.
    Receiver(Rc<RefCell<Pair>>),
    /// Is there.
    Idle,
}

/// A session.
pub(super) struct Client {
    shared: Rc<Shared>,
    part: Part,
    /// The frame to begin with; gone once it was written.
    hello: Option<String>,
    /// Begins every client message id of this session.
    prefix: String,
    live: bool,
    /// Position of the last entry handled.
    last: u64,
    /// Entries since the last ack.
    unacked: u32,
    ack_due: Option<u64>,
    /// After a refusal: nothing is sent before.
    hold: u64,
    ping: u64,
    /// When something was last said.
    said: u64,
}

impl Client {
    /// A session that has not said hello.
    ///
    /// * `prefix`: makes message ids of different runs differ.
    pub(super) fn new(shared: &Rc<Shared>, part: Part, hello: String, prefix: &str) -> Self {
        Self {
            shared: shared.clone(),
            part,
            hello: Some(hello),
            prefix: prefix.to_owned(),
            live: false,
            last: 0,
            unacked: 0,
            ack_due: None,
            hold: 0,
            ping: 25_000_000_000,
            said: 0,
        }
    }

    /// The frame that begins a session.
    pub(super) fn hello(token: &str) -> String {
        let sdk = concat!("hongyan-bench/", env!("CARGO_PKG_VERSION"));
        format!(
            r#"{{"t":"hello","v":1,"token":"{token}","device":"bench","window":{STREAM_WINDOW},"sdk":"{sdk}"}}"#
        )
    }

    fn frame(&mut self, frame: &Frame<'_>, now: u64) -> anyhow::Result<()> {
        match frame.t {
            b"ok" => self.answered(frame, now),
            b"welcome" => {
                self.last = frame.cursor.unwrap_or_default();
                self.ping = frame.ping.unwrap_or(25).max(1) * 1_000_000_000;
            }
            b"live" => {
                self.last = frame.pos.unwrap_or_default();
                if !std::mem::replace(&mut self.live, true) {
                    self.shared.live.set(self.shared.live.get() + 1);
                }
            }
            b"err" => match (&self.part, frame.r) {
                (Part::Sender { pair, .. }, Some(seq)) => {
                    pair.borrow_mut().refused(seq);
                    self.shared.refuse(frame.code);
                    self.hold = now + frame.retry_after.unwrap_or(10).max(1) * 1_000_000;
                }
                _ => bail!("{}: {}", lossy(frame.code), lossy(frame.msg)),
            },
            b"kick" => bail!("the session was ended: {}: {}", lossy(frame.code), lossy(frame.msg)),
            b"move" => bail!("the node is going away"),
            _ => {
                if let (Some(pos), Some(prev)) = (frame.pos, frame.prev) {
                    self.entry(pos, prev, now);
                }
                if let (Part::Receiver(pair), Some(mark)) = (&self.part, frame.mark) {
                    if !pair.borrow_mut().received(&mark) {
                        bail!("message {} of pair {} was never sent to this user", mark.seq, mark.pair);
                    }
                    self.shared.deliver(mark.sent, now);
                }
            }
        }
        Ok(())
    }

    fn answered(&mut self, frame: &Frame<'_>, now: u64) {
        if let (Part::Sender { pair, .. }, Some(seq)) = (&self.part, frame.r)
            && let Some(sent) = pair.borrow_mut().answered(seq)
        {
            self.shared.acknowledge(sent, now);
        }
        // Without `prev` the entry comes with the next page.
        if let (Some(pos), Some(prev)) = (frame.pos, frame.prev) {
            self.entry(pos, prev, now);
        }
    }

    fn entry(&mut self, pos: u64, prev: u64, now: u64) {
        if prev != self.last || pos <= prev {
            match &self.part {
                Part::Sender { pair, .. } | Part::Receiver(pair) => pair.borrow_mut().gap(),
                Part::Idle => {}
            }
        }
        self.last = pos;
        self.unacked += 1;
        self.ack_due.get_or_insert(now + ACK_WITHIN);
    }

    fn room(&self, now: u64) -> usize {
        match &self.part {
            Part::Sender { pair, window, .. }
                if now >= self.hold && matches!(self.shared.phase(), Phase::Warming | Phase::Measuring) =>
            {
                window.saturating_sub(pair.borrow().unanswered())
            }
            _ => 0,
        }
    }

    fn sends(&self, count: usize, now: u64, out: &mut Vec<u8>) {
        let Part::Sender { pair, size, .. } = &self.part else { return };
        let mut pair = pair.borrow_mut();
        let mut digits = itoa::Buffer::new();
        for _ in 0..count {
            let mark = pair.send(now);
            let seq = digits.format(mark.seq).as_bytes();
            out.extend_from_slice(b"{\"t\":\"send\",\"r\":");
            out.extend_from_slice(seq);
            out.extend_from_slice(b",\"id\":\"");
            out.extend_from_slice(self.prefix.as_bytes());
            out.extend_from_slice(seq);
            out.extend_from_slice(b"\",\"kind\":1,\"target\":\"");
            out.extend_from_slice(pair.to().as_bytes());
            out.extend_from_slice(b"\",\"type\":\"RC:TxtMsg\",\"content\":{\"content\":\"");
            mark.write(out, *size);
            out.extend_from_slice(b"\"}},");
            if out.len() > BATCH_BYTES {
                break;
            }
        }
    }
}

impl Peer for Client {
    fn take(&mut self, message: &[u8], now: u64) -> anyhow::Result<()> {
        if matches!(self.part, Part::Receiver(_)) && self.shared.phase() == Phase::Measuring {
            self.shared.batches.set(self.shared.batches.get() + 1);
        }
        let mut outcome = Ok(());
        scan::frames(message, |frame| {
            if outcome.is_ok() {
                outcome = self.frame(&frame, now);
            }
        })?;
        outcome
    }

    fn put(&mut self, now: u64, out: &mut Vec<u8>) -> bool {
        if let Some(hello) = self.hello.take() {
            out.extend_from_slice(hello.as_bytes());
            self.said = now;
            return true;
        }
        let acks = self.unacked >= ACK_EVERY || self.ack_due.is_some_and(|due| due <= now);
        let sends = self.room(now).min(BATCH_FRAMES);
        let pings = now >= self.said + self.ping;
        if !acks && sends == 0 && !pings {
            return false;
        }
        self.said = now;
        out.push(b'[');
        if acks {
            let mut digits = itoa::Buffer::new();
            out.extend_from_slice(b"{\"t\":\"ack\",\"pos\":");
            out.extend_from_slice(digits.format(self.last).as_bytes());
            out.extend_from_slice(b"},");
            (self.unacked, self.ack_due) = (0, None);
        }
        if pings {
            out.extend_from_slice(b"{\"t\":\"ping\"},");
        }
        self.sends(sends, now, out);
        if let Some(last) = out.last_mut() {
            *last = b']'; // in place of the last comma
        }
        true
    }

    fn deadline(&self) -> u64 {
        let hold = if self.hold > 0 && self.room(self.hold) > 0 { self.hold } else { u64::MAX };
        (self.said + self.ping).min(self.ack_due.unwrap_or(u64::MAX)).min(hold)
    }

    fn is_live(&self) -> bool {
        self.live
    }

    fn waits(&self) -> bool {
        matches!(self.part, Part::Sender { .. }) && self.shared.phase() == Phase::Opening
    }
}

fn lossy(text: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Rc<Shared>, Rc<RefCell<Pair>>) {
        let pair = Pair::new(3, "bo".into());
        (Rc::new(Shared::new().unwrap()), Rc::new(RefCell::new(pair)))
    }

    fn live(shared: &Rc<Shared>, part: Part) -> Client {
        let mut client = Client::new(shared, part, Client::hello("t"), "x-");
        assert!(said(&mut client, 0).unwrap().starts_with("{\"t\":\"hello\",\"v\":1,\"token\":\"t\""));
        client.take(br#"[{"t":"welcome","cursor":0,"ping":25},{"t":"live","pos":5}]"#, 0).unwrap();
        client
    }

    fn said(client: &mut Client, now: u64) -> Option<String> {
        let mut out = Vec::new();
        client.put(now, &mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_sender_keeps_its_window_full_and_stops_when_told() {
        let (shared, pair) = pair();
        let mut client = live(&shared, Part::Sender { pair: pair.clone(), window: 2, size: 40 });
        assert_eq!((said(&mut client, 1), client.waits()), (None, true));
        shared.enter(Phase::Measuring);
        let first = said(&mut client, 7).unwrap();
        assert_eq!(first.matches("\"send\"").count(), 2);
        assert!(first.contains(
            r#""r":1,"id":"x-1","kind":1,"target":"bo","type":"RC:TxtMsg","content":{"content":"hb:3:1:7:"#
        ));
        assert!(serde_json::from_str::<serde_json::Value>(&first).is_ok(), "{first}");
        assert_eq!(said(&mut client, 8), None);
        client.take(br#"[{"t":"ok","r":1,"at":6,"pos":6,"prev":5}]"#, 2_000_000).unwrap();
        assert_eq!(said(&mut client, 9).unwrap().matches("\"send\"").count(), 1);
        assert_eq!(shared.ack.borrow().len(), 1);
        shared.enter(Phase::Settling);
        client.take(br#"[{"t":"ok","r":0,"at":7},{"t":"ok","r":2,"at":8}]"#, 10).unwrap();
        assert_eq!(said(&mut client, 11), None);
        assert!(!pair.borrow().is_settled());
        assert_eq!(pair.borrow().verdict().losses, 3);
    }

    #[test]
    fn a_refused_send_is_given_up_and_the_next_waits_as_told() {
        let (shared, pair) = pair();
        let mut client = live(&shared, Part::Sender { pair: pair.clone(), window: 1, size: 0 });
        shared.enter(Phase::Warming);
        said(&mut client, 1).unwrap();
        client.take(br#"{"t":"err","r":0,"code":"busy","retry_after":3}"#, 100).unwrap();
        assert_eq!((said(&mut client, 200), client.deadline()), (None, 3_000_100));
        assert!(pair.borrow().is_settled() && pair.borrow().verdict().good());
        assert!(said(&mut client, 3_000_100).unwrap().contains("x-1"));
        assert_eq!(pair.borrow().unanswered(), 1);
        assert!(pair.borrow().verdict().good(), "what was not acknowledged is not lost");
    }

    #[test]
    fn a_receiver_acks_in_time_and_notes_gaps_of_the_stream() {
        let (shared, pair) = pair();
        let mut client = live(&shared, Part::Receiver(pair.clone()));
        for now in 0..100 {
            pair.borrow_mut().send(now);
        }
        let entry = |pos: u64, seq: u64, prev: u64| {
            format!(
                r#"[{{"t":"msg","pos":{pos},"prev":{prev},"m":{{"content":{{"content":"hb:3:{seq}:1:"}}}}}}]"#
            )
        };
        client.take(entry(6, 0, 5).as_bytes(), 10).unwrap();
        assert_eq!((said(&mut client, 11), client.deadline()), (None, 10 + ACK_WITHIN));
        assert_eq!(said(&mut client, 10 + ACK_WITHIN).unwrap(), r#"[{"t":"ack","pos":6}]"#);
        for seq in 1..=64 {
            client.take(entry(6 + seq, seq, 5 + seq).as_bytes(), ACK_WITHIN).unwrap();
        }
        assert_eq!(said(&mut client, ACK_WITHIN).unwrap(), r#"[{"t":"ack","pos":70}]"#);
        client.take(entry(90, 66, 80).as_bytes(), ACK_WITHIN).unwrap();
        assert_eq!(pair.borrow().verdict().gaps, 1);
        assert!(client.take(entry(91, 100, 90).as_bytes(), 0).is_err(), "never sent");
    }

    #[test]
    fn a_silent_session_pings_and_an_ended_one_is_an_error() {
        let (shared, _) = pair();
        let mut client = live(&shared, Part::Idle);
        assert_eq!((said(&mut client, 1), client.deadline()), (None, 25_000_000_000));
        assert_eq!(said(&mut client, 25_000_000_000).unwrap(), r#"[{"t":"ping"}]"#);
        assert!(client.take(br#"[{"t":"kick","code":"replaced","msg":"x"}]"#, 1).is_err());
        assert!(client.take(br#"{"t":"err","code":"bad_token"}"#, 1).is_err());
        assert!(client.take(b"<html>", 1).is_err());
    }
}
