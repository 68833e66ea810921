//! The configuration of a node.
//!
//! Purpose: every setting as a plain field, with its default in one place.
//! Flow: defaults → file → `HONGYAN_` variables → flags, the later beats the earlier → [`Config`].
//! Invariants: all problems are reported at once, each with the key's full name, where the value stands, the
//! value, and what is allowed; secrets are never part of a report.
//!
//! `docs/configuration.md` is the table of all keys for operators.

mod apps;
pub mod apps_file;
mod check;
pub mod form;
pub mod keys;
mod load;
mod problem;
mod sections;
mod source;

pub use apps::{App, is_name, merged};
pub use load::{Loaded, Setting, Sources, changed, load};
pub use problem::{Origin, Problem, Problems};
pub use sections::{
    ApiConfig, Limits, LogConfig, LogFormat, MeshConfig, Retention, SessionTimes, StoreConfig, TlsConfig,
    TokenConfig,
};

use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// Everything that can be set. [`Config::default`] is a node on this machine's loopback address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where clients and apps' back ends connect: IP address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where health and metrics are served, unprotected: IP address and port. `None` (`off`): nowhere.
    #[serde(with = "form::address_or_off")]
    pub admin_listen: Option<SocketAddr>,
    /// Folder of the store and of `apps.toml`. Relative to where the process starts.
    pub data: PathBuf,
    /// Name of this node, seen by clients. 1 to 64 letters, digits, `-`, `_`, `.`.
    pub node: String,
    /// Region of this node, seen by clients; may be empty. At most 64 letters, digits, `-`, `_`, `.`.
    pub region: String,
    /// Whether the chat page lets anybody in by name alone, without the app's back end.
    /// See [`Config::dev_login_on`].
    pub dev_login: DevLogin,
    /// Origins of pages that may connect: `*` for all, or `https://chat.example.com`. A token is needed from
    /// everywhere and no cookies are used, so `*` gives nothing away.
    pub origins: Vec<String>,
    /// Apps given by the configuration; those of `apps.toml` are not among them, see [`Config::all_apps`].
    pub apps: Vec<App>,
    /// HTTPS.
    pub tls: TlsConfig,
    /// Links to other nodes.
    pub mesh: MeshConfig,
    /// Bounds of what clients can make grow.
    pub limits: Limits,
    /// Times of sessions.
    pub sessions: SessionTimes,
    /// How long things are kept.
    pub retention: Retention,
    /// User tokens.
    pub tokens: TokenConfig,
    /// The server API.
    pub api: ApiConfig,
    /// Memory and disk of the store.
    pub store: StoreConfig,
    /// Logs.
    pub log: LogConfig,
    /// Local mode: neither a configuration file nor apps were given. Not a key.
    #[serde(skip)]
    pub local: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            admin_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9090))),
            data: "./data".into(),
            node: "local".into(),
            region: String::new(),
            dev_login: DevLogin::Auto,
            origins: vec!["*".into()],
            apps: Vec::new(),
            tls: TlsConfig::default(),
            mesh: MeshConfig::default(),
            limits: Limits::default(),
            sessions: SessionTimes::default(),
            retention: Retention::default(),
            tokens: TokenConfig::default(),
            api: ApiConfig::default(),
            store: StoreConfig::default(),
            log: LogConfig::default(),
            local: false,
        }
    }
}

impl Config {
    /// Whether the chat page lets anybody in by name alone: when set so, or by itself in local mode on a
    /// loopback address.
    #[must_use]
    pub fn dev_login_on(&self) -> bool {
        match self.dev_login {
            DevLogin::On => true,
            DevLogin::Off => false,
            DevLogin::Auto => self.local && self.listen.ip().is_loopback(),
        }
    }

    /// The apps of the configuration and those of the data folder's `apps.toml`.
    ///
    /// # Errors
    /// When the file is there and cannot be read or is wrong.
    pub fn all_apps(&self) -> Result<Vec<App>, apps_file::AppsFileError> {
        Ok(merged(&self.apps, apps_file::load(&self.data)?))
    }

    /// Where the store keeps its files.
    #[must_use]
    pub fn store_folder(&self) -> PathBuf {
        self.data.join("store")
    }

    /// The files of certificate and key, when HTTPS is on.
    #[must_use]
    pub fn tls_files(&self) -> Option<(&Path, &Path)> {
        let TlsConfig { certificate, key } = &self.tls;
        (!certificate.as_os_str().is_empty()).then_some((certificate, key))
    }
}

/// Whether anybody may log in by name alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DevLogin {
    /// In local mode on a loopback address only.
    #[default]
    Auto,
    /// Yes. An error when `listen` is not a loopback address.
    On,
    /// No.
    Off,
}

impl Serialize for DevLogin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::On => serializer.serialize_bool(true),
            Self::Off => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for DevLogin {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Switch(bool),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Switch(true) => Ok(Self::On),
            Form::Switch(false) => Ok(Self::Off),
            Form::Text(text) if text == "auto" => Ok(Self::Auto),
            Form::Text(_) => Err(serde::de::Error::custom("true, false or \"auto\"")),
        }
    }
}
