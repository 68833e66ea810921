//! The pure floors hold no clock, no randomness, no I/O and no tokio, and no floor knows one above it.
//!
//! Only so can a seed replay a run of whole nodes. Comments, texts and tests (`#[cfg(test)]`, `sim/`) are passed over.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The floors of the library, lowest first; those of one line may know each other.
const FLOORS: &[&[&str]] = &[
    &["model"],
    &["gossip"],
    // The relay says what is to be written in the store's words; the store knows nothing of the relay.
    &["store"],
    &["relay"],
    &["apps", "token", "config", "metrics", "listen", "logging"],
    &["hub"],
    &["edge", "api", "admin", "mesh"],
    &["node"],
    &["cli"],
];
/// Which of them are pure.
const PURE: &[&str] = &["model", "gossip", "relay"];

/// What a pure floor must not name, as a path or the beginning of one.
const FORBIDDEN: &[&str] = &[
    "tokio",
    "tokio_util",
    "futures_util",
    "quinn",
    "axum",
    "hyper",
    "fjall",
    "parking_lot",
    "rand",
    "getrandom",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
    "std::fs",
    "std::net",
    "std::io",
    "std::thread",
    "std::env",
    "std::process",
    "std::os",
    "std::sync::mpsc",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::Condvar",
    "std::sync::OnceLock",
    "std::sync::LazyLock",
    // Draw random keys.
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::hash::RandomState",
    "std::collections::hash_map",
    "ahash::RandomState::new",
];

/// The relay may name these types of the store's interface, and nothing that reads or writes.
const STORE_WORDS: &[&str] = &[
    "ClaimRow",
    "ConversationRow",
    "DeviceRow",
    "Export",
    "ExportRow",
    "MailboxRow",
    "SentRow",
    "Snapshot",
    "Write",
];

/// The source without comments, texts and what follows `#[cfg(test)]` as an item.
fn code(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut i = 0;
    while i < chars.len() {
        let rest = &chars[i..];
        let starts =
            |what: &str| rest.iter().zip(what.chars()).filter(|(a, b)| **a == *b).count() == what.len();
        if starts("//") {
            i += rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
        } else if starts("/*") {
            i += (2..rest.len())
                .find(|&j| rest[j - 1] == '*' && rest[j] == '/' && j > 2)
                .map_or(rest.len(), |j| j + 1);
        } else if starts("'\"'") || starts("'\\\"'") {
            i += if starts("'\"'") { 3 } else { 4 };
        } else if rest[0] == '"' || starts("r\"") || starts("r#\"") || starts("br\"") || starts("br#\"") {
            let open = rest.iter().position(|c| *c == '"').unwrap_or(0);
            let hashes = rest[..open].iter().filter(|c| **c == '#').count();
            let raw = rest[..open].contains(&'r');
            let mut j = open + 1;
            while j < rest.len() {
                let closes = rest[j] == '"' && (0..hashes).all(|k| rest.get(j + 1 + k) == Some(&'#'));
                if closes {
                    break;
                }
                j += if rest[j] == '\\' && !raw { 2 } else { 1 };
            }
            out.push_str("\"\"");
            i += j + 1 + hashes;
        } else {
            out.push(rest[0]);
            i += 1;
        }
    }
    without_tests(&out)
}

/// Takes out each `#[cfg(test)]` with the item, statement or field that it stands before.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        rest = &rest[at + MARK.len()..];
        let mut depth = 0_i32;
        let end = rest.char_indices().find(|&(i, c)| {
            depth += i32::from("{([".contains(c)) - i32::from("})]".contains(c));
            let ends_item =
                (c == '}' && depth == 0 && !rest[i + 1..].trim_start().starts_with([';', ',', '.', '?']))
                    || (depth == 0 && (c == ';' || c == ','));
            ends_item || depth < 0
        });
        rest = end.map_or("", |(i, c)| {
            if "})]".contains(c) && depth < 0 { &rest[i..] } else { &rest[i + c.len_utf8()..] }
        });
    }
    out.push_str(rest);
    out
}

/// All paths that `use` brings in, each spelled out, and all paths that stand in the code.
fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let (mut rest, mut from) = (String::new(), 0);
    for (at, _) in code.match_indices("use ") {
        let fresh = code[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        if let Some(end) = code[at..].find(';').filter(|_| fresh) {
            let tree: String = code[at + 4..at + end].split_whitespace().collect::<Vec<_>>().join(" ");
            spell_out("", &tree, &mut paths);
            rest.push_str(&code[from..at]);
            from = at + end;
        }
    }
    rest.push_str(&code[from..]);
    let mut word = String::new();
    for c in rest.chars().chain([' ']) {
        if c.is_alphanumeric() || c == '_' || c == ':' {
            word.push(c);
        } else {
            let path = word.trim_matches(':');
            if path.contains("::") {
                paths.push(path.to_owned());
            }
            word.clear();
        }
    }
    paths
}

/// `a::{b, c::{d, e as f}}` is `a::b`, `a::c::d`, `a::c::e`.
fn spell_out(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let leaf = tree.split(" as ").next().unwrap_or_default().trim().trim_end_matches("::self");
        if !leaf.is_empty() {
            let whole = format!("{prefix}{leaf}");
            paths.push(whole.trim_end_matches("::self").to_owned());
        }
        return;
    };
    let prefix = format!("{prefix}{}", &tree[..open]);
    let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
    let (mut depth, mut start) = (0, 0);
    for (i, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                spell_out(&prefix, &inner[start..i], paths);
                start = i + 1;
            }
            _ => {}
        }
    }
}

fn is_under(path: &str, parent: &str) -> bool {
    path == parent || path.strip_prefix(parent).is_some_and(|rest| rest.starts_with("::"))
}

