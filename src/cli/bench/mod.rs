//! `hongyan bench`: how much this program carries, on this machine, with its promises checked.
//!
//! Flow: a server of our own in a child process, on an empty folder of a real disk → load from this process, one
//! thread → figures, and every message accounted for; beside it, in the same run, the disk alone and a bare echo, by
//! which figures of different machines compare. With several nodes, sender and receiver of a message connect to
//! different ones, and one node alone carries the same load in turns with them, for comparison.
//! Exit code: 0 when nothing was lost, came twice or out of order; 1 when something was.

mod child;
mod client;
mod cluster;
mod drain;
mod echo;
mod idle;
mod load;
mod order;
mod pair;
mod poll;
mod probe;
mod pump;
mod report;
mod roam;
mod rounds;
mod scan;
mod tally;
mod ws;

pub(super) use echo::serve as serve_echo;

use super::{
    Usage,
    again::{self, Folder},
    output,
};
use crate::config::{Config, Loaded, apps_file};
use anyhow::{Context as _, bail};
use child::{LOAD_CORE, Wanted};
use clap::Args;
use load::{Load, Place, Target, Transport};
use rounds::Side;
use std::{
    net::ToSocketAddrs as _,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{self, Command, Stdio},
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// Files that a process has open besides its sessions.
const FILES: u64 = 512;
/// Smallest text of a message: its marks must fit.
const MARKS: usize = 64;

/// What to measure.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Users; those beyond two a pair are there and silent [default: two a pair]
    #[arg(long, value_name = "N")]
    users: Option<usize>,
    /// Senders, each with its receiver [default: 100]
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pairs: Option<u32>,
    /// Sends that each sender keeps in flight
    #[arg(long, value_name = "W", default_value = "16", value_parser = clap::value_parser!(u32).range(1..=4_096))]
    window: u32,
    /// Seconds that count
    #[arg(long, value_name = "S", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Seconds of load before that
    #[arg(long, value_name = "S", default_value = "2", value_parser = clap::value_parser!(u32).range(0..=3_600))]
    warmup: u32,
    /// Bytes of text of a message
    #[arg(long, value_name = "B", default_value = "200")]
    size: usize,
    /// How sessions are carried
    #[arg(long, value_name = "WHICH", default_value = "ws")]
    transport: Transport,
    /// A server that runs already, such as http://192.0.2.1:8080; its rate limits must allow the load
    #[arg(long, requires_all = ["app", "secret"])]
    url: Option<String>,
    /// App key there
    #[arg(long, value_name = "KEY", requires = "url")]
    app: Option<String>,
    /// App secret there
    #[arg(long, requires = "url")]
    secret: Option<String>,
    /// Nodes, linked with each other; those of one pair connect to different ones
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=7))]
    nodes: u8,
    /// Milliseconds from one send of a sender to its next, whatever the server does [default: as soon as the window allows]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=600_000))]
    every: Option<u32>,
    /// Drain instead: all users are at the first of --nodes, and go on at the others
    #[arg(long, requires = "every")]
    drain: bool,
    /// Give server and load a core each, so that neither takes from the other; needs taskset
    #[arg(long)]
    pin: bool,
    /// Measure memory instead: open N sessions that say nothing
    #[arg(long, value_name = "N", conflicts_with_all = ["users", "pairs", "url"])]
    idle: Option<u32>,
    /// Times that one node and --nodes are loaded in turns, --seconds each
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: u8,
    /// Leave out the bare echo
    #[arg(long)]
    no_echo: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// The load that is asked for, judged.
    fn load(&self, config: &Config) -> Result<Load, Usage> {
        let pairs = self.pairs.unwrap_or(100) as usize;
        let users = self.users.unwrap_or(2 * pairs);
        let usage = |text: String| Err(Usage(text));
        if users < 2 * pairs {
            return usage(format!(
                "--users {users} is too few for {pairs} pairs, which are {} users",
                2 * pairs
            ));
        }
        let largest = config.limits.content.saturating_sub(64);
        if self.size < MARKS || self.size > largest {
            return usage(format!("--size {} must be {MARKS} to {largest} bytes", self.size));
        }
        if self.pin && self.url.is_some() {
            return usage("--pin places the server of this run; one that --url names is not placed".into());
        }
        if self.nodes > 1 && (self.url.is_some() || self.idle.is_some()) {
            return usage("--nodes starts nodes of its own, and loads them".into());
        }
        if self.drain && (self.nodes < 2 || self.transport == Transport::Poll) {
            return usage("--drain needs --nodes 2 at least, and WebSocket sessions".into());
        }
        if self.idle == Some(0) {
            return usage("--idle 0 measures nothing".into());
        }
        if self.idle.is_some() && self.transport == Transport::Poll {
            return usage("--idle measures WebSocket sessions; a polling one is never idle".into());
        }
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let (warmup, measure) = (seconds(self.warmup), seconds(self.seconds));
        let every = Duration::from_millis(self.every.unwrap_or_default().into());
        Ok(Load { pairs, users, window: self.window as usize, size: self.size, every, warmup, measure })
    }

    /// Connections that will be open at once.
    fn connections(&self, load: &Load) -> usize {
        // Those of one node and of several are open at the same time.
        let sides = if self.nodes > 1 { 2 } else { 1 };
        match (self.idle, self.transport) {
            (Some(count), _) => count as usize + 64,
            (None, Transport::Ws) => sides * load.users,
            (None, Transport::Poll) => sides * 2 * load.users,
        }
    }
}

