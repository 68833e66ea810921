//! Distance: what goes to a node and back takes a while, as between continents.
//!
//! Flow: others send to the road's own address → after the delay it goes to the node, from a socket of its own for each
//! sender, so that the node's answers find their way back → after the delay they go to that sender, from the road's address.
//! Invariants: datagrams keep their order; senders and datagrams under way are bounded, and those beyond are lost, as on
//! any full road.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
    time::Instant,
};

/// Senders that a road knows at the most.
const MAX_SENDERS: usize = 64;
/// Datagrams under way in one direction between two nodes at the most.
const MAX_UNDER_WAY: usize = 16_384;
/// Largest datagram of UDP, in bytes.
const MAX_DATAGRAM: usize = 65_536;

/// The address at which a node that is far away is reached.
pub(super) struct Road {
    socket: Arc<UdpSocket>,
    delay: Duration,
}

/// A datagram, and when it arrives.
type Carried = (Instant, Vec<u8>);

impl Road {
    /// A road of `delay` in each direction, at a free port of this machine.
    ///
    /// # Errors
    /// What the system says.
    pub(super) async fn new(delay: Duration) -> io::Result<Self> {
        Ok(Self { socket: Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?), delay })
    }

    /// Where it begins.
    ///
    /// # Errors
    /// When the system does not say.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Carries to and from `node` until it is dropped.
    pub(super) async fn run(self, node: SocketAddr) {
        let mut lanes = JoinSet::new();
        let mut senders: HashMap<SocketAddr, mpsc::Sender<Carried>> = HashMap::new();
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            let Ok((len, from)) = self.socket.recv_from(&mut buffer).await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            if !senders.contains_key(&from) {
                if senders.len() >= MAX_SENDERS {
                    continue;
                }
                let Ok(own) = connected(node).await else { continue };
                let (there, under_way) = mpsc::channel(MAX_UNDER_WAY);
                let (back, returning) = mpsc::channel(MAX_UNDER_WAY);
                senders.insert(from, there);
                lanes.spawn(deliver(under_way, own.clone(), None));
                lanes.spawn(answers(own, self.delay, back));
                lanes.spawn(deliver(returning, self.socket.clone(), Some(from)));
            }
            if let Some(there) = senders.get(&from) {
                // A full road loses it.
                let _ = there.try_send((Instant::now() + self.delay, buffer[..len].to_vec()));
            }
        }
    }
}

async fn connected(node: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(node).await?;
    Ok(Arc::new(socket))
}

/// Sends each datagram when its time has come.
async fn deliver(mut under_way: mpsc::Receiver<Carried>, socket: Arc<UdpSocket>, to: Option<SocketAddr>) {
    while let Some((at, datagram)) = under_way.recv().await {
        tokio::time::sleep_until(at).await;
        // Whoever is not there does not get it; QUIC asks again.
        let _ = match to {
            Some(to) => socket.send_to(&datagram, to).await,
            None => socket.send(&datagram).await,
        };
    }
}

/// Takes what the node answers to one sender.
async fn answers(socket: Arc<UdpSocket>, delay: Duration, back: mpsc::Sender<Carried>) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(len) => match back.try_send((Instant::now() + delay, buffer[..len].to_vec())) {
                Ok(()) | Err(TrySendError::Full(_)) => {}
                Err(TrySendError::Closed(_)) => return,
            },
            // The node is not there at the moment, which the system tells once for each datagram.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_find_their_sender_in_order_and_after_the_delay() {
        let echo = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let node = echo.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut buffer = [0; 64];
            loop {
                let (len, from) = echo.recv_from(&mut buffer).await.unwrap();
                echo.send_to(&buffer[..len], from).await.unwrap();
            }
        });
        let delay = Duration::from_millis(30);
        let road = Road::new(delay).await.unwrap();
        let address = road.address().unwrap();
        tasks.spawn(road.run(node));

        let clients = [connected(address).await.unwrap(), connected(address).await.unwrap()];
        let start = Instant::now();
        for text in ["1", "2", "3"] {
            for (number, client) in clients.iter().enumerate() {
                client.send(format!("{number}: {text}").as_bytes()).await.unwrap();
            }
        }
        for (number, client) in clients.iter().enumerate() {
            for text in ["1", "2", "3"] {
                let mut buffer = [0; 64];
                let read = tokio::time::timeout(Duration::from_secs(10), client.recv(&mut buffer));
                let len = read.await.unwrap().unwrap();
                assert_eq!(&buffer[..len], format!("{number}: {text}").as_bytes());
            }
        }
        assert!(start.elapsed() >= 2 * delay, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn more_senders_than_may_be_are_not_carried() {
        let node = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let road = Road::new(Duration::ZERO).await.unwrap();
        let address = road.address().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(road.run(node.local_addr().unwrap()));
        // They stay, or two of them might have one port, one after the other.
        let mut clients = Vec::new();
        for number in 0..MAX_SENDERS {
            let client = connected(address).await.unwrap();
            client.send(&[number as u8]).await.unwrap();
            clients.push(client);
        }
        let mut seen = std::collections::BTreeSet::new();
        let mut buffer = [0; 8];
        while seen.len() < MAX_SENDERS {
            let read = tokio::time::timeout(Duration::from_secs(10), node.recv_from(&mut buffer));
            seen.insert(read.await.unwrap().unwrap().1);
        }
        let late = connected(address).await.unwrap();
        late.send(b"late").await.unwrap();
        let read = tokio::time::timeout(Duration::from_millis(200), node.recv_from(&mut buffer));
        assert!(read.await.is_err(), "one too many came through");
    }
}
