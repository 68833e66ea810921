//! Outboxes on disk.
//!
//! Purpose: what a commit costs is rows, and a parcel would be two: one when it is put in and one when it is done. So the
//! parcels for one node in one batch are one row, a pack, which goes when all of them are done.
//! A pack of which some are done has a second row beside it that says which; the usual done, of the oldest parcels up to
//! some number, makes one of those at the most.
//! Invariants: a parcel's number is above all that are there, so packs overlap in nothing that is left, and no two begin
//! alike; the index says what the rows say, as of the batch that is being built.

use super::{
    super::{StoreError, codec},
    codec::{Broken, Gone, MAX_PACK, Packed},
};
use crate::model::{NodeId, Parcel};
use fjall::{Keyspace, OwnedWriteBatch, Slice};
use std::collections::BTreeMap;

/// Bytes from which on a pack takes no more parcels.
const PACK_BYTES: usize = 64 << 10;

/// A pack that is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pack {
    count: u32,
    gone: Gone,
}

/// A pack that is being put together.
#[derive(Debug)]
struct Open {
    first: u64,
    count: u32,
    parcels: Vec<u8>,
}

/// All packs, by node and number of the first parcel.
#[derive(Debug, Default)]
pub(super) struct Outboxes {
    packs: BTreeMap<(NodeId, u64), Pack>,
    open: BTreeMap<NodeId, Open>,
    scratch: Vec<u8>,
}

impl Outboxes {
    /// Takes note of a row that is on disk.
    pub fn know(&mut self, key: &[u8], value: &[u8]) -> Result<(), Broken> {
        let (peer, first, is_gone) = codec::read_outbox_key(key)?;
        let pack = self.packs.entry((peer, first)).or_default();
        if is_gone {
            pack.gone = codec::read_gone(value)?;
        } else {
            pack.count = codec::read_pack_len(value)?;
        }
        Ok(())
    }

    /// Puts a parcel in.
    ///
    /// * `logged`: its message stands in its log.
    ///
    /// # Errors
    /// When its number does not lie after all others of the outbox.
    pub fn put(
        &mut self,
        batch: &mut OwnedWriteBatch,
        keyspace: &Keyspace,
        (peer, number): (NodeId, u64),
        (parcel, logged): (&Parcel, bool),
    ) -> Result<(), StoreError> {
        let full = |open: &Open| {
            open.first + u64::from(open.count) != number
                || open.count >= MAX_PACK
                || open.parcels.len() >= PACK_BYTES
        };
        if self.open.get(&peer).is_some_and(full) {
            self.close(batch, keyspace, peer)?;
        }
        if !self.open.contains_key(&peer) {
            let last = self.packs.range((peer, 0)..=(peer, u64::MAX)).next_back();
            let left = |first: u64, pack: &Pack| Some(first + u64::from(pack.gone.last_left(pack.count)?));
            // A relay that was started again counts on from the last parcel that is left; those of the pack after it are
            // done, so that the packs overlap in nothing that is there.
            if last.and_then(|((_, first), pack)| left(*first, pack)).is_some_and(|left| left >= number) {
                return Err(StoreError::Engine(format!(
                    "parcel {number} for node {peer} does not come after the others"
                )));
            }
        }
        let encoded = codec::parcel_value(&mut self.scratch, parcel, logged);
        encoded.map_err(|broken| StoreError::Engine(broken.to_string()))?;
        let new = || Open { first: number, count: 0, parcels: Vec::new() };
        let open = self.open.entry(peer).or_insert_with(new);
        codec::put_parcel(&mut open.parcels, &self.scratch);
        open.count += 1;
        Ok(())
    }

    /// Removes the parcels numbered `from` to `upto`, both included, those that are there.
    ///
    /// # Errors
    /// When a row does not encode.
    pub fn done(
        &mut self,
        batch: &mut OwnedWriteBatch,
        keyspace: &Keyspace,
        peer: NodeId,
        (from, upto): (u64, u64),
    ) -> Result<(), StoreError> {
        if self.open.get(&peer).is_some_and(|open| open.first <= upto) {
            self.close(batch, keyspace, peer)?;
        }
        // The pack that `from` is in may begin before it.
        let begin =
            self.packs.range((peer, 0)..=(peer, from)).next_back().map_or(from, |((_, first), _)| *first);
        let mut over = Vec::new();
        let mut key = Vec::new();
        for (&(_, first), pack) in self.packs.range_mut((peer, begin)..=(peer, upto.max(begin))) {
            let end = first + u64::from(pack.count);
            let (low, high) = (from.max(first), upto.min(end.saturating_sub(1)));
            if low > high {
                continue;
            }
            // Both lie within the pack, whose length is a u32.
            pack.gone.add((low - first) as u32, (high - first) as u32);
            if pack.gone.0 == [(0, pack.count - 1)] {
                over.push(first);
                continue;
            }
            codec::outbox_key(&mut key, peer, first, true);
            codec::gone_value(&mut self.scratch, &pack.gone);
            batch.insert(keyspace, Slice::from(&key[..]), Slice::from(&self.scratch[..]));
        }
        for first in over {
            self.packs.remove(&(peer, first));
            for is_gone in [false, true] {
                codec::outbox_key(&mut key, peer, first, is_gone);
                batch.remove(keyspace, Slice::from(&key[..]));
            }
        }
        Ok(())
    }

