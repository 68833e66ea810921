//! Files that are not as they were written: named, and repaired when asked.

mod support;

use hongyan::store::{Embedded, Options, Store, StoreError, inspect, repair};
use std::{
    fs,
    path::{Path, PathBuf},
};
use support::{Random, batch, files, image, numbers, of_batches};

fn options() -> Options {
    Options { memtable: 1 << 20, ..Options::default() }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What a crash leaves after these batches.
    fn crashed(&self, batches: u64, size: usize) -> PathBuf {
        let store = Embedded::open(self.path("live"), &options()).unwrap();
        (1..=batches).for_each(|number| store.commit(&batch(number, size)).unwrap());
        let image = self.path("data");
        crash(store, &self.path("live"), &image);
        image
    }
}

/// Copies what a crash would leave of the store in `live`: it is closed first, as the engine's threads would change
/// files under the copy, and the witness put back that knows of no closing.
fn crash(store: Embedded, live: &Path, image: &Path) {
    let witness = fs::read(live.join("witness")).unwrap();
    drop(store);
    support::image(live, image);
    fs::write(image.join("witness"), witness).unwrap();
}

/// The error of opening, which has to name `file`.
fn refused(path: &Path, file: &Path) -> String {
    match Embedded::open(path, &options()) {
        Err(StoreError::Damaged { file: named, what, advice }) => {
            assert_eq!(named, file, "{what}");
            assert!(advice.contains("hongyan repair"));
            what
        }
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("opened"),
    }
}

/// Repairs, checks that a second time changes nothing, and gives the messages that are left.
fn repaired(path: &Path, file: &Path) -> Vec<u64> {
    let report = repair(path).unwrap();
    assert!(report.findings.iter().any(|finding| finding.file == file), "{report}");
    assert_eq!(repair(path).unwrap().findings, [], "not idempotent; first: {report}");
    assert_eq!(inspect(path).unwrap(), []);
    let store = Embedded::open(path, &options()).unwrap();
    let left = numbers(&store).unwrap();
    // It goes on: more can be written, and is there after the next start.
    store.commit(&batch(1_000, 10)).unwrap();
    drop(store);
    let again = numbers(&Embedded::open(path, &options()).unwrap()).unwrap();
    assert_eq!(again, [&left[..], &of_batches([1_000])].concat());
    left
}

/// Where the batches of a journal start, by their rows' magic.
fn starts(data: &[u8]) -> Vec<usize> {
    let magic = b"\x01HYbatch";
    (0..data.len() - 8).filter(|&i| &data[i..i + 8] == magic).map(|i| i - 39).collect()
}

#[test]
fn a_torn_end_that_was_not_acked_is_cut_off() {
    let mut random = Random::new();
    for round in 0..12 {
        let folder = Folder::new();
        let live = folder.path("live");
        let store = Embedded::open(&live, &options()).unwrap();
        (1..=5).for_each(|number| store.commit(&batch(number, 3_000)).unwrap());
        let witness = fs::read(live.join("witness")).unwrap();
        store.commit(&batch(6, 3_000)).unwrap();
        let path = folder.path("data");
        crash(store, &live, &path);
        fs::write(path.join("witness"), witness).unwrap();
        let journal = path.join("0.jnl");
        let mut data = fs::read(&journal).unwrap();
        let start = starts(&data)[5];
        let end = data.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        let place = start + 1 + random.below((end - start - 1) as u64) as usize;
        match round % 4 {
            0 => data.truncate(place),
            1 => data[place..end].fill(0),
            2 => data[place] ^= 1 << random.below(8),
            // A page in the middle that did not get to the disk.
            _ => data[place..end.min(place + 1_000)].fill(0),
        }
        fs::write(&journal, data).unwrap();
        let store = Embedded::open(&path, &options()).unwrap();
        assert_eq!(numbers(&store).unwrap(), of_batches(1..=5));
        store.commit(&batch(6, 10)).unwrap();
        drop(store);
        assert_eq!(numbers(&Embedded::open(&path, &options()).unwrap()).unwrap(), of_batches(1..=6));
        assert_eq!(files(&path, ".torn"), Vec::<PathBuf>::new());
    }
}

