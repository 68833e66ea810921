//! What the engine's errors mean, and which file they are about: the engine names none.

use super::{
    super::StoreError,
    Options,
    survey::{Finding, Fix, is_list},
    tables::{self, Trouble},
};
use fjall::Database;
use parking_lot::Mutex;
use std::{
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
};

/// Opens the engine; its panics on broken files are errors here.
pub(super) fn open_engine(path: &Path, options: &Options) -> Result<Database, StoreError> {
    // The engine makes its lock file only together with everything else.
    let lock = path.join("lock");
    let made = std::fs::OpenOptions::new().append(true).create(true).open(&lock);
    made.map_err(|source| StoreError::Io { path: lock, source })?;
    let open = AssertUnwindSafe(|| options.builder(path).open());
    match std::panic::catch_unwind(open) {
        Ok(opened) => opened.map_err(|error| engine_error(path, error)),
        Err(_) => {
            Err(first(&broken_tables(path))
                .unwrap_or_else(|| unknown(path, "the engine panicked on opening")))
        }
    }
}

/// Whether the error says that bytes are wrong.
fn says_damage(error: &fjall::Error) -> bool {
    use fjall::{Error, LsmError};
    match error {
        Error::Io(error) | Error::Storage(LsmError::Io(error)) => {
            matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::NotFound)
        }
        Error::Locked | Error::KeyspaceDeleted => false,
        _ => true,
    }
}

/// What an error means to whoever runs the node.
pub(super) fn engine_error(path: &Path, error: fjall::Error) -> StoreError {
    if says_damage(&error) {
        return first(&broken_tables(path)).unwrap_or_else(|| unknown(path, &error.to_string()));
    }
    plain(path, error)
}

fn plain(path: &Path, error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Locked => StoreError::Locked { path: path.into() },
        fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => {
            StoreError::Io { path: path.into(), source }
        }
        other => StoreError::Engine(other.to_string()),
    }
}

fn unknown(path: &Path, what: &str) -> StoreError {
    StoreError::Damaged {
        file: path.into(),
        what: format!("{what}, and all files read well"),
        advice: "Start again; if it stays, restore a copy and report this".into(),
    }
}

fn first(findings: &[Finding]) -> Option<StoreError> {
    findings.first().map(Finding::error)
}

/// Reads all tables of all keyspaces and names those whose bytes are not as they were written.
pub(super) fn broken_tables(path: &Path) -> Vec<Finding> {
    let mut found = Vec::new();
    let Ok(folders) = std::fs::read_dir(path.join("keyspaces")) else {
        return found;
    };
    let mut folders: Vec<PathBuf> = folders.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
        let Ok(manifest) = tables::manifest(&folder) else {
            continue;
        };
        for Trouble { file, what } in manifest.broken() {
            // The engine may have merged it away meanwhile.
            let still = tables::manifest(&folder)
                .is_ok_and(|manifest| manifest.tables().any(|table| table.path == file));
            let id = file.file_name().and_then(|id| id.to_str()?.parse().ok());
            if let (true, Some(id)) = (still, id) {
                let folder = folder.clone();
                let (fix, lost) = if is_list(&folder) {
                    (Fix::Keyspace { folder }, "nothing, it is the engine's list of keyspaces")
                } else {
                    (Fix::Table { folder, id }, "what this table held")
                };
                let what = format!("{what}; lost: {lost}");
                found.push(Finding { file, what, lost: None, fix });
            }
        }
    }
    found
}

/// The damage that an open store has met, once it is known.
#[derive(Default)]
pub(super) struct Located(Mutex<Option<Finding>>);

impl Located {
    /// What an error of the open engine means. The first one about damage reads all tables, to name the file; others
    /// that come meanwhile do not wait for that.
    pub(super) fn explain(&self, path: &Path, error: fjall::Error) -> StoreError {
        if !says_damage(&error) {
            return plain(path, error);
        }
        let Some(mut known) = self.0.try_lock() else {
            return unknown(path, &format!("{error}, and which file it is about is being looked for"));
        };
        if known.is_none() {
            *known = broken_tables(path).into_iter().next();
        }
        known.as_ref().map_or_else(|| unknown(path, &error.to_string()), Finding::error)
    }
}
