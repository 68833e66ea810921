//! The books: who sent what when, and what came of it.

use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// From a user to a user.
pub type Pair = (usize, usize);
/// A user's device: the first writes and reads, a second one only reads.
pub type Device = (usize, usize);

/// A message. Its number is its place in the pair's list.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// When the sender's page sent it, connected or not.
    pub at: Instant,
    /// When the sender had its answer.
    pub acked: Option<Instant>,
}

/// A time in which a user was not connected, or on the way from node to node.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Where the session was.
    pub from: usize,
    /// When that connection was lost, or left.
    pub lost: Instant,
    /// When the connection that was welcomed, or others beside it, was begun.
    pub dialled: Instant,
    pub welcomed: Instant,
    /// Where.
    pub to: usize,
    /// First answer to a send, or message, after that.
    pub served: Option<Instant>,
}

/// What is known of a user's connections.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Node of the present session.
    pub node: Option<usize>,
    pub outages: Vec<Outage>,
    /// Welcomes that said that the order had forked.
    pub forks: u64,
}

#[derive(Default)]
struct Inner {
    sent: BTreeMap<Pair, Vec<Sent>>,
    /// Number and time, as they came to the page of a device.
    came: BTreeMap<(Pair, Device), Vec<(usize, Instant)>>,
    places: BTreeMap<Device, Place>,
    /// Messages that came over the wire again, as new entries, and were known by their ids.
    again: u64,
    faults: Vec<String>,
}

/// Shared by all clients.
#[derive(Default)]
pub struct Books(Mutex<Inner>);

/// What a message says.
pub fn text(pair: Pair, number: usize) -> String {
    format!("{}>{}#{number}", pair.0, pair.1)
}

/// What a text is of.
pub fn parse(text: &str) -> Option<(Pair, usize)> {
    let (from, rest) = text.split_once('>')?;
    let (to, number) = rest.split_once('#')?;
    Some(((from.parse().ok()?, to.parse().ok()?), number.parse().ok()?))
}

impl Books {
    /// Enters a message that its page sends now; gives its number.
    pub fn send(&self, pair: Pair) -> usize {
        let mut inner = self.0.lock();
        let list = inner.sent.entry(pair).or_default();
        list.push(Sent { at: Instant::now(), acked: None });
        list.len() - 1
    }

    /// The sender has its answer.
    pub fn acked(&self, pair: Pair, number: usize) {
        let now = Instant::now();
        let mut inner = self.0.lock();
        let sent = inner.sent.get_mut(&pair).and_then(|list| list.get_mut(number)).expect("it was sent");
        sent.acked.get_or_insert(now);
        inner.serve((pair.0, 0), now);
    }

    /// It has come to the page of a device of the receiver, or of another device of the sender.
    pub fn came(&self, device: Device, pair: Pair, number: usize) {
        let now = Instant::now();
        let mut inner = self.0.lock();
        inner.came.entry((pair, device)).or_default().push((number, now));
        inner.serve(device, now);
    }

    /// It came again, as another entry.
    pub fn again(&self) {
        self.0.lock().again += 1;
    }

    /// Something that may never happen.
    pub fn fault(&self, text: String) {
        self.0.lock().faults.push(text);
    }

    /// A session begins, or goes on.
    pub fn welcomed(
        &self,
        device: Device,
        node: usize,
        outage: Option<(usize, Instant, Instant)>,
        forked: bool,
    ) {
        let mut inner = self.0.lock();
        let place = inner.places.entry(device).or_default();
        place.node = Some(node);
        place.forks += u64::from(forked);
        if let Some((from, lost, dialled)) = outage {
            place.outages.push(Outage {
                from,
                lost,
                dialled,
                welcomed: Instant::now(),
                to: node,
                served: None,
            });
        }
    }

    /// The connections of a user's first device.
    pub fn place(&self, user: usize) -> Place {
        self.place_of((user, 0))
    }

    pub fn place_of(&self, device: Device) -> Place {
        self.0.lock().places.get(&device).cloned().unwrap_or_default()
    }

    /// All sends.
    pub fn sent(&self) -> BTreeMap<Pair, Vec<Sent>> {
        self.0.lock().sent.clone()
    }

