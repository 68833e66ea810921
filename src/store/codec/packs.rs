//! Packs of parcels, as the outboxes have them on disk.

use super::{Broken, Decoded, FORMAT, Reader, put_number, values};
use crate::model::{Item, Log, Message, MessageId, Parcel, Stamp, UserKey};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// First byte of a parcel whose message stands in its log.
const POINTER: u8 = 2;

/// A parcel as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Packed {
    /// All of it.
    Whole(Parcel),
    /// Its message stands in a log, and once is enough: that is a third of what a message between nodes is on disk.
    Pointer(Pointer),
}

/// A parcel with a private message, and where that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct Pointer {
    to: UserKey,
    from: UserKey,
    since: Option<Stamp>,
    pub(in crate::store) at: Stamp,
    pub(in crate::store) id: MessageId,
}

/// What a [`Pointer`] is written from.
#[derive(Serialize)]
struct Pointing<'a> {
    to: &'a UserKey,
    from: &'a UserKey,
    since: Option<Stamp>,
    at: Stamp,
    id: MessageId,
}

impl<'a> Pointing<'a> {
    /// Where the message of `parcel` stands, if the parcel is one of those of which this says all.
    fn of(parcel: &'a Parcel) -> Option<Self> {
        let Parcel { to, from, item: Item::Message(message), since } = parcel else { return None };
        parcel.is_plain().then_some(Self { to, from, since: *since, at: message.at, id: message.id })
    }
}

impl Pointer {
    /// Where the message of `parcel` stands, if the parcel is one of those of which this says all.
    pub(in crate::store) fn of(parcel: &Parcel) -> Option<Self> {
        let Pointing { since, at, id, .. } = Pointing::of(parcel)?;
        Some(Self { to: parcel.to.clone(), from: parcel.from.clone(), since, at, id })
    }

    /// The log.
    pub(in crate::store) fn log(&self) -> Log {
        Log::between(&self.from, self.to.id())
    }

    /// The parcel with the message that was found there.
    pub(in crate::store) fn parcel(&self, message: Arc<Message>) -> Parcel {
        let (to, from) = (self.to.clone(), self.from.clone());
        Parcel { to, from, item: Item::Message(message), since: self.since }
    }
}

/// Value of a parcel; `logged`: its message stands in its log.
pub(in crate::store) fn parcel_value(out: &mut Vec<u8>, parcel: &Parcel, logged: bool) -> Decoded<()> {
    match Pointing::of(parcel).filter(|_| logged) {
        Some(pointer) => pointer_value(out, &pointer),
        None => values::row_value(out, parcel),
    }
}

fn pointer_value(out: &mut Vec<u8>, pointer: &impl Serialize) -> Decoded<()> {
    values::row_value(out, pointer)?;
    out.iter_mut().take(1).for_each(|format| *format = POINTER);
    Ok(())
}

/// Value of a parcel.
pub(in crate::store) fn packed_value(out: &mut Vec<u8>, packed: &Packed) -> Decoded<()> {
    match packed {
        Packed::Whole(parcel) => values::row_value(out, parcel),
        Packed::Pointer(pointer) => pointer_value(out, pointer),
    }
}

/// A parcel.
pub(in crate::store) fn read_parcel(value: &[u8]) -> Decoded<Packed> {
    match value.split_first() {
        Some((&POINTER, rest)) => values::read_part(Reader(rest)).map(Packed::Pointer),
        _ => values::read_row(value).map(Packed::Whole),
    }
}

/// Parcels of a pack that are done: first and last of each run, counted from 0; in order, not touching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Gone(pub(in crate::store) Vec<(u32, u32)>);

