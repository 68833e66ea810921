//! Cables between networks: all that two nodes hear of each other goes over one, and may be late, lost, or cut off.
//!
//! ```text
//!   network of a                                              network of b
//!   a 127.0.1.1 ──► 127.0.1.2, held by the cable ─ weather ─► b 127.0.1.2
//!                              ◄─ weather ─ held by the cable, 127.0.1.1
//! ```
//!
//! In the network of `a` the cable holds the address of `b`, and the other way round, so each node sees the other under its
//! real address and nothing in between. Delay, jitter, loss and cuts are of one direction. They are made here and not by the
//! kernel's `netem`, which many machines do not have, so that a run is the same everywhere. As with `netem`, jitter lets one
//! datagram overtake another.

use super::{common::Choices, net::Network};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longest datagram that an Ethernet carries over IPv4 unbroken; longer ones are lost.
const LONGEST: usize = 1_472;
/// Datagrams on their way in one direction at the most; past that they are lost, as in a full router.
const MOST_UNDER_WAY: usize = 8_192;

/// What happens to datagrams in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// How long each takes.
    pub delay: Duration,
    /// How much longer it may take, evenly spread.
    pub jitter: Duration,
    /// Of a thousand, how many are lost.
    pub lost_of_1000: u64,
    /// None arrives.
    pub cut: bool,
}

/// One direction of a cable.
struct Way {
    weather: Mutex<Weather>,
    carried: AtomicU64,
    lost: AtomicU64,
}

/// The cables between all nodes, carried by a thread of their own until this is dropped.
pub struct Cables {
    ways: BTreeMap<(usize, usize), Arc<Way>>,
    _stop: DropGuard,
}

/// The address of a node, in every network.
pub fn address(node: usize) -> SocketAddr {
    let last = u8::try_from(node + 1).expect("few nodes");
    SocketAddr::from(([127, 0, 1, last], 7_400))
}

impl Cables {
    /// One cable for each two of these networks, in fine weather.
    ///
    /// * `seed`: of what is lost, and how late the rest is.
    pub fn between(networks: &[Network], seed: u64) -> Self {
        let mut choices = Choices::new(seed);
        let hold = |inside: usize, other: usize| {
            networks[inside].within(|| bound(address(other))).expect("an address of ours")
        };
        let mut ways = BTreeMap::new();
        let mut carriers = Vec::new();
        for a in 0..networks.len() {
            for b in a + 1..networks.len() {
                let (at_a, at_b) = (Arc::new(hold(a, b)), Arc::new(hold(b, a)));
                for (from, to, taken, given) in [(a, b, at_a.clone(), at_b.clone()), (b, a, at_b, at_a)] {
                    let way = Arc::new(Way {
                        weather: Mutex::default(),
                        carried: AtomicU64::new(0),
                        lost: AtomicU64::new(0),
                    });
                    ways.insert((from, to), way.clone());
                    carriers.push((way, taken, given, address(to), Choices::new(choices.next())));
                }
            }
        }
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let carry_all = move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut all = tokio::task::JoinSet::new();
                for (way, taken, given, to, choices) in carriers {
                    let socket =
                        |shared: &Arc<UdpSocket>| tokio::net::UdpSocket::from_std(shared.try_clone()?);
                    let (taken, given) =
                        (socket(&taken).expect("a socket"), socket(&given).expect("a socket"));
                    all.spawn(async move { way.carry(&taken, &given, to, choices).await });
                }
                tokio::select! {
                    () = stopped.cancelled() => {}
                    Some(broken) = all.join_next() => panic!("a cable broke by itself: {broken:?}"),
                }
            });
        };
        std::thread::Builder::new().name("cables".into()).spawn(carry_all).expect("a thread");
        Self { ways, _stop: stop.drop_guard() }
    }

    /// Changes the weather of one direction.
    pub fn set(&self, from: usize, to: usize, change: impl FnOnce(&mut Weather)) {
        change(&mut self.ways[&(from, to)].weather.lock());
    }

    /// Changes the weather everywhere.
    pub fn set_all(&self, change: impl Fn(&mut Weather)) {
        self.ways.values().for_each(|way| change(&mut way.weather.lock()));
    }

    /// Cuts, or mends, both directions between two nodes.
    pub fn cut(&self, a: usize, b: usize, cut: bool) {
        self.set(a, b, |weather| weather.cut = cut);
        self.set(b, a, |weather| weather.cut = cut);
    }

    /// Datagrams that arrived, and that were lost, so far.
    pub fn carried(&self) -> (u64, u64) {
        let sum = |count: fn(&Way) -> &AtomicU64| {
            self.ways.values().map(|way| count(way).load(Ordering::Relaxed)).sum()
        };
        (sum(|way| &way.carried), sum(|way| &way.lost))
    }
}

fn bound(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Way {
    async fn carry(
        &self,
        taken: &tokio::net::UdpSocket,
        given: &tokio::net::UdpSocket,
        to: SocketAddr,
        mut choices: Choices,
    ) {
        let mut under_way: BTreeMap<(Instant, u64), Vec<u8>> = BTreeMap::new();
        let mut buffer = vec![0; 65_536];
        for number in 0.. {
            let length = loop {
                let next = under_way.first_key_value().map(|((at, _), _)| *at);
                let due = async {
                    match next {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = due => {
                        let Some((_, datagram)) = under_way.pop_first() else { continue };
                        self.give(given, &datagram, to).await;
                    }
                    // An error here speaks of an earlier datagram that nobody took.
                    taken = taken.recv(&mut buffer) => if let Ok(length) = taken { break length },
                }
            };
            let weather = *self.weather.lock();
            let lost = weather.cut || choices.of(0..1_000) < weather.lost_of_1000;
            if lost || length > LONGEST || under_way.len() >= MOST_UNDER_WAY {
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let jitter = choices.of(0..weather.jitter.as_micros() as u64 + 1);
            let late = weather.delay + Duration::from_micros(jitter);
            if late.is_zero() && under_way.is_empty() {
                self.give(given, &buffer[..length], to).await;
            } else {
                under_way.insert((Instant::now() + late, number), buffer[..length].to_vec());
            }
        }
    }

    /// Hands over a datagram, unless the cable was cut meanwhile or the receiver has no room.
    async fn give(&self, given: &tokio::net::UdpSocket, datagram: &[u8], to: SocketAddr) {
        let cut = self.weather.lock().cut;
        let arrives = !cut && given.send_to(datagram, to).await.is_ok();
        let count = if arrives { &self.carried } else { &self.lost };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
