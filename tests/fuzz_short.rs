//! The fuzz targets for some seconds each, on the stable toolchain: seeds from `fuzz/corpus/`, changed at random.
//! `fuzz/README.md` has the variables that say how long, and how to run one input again.

#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::{
    env,
    fmt::Write as _,
    fs,
    hash::{BuildHasher as _, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use targets::{TARGETS, Target};

/// Longest input that is made.
const MAX_LEN: usize = 8_192;
/// An input that takes longer is a finding, also on a busy machine.
const SLOW: Duration = Duration::from_secs(5);

/// What decoders have a special eye for.
const WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b":",
    b",",
    b"null",
    b"true",
    b"false",
    b"-0",
    b"1e999",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9007199254740993",
    b"-1",
    b"0.1",
    b"{}",
    b"[]",
    b"\"\"",
    b"\"t\":",
    b"\"content\":",
    b"\"r\":",
    b"\"pos\":",
    b"&",
    b"=",
    b"%",
    b"%00",
    b"%ff",
    b"+",
    b"/",
    b"\xff",
    b"\x00",
    b"\xf0\x9f\xaa\xbf",
    b"\xe9\xb8\xbf",
    b"\xef\xbb\xbf",
    b"\n",
    b"\r\n",
    b" ",
    b"#",
    b"'''",
    b"\"\"\"",
    b"[[apps]]",
    b"inf",
    b"nan",
    b"1979-05-27T07:32:00Z",
    b"..",
    b"=\n",
    // Lengths as postcard writes them: 4 GiB, 4 TiB, and the highest of all.
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
];

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                fuzz(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_run() {
            assert_eq!(TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [$(stringify!($name)),*]);
        }
    };
}

targets! { frames body token ids content rows journal config mesh_hello mesh_frames mesh_members tunnel relay_frames }

fn fuzz(name: &str) {
    let (_, target) = TARGETS.iter().find(|(is, _)| *is == name).expect("a target");
    if let Ok(input) = env::var("FUZZ_INPUT") {
        return target(&given(&input));
    }
    let seed = number("FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(name));
    let runs = number("FUZZ_RUNS").unwrap_or(u64::MAX);
    let time = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(2));
    let corpus = corpus(name);
    for input in &corpus {
        run(name, *target, input, seed);
    }
    let start = Instant::now();
    let mut random = Random(seed);
    let mut done = 0;
    while done < runs && start.elapsed() < time {
        run(name, *target, &made(&corpus, &mut random), seed);
        done += 1;
    }
    println!("{name}: {done} inputs in {:.1?}, FUZZ_SEED={seed}", start.elapsed());
}

/// Runs one input; a panic, or too long a time, is told with all that is needed to see it again.
fn run(name: &str, target: Target, input: &[u8], seed: u64) {
    let start = Instant::now();
    let ended = catch_unwind(AssertUnwindSafe(|| target(input)));
    if ended.is_ok() && start.elapsed() < SLOW {
        return;
    }
    let kind = if ended.is_ok() { "slow" } else { "crash" };
    let mut hex = String::new();
    for byte in input {
        write!(hex, "{byte:02x}").expect("a string grows");
    }
    let folder = root().join("artifacts").join(name);
    let file = folder.join(format!("{kind}-{:016x}", checksum(input)));
    let saved = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, input));
    panic!(
        "{name}: {kind} after {:?}, FUZZ_SEED={seed}\ninput: {hex}\nsaved: {saved:?}\n\
         again: FUZZ_INPUT={} cargo test --test fuzz_short {name}",
        start.elapsed(),
        file.display(),
    );
}

/// One or two seeds, changed in one to eight places.
fn made(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        match random.below(9) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.next() as u8,
            2 => input.truncate(at),
            3 => drop(input.drain(at..(at + 1 + random.below(16)).min(input.len()))),
            4 => insert(&mut input, at, WORDS[random.below(WORDS.len())]),
            5 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            6 => {
                let end = (at + random.below(64)).min(input.len());
                let part = input[at..end].repeat(1 + random.below(8));
                insert(&mut input, at, &part);
            }
            7 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'9', b'a'][random.below(8)],
            // A length or number with a meaning of its own.
            8 if at + 8 <= input.len() => {
                let edges = [0, 1, u64::MAX, 1 << 63, 1 << 53, u64::from(u32::MAX), random.next()];
                let number = edges[random.below(edges.len())].to_be_bytes();
                let width = [1, 2, 4, 8][random.below(4)];
                input[at..at + width].copy_from_slice(&number[8 - width..]);
            }
            _ => input.push(random.next() as u8),
        }
        input.truncate(MAX_LEN);
    }
    input
}

fn insert(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    let tail = input.split_off(at);
    input.extend_from_slice(part);
    input.extend_from_slice(&tail);
}

/// The seeds of a target, in the order of their names, and nothing at all.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = root().join("corpus").join(name);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder).expect("seeds").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let mut seeds: Vec<_> = files.iter().map(|file| fs::read(file).expect("a seed")).collect();
    assert!(!seeds.is_empty(), "no seeds in {}", folder.display());
    seeds.push(Vec::new());
    seeds
}

/// `FUZZ_INPUT`: a file's path, or hex.
fn given(input: &str) -> Vec<u8> {
    let path = Path::new(input);
    let beside = root().join("..").join(path); // as seen from the repository
    for path in [path, &beside] {
        if path.is_file() {
            return fs::read(path).expect("the input");
        }
    }
    assert!(input.len().is_multiple_of(2), "FUZZ_INPUT is no file and no hex");
    let byte = |at| u8::from_str_radix(&input[at..at + 2], 16).expect("hex");
    (0..input.len()).step_by(2).map(byte).collect()
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// SplitMix64: <https://prng.di.unimi.it/splitmix64.c>
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
