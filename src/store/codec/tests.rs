//! Round trips, and bytes that are none.

use super::*;
use crate::store::{DeviceRow, MailboxRow, SentRow};
use crate::{
    gossip::FactKey,
    model::{Change, Content, Conversation, EntryRow, Flags, Message, Push},
};
use proptest::{collection::vec, option, prelude::*, sample::select};

fn user() -> impl Strategy<Value = UserKey> {
    ("[a-z]{1,13}", "\\PC{1,16}").prop_map(|(app, id)| UserKey::new(&app, &id).unwrap())
}

fn stamp() -> impl Strategy<Value = Stamp> {
    any::<u64>().prop_map(Stamp)
}

fn kind() -> impl Strategy<Value = Kind> {
    select(
        &[Kind::Private, Kind::Discussion, Kind::Group, Kind::Chatroom, Kind::CustomerService, Kind::System]
            [..],
    )
}

fn conversation() -> impl Strategy<Value = Conversation> {
    (kind(), "\\PC{1,16}").prop_map(|(kind, target)| Conversation { kind, target: target.into() })
}

fn message() -> impl Strategy<Value = Message> {
    let push = option::of(("\\PC{0,9}", "\\PC{0,300}"));
    let content = prop_oneof![vec(any::<u8>(), 0..300), Just(vec![7; SHARE_FROM])];
    let texts = ("\\PC{1,16}", "[a-zA-Z:]{1,64}", "\\PC{0,16}");
    (kind(), user(), texts, stamp(), any::<u128>(), any::<u8>(), content, push).prop_map(
        |(kind, from, (to, class, cid), at, id, flags, content, push)| Message {
            id: MessageId(id),
            kind,
            from,
            to: to.into(),
            at,
            class: class.into(),
            content: Content::trusted(content.into()),
            flags: Flags(flags),
            cid: cid.into(),
            push: push.map(|(text, data)| Box::new(Push { text, data })),
        },
    )
}

fn row() -> impl Strategy<Value = EntryRow> {
    prop_oneof![
        (conversation(), stamp(), any::<u128>(), any::<bool>(), any::<u8>(), any::<u32>()).prop_map(
            |(conversation, at, id, mine, flags, ordinal)| {
                let (id, flags) = (MessageId(id), Flags(flags));
                EntryRow::Message { id, at, conversation, mine, flags, ordinal }
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
        (conversation(), stamp(), any::<u128>(), "\\PC{1,16}", "\\PC{0,200}").prop_map(
            |(conversation, at, id, by, extra)| EntryRow::Change(Change::Recall {
                conversation,
                id: MessageId(id),
                at,
                by: by.into(),
                extra: extra.into(),
            })
        ),
    ]
}

proptest! {
    #[test]
    fn a_message_comes_back(message in message()) {
        let (mut key, mut same, mut value) = (Vec::new(), Vec::new(), Vec::new());
        message_key(&mut key, &message);
        body_key(&mut same, message.log().as_bytes(), message.at, message.id);
        prop_assert_eq!(&key, &same);
        body_value(&mut value, &message);
        prop_assert_eq!(read_body(&key, &Slice::from(&value)), Ok(message.clone()));
        prop_assert_eq!(read_body_key(&key), Ok((message.log(), message.at, message.id)));
    }

    #[test]
    fn rows_come_back(user in user(), pos in stamp(), row in row(), conversation in conversation()) {
        let mut out = Vec::new();
        entry_value(&mut out, &row);
        prop_assert_eq!(read_entry(&out), Ok(row));
        entry_key(&mut out, &user, pos);
        prop_assert_eq!(read_entry_key(&out), Ok((user.clone(), pos)));
        conversation_key(&mut out, &user, &conversation);
        prop_assert_eq!(read_conversation_key(&out), Ok((user.clone(), conversation.clone())));
        let blacklist = FactKey::Blacklist(user.clone(), conversation.target);
        for key in [FactKey::Created(user), blacklist] {
            fact_key(&mut out, &key);
            prop_assert_eq!(read_fact_key(&out), Ok(key));
        }
    }

    #[test]
    fn mangled_bytes_are_errors_or_rows_but_never_a_panic(
        message in message(), row in row(), user in user(), places in vec((any::<usize>(), any::<u8>()), 1..4),
        cut in any::<usize>(), how in 0..6,
    ) {
        let (mut key, mut bytes) = (Vec::new(), Vec::new());
        message_key(&mut key, &message);
        match how {
            0 => body_value(&mut bytes, &message),
            1 => entry_value(&mut bytes, &row),
            2 => entry_key(&mut bytes, &user, message.at),
            3 => message_key(&mut bytes, &message),
            4 => {
                let device = DeviceRow { device: "d".into(), cursor: message.at, seen: message.at, born: message.at };
                let sent = vec![SentRow { id: message.id, at: message.at, pos: message.at }; 3];
                let row = MailboxRow { last: message.at, trimmed: message.at, devices: vec![device; 2], sent, doubtful_until: message.at };
                mailbox_value(&mut bytes, &row).unwrap();
            }
            _ => {
                let mark = BatchMark { number: message.at.0, last: message.at };
                bytes = batch_value(&BatchRow { mark, before: [3; 7] }).to_vec();
            }
        }
        for (place, flip) in places {
            let place = place % bytes.len();
            bytes[place] ^= flip;
        }
        bytes.truncate(cut % (bytes.len() + 1));
        let _ = read_body(&key, &Slice::from(&bytes));
        fuzz_decoders(&bytes);
        bytes.insert(0, cut as u8);
        fuzz_decoders(&bytes);
    }

    #[test]
    fn any_bytes_are_errors_or_rows_but_never_a_panic(bytes in vec(any::<u8>(), 0..300)) {
        fuzz_decoders(&bytes);
    }
}

#[test]
fn users_and_positions_are_in_order_and_apart() {
    let (ann, bo) = (UserKey::new("app", "ann").unwrap(), UserKey::new("app", "anna").unwrap());
    let (mut a, mut b) = (Vec::new(), Vec::new());
    entry_key(&mut a, &ann, Stamp(255));
    entry_key(&mut b, &ann, Stamp(256));
    assert!(a < b);
    user_key(&mut b, &bo);
    assert!(!b.starts_with(&a[..a.len() - 8]) && !a.starts_with(&b));
}
