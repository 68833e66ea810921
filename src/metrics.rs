//! What the node counts, and its Prometheus text form.
//!
//! Purpose: plain atomics that any thread may bump, rendered on demand; no registry, no macro, no locks on
//! hot paths.
//! Flow: everyone bumps public fields of [`Metrics`] → [`Metrics::render`] (`GET /metrics`).
//! Format: Prometheus text exposition format 0.0.4.

mod kinds;
mod process;

pub use kinds::{Counter, Family, Gauge, Histogram};

use kinds::Text;
use std::time::SystemTime;

/// Times of writing and answering, in microseconds: 100 µs to 5 s.
const LATENCY: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000,
];
/// Sizes of batches.
const SIZES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 4_096];

macro_rules! metrics {
    ($($(#[$doc:meta])* $field:ident : $kind:ty = $make:expr, $name:literal, $help:literal;)*) => {
        /// All counters of one node.
        #[derive(Debug)]
        pub struct Metrics {
            started: SystemTime,
            $(#[doc = $help] pub $field: $kind,)*
        }

        impl Default for Metrics {
            fn default() -> Self {
                Self { started: SystemTime::now(), $($field: $make,)* }
            }
        }

        impl Metrics {
            /// Everything as Prometheus text.
            #[must_use]
            pub fn render(&self) -> String {
                let mut text = Text::default();
                $(text.metric($name, $help, &self.$field);)*
                process::render(&mut text, self.started);
                text.finish()
            }
        }
    };
}

metrics! {
    sessions: Family<Gauge> = Family::new("transport"),
        "hongyan_sessions", "Sessions that are live now, by transport.";
    sessions_opened: Family<Counter> = Family::new("transport"),
        "hongyan_sessions_opened_total", "Sessions let in, by transport.";
    sessions_ended: Family<Counter> = Family::new("reason"),
        "hongyan_sessions_ended_total", "Sessions that ended, by reason.";
    sessions_lagged: Counter = Counter::new(),
        "hongyan_sessions_lagged_total", "Times that a slow session fell back to reading pages from the store.";
    outbox_overflows: Counter = Counter::new(),
        "hongyan_outbox_overflows_total", "Sessions dropped because more bytes waited for them than limits.outbox.";
    connections: Gauge = Gauge::new(),
        "hongyan_connections", "Client sockets open now.";
    connections_refused: Counter = Counter::new(),
        "hongyan_connections_refused_total", "Client sockets closed at once because of limits.connections.";
    frames_in: Counter = Counter::new(),
        "hongyan_frames_in_total", "Frames taken from clients.";
    frames_out: Counter = Counter::new(),
        "hongyan_frames_out_total", "Frames written to clients.";
    bytes_in: Counter = Counter::new(),
        "hongyan_bytes_in_total", "Bytes of frames taken from clients.";
    bytes_out: Counter = Counter::new(),
        "hongyan_bytes_out_total", "Bytes of frames written to clients.";
    messages_accepted: Counter = Counter::new(),
        "hongyan_messages_accepted_total", "Messages accepted and durable.";
    messages_duplicate: Counter = Counter::new(),
        "hongyan_messages_duplicate_total", "Sends answered as duplicates of an accepted message.";
    messages_passed: Counter = Counter::new(),
        "hongyan_messages_passed_total", "Status messages passed on to live sessions.";
    entries_pushed: Counter = Counter::new(),
        "hongyan_entries_pushed_total", "Mailbox entries pushed to live sessions as they happened.";
    entries_paged: Counter = Counter::new(),
        "hongyan_entries_paged_total", "Mailbox entries sent to sessions from pages of the store.";
    acks: Counter = Counter::new(),
        "hongyan_acks_total", "Cursor acknowledgements taken from clients.";
    refused: Family<Counter> = Family::new("code"),
        "hongyan_refused_total", "Requests of clients refused, by error code.";
    polls: Counter = Counter::new(),
        "hongyan_polls_total", "Long polls answered.";
    polls_waiting: Gauge = Gauge::new(),
        "hongyan_polls_waiting", "Long polls waiting now.";
    api_calls: Family<Counter> = Family::new("call"),
        "hongyan_api_calls_total", "Server API calls answered, by call.";
    api_refused: Family<Counter> = Family::new("code"),
        "hongyan_api_refused_total", "Server API calls refused, by code.";
    relay_queue: Gauge = Gauge::new(),
        "hongyan_relay_queue", "Inputs waiting for the relay now.";
    relay_batch: Histogram = Histogram::counts(SIZES),
        "hongyan_relay_batch", "Inputs that the relay took at once.";
    mailboxes: Gauge = Gauge::new(),
        "hongyan_mailboxes", "Mailboxes in memory now.";
    mailboxes_loaded: Counter = Counter::new(),
        "hongyan_mailboxes_loaded_total", "Mailboxes read from the store into memory.";
    commits: Counter = Counter::new(),
        "hongyan_commits_total", "Commits written; many share one fsync.";
    commits_pending: Gauge = Gauge::new(),
        "hongyan_commits_pending", "Commits waiting for the disk now.";
    commits_failed: Counter = Counter::new(),
        "hongyan_commits_failed_total", "Commits that the disk refused; the node stops after the first.";
    commit_batch: Histogram = Histogram::counts(SIZES),
        "hongyan_commit_batch", "Writes made durable with one fsync.";
    mesh_links: Gauge = Gauge::new(),
        "hongyan_mesh_links", "Links to other nodes that are up now.";
    mesh_links_ended: Family<Counter> = Family::new("reason"),
        "hongyan_mesh_links_ended_total", "Links to other nodes that ended, by reason.";
    mesh_refused: Family<Counter> = Family::new("reason"),
        "hongyan_mesh_refused_total", "Connections of nodes that did not become links, by reason; each needs looking at.";
    mesh_members: Gauge = Gauge::new(),
        "hongyan_mesh_members", "Other nodes that are in the cluster now.";
    mesh_frames_in: Family<Counter> = Family::new("lane"),
        "hongyan_mesh_frames_in_total", "Frames taken from other nodes, by lane.";
    mesh_frames_out: Family<Counter> = Family::new("lane"),
        "hongyan_mesh_frames_out_total", "Frames written to other nodes, by lane.";
    mesh_bytes_in: Family<Counter> = Family::new("lane"),
        "hongyan_mesh_bytes_in_total", "Bytes of frames taken from other nodes, by lane.";
    mesh_bytes_out: Family<Counter> = Family::new("lane"),
        "hongyan_mesh_bytes_out_total", "Bytes of frames written to other nodes, by lane.";
    mesh_full: Family<Counter> = Family::new("lane"),
        "hongyan_mesh_full_total", "Frames not sent because their lane was full, by lane.";
    mesh_gossip_bad: Family<Counter> = Family::new("reason"),
        "hongyan_mesh_gossip_bad_total", "Messages about the cluster's members that could not be used, by reason.";
    fsync_seconds: Histogram = Histogram::seconds(LATENCY),
        "hongyan_fsync_seconds", "Time of writing one batch, fsync included.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn everything_renders_with_help_and_type() {
        let metrics = Metrics::default();
        metrics.sessions.get("websocket").add(2);
        metrics.sessions.get("polling").add(1);
        metrics.messages_accepted.add(7);
        metrics.refused.get("rate_limited").inc();
        metrics.fsync_seconds.observe_time(Duration::from_micros(300));
        metrics.fsync_seconds.observe_time(Duration::from_secs(9));
        let text = metrics.render();
        for line in [
            "# HELP hongyan_sessions Sessions that are live now, by transport.",
            "# TYPE hongyan_sessions gauge",
            "hongyan_sessions{transport=\"polling\"} 1",
            "hongyan_sessions{transport=\"websocket\"} 2",
            "# TYPE hongyan_messages_accepted_total counter",
            "hongyan_messages_accepted_total 7",
            "hongyan_refused_total{code=\"rate_limited\"} 1",
            "# TYPE hongyan_fsync_seconds histogram",
            "hongyan_fsync_seconds_bucket{le=\"0.00025\"} 0",
            "hongyan_fsync_seconds_bucket{le=\"0.0005\"} 1",
            "hongyan_fsync_seconds_bucket{le=\"5\"} 1",
            "hongyan_fsync_seconds_bucket{le=\"+Inf\"} 2",
            "hongyan_fsync_seconds_sum 9.0003",
            "hongyan_fsync_seconds_count 2",
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line} in\n{text}");
        }
    }

    #[test]
    fn every_line_is_of_the_format_and_every_sample_has_a_type() {
        let text = Metrics::default().render();
        let mut typed = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&kind));
                assert!(typed.insert(name.to_owned()), "{name} occurs twice");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').unwrap();
                value.parse::<f64>().unwrap();
                let name = name.split('{').next().unwrap();
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
                assert!(typed.contains(name) || family.is_some_and(|f| typed.contains(f)), "{line}");
            }
        }
        assert!(text.ends_with('\n'));
    }
}
