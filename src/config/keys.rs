//! All keys: what a value of each may be.
//!
//! Purpose: one table from which come the checks, the names of variables, the words of problems and the
//! tests of the documentation.

use super::apps;
use std::{net::SocketAddr, ops::RangeInclusive};
use toml::Value;

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Full name, such as `limits.content`.
    pub name: &'static str,
    /// What a value may be.
    pub kind: Kind,
}

/// What a value may be.
#[derive(Debug)]
pub enum Kind {
    /// An IP address and port.
    Address,
    /// An IP address and port, or `off`.
    AddressOrOff,
    /// A path; empty only if the flag says so.
    Path {
        /// Whether it may be empty.
        empty: bool,
    },
    /// 1 to 64 letters, digits, `-`, `_`, `.`; empty only if the flag says so.
    Name {
        /// Whether it may be empty.
        empty: bool,
    },
    /// `true`, `false` or `"auto"`.
    Switch,
    /// A whole number within bounds, and its unit.
    Whole(RangeInclusive<i64>, &'static str),
    /// A number of seconds within bounds, fractions allowed.
    Seconds(RangeInclusive<u32>),
    /// Origins of pages.
    Origins,
    /// A host and port; empty is none.
    Endpoint,
    /// Hosts and ports, or none.
    Endpoints,
    /// Where a server is reached by clients; empty is none.
    Url,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Directives of a log filter.
    Filter,
}

const DAYS: RangeInclusive<i64> = 0..=36_500;

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind }
}

/// Every key but `apps`, in the order of the documentation.
pub static KEYS: &[Key] = &[
    key("listen", Kind::Address),
    key("admin_listen", Kind::AddressOrOff),
    key("data", Kind::Path { empty: false }),
    key("node", Kind::Name { empty: false }),
    key("region", Kind::Name { empty: true }),
    key("dev_login", Kind::Switch),
    key("origins", Kind::Origins),
    key("tls.certificate", Kind::Path { empty: true }),
    key("tls.key", Kind::Path { empty: true }),
    key("mesh.listen", Kind::AddressOrOff),
    key("mesh.advertise", Kind::Endpoint),
    key("mesh.seeds", Kind::Endpoints),
    key("mesh.certs", Kind::Path { empty: false }),
    key("mesh.public_url", Kind::Url),
    key("limits.content", Kind::Whole(1_024..=1_048_576, "bytes")),
    key("limits.frame", Kind::Whole(4_096..=16_777_216, "bytes")),
    key("limits.window", Kind::Whole(1..=1_024, "entries")),
    key("limits.sends_per_second", Kind::Whole(0..=100_000, "messages a second")),
    key("limits.sends_burst", Kind::Whole(1..=1_000_000, "messages")),
    key("limits.frames_per_second", Kind::Whole(0..=1_000_000, "frames a second")),
    key("limits.sessions_per_user", Kind::Whole(1..=1_000, "sessions")),
    key("limits.sessions_per_address", Kind::Whole(0..=1_000_000, "sessions")),
    key("limits.connections", Kind::Whole(1..=1_000_000, "sockets")),
    key("limits.queue", Kind::Whole(64..=1_048_576, "inputs")),
    key("limits.outbox", Kind::Whole(65_536..=67_108_864, "bytes")),
    key("limits.pending", Kind::Whole(1_024..=1_048_576, "writes")),
    key("limits.mailboxes", Kind::Whole(100..=10_000_000, "mailboxes")),
    key("sessions.hello_timeout", Kind::Seconds(1..=300)),
    key("sessions.idle_timeout", Kind::Seconds(1..=3_600)),
    key("sessions.ping", Kind::Seconds(1..=3_600)),
    key("sessions.poll_wait_max", Kind::Seconds(1..=300)),
    key("sessions.drain_timeout", Kind::Seconds(0..=600)),
    key("retention.private", Kind::Whole(DAYS, "days")),
    key("retention.system", Kind::Whole(DAYS, "days")),
    key("retention.mailbox", Kind::Whole(DAYS, "days")),
    key("tokens.lifetime", Kind::Whole(DAYS, "days")),
    key("api.timezone", Kind::Whole(-12..=14, "hours")),
    key("api.timestamp_skew", Kind::Seconds(0..=86_400)),
    key("api.calls_per_second", Kind::Whole(0..=1_000_000, "calls a second")),
    key("store.cache", Kind::Whole(8..=65_536, "MiB")),
    key("store.journals", Kind::Whole(64..=65_536, "MiB")),
    key("log.format", Kind::Choice(&["text", "json"])),
    key("log.filter", Kind::Filter),
];

