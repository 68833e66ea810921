//! Floor 4: what browsers talk to.
//!
//! Purpose: the native protocol (`docs/protocol.md`) over WebSocket and long polling, and the pages and scripts that
//! speak it.
//! Flow: a transport decodes messages into frames → `requests` → the hub; the hub's answers and pushes go through a
//! [`session::Session`]'s outbox back to the transport.
//! Invariants: one client's fault ends that client's session and touches no other; every queue is bounded (P8).

mod assets;
mod census;
pub mod codes;
mod dev;
pub mod encode;
pub mod frames;
mod hello;
mod http;
mod outbox;
mod pager;
mod poll;
mod rate;
mod relays;
mod requests;
pub mod session;
mod sweep;
pub mod tunnel;
mod ws;

pub use http::PeerAddress;

use crate::{apps::SharedApps, config::Config, hub::Hub, model::NodeId};
use census::Census;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::task::TaskTracker;

/// What all sessions of a node share.
pub struct Edge {
    hub: Hub,
    apps: SharedApps,
    config: Config,
    tracker: TaskTracker,
    census: Census,
    tunnels: tunnel::Tunnels,
    polls: poll::Polls,
    started: Instant,
    draining: AtomicBool,
    /// Sockets whose session is over and that are being told so.
    farewells: AtomicUsize,
}

impl Edge {
    /// An edge without sessions. Tasks that it starts are known to `tracker`.
    #[must_use]
    pub fn new(
        hub: Hub,
        apps: SharedApps,
        config: Config,
        tracker: TaskTracker,
        neighbours: Option<Arc<dyn tunnel::Neighbours>>,
    ) -> Arc<Self> {
        let census = Census::new(&config.limits);
        Arc::new(Self {
            hub,
            apps,
            config,
            tracker,
            census,
            tunnels: tunnel::Tunnels::new(neighbours),
            polls: poll::Polls::default(),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            farewells: AtomicUsize::new(0),
        })
    }

    /// The HTTP routes of the edge.
    pub fn router(self: &Arc<Self>) -> axum::Router {
        http::router(self)
    }

    /// Seconds since the edge started.
    fn seconds(&self) -> u32 {
        self.started.elapsed().as_secs() as u32
    }

    /// This node, as the others know it.
    fn me(&self) -> NodeId {
        if self.config.mesh.listen.is_some() { NodeId::of(&self.config.node) } else { NodeId::LOCAL }
    }

    /// Whether it takes no new sessions.
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// What other nodes have told of themselves.
    #[must_use]
    pub fn tunnels(&self) -> &tunnel::Tunnels {
        &self.tunnels
    }

    /// Sessions that are here.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.census.len()
    }

    /// Ends sessions that are silent or stuck, now and then, for ever.
    pub async fn sweep(self: Arc<Self>) {
        sweep::run(self).await;
    }

    /// From now on no sessions are taken; those that are here stay.
    pub fn close_doors(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Tells the clients whose mailbox is at another node to go there; their sessions go on until they are there. Gives the
    /// time over which they go.
    pub fn send_after(&self) -> Duration {
        tunnel::send_after(self)
    }

    /// Sessions whose mailbox is at another node.
    pub fn carried(&self) -> usize {
        self.tunnels.carried()
    }

    /// Tells every session to go elsewhere, takes no new ones, and waits until all are gone or `deadline` has passed.
    /// Gives the number of those that were cut off.
    pub async fn drain(&self, deadline: Duration) -> usize {
        self.draining.store(true, Ordering::Relaxed);
        sweep::drain(self, deadline).await
    }
}
