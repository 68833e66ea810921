//! The embedded store answers every read as the store in memory does, also after it was closed and opened again.

use hongyan::{
    gossip::{Fact, FactKey, FactValue},
    model::{
        Change, Content, Conversation, EntryRow, Epoch, Flags, Item, Kind, Log, Message, MessageId, NodeId,
        Parcel, Push, Reign, Stamp, UserHash, UserKey,
    },
    store::{
        ClaimRow, ConversationRow, DeviceRow, Embedded, MailboxRow, Options, Page, SentRow, Store, Write,
        memory::MemoryStore,
    },
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use std::{collections::BTreeMap, sync::Arc};

const USERS: [(&str, &str); 6] =
    [("app", "ann"), ("app", "bo"), ("app", "b"), ("app", "鸿"), ("ap", "ann"), ("apps", "~")];
const KINDS: [Kind; 6] =
    [Kind::Private, Kind::Discussion, Kind::Group, Kind::Chatroom, Kind::CustomerService, Kind::System];

fn user() -> impl Strategy<Value = UserKey> {
    select(&USERS[..]).prop_map(|(app, id)| UserKey::new(app, id).unwrap())
}

fn id() -> impl Strategy<Value = Arc<str>> {
    select(&["ann", "bo", "b", "鸿", "~", "group"][..]).prop_map(Into::into)
}

fn stamp() -> impl Strategy<Value = Stamp> {
    prop_oneof![(0..40_u64).prop_map(Stamp), Just(Stamp(1 << 40)), Just(Stamp::MAX)]
}

fn conversation() -> impl Strategy<Value = Conversation> {
    (select(&KINDS[..]), id()).prop_map(|(kind, target)| Conversation { kind, target })
}

fn message() -> impl Strategy<Value = Arc<Message>> {
    let push = option::of(("[a-z]{0,9}", "[a-z]{0,9}"));
    let content = prop_oneof!["\\{[a-z]{0,300}\\}".boxed(), Just("x".repeat(9_000)).boxed()];
    (select(&KINDS[..]), user(), id(), stamp(), 0..3_u128, any::<u8>(), content, push).prop_map(
        |(kind, from, to, at, id, flags, content, push)| {
            let push = push.map(|(text, data)| Box::new(Push { text, data }));
            let (class, cid) = (["RC:TxtMsg", "app:own"][id as usize % 2].into(), "cid".into());
            let (id, flags, content) = (MessageId(id), Flags(flags), Content::trusted(content.into()));
            Arc::new(Message { id, kind, from, to, at, class, content, flags, cid, push })
        },
    )
}

fn row() -> impl Strategy<Value = EntryRow> {
    prop_oneof![
        (conversation(), stamp(), 0..3_u128, any::<bool>(), any::<u8>(), any::<u32>()).prop_map(
            |(conversation, at, id, mine, flags, ordinal)| EntryRow::Message {
                id: MessageId(id),
                at,
                conversation,
                mine,
                flags: Flags(flags),
                ordinal
            }
        ),
        (conversation(), stamp(), any::<u32>(), any::<bool>()).prop_map(
            |(conversation, upto, ordinal, removed)| EntryRow::Change(Change::Read {
                conversation,
                upto,
                ordinal,
                removed
            })
        ),
        (conversation(), stamp())
            .prop_map(|(conversation, at)| EntryRow::Change(Change::Receipt { conversation, at })),
        (conversation(), stamp(), any::<u128>(), id(), "[a-z]{0,20}").prop_map(
            |(conversation, at, id, by, extra)| EntryRow::Change(Change::Recall {
                conversation,
                id: MessageId(id),
                at,
                by,
                extra: extra.into()
            })
        ),
    ]
}

/// A message with the entries that point at it.
fn sent() -> impl Strategy<Value = Vec<Write>> {
    (message(), user(), stamp()).prop_map(|(message, user, pos)| {
        let row = EntryRow::Message {
            id: message.id,
            at: message.at,
            conversation: message.conversation(&user),
            mine: user == message.from,
            flags: message.flags,
            ordinal: 3,
        };
        vec![Write::Body(message), Write::Entry { user, pos, row }]
    })
}

fn fact_key() -> impl Strategy<Value = FactKey> {
    (0..6, user(), id()).prop_map(|(sort, user, other)| match sort {
        0 => FactKey::Blocked(user),
        1 => FactKey::TokensBefore(user),
        2 => FactKey::Blacklist(user, other),
        3 => FactKey::Name(user),
        4 => FactKey::Portrait(user),
        _ => FactKey::Created(user),
    })
}

fn fact() -> impl Strategy<Value = Fact> {
    let value = prop_oneof![
        any::<u64>().prop_map(FactValue::Number),
        "[a-z]{0,9}".prop_map(|text| FactValue::Text(text.into()))
    ];
    (stamp(), 0..3_u32, option::of(value)).prop_map(|(stamp, node, value)| Fact { stamp, node, value })
}

fn mailbox() -> impl Strategy<Value = MailboxRow> {
    let device = (id(), stamp(), stamp(), stamp()).prop_map(|(device, cursor, seen, born)| DeviceRow {
        device,
        cursor,
        seen,
        born,
    });
    let sent =
        (any::<u128>(), stamp(), stamp()).prop_map(|(id, at, pos)| SentRow { id: MessageId(id), at, pos });
    (stamp(), stamp(), vec(device, 0..3), vec(sent, 0..3)).prop_map(|(last, trimmed, devices, sent)| {
        MailboxRow { last, trimmed, devices, sent, doubtful_until: trimmed }
    })
}

fn summary() -> impl Strategy<Value = ConversationRow> {
    (vec(stamp(), 5), any::<u128>(), any::<u32>(), any::<u32>()).prop_map(
        |(at, last_id, counted, read_ordinal)| ConversationRow {
            last: at[0],
            last_at: at[1],
            last_id,
            counted,
            read: at[2],
            read_ordinal,
            removed: at[3],
            peer_read: at[4],
        },
    )
}

fn log() -> impl Strategy<Value = Log> {
    (user(), conversation()).prop_map(|(user, conversation)| conversation.log(&user))
}

fn peer() -> impl Strategy<Value = NodeId> {
    (0..3_u32).prop_map(NodeId)
}

fn claim() -> impl Strategy<Value = ClaimRow> {
    let reign = || (1..4_u32, peer()).prop_map(|(term, owner)| Reign { term, owner });
    let epoch = (reign(), stamp(), any::<bool>()).prop_map(|(reign, base, recovered)| Epoch {
        reign,
        base,
        recovered,
    });
    (reign(), stamp(), vec(epoch, 0..3)).prop_map(|(reign, stamp, chain)| ClaimRow { reign, stamp, chain })
}

fn parcel() -> impl Strategy<Value = Arc<Parcel>> {
    let item = prop_oneof![
        message().prop_map(Item::Message),
        (conversation(), stamp()).prop_map(|(conversation, at)| Item::Receipt { conversation, at }),
        (message(), id(), id()).prop_map(|(message, by, extra)| Item::Recall { message, by, extra }),
    ];
    (user(), user(), item, option::of(stamp()))
        .prop_map(|(to, from, item, since)| Arc::new(Parcel { to, from, item, since }))
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let some = prop_oneof![
        8 => sent(),
        2 => message().prop_map(|message| vec![Write::Body(message)]),
        4 => (user(), stamp(), row()).prop_map(|(user, pos, row)| vec![Write::Entry { user, pos, row }]),
        1 => (user(), mailbox()).prop_map(|(user, row)| vec![Write::Mailbox { user, row }]),
        2 => (user(), conversation(), summary())
            .prop_map(|(user, conversation, row)| vec![Write::Conversation { user, conversation, row }]),
        3 => (fact_key(), fact()).prop_map(|(key, fact)| vec![Write::Fact { key, fact }]),
        2 => (user(), claim()).prop_map(|(user, row)| vec![Write::Claim { user: UserHash::of(&user), row }]),
        // The number is how many are left out before it; see `numbered`.
        3 => (peer(), 0..2_u64, vec((parcel(), any::<bool>()), 1..5)).prop_map(|(peer, skipped, parcels)| {
            let number = |first: bool| if first { skipped } else { 0 };
            let put = |(i, (parcel, logged))| Write::Outbox { peer, number: number(i == 0), parcel, logged };
            parcels.into_iter().enumerate().map(put).collect()
        }),
        2 => (peer(), 0..25_u64, 0..6_u64)
            .prop_map(|(peer, from, more)| vec![Write::OutboxDone { peer, from, upto: from + more }]),
        1 => user().prop_map(|user| vec![Write::Forget { user }]),
        1 => (user(), stamp()).prop_map(|(user, upto)| vec![Write::TrimMailbox { user, upto }]),
        1 => (log(), stamp()).prop_map(|(log, upto)| vec![Write::TrimLog { log, upto }]),
    ];
    vec(some, 1..25).prop_map(|all| all.concat())
}

/// Gives parcels numbers that grow, as the relay does.
fn numbered(batch: &mut [Write], last: &mut BTreeMap<NodeId, u64>) {
    for write in batch {
        if let Write::Outbox { peer, number, .. } = write {
            let last = last.entry(*peer).or_default();
            *last += 1 + *number;
            *number = *last;
        }
    }
}

/// Every read of both, with many arguments.
fn same(a: &dyn Store, b: &dyn Store, at: Stamp) {
    assert_eq!(a.last_stamp().unwrap(), b.last_stamp().unwrap());
    let users: Vec<_> = USERS.iter().map(|(app, id)| UserKey::new(app, id).unwrap()).collect();
    let mut found = 0;
    for user in &users {
        assert_eq!(a.load(user).unwrap(), b.load(user).unwrap());
        assert_eq!(a.mailbox(user).unwrap(), b.mailbox(user).unwrap());
        assert_eq!(a.profile(user).unwrap(), b.profile(user).unwrap());
        assert_eq!(a.entry(user, at).unwrap(), b.entry(user, at).unwrap());
        for (limit, max_bytes) in [(0, 9), (1, 1_000), (3, 200), (500, 1 << 20)] {
            for after in [Stamp::ZERO, at, Stamp(1 << 40), Stamp::MAX] {
                let page = a.entries(user, after, limit, max_bytes).unwrap();
                found += page.entries.len();
                assert_eq!(page, b.entries(user, after, limit, max_bytes).unwrap());
                let export = |store: &dyn Store| store.export(user, after, limit, max_bytes).unwrap();
                assert_eq!(export(a), export(b));
            }
        }
        for kind in KINDS {
            for target in ["ann", "bo", "b", "鸿", "~", "group"] {
                let log = Conversation { kind, target: target.into() }.log(user);
                for page in [
                    Page::Before(at),
                    Page::After(at),
                    Page::Before(Stamp::MAX),
                    Page::After(Stamp::ZERO),
                    Page::Before(Stamp::ZERO),
                ] {
                    for limit in [0, 2, 500] {
                        let keep = |message: &Message| !message.flags.0.is_multiple_of(3);
                        let here = a.history(&log, page, limit, &keep).unwrap();
                        assert_eq!(here, b.history(&log, page, limit, &keep).unwrap());
                        for message in here.0 {
                            let again = b.message(&log, message.at, message.id).unwrap();
                            assert_eq!(again.as_ref(), Some(&message));
                        }
                    }
                }
                assert_eq!(b.message(&log, at, MessageId(77)).unwrap(), None);
            }
        }
    }
    let _ = found;
    let claims = |store: &dyn Store| {
        let mut all = Vec::new();
        store.claims(&mut |user, row| all.push((user, row))).unwrap();
        all
    };
    assert_eq!(claims(a), claims(b));
    let parcels = |store: &dyn Store| {
        let mut all = Vec::new();
        store.outboxes(&mut |peer, number, parcel| all.push((peer, number, parcel))).unwrap();
        all
    };
    assert_eq!(parcels(a), parcels(b));
    for limit in [1, 2, 100] {
        let mailboxes = |store: &dyn Store| {
            let mut all: Vec<UserKey> = Vec::new();
            loop {
                let found = store.mailboxes(all.last(), limit).unwrap();
                assert!(found.len() <= limit);
                if found.is_empty() {
                    all.sort();
                    return all;
                }
                all.extend(found);
            }
        };
        assert_eq!(mailboxes(a), mailboxes(b));
    }
    let facts = |store: &dyn Store| {
        let mut all = Vec::new();
        store.facts(&mut |key, fact| all.push((key, fact))).unwrap();
        all
    };
    assert_eq!(facts(a), facts(b));
    for app in ["app", "ap", "apps", "none"] {
        for after in ["", "ann", "b", "zz"] {
            for limit in [0, 1, 100] {
                assert_eq!(a.users(app, after, limit).unwrap(), b.users(app, after, limit).unwrap());
            }
        }
    }
    // The order of users and logs is each store's own, so whole sweeps are compared.
    for cutoff in [at, Stamp::MAX] {
        for limit in [1, 2, 100] {
            let sweep = |store: &dyn Store| {
                let mut all = Vec::new();
                loop {
                    let resume = all.last().map(|(user, _): &(UserKey, Stamp)| user.clone());
                    let found = store.expired_mailboxes(cutoff, resume.as_ref(), limit).unwrap();
                    assert!(found.len() <= limit);
                    if found.is_empty() {
                        all.sort();
                        return all;
                    }
                    all.extend(found);
                }
            };
            assert_eq!(sweep(a), sweep(b));
            for kind in KINDS {
                let sweep = |store: &dyn Store| {
                    let mut all = Vec::new();
                    loop {
                        let resume = all.last().map(|(log, _): &(Log, Stamp)| log.clone());
                        let found = store.expired_logs(kind, cutoff, resume.as_ref(), limit).unwrap();
                        assert!(found.len() <= limit);
                        if found.is_empty() {
                            all.sort();
                            return all;
                        }
                        all.extend(found);
                    }
                };
                assert_eq!(sweep(a), sweep(b));
            }
        }
        assert!(b.expired_mailboxes(cutoff, None, 0).unwrap().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn both_stores_answer_alike(mut batches in vec(writes(), 1..6), at in stamp()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let memory = MemoryStore::default();
        let mut embedded = Embedded::open(&path, &Options::default()).unwrap();
        let mut last = BTreeMap::new();
        for (i, batch) in batches.iter_mut().enumerate() {
            numbered(batch, &mut last);
            memory.commit(batch).unwrap();
            embedded.commit(batch).unwrap();
            if i % 3 == 1 {
                drop(embedded);
                embedded = Embedded::open(&path, &Options::default()).unwrap();
                // A relay that is started again counts on from what it finds.
                last.clear();
                memory.outboxes(&mut |peer, number, _| _ = last.insert(peer, number)).unwrap();
            }
        }
        same(&memory, &embedded, at);
        drop(embedded);
        same(&memory, &Embedded::open(&path, &Options::default()).unwrap(), at);
    }
}
