//! Links and lanes.

use crate::node::{Cluster, Node, PATIENCE, acquainted, talk};
use bytes::Bytes;
use hongyan::{
    mesh::{Event, Lane, LaneStatus, MeshHandle, MeshOptions, PeerState, SendError},
    model::NodeId,
};
use std::{collections::BTreeMap, time::Duration};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_find_each_other_by_one_seed() {
    let cluster = Cluster::new(&["a", "b"]);
    let [mut a, mut b] = cluster.linked(["a", "b"], |_| {}).await;
    talk(&mut a, &mut b).await;
    let peers = a.handle.peers();
    assert_eq!(peers.len(), 1, "{peers:#?}");
    let peer = &peers[0];
    assert_eq!((&*peer.name, peer.node, peer.state.clone()), ("b", b.id(), PeerState::Up));
    assert_eq!((peer.version, &*peer.region, peer.member), (1, "test", true));
    assert!(peer.rtt.is_some() && peer.since > 0 && peer.lanes[Lane::Chat as usize].sent_frames == 1);
    assert_eq!(a.handle.members()[0].name, b.handle.me().name);
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_that_know_one_seed_are_all_linked() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let [mut a, mut b, mut c] = cluster.linked(["a", "b", "c"], |_| {}).await;
    talk(&mut b, &mut c).await;
    talk(&mut a, &mut c).await;
    for node in [&a, &b, &c] {
        assert_eq!(node.handle.members().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_may_be_of_the_newer_kind() {
    let v6 = "[::1]:0";
    if std::net::UdpSocket::bind(v6).is_err() {
        return; // this machine has none
    }
    let cluster = Cluster::new(&["a", "b", "c"]);
    let [mut a, mut b] = cluster.linked(["a", "b"], |options| options.listen = v6.parse().unwrap()).await;
    talk(&mut a, &mut b).await;
    // One that listens on the older kind alone says why it does not get there.
    let c = cluster.start("c", &[&a]);
    let says = async {
        loop {
            let told = |state: &PeerState| matches!(state, PeerState::Dialling { last: Some(why) } if why.contains("no address of the kind"));
            if c.handle.peers().iter().any(|peer| told(&peer.state)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, says).await.unwrap();
}

/// Some hundred bytes, or some thousand: those span several packets, and are written without a copy.
fn length(number: u32) -> usize {
    let long = if number.is_multiple_of(97) { 9_000 } else { 0 };
    number as usize * 37 % 600 + long
}

/// Sends `count` numbered frames on each lane, over and over where a lane is full.
async fn pour(handle: MeshHandle, to: NodeId, count: u32) {
    let mut next = [0_u32; Lane::ALL.len()];
    while next.iter().any(|n| *n < count) {
        let mut stuck = true;
        for lane in Lane::ALL {
            for _ in 0..64 {
                let n = &mut next[lane as usize];
                if *n == count {
                    break;
                }
                let mut frame = n.to_be_bytes().to_vec();
                frame.resize(4 + length(*n), *n as u8);
                match handle.send(to, lane, frame.into()) {
                    Ok(()) => *n += 1,
                    Err(SendError::Full) => break,
                    Err(error) => panic!("{error}"),
                }
                stuck = false;
            }
        }
        if stuck {
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Takes numbered frames and checks that none is missing, changed or out of its place.
async fn drink(node: &mut Node, count: u32) {
    let mut next: BTreeMap<Lane, u32> = BTreeMap::new();
    let mut drunk = false;
    // One event at a time: what takes long is not to be taken for what does not come.
    while !drunk {
        drunk = node.next("frame", |event| Some(taste(event, &mut next, count))).await;
    }
    node.seen.retain(|event| !matches!(event, Event::Frames { .. }));
}

/// Whether `event` brings the last frame that was missing; `next`: the numbers that are to come.
fn taste(event: &Event, next: &mut BTreeMap<Lane, u32>, count: u32) -> bool {
    if let Event::Frames { lane, frames, .. } = event {
        let next = next.entry(*lane).or_default();
        for frame in frames {
            let (number, rest) = frame.split_first_chunk().unwrap();
            assert_eq!(u32::from_be_bytes(*number), *next, "{lane}");
            assert_eq!(rest.len(), length(*next));
            assert!(rest.iter().all(|byte| *byte == *next as u8));
            *next += 1;
        }
    }
    next.len() == Lane::ALL.len() && next.values().all(|n| *n == count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_arrive_in_order_on_every_lane_in_both_directions_under_load() {
    const COUNT: u32 = 20_000;
    let cluster = Cluster::new(&["a", "b"]);
    let small = |options: &mut MeshOptions| {
        // Less than is poured at once.
        (options.lane_frames, options.lane_bytes, options.events) = (16, 200_000, 16);
    };
    let [mut a, mut b] = cluster.linked(["a", "b"], small).await;
    let pours = [(a.handle.clone(), b.id()), (b.handle.clone(), a.id())]
        .map(|(handle, to)| tokio::spawn(pour(handle, to, COUNT)));
    tokio::join!(drink(&mut a, COUNT), drink(&mut b, COUNT));
    for pour in pours {
        pour.await.unwrap();
    }
    assert!(a.ended_links().is_empty() && b.ended_links().is_empty());
    // A lane counts what it wrote just after it did.
    let counted = async {
        while a.handle.peers()[0].lanes.iter().any(|lane| lane.queued_bytes > 0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap();
    let lanes = &a.handle.peers()[0].lanes;
    for lane in lanes {
        assert_eq!((lane.sent_frames, lane.received_frames), (COUNT.into(), COUNT.into()));
        assert_eq!((lane.queued_frames, lane.queued_bytes), (0, 0));
    }
    assert!(lanes.iter().any(|lane| lane.full > 0), "the queues were never full: {lanes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_does_not_listen_holds_senders_back_and_loses_nothing() {
    const COUNT: u32 = 30_000;
    let cluster = Cluster::new(&["a", "b"]);
    let small = |options: &mut MeshOptions| {
        (options.lane_frames, options.lane_bytes) = (500, 200_000);
        (options.events, options.event_bytes) = (8, 100_000);
    };
    let [mut a, mut b] = cluster.linked(["a", "b"], small).await;
    let pour = tokio::spawn(pour(a.handle.clone(), b.id(), COUNT));
    // Longer than the idle timeout.
    a.listen(Duration::from_secs(5)).await;
    assert!(!pour.is_finished());
    let received: u64 = b.handle.peers()[0].lanes.iter().map(|lane| lane.received_bytes).sum();
    assert!(received < 1_000_000, "{received} bytes were taken in");
    drink(&mut b, COUNT).await;
    pour.await.unwrap();
    assert!(a.ended_links().is_empty() && b.ended_links().is_empty());
    assert_eq!((a.handle.members().len(), b.handle.members().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuffed_lane_holds_up_no_other() {
    let cluster = Cluster::new(&["a", "b"]);
    let [a, mut b] = cluster.linked(["a", "b"], |_| {}).await;
    let to = b.id();
    let large = Bytes::from(vec![7; 4 << 20]);
    let mut stuffed = 0;
    while a.handle.send(to, Lane::Bulk, large.clone()).is_ok() {
        stuffed += 1;
    }
    assert!(stuffed >= 8, "{stuffed}");
    for lane in [Lane::Control, Lane::Chat, Lane::Tunnel, Lane::Ephemeral] {
        a.handle.send(to, lane, Bytes::from_static(b"quick")).unwrap();
    }
    let over =
        |lanes: &[LaneStatus]| lanes.iter().find(|lane| lane.lane == Lane::Bulk).unwrap().received_frames;
    let before = over(&b.handle.peers()[0].lanes) as usize;
    let (mut bulk, mut quick) = (0, 0);
    b.next("the four quick ones", |event| {
        match event {
            Event::Frames { lane: Lane::Bulk, frames, .. } => bulk += frames.len(),
            Event::Frames { frames, .. } => quick += frames.len(),
            _ => {}
        }
        (quick == 4).then_some(())
    })
    .await;
    assert!(
        bulk < before + stuffed / 2,
        "{bulk} of {stuffed} large frames came first, {before} were over before"
    );
    b.next("all large frames", |event| {
        if let Event::Frames { lane: Lane::Bulk, frames, .. } = event {
            bulk += frames.len();
        }
        (bulk == stuffed).then_some(())
    })
    .await;
    let too_long = Bytes::from(vec![0; (2 << 20) + 1]);
    assert_eq!(
        a.handle.send(to, Lane::Chat, too_long),
        Err(SendError::TooLong { len: (2 << 20) + 1, max: 2 << 20 })
    );
    assert_eq!(a.handle.send(NodeId(1), Lane::Bulk, large), Err(SendError::NoLink));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_dialling_at_once_end_with_one_link() {
    let cluster = Cluster::new(&["a", "b"]);
    for round in 0..8 {
        // Ports are known beforehand, so that each has the other as its seed from the first moment.
        let ports: Vec<_> = (0..2).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let [at_a, at_b] = [0, 1].map(|i| ports[i].local_addr().unwrap());
        drop(ports);
        let start = |name, at: std::net::SocketAddr, other: std::net::SocketAddr| {
            let mut options = cluster.options(name, &[]);
            (options.listen, options.seeds) = (at, vec![other.to_string(), at.to_string()]);
            Node::start(options)
        };
        let mut a = start("a", at_a, at_b);
        let mut b = start("b", at_b, at_a);
        acquainted([&mut a, &mut b]).await;
        talk(&mut a, &mut b).await;
        tokio::join!(a.listen(Duration::from_millis(400)), b.listen(Duration::from_millis(400)));
        assert_eq!((a.links_with(b.id()), b.links_with(a.id())), (1, 1), "round {round}");
        assert!(a.ended_links().is_empty() && b.ended_links().is_empty(), "round {round}: {:?}", a.seen);
        tokio::join!(a.stop(), b.stop());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_breaks_comes_back() {
    let cluster = Cluster::new(&["a", "b"]);
    let [mut a, b] = cluster.linked(["a", "b"], |_| {}).await;
    let first = a.seen.iter().find_map(|event| match event {
        Event::LinkUp { generation, .. } => Some(*generation),
        _ => None,
    });
    let options = b.kill().await;
    let start = std::time::Instant::now();
    let mut b = Node::start(options);
    assert!(Some(a.link("b").await) > first);
    println!("linked again after {:?}: {:?}", start.elapsed(), a.ended_links());
    assert_eq!(a.links_with(b.id()), 1, "the end of the first link comes before the second: {:?}", a.seen);
    b.link("a").await;
    talk(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_certificates_are_taken_up_and_links_stay() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let quick = |options: &mut MeshOptions| options.certs_look = Duration::from_millis(30);
    let [mut a, mut b] = cluster.linked(["a", "b"], quick).await;
    let served = |before: Vec<u8>| {
        let to = a.handle.local_addr().unwrap();
        let certs = cluster.certs().to_owned();
        async move {
            loop {
                let (_endpoint, connection) = crate::raw::connect(to, &certs, None).await;
                let identity = connection.peer_identity().unwrap();
                let chain = identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap();
                if chain[0].as_ref() != before {
                    return chain[0].to_vec();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    let before = served(Vec::new()).await;
    cluster.issue("a");
    cluster.issue("b");
    tokio::time::timeout(PATIENCE, served(before)).await.expect("the new certificate is in use");
    talk(&mut a, &mut b).await;
    let mut c = cluster.start("c", &[&a]);
    c.knows(&["a", "b"]).await;
    talk(&mut a, &mut b).await;
    assert!(a.ended_links().is_empty() && b.ended_links().is_empty());
}
