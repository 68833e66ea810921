//! Repair between nodes over links that lose, repeat and delay.

mod measure;

use crate::{
    gossip::{
        BURST, Claim, ClaimRow, FactMark, FactMarks, MESSAGE, Merged, Presence, Repair, RepairMessage,
        Replica, Row, Table, Unsound,
    },
    model::{NodeId, Stamp, UserHash},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

type Message = RepairMessage<ClaimRow>;

/// Numbers that follow from a seed (xorshift, Marsaglia 2003).
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.next().is_multiple_of(n)
    }
}

/// A user hash as even as SHA-256 gives them.
fn user(n: u64) -> u128 {
    let half = |salt| xxhash_rust::xxh3::xxh3_64_with_seed(&n.to_be_bytes(), salt);
    u128::from(half(1)) << 64 | u128::from(half(2))
}

fn claim(term: u32, owner: u32, stamp: u64) -> Claim {
    Claim { term, owner: NodeId(owner), stamp: Stamp(stamp), online: stamp.is_multiple_of(2) }
}

/// Nodes that know each other, and what is under way between them.
struct Net {
    nodes: Vec<Presence>,
    repairs: BTreeMap<(usize, usize), Repair>,
    lanes: BTreeMap<(usize, usize), VecDeque<Message>>,
    chance: Seeded,
    /// One message in so many is lost, and one repeated; zero for none.
    noise: u64,
    carried: usize,
}

impl Net {
    fn new(nodes: Vec<Presence>, seed: u64) -> Self {
        let pairs =
            (0..nodes.len()).flat_map(|a| (0..nodes.len()).map(move |b| (a, b))).filter(|(a, b)| a != b);
        let repairs = pairs.map(|(a, b)| ((a, b), Repair::new(a < b))).collect();
        Self { nodes, repairs, lanes: BTreeMap::new(), chance: Seeded(seed | 1), noise: 0, carried: 0 }
    }

    fn send(&mut self, from: usize, to: usize, messages: Vec<Message>) {
        for message in messages {
            let bytes = postcard::to_stdvec(&message).unwrap();
            assert!(bytes.len() <= 64 << 10, "a message of {} bytes", bytes.len());
            assert_eq!(postcard::from_bytes::<Message>(&bytes).unwrap(), message);
            self.carried += bytes.len();
            let lane = self.lanes.entry((from, to)).or_default();
            if self.chance.one_in(self.noise) {
                lane.push_back(message.clone());
                lane.push_back(message);
            } else if !self.chance.one_in(self.noise) {
                lane.push_back(message);
            }
        }
    }

    fn start(&mut self, from: usize, to: usize) {
        let root = self.repairs.get_mut(&(from, to)).unwrap().start(self.nodes[from].table());
        self.send(from, to, vec![root]);
    }

    /// Delivers one message of some lane. Says whether there was one.
    fn step(&mut self) -> bool {
        let busy: Vec<_> =
            self.lanes.iter().filter(|(_, lane)| !lane.is_empty()).map(|(&at, _)| at).collect();
        if busy.is_empty() {
            return false;
        }
        let (from, to) = busy[self.chance.next() as usize % busy.len()];
        let message = self.lanes.get_mut(&(from, to)).unwrap().pop_front().unwrap();
        let (mut out, mut changed) = (Vec::new(), Vec::new());
        let repair = self.repairs.get_mut(&(to, from)).unwrap();
        repair.take(&mut self.nodes[to], message, &mut out, &mut changed).unwrap();
        let sent: usize = out.iter().map(|message| postcard::to_stdvec(message).unwrap().len()).sum();
        assert!(sent <= BURST + 2 * MESSAGE, "{sent} bytes after one message");
        self.send(to, from, out);
        true
    }

    fn settle(&mut self) {
        while self.step() {}
    }

    fn start_all(&mut self) {
        for (from, to) in self.repairs.keys().copied().collect::<Vec<_>>() {
            self.start(from, to);
        }
    }

    fn assert_level(&self, model: &BTreeMap<u128, ClaimRow>) {
        for node in &self.nodes {
            assert_eq!(node.table().iter().collect::<BTreeMap<_, _>>(), *model);
            assert_eq!(node.table().summary(), self.nodes[0].table().summary());
        }
    }
}

fn model(nodes: &[Presence]) -> BTreeMap<u128, ClaimRow> {
    let mut all = BTreeMap::new();
    for (key, row) in nodes.iter().flat_map(|node| node.table().iter()) {
        all.entry(key).and_modify(|old: &mut ClaimRow| *old = row.max(*old)).or_insert(row);
    }
    all
}