fn height(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// What is wrong with a source of the top-level module `module`.
fn violations(module: &str, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let pure = PURE.contains(&module);
    for path in paths(&code(source)) {
        let std = path.replacen("core::", "std::", usize::from(path.starts_with("core::")));
        if pure
            && let Some(bad) = FORBIDDEN.iter().find(|bad| is_under(&std, bad) || std == format!("{bad}::*"))
        {
            found.push(format!("{path}: {bad} has no place in a pure floor"));
        }
        // `std::time::*` and the like bring in what is forbidden under another name.
        if pure
            && ["std::time::*", "std::time", "std::sync::*", "std::collections::*", "std::*"].contains(&&*std)
        {
            found.push(format!("{path}: name what is wanted of it"));
        }
        let Some(inner) = path.strip_prefix("crate::").or_else(|| path.strip_prefix("hongyan::")) else {
            continue;
        };
        let mut parts = inner.split("::");
        let other = parts.next().unwrap_or_default();
        if module == "relay" && other == "store" {
            if !parts.next().is_some_and(|word| STORE_WORDS.contains(&word)) {
                found.push(format!("{path}: the relay knows only the store's words"));
            }
        } else if height(other) > height(module) {
            found.push(format!("{path}: a higher floor"));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// All sources below `folder` and its `module.rs`, without those that are only compiled for tests.
fn sources(module: &str) -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = vec![src.join(format!("{module}.rs"))];
    let mut folders = vec![src.join(module)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "sim" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "sabotage.rs" {
                found.push(path);
            }
        }
    }
    found.retain(|path| path.exists());
    found
}

#[test]
fn no_floor_knows_one_above_it_and_the_pure_ones_are_pure() {
    let mut wrong = Vec::new();
    for module in FLOORS.iter().copied().flatten() {
        let sources = sources(module);
        assert!(!sources.is_empty(), "{module} is not there: is it still called so?");
        for path in sources {
            let text = fs::read_to_string(&path).unwrap();
            wrong.extend(
                violations(module, &text).into_iter().map(|what| format!("{}: {what}", path.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_library_has_its_floor() {
    let lib = code(&fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap());
    for line in lib.lines() {
        if let Some(module) = line.trim().strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
            assert!(height(module).is_some(), "{module} stands on no floor; say which in FLOORS");
        }
    }
}

#[test]
fn no_task_is_without_a_parent() {
    for module in FLOORS.iter().copied().flatten() {
        for path in sources(module) {
            let code = code(&fs::read_to_string(&path).unwrap());
            // A `TaskTracker` or a `JoinSet` ends what it has spawned.
            assert!(!code.contains("tokio::spawn"), "{}", path.display());
        }
    }
}

#[test]
fn planted_violations_are_found() {
    for planted in [
        "use tokio::sync::mpsc;",
        "fn f() { let t = std::time::Instant::now(); }",
        "use std::{sync::Arc, time::{Duration, Instant}};",
        "use std::{\n    time::{\n        self as t,\n        SystemTime as Clock,\n    },\n};",
        "use core::time::Instant;",
        "use std::time;\nfn f() { time::Instant::now(); }",
        "use std::time::*;",
        "fn f() -> u64 { getrandom::u64().unwrap() }",
        "use rand::Rng;",
        "use std::fs;",
        "pub(crate) use std::{fmt, net::IpAddr};",
        "fn f() { std::thread::sleep(d) }",
        "use std::collections::{BTreeMap, HashMap};",
        "use crate::relay::Relay;",
        "use crate::{model::Stamp, hub::{Hub, Port}};",
        "fn f(c: &crate::config::Config) {}",
        "use crate::store::GroupCommit;",
        "use crate::store::{MailboxRow, embedded::Embedded};",
        "/* a */ use quinn::Endpoint; // b",
        "const A: &str = \"// \\\" not a comment\"; use axum::Router;",
        "const C: char = '\"'; use axum::Router; const D: char = '\"';",
        "const R: &str = r#\"a \" b\"#; use axum::Router;",
        "#[cfg(test)]\nmod tests { use tokio::time; }\nuse tokio::time;",
        "struct S { #[cfg(test)] a: u8, b: std::net::IpAddr }",
        "fn f() { #[cfg(test)] g(&[1, 2], || { 3; }); std::process::exit(1) }",
    ] {
        assert!(!violations("gossip", planted).is_empty(), "not found: {planted}");
    }
    assert_eq!(violations("relay", "use crate::store::{Write, Store};").len(), 1);
    assert_eq!(violations("store", "use crate::relay::Answer;").len(), 1);
    assert_eq!(violations("hub", "use crate::edge::Edge;").len(), 1);
    assert_eq!(violations("edge", "use crate::node::Node;").len(), 1);
}

#[test]
fn what_is_allowed_is_let_through() {
    for fine in [
        "use std::{collections::{BTreeMap, VecDeque}, sync::Arc, time::Duration, fmt};",
        "//! Unlike tokio::time, or std::time::Instant.\n/* use axum::Router; /// std::fs */",
        "const A: &str = \"use tokio::sync;\"; const B: &[u8] = br\"std::fs::read\";",
        "#[cfg(test)]\nmod tests {\n    use std::time::Instant;\n    fn f() { tokio::spawn(()); }\n}",
        "#[cfg(test)]\nuse std::fs;\nuse std::fmt;",
        "use crate::{model::Stamp, store::{MailboxRow, Snapshot}};",
        "use crate::store::{MailboxRow, Snapshot};",
        "use super::hash::map; use operand::Thing; use tokiota::X;",
    ] {
        assert_eq!(violations("relay", fine), [""; 0], "{fine}");
    }
    assert!(violations("hub", "use std::time::SystemTime; use tokio::sync::mpsc;").is_empty());
}
