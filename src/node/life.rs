//! From start to end: which phase a node is in, and the way out.
//!
//! Flow: serving → [`Life::ask`] or the end of the token → draining → the mailboxes go, the sessions after them → what
//! stayed is written down → the process ends.

use crate::{edge::Edge, hub::Hub, mesh::MeshHandle};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long the end waits for whoever asked for it to hear what became of it.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// How long a client that is told to go to the node of its mailbox may take to get there before it is cut off.
const ARRIVAL: Duration = Duration::from_secs(3);

/// What a node that drains still has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Seconds since it began.
    pub seconds: u64,
    /// How many seconds it may take.
    pub within: u64,
    /// Mailboxes that have not gone to another node. Always 0 without a mesh, where there is none to go to.
    pub mailboxes: u64,
    /// Parcels that wait for other nodes.
    pub parcels: u64,
    /// Sessions that are still here.
    pub sessions: u64,
    /// It is over: what is counted here stays, and the process ends.
    pub done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining { since: Instant, within: Duration },
    Failed,
}

/// Where a node is in its life.
pub(super) struct Life {
    phase: Mutex<Phase>,
    /// How long the drain may take, when whoever asked for it said so; the outer is whether somebody did.
    asked: Mutex<Option<Option<Duration>>>,
    /// What stayed, once that is known.
    outcome: Mutex<Option<Drain>>,
    stop: CancellationToken,
    seen: Notify,
}

impl Life {
    /// A node that serves until `stop`.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            phase: Mutex::new(Phase::Serving),
            asked: Mutex::default(),
            outcome: Mutex::default(),
            stop,
            seen: Notify::new(),
        }
    }

    /// Why clients are not to be sent here, if so.
    pub fn unready(&self) -> Option<&'static str> {
        match *self.phase.lock() {
            Phase::Serving => None,
            Phase::Draining { .. } => Some("draining"),
            Phase::Failed => Some("the store failed"),
        }
    }

    /// Wishes the drain, unless it has begun.
    pub fn ask(&self, within: Option<Duration>) {
        // The first wish counts: what has begun keeps its time.
        self.asked.lock().get_or_insert(within);
        self.stop.cancel();
    }

    /// The store is gone.
    pub fn fail(&self) {
        *self.phase.lock() = Phase::Failed;
    }

    /// The drain begins. Gives how long it may take.
    pub fn begin(&self, usual: Duration) -> Duration {
        let within = (*self.asked.lock()).flatten().unwrap_or(usual);
        *self.phase.lock() = Phase::Draining { since: Instant::now(), within };
        within
    }

    /// How far the drain is, given what is still here; `None` while there is none.
    pub fn drain(&self, left: impl FnOnce() -> Drain) -> Option<Drain> {
        let Phase::Draining { since, within } = *self.phase.lock() else { return None };
        let outcome = *self.outcome.lock();
        if outcome.is_some() {
            self.seen.notify_one();
        }
        let left = outcome.unwrap_or_else(left);
        Some(Drain { seconds: since.elapsed().as_secs(), within: within.as_secs(), ..left })
    }

    /// The drain is over. When an operator asked for it, returns once he has seen what stayed, or after a moment.
    pub async fn end(&self, left: Drain) {
        *self.outcome.lock() = Some(Drain { done: true, ..left });
        if self.asked.lock().is_some() {
            let _ = tokio::time::timeout(LAST_LOOK, self.seen.notified()).await;
        }
    }
}

/// What is still here that should go. `None` when the relay has ended.
pub(super) async fn left(hub: &Hub, edge: &Edge, meshed: bool) -> Option<Drain> {
    let status = hub.status().await?;
    let parcels = status.outbox.iter().map(|(_, count)| *count as u64).sum();
    let mailboxes = if meshed { status.owned.0 as u64 } else { 0 };
    Some(Drain { mailboxes, parcels, sessions: edge.sessions() as u64, ..Drain::default() })
}

