//! The door for clients: accepts sockets, speaks TLS where configured, hands requests to the routes.
//!
//! Connections are bounded in number, and in the time that they may take to say something.

use super::tls::Tls;
use crate::{config::Config, edge::PeerAddress, metrics::Metrics};
use axum::{
    Router,
    extract::Request,
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a request's body may take to come.
const BODY: Duration = Duration::from_secs(30);
/// Bytes of a request's head at the most.
const MAX_HEAD: usize = 16 * 1_024;

/// All routes of a node.
#[derive(Clone)]
pub(super) struct Routes {
    edge: Router,
    api: Router,
}

/// Puts the edge and the server API behind one door.
pub(super) fn routes(edge: Router, api: Router) -> Routes {
    Routes { edge, api }
}

impl Routes {
    async fn answer(self, request: Request) -> Result<Response, Infallible> {
        // Back ends only ever POST to `.json` and `.xml`, and are told in their own way when a path is wrong.
        let path = request.uri().path();
        let named = path.ends_with(".json") || path.ends_with(".xml");
        let ours = path.starts_with("/v1/") || !(named || request.method() == Method::POST);
        if ours { self.edge.oneshot(request).await } else { self.api.oneshot(request).await }
    }
}

/// The door.
pub(super) struct Front {
    routes: Routes,
    tls: Option<Tls>,
    metrics: Arc<Metrics>,
    free: Arc<Semaphore>,
    /// How long a connection may take to say what it wants.
    patience: Duration,
    /// How long a request may take, its body and a poll's wait included.
    longest: Duration,
    tracker: TaskTracker,
}

impl Front {
    pub fn new(config: &Config, metrics: &Arc<Metrics>, routes: Routes, tls: Option<Tls>) -> Self {
        Self {
            routes,
            tls,
            metrics: metrics.clone(),
            free: Arc::new(Semaphore::new(config.limits.connections)),
            patience: config.sessions.hello_timeout,
            longest: config.sessions.poll_wait_max + BODY,
            tracker: TaskTracker::new(),
        }
    }

    /// Accepts until `stop`. Connections that are open then go on until their sessions are drained.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let front = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (socket, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of files, mostly: others have to close before more can open.
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(place) = front.free.clone().try_acquire_owned() else {
                front.metrics.connections_refused.inc();
                continue;
            };
            let front = front.clone();
            front.clone().tracker.spawn(async move {
                front.metrics.connections.inc();
                front.serve(socket, address).await;
                front.metrics.connections.dec();
                drop(place);
            });
        }
    }

    async fn serve(&self, socket: TcpStream, address: SocketAddr) {
        // Frames are small and written whole; waiting for more would only delay them.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, %address, "no TCP_NODELAY");
        }
        match &self.tls {
            None => self.speak(socket, address).await,
            Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.acceptor().accept(socket)).await {
                Ok(Ok(socket)) => self.speak(socket, address).await,
                Ok(Err(error)) => tracing::debug!(%error, %address, "TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
            },
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        socket: S,
        address: SocketAddr,
    ) {
        let (routes, longest) = (self.routes.clone(), self.longest);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(PeerAddress(address));
            let answer = routes.clone().answer(request);
            async move {
                let late = |_| Ok(StatusCode::REQUEST_TIMEOUT.into_response());
                tokio::time::timeout(longest, answer).await.unwrap_or_else(late)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, %address, "connection ended");
        }
    }
}