    /// Writes the packs that are being put together: the batch is complete.
    pub fn finish(&mut self, batch: &mut OwnedWriteBatch, keyspace: &Keyspace) -> Result<(), StoreError> {
        while let Some(&peer) = self.open.keys().next() {
            self.close(batch, keyspace, peer)?;
        }
        Ok(())
    }

    fn close(
        &mut self,
        batch: &mut OwnedWriteBatch,
        keyspace: &Keyspace,
        peer: NodeId,
    ) -> Result<(), StoreError> {
        let Some(Open { first, count, parcels }) = self.open.remove(&peer) else { return Ok(()) };
        let mut key = Vec::new();
        codec::outbox_key(&mut key, peer, first, false);
        codec::pack_value(&mut self.scratch, count, &parcels);
        batch.insert(keyspace, Slice::from(&key[..]), Slice::from(&self.scratch[..]));
        self.packs.insert((peer, first), Pack { count, gone: Gone::default() });
        Ok(())
    }
}

/// Puts packs and what is done of them together again, for reading.
#[derive(Debug, Default)]
pub(super) struct Unpacker(Option<(NodeId, u64, Vec<Packed>)>);

impl Unpacker {
    /// Takes the next row in order of the keys; hands on the parcels of the pack before it.
    pub fn row(
        &mut self,
        key: &[u8],
        value: &[u8],
        each: &mut dyn FnMut(NodeId, u64, Packed),
    ) -> Result<(), Broken> {
        let (peer, first, is_gone) = codec::read_outbox_key(key)?;
        if !is_gone {
            self.end(&Gone::default(), each);
            self.0 = Some((peer, first, codec::read_pack(value)?));
            return Ok(());
        }
        if self.0.as_ref().is_none_or(|(of, number, _)| (*of, *number) != (peer, first)) {
            return Err(Broken("parcels are done that are not there"));
        }
        self.end(&codec::read_gone(value)?, each);
        Ok(())
    }

