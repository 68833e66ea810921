//! `hongyan health`: for container health checks.

use super::{Usage, http, output};
use crate::config::Config;
use anyhow::{Context as _, bail};

pub(super) fn run(config: &Config) -> anyhow::Result<()> {
    let Some(address) = config.admin_listen else {
        return Err(Usage("admin_listen is off, so there is nobody to ask".into()).into());
    };
    let address = http::reachable(address);
    let answer = http::get(address, "/healthz").with_context(|| format!("no healthy node at {address}"))?;
    if answer.status != 200 {
        bail!("the node at {address} answers {}: {}", answer.status, answer.body.trim());
    }
    output::line(answer.body.trim())?;
    Ok(())
}
