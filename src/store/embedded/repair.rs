//! Going on without what is lost.

use super::{
    super::StoreError,
    Embedded, Options, damage, journal,
    survey::{self, Finding, Fix, Survey},
    tables,
    witness::{Found, Testimony, Witness},
};
use std::{
    fmt,
    fs::{self, File},
    io,
    ops::Range,
    path::{Path, PathBuf},
};

/// Batches whose loss was accepted: a line each, first and last number and the file.
const LOSSES: &str = "losses";
/// Folder for damaged files.
const ASIDE: &str = "damaged";

fn failed(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    |source| StoreError::Io { path, source }
}

/// Numbers of batches whose loss was accepted in earlier repairs.
pub(super) fn accepted(folder: &Path) -> Result<Vec<(u64, u64)>, StoreError> {
    let path = folder.join(LOSSES);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&path)(error)),
    };
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (first, last) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        (1 <= first && first <= last).then_some((first, last))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Cuts off a journal's end that does not parse and holds nothing acknowledged. Returns the file that keeps it.
pub(super) fn cut(path: &Path, bytes: &Range<usize>) -> Result<PathBuf, StoreError> {
    let data = fs::read(path).map_err(failed(path))?;
    let kept = path.with_extension("torn");
    tables::replace(&kept, data.get(bytes.clone()).unwrap_or_default()).map_err(failed(&kept))?;
    let file = File::options().write(true).open(path).map_err(failed(path))?;
    file.set_len(bytes.start as u64).and_then(|()| file.sync_all()).map_err(failed(path))?;
    Ok(kept)
}

/// What a repair found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// What was wrong; empty when nothing was.
    pub findings: Vec<Finding>,
    /// Where the damaged files are kept; `None` when none had to be moved.
    pub aside: Option<PathBuf>,
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.findings.is_empty() {
            return f.write_str("nothing is damaged, nothing was changed");
        }
        for Finding { file, what, .. } in &self.findings {
            writeln!(f, "{}: {what}", file.display())?;
        }
        match &self.aside {
            Some(aside) => write!(f, "the damaged files are kept in {}", aside.display()),
            None => f.write_str("no file had to be moved"),
        }
    }
}

/// Everything that is wrong with the store in `path`, with every byte of it read. Changes nothing.
///
/// # Errors
/// [`StoreError::Locked`] while a node runs on it, [`StoreError::Io`].
pub fn inspect(path: &Path) -> Result<Vec<Finding>, StoreError> {
    let (_witness, found) = existing(path)?;
    Ok(look(path, &found)?.findings)
}

fn existing(path: &Path) -> Result<(Witness, Found), StoreError> {
    fs::read_dir(path).map_err(failed(path))?;
    Witness::open(path)
}

fn look(path: &Path, found: &Found) -> Result<Survey, StoreError> {
    let mut survey = survey::survey(path, found, &accepted(path)?)?;
    for finding in damage::broken_tables(path) {
        if !survey.findings.iter().any(|known| known.file == finding.file) {
            survey.findings.push(finding);
        }
    }
    Ok(survey)
}

/// Makes the store in `path` open again without what is lost, and says what that is. Whole batches and tables stay;
/// damaged files are kept in a folder `damaged` beside them. Running it again changes nothing.
///
/// A table that has to go may have hidden older rows of the same keys, such as a message before it was taken back:
/// those are seen again.
///
/// # Errors
/// [`StoreError::Locked`] while a node runs on it, [`StoreError::Io`], and [`StoreError::Damaged`] when it still does
/// not open.
pub fn repair(path: &Path) -> Result<RepairReport, StoreError> {
    let mut report = RepairReport::default();
    // What one round takes away can show more, such as a mark that stood in a table.
    for _ in 0..8 {
        let (mut witness, found) = existing(path)?;
        let survey = look(path, &found)?;
        if survey.findings.is_empty() {
            if report.findings.is_empty() {
                return Ok(report);
            }
            Embedded::start(path.into(), &Options::default(), witness, &survey)?;
            return Ok(report);
        }
        let aside = match report.aside.clone() {
            Some(aside) => aside,
            None => new_folder(&path.join(ASIDE)).map_err(failed(path))?,
        };
        report.aside = Some(aside.clone());
        for (i, finding) in survey.findings.iter().enumerate() {
            let whole = matches!(finding.fix, Fix::Keyspace { .. });
            if !(whole && survey.findings[..i].iter().any(|done| done.fix == finding.fix)) {
                fix(path, &aside, finding).map_err(failed(&finding.file))?;
            }
        }
        remember(path, &survey.findings).map_err(failed(path))?;
        // Without this the witness would go on to ask for what it can no longer have.
        if !matches!(found, Found::Says(_)) {
            let Testimony { touched, .. } = *witness.says();
            witness.state(survey.highest, touched, false)?;
        }
        report.findings.extend(survey.findings);
    }
    Err(StoreError::Damaged {
        file: path.into(),
        what: format!("it still does not open after this repair:\n{report}"),
        advice: "Restore a copy".into(),
    })
}

