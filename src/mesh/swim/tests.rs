//! Whole clusters of detectors, whose messages arrive at once or not at all.

use super::*;
use crate::mesh::member::tests::identity;
use proptest::prelude::*;

/// Nodes whose messages arrive at once, or not at all.
struct World {
    now: Instant,
    nodes: BTreeMap<NodeId, Swim>,
    /// Of so many messages in a thousand nothing is heard.
    loss: u32,
    random: SmallRng,
}

impl World {
    fn of(names: &[&str]) -> Self {
        let now = Instant::now();
        let nodes = names.iter().enumerate().map(|(i, name)| {
            let member = identity(name, 1).member;
            (member.node, Swim::new(member, now, i as u64))
        });
        Self { now, nodes: nodes.collect(), loss: 0, random: SmallRng::seed_from_u64(7) }
    }

    fn link(&mut self, a: &str, b: &str) {
        for (from, to) in [(a, b), (b, a)] {
            let peer = self.nodes[&NodeId::of(to)].foca.identity().member.clone();
            self.nodes.get_mut(&NodeId::of(from)).unwrap().link_up(self.now, peer);
        }
        self.carry();
    }

    fn unlink(&mut self, a: &str, b: &str, left: bool) {
        for (from, to) in [(a, b), (b, a)] {
            if let Some(node) = self.nodes.get_mut(&NodeId::of(from)) {
                node.link_down(self.now, NodeId::of(to), left && from == a);
            }
        }
    }

    /// Ends a node without a word; links with it break when the idle timeout is over.
    fn kill(&mut self, name: &str) {
        self.nodes.remove(&NodeId::of(name));
        for node in self.nodes.values_mut() {
            node.link_down(self.now, NodeId::of(name), false);
        }
    }

    fn carry(&mut self) {
        loop {
            let sent: Vec<_> = self
                .nodes
                .iter_mut()
                .flat_map(|(from, node)| node.messages().into_iter().map(|(to, m)| (*from, to, m)))
                .collect();
            if sent.is_empty() {
                return;
            }
            for (from, to, message) in sent {
                let lost = self.random.random_range(0..1_000) < self.loss;
                if !lost
                    && self.nodes[&from].linked.contains_key(&to)
                    && let Some(node) = self.nodes.get_mut(&to)
                {
                    let taken = node.message(self.now, from, &message);
                    assert!(matches!(taken, Ok(()) | Err("no_link" | "unexpected")), "{taken:?}");
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(50);
            for node in self.nodes.values_mut() {
                node.tick(self.now);
            }
            self.carry();
        }
    }

    fn events(&mut self, name: &str) -> Vec<Event> {
        let node = self.nodes.get_mut(&NodeId::of(name)).unwrap();
        std::iter::from_fn(|| node.news()).collect()
    }

    fn ups(&mut self, name: &str) -> Vec<(String, u64)> {
        let name_of = |event| match event {
            Event::MemberUp { member } => (member.name.to_string(), member.incarnation),
            other => panic!("{other:?}"),
        };
        let mut ups: Vec<_> = self.events(name).into_iter().map(name_of).collect();
        ups.sort();
        ups
    }
}

fn one(name: &str) -> (String, u64) {
    (name.to_owned(), 1)
}

#[test]
fn nodes_that_know_one_come_to_know_all_and_hear_it_once() {
    let mut world = World::of(&["a", "b", "c"]);
    world.link("a", "b");
    world.link("b", "c");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.ups("a"), [one("b"), one("c")]);
    assert_eq!(world.ups("b"), [one("a"), one("c")]);
    assert_eq!(world.ups("c"), [one("a"), one("b")]);
    world.link("a", "c");
    world.pass(Duration::from_secs(20));
    for name in ["a", "b", "c"] {
        assert_eq!(world.events(name), []);
    }
}

#[test]
fn a_dead_node_is_noticed_within_five_seconds_and_a_later_start_is_another() {
    let mut world = World::of(&["a", "b", "c"]);
    for (a, b) in [("a", "b"), ("b", "c"), ("a", "c")] {
        world.link(a, b);
    }
    world.pass(Duration::from_secs(2));
    world.events("a");
    world.kill("b");
    world.pass(Duration::from_secs(5));
    assert_eq!(world.events("a"), [Event::MemberDown { node: NodeId::of("b") }]);
    let again = identity("b", 2).member;
    world.nodes.insert(again.node, Swim::new(again, world.now, 9));
    world.link("a", "b");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.ups("a"), [("b".into(), 2)]);
    // So fast a start that nobody missed the node.
    world.kill("b");
    let again = identity("b", 3).member;
    world.nodes.insert(again.node, Swim::new(again, world.now, 9));
    world.link("a", "b");
    world.pass(Duration::from_secs(8));
    assert_eq!(world.ups("a"), [("b".into(), 3)]);
}

#[test]
fn a_node_that_was_cut_off_comes_back_by_itself() {
    let mut world = World::of(&["a", "b"]);
    world.link("a", "b");
    world.pass(Duration::from_secs(2));
    world.events("a");
    world.unlink("a", "b", false);
    world.pass(Duration::from_secs(20));
    assert_eq!(world.events("a"), [Event::MemberDown { node: NodeId::of("b") }]);
    world.link("a", "b");
    world.pass(Duration::from_secs(12));
    assert_eq!(world.ups("a"), [one("b")]);
    assert!(world.nodes.values().any(|node| node.foca.identity().renewals > 0));
    assert!(world.nodes.values().all(|node| node.up.len() == 1 && !node.is_defunct()));
}

