//! The witness: which batches were acknowledged, kept outside the engine's files.
//!
//! The engine opens a journal whose end does not parse by cutting it off, without a word. A torn end is what a crash
//! leaves, and nobody was told that it is durable; a journal with a page gone bad looks the same and may hold, behind
//! that page, batches that were acknowledged. So after each commit its number is written here, and an opening store
//! compares.
//!
//! The file has two slots, one in each of two blocks of the disk, written in turn with a checksum: a write that is
//! torn spoils one slot and leaves the one before. It is written with `pwrite` and synced only every two seconds and
//! on closing, which is enough:
//!
//! * After `kill -9` or a panic the kernel still has every write: the witness is exact.
//! * After a power loss it may be up to two seconds old, never too new: a batch is named only after its fdatasync.
//!   An old witness asks for less than was acknowledged, so it could hide a loss only where the journal lost its
//!   very last batches and nothing after them. A page gone bad further in shows by itself, as later batches stand
//!   behind it: a batch is written only after the one before it was synced. What is left is a disk that loses
//!   synced bytes at the end of the journal and the power within the same two seconds.
//!
//! The file is locked for as long as the store is open, which keeps other processes out before the engine is touched.

use super::super::{
    StoreError,
    codec::{BatchMark, KEYSPACES, Touched},
};
use crate::model::Stamp;
use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Name of the file in the store's folder.
pub(super) const FILE: &str = "witness";
const MAGIC: [u8; 8] = *b"HYwitns\x01";
/// Magic, turn, number, stamp, journal, clean, one number a keyspace, checksum.
const LEN: usize = 8 * (7 + KEYSPACES.len());
/// Distance of the slots: a block each.
const APART: u64 = 4_096;
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// What the witness says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Testimony {
    /// The last batch that was acknowledged.
    pub(super) mark: BatchMark,
    /// For each keyspace the last batch that wrote to it.
    pub(super) touched: Touched,
    /// Number of the newest journal file when the witness was last synced.
    pub(super) journal: u64,
    /// Whether the store was closed in order, and nothing written since.
    pub(super) clean: bool,
}

fn encode(turn: u64, said: &Testimony) -> [u8; LEN] {
    let mut out = [0; LEN];
    out[..8].copy_from_slice(&MAGIC);
    let numbers = [turn, said.mark.number, said.mark.last.0, said.journal, u64::from(said.clean)];
    for (place, number) in out[8..].chunks_exact_mut(8).zip(numbers.into_iter().chain(said.touched)) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    let sum = xxhash_rust::xxh3::xxh3_64(&out[..LEN - 8]);
    out[LEN - 8..].copy_from_slice(&sum.to_be_bytes());
    out
}

fn decode(slot: &[u8; LEN]) -> Option<(u64, Testimony)> {
    let mut numbers = slot[8..].chunks_exact(8).map(|place| {
        let mut number = [0; 8];
        number.copy_from_slice(place);
        u64::from_be_bytes(number)
    });
    let mut next = || numbers.next().unwrap_or_default();
    let (turn, number, last, journal, clean) = (next(), next(), next(), next(), next() == 1);
    let mut touched = Touched::default();
    touched.iter_mut().for_each(|place| *place = next());
    let said = Testimony { mark: BatchMark { number, last: Stamp(last) }, touched, journal, clean };
    (encode(turn, &said) == *slot).then_some((turn, said))
}

/// The open file, locked.
pub(super) struct Witness {
    file: File,
    path: PathBuf,
    folder: PathBuf,
    turn: u64,
    said: Testimony,
    synced: Instant,
}

/// What was found when the witness was opened.
pub(super) enum Found {
    /// The file was made just now, or never got as far as its first write.
    New,
    /// It says this.
    Says(Testimony),
    /// Neither slot reads.
    Unreadable,
}

