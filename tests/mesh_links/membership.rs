//! Who is in the cluster, as it comes and goes.

use crate::{
    node::{Cluster, Node, acquainted, talk},
    wire::Wire,
};
use hongyan::mesh::{Event, Why};
use std::time::{Duration, Instant};

/// A node that others reach over a wire that can be cut.
struct Wired {
    node: Node,
    wire: Wire,
}

impl Wired {
    async fn start(cluster: &Cluster, name: &str, seeds: &[&Wired]) -> Self {
        let wire = Wire::new().await;
        let mut options = cluster.options(name, &[]);
        options.advertise = Some(wire.address.to_string());
        options.seeds = seeds.iter().map(|seed| seed.wire.address.to_string()).collect();
        let node = Node::start(options);
        wire.lead_to(node.handle.local_addr().unwrap());
        Self { node, wire }
    }

    /// `a`, `b` and `c`, which know each other; `a` is the others' seed.
    async fn three(cluster: &Cluster) -> [Self; 3] {
        let mut a = Self::start(cluster, "a", &[]).await;
        let mut b = Self::start(cluster, "b", &[&a]).await;
        let mut c = Self::start(cluster, "c", &[&a]).await;
        acquainted([&mut a.node, &mut b.node, &mut c.node]).await;
        [a, b, c]
    }

    /// Cuts all that goes to and from this node, or mends it.
    fn cut_off(&self, others: &[&Wired], cut: bool) {
        self.wire.cut(cut);
        for other in others {
            other.wire.cut_from(self.node.handle.local_addr().unwrap(), cut);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_without_a_word_is_noticed_and_comes_back_as_a_later_start() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let [mut a, b, mut c] = Wired::three(&cluster).await;
    let dead = b.node.id();
    b.cut_off(&[&a, &c], true);
    let start = Instant::now();
    let old = b.node.options.incarnation;
    let left = tokio::join!(a.node.gone(dead), c.node.gone(dead));
    let noticed = start.elapsed();
    println!("noticed after {noticed:?}");
    assert_eq!(left, (false, false));
    assert!(noticed < Duration::from_secs(6), "{noticed:?}");
    let timed_out = |event: &Event| matches!(event, Event::LinkDown { why: Why::TimedOut, .. });
    if !a.node.seen.iter().any(timed_out) {
        a.node.next("the end of the link", |event| timed_out(event).then_some(())).await;
    }
    let options = b.node.kill().await;
    b.wire.cut(false);
    let mut again = Node::start(options);
    assert!(a.node.member("b").await > old);
    assert!(c.node.member("b").await > old);
    again.knows(&["a", "c"]).await;
    talk(&mut a.node, &mut again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_anew_is_let_in_before_its_death_was_noticed() {
    let cluster = Cluster::new(&["a", "b"]);
    let mut b = Wired::start(&cluster, "b", &[]).await;
    let mut a = Wired::start(&cluster, "a", &[&b]).await;
    acquainted([&mut a.node, &mut b.node]).await;
    let mut options = b.node.options.clone();
    options.incarnation += 1;
    b.cut_off(&[&a], true);
    let (dead, wire) = (b.node.id(), b.wire);
    tokio::spawn(b.node.kill());
    let start = Instant::now();
    let mut again = Node::start(options.clone());
    wire.lead_to(again.handle.local_addr().unwrap());
    wire.cut(false);
    assert_eq!(a.node.member("b").await, options.incarnation);
    println!("in again after {:?}: {:?}", start.elapsed(), a.node.ended_links());
    again.knows(&["a"]).await;
    a.node.listen(Duration::from_millis(100)).await;
    let down = |event: &&Event| matches!(event, Event::MemberDown { .. });
    assert_eq!(a.node.seen.iter().filter(down).count(), 0, "{:?}", a.node.seen);
    assert_eq!(a.node.links_with(dead), 1);
    talk(&mut a.node, &mut again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_is_gone_at_once() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let [mut a, b, mut c] = cluster.linked(["a", "b", "c"], |_| {}).await;
    let start = Instant::now();
    b.handle.leave().await;
    assert_eq!(tokio::join!(a.gone(b.id()), c.gone(b.id())), (true, true));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    tokio::join!(a.listen(Duration::from_secs(1)), c.listen(Duration::from_secs(1)));
    for node in [&a, &c] {
        assert_eq!(node.links_with(b.id()), 0);
        assert_eq!(node.handle.members().len(), 1);
        let left = |event: &&Event| matches!(event, Event::LinkDown { why: Why::Left, .. });
        assert_eq!(node.seen.iter().filter(left).count(), 1, "{:?}", node.seen);
    }
    b.stop().await;
    talk(&mut a, &mut c).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_partition_find_each_other_again() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let [mut a, mut b, mut c] = Wired::three(&cluster).await;
    // The one that has no seed is cut off.
    a.cut_off(&[&b, &c], true);
    let alone = a.node.id();
    assert_eq!(tokio::join!(b.node.gone(alone), c.node.gone(alone)), (false, false));
    a.node.gone(b.node.id()).await;
    if !a.node.handle.members().is_empty() {
        a.node.gone(c.node.id()).await;
    }
    talk(&mut b.node, &mut c.node).await;
    a.cut_off(&[&b, &c], false);
    let start = Instant::now();
    tokio::join!(b.node.member("a"), c.node.member("a"));
    let healed = async {
        while a.node.handle.members().len() < 2 {
            a.node.listen(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(crate::node::PATIENCE, healed).await.expect("a finds both again");
    println!("healed after {:?}", start.elapsed());
    tokio::join!(a.node.listen(Duration::from_millis(500)), b.node.listen(Duration::from_millis(1)));
    talk(&mut a.node, &mut b.node).await;
}
