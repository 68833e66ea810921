//! `hongyan demo`: several regions on this machine.
//!
//! Purpose: let somebody who has nothing yet see how regions work together, and what happens when one is lost.
//! Flow: free ports → folder, certificates, configurations (`plan`) → a child process for each node (`child`), with a road
//! of some length in front of it (`road`) → what to do with it is told → a node that ends is started again after a while →
//! Ctrl-C or SIGTERM ends them all, and the folder goes.
//! Exit codes: 0 it ran and ended as it was told; 1 it did not.

mod child;
mod plan;
mod road;

use super::{
    again::Folder,
    output::{self, bold, cyan},
    status::aligned,
};
use crate::config::{Config, apps_file};
use anyhow::{Context as _, anyhow, bail};
use child::{Child, Start, ended_how};
use clap::Args;
use plan::{Layout, MAX_PORT, REGIONS};
use road::Road;
use std::{path::Path, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// How long all nodes may take until they are linked with each other.
const START: Duration = Duration::from_secs(60);

/// What to show.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Nodes, each in a region of its own: 2 to 8
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=REGIONS.len() as i64))]
    nodes: u8,
    /// Milliseconds that everything between two nodes is under way, in each direction: 0 to 150. A round trip takes twice
    /// as long
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=150))]
    delay: u16,
    /// Port of the first chat page; the others follow it, and admin addresses 1010 further on. 0 takes free ones
    #[arg(long, value_name = "P", default_value_t = 8_080, value_parser = clap::value_parser!(u16).range(..=i64::from(MAX_PORT)))]
    port: u16,
    /// Seconds until a node that has ended is started again: 1 to 3600
    #[arg(long, value_name = "S", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=3_600))]
    restart_after: u16,
    /// Leave the folder with configurations, data and logs where it is
    #[arg(long)]
    keep: bool,
}

pub(super) fn run(arguments: &Arguments, config: &Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("no runtime")?.block_on(show(arguments, config))
}

/// How the demo is told to end.
#[derive(Clone, Default)]
struct Ends {
    /// Ends the nodes.
    soon: CancellationToken,
    /// Kills them.
    at_once: CancellationToken,
}

async fn show(arguments: &Arguments, config: &Config) -> anyhow::Result<()> {
    let ends = Ends::default();
    let mut signals = JoinSet::new();
    signals.spawn(listen(ends.clone())?);
    let places = plan::places(arguments.nodes.into(), arguments.port)?;
    let folder = Folder::below(&std::env::temp_dir(), "demo")?;
    let layout = Layout::new(folder.path());
    let app = layout.fill(&places, config)?;
    let delay = Duration::from_millis(arguments.delay.into());
    let mut roads = JoinSet::new();
    let starts = starts(&places, &layout, delay, &mut roads).await?;

    let mut children = starts.iter().map(Start::run).collect::<Result<Vec<_>, _>>()?;
    let result = match all_ready(&mut children, &starts, &ends).await {
        Ok(false) => Ok(()),
        Ok(true) => {
            let rows: Vec<_> =
                starts.iter().zip(&children).map(|(start, child)| (start, child.pid())).collect();
            output::line(&welcome(arguments, &rows, &app.key, folder.path()))?;
            let rest = Duration::from_secs(arguments.restart_after.into());
            let mut nodes = JoinSet::new();
            for (start, child) in starts.into_iter().zip(std::mem::take(&mut children)) {
                nodes.spawn(keep(start, child, rest, ends.clone()));
            }
            joined(&mut nodes).await
        }
        Err(error) => Err(error),
    };
    let mut left = JoinSet::new();
    for mut child in children {
        let ends = ends.clone();
        left.spawn(async move { end(&mut child, &ends).await });
    }
    let result = result.and(joined(&mut left).await);
    if arguments.keep {
        output::line(&format!("Kept in {}", folder.keep().display()))?;
    }
    result
}

/// Hears Ctrl-C and SIGTERM: the first ends the demo, the second at once.
fn listen(ends: Ends) -> anyhow::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if ends.soon.is_cancelled() {
                ends.at_once.cancel();
            }
            ends.soon.cancel();
        }
    })
}

/// How each node is started; with a delay there is a road in front of each.
async fn starts(
    places: &[plan::Place],
    layout: &Layout<'_>,
    delay: Duration,
    roads: &mut JoinSet<()>,
) -> anyhow::Result<Vec<Start>> {
    let mut addresses = Vec::new();
    if !delay.is_zero() {
        for place in places {
            let road = Road::new(delay).await.context("no UDP port for a delay")?;
            addresses.push(road.address()?);
            roads.spawn(road.run(place.mesh));
        }
    }
    let start = |(number, place)| {
        let others = || addresses.iter().enumerate().filter(move |(other, _)| *other != number);
        let road = addresses.get(number).map(|own| (*own, others().map(|(_, address)| *address).collect()));
        Start::new(place, layout, road)
    };
    places.iter().enumerate().map(start).collect()
}

