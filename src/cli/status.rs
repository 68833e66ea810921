//! `hongyan status`: how this node and the others are.
//!
//! Exit codes: 0 all is well; 1 something is not, or nothing answers.

use super::{Usage, http, output};
use crate::{
    config::Config,
    node::status::{Counts, Link, Other, State, Status},
};
use anyhow::{Context as _, bail};
use clap::Args;
use std::{
    io::{IsTerminal as _, stdout},
    net::SocketAddr,
    thread,
    time::Duration,
};

/// How often the table is drawn anew.
const ROUND: Duration = Duration::from_secs(1);
/// Presence tables differ for a moment whenever somebody comes or goes: how often they are looked at before that counts,
/// and how far apart, which is longer than nodes take to report.
const LOOKS: u32 = 4;
const BETWEEN: Duration = Duration::from_millis(1_200);

const COLUMNS: usize = 10;
const HEAD: [&str; COLUMNS] =
    ["NODE", "REGION", "VERSION", "STATE", "LINK", "PRESENCE", "USERS", "ONLINE", "SESSIONS", "OUTBOX"];

/// How to show it.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Draw it anew every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Print JSON; with --watch one line a second
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, config: &Config) -> anyhow::Result<()> {
    let address = address(config)?;
    if arguments.watch {
        return watch(arguments, address);
    }
    let mut status = ask(address)?;
    for _ in 1..LOOKS {
        if status.digests_agree || status.problems.len() > 1 {
            break;
        }
        thread::sleep(BETWEEN);
        status = ask(address)?;
    }
    let shown = if arguments.json { serde_json::to_string_pretty(&status)? } else { table(&status) };
    output::line(&shown)?;
    match status.problems.len() {
        0 => Ok(()),
        1 => bail!("not all is well"),
        count => bail!("not all is well: {count} problems"),
    }
}

/// Shows it again and again. That nobody answers is shown too: a node may come back.
fn watch(arguments: &Arguments, address: SocketAddr) -> anyhow::Result<()> {
    let terminal = stdout().is_terminal() && !arguments.json;
    if terminal {
        output::part("\x1b[2J")?;
    }
    loop {
        let shown = match ask(address) {
            Ok(status) if arguments.json => serde_json::to_string(&status)?,
            Ok(status) => table(&status),
            Err(error) if arguments.json => serde_json::json!({ "error": format!("{error:#}") }).to_string(),
            Err(error) => format!("hongyan: {error:#}"),
        };
        // Home, the text, and whatever the last one had beyond it is cleared: clearing first would flicker.
        let shown = match (terminal, arguments.json) {
            (true, _) => format!("\x1b[H{}\x1b[K\n\x1b[J", shown.replace('\n', "\x1b[K\n")),
            (false, true) => format!("{shown}\n"),
            (false, false) => format!("{shown}\n\n"),
        };
        if !output::part(&shown)? {
            return Ok(());
        }
        thread::sleep(ROUND);
    }
}

/// Where the node of this configuration is asked.
///
/// # Errors
/// When it is nowhere.
pub(super) fn address(config: &Config) -> Result<SocketAddr, Usage> {
    let listen =
        config.admin_listen.ok_or_else(|| Usage("admin_listen is off, so there is nobody to ask".into()))?;
    Ok(http::reachable(listen))
}

/// Asks a node how it is.
///
/// # Errors
/// When nobody answers, or somebody else.
pub(super) fn ask(address: SocketAddr) -> anyhow::Result<Status> {
    let answer = http::get(address, "/status").with_context(|| {
        format!("no node answers at {address}; is it running? Another address: --admin-listen, or --config of that node")
    })?;
    if answer.status != 200 {
        bail!("what answers at {address} is no node of this version: {} to GET /status", answer.status);
    }
    serde_json::from_str(&answer.body)
        .with_context(|| format!("what answers at {address} is no node of this version"))
}

/// A table for people.
fn table(status: &Status) -> String {
    let mut lines = vec![heading(status), String::new()];
    lines.extend(aligned(&rows(status)));
    let mut notes = Vec::new();
    if status.address.is_empty() {
        notes.push("It is a node alone: mesh.listen is off.".to_owned());
    } else {
        let tables = if status.digests_agree { "agree" } else { "differ" };
        let Counts { known, digest, .. } = &status.counts;
        notes.push(format!(
            "Presence tables {tables}: {known} {} known, digest {digest}.",
            plural(*known, "user")
        ));
    }
    if let Some(drain) = &status.drain {
        notes.push(format!("{} drains: {}.", status.node, super::drain::words(drain)));
    }
    notes.extend(waiting(status));
    lines.push(String::new());
    lines.extend(notes);
    if !status.problems.is_empty() {
        lines.push(String::new());
        lines.extend(status.problems.iter().map(|problem| format!("{} {problem}", output::red("!"))));
    }
    lines.join("\n")
}

fn heading(status: &Status) -> String {
    let region = if status.region.is_empty() { String::new() } else { format!(", region {}", status.region) };
    let linked = status.nodes.iter().filter(|other| other.link == Link::Up).count();
    let links = if status.address.is_empty() {
        String::new()
    } else {
        format!(", linked with {linked} of {}", status.nodes.len())
    };
    format!(
        "{}{region}: {}, up {}{links}",
        output::bold(&status.node),
        state(status.counts.state),
        age(status.uptime)
    )
}

