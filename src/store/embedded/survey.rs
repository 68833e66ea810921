//! Checks a store before the engine opens it, and names every file that is not as it should be.
//!
//! Purpose: the engine truncates journals, deletes keyspaces whose `current` is missing, and starts an empty database
//! where its marker is missing, all without a word; so everything is looked at first, and nothing is changed.
//! What is checked:
//! 1. the engine's marker, the manifest of each keyspace, and that every table is there;
//! 2. every byte of every journal: batches parse, checksums are right, numbers follow each other;
//! 3. the tables of each keyspace reach up to where the journals begin: a batch's row names the last batch before it
//!    for each keyspace, and each keyspace holds the mark of the last batch in its tables;
//! 4. the last batch is not older than the witness says.
//!
//! One thing that is wrong in a journal is no damage: an end that does not parse, behind which nothing stands, of
//! batches that nobody acknowledged. That is what a crash leaves ([`Survey::torn`]).
//!
//! Tables are checked whole only after an error, as that reads all data.

use super::{
    super::{
        StoreError,
        codec::{self, BatchMark, BatchRow, KEYSPACES, Touched},
    },
    journal::{self, Journal},
    tables::{self, Trouble},
    witness::{Found, Testimony, journal_number},
};
use crate::model::Stamp;
use lsm_tree::{AbstractTree, SequenceNumberCounter};
use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
};

/// What has to be done so that the store opens without what is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fix {
    /// Write the engine's marker anew.
    Marker,
    /// Keep the journal's whole batches only.
    Journal,
    /// Take the table out of its keyspace's manifest.
    Table { folder: PathBuf, id: u64 },
    /// Set the keyspace's folder aside.
    Keyspace { folder: PathBuf },
    /// Nothing on disk: remember that the loss was accepted.
    Accept,
}

/// Batches by number, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The first batch.
    pub first: u64,
    /// The last batch.
    pub last: u64,
    /// Stamps of what is lost lie after this one,
    pub after: Stamp,
    /// and not after this one.
    pub upto: Stamp,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, after, upto } = *self;
        if first == last {
            write!(f, "batch {first}")?;
        } else {
            write!(f, "batches {first} to {last}")?;
        }
        write!(f, ", written from {} to {}", when(after), when(upto))
    }
}

/// A stamp as a date, in UTC (days to civil date: Howard Hinnant, "chrono-compatible low-level date algorithms").
pub(super) fn when(stamp: Stamp) -> String {
    if stamp == Stamp::ZERO {
        return "the beginning".into();
    }
    let seconds = stamp.0 / 1_000_000;
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, doe) = (days / 146_097, days % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    let day = doy - (153 * mp + 2) / 5 + 1;
    let (h, m, s) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02} UTC")
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which file, or the folder where a file is missing that has no name.
    pub file: PathBuf,
    /// What is wrong with it, and what is lost.
    pub what: String,
    /// The batches that are lost, where that can be told.
    pub lost: Option<Lost>,
    pub(super) fix: Fix,
}

impl Finding {
    pub(super) fn error(&self) -> StoreError {
        StoreError::Damaged {
            file: self.file.clone(),
            what: self.what.clone(),
            advice: "Nothing was changed. Restore it from a copy, or run `hongyan repair` to go on without what is \
                     lost; it keeps the damaged files aside"
                .into(),
        }
    }
}

/// What a store's files hold.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) findings: Vec<Finding>,
    /// The last batch that opening will find.
    pub(super) mark: BatchMark,
    /// The highest number and stamp that anything tells of: what is written next lies above.
    pub(super) highest: BatchMark,
    /// The journal that a crash left with an end that does not parse, and where that end is.
    pub(super) torn: Option<(PathBuf, Range<usize>)>,
}

/// Numbers of batches whose loss the operator has accepted.
pub(super) type Accepted = [(u64, u64)];

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_path_buf();
    |source| StoreError::Io { path, source }
}