impl Key {
    /// The key with this full name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("HONGYAN_{}", self.name.replace('.', "_").to_uppercase())
    }
}

impl Kind {
    /// Reads a value from a variable or flag, without judging its bounds. What cannot be read stays a text,
    /// which [`Self::allows`] refuses.
    #[must_use]
    pub fn read(&self, text: &str) -> Value {
        let text = text.trim();
        let other = || Value::String(text.to_owned());
        match self {
            Self::Whole(..) => text.replace('_', "").parse().map_or_else(|_| other(), Value::Integer),
            Self::Seconds(_) => match text.parse::<i64>() {
                Ok(whole) => Value::Integer(whole),
                Err(_) => text.parse().map_or_else(|_| other(), Value::Float),
            },
            Self::Switch => text.parse().map_or_else(|_| other(), Value::Boolean),
            Self::Endpoints if text.is_empty() => Value::Array(Vec::new()),
            Self::Origins | Self::Endpoints => {
                let part = |part: &str| Value::String(part.trim().to_owned());
                Value::Array(text.split(',').map(part).collect())
            }
            _ => other(),
        }
    }

    /// Whether `value` is one that may be set.
    #[must_use]
    pub fn allows(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Address, Value::String(text)) => text.parse::<SocketAddr>().is_ok(),
            (Self::AddressOrOff, Value::String(text)) => text == "off" || text.parse::<SocketAddr>().is_ok(),
            (Self::Path { empty }, Value::String(text)) => {
                (*empty || !text.is_empty()) && !text.contains('\0')
            }
            (Self::Name { empty }, Value::String(text)) => (*empty && text.is_empty()) || apps::is_name(text),
            (Self::Switch, Value::String(text)) => text == "auto",
            (Self::Switch, Value::Boolean(_)) => true,
            (Self::Whole(range, _), Value::Integer(number)) => range.contains(number),
            (Self::Seconds(range), Value::Integer(number)) => {
                u32::try_from(*number).is_ok_and(|number| range.contains(&number))
            }
            (Self::Seconds(range), Value::Float(number)) => {
                (f64::from(*range.start())..=f64::from(*range.end())).contains(number)
            }
            (Self::Origins, Value::Array(list)) => {
                !list.is_empty() && list.iter().all(|item| item.as_str().is_some_and(is_origin))
            }
            (Self::Endpoint, Value::String(text)) => text.is_empty() || is_endpoint(text),
            (Self::Endpoints, Value::Array(list)) => {
                list.len() <= 64 && list.iter().all(|item| item.as_str().is_some_and(is_endpoint))
            }
            (Self::Url, Value::String(text)) => text.is_empty() || is_url(text),
            (Self::Choice(words), Value::String(text)) => words.contains(&text.as_str()),
            (Self::Filter, Value::String(text)) => !text.is_empty() && crate::logging::filter(text).is_ok(),
            _ => false,
        }
    }

    /// In words, what may be set.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self {
            Self::Address => "an IP address and port, such as 127.0.0.1:8080 or [::]:8080".into(),
            Self::AddressOrOff => "an IP address and port, such as 127.0.0.1:9090, or off".into(),
            Self::Path { empty: true } => "a path, or nothing".into(),
            Self::Path { empty: false } => "a path".into(),
            Self::Name { empty: true } => "at most 64 letters, digits, - _ .".into(),
            Self::Name { empty: false } => "1 to 64 letters, digits, - _ .".into(),
            Self::Switch => "true, false or auto".into(),
            Self::Whole(range, unit) => format!("{} to {} {unit}", range.start(), range.end()),
            Self::Seconds(range) => format!("{} to {} seconds", range.start(), range.end()),
            Self::Origins => "a list of * or origins such as https://chat.example.com".into(),
            Self::Endpoint => "a host and port, such as eu.example.com:7400, or nothing".into(),
            Self::Endpoints => "a list of hosts and ports such as eu.example.com:7400".into(),
            Self::Url => "a URL without path, such as https://eu.example.com, or nothing".into(),
            Self::Choice(words) => words.join(" or "),
            Self::Filter => "a level (error, warn, info, debug, trace, off) or directives such as \
                             info,hongyan::relay=debug"
                .into(),
        }
    }
}

