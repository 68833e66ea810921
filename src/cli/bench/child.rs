//! The processes that a run measures: this program once more, as a server.
//!
//! Invariant: a child ends with its [`Child`], whatever ends the run; nothing else is ever ended. The data goes too.

use crate::config::{App, Config, apps_file, changed};
use anyhow::{Context as _, anyhow, bail};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
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

/// A folder that goes when this does.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes a new folder in `parent`.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn below(parent: &Path) -> anyhow::Result<Self> {
        let path = parent.join(format!("hongyan-bench-{}-{}", process::id(), random()?));
        fs::create_dir_all(&path).with_context(|| format!("no folder {}", path.display()))?;
        Ok(Self(fs::canonicalize(&path)?))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("hongyan: {} is left behind: {error}", self.0.display());
        }
    }
}

/// Eight random letters and digits.
///
/// # Errors
/// When the system has no random bytes.
pub(super) fn random() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 4];
    getrandom::fill(&mut bytes).map_err(|e| anyhow!("no random numbers: {e}"))?;
    Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
}

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
    let own = std::env::current_exe().context("this program does not know where it is")?;
    let mut command = if pin {
        let mut command = Command::new("taskset");
        command.args(["-c", &SERVER_CORE.to_string()]).arg(own);
        command
    } else {
        Command::new(own)
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HONGYAN_")) {
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
    for (key, value) in changed(config).into_iter().filter(|(key, _)| own.iter().all(|(own, _)| own != key)) {
        arguments.extend(["--set".to_owned(), format!("{key}={}", plain(&value))]);
    }
    for (key, value) in own {
        arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
    }
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

/// A value of a configuration as `--set` takes it.
fn plain(value: &str) -> String {
    let Ok(table) = toml::from_str::<toml::Table>(&format!("value = {value}")) else {
        return value.to_owned();
    };
    match table.get("value") {
        Some(toml::Value::String(text)) => text.clone(),
        Some(toml::Value::Array(list)) => {
            list.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
        }
        _ => value.to_owned(),
    }
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

    #[test]
    fn values_are_given_on_as_flags_take_them() {
        assert_eq!(plain("5"), "5");
        assert_eq!(plain("\"a b\""), "a b");
        assert_eq!(plain("[\"a\", \"b\"]"), "a,b");
    }

    #[test]
    fn a_folder_goes_with_what_is_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::below(parent.path()).unwrap();
        fs::write(folder.path().join("x"), "y").unwrap();
        drop(folder);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
