//! A node in this process.

use super::{Backend, Device, Hello, PATIENCE};
use hongyan::{
    config::{App, Config},
    hub::Hub,
    model::{Stamp, UserKey},
    node::Node,
    token::{Claims, issue},
};
use serde_json::Value;
use std::{net::SocketAddr, sync::Arc};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Key and secret of the one app.
pub const KEY: &str = "app1";
pub const SECRET: &str = "s3cr3t-example";

/// A running node with a data folder of its own.
pub struct TestNode {
    pub address: SocketAddr,
    pub hub: Hub,
    config: Config,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
    _folder: Arc<TempDir>,
}

impl TestNode {
    /// A node with the defaults, on a free port.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A node whose configuration `change` has changed.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            admin_listen: None,
            data: folder.path().join("data"),
            apps: vec![App { key: KEY.into(), secret: SECRET.into(), ..App::default() }],
            ..Config::default()
        };
        change(&mut config);
        Self::run(config, folder).await
    }

    async fn run(mut config: Config, folder: Arc<TempDir>) -> Self {
        let node = Node::bind(config.clone()).await.unwrap();
        let (address, hub, stop) = (node.address(), node.hub(), CancellationToken::new());
        config.listen = address;
        let running = tokio::spawn(node.run(stop.clone()));
        Self { address, hub, config, stop, running, _folder: folder }
    }

    /// Asks the node to drain and stop; gives what it says in the end.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.expect("the node stops").unwrap()
    }

    /// Begins to stop without waiting.
    pub fn drain(&self) {
        self.stop.cancel();
    }

    /// Stops the node and starts it again on the same data and port.
    pub async fn restart(self) -> Self {
        let (config, folder) = (self.config.clone(), self._folder.clone());
        self.stop().await.unwrap();
        Self::run(config, folder).await
    }

    /// A device of a user, ready to connect.
    pub fn device(&self, user: &str, device: &str) -> Hello {
        Hello {
            address: self.address,
            token: token(user),
            device: device.into(),
            cursor: None,
            polling: false,
            more: Value::Null,
        }
    }

    /// A user's only device, connected and live.
    pub async fn connect(&self, user: &str) -> Device {
        self.device(user, "web").connect().await
    }

    /// The app's back end.
    pub const fn api(&self) -> Backend {
        Backend { address: self.address }
    }
}

/// A user of the app.
pub fn user(id: &str) -> UserKey {
    UserKey::new(KEY, id).unwrap()
}

/// A token as the server API gives it.
pub fn token(id: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    issue(SECRET, &Claims { user: user(id), issued: Stamp(now.as_micros() as u64), expires: None })
}