pub(super) fn run(arguments: &Arguments, loaded: &Loaded) -> anyhow::Result<()> {
    let load = arguments.load(&loaded.config)?;
    allow_files(arguments.connections(&load) as u64 + FILES)?;
    let pinned = arguments.pin && pin()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        // What ends the run ends it here, so that its child and its folder go with it.
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            result = measure(arguments, &load, pinned, loaded) => result,
            _ = terminate.recv() => bail!("ended by SIGTERM before it was done"),
            _ = interrupt.recv() => bail!("ended by SIGINT before it was done"),
        }
    })
}

/// Puts this process on the core of the load; `false` when the system has no tool for that.
fn pin() -> anyhow::Result<bool> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        return Err(Usage(format!("--pin needs two cores, and this process may use {cores}")).into());
    }
    let own = process::id().to_string();
    let set = Command::new("taskset")
        .args(["-a", "-c", "-p", &LOAD_CORE.to_string(), &own])
        .stdout(Stdio::null())
        .status();
    match set {
        Ok(status) if status.success() => Ok(true),
        Ok(status) => bail!("taskset cannot place this process: {status}"),
        Err(error) => {
            eprintln!("hongyan: not pinned, since there is no taskset: {error}");
            Ok(false)
        }
    }
}

/// Makes sure that this process and its children may have so many files open. A process cannot raise its own limit
/// without code that we do not allow ourselves, but a shell can, and become this program again.
fn allow_files(wanted: u64) -> anyhow::Result<()> {
    let Some((_, hard)) = probe::open_files().filter(|(soft, _)| *soft < wanted) else { return Ok(()) };
    if hard < wanted {
        bail!(
            "{wanted} open files are needed, and the system allows {hard}; raise that with `ulimit -Hn` or LimitNOFILE"
        );
    }
    let own = again::program()?;
    let error = Command::new("sh")
        .args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &wanted.to_string()])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(error).context("no shell to raise the limit of open files; do so with `ulimit -n`")
}

async fn measure(arguments: &Arguments, load: &Load, pinned: bool, loaded: &Loaded) -> anyhow::Result<()> {
    let run = again::random()?;
    if let Some(url) = &arguments.url {
        let (app, secret) = (arguments.app.clone(), arguments.secret.clone());
        let places = vec![place(url)?];
        let target = Target { places, app: app.unwrap_or_default(), secret: secret.unwrap_or_default(), run };
        let mut side = Side::open(load, arguments.transport, &target, &[]).await?;
        side.round(load).await?;
        let service = side.finish();
        return finish(arguments, load, pinned, Measured { disk: None, alone: None, service }).await;
    }
    let folder = Folder::below(&parent(loaded), "bench")?;
    if let Some(kind) = probe::file_system(folder.path()).filter(|kind| kind == "tmpfs" || kind == "ramfs") {
        eprintln!(
            "hongyan: {} is on {kind}, where nothing is durable; choose a disk with --data",
            folder.path().display()
        );
    }
    let disk = probe::disk(folder.path())?;
    let connections = arguments.connections(load);
    let wanted = Wanted { config: &loaded.config, connections, pin: pinned };
    if arguments.drain {
        let (nodes, app) = cluster::serve(folder.path(), arguments.nodes.into(), wanted).await?;
        let places = nodes.iter().map(Place::of).collect();
        let target = Target { places, app: app.key, secret: app.secret, run };
        let outcome = drain::run(load, &target, nodes).await?;
        output::line(&if arguments.json { pretty(&outcome.json())? } else { outcome.table() })?;
        if !outcome.good() {
            bail!("messages were lost, came twice or out of order, or were not answered");
        }
        return Ok(());
    }
    let alone = folder.path().join("alone");
    let app = apps_file::create(&alone, None, None, "bench")?;
    let server = child::serve(&alone, wanted, &[]).await?;
    let target =
        Target { places: vec![Place::of(&server)], app: app.key, secret: app.secret, run: run.clone() };
    if let Some(count) = arguments.idle {
        let outcome = idle::run(count as usize, &target, &server).await?;
        let text =
            if arguments.json { pretty(&report::idle_json(&outcome))? } else { report::idle_table(&outcome) };
        return Ok(output::line(&text)?);
    }
    let servers = [server];
    let mut one = Side::open(load, arguments.transport, &target, &servers).await?;
    if arguments.nodes < 2 {
        one.round(load).await?;
        let measured = Measured { disk: Some(disk), alone: None, service: one.finish() };
        return finish(arguments, load, pinned, measured).await;
    }
    let (nodes, app) = cluster::serve(folder.path(), arguments.nodes.into(), wanted).await?;
    let places = nodes.iter().map(Place::of).collect();
    let target = Target { places, app: app.key, secret: app.secret, run };
    let mut several = Side::open(load, arguments.transport, &target, &nodes).await?;
    for _ in 0..arguments.rounds {
        one.round(load).await?;
        several.round(load).await?;
    }
    let measured = Measured { disk: Some(disk), alone: Some(one.finish()), service: several.finish() };
    drop((servers, nodes));
    finish(arguments, load, pinned, measured).await
}

