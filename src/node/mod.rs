//! A node: everything bound together from a [`Config`].
//!
//! Flow: [`Node::bind`] opens the store and the addresses, so that what is wrong shows before anybody is let in;
//! [`Node::run`] serves until it is told to stop, then drains: sessions are told, commits finish, and it returns.

mod front;
mod peers;
mod retention;
mod tls;

use crate::{
    admin, api,
    apps::{App, Apps, SharedApps},
    config::{self, Config, apps_file},
    edge::{Edge, tunnel::Neighbours},
    hub::{DriverEnd, Hub, HubOptions, Links},
    listen,
    mesh::{Events, Mesh, MeshHandle, MeshOptions},
    metrics::Metrics,
    model::NodeId,
    relay,
    store::{Embedded, Options, Store},
};
use anyhow::{Context as _, anyhow};
use parking_lot::Mutex;
use std::{future::IntoFuture, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

/// Whether clients may be sent here, or why not.
type State = Arc<Mutex<Result<(), &'static str>>>;

/// A node that is bound to its addresses, with its store open.
pub struct Node {
    config: Config,
    front: TcpListener,
    admin: Option<TcpListener>,
    tls: Option<tls::Tls>,
    metrics: Arc<Metrics>,
    apps: SharedApps,
    hub: Hub,
    ended: oneshot::Receiver<DriverEnd>,
    tracker: TaskTracker,
    peers: Option<Meshed>,
}

/// What a node with peers has besides.
struct Meshed {
    mesh: Mesh,
    events: Events,
    peers: Arc<peers::Peers>,
}

impl Node {
    /// Opens the store and binds the addresses.
    ///
    /// # Errors
    /// What cannot be opened or bound, and why.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        let apps = SharedApps::new(shared(config.all_apps()?)?);
        let front = listen::bind("listen", config.listen).await?;
        let admin = match config.admin_listen {
            Some(address) => Some(listen::bind("admin_listen", address).await?),
            None => None,
        };
        let tls =
            config.tls_files().map(|(certificate, key)| tls::Tls::load(certificate, key)).transpose()?;
        let folder = config.store_folder();
        let mib = |number: usize| (number as u64) << 20;
        let options = Options {
            cache: mib(config.store.cache),
            journals: mib(config.store.journals),
            ..Options::default()
        };
        let store: Arc<dyn Store> =
            Arc::new(tokio::task::spawn_blocking(move || Embedded::open(folder, &options)).await??);
        let metrics = Arc::new(Metrics::default());
        let tracker = TaskTracker::new();
        let peers = match MeshOptions::from_config(&config, metrics.clone()) {
            Some(options) => {
                let (mesh, events) = Mesh::bind(options)?;
                let peers = peers::Peers::new(mesh.handle());
                Some(Meshed { mesh, events, peers })
            }
            None => None,
        };
        let options = HubOptions {
            node: if peers.is_some() { NodeId::of(&config.node) } else { NodeId::LOCAL },
            links: peers.as_ref().map(|meshed| meshed.peers.clone() as Arc<dyn Links>),
            seeded: !config.mesh.seeds.is_empty(),
            queue: config.limits.queue,
            relay: relay::Limits {
                pending: config.limits.pending,
                mailboxes: config.limits.mailboxes,
                ..relay::Limits::default()
            },
        };
        let (hub, ended) = Hub::start(store, options, metrics.clone(), &tracker).await?;
        Ok(Self { config, front, admin, tls, metrics, apps, hub, ended, tracker, peers })
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

    /// The way to the relay and the store, for whoever runs the node in its own process.
    #[must_use]
    pub fn hub(&self) -> Hub {
        self.hub.clone()
    }

    /// Serves until `stop`, then drains.
    ///
    /// # Errors
    /// When it cannot go on: the store failed, or not all sessions were gone by the deadline.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { config, front, admin, tls, metrics, apps, hub, mut ended, tracker, peers } = self;
        let state: State = Arc::new(Mutex::new(Ok(())));
        let background = CancellationToken::new();
        let neighbours = peers.as_ref().map(|meshed| meshed.peers.clone() as Arc<dyn Neighbours>);
        let edge = Edge::new(hub.clone(), apps.clone(), config.clone(), tracker.clone(), neighbours);
        let options = api::Options::of(&config.api, &config.tokens);
        let server_api = api::router(api::ApiState { hub: hub.clone(), apps: apps.clone(), options });
        let doors =
            front::Front::new(&config, &metrics, front::routes(edge.router(), server_api), tls.clone());

        let mut helpers = tokio::task::JoinSet::new();
        helpers.spawn(edge.clone().sweep());
        helpers.spawn(retention::run(hub.clone(), config.retention.clone()));
        helpers.spawn(watch_apps(config.clone(), apps, background.clone()));
        if let Some(tls) = tls {
            helpers.spawn(tls.watch());
        }
        if let Some(admin) = admin {
            let (state, hub) = (state.clone(), hub.clone());
            let ready: admin::Ready = Arc::new(move || {
                state.lock().map_err(str::to_owned)?;
                // Until then every `hello` is refused: whoever sends clients here too early sends them away.
                if hub.is_open() { Ok(()) } else { Err("waiting for what its peers know".to_owned()) }
            });
            helpers.spawn(async move {
                if let Err(error) = axum::serve(admin, admin::router(metrics, ready)).into_future().await {
                    error!(%error, "health and metrics are gone");
                }
            });
        }
        let accepting = background.child_token();
        let unlinking = CancellationToken::new();
        let mut linked = tokio::task::JoinSet::new();
        let mesh = peers.map(|Meshed { mesh, events, peers }| {
            let handle = mesh.handle();
            linked.spawn(run_mesh(mesh, unlinking.clone()));
            helpers.spawn(peers.run(events, hub.clone(), edge.clone()));
            helpers.spawn(edge.clone().report(background.clone()));
            handle
        });
        let accepts = tracker.spawn(doors.run(front, accepting.clone()));

        let end = tokio::select! {
            () = stop.cancelled() => None,
            end = &mut ended => Some(end),
        };
        if let Some(end) = end {
            accepting.cancel();
            *state.lock() = Err("the store failed");
            return Err(match end {
                Ok(DriverEnd::StoreFailed(error)) => anyhow!(error)
                    .context("the store failed; nothing after its last success was acknowledged"),
                Ok(DriverEnd::Stopped) => anyhow!("the relay stopped by itself"),
                Err(_) => anyhow!("the relay broke off; see the log above"),
            });
        }
        *state.lock() = Err("draining");
        let deadline = config.sessions.drain_timeout;
        info!(sessions = edge.sessions(), seconds = deadline.as_secs(), "draining");
        if let Some(mesh) = &mesh {
            leave(&edge, &hub, mesh, deadline).await;
        }
        // The door stays open meanwhile: a client that polls comes over a new connection to hear where to go. Whoever says
        // hello is refused.
        let left = edge.drain(deadline).await;
        accepting.cancel();
        if left > 0 {
            warn!(left, "sessions were still there at the deadline; they go on from their cursors elsewhere");
        }
        hub.stop().await;
        let finished = tokio::time::timeout(Duration::from_secs(30), ended).await;
        unlinking.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(5), async {
            while linked.join_next().await.is_some() {}
        })
        .await;
        background.cancel();
        helpers.shutdown().await;
        accepts.abort();
        match finished {
            Ok(Ok(DriverEnd::Stopped)) => Ok(()),
            Ok(Ok(DriverEnd::StoreFailed(error))) => {
                Err(anyhow!(error).context("the store failed while stopping"))
            }
            Ok(Err(_)) => Err(anyhow!("the relay broke off while stopping")),
            Err(_) => Err(anyhow!("the store did not finish its writes in 30 s")),
        }
    }
}

