//! What the nodes of a demo are: names, ports, folders, certificates and a configuration file each.
//!
//! Invariant: nothing is started here; what is wrong with ports shows before any folder is made.

use crate::{
    config::{App, Config, DevLogin, MeshConfig, TlsConfig, apps_file, changed},
    mesh::certs::{self, Issue},
};
use anyhow::{Context as _, bail};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
};

/// The regions, as many as are wanted of them.
pub(super) const REGIONS: [&str; 8] = ["eu", "us", "ap", "sa", "af", "me", "in", "oc"];
/// From the port of a chat page to that of the same node's admin address: 8080 and 9090 by default, as for a node alone.
const ADMIN: u16 = 1_010;
/// Highest port of the first chat page.
pub(super) const MAX_PORT: u16 = u16::MAX - ADMIN - REGIONS.len() as u16;
/// Days that the certificates are good for: a demo that is kept is looked at for that long.
const DAYS: u32 = 30;

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its region.
    pub(super) region: &'static str,
    /// Its name.
    pub(super) name: String,
    /// Chat page and server API.
    pub(super) front: SocketAddr,
    /// Health, metrics, status and drain.
    pub(super) admin: SocketAddr,
    /// Where other nodes reach it, over UDP.
    pub(super) mesh: SocketAddr,
}

/// Places of `count` nodes from `port` on, all of them free at the moment.
///
/// * `port`: that of the first chat page, at the most [`MAX_PORT`]; 0 takes free ones.
///
/// # Errors
/// Which port is busy and what to do.
pub(super) fn places(count: usize, port: u16) -> anyhow::Result<Vec<Place>> {
    // They are held until all are found, so that no two are the same.
    let mut held = Vec::new();
    let place = |(number, region): (u16, &&'static str)| {
        let at =
            |base: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, if port == 0 { 0 } else { base + number }));
        let name = format!("{region}-1");
        let free = |address: SocketAddr, what: &str| {
            let why = || format!("port {} for {what} of {name} is not free", address.port());
            TcpListener::bind(address).with_context(|| format!("{}; {}", why(), way_out(port)))
        };
        let (front, admin) = (free(at(port), "the chat page")?, free(at(port + ADMIN), "the admin address")?);
        let mesh = UdpSocket::bind(at(port)).with_context(|| {
            format!(
                "UDP port {port} for the links of {name} is not free; {}",
                way_out(port),
                port = port + number
            )
        })?;
        let place = Place {
            region,
            name,
            front: front.local_addr()?,
            admin: admin.local_addr()?,
            mesh: mesh.local_addr()?,
        };
        held.push((front, admin, mesh));
        Ok(place)
    };
    (0..).zip(REGIONS.iter().take(count)).map(place).collect()
}

fn way_out(port: u16) -> String {
    let other = if port == 18_080 { 28_080 } else { 18_080 };
    format!("stop what uses it, or choose other ports: hongyan demo --port {other}")
}

/// A demo's folder: `certs`, and for each node its configuration, its log and its data.
pub(super) struct Layout<'a> {
    folder: &'a Path,
}

impl<'a> Layout<'a> {
    /// What is, or will be, in `folder`.
    pub(super) const fn new(folder: &'a Path) -> Self {
        Self { folder }
    }

    /// The configuration of a node.
    pub(super) fn config(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.toml"))
    }

    /// What a node logs.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// Its store and its apps.
    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn certs(&self) -> PathBuf {
        self.folder.join("certs")
    }

    /// Makes certificates, apps and configurations: those of `base` where a node needs none of its own. Gives the first
    /// app.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn fill(&self, places: &[Place], base: &Config) -> anyhow::Result<App> {
        if self.folder.to_str().is_none() {
            bail!("{} is not UTF-8; choose another folder with TMPDIR", self.folder.display());
        }
        certs::init(&self.certs(), DAYS)?;
        let mut apps: Vec<App> = base.apps.iter().filter(|app| !app.disabled).cloned().collect();
        for place in places {
            certs::issue(
                &self.certs(),
                &Issue { node: &place.name, hosts: &[], days: DAYS, replace: false },
            )?;
            let data = self.data(&place.name);
            if apps.is_empty() {
                apps.push(apps_file::create(&data, None, None, "demo")?);
            } else {
                for app in &apps {
                    apps_file::create(&data, Some(&app.key), Some(&app.secret), &app.name)?;
                }
            }
            let path = self.config(&place.name);
            let text = file(&self.of(place, places, base));
            fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        apps.into_iter().next().context("no node, so no app")
    }

