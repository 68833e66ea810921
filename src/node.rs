//! A node: everything bound together from a [`Config`].

use crate::{admin, config::Config, listen, metrics::Metrics};
use anyhow::Context as _;
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A node that is bound to its addresses.
#[derive(Debug)]
pub struct Node {
    front: TcpListener,
    admin: Option<TcpListener>,
    metrics: Arc<Metrics>,
}

impl Node {
    /// Binds the addresses.
    ///
    /// # Errors
    /// What cannot be bound, and why.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        config.all_apps()?;
        let front = listen::bind("listen", config.listen).await?;
        let admin = match config.admin_listen {
            Some(address) => Some(listen::bind("admin_listen", address).await?),
            None => None,
        };
        Ok(Self { front, admin, metrics: Arc::default() })
    }

    /// Where clients connect.
    ///
    /// # Panics
    /// When the system does not know the address of a socket that it bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.front.local_addr().expect("a bound socket has an address")
    }

    /// Where health and metrics are served.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.local_addr().ok())
    }

    /// Serves until `stop`, then drains.
    ///
    /// # Errors
    /// When it cannot go on.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Some(admin) = self.admin else {
            stop.cancelled().await;
            return Ok(());
        };
        let router = admin::router(self.metrics, Arc::new(|| Ok(())));
        let stopped = async move { stop.cancelled().await };
        axum::serve(admin, router).with_graceful_shutdown(stopped).await.context("admin_listen")
    }
}