#[test]
fn an_end_that_was_acked_is_missed() {
    let mut random = Random::new();
    for round in 0..8 {
        let folder = Folder::new();
        let path = folder.crashed(6, 3_000);
        let journal = path.join("0.jnl");
        let mut data = fs::read(&journal).unwrap();
        let start = starts(&data)[5];
        let end = data.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        let place = start + 1 + random.below((end - start - 1) as u64) as usize;
        match round % 4 {
            0 => data.truncate(place),
            1 => data.truncate(start),
            2 => data[place] ^= 1 << random.below(8),
            _ => data[start..end].fill(0),
        }
        fs::write(&journal, &data).unwrap();
        let what = refused(&path, &journal);
        assert!(what.contains("batch 6, written from 2027-01-15 08:00:0"), "{what}");
        assert_eq!(fs::read(&journal).unwrap(), data, "refusing changed the journal");
        assert_eq!(repaired(&path, &journal), of_batches(1..=5));
    }
}

#[test]
fn a_zeroed_page_inside_the_journal_is_named_and_the_batches_behind_it_are_kept() {
    let mut random = Random::new();
    for _ in 0..6 {
        let folder = Folder::new();
        let path = folder.crashed(12, 3_000);
        let journal = path.join("0.jnl");
        let mut data = fs::read(&journal).unwrap();
        let starts = starts(&data);
        let page = (starts[2] + random.below((starts[9] - starts[2]) as u64) as usize) / 4_096 * 4_096;
        data[page..page + 4_096].fill(0);
        let hit = |from: usize, to: usize| from < page + 4_096 && page < to;
        let lost: Vec<u64> =
            (0..11).filter(|&i| hit(starts[i], starts[i + 1])).map(|i| i as u64 + 1).collect();
        fs::write(&journal, &data).unwrap();
        // Not even an old witness hides it.
        if random.below(2) == 0 {
            let old = Folder::new();
            fs::copy(old.crashed(1, 3_000).join("witness"), path.join("witness")).unwrap();
        }
        let what = refused(&path, &journal);
        assert!(
            what.contains(&format!("lost: batch{}", if lost.len() == 1 { " " } else { "es " })),
            "{what}"
        );
        assert_eq!(fs::read(&journal).unwrap(), data);
        assert_eq!(repaired(&path, &journal), of_batches((1..=12).filter(|number| !lost.contains(number))));
        assert_eq!(fs::read(path.join("damaged/1/0.jnl")).unwrap(), data, "the original is kept");
    }
}