    /// There are no more rows.
    pub fn end(&mut self, gone: &Gone, each: &mut dyn FnMut(NodeId, u64, Packed)) {
        let Some((peer, first, parcels)) = self.0.take() else { return };
        for (index, parcel) in (0..).zip(parcels) {
            if !gone.has(index) {
                each(peer, first + u64::from(index), parcel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        model::{
            Content, Conversation, Flags, Item, Kind, Message, MessageId, NodeId, Parcel, Stamp, UserKey,
        },
        store::{Embedded, Options, Store as _, Write},
    };
    use std::{path::Path, sync::Arc};

    const PEER: NodeId = NodeId(7);

    fn put(number: u64) -> Write {
        let conversation = Conversation { kind: Kind::Private, target: "bo".into() };
        let item = Item::Receipt { conversation, at: Stamp(number) };
        let user = |id| UserKey::new("app", id).unwrap();
        let parcel = Parcel { to: user("bo"), from: user("ann"), item, since: None };
        Write::Outbox { peer: PEER, number, parcel: Arc::new(parcel), logged: false }
    }

    fn done(from: u64, upto: u64) -> Write {
        Write::OutboxDone { peer: PEER, from, upto }
    }

    fn open(path: &Path) -> Embedded {
        Embedded::open(path, &Options::default()).unwrap()
    }

    fn there(store: &Embedded) -> Vec<u64> {
        let mut all = Vec::new();
        store
            .outboxes(&mut |peer, number, parcel| {
                let Some(Parcel { item: Item::Receipt { at, .. }, .. }) = parcel else { panic!() };
                assert_eq!((peer, at), (PEER, Stamp(number)));
                all.push(number);
            })
            .unwrap();
        all
    }

    fn rows(store: &Embedded) -> usize {
        store.outbox.iter().count() - 1 // the keyspace's own mark
    }

    #[test]
    fn the_parcels_of_a_batch_are_one_row_that_goes_with_the_last_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path());
        store.commit(&(1..=5).map(put).collect::<Vec<_>>()).unwrap();
        store.commit(&(6..=9).map(put).collect::<Vec<_>>()).unwrap();
        assert_eq!((there(&store), rows(&store)), ((1..=9).collect(), 2));
        store.commit(&[done(1, 6)]).unwrap();
        assert_eq!((there(&store), rows(&store)), (vec![7, 8, 9], 2));
        store.commit(&[done(8, 8)]).unwrap();
        drop(store);
        store = open(folder.path());
        assert_eq!((there(&store), rows(&store)), (vec![7, 9], 2));
        store.commit(&[done(7, 7), put(10), done(9, 9)]).unwrap();
        assert_eq!((there(&store), rows(&store)), (vec![10], 1));
        store.commit(&[put(11), put(12), done(11, 12), done(1, 10)]).unwrap();
        assert_eq!((there(&store), rows(&store)), (vec![], 0));
        store.commit(&[put(1)]).unwrap();
        assert_eq!(there(&open_again(store, folder.path())), [1]);
    }

    fn message(number: u64) -> Arc<Message> {
        let from = UserKey::new("app", "ann").unwrap();
        let cid: Arc<str> = format!("c{number}").into();
        Arc::new(Message {
            id: MessageId::of(&from, &cid),
            kind: Kind::Private,
            from,
            to: "bo".into(),
            at: Stamp(number),
            class: "RC:TxtMsg".into(),
            content: Content::from_text(&"long ".repeat(200), 2_000).unwrap(),
            flags: Flags::STORED,
            cid,
            push: None,
        })
    }

    #[test]
    fn a_message_that_stands_in_its_log_is_not_in_the_pack_and_goes_with_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let parcel = |message: &Arc<Message>| {
            let (to, item) = (message.from.sibling("bo").unwrap(), Item::Message(message.clone()));
            Arc::new(Parcel { to, from: message.from.clone(), item, since: Some(Stamp(9)) })
        };
        let all: Vec<_> = (1..=3).map(message).collect();
        let mut writes: Vec<_> = all[..2].iter().cloned().map(Write::Body).collect();
        for (number, message) in (1..).zip(&all) {
            writes.push(Write::Outbox { peer: PEER, number, parcel: parcel(message), logged: number < 3 });
        }
        store.commit(&writes).unwrap();
        let pack = store.outbox.iter().map(|row| row.into_inner().unwrap().1.len()).max().unwrap();
        assert!(pack < 1_500, "{pack} bytes: the text of one message is in the pack, and not that of all");
        let read = |store: &Embedded| {
            let mut found = Vec::new();
            store.outboxes(&mut |_, number, parcel| found.push((number, parcel))).unwrap();
            found
        };
        let whole: Vec<_> =
            (1..).zip(all.iter().map(|message| Some(Parcel::clone(&parcel(message))))).collect();
        let store = open_again(store, folder.path());
        assert_eq!(read(&store), whole);
        // Taken back, as in the log; and gone, as from the log.
        store.commit(&[Write::Body(Arc::new(all[1].recalled()))]).unwrap();
        assert_eq!(read(&store)[1], (2, Some(Parcel::clone(&parcel(&Arc::new(all[1].recalled()))))));
        store.commit(&[Write::TrimLog { log: all[0].log(), upto: Stamp(1) }]).unwrap();
        assert_eq!(read(&store)[0], (1, None));
        store
            .commit(&[
                done(1, 1),
                Write::Outbox { peer: PEER, number: 4, parcel: parcel(&all[2]), logged: false },
            ])
            .unwrap();
        assert_eq!(read(&store).iter().map(|row| row.0).collect::<Vec<_>>(), [2, 3, 4]);
    }

    fn open_again(store: Embedded, path: &Path) -> Embedded {
        drop(store);
        open(path)
    }

    #[test]
    fn numbers_go_on_from_the_last_parcel_that_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path());
        store.commit(&(1..=5).map(put).collect::<Vec<_>>()).unwrap();
        store.commit(&[done(3, 5)]).unwrap();
        store = open_again(store, folder.path());
        store.commit(&[put(3), put(4)]).unwrap();
        assert_eq!((there(&store), rows(&store)), (vec![1, 2, 3, 4], 3));
        store.commit(&[done(4, 4), put(4)]).unwrap();
        store = open_again(store, folder.path());
        assert_eq!(there(&store), [1, 2, 3, 4]);
        store.commit(&[done(2, 3)]).unwrap();
        assert_eq!(there(&store), [1, 4]);
        store.commit(&[done(1, 9)]).unwrap();
        assert_eq!((there(&store), rows(&store)), (vec![], 0));
    }

    #[test]
    fn a_number_that_is_taken_stops_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.commit(&[put(1), put(2)]).unwrap();
        let error = store.commit(&[put(2)]).unwrap_err().to_string();
        assert!(error.contains("parcel 2 for node") && error.contains("after the others"), "{error}");
        assert!(store.commit(&[put(3)]).is_err());
        assert_eq!(there(&open_again(store, folder.path())), [1, 2]);
    }
}
