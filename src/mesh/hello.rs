//! The first words on a link.
//!
//! Flow: each side opens its control stream with a preamble and a [`Hello`]; each judges the other's; then the one
//! with the larger number says [`Welcome`], and the one with the smaller number, which alone decides whether this
//! connection becomes the link, answers with its own (see [`super::establish`]). After that the stream carries frames.
//! Format: a stream begins with `HYGN` and its lane's number. Hello and welcome are each a length (two bytes, network
//! order) and a postcard body. A body only grows at its end: what an older reader does not know it passes over. The
//! range of versions stands first and never moves, so that nodes of any age can tell each other why they do not fit.

use super::failure::Failure;
use crate::config::{is_name, keys};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::ops::RangeInclusive;

/// What every stream begins with.
pub(super) const MAGIC: [u8; 4] = *b"HYGN";
/// Magic and lane.
pub(super) const PREAMBLE: usize = 5;
/// Longest body, in bytes.
pub(super) const MAX_HELLO: usize = 2_048;
/// How far the clocks of two nodes may differ, in microseconds: as far as stamps from elsewhere may be ahead.
pub(super) const MAX_SKEW_US: u64 = crate::model::Clock::MAX_AHEAD_US;
/// Number of a stream that carries one message of the failure detector, too long for a datagram.
pub(super) const GOSSIP: u8 = 16;

/// Versions of the protocol that this program speaks.
pub const PROTOCOL: RangeInclusive<u16> = 1..=1;
/// Optional parts of the protocol that this program knows, one bit each; none yet.
pub const FEATURES: u64 = 0;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Lowest version that it speaks.
    pub min: u16,
    /// Highest version that it speaks.
    pub max: u16,
    /// Its name, which must be the one in its certificate.
    pub node: String,
    /// Tells its starts apart; a later start has a higher one.
    pub incarnation: u64,
    /// Its wall clock, in microseconds since 1970.
    pub now: u64,
    /// Optional parts of the protocol that it knows.
    pub features: u64,
    /// Its region; may be empty.
    pub region: String,
    /// Where nodes reach it: host and port.
    pub address: String,
    /// Where clients reach it; may be empty.
    pub url: String,
    /// Version of its program, for people. At most 64 bytes.
    pub software: String,
}

/// The link may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that is spoken.
    pub version: u16,
    /// Whether the sender has a link with the receiver already.
    pub linked: bool,
}

/// A body with its length before it.
///
/// # Errors
/// When it is too long, which is a mistake of this program.
pub(super) fn encode(body: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let mut out = vec![0, 0];
    out = postcard::to_extend(body, out).map_err(|_| Failure::Garbage("no body"))?;
    let len = out.len() - 2;
    if len > MAX_HELLO {
        return Err(Failure::Garbage("a body that is too long"));
    }
    out[..2].copy_from_slice(&(len as u16).to_be_bytes());
    Ok(out)
}

/// The lane's number of a stream that begins so.
///
/// # Errors
/// When no stream of this protocol does.
pub fn preamble(bytes: [u8; PREAMBLE]) -> Result<u8, Failure> {
    let [a, b, c, d, lane] = bytes;
    if [a, b, c, d] == MAGIC {
        Ok(lane)
    } else {
        Err(Failure::Garbage("a stream that is not of this protocol"))
    }
}

/// Length of the body that follows, in bytes.
///
/// # Errors
/// When it is longer than any.
pub fn body_length(bytes: [u8; 2]) -> Result<usize, Failure> {
    let len = usize::from(u16::from_be_bytes(bytes));
    if len > MAX_HELLO { Err(Failure::Garbage("a hello that is too long")) } else { Ok(len) }
}

fn decode<T: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<T, Failure> {
    postcard::take_from_bytes(body).map(|(value, _later)| value).map_err(|_| Failure::Garbage(what))
}

impl Hello {
    /// Reads a body.
    ///
    /// * `speaks`: the versions that this node speaks.
    ///
    /// # Errors
    /// When the versions do not meet, or it is no hello.
    pub fn read(body: &[u8], speaks: &RangeInclusive<u16>) -> Result<Self, Failure> {
        const WHAT: &str = "no hello";
        let (min, max): (u16, u16) = decode(body, WHAT)?;
        common(speaks, min, max)?;
        let hello: Self = decode(body, WHAT)?;
        let good = is_name(&hello.node)
            && (hello.region.is_empty() || is_name(&hello.region))
            && keys::is_endpoint(&hello.address)
            && (hello.url.is_empty() || keys::is_url(&hello.url))
            && hello.software.len() <= 64
            && !hello.software.chars().any(char::is_control);
        if good { Ok(hello) } else { Err(Failure::Garbage("a hello with parts out of bounds")) }
    }

    /// Judges whether its sender may be talked to, and how.
    ///
    /// * `named`: the node in the sender's certificate.
    /// * `now`: this node's wall clock, in microseconds since 1970.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, speaks: &RangeInclusive<u16>, named: &str, now: u64) -> Result<u16, Failure> {
        let version = common(speaks, self.min, self.max)?;
        if self.node != named {
            return Err(Failure::WrongName { expected: self.node.clone(), named: named.to_owned() });
        }
        if self.now.abs_diff(now) > MAX_SKEW_US {
            // Rounded, so that what it was under way does not show.
            let ahead = (i128::from(self.now) - i128::from(now) + 500_000).div_euclid(1_000_000);
            let ahead = ahead.try_into().unwrap_or(i64::MAX);
            return Err(Failure::Clock { node: named.to_owned(), ahead });
        }
        Ok(version)
    }
}