impl Gone {
    /// Adds the run from `first` to `last`.
    pub(in crate::store) fn add(&mut self, mut first: u32, mut last: u32) {
        let near = |&(from, to): &(u32, u32)| from <= last.saturating_add(1) && first <= to.saturating_add(1);
        let (near, mut rest): (Vec<_>, Vec<_>) = self.0.iter().copied().partition(near);
        for (from, to) in near {
            (first, last) = (first.min(from), last.max(to));
        }
        rest.push((first, last));
        rest.sort_unstable();
        self.0 = rest;
    }

    /// The last parcel of a pack of `count` that is not done.
    pub(in crate::store) fn last_left(&self, count: u32) -> Option<u32> {
        let end = match self.0.last() {
            Some(&(first, last)) if last.saturating_add(1) >= count => first,
            _ => count,
        };
        end.checked_sub(1)
    }

    /// Whether parcel `index` is done.
    pub(in crate::store) fn has(&self, index: u32) -> bool {
        self.0.iter().any(|&(first, last)| (first..=last).contains(&index))
    }
}

/// Most parcels of a pack.
pub(in crate::store) const MAX_PACK: u32 = 1_024;

/// Adds a parcel, encoded, to those of a pack.
pub(in crate::store) fn put_parcel(parcels: &mut Vec<u8>, parcel: &[u8]) {
    put_number(parcels, parcel.len() as u32);
    parcels.extend_from_slice(parcel);
}

/// Value of a pack.
pub(in crate::store) fn pack_value(out: &mut Vec<u8>, count: u32, parcels: &[u8]) {
    out.clear();
    out.push(FORMAT);
    put_number(out, count);
    out.extend_from_slice(parcels);
}

/// How many parcels a pack has.
pub(in crate::store) fn read_pack_len(value: &[u8]) -> Decoded<u32> {
    pack_len(&mut Reader::value(value)?)
}

fn pack_len(reader: &mut Reader<'_>) -> Decoded<u32> {
    let count = reader.number()?;
    if (1..=MAX_PACK).contains(&count) {
        Ok(count)
    } else {
        Err(Broken("a pack has no parcels, or too many"))
    }
}

/// The parcels of a pack.
pub(in crate::store) fn read_pack(value: &[u8]) -> Decoded<Vec<Packed>> {
    let mut reader = Reader::value(value)?;
    let count = pack_len(&mut reader)?;
    let mut parcels = Vec::new();
    for _ in 0..count {
        let len = reader.number()?;
        parcels.push(read_parcel(reader.take(len as usize)?)?);
    }
    reader.end()?;
    Ok(parcels)
}

/// Value that says which parcels of a pack are done.
pub(in crate::store) fn gone_value(out: &mut Vec<u8>, gone: &Gone) {
    out.clear();
    out.push(FORMAT);
    put_number(out, gone.0.len() as u32);
    for (first, last) in &gone.0 {
        put_number(out, *first);
        put_number(out, *last);
    }
}

/// Which parcels of a pack are done.
pub(in crate::store) fn read_gone(value: &[u8]) -> Decoded<Gone> {
    let mut reader = Reader::value(value)?;
    let count = reader.number()?;
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for _ in 0..count {
        let run = (reader.number()?, reader.number()?);
        // In order, with something between any two.
        let follows = runs.last().is_none_or(|&(_, last)| run.0 > last.saturating_add(1));
        if run.0 > run.1 || !follows {
            return Err(Broken("parcels that are done are not in order"));
        }
        runs.push(run);
    }
    reader.end()?;
    Ok(Gone(runs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_touch_become_one() {
        let mut gone = Gone::default();
        for (first, last) in [(5, 6), (0, 1), (9, 9), (2, 2)] {
            gone.add(first, last);
        }
        assert_eq!(gone.0, [(0, 2), (5, 6), (9, 9)]);
        assert!(gone.has(6) && gone.has(9) && !gone.has(3) && !gone.has(10));
        gone.add(3, 8);
        assert_eq!(gone.0, [(0, 9)]);
        gone.add(u32::MAX, u32::MAX);
        assert_eq!(gone.0, [(0, 9), (u32::MAX, u32::MAX)]);
    }
}
