//! Saying what came of a run: a table for people, JSON for scripts.

use super::{
    echo, idle,
    load::{self, Load, Transport, Used},
    probe::Spread,
    rounds::Whole,
    tally::Times,
};
use serde_json::{Value, json};

/// A run of load and what stands beside it.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// What was asked for.
    pub(super) load: Load,
    /// How sessions were carried.
    pub(super) transport: Transport,
    /// Servers that carried it.
    pub(super) nodes: u8,
    /// Whether server and load had a core each to themselves.
    pub(super) pinned: bool,
    /// The disk under the server.
    pub(super) disk: Option<Spread>,
    /// The service.
    pub(super) service: load::Outcome,
    /// One node with the same load, when `service` is several.
    pub(super) alone: Option<load::Outcome>,
    /// The yardstick.
    pub(super) echo: Option<echo::Outcome>,
}

/// Per second.
fn rate(count: u64, used: &Used) -> f64 {
    count as f64 / used.seconds.max(1e-9)
}

/// Server CPU of one message, in microseconds. Seconds for a million are the same number.
fn cost(count: u64, used: &Used) -> Option<f64> {
    used.server_cpu.filter(|_| count > 0).map(|cpu| cpu * 1e6 / count as f64)
}

/// The part of a core that somebody used.
fn part(cpu: f64, used: &Used) -> f64 {
    cpu / used.seconds.max(1e-9)
}

impl Report {
    /// Whether the promises were kept.
    pub(super) fn good(&self) -> bool {
        let good = |outcome: &load::Outcome| outcome.verdict.good() && outcome.delivered > 0;
        good(&self.service) && self.alone.as_ref().is_none_or(good)
    }

    /// Median time in which the server writes a batch, its fsync included, in microseconds.
    fn fsync(&self) -> Option<f64> {
        let metrics = self.service.used.metrics.as_ref()?;
        metrics.quantile("hongyan_fsync_seconds", 0.5).map(|seconds| seconds * 1e6)
    }

    /// What the server did for each of its fsyncs, by the name of a counter.
    fn by_fsync(&self, counter: &str) -> Option<f64> {
        let metrics = self.service.used.metrics.as_ref()?;
        let fsyncs = metrics.get("hongyan_fsync_seconds_count");
        (fsyncs > 0.0).then(|| metrics.get(counter) / fsyncs)
    }

    /// Messages accepted with one fsync.
    fn batch(&self) -> Option<f64> {
        self.by_fsync("hongyan_messages_accepted_total")
    }