#[test]
fn whoever_leaves_is_gone_at_once() {
    let mut world = World::of(&["a", "b", "c"]);
    for (a, b) in [("a", "b"), ("b", "c"), ("a", "c")] {
        world.link(a, b);
    }
    world.pass(Duration::from_secs(2));
    world.events("a");
    world.events("c");
    let now = world.now;
    world.nodes.get_mut(&NodeId::of("b")).unwrap().leave(now);
    world.unlink("a", "b", true);
    world.carry();
    assert_eq!(world.events("a"), [Event::MemberLeft { node: NodeId::of("b") }]);
    // Gossip is faster than the end of the link.
    world.pass(Duration::from_millis(250));
    assert!(world.nodes[&NodeId::of("c")].up.len() == 1);
    assert_eq!(world.events("c"), []);
    world.nodes.get_mut(&NodeId::of("c")).unwrap().link_down(now, NodeId::of("b"), true);
    assert_eq!(world.events("c"), [Event::MemberLeft { node: NodeId::of("b") }]);
    assert_eq!(world.nodes[&NodeId::of("b")].timers.len(), 0);
}

#[test]
fn the_last_word_of_a_link_is_not_waited_for_for_ever() {
    let mut world = World::of(&["a", "b", "c"]);
    for (a, b) in [("a", "b"), ("b", "c"), ("a", "c")] {
        world.link(a, b);
    }
    world.pass(Duration::from_secs(2));
    world.events("c");
    let now = world.now;
    world.nodes.get_mut(&NodeId::of("b")).unwrap().leave(now);
    world.carry();
    let c = world.nodes.get_mut(&NodeId::of("c")).unwrap();
    assert_eq!((c.news(), c.deadline() <= now + LAST_WORD), (None, true));
    world.pass(LAST_WORD);
    assert_eq!(world.events("c"), [Event::MemberDown { node: NodeId::of("b") }]);
}

#[test]
fn a_link_that_broke_does_not_make_a_node_dead_while_others_reach_it() {
    let mut world = World::of(&["a", "b", "c"]);
    for (a, b) in [("a", "b"), ("b", "c"), ("a", "c")] {
        world.link(a, b);
    }
    world.pass(Duration::from_secs(2));
    for name in ["a", "b", "c"] {
        world.events(name);
    }
    world.unlink("a", "b", false);
    world.pass(Duration::from_secs(30));
    for name in ["a", "b", "c"] {
        assert_eq!(world.events(name), [], "{name}");
    }
}

#[test]
fn twenty_nodes_with_loss_agree_on_who_is_dead_and_on_nobody_else() {
    let names: Vec<_> = (0..20).map(|i| format!("n-{i}")).collect();
    let mut world = World::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    world.loss = 30;
    for (i, a) in names.iter().enumerate() {
        for b in &names[..i] {
            world.link(a, b);
        }
    }
    world.pass(Duration::from_secs(60));
    for name in &names {
        assert_eq!(world.ups(name).len(), 19, "{name}");
    }
    world.kill("n-7");
    world.pass(Duration::from_secs(6));
    for name in names.iter().filter(|name| *name != "n-7") {
        assert_eq!(world.events(name), [Event::MemberDown { node: NodeId::of("n-7") }], "{name}");
    }
}

#[test]
fn nobody_speaks_for_another() {
    let mut world = World::of(&["a", "b", "c"]);
    world.link("a", "b");
    world.link("b", "c");
    let (a, b, c) = (NodeId::of("a"), NodeId::of("b"), NodeId::of("c"));
    let target = world.nodes[&b].foca.identity().clone();
    let node = world.nodes.get_mut(&a).unwrap();
    node.foca.announce(target, &mut node.runtime).unwrap();
    node.settle(world.now);
    let (_, message) = node.messages().pop().unwrap();
    let now = world.now;
    let taker = world.nodes.get_mut(&b).unwrap();
    assert_eq!(taker.message(now, c, &message), Err("not_the_sender"));
    assert_eq!(taker.message(now, NodeId(99), &message), Err("no_link"));
    assert_eq!(taker.message(now, a, &message), Ok(()));
    assert_eq!(taker.message(now, a, b"nonsense"), Err("malformed"));
}

/// A gossip of `a` to `b`, to be changed.
fn gossip() -> Vec<u8> {
    let mut world = World::of(&["a", "b", "c"]);
    world.link("b", "c");
    let (b, now) = (NodeId::of("b"), world.now);
    let a = identity("a", 1).member;
    let mut swim = Swim::new(world.nodes[&b].foca.identity().member.clone(), now, 1);
    swim.link_up(now, a.clone());
    swim.foca
        .apply_many(
            [identity("c", 5), identity("a", 1)].map(foca::Member::alive).into_iter(),
            true,
            &mut swim.runtime,
        )
        .unwrap();
    swim.foca.gossip(&mut swim.runtime).unwrap();
    swim.settle(now);
    swim.messages().into_iter().rfind(|(to, _)| *to == a.node).unwrap().1.to_vec()
}

proptest! {
    #[test]
    fn any_bytes_and_any_changed_message_are_taken_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        fuzz_swim(&bytes);
        let mut message = gossip();
        let place = at.index(message.len());
        message[place] = to;
        fuzz_swim(&message);
        message.truncate(cut.index(message.len()));
        fuzz_swim(&message);
    }
}