fn presences(most: usize) -> impl Strategy<Value = Vec<Presence>> {
    let row = (0_u64..400, 0_u32..2, 1_u32..4, 0_u64..9);
    proptest::collection::vec(proptest::collection::vec(row, 0..most), 2..4).prop_map(|nodes| {
        let fill = |rows: Vec<(u64, u32, u32, u64)>| {
            let mut presence = Presence::salted(rows.len() as u64);
            for (n, term, owner, stamp) in rows {
                presence.merge(UserHash(user(n)), claim(term, owner, stamp));
            }
            presence
        };
        nodes.into_iter().map(fill).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nodes_end_equal_whatever_was_lost_or_repeated(
        nodes in presences(500), seed in any::<u64>(), noise in 2_u64..8, late in any::<u16>(),
    ) {
        let mut net = Net::new(nodes, seed);
        net.noise = noise;
        for round in 0..3_u64 {
            net.start_all();
            for step in 0..20 {
                net.step();
                // Rows change while they are compared.
                let n = u64::from(late) + round * 20 + step;
                let at = n as usize % net.nodes.len();
                net.nodes[at].merge(UserHash(user(n % 400)), claim(2, 1, n));
            }
            net.settle();
        }
        net.noise = 0;
        let model = model(&net.nodes);
        for _ in 0..net.nodes.len() {
            net.start_all();
            net.settle();
        }
        net.assert_level(&model);
        prop_assert!(net.repairs.iter().all(|((a, b), repair)| a > b || !repair.is_driving()));
    }

    #[test]
    fn messages_that_nobody_meant_never_panic(
        nodes in presences(300), seed in any::<u64>(), started in any::<bool>(), steps in 0_usize..8,
        scrambled in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..4),
        wild in proptest::collection::vec(wild(), 1..20),
    ) {
        let mut net = Net::new(nodes, seed);
        if started {
            net.start_all();
            (0..steps).for_each(|_| { net.step(); });
        }
        let (mut out, mut changed) = (Vec::new(), Vec::new());
        // Valid messages with bytes changed, then messages out of nothing with numbers that fit.
        for ((from, to), lane) in net.lanes {
            for message in lane {
                let mut bytes = postcard::to_stdvec(&message).unwrap();
                for &(at, byte) in &scrambled {
                    let at = usize::from(at) % bytes.len();
                    bytes[at] ^= byte;
                }
                if let Ok(message) = postcard::from_bytes::<Message>(&bytes) {
                    let repair = net.repairs.get_mut(&(to, from)).unwrap();
                    let _ = repair.take(&mut net.nodes[to], message, &mut out, &mut changed);
                }
            }
        }
        let repair = net.repairs.get_mut(&(0, 1)).unwrap();
        for message in wild {
            let _ = repair.take(&mut net.nodes[0], message, &mut out, &mut changed);
        }
        prop_assert!(out.iter().all(|message| postcard::to_stdvec(message).unwrap().len() <= 64 << 10));
        prop_assert!(net.nodes[0].table().iter().all(|(_, row)| row.sound()));
    }
}

/// Any message, sizes and places right half of the time.
fn wild() -> impl Strategy<Value = Message> {
    let tokens = || proptest::collection::vec(any::<[u8; 4]>(), 0..5);
    let full = prop_oneof![Just(Vec::new()), proptest::collection::vec(any::<[u8; 4]>(), 255..258)];
    let numbers = || (0_u32..3, 0_u32..3);
    let spot = || prop_oneof![any::<u64>(), (0_u64..1 << 48), Just(0), Just(1 << 48)];
    let leaves = || {
        proptest::collection::vec((any::<u16>(), tokens()), 0..4).prop_map(|mut leaves| {
            leaves.sort();
            leaves
        })
    };
    let rows = proptest::collection::vec((any::<[u8; 16]>(), any::<u32>(), any::<u32>(), any::<u64>()), 0..5)
        .prop_map(|rows| {
            let parse = |t, o, s| postcard::from_bytes(&postcard::to_stdvec(&(t, o, s)).unwrap()).unwrap();
            rows.into_iter().map(|(key, t, o, s): (_, u32, u32, u64)| (key, parse(t, o, s))).collect()
        });
    prop_oneof![
        (0_u32..3, any::<u64>()).prop_map(|(round, root)| RepairMessage::Root { round, root }),
        (0_u32..3).prop_map(|round| RepairMessage::Level { round }),
        (0_u32..3, full.clone()).prop_map(|(round, branches)| RepairMessage::Top { round, branches }),
        (numbers(), spot(), proptest::collection::vec((any::<u8>(), full), 0..4)).prop_map(
            |((round, turn), from, mut branches)| {
                branches.sort();
                RepairMessage::Ask { round, turn, from, branches }
            }
        ),
        (numbers(), spot(), spot(), leaves()).prop_map(|((round, turn), from, to, leaves)| {
            RepairMessage::Marks { round, turn, from, to, leaves }
        }),
        (0_u32..3, leaves()).prop_map(|(round, leaves)| RepairMessage::Fetch { round, leaves }),
        rows.prop_map(RepairMessage::Rows),
        (numbers(), proptest::option::of(spot())).prop_map(|((round, turn), next)| RepairMessage::End {
            round,
            turn,
            next
        }),
    ]
}

#[test]
fn equal_tables_cost_two_short_messages() {
    let mut node = Presence::default();
    (0..3_000).for_each(|n| assert_eq!(node.merge(UserHash(user(n)), claim(1, 1, n)), Merged::New));
    let mut net = Net::new(vec![node.clone(), node], 1);
    net.start(0, 1);
    net.settle();
    assert!(net.carried < 24, "{} bytes", net.carried);
    assert_eq!(net.repairs[&(0, 1)].completed(), 1);
}

#[test]
fn a_leaf_of_any_size_is_repaired_in_bounded_messages() {
    // Keys that somebody chose: all in one leaf, far more than fit a message, on each side a part of them.
    for (left, right) in [(40_000_u64, 0_u64), (0, 40_000), (30_000, 25_000), (20_000, 20_000)] {
        let key = |n: u64| UserHash(0xabcd << 112 | u128::from(n));
        let (mut a, mut b) = (Presence::salted(3), Presence::salted(4));
        (0..left).for_each(|n| assert!(a.merge(key(n), claim(1, 1, n)).changed()));
        (40_000 - right..40_000).for_each(|n| assert!(b.merge(key(n), claim(1, 1, n)).changed()));
        let mut net = Net::new(vec![a, b], 1);
        let model = model(&net.nodes);
        net.start(0, 1);
        net.settle();
        net.assert_level(&model);
        let lacked = 80_000 - left - right;
        let least = lacked.min(40_000) as usize * 28;
        assert!(
            net.carried < least + least / 3 + (40_000 - lacked.min(40_000)) as usize * 5,
            "{}",
            net.carried
        );
    }
}

#[test]
fn a_drive_that_stands_still_is_begun_again_and_one_that_moves_is_not() {
    let (mut a, b) = (Presence::default(), Presence::default());
    (0..50_000).for_each(|n| assert!(a.merge(UserHash(user(n)), claim(1, 1, n)).changed()));
    let mut net = Net::new(vec![a, b], 1);
    net.start(1, 0);
    (0..6).for_each(|_| assert!(net.step()));
    let again = |net: &mut Net, from: usize, to| {
        net.repairs.get_mut(&(from, to)).unwrap().again(net.nodes[from].table()).is_some()
    };
    assert!(!again(&mut net, 1, 0), "it moved");
    assert!(!again(&mut net, 0, 1), "it answers the other one's");
    net.lanes.clear(); // the link drops
    assert!(again(&mut net, 1, 0), "nothing moved since");
    net.start(1, 0);
    net.settle();
    let model = model(&net.nodes);
    net.assert_level(&model);
    assert_eq!(net.nodes[1].owned(NodeId(1)).users, 50_000);
}

#[test]
fn what_is_too_large_or_out_of_its_run_is_refused_and_changes_nothing() {
    let mut table = Table::<ClaimRow>::default();
    let mut repair = Repair::new(true);
    let mut refusal = |message: Message| {
        let (mut out, mut changed) = (Vec::new(), Vec::new());
        let refused = repair.take(&mut table, message, &mut out, &mut changed).unwrap_err();
        assert!(out.is_empty() && changed.is_empty() && table.is_empty());
        refused
    };
    let row = ClaimRow::from(claim(1, 1, 1));
    assert_eq!(refusal(RepairMessage::Rows(vec![([0; 16], row); MESSAGE / 16 + 1])), Unsound::TooLarge);
    let tokens = vec![[1; 4]; 256];
    let ask = |branches| RepairMessage::Ask { round: 1, turn: 1, from: 0, branches };
    assert_eq!(refusal(ask((0..200).map(|b| (b, tokens.clone())).collect())), Unsound::TooLarge);
    assert_eq!(refusal(ask(vec![(2, tokens.clone()), (1, tokens.clone())])), Unsound::Shape);
    assert_eq!(refusal(ask(vec![(2, tokens[1..].to_vec())])), Unsound::Shape);
    assert_eq!(refusal(RepairMessage::Top { round: 1, branches: tokens[1..].to_vec() }), Unsound::Shape);
    let leaves = vec![(1, vec![[0; 4]])];
    let marks = |from, to| RepairMessage::Marks { round: 1, turn: 1, from, to, leaves: leaves.clone() };
    assert_eq!(refusal(marks(2 << 32, 3 << 32)), Unsound::Range);
    assert_eq!(refusal(marks((1 << 32) + 1, 3 << 32)), Unsound::Range);
}

#[test]
fn a_round_is_complete_when_the_node_has_all_that_the_peer_had() {
    let (mut a, mut b) = (Presence::default(), Presence::default());
    (0..5_000).for_each(|n| assert!(a.merge(UserHash(user(n)), claim(1, 1, n)).changed()));
    (0..9_000).for_each(|n| assert!(b.merge(UserHash(user(n)), claim(1, 1, n + n % 2)).changed()));
    let mut net = Net::new(vec![a, b], 5);
    let model = model(&net.nodes);
    net.start(0, 1);
    while net.repairs[&(0, 1)].completed() == 0 {
        assert!(net.step());
    }
    assert_eq!(net.nodes[0].table().iter().collect::<BTreeMap<_, _>>(), model);
    net.settle();
    net.assert_level(&model);
}

#[test]
fn of_two_that_drive_at_once_one_goes_on_and_nothing_is_sent_twice() {
    let (mut a, b) = (Presence::default(), Presence::default());
    (0..60_000).for_each(|n| assert!(a.merge(UserHash(user(n)), claim(1, 1, n)).changed()));
    for (left, right) in [(a.clone(), b.clone()), (b, a)] {
        let mut net = Net::new(vec![left, right], 7);
        let model = model(&net.nodes);
        net.start_all();
        net.settle();
        net.assert_level(&model);
        assert!(net.carried < 60_000 * 33, "{}", net.carried);
        assert_eq!(net.repairs[&(0, 1)].completed(), 1, "the one that leads");
    }
}

/// Facts in the store of a node, and their marks.
#[derive(Default)]
struct Facts(FactMarks, BTreeMap<u128, (FactMark, String)>);

impl Facts {
    fn write(&mut self, key: u128, mark: FactMark, text: String) {
        if self.0.merge(key, mark).changed() {
            self.1.insert(key, (mark, text));
        }
    }
}

#[test]
fn facts_are_given_by_those_who_have_them_and_marks_never_travel() {
    let mut nodes = [Facts::default(), Facts::default()];
    for n in 0..9_000_u64 {
        let mark = |stamp| FactMark::new(Stamp(stamp), NodeId(1));
        let key = user(n);
        nodes[0].write(key, mark(5), format!("{n} at 5"));
        if n % 3 > 0 {
            nodes[1].write(key, mark(5), format!("{n} at 5"));
        }
        if n % 100 == 0 {
            nodes[n as usize / 100 % 2].write(key, mark(7), format!("{n} at 7"));
        }
    }
    let mut repairs = [Repair::new(true), Repair::new(false)];
    let root = repairs[1].start(nodes[1].0.table());
    let mut lane = VecDeque::from([(0, root)]);
    let mut given = 0;
    while let Some((to, message)) = lane.pop_front() {
        assert!(!matches!(message, RepairMessage::Rows(_)));
        let (mut out, mut give) = (Vec::new(), Vec::new());
        repairs[to].compare(nodes[to].0.table(), message, &mut out, &mut give).unwrap();
        assert!(give.len() <= BURST / FactMark::COST + 1, "{} at a time", give.len());
        given += give.len();
        for (key, mark) in give {
            let (held, text) = nodes[to].1[&key].clone();
            assert_eq!(held, mark);
            nodes[1 - to].write(key, mark, text);
        }
        lane.extend(out.into_iter().map(|message| (1 - to, message)));
    }
    assert_eq!(nodes[0].1, nodes[1].1);
    assert_eq!(nodes[0].0.table().summary(), nodes[1].0.table().summary());
    // 3,000 were lacking; of those in two versions both were given, of which one in vain.
    assert!((3_000..3_200).contains(&given), "{given}");
}
