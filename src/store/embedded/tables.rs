//! Reading what the engine says about its tables without starting it.
//!
//! Each keyspace is a folder with `current` (number of the manifest u64, its XXH3 u128, checksum type), the manifest
//! `v<number>` (an sfa archive whose section `tables` lists levels, runs, and of each table the id and the XXH3 of
//! the whole file), and `tables/<id>` (lsm-tree 3.1, `version/persist.rs`).

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// A file that is not as it was written.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) file: PathBuf,
    pub(super) what: String,
}

/// One table of a manifest.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) id: u64,
    pub(super) path: PathBuf,
    sum: u128,
    global_seqno: u64,
}

/// The tables of a keyspace by level and run.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) path: PathBuf,
    pub(super) levels: Vec<Vec<Vec<Table>>>,
}

fn read(file: &Path) -> Result<Vec<u8>, Trouble> {
    std::fs::read(file).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &io::Error) -> Trouble {
    let what = match error.kind() {
        io::ErrorKind::NotFound => "the file is missing".into(),
        _ => format!("the file cannot be read: {error}"),
    };
    Trouble { file: file.into(), what }
}

/// Reads a keyspace's manifest, and checks it and that all its tables are there.
pub(super) fn manifest(folder: &Path) -> Result<Manifest, Trouble> {
    let manifest = parsed(folder)?;
    for table in manifest.tables() {
        match std::fs::metadata(&table.path) {
            Ok(found) if found.len() > 0 => {}
            Ok(_) => {
                return Err(Trouble { file: table.path.clone(), what: "the file is empty".into() });
            }
            Err(error) => return Err(unreadable(&table.path, &error)),
        }
    }
    Ok(manifest)
}

fn parsed(folder: &Path) -> Result<Manifest, Trouble> {
    let current = folder.join("current");
    let pointer = read(&current)?;
    let broken = |file: &Path, what: &str| Trouble { file: file.into(), what: what.into() };
    let Ok(pointer) = <[u8; 25]>::try_from(&pointer[..]) else {
        return Err(broken(&current, "its length is wrong"));
    };
    let (number, rest) = pointer.split_at(8);
    let number = number.iter().rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    let path = folder.join(format!("v{number}"));
    let bytes = read(&path)?;
    if xxh3_128(&bytes).to_le_bytes() != rest[..16] {
        return Err(broken(&path, "its checksum is wrong"));
    }
    let levels = sections(&path, &bytes)
        .and_then(|sections| {
            let tables = sections.into_iter().find(|(name, _)| name == b"tables")?;
            parse(&folder.join("tables"), &tables.1)
        })
        .ok_or_else(|| broken(&path, "it does not parse"))?;
    Ok(Manifest { path, levels })
}

type Sections = Vec<(Vec<u8>, Vec<u8>)>;

fn sections(path: &Path, bytes: &[u8]) -> Option<Sections> {
    let reader = sfa::Reader::new(path).ok()?;
    let section = |entry: &sfa::TocEntry| {
        let start = usize::try_from(entry.pos()).ok()?;
        let end = start.checked_add(usize::try_from(entry.len()).ok()?)?;
        Some((entry.name().to_vec(), bytes.get(start..end)?.to_vec()))
    };
    reader.toc().iter().map(section).collect()
}

fn parse(folder: &Path, mut bytes: &[u8]) -> Option<Vec<Vec<Vec<Table>>>> {
    fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
        let (head, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(*head)
    }
    let mut levels = Vec::new();
    for _ in 0..take::<1>(&mut bytes)?[0] {
        let mut level = Vec::new();
        for _ in 0..take::<1>(&mut bytes)?[0] {
            let mut run = Vec::new();
            for _ in 0..u32::from_le_bytes(take(&mut bytes)?) {
                let id = u64::from_le_bytes(take(&mut bytes)?);
                take::<1>(&mut bytes)?;
                let sum = u128::from_le_bytes(take(&mut bytes)?);
                let global_seqno = u64::from_le_bytes(take(&mut bytes)?);
                run.push(Table { id, path: folder.join(id.to_string()), sum, global_seqno });
            }
            level.push(run);
        }
        levels.push(level);
    }
    bytes.is_empty().then_some(levels)
}

impl Manifest {
    /// All tables.
    pub(super) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.levels.iter().flatten().flatten()
    }

    /// Tables that are missing, or whose bytes are not as they were written. Reads all of them.
    pub(super) fn broken(&self) -> Vec<Trouble> {
        self.tables().filter_map(|table| table.check().err()).collect()
    }
}

/// Takes the table `id` out of the keyspace in `folder`: writes a new manifest, and lets `current` point at it.
pub(super) fn without(folder: &Path, id: u64) -> io::Result<()> {
    use io::Write;
    let bad = || io::Error::other("the manifest does not parse");
    let manifest = parsed(folder).map_err(|trouble| io::Error::other(trouble.what))?;
    let bytes = std::fs::read(&manifest.path)?;
    let mut writer = sfa::Writer::from_writer(io::Cursor::new(Vec::new()));
    for (name, mut section) in sections(&manifest.path, &bytes).ok_or_else(bad)? {
        if name == b"tables" {
            section = encode(&manifest.levels, id);
        }
        writer.start(name)?;
        writer.write_all(&section)?;
    }
    let bytes = writer.into_inner().map_err(io::Error::other)?.into_inner();
    let name = manifest.path.file_name().and_then(|name| name.to_str()).ok_or_else(bad)?;
    let number = name[1..].parse::<u64>().map_err(io::Error::other)? + 1;
    let mut pointer = number.to_le_bytes().to_vec();
    pointer.extend_from_slice(&xxh3_128(&bytes).to_le_bytes());
    pointer.push(0);
    replace(&folder.join(format!("v{number}")), &bytes)?;
    replace(&folder.join("current"), &pointer)
}

fn encode(levels: &[Vec<Vec<Table>>], without: u64) -> Vec<u8> {
    let mut out = vec![levels.len() as u8];
    for level in levels {
        let runs: Vec<Vec<&Table>> = level
            .iter()
            .map(|run| run.iter().filter(|table| table.id != without).collect())
            .filter(|run: &Vec<_>| !run.is_empty())
            .collect();
        out.push(runs.len() as u8);
        for run in runs {
            out.extend_from_slice(&(run.len() as u32).to_le_bytes());
            for table in run {
                out.extend_from_slice(&table.id.to_le_bytes());
                out.push(0);
                out.extend_from_slice(&table.sum.to_le_bytes());
                out.extend_from_slice(&table.global_seqno.to_le_bytes());
            }
        }
    }
    out
}

impl Table {
    /// Whether the file is as it was written.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        let failed = |error: io::Error| unreadable(&self.path, &error);
        let mut file = File::open(&self.path).map_err(failed)?;
        let (mut hash, mut buffer) = (Xxh3::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer).map_err(failed)? {
                0 => break,
                len => hash.update(&buffer[..len]),
            }
        }
        if hash.digest128() == self.sum {
            return Ok(());
        }
        Err(Trouble { file: self.path.clone(), what: "its checksum is wrong: bytes have changed".into() })
    }
}

/// Writes a file so that it is there whole or as before, also after a power loss.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write;
    let aside = path.with_extension("new");
    let mut file = File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
