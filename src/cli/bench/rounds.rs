//! Sides that are loaded in turns.
//!
//! A machine that others use too is faster at one time than at another. What is to be compared is therefore loaded in
//! turns, a few seconds each, with all sessions open throughout: what a round says of both sides is of the same moments,
//! and several rounds say how much that varies.
//!
//! A store goes on merging tables after the load has ended. A turn therefore ends when the servers have nothing left to
//! do: else one side would merge in the other's turn, take the core from it, and count what it used for nobody.

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
    /// CPU, memory, metrics, while measuring.
    pub(super) used: Used,
    /// All of the turn.
    pub(super) whole: Whole,
}

/// A turn with its warm-up, and with what the servers did after the load.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Whole {
    /// Messages delivered.
    pub(super) delivered: u64,
    /// CPU seconds of the servers, where they are ours.
    pub(super) server_cpu: Option<f64>,
}

impl Whole {
    /// Server CPU of one message, in microseconds.
    pub(super) fn cost(&self) -> Option<f64> {
        self.server_cpu.filter(|_| self.delivered > 0).map(|cpu| cpu * 1e6 / self.delivered as f64)
    }

    /// All turns together.
    pub(super) fn sum(rounds: &[Round]) -> Self {
        let delivered = rounds.iter().map(|round| round.whole.delivered).sum();
        Self { delivered, server_cpu: rounds.iter().map(|round| round.whole.server_cpu).sum() }
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

    /// One turn: warms up, measures, lets everything arrive, and waits until the servers have nothing left to do.
    ///
    /// # Errors
    /// When a session ends meanwhile, or a server.
    pub(super) async fn round(&mut self, load: &Load) -> anyhow::Result<()> {
        let shared = self.sessions.shared.clone();
        let (arrived, cpu) = (self.arrived(), load::cpu(self.servers)?);
        shared.enter(Phase::Warming);
        self.sessions.watch(load.warmup).await?;
        let used = load::measured(&mut self.sessions, load.measure, self.servers).await?;
        load::settle(&mut self.sessions, &self.pairs).await?;
        load::quiet(&mut self.sessions, self.servers).await?;
        let server_cpu = load::cpu(self.servers)?.zip(cpu).map(|(after, before)| after - before);
        let whole = Whole { delivered: self.arrived() - arrived, server_cpu };
        self.rounds.push(Round { used, whole });
        Ok(())
    }

    fn arrived(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.borrow().arrived()).sum()
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
    fn a_turn_costs_what_the_servers_used_for_each_message_until_they_were_done() {
        let whole = |delivered, server_cpu| Whole { delivered, server_cpu };
        assert_eq!(whole(100_000, Some(1.0)).cost(), Some(10.0));
        assert_eq!((whole(0, Some(1.0)).cost(), whole(1, None).cost()), (None, None));
        let round = |cpu| Round { whole: whole(50_000, Some(cpu)), ..Round::default() };
        assert_eq!(Whole::sum(&[round(1.0), round(2.0)]).cost(), Some(30.0));
        assert_eq!(Whole::sum(&[round(1.0), Round::default()]).cost(), None);
    }

    #[test]
    fn what_turns_used_is_added_up() {
        let used = Used { seconds: 2.0, server_cpu: Some(1.0), own_cpu: 0.5, ..Used::default() };
        let mut sum = Used::default();
        sum.add(&used);
        sum.add(&Used { resident: Some(5), ..used });
        assert_eq!((sum.seconds, sum.server_cpu, sum.own_cpu, sum.resident), (4.0, Some(2.0), 1.0, Some(5)));
    }
}