    /// Rows written with one fsync.
    fn rows(&self) -> Option<f64> {
        self.by_fsync("hongyan_commit_batch_sum")
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let Self { load, service, .. } = self;
        let mut rows = vec![format!(
            "{} pairs over {}, {}{} sends of {} bytes in flight each, {} users; {} × {:.1} s after {:.1} s of warm-up; {}",
            load.pairs,
            transport(self.transport),
            if self.nodes > 1 { format!("between {} nodes, ", self.nodes) } else { String::new() },
            load.window,
            load.size,
            load.users,
            service.rounds.len(),
            load.measure.as_secs_f64(),
            load.warmup.as_secs_f64(),
            if self.pinned { "server on core 0, load on core 1" } else { "not pinned" },
        )];
        rows.push(String::new());
        let mut row = |label: &str, value: String| rows.push(format!("{label:<40}{value}"));
        row("delivered, messages/s", format!("{:.0}", rate(service.delivered, &service.used)));
        row("server CPU, µs a message", cost(service.delivered, &service.used).map_or_else(unknown, fixed1));
        row(
            "server CPU, s a million messages",
            cost(service.delivered, &service.used).map_or_else(unknown, fixed1),
        );
        row("send to ok, ms p50 / p99 / max", millis(&service.ack));
        row("send to receive, ms p50 / p99 / max", millis(&service.end_to_end));
        row(
            "server CPU, cores",
            service.used.server_cpu.map_or_else(unknown, |cpu| fixed2(part(cpu, &service.used))),
        );
        row("load CPU, cores", fixed2(part(service.used.own_cpu, &service.used)));
        row(
            "server memory, MiB",
            service.used.resident.map_or_else(unknown, |kib| fixed1(kib as f64 / 1_024.0)),
        );
        row("messages a transport message", fixed1(service.delivered as f64 / service.batches.max(1) as f64));
        let [batch, writes] = [self.batch(), self.rows()].map(|known| known.map_or_else(unknown, fixed1));
        row("server's batch, messages / rows", format!("{batch} / {writes}"));
        row("server's batch and fsync, ms p50", self.fsync().map_or_else(unknown, |us| fixed2(us / 1_000.0)));
        if let Some(alone) = &self.alone {
            row("one node, messages/s", format!("{:.0}", rate(alone.delivered, &alone.used)));
            row(
                "one node, CPU µs a message",
                cost(alone.delivered, &alone.used).map_or_else(unknown, fixed1),
            );
            row("one node, send to ok, ms p50 / p99 / max", millis(&alone.ack));
            row("one node, send to receive, ms", millis(&alone.end_to_end));
            let part = self.of_alone().map_or_else(unknown, |part| {
                format!("{:.2} / {:.2} / {:.2}", part.min, part.median, part.max)
            });
            let whole =
                |outcome: &load::Outcome| Whole::sum(&outcome.rounds).cost().map_or_else(unknown, fixed1);
            row("whole turns, CPU µs a message", whole(service));
            row("one node's whole turns", whole(alone));
            row("for the same CPU, of one node's messages", part);
            row("the same, of all turns together", self.of_alone_in_all().map_or_else(unknown, fixed2));
        }
        if let Some(disk) = self.disk {
            let ms = [disk.min, disk.median, disk.max].map(|us| fixed2(us / 1_000.0));
            row("disk's fdatasync, ms min / p50 / max", ms.join(" / "));
            row("send to ok p50 / disk's fdatasync", fixed1(service.ack.p50 / disk.median.max(1e-9)));
        }
        if let Some(echo) = &self.echo {
            row("bare echo, messages/s", format!("{:.0}", rate(echo.returned, &echo.used)));
            row("bare echo, CPU µs a message", cost(echo.returned, &echo.used).map_or_else(unknown, fixed1));
            row("bare echo, ms p50 / p99 / max", millis(&echo.round_trip));
            row("bare echo, load CPU, cores", fixed2(part(echo.used.own_cpu, &echo.used)));
            row("CPU a message, times the echo's", self.ratio().map_or_else(unknown, fixed2));
        }
        let verdict = &service.verdict;
        row(
            "losses / duplicates / order breaks",
            format!("{} / {} / {}", verdict.losses, verdict.duplicates, verdict.breaks),
        );
        row("stream gaps / refused yet delivered", format!("{} / {}", verdict.gaps, verdict.phantoms));
        if service.unanswered > 0 {
            row("sends never answered", service.unanswered.to_string());
        }
        for (code, count) in &service.refused {
            row(&format!("refused, {code}"), count.to_string());
        }
        rows.join("\n")
    }

    /// Messages for the same CPU, as a part of what one node carries for it, of each round.
    fn of_alone(&self) -> Option<Spread> {
        let alone = self.alone.as_ref()?;
        let parts = self.service.rounds.iter().zip(&alone.rounds);
        let parts = parts.map(|(own, alone)| Some(alone.whole.cost()? / own.whole.cost()?.max(1e-9)));
        parts.collect::<Option<Vec<_>>>().filter(|parts| !parts.is_empty()).map(Spread::of)
    }

    /// The same, of all rounds together.
    fn of_alone_in_all(&self) -> Option<f64> {
        let alone = Whole::sum(&self.alone.as_ref()?.rounds).cost()?;
        Whole::sum(&self.service.rounds).cost().map(|own| alone / own.max(1e-9))
    }

    fn ratio(&self) -> Option<f64> {
        let echo = self.echo.as_ref()?;
        let own = cost(self.service.delivered, &self.service.used)?;
        cost(echo.returned, &echo.used).map(|echo| own / echo.max(1e-9))
    }

