//! Where a client is in its mailbox: the same rules as `sdk/js/stream.js`.

use std::collections::BTreeMap;

/// What an entry is to the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next one.
    Next,
    /// One that it has handled.
    Seen,
    /// One after another that did not come.
    Gap,
}

/// Positions over all connections of a session.
#[derive(Debug, Default)]
pub struct Stream {
    /// Last position that came over the present connection.
    last: u64,
    /// Last position handled; `None` before the first welcome.
    pub handled: Option<u64>,
    /// The server's name for the order that `handled` belongs to.
    pub epoch: Option<String>,
    /// Own entries known from answers and not reached yet: by the position before them.
    ahead: BTreeMap<u64, u64>,
}

impl Stream {
    /// A connection begins.
    ///
    /// * `foreign`: positions known so far mean nothing (`ahead`, `forked`).
    pub fn start(&mut self, cursor: u64, foreign: bool, epoch: Option<String>) {
        if foreign || epoch != self.epoch {
            self.handled = Some(cursor);
        }
        self.epoch = epoch;
        self.ahead.clear();
        self.last = cursor;
        self.handled = self.handled.max(Some(cursor));
    }

    pub fn accept(&mut self, pos: u64, prev: u64) -> Verdict {
        if pos <= self.last {
            return Verdict::Seen;
        }
        if prev != self.last {
            return Verdict::Gap;
        }
        let seen = self.handled.is_some_and(|handled| pos <= handled);
        self.last = pos;
        self.join();
        if seen { Verdict::Seen } else { Verdict::Next }
    }

    /// An answer says that the own entry at `pos` follows the one at `prev`.
    pub fn own(&mut self, pos: u64, prev: u64) {
        if pos > self.last {
            self.ahead.insert(prev, pos);
            self.join();
        }
    }

    /// There is nothing more up to `pos`.
    pub fn reach(&mut self, pos: u64) {
        if pos > self.last {
            self.last = pos;
            self.join();
        }
    }

    /// Whether an own entry waits for those in front of it.
    pub fn is_holed(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// The position to ack.
    pub fn last(&self) -> u64 {
        self.last
    }

    fn join(&mut self) {
        while let Some(next) = self.ahead.remove(&self.last) {
            self.last = next;
        }
        self.handled = self.handled.max(Some(self.last));
        let last = self.last;
        self.ahead.retain(|_, pos| *pos > last);
    }
}
