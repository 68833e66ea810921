//! One node of a demo: a child process that is started, looked after and ended.
//!
//! Invariants: only processes that were started here are ended; a child ends with what started it, however that ends: its
//! standard input is held open from here (`serve --with-parent`).

use super::plan::{Layout, Place};
use crate::{
    cli::{again, http, status},
    node::status::{Link, State, Status},
};
use anyhow::{Context as _, bail};
use std::{
    fs::{self, OpenOptions},
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::process::{Child as Process, Command};

/// How often a node is asked.
const LOOK: Duration = Duration::from_millis(100);
/// How long a node may take to end that has no time left to drain: its writes, its links.
const END: Duration = Duration::from_secs(15);
/// Lines of a log that are shown of a node that did not start.
const LAST_LINES: usize = 5;

/// How to start a node, again and again.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// Where it is.
    pub(super) place: Place,
    arguments: Vec<String>,
    log: PathBuf,
}

impl Start {
    /// How to start the node at `place`.
    ///
    /// * `roads`: with a delay between nodes, where this one is reached, and where the others are.
    ///
    /// # Errors
    /// When the folder's name is not UTF-8.
    pub(super) fn new(
        place: &Place,
        layout: &Layout<'_>,
        roads: Option<(SocketAddr, Vec<SocketAddr>)>,
    ) -> anyhow::Result<Self> {
        let config = layout.config(&place.name);
        let config = config.to_str().context("the folder's name is not UTF-8")?.to_owned();
        let mut arguments = vec!["--config".to_owned(), config];
        if let Some((own, others)) = roads {
            let others: Vec<_> = others.iter().map(ToString::to_string).collect();
            let set = [format!("mesh.advertise={own}"), format!("mesh.seeds={}", others.join(","))];
            arguments.extend(set.into_iter().flat_map(|setting| ["--set".to_owned(), setting]));
        }
        arguments.extend(["serve".to_owned(), "--with-parent".to_owned()]);
        Ok(Self { place: place.clone(), arguments, log: layout.log(&place.name) })
    }

    /// Starts it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn run(&self) -> anyhow::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("{} cannot be written", self.log.display()))?;
        let mut command = Command::new(again::program()?);
        for name in again::hidden() {
            command.env_remove(name);
        }
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        // Ctrl-C is for the demo alone, which then ends its nodes; killed it is when the demo breaks off.
        command.process_group(0).kill_on_drop(true);
        let process = command.spawn().with_context(|| format!("{} cannot be started", self.place.name))?;
        Ok(Child { process, name: self.place.name.clone(), admin: self.place.admin })
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

/// A node that runs.
pub(super) struct Child {
    process: Process,
    name: String,
    admin: SocketAddr,
}

impl Child {
    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.id().unwrap_or_default()
    }

    /// Waits until it ends. Safe to drop.
    ///
    /// # Errors
    /// What the system says.
    pub(super) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        // Standard input stays open: tokio's own `wait` would close it, and end the node.
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until it takes clients, and is linked with `others` nodes.
    ///
    /// # Errors
    /// When it ends.
    pub(super) async fn ready(&mut self, others: usize) -> anyhow::Result<()> {
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!("{} has ended before it was ready: {}", self.name, ended_how(status));
            }
            let links = |status: Status| {
                status.nodes.iter().filter(|other| other.member && other.link == Link::Up).count()
            };
            if let Ok(status) = self.status().await
                && status.counts.state == State::Ready
                && links(status) >= others
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn status(&self) -> anyhow::Result<Status> {
        let admin = self.admin;
        tokio::task::spawn_blocking(move || status::ask(admin)).await?
    }

    /// Ends it without a drain: all others end too, so there is nobody to drain to.
    ///
    /// # Errors
    /// When it did not end by itself; it is gone then all the same.
    pub(super) async fn end(&mut self) -> anyhow::Result<()> {
        let admin = self.admin;
        let asked = move || {
            // One that has not come to listen yet ends with its standard input.
            let _ = http::post(admin, "/drain?seconds=0", &[], &[]);
            // A node that was asked to drain waits for a moment for whoever asks what became of it.
            while status::ask(admin).is_ok_and(|status| !status.drain.is_some_and(|drain| drain.done)) {
                std::thread::sleep(LOOK / 4);
            }
        };
        let end = async {
            tokio::task::spawn_blocking(asked).await?;
            self.process.wait().await?;
            anyhow::Ok(())
        };
        if let Ok(ended) = tokio::time::timeout(END, end).await {
            return ended;
        }
        self.process.kill().await?;
        bail!("{} did not end within {} s, so it was killed", self.name, END.as_secs())
    }

    /// Ends it at once.
    pub(super) async fn kill(&mut self) {
        // It fails only when it has ended by itself.
        let _ = self.process.kill().await;
    }
}

/// How a process ended, for people.
pub(super) fn ended_how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "it was told to".into(),
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(9)) => "it was killed".into(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_process_ended_is_said_in_words() {
        let words = [0, 1 << 8, 9, 15].map(|raw| ended_how(ExitStatus::from_raw(raw)));
        assert_eq!(words, ["it was told to", "exit code 1", "it was killed", "signal 15"]);
    }
}