impl Witness {
    /// Opens and locks the witness of the store in `folder`, and makes it if it is missing.
    pub(super) fn open(folder: &Path) -> Result<(Self, Found), StoreError> {
        let path = folder.join(FILE);
        let failed = |source| StoreError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path: folder.into() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut best = None;
        for slot in [0, 1] {
            let mut bytes = [0; LEN];
            match file.read_exact_at(&mut bytes, slot * APART) {
                Ok(()) => best = best.max_by_turn(decode(&bytes)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let found = match best {
            Some((_, said)) => Found::Says(said),
            None if file.metadata().map_err(failed)?.len() == 0 => Found::New,
            None => Found::Unreadable,
        };
        let (turn, said) = best.unwrap_or_default();
        let synced = Instant::now();
        Ok((Self { file, folder: folder.into(), turn, said, synced, path }, found))
    }

    /// What it says now.
    pub(super) fn says(&self) -> &Testimony {
        &self.said
    }

    /// Writes down that all up to `mark` was acknowledged.
    pub(super) fn acked(&mut self, mark: BatchMark, touched: Touched) -> Result<(), StoreError> {
        (self.said.mark, self.said.touched, self.said.clean) = (mark, touched, false);
        let sync = self.synced.elapsed() >= SYNC_EVERY;
        self.write(sync)
    }

    /// Writes down the state of an open (`clean` false) or closed store, and syncs.
    pub(super) fn state(&mut self, mark: BatchMark, touched: Touched, clean: bool) -> Result<(), StoreError> {
        (self.said.mark, self.said.touched, self.said.clean) = (mark, touched, clean);
        self.write(true)
    }

    fn write(&mut self, sync: bool) -> Result<(), StoreError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| StoreError::Io { path, source }
        };
        if sync {
            self.said.journal = newest_journal(&self.folder).map_err(failed(&self.folder))?;
        }
        self.turn += 1;
        let slot = encode(self.turn, &self.said);
        self.file.write_all_at(&slot, (self.turn & 1) * APART).map_err(failed(&self.path))?;
        if sync {
            self.file.sync_data().map_err(failed(&self.path))?;
            self.synced = Instant::now();
        }
        Ok(())
    }
}

trait Newest {
    fn max_by_turn(self, other: Self) -> Self;
}

impl Newest for Option<(u64, Testimony)> {
    fn max_by_turn(self, other: Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) => Some(if a.0 > b.0 { a } else { b }),
            (a, b) => a.or(b),
        }
    }
}

/// Number of the newest journal file in `folder`; 0 when there is none.
fn newest_journal(folder: &Path) -> io::Result<u64> {
    let mut newest = 0;
    for file in std::fs::read_dir(folder)? {
        newest = newest.max(journal_number(&file?.path()).unwrap_or(0));
    }
    Ok(newest)
}

/// The number in a journal's file name.
pub(super) fn journal_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".jnl")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u64) -> BatchMark {
        BatchMark { number, last: Stamp(number * 10) }
    }

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (mut witness, found) = Witness::open(folder.path()).unwrap();
        assert!(matches!(found, Found::New));
        for number in 1..=5 {
            witness.acked(mark(number), [number; 7]).unwrap();
        }
        let newest = (witness.turn & 1) * APART;
        drop(witness);
        let path = folder.path().join(FILE);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0xaa; 20], newest + 30).unwrap();
        let (witness, found) = Witness::open(folder.path()).unwrap();
        let Found::Says(said) = found else { panic!("nothing was read") };
        assert_eq!((said.mark, said.touched, said.clean), (mark(4), [4; 7], false));
        drop(witness);
        file.write_all_at(&[0xaa; 20], APART - newest + 30).unwrap();
        assert!(matches!(Witness::open(folder.path()).unwrap().1, Found::Unreadable));
    }

    #[test]
    fn only_one_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let held = Witness::open(folder.path()).unwrap();
        assert!(matches!(Witness::open(folder.path()), Err(StoreError::Locked { .. })));
        drop(held);
        assert!(Witness::open(folder.path()).is_ok());
    }
}
