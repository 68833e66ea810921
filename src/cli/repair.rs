//! `hongyan repair`: make a damaged store open again, knowing what that costs.
//!
//! A node does not start on a damaged store, and says so. Restoring a copy is better; this is for when there is none.

use super::output;
use crate::{
    config::Config,
    store::{self, Finding},
};
use anyhow::{Context as _, bail};
use clap::Args;

/// How to repair.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only say what is damaged; change nothing. Exit code 1 when anything is
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(arguments: &Arguments, config: &Config) -> anyhow::Result<()> {
    let folder = config.store_folder();
    if !folder.exists() {
        bail!("there is no store in {}", folder.display());
    }
    if !arguments.dry_run {
        let report = store::repair(&folder).context("not repaired")?;
        output::line(&report.to_string())?;
        return Ok(());
    }
    let findings = store::inspect(&folder)?;
    for Finding { file, what, .. } in &findings {
        output::line(&format!("{}: {what}", file.display()))?;
    }
    match findings.len() {
        0 => Ok(output::line("nothing is damaged")?),
        1 => bail!("1 thing is damaged; nothing was changed"),
        n => bail!("{n} things are damaged; nothing was changed"),
    }
}
