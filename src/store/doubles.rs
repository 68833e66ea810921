//! Messages that two owners have accepted.
//!
//! Purpose: history shows every message once (P3), also where an owner that was cut off and the one after it both accepted
//! it, at two times, and a log holds it under both: mailboxes on one node may refer to either.
//! Flow: the later owner marks what it cannot be sure of ([`Flags::DOUBTED`]) → on reading, and only where a marked message
//! is on the page, the log is looked through for what else has its id.
//! Algorithm: of the copies of one message the first that is not marked is shown, or else the first.

use super::{Page, Store, StoreError};
use crate::model::{Flags, Log, Message, MessageId, Stamp};
use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

/// Messages that are looked at for one page at the most.
const MAX_LOOK: usize = 20_000;

/// Like [`Store::history`], each message once.
///
/// # Errors
/// When something cannot be read.
pub fn history(
    store: &dyn Store,
    log: &Log,
    mut page: Page,
    limit: usize,
    keep: &dyn Fn(&Message) -> bool,
) -> Result<(Vec<Arc<Message>>, bool), StoreError> {
    let mut shown: Vec<Arc<Message>> = Vec::new();
    loop {
        let (mut found, more) = store.history(log, page, limit - shown.len(), keep)?;
        let next = match page {
            Page::Before(_) => found.first().map(|message| Page::Before(message.at)),
            Page::After(_) => found.last().map(|message| Page::After(message.at)),
        };
        let best = copies(store, log, &found)?;
        found.retain(|message| best.get(&message.id).is_none_or(|best| best.at == message.at));
        match page {
            Page::Before(_) => shown.splice(0..0, found).for_each(drop),
            Page::After(_) => shown.extend(found),
        }
        match next.filter(|_| more && shown.len() < limit) {
            Some(next) => page = next,
            None => return Ok((shown, more)),
        }
    }
}

/// The copy of `message` that history shows.
///
/// # Errors
/// When the log cannot be read.
pub fn shown(store: &dyn Store, log: &Log, message: Arc<Message>) -> Result<Arc<Message>, StoreError> {
    let best = copies(store, log, std::slice::from_ref(&message))?.remove(&message.id);
    Ok(best.unwrap_or(message))
}

/// Of each marked message of a page the copy to be shown.
fn copies(
    store: &dyn Store,
    log: &Log,
    page: &[Arc<Message>],
) -> Result<BTreeMap<MessageId, Arc<Message>>, StoreError> {
    let rank = |message: &Message| (message.flags.has(Flags::DOUBTED), message.at);
    let mut best: BTreeMap<MessageId, Arc<Message>> = BTreeMap::new();
    let mut range = (Stamp::MAX, Stamp::ZERO);
    for message in page {
        if let Some((since, upto)) = message.doubted() {
            range = (range.0.min(since), range.1.max(upto));
            best.insert(message.id, message.clone());
        }
    }
    if best.is_empty() {
        return Ok(best);
    }
    let (looked, others) = (RefCell::new(0), RefCell::new(Vec::new()));
    // What is kept ends the look.
    store.history(log, Page::After(Stamp(range.0.0.saturating_sub(1))), 0, &|message| {
        *looked.borrow_mut() += 1;
        if best.get(&message.id).is_some_and(|best| rank(message) < rank(best)) {
            others.borrow_mut().push(Arc::new(message.clone()));
        }
        message.at > range.1 || *looked.borrow() > MAX_LOOK
    })?;
    for other in others.into_inner() {
        if best.get(&other.id).is_none_or(|best| rank(&other) < rank(best)) {
            best.insert(other.id, other);
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Content, Kind, UserKey},
        store::{Embedded, Options, Write, memory::MemoryStore},
    };

    fn message(cid: &str, at: u64, flags: Flags) -> Arc<Message> {
        let from = UserKey::new("app", "ann").unwrap();
        Arc::new(Message {
            id: MessageId::of(&from, cid),
            kind: Kind::Private,
            from,
            to: "bo".into(),
            at: Stamp(at),
            class: "RC:TxtMsg".into(),
            content: Content::from_text(cid, 100).unwrap(),
            flags,
            cid: cid.into(),
            push: None,
        })
    }

    fn in_all_stores(writes: &[Write], check: impl Fn(&dyn Store)) {
        let folder = tempfile::tempdir().unwrap();
        let (memory, disk) =
            (MemoryStore::default(), Embedded::open(folder.path(), &Options::default()).unwrap());
        for store in [&memory as &dyn Store, &disk] {
            store.commit(writes).unwrap();
            check(store);
        }
    }

    #[test]
    fn a_message_that_two_owners_accepted_is_shown_once_on_whatever_page() {
        let (sure, doubted) = (Flags::STORED, Flags(Flags::STORED.0 | Flags::DOUBTED.0));
        // Twice by doubting owners too, and one that only a doubting owner has.
        let all = [
            message("a", 1_000, sure),
            message("b", 2_000, sure),
            message("c", 3_000, doubted),
            message("a", 4_000, doubted),
            message("d", 5_000, sure),
            message("c", 6_000, doubted),
            message("e", 7_000, doubted),
            message("a", 8_000, doubted),
        ];
        let writes: Vec<_> = all.iter().cloned().map(Write::Body).collect();
        let log = all[0].log();
        in_all_stores(&writes, |store| {
            let list = |page, limit| {
                let (found, more) = history(store, &log, page, limit, &|_| true).unwrap();
                (found.iter().map(|message| message.cid.to_string()).collect::<String>(), more)
            };
            assert_eq!(list(Page::After(Stamp::ZERO), 10), ("abcde".into(), false));
            assert_eq!(list(Page::Before(Stamp::MAX), 10), ("abcde".into(), false));
            assert_eq!(list(Page::Before(Stamp::MAX), 2), ("de".into(), true));
            assert_eq!(list(Page::Before(Stamp(5_000)), 2), ("bc".into(), true));
            assert_eq!(list(Page::After(Stamp(3_000)), 2), ("de".into(), true));
            let last = all.last().cloned().unwrap();
            assert_eq!(shown(store, &log, last).unwrap().at, Stamp(1_000));
            assert_eq!(shown(store, &log, all[6].clone()).unwrap().at, Stamp(7_000));
        });
    }

    #[test]
    fn what_was_made_long_before_is_not_looked_for_where_its_id_tells_the_time() {
        let made = 1_700_000_000_000_u64;
        let cid = MessageId(u128::from(made) << 80).to_string();
        let at = Stamp::from_millis(made).0;
        let doubted = message(&cid, at + 5, Flags::DOUBTED);
        let minute = 60_000_000;
        assert_eq!(doubted.doubted(), Some((Stamp(at - minute), Stamp(at + 5 + minute))));
        assert_eq!(message(&cid, at, Flags::STORED).doubted(), None);
    }
}
