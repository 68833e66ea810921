//! `hongyan drain`: have a node give away what it has, and watch it do so.
//!
//! Exit codes: 0 everything went and the node has ended; 1 something stayed, which is said.

use super::{http, output, status};
use crate::{admin::MAX_DRAIN, config::Config, node::Drain};
use anyhow::{Context as _, bail};
use clap::Args;
use std::{
    io::{IsTerminal as _, stdout},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

const LOOK: Duration = Duration::from_millis(200);
/// How often a line is written where none can be drawn anew.
const SAY: Duration = Duration::from_secs(1);
/// What a node may take beyond its time: it finishes its writes, which may take 30 s, and closes its links.
const BEYOND: Duration = Duration::from_secs(40);

/// How to drain.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Seconds that it may take; what has not gone by then stays. Else sessions.drain_timeout of the node
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(0..=MAX_DRAIN))]
    timeout: Option<u64>,
}

pub(super) fn run(arguments: &Arguments, config: &Config) -> anyhow::Result<()> {
    let address = status::address(config)?;
    let before = status::ask(address)?;
    let (node, alone) = (before.node, before.address.is_empty());
    let path =
        arguments.timeout.map_or_else(|| "/drain".to_owned(), |seconds| format!("/drain?seconds={seconds}"));
    let answer =
        http::post(address, &path, &[], &[]).with_context(|| format!("no node answers at {address}"))?;
    if answer.status != 202 {
        bail!("{node} at {address} does not drain: {} {}", answer.status, answer.body.trim());
    }
    let stayed = follow(address, &node)?;
    gone(address, &node)?;
    match stayed {
        None => bail!("{node} has ended, and what stayed there is not known; see its log"),
        Some(left) if left.mailboxes + left.parcels + left.sessions > 0 => bail!(
            "{node} has ended with {}; mailboxes follow their users and parcels go on when it is back",
            words(&left)
        ),
        Some(_) if alone => Ok(output::line(&format!("{node} has let its sessions go and ended."))?),
        Some(_) => Ok(output::line(&format!("{node} has given away everything and ended."))?),
    }
}

/// Shows how the drain gets on, until it is over or the node is gone. Gives what stayed.
fn follow(address: SocketAddr, node: &str) -> anyhow::Result<Option<Drain>> {
    let (start, terminal) = (Instant::now(), stdout().is_terminal());
    let mut said: Option<Instant> = None;
    let mut within = Duration::from_secs(MAX_DRAIN);
    loop {
        match status::ask(address) {
            Ok(status) => {
                let Some(drain) = status.drain else {
                    // It has not come to it yet.
                    thread::sleep(LOOK / 10);
                    continue;
                };
                within = Duration::from_secs(drain.within);
                if terminal {
                    output::part(&format!("\r{node}: {}\x1b[K", words(&drain)))?;
                } else if drain.done || said.is_none_or(|said| said.elapsed() >= SAY) {
                    said = Some(Instant::now());
                    output::line(&format!("{node}: {}", words(&drain)))?;
                }
                if drain.done {
                    if terminal {
                        output::line("")?;
                    }
                    return Ok(Some(drain));
                }
            }
            Err(_) if TcpStream::connect_timeout(&address, LOOK).is_err() => return Ok(None),
            // It is busy, or its socket was just about to close.
            Err(_) => {}
        }
        if start.elapsed() > within + BEYOND {
            bail!("{node} at {address} still drains after {} s; see its log", start.elapsed().as_secs());
        }
        thread::sleep(LOOK);
    }
}

/// Waits until nobody answers any more.
fn gone(address: SocketAddr, node: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    while http::get(address, "/healthz").is_ok() {
        if start.elapsed() > BEYOND {
            bail!("{node} at {address} has drained and does not end; see its log");
        }
        thread::sleep(LOOK / 4);
    }
    Ok(())
}

/// What is left, for people.
pub(super) fn words(drain: &Drain) -> String {
    let count =
        |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let Drain { mailboxes, parcels, sessions, seconds, within, done } = *drain;
    let left = [
        count(mailboxes, "mailbox", "mailboxes"),
        count(parcels, "parcel", "parcels"),
        count(sessions, "session", "sessions"),
    ];
    let left = left.join(", ");
    if done {
        format!("{left} left after {seconds} s")
    } else {
        format!("{left} left, {seconds} of {within} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_in_words() {
        let drain = Drain { seconds: 3, within: 10, mailboxes: 1, parcels: 0, sessions: 12, done: false };
        assert_eq!(words(&drain), "1 mailbox, 0 parcels, 12 sessions left, 3 of 10 s");
        assert_eq!(words(&Drain { done: true, ..drain }), "1 mailbox, 0 parcels, 12 sessions left after 3 s");
    }
}
