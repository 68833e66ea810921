//! Reading the engine's journals without the engine, which would cut off what it does not understand.
//!
//! Format (fjall 3.1, `journal/entry.rs`; integers little endian): a batch is a start (tag 1, number of items u32,
//! sequence number u64), items (tag 2, value type u8, compression u8, keyspace u64, lengths of key u16, value u32 and
//! value on disk u32, key, value) and an end (tag 3, XXH3 of the items u64, `FJL\x03`). A journal is made 64 MiB long
//! and zero, so zeros behind the last batch are its end. The first item of each of our batches is the row with its
//! number, which is found by its own magic and checksum where the rest is not readable.

use super::super::codec::{self, BATCH_KEY, BATCH_LEN, BATCH_MAGIC, BatchRow};
use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

const START: usize = 13;
const ITEM: usize = 21;
const END: usize = 13;
const TRAILER: &[u8] = b"FJL\x03";
/// From a batch's start to the magic of its row.
const TO_ROW: usize = START + ITEM + BATCH_KEY.len();

/// Batches that stand one behind the other, with numbers that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Where in the file.
    pub(super) bytes: Range<usize>,
    pub(super) first: BatchRow,
    pub(super) last: BatchRow,
}

/// Bytes between batches that are no batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) bytes: Range<usize>,
    /// Rows that could still be read there.
    pub(super) rows: Vec<BatchRow>,
}

/// What a journal holds.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) path: PathBuf,
    pub(super) number: u64,
    pub(super) runs: Vec<Run>,
    pub(super) bad: Vec<Bad>,
}

/// A batch that parses.
struct Batch {
    bytes: Range<usize>,
    row: BatchRow,
    /// The engine's number, which its checksum does not cover.
    seqno: u64,
}

/// Length of the batch at the start of `data`, its sequence number, and its row if the checksum is right. `None` when
/// there is no batch.
fn batch(data: &[u8]) -> Option<(usize, u64, Option<BatchRow>)> {
    let mut at = START;
    let start = data.get(..START)?;
    if start[0] != 1 {
        return None;
    }
    let items = u32::from_le_bytes(start[1..5].try_into().ok()?);
    let seqno = u64::from_le_bytes(start[5..].try_into().ok()?);
    let mut row = None;
    for i in 0..items {
        let item = data.get(at..at + ITEM)?;
        // Tag, value type, and no compression: the engine was built without any.
        if item[0] != 2 || item[1] > 4 || item[2] != 0 {
            return None;
        }
        let key = usize::from(u16::from_le_bytes(item[11..13].try_into().ok()?));
        let value = u32::from_le_bytes(item[13..17].try_into().ok()?) as usize;
        if item[13..17] != item[17..21] {
            return None;
        }
        let end = at + ITEM + key + value;
        let body = data.get(at + ITEM..end)?;
        if i == 0 && &body[..key] == BATCH_KEY {
            row = codec::read_batch(&body[key..]).ok();
        }
        at = end;
    }
    let end = data.get(at..at + END)?;
    if end[0] != 3 || &end[9..] != TRAILER {
        return None;
    }
    let sum = xxhash_rust::xxh3::xxh3_64(&data[START..at]).to_le_bytes();
    Some((at + END, seqno, row.filter(|_| end[1..9] == sum)))
}

/// The bytes of a journal file without the zeros at its end, which are tens of megabytes mostly.
pub(super) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut end = file.metadata()?.len();
    let mut block = vec![0; 256 << 10];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        let kept = without_zeros(part);
        end = start + kept as u64;
        if kept > 0 {
            break;
        }
    }
    let mut bytes = Vec::with_capacity(end as usize);
    file.take(end).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// How far a sequence number may be above the one before: the engine takes few for itself.
const LEAP: u64 = 1 << 20;

/// Reads a journal whole. Takes any bytes.
pub(super) fn read(data: &[u8]) -> (Vec<Run>, Vec<Bad>) {
    let (mut batches, mut bad): (Vec<Batch>, Vec<Bad>) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < data.len() {
        if let Some((len, seqno, Some(row))) = batch(&data[at..]) {
            let bytes = at..at + len;
            at += len;
            // Sequence numbers grow. Of two that do not, the first is wrong if the second fits the one before it.
            let follows = |before: Option<&Batch>| {
                before.is_none_or(|before| before.seqno < seqno && seqno - before.seqno < LEAP)
            };
            if !follows(batches.last()) {
                let before = batches.len().checked_sub(2).and_then(|i| batches.get(i));
                if !follows(before) {
                    bad.push(Bad { bytes, rows: vec![row] });
                    continue;
                }
                if let Some(Batch { bytes, row, .. }) = batches.pop() {
                    bad.push(Bad { bytes, rows: vec![row] });
                }
            }
            batches.push(Batch { bytes, row, seqno });
            continue;
        }
        let end = at + without_zeros(&data[at..]);
        if end == at {
            break;
        }
        let (next, rows) = resume(&data[..end], at);
        bad.push(Bad { bytes: at..next, rows });
        at = next;
    }
    let mut runs: Vec<Run> = Vec::new();
    for Batch { bytes, row, .. } in batches {
        match runs.last_mut() {
            Some(run) if run.bytes.end == bytes.start && run.last.mark.number + 1 == row.mark.number => {
                (run.bytes.end, run.last) = (bytes.end, row);
            }
            _ => runs.push(Run { bytes, first: row, last: row }),
        }
    }
    bad.sort_by_key(|bad| bad.bytes.start);
    (runs, bad)
}

