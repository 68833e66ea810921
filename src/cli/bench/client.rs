//! One session of the native protocol, without its transport.
//!
//! Purpose: say what a client says (`docs/protocol.md`) and check what it is told.
//! Flow: a transport hands in messages with [`Peer::take`] and asks for what is due with [`Peer::put`], at once and
//! when [`Peer::deadline`] has come.
//! Pure: time comes in as an argument.

use super::{
    pair::Pair,
    scan::{self, Frame, Mark},
    tally::{Phase, Shared},
};
use anyhow::bail;
use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

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
        /// When it sends, besides.
        pace: Pace,
    },
    /// Receives what the sender sends.
    Receiver(Rc<RefCell<Pair>>),
    /// Is there.
    Idle,
}

/// When a sender sends: whenever its window has room, or at set times whatever the server does, so that a pause of the
/// server is felt by all that should have been sent in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Nanoseconds from one send to the next; 0: at once.
    pub(super) every: u64,
    /// When the next one is due; 0: not known yet.
    next: u64,
    /// Nanoseconds from the start of the load to the first.
    offset: u64,
}

impl Pace {
    /// The pace of the `number`-th of `all` senders, who do not send all at the same time.
    pub(super) fn new(every: Duration, number: usize, all: usize) -> Self {
        let every = every.as_nanos() as u64;
        Self { every, next: 0, offset: every * number as u64 / all.max(1) as u64 }
    }

    /// Sends that are due.
    fn due(&self, now: u64) -> usize {
        match self.every {
            0 => usize::MAX,
            every if now >= self.next => 1 + ((now - self.next) / every) as usize,
            _ => 0,
        }
    }

    /// Takes one that is due; gives when it was.
    fn take(&mut self, now: u64) -> u64 {
        let due = if self.every == 0 { now } else { self.next };
        self.next = due + self.every;
        due
    }
}

/// A session.
pub(super) struct Client {
    shared: Rc<Shared>,
    part: Part,
    /// The frame to begin with; gone once it was written.
    hello: Option<String>,
    /// The token, for a client that goes on at another node when it has to.
    roams: Option<String>,
    /// Where the node that it leaves sends it.
    goes_to: Option<String>,
    /// The order that its positions belong to.
    epoch: Option<String>,
    /// When it left a node.
    left: Option<u64>,
    /// Sends to be sent again, oldest first.
    again: VecDeque<Mark>,
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
            roams: None,
            goes_to: None,
            epoch: None,
            left: None,
            again: VecDeque::new(),
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

    /// The same, for one that goes on at another node when its own goes away.
    pub(super) fn roaming(self, token: String) -> Self {
        Self { roams: Some(token), ..self }
    }

