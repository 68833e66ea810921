//! Sides that are loaded in turns.
//!
//! A machine that others use too is faster at one time than at another. What is to be compared is therefore loaded in
//! turns, a few seconds each, with all sessions open throughout: what a round says of both sides is of the same moments,
//! and several rounds say how much that varies.

use super::{
    child::Child,
    load::{self, Load, Outcome, Pairs, Sessions, Target, Transport, Used},
    tally::{Phase, Times},
};

/// A service under load: what it consists of, and what came of it so far.
pub(super) struct Side<'a> {
    servers: &'a [Child],
    sessions: Sessions,
    pairs: Pairs,
    rounds: Vec<Round>,
}

/// What one turn came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// Messages delivered while measuring.
    pub(super) delivered: u64,
    /// CPU, memory, metrics.
    pub(super) used: Used,
}

impl Round {
    /// Server CPU of one message, in microseconds. Seconds for a million are the same number.
    pub(super) fn cost(&self) -> Option<f64> {
        self.used.server_cpu.filter(|_| self.delivered > 0).map(|cpu| cpu * 1e6 / self.delivered as f64)
    }
}

impl<'a> Side<'a> {
    /// Opens all sessions and waits until they are live.
    ///
    /// * `servers`: the servers, those that are children of this process.
    ///
    /// # Errors
    /// When sessions cannot be opened or do not last.
    pub(super) async fn open(
        load: &Load,
        transport: Transport,
        target: &Target,
        servers: &'a [Child],
    ) -> anyhow::Result<Self> {
        let (sessions, pairs) = load::open(load, transport, target, false).await?;
        Ok(Self { servers, sessions, pairs, rounds: Vec::new() })
    }

    /// One turn: warms up, measures, and lets everything arrive.
    ///
    /// # Errors
    /// When a session ends meanwhile, or a server.
    pub(super) async fn round(&mut self, load: &Load) -> anyhow::Result<()> {
        let shared = self.sessions.shared.clone();
        let before = shared.delivered.get();
        shared.enter(Phase::Warming);
        self.sessions.watch(load.warmup).await?;
        let used = load::measured(&mut self.sessions, load.measure, self.servers).await?;
        load::settle(&mut self.sessions, &self.pairs).await?;
        self.rounds.push(Round { delivered: shared.delivered.get() - before, used });
        Ok(())
    }

    /// What came of all of it.
    pub(super) fn finish(self) -> Outcome {
        let shared = &self.sessions.shared;
        let (verdict, unanswered) = load::judge(&self.pairs);
        let mut used = Used::default();
        self.rounds.iter().for_each(|round| used.add(&round.used));
        Outcome {
            delivered: shared.delivered.get(),
            batches: shared.batches.get(),
            ack: Times::of(&shared.ack.borrow()),
            end_to_end: Times::of(&shared.end_to_end.borrow()),
            used,
            rounds: self.rounds,
            verdict,
            unanswered,
            refused: shared.refused.take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_costs_what_the_servers_used_for_each_message() {
        let used = Used { seconds: 2.0, server_cpu: Some(1.0), own_cpu: 0.5, ..Used::default() };
        assert_eq!(Round { delivered: 100_000, used: used.clone() }.cost(), Some(10.0));
        assert_eq!(Round { delivered: 0, used: used.clone() }.cost(), None);
        assert_eq!(Round { delivered: 1, used: Used::default() }.cost(), None);
        let mut sum = Used::default();
        sum.add(&used);
        sum.add(&Used { resident: Some(5), ..used });
        assert_eq!((sum.seconds, sum.server_cpu, sum.own_cpu, sum.resident), (4.0, Some(2.0), 1.0, Some(5)));
    }
}