/// Waits until all are linked with each other; `false`: told to end meanwhile.
async fn all_ready(children: &mut [Child], starts: &[Start], ends: &Ends) -> anyhow::Result<bool> {
    let others = starts.len() - 1;
    let ready = async {
        for (child, start) in children.iter_mut().zip(starts) {
            child
                .ready(others)
                .await
                .with_context(|| format!("the end of its log:\n{}\n", start.last_words()))?;
        }
        anyhow::Ok(true)
    };
    tokio::select! {
        () = ends.soon.cancelled() => Ok(false),
        ready = tokio::time::timeout(START, ready) => match ready {
            Ok(ready) => ready,
            Err(_) => {
                let words: Vec<_> = starts.iter().map(Start::last_words).collect();
                bail!("the nodes did not find each other within {} s; the ends of their logs:\n{}", START.as_secs(), words.join("\n"))
            }
        },
    }
}

/// Looks after a node until the demo ends: one that is gone is started again.
async fn keep(start: Start, mut child: Child, rest: Duration, ends: Ends) -> anyhow::Result<()> {
    let name = &start.place.name;
    let again = format!("it is started again in {} s", rest.as_secs());
    loop {
        let status = tokio::select! {
            () = ends.soon.cancelled() => return end(&mut child, &ends).await,
            status = child.ended() => status?,
        };
        say(&format!("{name} has ended ({}). The others go on without it; {again}.", ended_how(status)))?;
        child = loop {
            tokio::select! {
                () = ends.soon.cancelled() => return Ok(()),
                () = tokio::time::sleep(rest) => {}
            }
            match start.run() {
                Ok(child) => break child,
                Err(error) => say(&format!("{error:#}; {again}."))?,
            }
        };
        tokio::select! {
            () = ends.soon.cancelled() => return end(&mut child, &ends).await,
            back = child.ready(0) => match back {
                Ok(()) => say(&format!("{name} is back, process {}.", child.pid()))?,
                // Here is why; the next round tells that it has ended.
                Err(_) => say(&start.last_words())?,
            },
        }
    }
}

async fn end(child: &mut Child, ends: &Ends) -> anyhow::Result<()> {
    tokio::select! {
        biased;
        () = ends.at_once.cancelled() => {}
        ended = child.end() => return ended,
    }
    child.kill().await;
    Ok(())
}

/// Waits for all, and gives the first error.
async fn joined(tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut result = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.unwrap_or_else(|broke| Err(anyhow!("a part of the demo broke off: {broke}")));
        result = result.and(ended);
    }
    result
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(output::line(text)?)
}

/// What there is, and what to do with it.
fn welcome(arguments: &Arguments, nodes: &[(&Start, u32)], key: &str, folder: &Path) -> String {
    const HEAD: [&str; 5] = ["REGION", "NODE", "CHAT PAGE", "ADMIN ADDRESS", "PROCESS"];
    let row = |(start, pid): &(&Start, u32)| {
        let place = &start.place;
        let page = format!("http://{}/", place.front);
        [place.region.to_owned(), place.name.clone(), page, place.admin.to_string(), pid.to_string()]
    };
    let rows: Vec<_> = std::iter::once(HEAD.map(str::to_owned)).chain(nodes.iter().map(row)).collect();
    let apart = if arguments.delay == 0 { String::new() } else { format!(", {} ms apart", arguments.delay) };
    let layout = Layout::new(folder);
    // There are two at the least.
    let (first, (last, last_pid)) = (&nodes[0].0.place, &nodes[nodes.len() - 1]);
    let last = &last.place;
    let at =
        if first.admin.port() == 9_090 { String::new() } else { format!(" --admin-listen {}", first.admin) };
    let mut lines = vec![
        String::new(),
        format!(
            "  {} {}: {} regions on this machine, linked with each other{apart}.",
            bold("Hongyan"),
            env!("CARGO_PKG_VERSION"),
            nodes.len()
        ),
        String::new(),
    ];
    lines.extend(aligned(&rows).into_iter().map(|line| format!("  {line}")));
    lines.extend([
        String::new(),
        "  Open two of the pages, log in under two names, and chat from region to region.".to_owned(),
        format!("  App key     {key}"),
        format!("  App secret  in {}", apps_file::path(&layout.data(&first.name)).display()),
        format!("  Logs        {}", layout.log("*").display()),
        String::new(),
        "  To try in another window:".to_owned(),
    ]);
    let hints = [
        (format!("hongyan status --watch{at}"), "how all of them are, drawn anew every second".to_owned()),
        (
            format!("hongyan drain --admin-listen {}", last.admin),
            format!("{} hands its users to the others and ends", last.name),
        ),
        (format!("kill -9 {last_pid}"), format!("{} is lost without a word", last.name)),
    ];
    let width = hints.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    let pad = |command: &str| " ".repeat(width - command.len());
    lines
        .extend(hints.iter().map(|(command, what)| format!("    {}{}  {what}", cyan(command), pad(command))));
    lines.extend([
        format!("  A node that has ended is started again after {} s.", arguments.restart_after),
        String::new(),
        "  Ctrl-C ends it all.".to_owned(),
        String::new(),
    ]);
    lines.join("\n")
}
