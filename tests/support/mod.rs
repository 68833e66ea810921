//! What the tests of the store share. Batches are numbered, and what they hold follows from the number.
#![allow(dead_code)]

use hongyan::{
    model::{Content, Conversation, EntryRow, Flags, Kind, Message, MessageId, Stamp, UserKey},
    store::{Store, StoreError, Write},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Messages in a batch.
pub const PER_BATCH: u64 = 4;

pub fn user(id: &str) -> UserKey {
    UserKey::new("app", id).unwrap()
}

/// Message `number`, from ann to bo.
pub fn message(number: u64, size: usize) -> Arc<Message> {
    let mut content = format!("{{\"content\":\"{number}").into_bytes();
    // Bytes that differ everywhere, so that any page of them is worth damaging.
    let filler = (0..size as u64).map(|i| b'a' + ((i * 7 + number * 13) % 26) as u8);
    content.extend(filler);
    content.extend_from_slice(b"\"}");
    Arc::new(Message {
        id: MessageId(u128::from(number) << 7),
        kind: Kind::Private,
        from: user("ann"),
        to: "bo".into(),
        at: Stamp(1_800_000_000_000_000 + number * 1_000),
        class: "RC:TxtMsg".into(),
        content: Content::trusted(content.into()),
        flags: Flags(3),
        cid: number.to_string().into(),
        push: None,
    })
}

/// Batch `number` (from 1): messages with an entry for each side, from the first to its last.
pub fn batch(number: u64, size: usize) -> Vec<Write> {
    let mut writes = Vec::new();
    for n in (number - 1) * PER_BATCH..number * PER_BATCH {
        let message = message(n, size);
        for (of, target) in [("ann", "bo"), ("bo", "ann")] {
            let row = EntryRow::Message {
                id: message.id,
                at: message.at,
                conversation: Conversation { kind: Kind::Private, target: target.into() },
                mine: of == "ann",
                flags: message.flags,
                ordinal: n as u32,
            };
            writes.push(Write::Entry { user: user(of), pos: message.at, row });
        }
        writes.push(Write::Body(message));
    }
    writes
}

/// Numbers of the messages that both sides have, whole; fails when the two differ or one is there twice.
pub fn numbers(store: &dyn Store) -> Result<Vec<u64>, StoreError> {
    let mut found = [Vec::new(), Vec::new()];
    for (of, found) in ["ann", "bo"].into_iter().zip(&mut found) {
        let mut after = Stamp::ZERO;
        loop {
            let page = store.entries(&user(of), after, 500, usize::MAX)?;
            for entry in page.entries {
                let hongyan::model::What::Message { message: read, ordinal } = entry.what else { panic!() };
                let content = read.content.json().len();
                let again = message(
                    u64::from(ordinal),
                    content - message(u64::from(ordinal), 0).content.json().len(),
                );
                assert_eq!(read, again);
                found.push(u64::from(ordinal));
            }
            after = page.last;
            if !page.more {
                break;
            }
        }
    }
    let [ann, bo] = found;
    assert_eq!(ann, bo);
    assert!(ann.windows(2).all(|pair| pair[0] < pair[1]), "out of order, or twice");
    Ok(ann)
}

/// The numbers of the messages of these batches.
pub fn of_batches(batches: impl IntoIterator<Item = u64>) -> Vec<u64> {
    batches.into_iter().flat_map(|number| (number - 1) * PER_BATCH..number * PER_BATCH).collect()
}

/// Copies a folder: of an open store, that is what a crash leaves.
pub fn image(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            image(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// Files in the folder whose name ends so, in order of their numbers.
pub fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.to_str().unwrap().ends_with(end))
        .collect();
    found.sort_by_key(|path| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap_or(0));
    found
}

/// A small generator of random numbers.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Seeded by the time or `SEED`, which it prints.
    pub fn new() -> Self {
        let seed = std::env::var("SEED").ok().map_or_else(
            || {
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
                    | 1
            },
            |seed| seed.parse().unwrap(),
        );
        println!("SEED={seed}");
        Self(seed)
    }
}
