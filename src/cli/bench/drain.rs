//! A node that is drained while its users write to each other: what they feel of it.
//!
//! Flow: all sessions are at the first node → load at set times → the same while that node drains and ends → judge.

use super::{
    child::Child,
    load::{self, Load, Target, Transport},
    order::Verdict,
    tally::{Phase, Times},
};
use crate::cli::http;
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long a drain may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Load goes on for so long after the node has ended.
const AFTER: Duration = Duration::from_secs(1);

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Sessions of the node.
    sessions: usize,
    /// From the wish to the end of its process, in seconds.
    seconds: f64,
    /// Send to `ok`, and send to receive, before.
    quiet: (Times, Times),
    /// The same from the wish on.
    drain: (Times, Times),
    /// From the end of a session at the node to its going on at another.
    away: Times,
    /// Refused sends by code; each was sent again.
    refused: BTreeMap<String, u64>,
    verdict: Verdict,
    unanswered: usize,
}

/// Runs it; `nodes` are at the places of `target`.
///
/// # Errors
/// When sessions find no node, or the node does not end well.
pub(super) async fn run(load: &Load, target: &Target, mut nodes: Vec<Child>) -> anyhow::Result<Outcome> {
    let (mut sessions, pairs) = load::open(load, Transport::Ws, target, true).await?;
    let shared = sessions.shared.clone();
    let first = nodes.first_mut().context("no node")?;
    let admin = first.admin.context("the node has no admin address")?;
    shared.enter(Phase::Warming);
    sessions.watch(load.warmup).await?;
    shared.enter(Phase::Measuring);
    sessions.watch(load.measure).await?;
    let quiet = shared.take_times();
    let begun = Instant::now();
    let asked = tokio::task::spawn_blocking(move || http::post(admin, "/drain", &[], &[])).await??;
    if asked.status != 202 {
        bail!("the node does not drain: {} {}", asked.status, asked.body.trim());
    }
    let mut ended = None;
    if !sessions
        .until(LIMIT, || {
            ended = first.ended();
            ended.is_some()
        })
        .await?
    {
        bail!("the node has not ended after {} s", LIMIT.as_secs());
    }
    let seconds = begun.elapsed().as_secs_f64();
    if ended != Some(true) {
        bail!("the node ended with an error; what it said stands above");
    }
    sessions.watch(AFTER).await?;
    sessions.all_live(load.users).await?;
    let drain = shared.take_times();
    shared.enter(Phase::Settling);
    let (verdict, unanswered) = load::settle(&mut sessions, &pairs).await?;
    let away = Times::of(&shared.away.borrow());
    let refused = shared.refused.take();
    Ok(Outcome { sessions: load.users, seconds, quiet, drain, away, refused, verdict, unanswered })
}

impl Outcome {
    /// Whether the promises were kept.
    pub(super) fn good(&self) -> bool {
        self.verdict.good() && self.unanswered == 0 && self.drain.1.count > 0
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let ms = |times: &Times| {
            let all = [times.p50, times.p99, times.max].map(|us| format!("{:.1}", us / 1_000.0)).join(" / ");
            format!("{all} ({})", times.count)
        };
        let Verdict { losses, duplicates, breaks, phantoms, gaps } = self.verdict;
        let mut rows = vec![
            ("sessions of the drained node", self.sessions.to_string()),
            ("drained and ended after, s", format!("{:.2}", self.seconds)),
            ("before: send to ok, ms p50/p99/max (n)", ms(&self.quiet.0)),
            ("before: send to receive", ms(&self.quiet.1)),
            ("drain: send to ok", ms(&self.drain.0)),
            ("drain: send to receive", ms(&self.drain.1)),
            ("from one node to the next", ms(&self.away)),
            ("losses / duplicates / order breaks", format!("{losses} / {duplicates} / {breaks}")),
            ("stream gaps / refused yet delivered", format!("{gaps} / {phantoms}")),
            ("sends never answered", self.unanswered.to_string()),
        ];
        for (code, count) in &self.refused {
            rows.push(("refused and sent again", format!("{count} {code}")));
        }
        rows.iter().map(|(label, value)| format!("{label:<40}{value}")).collect::<Vec<_>>().join("\n")
    }

    /// For scripts, times in microseconds.
    pub(super) fn json(&self) -> Value {
        let us = |t: &Times| json!({ "count": t.count, "p50": t.p50, "p99": t.p99, "max": t.max });
        let both =
            |(ack, receive): &(Times, Times)| json!({ "ack_us": us(ack), "end_to_end_us": us(receive) });
        json!({
            "sessions": self.sessions,
            "drain_seconds": self.seconds,
            "before": both(&self.quiet),
            "during": both(&self.drain),
            "away_us": us(&self.away),
            "refused": self.refused,
            "losses": self.verdict.losses,
            "duplicates": self.verdict.duplicates,
            "order_breaks": self.verdict.breaks,
            "stream_gaps": self.verdict.gaps,
            "refused_yet_delivered": self.verdict.phantoms,
            "unanswered": self.unanswered,
            "good": self.good(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_good_when_everything_was_answered_and_came_once() {
        let times = Times { count: 1, p50: 1_000.0, p99: 2_000.0, max: 150_000.0 };
        let mut outcome = Outcome { sessions: 4, drain: (times, times), away: times, ..Outcome::default() };
        assert!(outcome.good() && outcome.table().contains("1.0 / 2.0 / 150.0 (1)"));
        assert_eq!(outcome.json()["away_us"]["max"], 150_000.0);
        outcome.unanswered = 1;
        assert!(!outcome.good());
        outcome = Outcome { verdict: Verdict { losses: 1, ..Verdict::default() }, unanswered: 0, ..outcome };
        assert!(!outcome.good());
    }
}