    /// How many messages have been answered and have come so far.
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.0.lock();
        let acked = inner.sent.values().flatten().filter(|sent| sent.acked.is_some()).count();
        (acked, inner.came.values().map(Vec::len).sum())
    }

    /// What has not been answered, or has not come.
    pub fn open(&self) -> Vec<String> {
        let inner = self.0.lock();
        let mut open = Vec::new();
        for (pair, list) in &inner.sent {
            let unanswered = list.iter().enumerate().filter(|(_, sent)| sent.acked.is_none());
            open.extend(unanswered.map(|(number, _)| format!("{} is not answered", text(*pair, number))));
            for device in inner.devices(*pair) {
                let came = inner.came.get(&(*pair, device)).into_iter().flatten();
                let came: BTreeSet<_> = came.map(|(number, _)| *number).collect();
                let missing = (0..list.len()).filter(|number| !came.contains(number));
                open.extend(
                    missing.map(|number| format!("{} has not come to {device:?}", text(*pair, number))),
                );
            }
        }
        open
    }

    /// How long messages took from page to page, shortest first; those that have not come are left out.
    pub fn gaps_within(&self, of: impl Fn(Pair) -> bool, sent: impl Fn(Instant) -> bool) -> Vec<Duration> {
        let inner = self.0.lock();
        let mut gaps = Vec::new();
        for ((pair, device), came) in inner.came.iter().filter(|((pair, _), _)| of(*pair)) {
            if *device != (pair.1, 0) {
                continue;
            }
            let times = came.iter().map(|(number, at)| (inner.sent[pair][*number].at, *at));
            gaps.extend(times.filter(|(from, _)| sent(*from)).map(|(from, at)| at.duration_since(from)));
        }
        gaps.sort();
        gaps
    }

    /// Closes the books.
    ///
    /// * `may_be_late`: whether a message may come after later ones of its sender: only where what alone had it was away.
    pub fn close(&self, may_be_late: impl Fn(Pair, &Sent) -> bool) -> Sums {
        let inner = self.0.lock();
        let mut sums = Sums { again: inner.again, faults: inner.faults.clone(), ..Sums::default() };
        for (pair, list) in &inner.sent {
            sums.sent += list.len();
            for device in inner.devices(*pair) {
                let came = inner.came.get(&(*pair, device)).map(Vec::as_slice).unwrap_or_default();
                let numbers: Vec<_> = came.iter().map(|(number, _)| *number).collect();
                let once: BTreeSet<_> = numbers.iter().copied().collect();
                sums.lost += list.len() - once.len();
                sums.twice += came.len() - once.len();
                for number in breaks(&numbers) {
                    if may_be_late(*pair, &list[number]) {
                        sums.late += 1;
                    } else {
                        sums.breaks += 1;
                        sums.faults
                            .push(format!("{} came to {device:?} after a later one", text(*pair, number)));
                    }
                }
                for (number, at) in came.iter().filter(|_| device == (pair.1, 0)) {
                    let sent = list[*number].at;
                    sums.gaps.push((*pair, sent, at.duration_since(sent)));
                }
            }
        }
        sums.gaps.sort_by_key(|(_, _, gap)| *gap);
        for ((_, device), place) in &inner.places {
            sums.forks += place.forks;
            sums.outages.extend(place.outages.iter().filter(|_| *device == 0).cloned());
        }
        sums
    }
}

/// Numbers that stand behind a higher one.
pub fn breaks(numbers: &[usize]) -> Vec<usize> {
    let mut highest = None;
    let mut behind = Vec::new();
    for number in numbers {
        if highest.is_some_and(|highest| *number < highest) {
            behind.push(*number);
        }
        highest = highest.max(Some(*number));
    }
    behind
}

impl Inner {
    /// The devices to which a message between these has to come: those of the receiver, and the sender's second.
    fn devices(&self, (from, to): Pair) -> impl Iterator<Item = Device> {
        let second = [(from, 1), (to, 1)].into_iter().filter(|device| self.places.contains_key(device));
        std::iter::once((to, 0)).chain(second)
    }

    fn serve(&mut self, device: Device, now: Instant) {
        if let Some(outage) = self.places.get_mut(&device).and_then(|place| place.outages.last_mut()) {
            outage.served.get_or_insert(now);
        }
    }
}

/// What the books say in the end.
#[derive(Debug, Default)]
pub struct Sums {
    pub sent: usize,
    pub lost: usize,
    pub twice: usize,
    /// Came behind a later one, and may not.
    pub breaks: usize,
    /// Came behind a later one, and may.
    pub late: usize,
    pub again: u64,
    pub forks: u64,
    pub faults: Vec<String>,
    /// Between whom, time of sending, and from there to the receiver's page; shortest first.
    pub gaps: Vec<(Pair, Instant, Duration)>,
    /// Of first devices.
    pub outages: Vec<Outage>,
}

/// The value below which `share` of a sorted list lies.
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
}

impl Sums {
    /// Gaps of messages for which `of` says so, shortest first.
    pub fn gaps_of(&self, of: impl Fn(usize, Instant) -> bool) -> Vec<Duration> {
        self.gaps.iter().filter(|((_, to), at, _)| of(*to, *at)).map(|(_, _, gap)| *gap).collect()
    }

    /// The same quantile of each receiver, the worst.
    pub fn worst(&self, share: f64) -> Duration {
        let users: BTreeSet<_> = self.gaps.iter().map(|((_, to), _, _)| *to).collect();
        users
            .into_iter()
            .map(|user| quantile(&self.gaps_of(|to, _| to == user), share))
            .max()
            .unwrap_or_default()
    }

    /// Nothing was lost, doubled or out of order, and nothing happened that may not.
    pub fn check(&self) {
        let counts = (self.lost, self.twice, self.breaks);
        assert_eq!(counts, (0, 0, 0), "lost, twice, out of order: {:#?}", self.faults);
        assert!(self.faults.is_empty(), "{:#?}", self.faults);
    }
}