/// Gives all mailboxes to other nodes, as far as that can be done before `deadline`; each session is told where its mailbox
/// is as soon as it is there, and those whose mailbox is elsewhere already go there. Then leaves the cluster.
pub(super) async fn leave(edge: &Edge, hub: &Hub, mesh: &MeshHandle, deadline: tokio::time::Instant) {
    edge.close_doors();
    edge.tell_report().await;
    hub.drain(deadline.saturating_duration_since(tokio::time::Instant::now())).await;
    let gone = tokio::time::Instant::now() + edge.send_after() + ARRIVAL;
    given_away(edge, hub, deadline).await;
    // Without links nobody carries them any more.
    while edge.carried() > 0 && tokio::time::Instant::now() < gone.min(deadline) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A back end may have written something until now.
    hub.retire();
    match given_away(edge, hub, deadline).await {
        Some(Left { all: true, mailboxes, parcels }) => info!(left = mailboxes, parcels, "drained"),
        Some(Left { all: false, mailboxes, parcels }) => warn!(
            left = mailboxes,
            parcels,
            "mailboxes are still here at the deadline; they follow their users when this node is back"
        ),
        None => {}
    }
    mesh.leave().await;
}

/// What a node that leaves still has.
struct Left {
    /// It is nothing that could go.
    all: bool,
    mailboxes: usize,
    parcels: usize,
}

/// Waits until nothing is here that could go to another node, or for the deadline. `None` when the relay has ended.
async fn given_away(edge: &Edge, hub: &Hub, deadline: tokio::time::Instant) -> Option<Left> {
    let mut said = tokio::time::Instant::now();
    loop {
        let status = hub.status().await?;
        let (mailboxes, parcels) =
            (status.owned.0, status.outbox.iter().map(|(_, count)| count).sum::<usize>());
        let late = tokio::time::Instant::now() >= deadline;
        if status.drained || late {
            return Some(Left { all: status.drained || mailboxes + parcels == 0, mailboxes, parcels });
        }
        if said.elapsed() >= Duration::from_secs(1) {
            said = tokio::time::Instant::now();
            info!(left = mailboxes, parcels, sessions = edge.sessions(), "draining");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life() -> Life {
        Life::new(CancellationToken::new())
    }

    #[test]
    fn the_first_wish_says_how_long_and_begins_the_end() {
        let life = life();
        assert_eq!((life.unready(), life.drain(Drain::default)), (None, None));
        life.ask(Some(Duration::from_secs(60)));
        life.ask(Some(Duration::from_secs(1)));
        assert!(life.stop.is_cancelled());
        assert_eq!(life.begin(Duration::from_secs(10)), Duration::from_secs(60));
        assert_eq!(life.unready(), Some("draining"));
        let left = life.drain(|| Drain { mailboxes: 7, ..Drain::default() }).unwrap();
        assert_eq!((left.mailboxes, left.within, left.done), (7, 60, false));
    }

    #[tokio::test]
    async fn the_end_waits_for_whoever_asked_to_see_it_and_not_for_ever() {
        let life = life();
        life.begin(Duration::from_secs(10));
        let start = Instant::now();
        life.end(Drain::default()).await;
        assert!(start.elapsed() < LAST_LOOK, "nobody asked");

        let life = self::life();
        life.ask(None);
        life.begin(Duration::from_secs(10));
        let stayed = Drain { mailboxes: 3, ..Drain::default() };
        let look = async {
            tokio::time::sleep(LAST_LOOK / 10).await;
            life.drain(Drain::default).unwrap()
        };
        let start = Instant::now();
        let ((), seen) = tokio::join!(life.end(stayed), look);
        assert_eq!((seen.mailboxes, seen.done), (3, true));
        assert!((LAST_LOOK / 10..LAST_LOOK).contains(&start.elapsed()), "{:?}", start.elapsed());
        let start = Instant::now();
        life.end(stayed).await;
        assert!(start.elapsed() >= LAST_LOOK, "{:?}", start.elapsed());
    }
}
