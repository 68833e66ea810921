//! Whoever does not belong is refused with a reason that stands in the log, and nobody who belongs notices.
//!
//! The links alone are tested against more of this in `tests/mesh_links`; here whole nodes are, with people on them.

use super::{
    Scene,
    books::quantile,
    cable,
    cluster::{self, Cluster, NAMES, NODES, Node},
    common,
    crowd::{self, Crowd, USERS, never},
    ms, raw,
};
use hongyan::model::NodeId;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

const SECOND: Duration = Duration::from_secs(1);
/// The name of whoever does not belong.
const STRAY: &str = NAMES[NODES];

/// A process that starts with these certificates, under this name, outside.
fn stray(cluster: &Cluster, name: &str, folder: &str, certs: &Path) -> Node {
    let folder = cluster.folder.path().join(folder);
    let mut node = Node::new(name, NODES, cluster.outside.clone(), folder, certs, NODES);
    node.start();
    node
}

/// What a peer does on a connection to the first node, made with the certificate of that name; returns how the node ends it.
fn alone_with(
    cluster: &Cluster,
    certificate: Option<&str>,
    acts: impl AsyncFnOnce(&quinn::Connection) + Send,
) -> String {
    let certs = cluster.certs();
    tokio::task::block_in_place(|| {
        cluster.nodes[0].network.within(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (_endpoint, connection) = raw::connect(cable::address(0), &certs, certificate).await;
                acts(&connection).await;
                raw::closed(&connection).await
            })
        })
    })
}

/// All nodes are well, linked with each other and with nobody else.
async fn is_unharmed(cluster: &Cluster, crowd: &mut Crowd) {
    common::until("only those are linked that belong", async || {
        for node in &cluster.nodes {
            if node.metric("hongyan_mesh_links").await != (NODES - 1) as f64 {
                return false;
            }
        }
        true
    })
    .await;
    for node in &cluster.nodes {
        let health = node.admin("/healthz").await.expect("health");
        assert_eq!(health.status, 200);
    }
    crowd.chat(SECOND / 2).await;
}