/// The last number up to `number` that was not accepted as lost.
fn lower(accepted: &Accepted, mut number: u64) -> u64 {
    while let Some(range) = accepted.iter().find(|range| (range.0..=range.1).contains(&number)) {
        number = range.0 - 1;
    }
    number
}

/// The first number from `number` on that was not accepted as lost.
fn raise(accepted: &Accepted, mut number: u64) -> u64 {
    while let Some(range) = accepted.iter().find(|range| (range.0..=range.1).contains(&number)) {
        number = range.1 + 1;
    }
    number
}

/// Looks at everything in `folder` but the inside of tables. Changes nothing.
pub(super) fn survey(folder: &Path, found: &Found, accepted: &Accepted) -> Result<Survey, StoreError> {
    let journals = read_journals(folder)?;
    let said = match found {
        Found::Says(said) => *said,
        Found::New | Found::Unreadable => Testimony::default(),
    };
    let mut survey = Survey::default();
    let written = said.mark.number > 0 || journals.iter().any(|journal| !journal.runs.is_empty());
    if !written && matches!(found, Found::New | Found::Says(_)) {
        // Nothing was ever committed; the engine may start over where it was stopped.
        return Ok(survey);
    }
    if !matches!(found, Found::Says(_)) {
        let file = folder.join(super::witness::FILE);
        let what =
            "it is missing or does not read, so it cannot be told whether the journals are complete".into();
        survey.findings.push(Finding { file, what, lost: None, fix: Fix::Accept });
    }
    let marker = folder.join("version");
    if std::fs::read(&marker).ok().as_deref() != Some(b"FJL\x03") {
        let what = "the engine's marker is missing or damaged; nothing is lost".into();
        survey.findings.push(Finding { file: marker, what, lost: None, fix: Fix::Marker });
    }
    let persisted = survey.look_at_tables(&folder.join("keyspaces"));
    survey.look_at_journals(folder, &journals, &said, persisted.as_ref(), accepted);
    Ok(survey)
}

fn read_journals(folder: &Path) -> Result<Vec<Journal>, StoreError> {
    let mut found = BTreeMap::new();
    for file in std::fs::read_dir(folder).map_err(io_error(folder))? {
        let path = file.map_err(io_error(folder))?.path();
        if let Some(number) = journal_number(&path) {
            found.insert(number, path);
        }
    }
    let read = |(number, path): (u64, PathBuf)| {
        let bytes = journal::bytes(&path).map_err(io_error(&path))?;
        let (runs, bad) = journal::read(&bytes);
        Ok(Journal { path, number, runs, bad })
    };
    found.into_iter().map(read).collect()
}

/// Marks of the last batches in tables: of each keyspace, and of `meta`.
#[derive(Debug, Default)]
struct Persisted {
    keyspaces: [BatchMark; KEYSPACES.len()],
    meta: BatchMark,
}

/// The value of `key` in the tables of the keyspace in `folder`.
fn persisted_row(folder: &Path, key: &[u8]) -> Result<Option<lsm_tree::Slice>, String> {
    let counter = SequenceNumberCounter::default;
    let read = || {
        let tree = lsm_tree::Config::new(folder, counter(), counter()).open()?;
        tree.get(key, lsm_tree::SeqNo::MAX)
    };
    match std::panic::catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| format!("it does not read: {error}")),
        Err(_) => Err("it does not read".into()),
    }
}

impl Survey {
    fn trouble(&mut self, trouble: Trouble, keyspace: &str, folder: &Path) {
        let Trouble { file, what } = trouble;
        let id = file.strip_prefix(folder.join("tables")).ok().and_then(|id| id.to_str()?.parse().ok());
        let folder = folder.to_path_buf();
        let (fix, lost) = match id {
            Some(id) if !is_list(&folder) => (Fix::Table { folder, id }, "what this table of it held"),
            Some(_) => (Fix::Keyspace { folder }, "nothing, the list is always the same"),
            None if is_list(&folder) => (Fix::Keyspace { folder }, "nothing, the list is always the same"),
            None => (Fix::Keyspace { folder }, "all of it that had left the journals"),
        };
        let what = format!("{what}; lost of keyspace {keyspace}: {lost}");
        self.findings.push(Finding { file, what, lost: None, fix });
    }