fn new_folder(base: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(base)?;
    let mut number = 1;
    loop {
        let folder = base.join(number.to_string());
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn remember(folder: &Path, findings: &[Finding]) -> io::Result<()> {
    let path = folder.join(LOSSES);
    let mut text = fs::read_to_string(&path).unwrap_or_default();
    let before = text.len();
    for finding in findings {
        if let Some(lost) = finding.lost {
            text += &format!("{} {} {}\n", lost.first, lost.last, finding.file.display());
        }
    }
    if text.len() == before { Ok(()) } else { tables::replace(&path, text.as_bytes()) }
}

/// Where a file or folder is kept aside: under a name that tells where it was, and that nothing has yet.
fn keep(root: &Path, aside: &Path, file: &Path) -> PathBuf {
    let name = file.strip_prefix(root).unwrap_or(file).to_string_lossy().replace('/', "-");
    let again = (2..).map(|number| aside.join(format!("{name}.{number}")));
    std::iter::once(aside.join(&name)).chain(again).find(|path| !path.exists()).unwrap_or_default()
}

fn fix(root: &Path, aside: &Path, finding: &Finding) -> io::Result<()> {
    let file = &finding.file;
    match &finding.fix {
        Fix::Accept => {
            if file.is_file() {
                fs::copy(file, keep(root, aside, file))?;
            }
            Ok(())
        }
        Fix::Marker => tables::replace(file, b"FJL\x03"),
        Fix::Journal => {
            let data = fs::read(file)?;
            tables::replace(&keep(root, aside, file), &data)?;
            let (runs, _) = journal::read(&data);
            let whole: Vec<u8> = runs.into_iter().flat_map(|run| data[run.bytes].to_vec()).collect();
            tables::replace(file, &whole)
        }
        Fix::Table { folder, id } => {
            // Another finding may have taken the whole folder away already.
            let Ok(pointer) = fs::metadata(folder.join("current")) else {
                return Ok(());
            };
            debug_assert!(pointer.is_file());
            tables::without(folder, *id)?;
            if file.exists() { fs::rename(file, keep(root, aside, file)) } else { Ok(()) }
        }
        Fix::Keyspace { folder } => {
            if survey::is_list(folder) {
                return rebuild_engine(root, aside);
            }
            if folder.exists() {
                fs::rename(folder, keep(root, aside, folder))?;
            }
            // An empty keyspace in its place; without one the engine would forget its rows in the journals too.
            let counter = lsm_tree::SequenceNumberCounter::default;
            let made = lsm_tree::Config::new(folder, counter(), counter()).open();
            made.map(drop).map_err(io::Error::other)
        }
    }
}

/// The engine's list of keyspaces is gone. It is always the same, as keyspaces are made in one order, so a new store's
/// list is put in its place; where keyspaces have other numbers, after an earlier repair, it cannot be.
fn rebuild_engine(root: &Path, aside: &Path) -> io::Result<()> {
    let keyspaces = root.join("keyspaces");
    let fresh = aside.join("fresh");
    drop(Embedded::open(&fresh, &Options::default()).map_err(io::Error::other)?);
    for entry in fs::read_dir(&keyspaces)? {
        let name = entry?.file_name();
        if !fresh.join("keyspaces").join(&name).exists() {
            let name = name.to_string_lossy();
            return Err(io::Error::other(format!(
                "the list of keyspaces is lost, and keyspace {name} is not one of a new store's; restore a copy"
            )));
        }
    }
    let old = keyspaces.join("0");
    if old.exists() {
        fs::rename(&old, keep(root, aside, &old))?;
    }
    fs::rename(fresh.join("keyspaces/0"), &old)?;
    fs::remove_dir_all(&fresh)
}