    /// The configuration of the node at `place`.
    fn of(&self, place: &Place, all: &[Place], base: &Config) -> Config {
        let dev_login = if base.dev_login == DevLogin::Auto { DevLogin::On } else { base.dev_login };
        let others = all.iter().filter(|other| *other != place);
        Config {
            listen: place.front,
            admin_listen: Some(place.admin),
            data: self.data(&place.name),
            node: place.name.clone(),
            region: place.region.into(),
            dev_login,
            apps: Vec::new(),
            tls: TlsConfig::default(),
            mesh: MeshConfig {
                listen: Some(place.mesh),
                seeds: others.map(|other| other.mesh.to_string()).collect(),
                certs: self.certs(),
                public_url: format!("http://{}", place.front),
                ..MeshConfig::default()
            },
            ..base.clone()
        }
    }
}

/// A configuration file that says what is not at its default.
fn file(config: &Config) -> String {
    let mut text = format!("# The node {} of a demo. Its apps are in its data folder.\n", config.node);
    let mut table = "";
    for (key, value) in changed(config) {
        let (of, key) = key.split_once('.').unwrap_or(("", key));
        if of != table {
            text.push_str(&format!("\n[{of}]\n"));
            table = of;
        }
        text.push_str(&format!("{key} = {value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn a_busy_port_is_named_with_its_node_and_a_way_out() {
        let busy = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = busy.local_addr().unwrap().port();
        let error = format!("{:#}", places(2, port.min(MAX_PORT)).unwrap_err());
        assert!(error.contains("of eu-1 is not free; stop what uses it"), "{error}");
        assert!(error.contains("hongyan demo --port 18080"), "{error}");
    }

    #[test]
    fn free_places_are_all_different() {
        let places = places(8, 0).unwrap();
        let all =
            |of: fn(&Place) -> SocketAddr| places.iter().map(of).collect::<std::collections::BTreeSet<_>>();
        let tcp: std::collections::BTreeSet<_> = &all(|place| place.front) | &all(|place| place.admin);
        assert_eq!((tcp.len(), all(|place| place.mesh).len()), (16, 8));
        assert!(tcp.iter().all(|address| address.port() != 0 && address.ip().is_loopback()));
        assert_eq!((places[2].region, places[2].name.as_str()), ("ap", "ap-1"));
    }

    #[test]
    fn each_node_gets_what_is_its_own_and_the_rest_from_the_base() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(3, 0).unwrap();
        let mut base = Config { local: true, ..Config::default() };
        base.limits.content = 65_536;
        let layout = Layout::new(folder.path());
        let app = layout.fill(&places, &base).unwrap();
        for place in &places {
            let path = layout.config(&place.name);
            let config = load(&Sources { file: Some(path), ..Sources::default() }).unwrap().config;
            assert_eq!(config, Config { local: false, ..layout.of(place, &places, &base) });
            assert_eq!((config.limits.content, config.dev_login_on()), (65_536, true));
            assert_eq!(config.mesh.seeds.len(), 2);
            assert!(!config.mesh.seeds.contains(&place.mesh.to_string()));
            assert_eq!(config.all_apps().unwrap(), std::slice::from_ref(&app));
            assert!(folder.path().join("certs").join(format!("{}.key", place.name)).exists());
        }
    }

    #[test]
    fn apps_that_were_given_are_those_of_all_nodes() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(2, 0).unwrap();
        let given = App { key: "shop".into(), secret: "s3cr3t-example".into(), ..App::default() };
        let base = Config { apps: vec![given.clone()], ..Config::default() };
        let layout = Layout::new(folder.path());
        assert_eq!(layout.fill(&places, &base).unwrap(), given);
        for place in &places {
            assert_eq!(apps_file::load(&layout.data(&place.name)).unwrap(), std::slice::from_ref(&given));
        }
    }
}