#[test]
fn a_flipped_bit_in_a_table_is_named() {
    let mut random = Random::new();
    let folder = Folder::new();
    let path = folder.crashed(700, 800);
    for round in 0..12 {
        let copy = folder.path(&format!("copy-{round}"));
        image(&path, &copy);
        let mut tables: Vec<PathBuf> = fs::read_dir(copy.join("keyspaces"))
            .unwrap()
            .flat_map(|keyspace| files(&keyspace.unwrap().path().join("tables"), ""))
            .collect();
        tables.sort();
        let table = tables[random.below(tables.len() as u64) as usize].clone();
        let mut data = fs::read(&table).unwrap();
        let place = random.below(data.len() as u64) as usize;
        data[place] ^= 1 << random.below(8);
        fs::write(&table, &data).unwrap();
        // Opening or reading either does not touch the bit, or names the file.
        match Embedded::open(&copy, &options()).and_then(|store| numbers(&store)) {
            Ok(all) => assert_eq!(all, of_batches(1..=700)),
            Err(StoreError::Damaged { file, .. }) => assert_eq!(file, table),
            Err(other) => panic!("{other}"),
        }
        // (The engine may have merged the table away by now.)
        if table.exists() {
            let found = inspect(&copy).unwrap();
            assert!(found.iter().any(|finding| finding.file == table), "{}: {found:?}", table.display());
            repaired(&copy, &table);
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let folder = Folder::new();
    let path = folder.crashed(700, 800);
    let keyspace = |number: u64| path.join("keyspaces").join(number.to_string());
    let table = files(&keyspace(2).join("tables"), "").pop().unwrap();
    let names = [
        PathBuf::from("0.jnl"),
        "version".into(),
        "witness".into(),
        "keyspaces/0/current".into(),
        "keyspaces/2/current".into(),
        "keyspaces/4".into(),
        "keyspaces/0".into(),
        table.strip_prefix(&path).unwrap().into(),
    ];
    for name in names {
        let copy = folder.path("copy");
        image(&path, &copy);
        let mut file = copy.join(&name);
        if file.is_dir() {
            fs::remove_dir_all(&file).unwrap();
            file = file.join("current");
        } else {
            fs::remove_file(&file).unwrap();
        }
        let what = refused(&copy, &file);
        println!("{}: {what}", file.display());
        assert!(what.contains("missing"), "{what}");
        let left = repaired(&copy, &file);
        // The one journal still holds all that is in the tables.
        if name.as_os_str() == "0.jnl" {
            assert!(left.len() < 2_800);
        } else {
            assert_eq!(left, of_batches(1..=700), "{}", name.display());
        }
        fs::remove_dir_all(&copy).unwrap();
    }
}

#[test]
fn each_of_several_journals_is_missed() {
    let folder = Folder::new();
    let live = folder.path("live");
    // Nothing is ever flushed of the small keyspaces, so journals stay.
    let store = Embedded::open(&live, &Options { memtable: 8 << 20, ..Options::default() }).unwrap();
    let mut number = 0;
    let mut newest = 0;
    // Some batches into the third as well.
    while newest < 5 {
        number += 1;
        store.commit(&batch(number, 200_000)).unwrap();
        newest += usize::from(files(&live, ".jnl").len() == 3);
    }
    let path = folder.path("data");
    crash(store, &live, &path);
    fs::remove_dir_all(&live).unwrap();
    let (journals, aside) = (files(&path, ".jnl"), folder.path("aside"));
    for journal in &journals {
        fs::rename(journal, &aside).unwrap();
        if journal == &journals[2] {
            // Where the next one is not yet known to the witness, the one before is named.
            let Err(StoreError::Damaged { what, .. }) = Embedded::open(&path, &options()) else { panic!() };
            assert!(what.contains("missing"), "{what}");
        } else {
            println!("{}", refused(&path, journal));
        }
        fs::rename(&aside, journal).unwrap();
    }
    fs::remove_file(&journals[1]).unwrap();
    refused(&path, &journals[1]);
    let left = repaired(&path, &journals[1]);
    assert!(left.contains(&0) && left.contains(&(number * 4 - 1)) && left.len() < number as usize * 4);
}

#[test]
fn only_one_process_has_it() {
    let folder = Folder::new();
    let path = folder.path("data");
    let store = Embedded::open(&path, &options()).unwrap();
    let locked = |result: Result<(), StoreError>| {
        let Err(StoreError::Locked { path: named }) = result else { panic!("{result:?}") };
        assert_eq!(named, path);
    };
    locked(Embedded::open(&path, &options()).map(drop));
    locked(repair(&path).map(drop));
    locked(inspect(&path).map(drop));
    drop(store);
    Embedded::open(&path, &options()).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let folder = Folder::new();
    let file = folder.path("file");
    fs::write(&file, b"").unwrap();
    let Err(StoreError::Io { path, .. }) = Embedded::open(file.join("data"), &options()) else { panic!() };
    assert_eq!(path, file.join("data"));
    assert!(repair(&folder.path("none")).is_err());
    assert!(!folder.path("none").exists());
}