    /// What the tables hold, unless something about them is wrong.
    fn look_at_tables(&mut self, keyspaces: &Path) -> Option<Persisted> {
        let mut persisted = Persisted::default();
        let engine = keyspaces.join("0");
        if let Err(trouble) = tables::manifest(&engine) {
            self.trouble(trouble, "list of keyspaces", &engine);
            return None;
        }
        let names = match keyspace_names(&engine) {
            Ok(names) => names,
            Err(what) => {
                let broken = tables::manifest(&engine).map(|manifest| manifest.broken()).unwrap_or_default();
                let folder = engine.clone();
                let trouble = broken.into_iter().next().unwrap_or(Trouble { file: folder, what });
                self.trouble(trouble, "list of keyspaces", &engine);
                return None;
            }
        };
        // The engine deletes the folder of a keyspace that is not in its list.
        let unlisted =
            KEYSPACES.iter().chain(&["meta"]).find(|known| !names.iter().any(|(name, _)| name == *known));
        if let Some(name) = unlisted {
            let what = format!("keyspace {name} is not in the engine's list");
            self.trouble(Trouble { file: engine.clone(), what }, "list of keyspaces", &engine);
            return None;
        }
        let before = self.findings.len();
        for (name, id) in names {
            let folder = keyspaces.join(id.to_string());
            let manifest = match tables::manifest(&folder) {
                Ok(manifest) => manifest,
                Err(trouble) => {
                    self.trouble(trouble, &name, &folder);
                    continue;
                }
            };
            let place = KEYSPACES.iter().position(|known| *known == name);
            let read = match place {
                Some(place) => persisted_row(&folder, codec::MARK_KEY)
                    .and_then(|row| {
                        row.map_or(Ok(BatchMark::default()), |row| read_with(codec::read_mark, &row))
                    })
                    .map(|mark| persisted.keyspaces[place] = mark),
                None => persisted_row(&folder, codec::BATCH_KEY)
                    .and_then(|row| {
                        row.map_or(Ok(BatchRow::default()), |row| read_with(codec::read_batch, &row))
                    })
                    .map(|row| persisted.meta = row.mark),
            };
            if let Err(what) = read {
                let mut broken = manifest.broken();
                if broken.is_empty() {
                    broken.push(Trouble { file: folder.clone(), what });
                }
                broken.into_iter().for_each(|trouble| self.trouble(trouble, &name, &folder));
            }
        }
        (self.findings.len() == before).then_some(persisted)
    }
}

fn read_with<T>(decode: fn(&[u8]) -> Result<T, codec::Broken>, row: &[u8]) -> Result<T, String> {
    decode(row).map_err(|broken| broken.to_string())
}

/// Whether this is the folder of the engine's own list of keyspaces. Without an entry there the engine deletes the
/// keyspace, so no part of the list may ever be left out.
pub(super) fn is_list(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name == "0")
}

/// Names and numbers of the keyspaces, from the engine's own tables (fjall 3.1, `meta_keyspace.rs`: key `n` and the
/// number, value the name).
pub(super) fn keyspace_names(engine: &Path) -> Result<Vec<(String, u64)>, String> {
    use lsm_tree::Guard;
    let counter = SequenceNumberCounter::default;
    let read = || {
        let tree = lsm_tree::Config::new(engine, counter(), counter()).open()?;
        let mut names = Vec::new();
        for row in tree.prefix(b"n", lsm_tree::SeqNo::MAX, None) {
            let (key, name) = row.into_inner()?;
            if let Some(id) = key.get(1..).and_then(|id| id.try_into().ok()) {
                names.push((String::from_utf8_lossy(&name).into_owned(), u64::from_be_bytes(id)));
            }
        }
        Ok::<_, lsm_tree::Error>(names)
    };
    match std::panic::catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| format!("it does not read: {error}")),
        Err(_) => Err("it does not read".into()),
    }
}

#[path = "survey_journals.rs"]
mod journals;