    /// For scripts. Times are in microseconds; what is not known is null.
    pub(super) fn json(&self) -> Value {
        let Self { load, service, .. } = self;
        let verdict = &service.verdict;
        json!({
            "pairs": load.pairs,
            "users": load.users,
            "window": load.window,
            "size": load.size,
            "transport": transport(self.transport),
            "nodes": self.nodes,
            "pinned": self.pinned,
            "seconds": service.used.seconds,
            "delivered": service.delivered,
            "messages_per_second": rate(service.delivered, &service.used),
            "server_cpu_us_per_message": cost(service.delivered, &service.used),
            "whole_turns_cpu_us_per_message": Whole::sum(&service.rounds).cost(),
            "rounds_cpu_us": rounds(service),
            "server_cpu_seconds_per_million": cost(service.delivered, &service.used),
            "server_cores": service.used.server_cpu.map(|cpu| part(cpu, &service.used)),
            "load_cores": part(service.used.own_cpu, &service.used),
            "server_resident_kib": service.used.resident,
            "ack_us": times(&service.ack),
            "end_to_end_us": times(&service.end_to_end),
            "messages_per_transport_message": service.delivered as f64 / service.batches.max(1) as f64,
            "messages_per_fsync": self.batch(),
            "rows_per_fsync": self.rows(),
            "server_batch_p50_us": self.fsync(),
            "disk_fdatasync_us": self.disk.map(spread),
            "ack_p50_per_fdatasync": self.disk.map(|disk| service.ack.p50 / disk.median.max(1e-9)),
            "alone": self.alone.as_ref().map(|alone| json!({
                "messages_per_second": rate(alone.delivered, &alone.used),
                "server_cpu_us_per_message": cost(alone.delivered, &alone.used),
                "whole_turns_cpu_us_per_message": Whole::sum(&alone.rounds).cost(),
                "rounds_cpu_us": rounds(alone),
                "server_cores": alone.used.server_cpu.map(|cpu| part(cpu, &alone.used)),
                "ack_us": times(&alone.ack),
                "end_to_end_us": times(&alone.end_to_end),
            })),
            "messages_for_same_cpu_to_alone": self.of_alone().map(spread),
            "messages_for_same_cpu_to_alone_in_all": self.of_alone_in_all(),
            "echo": self.echo.as_ref().map(|echo| json!({
                "messages_per_second": rate(echo.returned, &echo.used),
                "server_cpu_us_per_message": cost(echo.returned, &echo.used),
                "round_trip_us": times(&echo.round_trip),
                "load_cores": part(echo.used.own_cpu, &echo.used),
            })),
            "cpu_per_message_to_echo": self.ratio(),
            "losses": verdict.losses,
            "duplicates": verdict.duplicates,
            "order_breaks": verdict.breaks,
            "stream_gaps": verdict.gaps,
            "refused_yet_delivered": verdict.phantoms,
            "unanswered": service.unanswered,
            "refused": service.refused,
            "good": self.good(),
        })
    }
}

/// Memory of idle sessions, for people.
pub(super) fn idle_table(outcome: &idle::Outcome) -> String {
    let mib = |kib: u64| fixed1(kib as f64 / 1_024.0);
    let rows = [
        ("idle sessions", outcome.sessions.to_string()),
        ("server memory a session, KiB", fixed2(outcome.each())),
        ("server memory, MiB before / with", format!("{} / {}", mib(outcome.before), mib(outcome.after))),
        ("opened, sessions/s", format!("{:.0}", outcome.sessions as f64 / outcome.seconds.max(1e-9))),
        ("load memory, MiB", mib(outcome.own)),
    ];
    rows.map(|(label, value)| format!("{label:<40}{value}")).join("\n")
}

/// Memory of idle sessions, for scripts.
pub(super) fn idle_json(outcome: &idle::Outcome) -> Value {
    json!({
        "idle_sessions": outcome.sessions,
        "kib_per_session": outcome.each(),
        "server_resident_kib_before": outcome.before,
        "server_resident_kib": outcome.after,
        "sessions_per_second": outcome.sessions as f64 / outcome.seconds.max(1e-9),
        "load_resident_kib": outcome.own,
    })
}

const fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Ws => "ws",
        Transport::Poll => "poll",
    }
}

fn spread(spread: Spread) -> Value {
    json!({ "min": spread.min, "p50": spread.median, "max": spread.max })
}

/// Server CPU of one message in each round, in microseconds.
fn rounds(outcome: &load::Outcome) -> Vec<Option<f64>> {
    outcome.rounds.iter().map(|round| round.whole.cost()).collect()
}

fn times(times: &Times) -> Value {
    json!({ "p50": times.p50, "p99": times.p99, "max": times.max })
}

fn millis(times: &Times) -> String {
    [times.p50, times.p99, times.max].map(|us| fixed2(us / 1_000.0)).join(" / ")
}

fn fixed1(value: f64) -> String {
    format!("{value:.1}")
}

fn fixed2(value: f64) -> String {
    format!("{value:.2}")
}