/// What was measured but for the yardstick.
struct Measured {
    disk: Option<probe::Spread>,
    /// Of one node, when there are several in `service`.
    alone: Option<load::Outcome>,
    service: load::Outcome,
}

/// The yardstick, and the report.
async fn finish(arguments: &Arguments, load: &Load, pinned: bool, measured: Measured) -> anyhow::Result<()> {
    let echo = if arguments.no_echo {
        None
    } else {
        let server = child::echo(pinned).await?;
        Some(echo::run(load, &server).await.context("bare echo")?)
    };
    let Measured { disk, alone, service } = measured;
    let nodes = arguments.nodes;
    let transport = arguments.transport;
    let report = report::Report { load: *load, transport, nodes, pinned, disk, service, alone, echo };
    output::line(&if arguments.json { pretty(&report.json())? } else { report.table() })?;
    if !report.good() {
        bail!("messages were lost, came twice or out of order, or none came at all");
    }
    Ok(())
}

fn pretty(value: &serde_json::Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)?)
}

/// Where the data goes: the folder that was asked for, or else where we are.
fn parent(loaded: &Loaded) -> PathBuf {
    if loaded.origins.contains_key("data") { loaded.config.data.clone() } else { PathBuf::from(".") }
}

/// The server that a URL names.
fn place(url: &str) -> anyhow::Result<Place> {
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("ws://")) else {
        return Err(Usage(format!("--url {url}: must begin with http://; the load speaks no TLS")).into());
    };
    let host = rest.split('/').next().unwrap_or_default();
    let with_port = if host.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let address = with_port.to_socket_addrs().ok().and_then(|mut all| all.next());
    let address = address.ok_or_else(|| Usage(format!("--url {url}: no such host")))?;
    Ok(Place { address, host: host.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        bench: Arguments,
    }

    fn judged(arguments: &str) -> Result<Load, String> {
        let line = Line::try_parse_from(std::iter::once("bench").chain(arguments.split_whitespace()));
        let line = line.map_err(|e| e.to_string())?;
        line.bench.load(&Config::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_are_a_load() {
        let load = judged("").unwrap();
        assert_eq!((load.pairs, load.users, load.window, load.size), (100, 200, 16, 200));
        assert_eq!(judged("--pairs 3 --users 9").unwrap().users, 9);
    }

    #[test]
    fn impossible_combinations_say_what_is_wrong() {
        for (arguments, why) in [
            ("--pairs 5 --users 9", "too few for 5 pairs"),
            ("--size 10", "must be 64 to"),
            ("--size 1000000", "must be 64 to"),
            ("--url http://127.0.0.1:1", "--app"),
            ("--app x", "--url"),
            ("--url http://127.0.0.1:1 --app x --secret y --pin", "--pin places"),
            ("--idle 5 --pairs 2", "--pairs"),
            ("--idle 0", "measures nothing"),
            ("--idle 5 --transport poll", "never idle"),
            ("--idle 5 --nodes 2", "nodes of its own"),
            ("--nodes 8", "--nodes"),
            ("--drain --every 9", "--nodes 2"),
            ("--drain --nodes 2", "--every"),
            ("--window 0", "--window"),
            ("--transport udp", "--transport"),
        ] {
            let error = judged(arguments).unwrap_err();
            assert!(error.contains(why), "{arguments}: {error}");
        }
    }

    #[test]
    fn urls_are_host_and_port() {
        let found = place("http://127.0.0.1:8080/").unwrap();
        assert_eq!((found.host.as_str(), found.address.port()), ("127.0.0.1:8080", 8080));
        assert_eq!(place("ws://127.0.0.1").unwrap().address.port(), 80);
        assert!(place("https://127.0.0.1").unwrap_err().is::<Usage>());
    }
}
