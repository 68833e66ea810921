//! What a batch says about itself.

use super::{Broken, Decoded, FORMAT, Reader};
use crate::model::Stamp;

/// Key of the row that every batch writes into `meta`.
pub(in crate::store) const BATCH_KEY: &[u8] = b"batch";

/// Number of a batch, and the highest stamp that it or any before it wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchMark {
    /// Batches are counted from 1; 0 is before the first.
    pub number: u64,
    /// The highest position, time or stamp of a fact so far.
    pub last: Stamp,
}

/// Keyspaces that batches write to, beside `meta`; the place of a name is the keyspace's number here.
pub(in crate::store) const KEYSPACES: [&str; 7] =
    ["bodies", "entries", "mailboxes", "conversations", "facts", "claims", "outbox"];

/// For each keyspace the number of the last batch that wrote to it; 0: none.
pub(in crate::store) type Touched = [u64; KEYSPACES.len()];

/// The row that a batch writes into `meta`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct BatchRow {
    pub(in crate::store) mark: BatchMark,
    /// The state before this batch, so that the oldest journal says what the tables must hold already.
    pub(in crate::store) before: Touched,
}

/// What a batch's row starts with; with its checksum it can be found among bytes that make no sense otherwise.
pub(in crate::store) const BATCH_MAGIC: [u8; 8] = *b"\x01HYbatch";
/// Length of a batch's row.
pub(in crate::store) const BATCH_LEN: usize = 32 + 8 * KEYSPACES.len();

/// Value of a batch's row: magic, number, stamp, `before`, and a checksum of these (XXH3).
pub(in crate::store) fn batch_value(row: &BatchRow) -> [u8; BATCH_LEN] {
    let mut out = [0; BATCH_LEN];
    out[..8].copy_from_slice(&BATCH_MAGIC);
    let numbers = [row.mark.number, row.mark.last.0].into_iter().chain(row.before);
    for (place, number) in out[8..].chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    let sum = xxhash_rust::xxh3::xxh3_64(&out[..BATCH_LEN - 8]);
    out[BATCH_LEN - 8..].copy_from_slice(&sum.to_be_bytes());
    out
}

/// A batch's row.
pub(in crate::store) fn read_batch(value: &[u8]) -> Decoded<BatchRow> {
    let mut reader = Reader(value);
    if reader.array()? != BATCH_MAGIC {
        return Err(Broken("a batch's row has an unknown format"));
    }
    let mark = BatchMark { number: reader.stamp()?.0, last: reader.stamp()? };
    let mut row = BatchRow { mark, before: Touched::default() };
    for before in &mut row.before {
        *before = reader.stamp()?.0;
    }
    reader.stamp()?;
    reader.end()?;
    if batch_value(&row) == value { Ok(row) } else { Err(Broken("a batch's row has a wrong checksum")) }
}

/// Key, before all others, of a row that every batch writes into each keyspace that it writes to: what is in that
/// keyspace's tables is what batches up to this one wrote.
pub(in crate::store) const MARK_KEY: &[u8] = &[0];

/// Value of that row.
pub(in crate::store) fn mark_value(mark: BatchMark) -> [u8; 17] {
    let mut out = [FORMAT; 17];
    out[1..9].copy_from_slice(&mark.number.to_be_bytes());
    out[9..].copy_from_slice(&mark.last.0.to_be_bytes());
    out
}

/// That row.
pub(in crate::store) fn read_mark(value: &[u8]) -> Decoded<BatchMark> {
    let mut reader = Reader::value(value)?;
    let mark = BatchMark { number: reader.stamp()?.0, last: reader.stamp()? };
    reader.end()?;
    Ok(mark)
}