/// `*`, or scheme, host and perhaps port as browsers write them in `Origin` (RFC 6454).
fn is_origin(text: &str) -> bool {
    if text == "*" || text == "null" {
        return true;
    }
    let Some(host) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    !host.is_empty()
        && !host.ends_with(':')
        && host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@,*\\".contains(&b) && !b.is_ascii_uppercase())
}

/// A host and a port. At most 128 bytes, so that nodes may tell each other in one datagram.
#[must_use]
pub fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good_host = match bracketed {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    text.len() <= 128 && good_host && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// `http` or `https`, host and perhaps port. At most 128 bytes, as above.
#[must_use]
pub fn is_url(text: &str) -> bool {
    text.len() <= 128 && is_origin(text) && text.contains("://")
}

/// The key whose name is most like `name`, if any is like it at all.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 5)
        .map(|(_, candidate)| candidate)
}

/// Changes of single characters that make one text the other (Levenshtein 1965).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, load::leaves};
    use std::collections::BTreeSet;

    #[test]
    fn the_table_has_every_field_of_the_structs_and_allows_its_default() {
        let mut fields = leaves(&Config::default());
        fields.remove("apps");
        let names: BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();
        assert_eq!(fields.keys().map(String::as_str).collect::<BTreeSet<_>>(), names);
        for key in KEYS {
            assert!(key.kind.allows(&fields[key.name]), "{} = {}", key.name, fields[key.name]);
        }
    }

    #[test]
    fn variables_are_told_apart() {
        let variables: BTreeSet<_> = KEYS.iter().map(Key::variable).collect();
        assert_eq!(variables.len(), KEYS.len());
        assert_eq!(
            Key::find("limits.sends_per_second").unwrap().variable(),
            "HONGYAN_LIMITS_SENDS_PER_SECOND"
        );
    }

    #[test]
    fn values_are_read_as_their_kind_and_judged() {
        for (name, text, good) in [
            ("listen", "[::1]:0", true),
            ("listen", "localhost:80", false),
            ("admin_listen", "off", true),
            ("data", "", false),
            ("node", "east-1", true),
            ("node", "east 1", false),
            ("region", "", true),
            ("dev_login", "true", true),
            ("dev_login", "yes", false),
            ("origins", "https://a.example, http://b:8080", true),
            ("origins", "https://a.example/", false),
            ("origins", "", false),
            ("limits.content", "65_536", true),
            ("limits.content", "1023", false),
            ("limits.content", "64k", false),
            ("sessions.ping", "2.5", true),
            ("sessions.ping", "NaN", false),
            ("sessions.ping", "-1", false),
            ("api.timezone", "-5", true),
            ("mesh.listen", "off", true),
            ("mesh.advertise", "eu.example.com:7400", true),
            ("mesh.advertise", "[::1]:7400", true),
            ("mesh.advertise", "::1:7400", false),
            ("mesh.advertise", "eu.example.com", false),
            ("mesh.seeds", "a:1, [::1]:2, 192.0.2.1:3", true),
            ("mesh.seeds", "a:0", false),
            ("mesh.seeds", "", true),
            ("mesh.public_url", "https://eu.example.com", true),
            ("mesh.public_url", "https://eu.example.com/", false),
            ("mesh.public_url", "*", false),
            ("log.format", "json", true),
            ("log.format", "yaml", false),
            ("log.filter", "info,hongyan=debug", true),
            ("log.filter", "info,hongyan=loud", false),
        ] {
            let kind = &Key::find(name).unwrap().kind;
            assert_eq!(kind.allows(&kind.read(text)), good, "{name} = {text}");
        }
    }

    #[test]
    fn a_typing_mistake_is_recognised_and_nonsense_is_not() {
        let names = || KEYS.iter().map(|key| key.name);
        assert_eq!(nearest("limits.contnet", names()), Some("limits.content"));
        assert_eq!(nearest("lisen", names()), Some("listen"));
        assert_eq!(nearest("completely.different", names()), None);
    }
}