async fn run_mesh(mesh: Mesh, stop: CancellationToken) {
    if let Err(error) = mesh.run(stop).await {
        error!(%error, "the mesh is gone; this node serves what it has until it is restarted");
    }
}

/// Gives all mailboxes to other nodes, as far as that can be done before `deadline`; each session is told where its mailbox
/// is as soon as it is there. Then leaves the cluster.
async fn leave(edge: &Edge, hub: &Hub, mesh: &MeshHandle, deadline: Duration) {
    edge.close_doors();
    edge.tell_report().await;
    hub.drain().await;
    let until = tokio::time::Instant::now() + deadline;
    let mut said = tokio::time::Instant::now();
    loop {
        let Some(status) = hub.status().await else { return };
        let (left, parcels) = (status.owned.0, status.outbox.iter().map(|(_, count)| count).sum::<usize>());
        if status.drained {
            info!(left, parcels, "drained");
            break;
        }
        if tokio::time::Instant::now() >= until {
            warn!(
                left,
                parcels,
                "mailboxes are still here at the deadline; they follow their users when this node is back"
            );
            break;
        }
        if said.elapsed() >= Duration::from_secs(1) {
            said = tokio::time::Instant::now();
            info!(left, parcels, sessions = edge.sessions(), "draining");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    mesh.leave().await;
}

/// The apps of the configuration and of the data folder.
fn shared(all: Vec<config::App>) -> anyhow::Result<Apps> {
    let apps = all.into_iter().map(|app| App { disabled: app.disabled, ..App::new(&app.key, &app.secret) });
    Apps::new(apps)
        .map_err(|problems| {
            let list: Vec<_> = problems.iter().map(ToString::to_string).collect();
            anyhow!(list.join("; "))
        })
        .context("the list of apps is wrong")
}

async fn watch_apps(config: Config, apps: SharedApps, stop: CancellationToken) {
    apps_file::watch(config.data, config.apps, stop, move |all| match shared(all) {
        Ok(list) => apps.replace(list),
        Err(error) => error!("{error:#}; the apps stay as they are"),
    })
    .await;
}