/// A row for each node, this one first.
fn rows(status: &Status) -> Vec<[String; COLUMNS]> {
    let own = row(
        [&status.node, &status.region, &status.version, state(status.counts.state), "this node", ""],
        Some(&status.counts),
    );
    let other = |other: &Other| {
        let condition = match (&other.counts, other.member) {
            (Some(counts), _) => state(counts.state),
            (None, true) => "alive",
            (None, false) => "away",
        };
        let version = other.version.as_deref().unwrap_or_default();
        let presence = match other.digest_agrees {
            Some(true) => "same",
            Some(false) => "differs",
            None => "",
        };
        let words = [other.label(), &other.region, version, condition, &link(other), presence];
        row(words, other.counts.as_ref())
    };
    let others = status.nodes.iter().map(other);
    std::iter::once(HEAD.map(str::to_owned)).chain([own]).chain(others).collect()
}

fn row(words: [&str; 6], counts: Option<&Counts>) -> [String; COLUMNS] {
    let number = |of: fn(&Counts) -> u64| counts.map_or_else(|| "–".into(), |counts| of(counts).to_string());
    let [name, region, version, condition, link, presence] =
        words.map(|word| if word.is_empty() { "–".to_owned() } else { word.to_owned() });
    [
        name,
        region,
        version,
        condition,
        link,
        presence,
        number(|counts| counts.users),
        number(|counts| counts.online),
        number(|counts| counts.sessions),
        number(|counts| counts.outbox.iter().map(|waiting| waiting.parcels).sum()),
    ]
}

fn link(other: &Other) -> String {
    match (other.link, other.rtt_ms) {
        (Link::Up, Some(rtt)) if rtt < 10.0 => format!("up, {rtt:.1} ms"),
        (Link::Up, Some(rtt)) => format!("up, {rtt:.0} ms"),
        (Link::Up, None) => "up".into(),
        (Link::LookedFor, _) => "looked for".into(),
        (Link::Refused, _) => "refused".into(),
    }
}

const fn state(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Ready => "ready",
        State::Draining => "draining",
        State::Failed => "failed",
    }
}

/// For each node, what waits for it and where.
fn waiting(status: &Status) -> Vec<String> {
    let others = status.nodes.iter().filter_map(|other| Some((other.label(), other.counts.as_ref()?)));
    let all: Vec<_> = std::iter::once((status.node.as_str(), &status.counts)).chain(others).collect();
    let waits =
        all.iter().flat_map(|(at, counts)| counts.outbox.iter().map(move |w| (&w.node, w.parcels, at)));
    let mut lines: Vec<_> = waits
        .map(|(node, parcels, at)| format!("{parcels} {} for {node} at {at}.", waits_of(parcels)))
        .collect();
    lines.sort();
    lines
}

const fn waits_of(parcels: u64) -> &'static str {
    if parcels == 1 { "parcel waits" } else { "parcels wait" }
}

fn plural(count: u64, one: &str) -> String {
    if count == 1 { one.to_owned() } else { format!("{one}s") }
}

/// Seconds as people say them.
fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Rows of cells as lines: words to the left, numbers to the right.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let is_number = |cell: &str| cell == "–" || cell.bytes().all(|byte| byte.is_ascii_digit());
    let numbers: [bool; N] = std::array::from_fn(|column| {
        rows.len() > 1
            && rows[1..].iter().all(|row| is_number(&row[column]))
            && rows[1..].iter().any(|row| row[column] != "–")
    });
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            if numbers[column] { format!("{pad}{cell}") } else { format!("{cell}{pad}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn counts(extra: Value) -> Value {
        let mut all = json!({ "state": "ready", "sessions": 4, "users": 12, "online": 3, "known": 21,
            "digest": "00000000000000aa", "outbox": [] });
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        all
    }

    fn status() -> Status {
        let us = counts(
            json!({ "node": "us-1", "region": "us", "url": "", "address": "us:7400", "member": true,
            "link": "up", "protocol": 1, "version": "0.1.0", "rtt_ms": 40.12, "digest_agrees": true, "users": 9,
            "outbox": [{ "node": "ap-1", "parcels": 1 }] }),
        );
        let ap = json!({ "node": "ap-1", "region": "ap", "url": "", "address": "ap:7400", "member": false,
            "link": "refused", "why": "the clock of ap-1 is 3600 s ahead" });
        let status = counts(json!({ "node": "eu-1", "region": "eu", "url": "", "address": "eu:7400",
            "version": "0.1.0", "protocol": 1, "uptime": 4000, "waiting": {}, "nodes": [ap, us],
            "outbox": [{ "node": "ap-1", "parcels": 7 }], "digests_agree": true,
            "problems": ["ap-1 is refused: the clock of ap-1 is 3600 s ahead"] }));
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn the_table_says_who_is_there_what_waits_and_what_is_wrong() {
        let expected = "\
eu-1, region eu: ready, up 1 h 6 min, linked with 1 of 2

NODE  REGION  VERSION  STATE  LINK       PRESENCE  USERS  ONLINE  SESSIONS  OUTBOX
eu-1  eu      0.1.0    ready  this node  –            12       3         4       7
ap-1  ap      –        away   refused    –             –       –         –       –
us-1  us      0.1.0    ready  up, 40 ms  same          9       3         4       1

Presence tables agree: 21 users known, digest 00000000000000aa.
1 parcel waits for ap-1 at us-1.
7 parcels wait for ap-1 at eu-1.

! ap-1 is refused: the clock of ap-1 is 3600 s ahead";
        assert_eq!(table(&status()), expected);
    }

    #[test]
    fn ages_are_said_as_people_do() {
        let ages: Vec<_> = [0, 59, 61, 3_700, 90_000].map(age).into();
        assert_eq!(ages, ["0 s", "59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }
}
