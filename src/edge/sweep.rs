//! Looking after sessions that do not look after themselves: the silent, the stuck, and at the end all.
//!
//! One timer for all of them; a timer for each would cost an idle session more than the session itself.

use super::{
    Edge,
    codes::Code,
    session::{End, Transport},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// How often all sessions are looked at.
const ROUND: Duration = Duration::from_secs(2);
/// After the wish to stop, clients come back to this node's successor over so long at the most.
const SPREAD: Duration = Duration::from_secs(2);

pub(super) async fn run(edge: Arc<Edge>) {
    let idle = edge.config.sessions.idle_timeout.as_secs() as u32;
    let ping = edge.config.sessions.ping.as_secs() as u32;
    let mut rounds = tokio::time::interval(ROUND.min(edge.config.sessions.idle_timeout / 2));
    loop {
        rounds.tick().await;
        for session in edge.census.all() {
            // Whoever has the client looks after it.
            if session.transport == Transport::Link {
                continue;
            }
            let (silent, stuck) = session.silence();
            if silent > idle {
                session.end(End::Code(Code::Silent), "nothing was heard for too long");
            } else if stuck > idle && session.transport == Transport::WebSocket {
                session.end(End::Code(Code::Silent), "nothing was read for too long");
            }
            if silent >= ping && session.transport == Transport::WebSocket {
                session.probe();
            }
            // One that does not read will not read its goodbye either: give the transport a few seconds, then cut.
            if session.ended().is_some() && silent.max(stuck) > idle + 5 {
                session.cut();
            }
        }
        edge.polls.reap().await;
    }
}

pub(super) async fn drain(edge: &Edge, deadline: Duration) -> usize {
    let until = Instant::now() + deadline;
    loop {
        // Again each time: a `hello` may have been half way in when the drain began.
        let staying: Vec<_> =
            edge.census.all().into_iter().filter(|session| session.ended().is_none()).collect();
        let count = staying.len().max(1) as u64;
        for (i, session) in staying.iter().enumerate() {
            let after = SPREAD.as_millis() as u64 * i as u64 / count;
            session.move_on("", 200 + after);
        }
        drop(staying);
        edge.polls.reap().await;
        let left = edge.census.len();
        let told = edge.farewells.load(Ordering::Acquire) == 0;
        if (left == 0 && told) || Instant::now() >= until {
            return left;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