/// Length of `data` without the zeros at its end.
fn without_zeros(data: &[u8]) -> usize {
    const ZEROS: [u8; 4_096] = [0; 4_096];
    let mut end = data.len();
    // Whole blocks first: the zeros are mostly tens of megabytes.
    while end >= ZEROS.len() && data[end - ZEROS.len()..end] == ZEROS {
        end -= ZEROS.len();
    }
    data[..end].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

/// The next place behind `from` where a whole batch stands, or the end, and the rows passed over.
fn resume(data: &[u8], from: usize) -> (usize, Vec<BatchRow>) {
    let mut rows = Vec::new();
    let mut at = from;
    while let Some(found) = find(&data[at..], &BATCH_MAGIC) {
        let row = at + found;
        at = row + 1;
        let Some(Ok(value)) = data.get(row..row + BATCH_LEN).map(codec::read_batch) else {
            continue;
        };
        let start = row.saturating_sub(TO_ROW);
        if start > from && matches!(batch(&data[start..]), Some((_, _, Some(_)))) {
            return (start, rows);
        }
        rows.push(value);
    }
    (data.len(), rows)
}

fn find(data: &[u8], what: &[u8]) -> Option<usize> {
    data.windows(what.len()).position(|window| window == what)
}

/// For fuzzing: reads `bytes` as a journal, and checks that runs and bad places do not overlap and are in order.
///
/// # Panics
/// When they do, or the reader panics.
pub fn fuzz_journal(bytes: &[u8]) {
    let (runs, bad) = read(bytes);
    let mut places: Vec<Range<usize>> =
        runs.into_iter().map(|run| run.bytes).chain(bad.into_iter().map(|bad| bad.bytes)).collect();
    places.sort_by_key(|place| place.start);
    assert!(places.iter().all(|place| place.start < place.end && place.end <= bytes.len()));
    assert!(places.windows(2).all(|pair| pair[0].end <= pair[1].start));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Embedded, Options, Store, Write};
    use proptest::{collection::vec, prelude::*};
    use std::sync::LazyLock;

    /// A journal of eight batches, as the engine wrote it.
    static JOURNAL: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path(), &Options::default()).unwrap();
        for i in 0..8 {
            let user = crate::model::UserKey::new("app", "ann").unwrap();
            let row = crate::store::MailboxRow { last: crate::model::Stamp(i), ..Default::default() };
            store.commit(&[Write::Mailbox { user, row }]).unwrap();
        }
        bytes(&folder.path().join("0.jnl")).unwrap()
    });

    #[test]
    fn what_the_engine_writes_reads_as_one_run() {
        let (runs, bad) = read(&JOURNAL);
        assert_eq!((runs.len(), bad.len()), (1, 0));
        assert_eq!((runs[0].first.mark.number, runs[0].last.mark.number), (1, 8));
        assert_eq!(runs[0].bytes, 0..JOURNAL.len());
        assert_eq!((runs[0].first.before, runs[0].last.before), ([0; 7], [0, 0, 7, 0, 0, 0, 0]));
    }

    proptest! {
        #[test]
        fn a_mangled_journal_keeps_its_whole_batches(
            places in vec((any::<usize>(), 1..=255_u8), 1..3), cut in any::<usize>(), short in any::<bool>(),
        ) {
            let mut data = JOURNAL.clone();
            for (place, flip) in &places {
                let place = place % data.len();
                data[place] ^= flip;
            }
            if short {
                data.truncate(cut % data.len());
            }
            fuzz_journal(&data);
            let (runs, bad) = read(&data);
            let whole: u64 = runs.iter().map(|run| run.last.mark.number - run.first.mark.number + 1).sum();
            if !short {
                // A flipped sequence number can look as if its neighbour were wrong.
                prop_assert!(whole >= 8 - 2 * places.len() as u64 && whole <= 8);
                prop_assert!(whole < 8 || bad.is_empty());
            }
        }

        #[test]
        fn any_bytes_are_read(data in vec(prop_oneof![Just(0), Just(1), Just(2), Just(3), any::<u8>()], 0..500)) {
            fuzz_journal(&data);
        }
    }
}