    /// The connection is over: makes ready to go on over another one. `false` when this session is not to.
    pub(super) fn leave(&mut self) -> bool {
        let Some(token) = &self.roams else { return false };
        let hello = Self::hello(token);
        let epoch = self.epoch.as_ref().map(|epoch| format!(r#","epoch":"{epoch}""#)).unwrap_or_default();
        // Before the first `live` there is no cursor to go on from.
        let cursor = if self.last > 0 { format!(r#","cursor":{}{epoch}"#, self.last) } else { String::new() };
        self.hello = Some(format!("{}{cursor}}}", hello.trim_end_matches('}')));
        if std::mem::take(&mut self.live) {
            self.shared.live.set(self.shared.live.get() - 1);
            self.left = Some(self.shared.now());
        }
        (self.unacked, self.ack_due) = (0, None);
        if let Part::Sender { pair, .. } = &self.part {
            self.again = pair.borrow().open_sends().collect();
        }
        true
    }

    /// Where the node that it left has sent it.
    pub(super) fn goes_to(&mut self) -> Option<String> {
        self.goes_to.take()
    }

    fn frame(&mut self, frame: &Frame<'_>, now: u64) -> anyhow::Result<()> {
        match frame.t {
            b"ok" => self.answered(frame, now),
            b"welcome" => {
                self.last = frame.cursor.unwrap_or_default();
                self.ping = frame.ping.unwrap_or(25).max(1) * 1_000_000_000;
                self.epoch = (!frame.epoch.is_empty()).then(|| lossy(frame.epoch).into_owned());
            }
            b"live" => {
                self.last = frame.pos.unwrap_or_default();
                if !std::mem::replace(&mut self.live, true) {
                    self.shared.live.set(self.shared.live.get() + 1);
                    if let Some(left) = self.left.take() {
                        self.shared.arrive(left, now);
                    }
                }
            }
            b"err" => match (&self.part, frame.r) {
                (Part::Sender { pair, .. }, Some(seq)) => {
                    if self.roams.is_some() {
                        self.again.extend(pair.borrow().open_send(seq));
                    } else {
                        pair.borrow_mut().refused(seq);
                    }
                    self.shared.refuse(frame.code);
                    self.hold = now + frame.retry_after.unwrap_or(10).max(1) * 1_000_000;
                }
                _ => bail!("{}: {}", lossy(frame.code), lossy(frame.msg)),
            },
            b"kick" => bail!("the session was ended: {}: {}", lossy(frame.code), lossy(frame.msg)),
            b"move" => {
                self.goes_to = (!frame.url.is_empty()).then(|| lossy(frame.url).into_owned());
                bail!("the node is going away");
            }
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
            Part::Sender { pair, window, pace, .. } if now >= self.hold && self.shared.phase().is_load() => {
                window.saturating_sub(pair.borrow().unanswered()).min(pace.due(now))
            }
            _ => 0,
        }
    }

    fn sends(&mut self, count: usize, now: u64, out: &mut Vec<u8>) {
        let Part::Sender { pair, size, pace, .. } = &mut self.part else { return };
        let mut pair = pair.borrow_mut();
        let again = self.again.len();
        for number in 0..again + count {
            let mark = match self.again.pop_front() {
                Some(mark) => mark,
                None => pair.send(pace.take(now)),
            };
            send(mark, &self.prefix, pair.to(), *size, out);
            if out.len() > BATCH_BYTES || number + 1 >= BATCH_FRAMES {
                break;
            }
        }
    }
}

/// Writes the frame of a message, and a comma.
fn send(mark: Mark, prefix: &str, to: &str, size: usize, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    let seq = digits.format(mark.seq).as_bytes();
    out.extend_from_slice(b"{\"t\":\"send\",\"r\":");
    out.extend_from_slice(seq);
    out.extend_from_slice(b",\"id\":\"");
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(seq);
    out.extend_from_slice(b"\",\"kind\":1,\"target\":\"");
    out.extend_from_slice(to.as_bytes());
    out.extend_from_slice(b"\",\"type\":\"RC:TxtMsg\",\"content\":{\"content\":\"");
    mark.write(out, size);
    out.extend_from_slice(b"\"}},");
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
        if let Part::Sender { pace, .. } = &mut self.part
            && pace.next == 0
            && self.shared.phase() != Phase::Opening
        {
            pace.next = now + pace.offset;
        }
        let acks = self.unacked >= ACK_EVERY || self.ack_due.is_some_and(|due| due <= now);
        let sends = self.room(now).min(BATCH_FRAMES);
        let pings = now >= self.said + self.ping;
        let again = self.live && now >= self.hold && !self.again.is_empty();
        let sends = if self.live { sends } else { 0 };
        if !acks && sends == 0 && !again && !pings {
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
        if sends > 0 || again {
            self.sends(sends, now, out);
        }
        if let Some(last) = out.last_mut() {
            *last = b']'; // in place of the last comma
        }
        true
    }

    fn deadline(&self) -> u64 {
        let mut next = self.hold;
        if let Part::Sender { pace: Pace { every: 1.., next: due, .. }, .. } = &self.part {
            next = if self.again.is_empty() { next.max(*due) } else { next };
        }
        let waits = self.live && next > 0 && (self.room(next) > 0 || !self.again.is_empty());
        let next = if waits { next } else { u64::MAX };
        (self.said + self.ping).min(self.ack_due.unwrap_or(u64::MAX)).min(next)
    }

    fn is_live(&self) -> bool {
        self.live
    }

    fn waits(&self) -> bool {
        matches!(self.part, Part::Sender { .. }) && !self.shared.phase().is_load()
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
        let mut client =
            live(&shared, Part::Sender { pair: pair.clone(), window: 2, size: 40, pace: Pace::default() });
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
        let mut client =
            live(&shared, Part::Sender { pair: pair.clone(), window: 1, size: 0, pace: Pace::default() });
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
    fn a_paced_sender_sends_when_it_is_due_and_makes_up_for_pauses() {
        let (shared, pair) = pair();
        let pace = Pace::new(Duration::from_nanos(100), 1, 2);
        let mut client = live(&shared, Part::Sender { pair: pair.clone(), window: 9, size: 0, pace });
        shared.enter(Phase::Measuring);
        assert_eq!((said(&mut client, 1_000), client.deadline()), (None, 1_050));
        assert_eq!(said(&mut client, 1_050).unwrap().matches("\"send\"").count(), 1);
        assert_eq!(client.deadline(), 1_150);
        let late = said(&mut client, 1_390).unwrap();
        assert!(late.contains("hb:3:1:1150:") && late.contains("hb:3:3:1350:"), "{late}");
        assert_eq!((pair.borrow().unanswered(), client.deadline()), (4, 1_450));
    }

    #[test]
    fn a_roaming_client_goes_on_from_its_cursor_and_sends_again_what_was_not_answered() {
        let (shared, pair) = pair();
        let part = Part::Sender { pair: pair.clone(), window: 3, size: 0, pace: Pace::default() };
        let mut client = live(&shared, part).roaming("t2".into());
        shared.enter(Phase::Measuring);
        said(&mut client, 7).unwrap();
        client.take(br#"{"t":"ok","r":1,"at":6,"pos":6,"prev":5}"#, 8).unwrap();
        assert!(client.take(br#"{"t":"move","after":0,"url":"http://b"}"#, 9).is_err());
        assert!(client.leave() && shared.live.get() == 0);
        assert_eq!(client.goes_to().as_deref(), Some("http://b"));
        let hello = said(&mut client, 10).unwrap();
        assert!(hello.contains("\"t2\"") && hello.ends_with("\"cursor\":6}"), "{hello}");
        assert_eq!(said(&mut client, 11), None, "nothing before it is live");
        let welcome = br#"[{"t":"welcome","cursor":6,"epoch":"3.a"},{"t":"live","pos":6}]"#;
        client.take(welcome, 12).unwrap();
        let again = said(&mut client, 13).unwrap();
        assert!(again.starts_with("[{\"t\":\"send\",\"r\":0,") && again.contains("hb:3:2:7:"), "{again}");
        assert!(again.contains("hb:3:3:13:") && !again.contains("hb:3:1:"), "{again}");
        assert_eq!((shared.live.get(), shared.away.borrow().len()), (1, 1));
        assert!(client.leave() && said(&mut client, 20).unwrap().contains(r#""epoch":"3.a""#));
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
