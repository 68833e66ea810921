//! Several nodes are asked for one session; the first that says welcome has it. As `sdk/js/race.js`, made simple.

use super::{cluster::FRONT, common::Line, net::Network};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde_json::Value;
use std::{
    collections::VecDeque,
    pin::Pin,
    time::{Duration, Instant},
};

/// After so long without a welcome the next node is asked beside.
const STAGGER: Duration = Duration::from_secs(1);
/// From `hello` to `welcome`.
const GREET: Duration = Duration::from_secs(10);

/// A connection that was welcomed.
pub struct Won {
    pub node: usize,
    pub line: Line,
    pub welcome: Value,
    pub dialled: Instant,
}

/// One that is on.
pub type Racing = Pin<Box<dyn Future<Output = Option<Won>> + Send>>;

/// Says hello to one node after the other until one says welcome; `None` when none does.
pub async fn race(order: Vec<(usize, Network)>, hello: Value) -> Option<Won> {
    let mut waiting: VecDeque<_> = order.into();
    let mut running = FuturesUnordered::new();
    let mut next_at = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next_at.into()), if !waiting.is_empty() => {
                let (node, network) = waiting.pop_front()?;
                running.push(dial(node, network, hello.clone()));
                next_at = Instant::now() + STAGGER;
            }
            Some(made) = running.next() => match made {
                Some(won) => return Some(won),
                None => next_at = Instant::now(),
            },
            else => return None,
        }
    }
}

async fn dial(node: usize, network: Network, hello: Value) -> Option<Won> {
    let dialled = Instant::now();
    let greet = async {
        let stream = network.connect(FRONT).await.ok()?;
        let mut line = Line::ws_over(stream, FRONT).await.ok()?;
        line.send(&hello).await.ok()?;
        let welcome = line.next().await.ok()?;
        (welcome["t"] == "welcome").then_some(Won { node, line, welcome, dialled })
    };
    tokio::time::timeout(GREET, greet).await.ok()?
}