impl Welcome {
    /// Reads a body.
    ///
    /// * `version`: the version that this node has found to be the highest common one.
    ///
    /// # Errors
    /// When it is none, or speaks of another version.
    pub fn read(body: &[u8], version: u16) -> Result<Self, Failure> {
        let welcome: Self = decode(body, "no welcome")?;
        if welcome.version == version {
            Ok(welcome)
        } else {
            Err(Failure::Garbage("a welcome in another version"))
        }
    }
}

/// The highest version that both speak.
fn common(speaks: &RangeInclusive<u16>, min: u16, max: u16) -> Result<u16, Failure> {
    let version = max.min(*speaks.end());
    if min <= max && version >= min.max(*speaks.start()) {
        Ok(version)
    } else {
        Err(Failure::Version { ours: (*speaks.start(), *speaks.end()), theirs: (min, max) })
    }
}

/// Reads any bytes as each of the first words.
///
/// # Panics
/// When a decoder does, or what was read is not written the same: that is what is looked for.
pub fn fuzz_hello(bytes: &[u8]) {
    if let Some(first) = bytes.first_chunk() {
        let _ = preamble(*first);
    }
    if let Some(first) = bytes.first_chunk() {
        let _ = body_length(*first);
    }
    let any = 0..=u16::MAX;
    if let Ok(hello) = Hello::read(bytes, &any) {
        let written = encode(&hello).expect("what was read is short");
        assert_eq!(Hello::read(&written[2..], &any), Ok(hello.clone()));
        for now in [0, 1_700_000_000_000_000, u64::MAX] {
            let _ = hello.judge(&any, &hello.node, now).map_err(|why| why.to_string());
        }
    }
    if let Ok(welcome) = Welcome::read(bytes, 1) {
        let written = encode(&welcome).expect("it is short");
        assert_eq!(Welcome::read(&written[2..], 1), Ok(welcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello() -> Hello {
        Hello {
            min: 1,
            max: 2,
            node: "eu-1".into(),
            incarnation: 300,
            now: 1_000_000,
            features: 0,
            region: "eu".into(),
            address: "eu.example.com:7400".into(),
            url: String::new(),
            software: "0.1.0".into(),
        }
    }

    #[test]
    fn a_hello_looks_so_on_the_wire_and_reads_back() {
        let bytes = encode(&hello()).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "002b01020465752d31ac02c0843d000265751365752e6578616d706c652e636f6d3a373430300005302e312e30"
        );
        assert_eq!(Hello::read(&bytes[2..], &PROTOCOL), Ok(hello()));
        let welcome = Welcome { version: 1, linked: true };
        assert_eq!(encode(&welcome).unwrap(), [0, 2, 1, 1]);
        assert_eq!(Welcome::read(&[1, 1], 1), Ok(welcome));
    }

    #[test]
    fn what_a_later_version_appends_is_passed_over() {
        let mut bytes = encode(&hello()).unwrap().split_off(2);
        bytes.extend_from_slice(b"more");
        assert_eq!(Hello::read(&bytes, &PROTOCOL), Ok(hello()));
    }

    #[test]
    fn versions_meet_at_the_highest_common_one_or_say_why_not() {
        let range = |min, max| common(&(2..=4), min, max);
        assert_eq!((range(1, 3), range(4, 9), range(1, 2)), (Ok(3), Ok(4), Ok(2)));
        for (min, max) in [(5, 6), (1, 1), (3, 2)] {
            let why = range(min, max).unwrap_err().to_string();
            assert!(why.contains(&format!("{min} to {max}")) && why.contains("2 to 4"), "{why}");
        }
        // Whatever follows the range of versions.
        let far = postcard::to_stdvec(&(7_u16, 9_u16, u128::MAX)).unwrap();
        assert!(matches!(Hello::read(&far, &PROTOCOL), Err(Failure::Version { .. })));
    }

    #[test]
    fn another_name_and_a_wrong_clock_are_refused() {
        let at = |named: &str, now| hello().judge(&PROTOCOL, named, now);
        assert_eq!(at("eu-1", 1_000_000 + MAX_SKEW_US), Ok(1));
        assert!(matches!(at("eu-2", 1_000_000), Err(Failure::WrongName { .. })));
        let why = at("eu-1", 3_601_000_000).unwrap_err().to_string();
        assert!(why.contains("3600 s behind"), "{why}");
        let late = Hello { now: 3_600_000_000, ..hello() };
        let why = late.judge(&PROTOCOL, "eu-1", 0).unwrap_err().to_string();
        assert!(why.contains("3600 s ahead"), "{why}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            fuzz_hello(&bytes);
        }

        #[test]
        fn a_changed_hello_is_read_or_an_error(
            at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encode(&hello()).unwrap().split_off(2);
            let place = at.index(bytes.len());
            bytes[place] = to;
            fuzz_hello(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            fuzz_hello(&bytes);
        }
    }
}
