//! `hongyan serve`: run a node until it is told to stop.

use super::output::{self, bold, cyan};
use crate::{
    config::{App, Config, Loaded, apps_file},
    logging,
    node::Node,
};
use anyhow::Context as _;
use clap::Args;
use std::{fs, io, net::SocketAddr, path::Path, thread};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How to serve.
#[derive(Debug, Default, Args)]
pub(super) struct Arguments {
    /// Stop, as with SIGTERM, when standard input ends: for a node that must not outlive what started it
    #[arg(long, hide = true)]
    with_parent: bool,
}

pub(super) fn run(arguments: &Arguments, loaded: Loaded) -> anyhow::Result<()> {
    let config = loaded.config;
    logging::start(&config.log)?;
    let apps = apps_of(&config)?;
    if apps.is_empty() {
        warn!("there is no app, so nobody can connect; make one: hongyan app create");
    }
    if let Some(max) = open_files_limit().filter(|max| too_few(*max, &config)) {
        warn!(
            "limits.connections is {}, but the system allows this process only {max} open files; raise that with \
             `ulimit -n` or LimitNOFILE, or lower limits.connections",
            config.limits.connections
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("no runtime")?.block_on(serve(config, &apps, arguments.with_parent))
}

/// The node's apps. In local mode one is made when there is none.
fn apps_of(config: &Config) -> anyhow::Result<Vec<App>> {
    let apps = config.all_apps()?;
    if config.local && apps.is_empty() {
        apps_file::create(&config.data, None, None, "made at the first start")?;
        return Ok(config.all_apps()?);
    }
    Ok(apps)
}

/// Runs the node; the first signal drains it, the second ends the process.
async fn serve(config: Config, apps: &[App], with_parent: bool) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let mut asked_before = false;
    if with_parent {
        stop_with_input(stop.clone())?;
    }
    let work = async {
        let node = Node::bind(config.clone()).await?;
        let (address, admin) = (node.address(), node.admin_address());
        info!(
            %address,
            admin = admin.map_or_else(|| "off".to_owned(), |a| a.to_string()),
            node = config.node,
            data = %config.data.display(),
            apps = apps.len(),
            dev_login = config.dev_login_on(),
            version = env!("CARGO_PKG_VERSION"),
            "serving"
        );
        if config.local {
            output::line(&banner(&config, apps, address, admin))?;
        }
        node.run(stop.clone()).await?;
        info!("stopped");
        anyhow::Ok(())
    };
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            name = asked(&mut terminate, &mut interrupt) => {
                if asked_before {
                    eprintln!("hongyan: {name} again: stopped at once");
                    // What was acknowledged is on disk; nothing else needs saving.
                    std::process::exit(1);
                }
                info!("{name}: stopping; once more to stop at once");
                // A drain that was asked for in another way goes on.
                asked_before = true;
                stop.cancel();
            }
        }
    }
}

/// Stops when standard input ends, which it does with the process that holds its other end, however that ends.
fn stop_with_input(stop: CancellationToken) -> io::Result<()> {
    let wait = move || {
        // An error ends the input as well.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        stop.cancel();
    };
    thread::Builder::new().name("parent".into()).spawn(wait).map(|_| ())
}

async fn asked(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// What somebody who just tries it wants to know.
fn banner(config: &Config, apps: &[App], address: SocketAddr, admin: Option<SocketAddr>) -> String {
    let scheme = if config.tls_files().is_some() { "https" } else { "http" };
    let host = if address.ip().is_unspecified() { "localhost".to_owned() } else { host(address) };
    let key = apps.first().map_or("none", |app| app.key.as_str());
    let secrets = apps_file::path(&config.data);
    let entry = if config.dev_login_on() {
        "open it and log in under any name".to_owned()
    } else {
        "log in with a token: hongyan token --user NAME".to_owned()
    };
    let mut lines = vec![
        String::new(),
        format!("  {} {} is ready.", bold("Hongyan"), env!("CARGO_PKG_VERSION")),
        String::new(),
        format!("  Chat page   {}", cyan(&format!("{scheme}://{host}:{}/", address.port()))),
        format!("              {entry}"),
        format!("  App key     {key}"),
        format!("  App secret  in {}", secrets.display()),
    ];
    if let Some(admin) = admin {
        lines.push(format!("  Metrics     http://{admin}/metrics"));
    }
    lines.extend([String::new(), "  Ctrl-C stops it.".to_owned(), String::new()]);
    lines.join("\n")
}

fn host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

/// Whether so many open files would not do. On a loopback address nobody comes in such numbers.
fn too_few(max: u64, config: &Config) -> bool {
    const BESIDES_CONNECTIONS: usize = 256;
    let wanted = config.limits.connections + BESIDES_CONNECTIONS;
    !config.listen.ip().is_loopback() && usize::try_from(max).is_ok_and(|max| max < wanted)
}

/// How many files this process may have open, where the system tells.
fn open_files_limit() -> Option<u64> {
    let limits = fs::read_to_string(Path::new("/proc/self/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_makes_one_app_and_the_second_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let local = Config { data: folder.path().join("data"), local: true, ..Config::default() };
        let apps = apps_of(&local).unwrap();
        assert_eq!(apps.len(), 1);
        assert_eq!(apps_of(&local).unwrap(), apps);
        let configured = Config { data: folder.path().join("other"), local: false, ..local };
        assert_eq!(apps_of(&configured).unwrap(), []);
        assert!(!configured.data.exists());
    }

    #[test]
    fn the_banner_tells_where_to_go_and_keeps_the_secret() {
        let app = App { key: "k1".into(), secret: "s3cr3t-example".into(), ..App::default() };
        let config = Config { local: true, ..Config::default() };
        let text = banner(&config, std::slice::from_ref(&app), "127.0.0.1:8080".parse().unwrap(), None);
        assert!(
            text.contains("http://127.0.0.1:8080/") && text.contains("k1") && text.contains("under any name")
        );
        assert!(!text.contains("s3cr3t-example"));
        let open = Config { listen: "[::]:8080".parse().unwrap(), ..config };
        let text = banner(&open, &[app], open.listen, open.admin_listen);
        assert!(
            text.contains("http://localhost:8080/")
                && text.contains("hongyan token")
                && text.contains(":9090/metrics")
        );
    }
}
