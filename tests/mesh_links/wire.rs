//! A wire to a node that can be cut: it passes packets on, or it does not.

use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};
use tokio::{net::UdpSocket, task::JoinSet};

#[derive(Default)]
struct Cuts {
    all: bool,
    from: HashSet<SocketAddr>,
}

/// The wire; it ends when it is dropped.
pub struct Wire {
    pub address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
    cuts: Arc<Mutex<Cuts>>,
    _tasks: JoinSet<()>,
}

impl Wire {
    pub async fn new() -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = front.local_addr().unwrap();
        let target = Arc::new(Mutex::new(None));
        let cuts = Arc::new(Mutex::new(Cuts::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(carry(front, target.clone(), cuts.clone()));
        Self { address, target, cuts, _tasks: tasks }
    }

    /// Where it leads from now on; of what it led to before nothing is heard any more.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.target.lock() = Some(target);
    }

    /// Cuts it for everybody, or mends it.
    pub fn cut(&self, cut: bool) {
        self.cuts.lock().all = cut;
    }

    /// Cuts it for one node, or mends it.
    pub fn cut_from(&self, from: SocketAddr, cut: bool) {
        let mut cuts = self.cuts.lock();
        if cut {
            cuts.from.insert(from);
        } else {
            cuts.from.remove(&from);
        }
    }
}

async fn carry(front: Arc<UdpSocket>, target: Arc<Mutex<Option<SocketAddr>>>, cuts: Arc<Mutex<Cuts>>) {
    let mut ways: HashMap<(SocketAddr, SocketAddr), Arc<UdpSocket>> = HashMap::new();
    let mut returns = JoinSet::new();
    let mut packet = vec![0; 65_536];
    loop {
        let Ok((len, from)) = front.recv_from(&mut packet).await else { continue };
        let open = |cuts: &Cuts| !cuts.all && !cuts.from.contains(&from);
        let leads = target.clone();
        let now = *target.lock();
        let Some(target) = now.filter(|_| open(&cuts.lock())) else { continue };
        let way = match ways.get(&(from, target)) {
            Some(way) => way.clone(),
            None => {
                let way = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                way.connect(target).await.unwrap();
                ways.insert((from, target), way.clone());
                let (front, back, cuts) = (front.clone(), way.clone(), cuts.clone());
                returns.spawn(async move {
                    let mut packet = vec![0; 65_536];
                    loop {
                        let Ok(len) = back.recv(&mut packet).await else { continue };
                        let open = {
                            let cuts = cuts.lock();
                            !cuts.all && !cuts.from.contains(&from) && *leads.lock() == Some(target)
                        };
                        if open {
                            let _ = front.send_to(&packet[..len], from).await;
                        }
                    }
                });
                way
            }
        };
        let _ = way.send(&packet[..len]).await;
    }
}
