//! Whoever does not belong, and whoever breaks the protocol, is refused with a reason, and nobody else is harmed.

use crate::{
    node::{Cluster, Node, PATIENCE, talk},
    raw,
};
use hongyan::{
    mesh::{Event, MeshOptions, PeerState, WallClock, Why},
    model::NodeId,
};
use std::{collections::HashMap, time::Duration};

/// Two linked nodes that must go on whatever happens beside them.
struct Pair {
    cluster: Cluster,
    a: Node,
    b: Node,
}

impl Pair {
    async fn new(names: &[&str]) -> Self {
        let cluster = Cluster::new(&[&["a", "b"], names].concat());
        let [a, b] = cluster.linked(["a", "b"], |_| {}).await;
        Self { cluster, a, b }
    }

    async fn is_unharmed(&mut self) {
        talk(&mut self.a, &mut self.b).await;
        for node in [&self.a, &self.b] {
            let ended: Vec<_> = node
                .ended_links()
                .into_iter()
                .filter(|event| matches!(event, Event::LinkDown { peer, .. } if [self.a.id(), self.b.id()].contains(peer)))
                .collect();
            assert!(ended.is_empty(), "{ended:?}");
        }
    }

    /// A node that `a` does not take; both say why.
    async fn refused(&mut self, options: MeshOptions, at_a: &str, there: &str) -> Node {
        let stranger = Node::start(options);
        self.a.refuses(at_a).await;
        stranger.refuses(there).await;
        assert!(stranger.handle.peers().iter().all(|peer| peer.state != PeerState::Up));
        self.is_unharmed().await;
        stranger
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_authority() {
    let mut pair = Pair::new(&[]).await;
    let other = Cluster::new(&["c"]);
    pair.refused(
        other.options("c", &[&pair.a]),
        "the certificates do not agree",
        "the certificates do not agree",
    )
    .await;
    assert!(pair.a.refusals("certificate") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_without_a_certificate() {
    let mut pair = Pair::new(&[]).await;
    let to = pair.a.handle.local_addr().unwrap();
    let (_endpoint, connection) = raw::connect(to, pair.cluster.certs(), None).await;
    let why = raw::closed(&connection).await;
    assert!(why.contains("certificate"), "{why}");
    pair.a.refuses("the certificates do not agree").await;
    pair.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_an_hour_off() {
    let mut pair = Pair::new(&["c"]).await;
    let mut options = pair.cluster.options("c", &[&pair.a]);
    let clock = WallClock::default();
    options.clock = WallClock::new(move || clock.now() + 3_600_000_000);
    // Whoever is first to see it says so to the other.
    pair.refused(options, "3600 s", "3600 s").await;
    assert!(pair.a.refusals("clock") + pair.a.refusals("by_peer") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_common_version() {
    let mut pair = Pair::new(&["c"]).await;
    let mut options = pair.cluster.options("c", &[&pair.a]);
    options.protocol = 2..=3;
    pair.refused(options, "no common version", "no common version").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_name_twice() {
    let mut pair = Pair::new(&["d"]).await;
    let mut second = pair.cluster.options("b", &[&pair.a]);
    second.incarnation += 1;
    let second = pair.refused(second, "another process called b is linked", "of this node's name").await;
    assert!(second.handle.members().is_empty());
    // And the first one, asked itself, knows it as an impostor.
    let mut third = pair.cluster.options("b", &[&pair.b]);
    third.incarnation += 2;
    let third = Node::start(third);
    pair.b.refuses("another process calls itself b").await;
    third.refuses("another process calls itself b").await;
    pair.is_unharmed().await;
    assert_eq!(pair.a.handle.members()[0].incarnation, pair.b.options.incarnation);
    // A node that has no link with the first one knows of it all the same.
    let mut d = pair.cluster.options("d", &[&pair.a]);
    d.seeds.push("127.0.0.1:9".into());
    let mut d = Node::start(d);
    d.knows(&["a", "b"]).await;
    let mut fourth = pair.cluster.options("b", &[&d]);
    fourth.incarnation += 3;
    let fourth = Node::start(fourth);
    fourth.refuses("of this node's name").await;
    pair.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_name_with_the_same_number() {
    // One pair among some hundred thousand names is all but certain.
    let mut names: HashMap<NodeId, String> = HashMap::new();
    let (one, two) = (0..)
        .find_map(|i| {
            let name = format!("n-{i}");
            let other = names.insert(NodeId::of(&name), name.clone());
            other.map(|other| (other, name))
        })
        .unwrap();
    let mut pair = Pair::new(&[&one, &two]).await;
    let mut first = pair.cluster.start(&one, &[&pair.a]);
    first.knows(&["a", "b"]).await;
    pair.a.knows(&[&one]).await;
    pair.refused(pair.cluster.options(&two, &[&pair.a]), "have the same number", "have the same number")
        .await;
    talk(&mut pair.a, &mut first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_than_the_one_that_was_dialled() {
    let mut pair = Pair::new(&["c"]).await;
    let mut options = pair.cluster.options("c", &[&pair.a]);
    // It says that it is reached where b is.
    options.advertise = Some(pair.b.handle.me().address.to_string());
    let mut c = Node::start(options);
    c.knows(&["a", "b"]).await;
    pair.a.knows(&["c"]).await;
    c.kill().await;
    pair.a.refuses("expected c, but the certificate is that of b").await;
    assert!(pair.a.refusals("wrong_name") > 0);
    pair.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_instead_of_the_first_words() {
    let mut pair = Pair::new(&["c"]).await;
    let to = pair.a.handle.local_addr().unwrap();
    for (garbage, text) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "not of this protocol"),
        (b"HYGN\x01 a lane before the first words", "another lane before the first words"),
        (b"HYGN\x00\xff\xff", "too long"),
        (b"HYGN\x00\x00\x03\x01\x01\x40rest", "no hello"),
    ] {
        let (_endpoint, connection) = raw::connect(to, pair.cluster.certs(), Some("c")).await;
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let why = raw::closed(&connection).await;
        assert!(why.contains(text), "{why}");
        pair.a.refuses(text).await;
    }
    let (_endpoint, connection) = raw::connect(to, pair.cluster.certs(), Some("c")).await;
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(b"HY").await.unwrap();
    stream.finish().unwrap();
    assert!(raw::closed(&connection).await.contains("cut short"));
    pair.is_unharmed().await;
    assert_eq!(pair.a.refusals("garbage"), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linked_peer_that_breaks_the_protocol() {
    let mut pair = Pair::new(&["c"]).await;
    let (to, node) = (pair.a.handle.local_addr().unwrap(), pair.a.id());
    let over = ((2_u32 << 20) + 1).to_be_bytes();
    let cases: [(u8, &[u8], &str); 5] = [
        (1, &over, "lane chat: a frame of 2097153 bytes, the limit is 2097152"),
        (2, &[0xff; 4], "lane bulk: a frame of 4294967295 bytes"),
        (9, b"", "no lane 9"),
        (0, b"", "lane control opened twice"),
        (1, b"\0\0\0\x05ab", "lane chat ended"),
    ];
    for (number, bytes, text) in cases {
        let (_endpoint, connection) = raw::connect(to, pair.cluster.certs(), Some("c")).await;
        let _control = raw::greet(&connection, "c", node).await;
        let generation = pair.a.link("c").await;
        let mut stream = raw::lane(&connection, number).await;
        stream.write_all(bytes).await.unwrap();
        if text.ends_with("ended") {
            stream.finish().unwrap();
        }
        let why = raw::closed(&connection).await;
        assert!(why.contains(text), "{why}");
        let down = pair
            .a
            .next("end of the link", |event| match event {
                Event::LinkDown { generation: ended, why, .. } if *ended == generation => Some(why.clone()),
                _ => None,
            })
            .await;
        assert!(matches!(&down, Why::Broken(why) if why.contains(text)), "{down:?}");
        pair.is_unharmed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_about_members_is_passed_over() {
    let mut pair = Pair::new(&["c"]).await;
    let (to, node) = (pair.a.handle.local_addr().unwrap(), pair.a.id());
    let (_endpoint, connection) = raw::connect(to, pair.cluster.certs(), Some("c")).await;
    let _control = raw::greet(&connection, "c", node).await;
    pair.a.link("c").await;
    for len in 0..200_usize {
        connection.send_datagram(vec![len as u8; len].into()).unwrap();
    }
    let mut long = raw::lane(&connection, 16).await;
    long.write_all(&[3; 1_500]).await.unwrap();
    let _ = long.finish();
    let malformed = async {
        while pair.a.options.metrics.mesh_gossip_bad.get("malformed").get() <= 100 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, malformed).await.expect("they are counted");
    assert!(pair.a.handle.is_linked(NodeId::of("c")), "the link stays");
    pair.is_unharmed().await;
}
