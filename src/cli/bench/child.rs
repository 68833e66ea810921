//! The processes that a run measures: this program once more, as a server.
//!
//! Invariant: a child ends with its [`Child`], whatever ends the run; nothing else is ever ended. The data goes too.

use crate::{
    cli::again,
    config::{App, Config, apps_file},
};
use anyhow::{Context as _, bail};
use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{self, Command, Stdio},
    time::Duration,
};
use tokio::sync::oneshot;

/// How long a server may take to say where it is.
const START: Duration = Duration::from_secs(60);
/// Core of the servers.
pub(super) const SERVER_CORE: usize = 0;
/// Core of the load.
pub(super) const LOAD_CORE: usize = 1;

/// A child process that is ended with this.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    /// Clients connect here.
    pub(super) address: SocketAddr,
    /// Health and metrics are here, if anywhere.
    pub(super) admin: Option<SocketAddr>,
}

impl Child {
    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// Ends a process of ours. Its data is thrown away, so it need not be asked nicely.
fn end(process: &mut process::Child) {
    // Both fail only when it has ended by itself.
    let _ = process.kill();
    let _ = process.wait();
}

/// A process between its start and its first word: ended too when the run is.
struct Starting(Option<process::Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(end);
    }
}

/// Runs this program with `arguments`, on the servers' core when `pin` says so.
fn command(pin: bool, arguments: &[String]) -> anyhow::Result<Command> {
    let own = again::program()?;
    let mut command = if pin {
        let mut command = Command::new("taskset");
        command.args(["-c", &SERVER_CORE.to_string()]).arg(own);
        command
    } else {
        Command::new(own)
    };
    for name in again::hidden() {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

/// Starts a server on `folder`, with the settings of `config` where the run does not need its own.
///
/// * `connections`: clients that will come.
///
/// # Errors
/// Why it did not start.
pub(super) async fn serve(
    folder: &Path,
    config: &Config,
    connections: usize,
    pin: bool,
) -> anyhow::Result<(Child, App)> {
    let app = apps_file::create(folder, None, None, "bench")?;
    let mut arguments = vec!["serve".to_owned()];
    let folder = folder.to_str().context("the folder's name is not UTF-8")?;
    let connections = connections + 1_000;
    let own = [
        ("listen", "127.0.0.1:0".to_owned()),
        ("admin_listen", "127.0.0.1:0".to_owned()),
        ("data", folder.to_owned()),
        ("log.format", "json".to_owned()),
        ("log.filter", "info".to_owned()),
        ("limits.sends_per_second", "0".to_owned()),
        ("limits.frames_per_second", "0".to_owned()),
        ("limits.sessions_per_address", "0".to_owned()),
        ("limits.connections", config.limits.connections.max(connections).to_string()),
        ("limits.mailboxes", config.limits.mailboxes.max(connections).to_string()),
    ];
    arguments.extend(again::flags(config, &own));
    let mut process = command(pin, &arguments)?.stderr(Stdio::piped()).spawn().context("no server")?;
    let stderr = process.stderr.take().context("no standard error")?;
    let (process, (address, admin)) = told(Starting(Some(process)), stderr, served).await?;
    Ok((Child { process, address, admin }, app))
}

/// Starts an echo server.
///
/// # Errors
/// Why it did not start.
pub(super) async fn echo(pin: bool) -> anyhow::Result<Child> {
    let mut process =
        command(pin, &["bench-echo".to_owned()])?.stdout(Stdio::piped()).spawn().context("no echo server")?;
    let stdout = process.stdout.take().context("no standard output")?;
    let (process, address) = told(Starting(Some(process)), stdout, |line| line.trim().parse().ok()).await?;
    Ok(Child { process, address, admin: None })
}

/// Waits until a line of a child's output says what `find` looks for. Warnings are passed on, then and later.
async fn told<T: Send + 'static>(
    mut starting: Starting,
    output: impl Read + Send + 'static,
    find: impl Fn(&str) -> Option<T> + Send + 'static,
) -> anyhow::Result<(process::Child, T)> {
    let (tell, told) = oneshot::channel();
    let mut tell = Some(tell);
    std::thread::Builder::new().name("child-output".into()).spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(found) = find(&line) {
                // Nobody listens any more when the run has ended.
                let _ = tell.take().map(|tell| tell.send(found));
            } else if is_news(&line) {
                eprintln!("server: {line}");
            }
        }
    })?;
    match tokio::time::timeout(START, told).await {
        Ok(Ok(found)) => Ok((starting.0.take().context("the server is gone")?, found)),
        Ok(Err(_)) => bail!("the server ended before it served; what it said stands above"),
        Err(_) => bail!("the server said nothing for {} s", START.as_secs()),
    }
}

/// Addresses in the line of a log that says that the node serves.
fn served(line: &str) -> Option<(SocketAddr, Option<SocketAddr>)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    if line.get("message")?.as_str()? != "serving" {
        return None;
    }
    let place = |key: &str| line.get(key)?.as_str()?.parse().ok();
    Some((place("address")?, place("admin")))
}

/// Whether a line is one that somebody should see: a warning, an error, or no line of a log at all.
fn is_news(line: &str) -> bool {
    let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { return true };
    !matches!(line["level"].as_str(), Some("INFO" | "DEBUG" | "TRACE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_where_is_found() {
        let line =
            r#"{"level":"INFO","message":"serving","address":"127.0.0.1:4000","admin":"127.0.0.1:4001"}"#;
        let places = served(line).unwrap();
        assert_eq!((places.0.port(), places.1.unwrap().port()), (4000, 4001));
        let without = r#"{"message":"serving","address":"127.0.0.1:4000","admin":"off"}"#;
        assert_eq!(served(without).unwrap().1, None);
        assert_eq!(served(r#"{"message":"draining"}"#), None);
        assert!(is_news("hongyan: no") && is_news(r#"{"level":"ERROR"}"#) && !is_news(line));
    }
}