fn unknown() -> String {
    "not known".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::{order::Verdict, probe::Samples, rounds::Round};
    use std::time::Duration;

    fn report() -> Report {
        let second = Duration::from_secs(1);
        let load = Load {
            pairs: 2,
            users: 5,
            window: 3,
            size: 200,
            every: Duration::ZERO,
            warmup: second,
            measure: second,
        };
        let used = Used {
            seconds: 2.0,
            server_cpu: Some(1.0),
            resident: Some(2_048),
            own_cpu: 0.5,
            metrics: Some(Samples::read(
                "hongyan_fsync_seconds_bucket{le=\"0.001\"} 100\nhongyan_fsync_seconds_count 100\n\
                 hongyan_messages_accepted_total 100000\nhongyan_commit_batch_sum 700000",
            )),
        };
        let times = Times { count: 1, p50: 1_500.0, p99: 2_000.0, max: 3_000.0 };
        let service = load::Outcome {
            delivered: 100_000,
            batches: 10_000,
            ack: times,
            end_to_end: times,
            used: used.clone(),
            ..load::Outcome::default()
        };
        let echo = echo::Outcome { returned: 200_000, round_trip: times, used };
        let disk = Some(Spread { min: 100.0, median: 500.0, max: 900.0 });
        Report {
            load,
            transport: Transport::Ws,
            nodes: 1,
            pinned: false,
            disk,
            service,
            alone: None,
            echo: Some(echo),
        }
    }

    #[test]
    fn rates_costs_and_ratios_are_those_of_the_counted_time() {
        let json = report().json();
        for (key, value) in [
            ("messages_per_second", 50_000.0),
            ("server_cpu_us_per_message", 10.0),
            ("server_cpu_seconds_per_million", 10.0),
            ("cpu_per_message_to_echo", 2.0),
            ("messages_per_fsync", 1_000.0),
            ("rows_per_fsync", 7_000.0),
            ("server_batch_p50_us", 500.0),
            ("ack_p50_per_fdatasync", 3.0),
            ("messages_per_transport_message", 10.0),
        ] {
            assert!((json[key].as_f64().unwrap() - value).abs() < 1e-6, "{key}: {}", json[key]);
        }
        assert_eq!(json["good"], true);
        let table = report().table();
        assert!(table.contains("1.50 / 2.00 / 3.00") && !table.contains("never answered"), "{table}");
    }

    #[test]
    fn several_nodes_are_judged_by_what_one_carries_for_the_same_cpu() {
        let mut report = report();
        assert!(report.json()["messages_for_same_cpu_to_alone"].is_null());
        let mut alone = report.service.clone();
        let cpu = [0.8, 0.6, 0.7];
        let round = |cpu| {
            let whole = Whole { delivered: 100_000, server_cpu: Some(cpu) };
            Round { whole, ..Round::default() }
        };
        (alone.rounds, report.service.rounds) = (cpu.map(round).into(), vec![round(1.0); 3]);
        (report.nodes, report.alone) = (2, Some(alone));
        let parts = &report.json()["messages_for_same_cpu_to_alone"];
        for (key, value) in [("min", 0.6), ("p50", 0.7), ("max", 0.8)] {
            assert!((parts[key].as_f64().unwrap() - value).abs() < 1e-9, "{parts}");
        }
        assert!(
            (report.json()["messages_for_same_cpu_to_alone_in_all"].as_f64().unwrap() - 0.7).abs() < 1e-9
        );
        assert!(report.table().contains("0.60 / 0.70 / 0.80") && report.good());
        report.alone.iter_mut().for_each(|alone| alone.verdict.duplicates = 1);
        assert!(!report.good());
    }

    #[test]
    fn a_broken_promise_or_nothing_at_all_is_not_good() {
        let mut bad = report();
        bad.service.verdict = Verdict { losses: 1, ..Verdict::default() };
        assert!(!bad.good() && bad.json()["losses"] == 1);
        let mut nothing = report();
        nothing.service.delivered = 0;
        assert!(!nothing.good() && nothing.json()["server_cpu_us_per_message"].is_null());
    }

    #[test]
    fn memory_of_idle_sessions_is_what_was_added() {
        let outcome = idle::Outcome { sessions: 1_000, before: 20_000, after: 26_000, own: 1, seconds: 2.0 };
        assert!((outcome.each() - 6.0).abs() < 1e-9);
        assert!(idle_table(&outcome).contains("6.00"));
        assert_eq!(idle_json(&outcome)["sessions_per_second"], 500.0);
    }
}