/// A node says why it refuses somebody.
async fn says(node: &Node, text: &str) {
    common::until(text, async || node.warned(text)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_peers_are_refused_with_a_reason_and_nobody_else_notices() {
    let Some(scene) = Scene::begin() else { return };
    let mut cluster = Cluster::start(scene.seed).await;
    let mut crowd = Crowd::gather(&cluster, scene.seed, &[]).await;
    crowd.chat(2 * SECOND).await;
    let begun = Instant::now();

    // No certificate.
    let why = alone_with(&cluster, None, async |_| {});
    assert!(why.contains("certificate"), "{why}");
    says(&cluster.nodes[0], "the certificates do not agree").await;
    is_unharmed(&cluster, &mut crowd).await;

    // Another authority's.
    let foreign = cluster.folder.path().join("foreign-certs");
    cluster::certificates(&foreign, &[STRAY]);
    let mut node = stray(&cluster, STRAY, "foreign", &foreign);
    for known in &cluster.nodes {
        // It dials all of them; the first one has refused another already.
        says(known, "127.0.1.4").await;
    }
    says(&node, "the certificates do not agree").await;
    is_unharmed(&cluster, &mut crowd).await;
    node.kill();

    // That of another node: a process does not start with it, and who says hello with it all the same is refused.
    let borrowed = cluster.folder.path().join("borrowed-certs");
    fs::create_dir(&borrowed).expect("a folder");
    for (from, to) in [("ca.pem", "ca.pem"), ("stray.pem", "other.pem"), ("stray.key", "other.key")] {
        fs::copy(cluster.certs().join(from), borrowed.join(to)).expect("a file");
    }
    let mut node = stray(&cluster, "other", "borrowed", &borrowed);
    common::until("it ends", async || node.ended().is_some_and(|status| !status.success())).await;
    assert!(node.warned(STRAY), "{:#?}", node.log());
    let why = alone_with(&cluster, Some(STRAY), async |connection| {
        raw::say(connection, &raw::hello("other")).await;
    });
    assert!(why.contains("expected other, but the certificate is that of stray"), "{why}");
    says(&cluster.nodes[0], "expected other, but the certificate is that of stray").await;
    is_unharmed(&cluster, &mut crowd).await;

    // A clock that is an hour off.
    let why = alone_with(&cluster, Some(STRAY), async |connection| {
        let mut hello = raw::hello(STRAY);
        hello.now += 3_600_000_000;
        raw::say(connection, &hello).await;
    });
    assert!(why.contains("the clock of stray is 3600 s ahead"), "{why}");
    says(&cluster.nodes[0], "the clock of stray is 3600 s ahead").await;
    is_unharmed(&cluster, &mut crowd).await;

    nonsense(&cluster, &mut crowd).await;

    // A second process with the name and certificate of a node.
    let mut node = stray(&cluster, NAMES[1], "second", &cluster.certs());
    says(&cluster.nodes[0], "another process called south is linked").await;
    says(&cluster.nodes[1], "another process calls itself south").await;
    says(&cluster.nodes[2], "another process called south is linked").await;
    says(&node, "another process").await;
    is_unharmed(&cluster, &mut crowd).await;
    node.kill();

    for reason in ["certificate", "wrong_name", "clock", "name_taken"] {
        let refused =
            cluster.nodes[0].metric(&format!("hongyan_mesh_refused_total{{reason=\"{reason}\"}}")).await;
        assert!(refused > 0.0, "{reason} is not counted");
    }
    let over = Instant::now();
    crowd.chat(SECOND).await;
    crowd.hush().await;
    let sums = crowd.books.close(never);
    let gaps = sums.gaps_of(|_, at| at > begun && at < over);
    let more = [(
        "gap meanwhile p99 / max, ms",
        format!("{} / {}", ms(quantile(&gaps, 0.99)), ms(quantile(&gaps, 1.0))),
    )];
    crowd::report("bad peers", &sums, &more);
    sums.check();
    for user in 0..USERS {
        assert!(crowd.books.place(user).outages.is_empty(), "user {user} had to connect again");
    }
    crowd.audit(&cluster, &never).await;
    // Their links are as they were in the beginning.
    for node in &cluster.nodes {
        let down = |line: &serde_json::Value| {
            line["message"].as_str().is_some_and(|text| text.starts_with("link down"))
                && line["peer"] != STRAY
        };
        assert!(!node.log().iter().any(down), "{:#?}", node.log());
    }
    cluster.nodes.iter_mut().for_each(|node| assert!(node.ended().is_none()));
    cluster.check_logs();
}

/// A peer with a good certificate and a link that then talks nonsense loses that link, and is told why.
async fn nonsense(cluster: &Cluster, crowd: &mut Crowd) {
    let over = ((2_u32 << 20) + 1).to_be_bytes();
    let garbage = [&8_u32.to_be_bytes()[..], &[0xff; 8]].concat();
    let cases: [(u8, &[u8], &str); 5] = [
        (1, &garbage, "a frame makes no sense"),
        (2, &garbage, "a frame makes no sense"),
        (3, &garbage, "a tunnel frame makes no sense"),
        (1, &over, "a frame of 2097153 bytes, the limit is 2097152"),
        (9, b"", "no lane 9"),
    ];
    for (lane, bytes, text) in cases {
        let why = alone_with(cluster, Some(STRAY), async |connection| {
            let _control = raw::greet(connection, STRAY, NodeId::of(NAMES[0])).await;
            let mut stream = raw::lane(connection, lane).await;
            // The node may end the connection while this is written.
            let _ = stream.write_all(bytes).await;
            connection.closed().await;
        });
        assert!(why.contains(text), "{why}");
        says(&cluster.nodes[0], text).await;
        is_unharmed(cluster, crowd).await;
    }
}
