//! `hongyan certs`: the certificates with which nodes know each other.

use super::{Usage, output};
use crate::{
    config::Config,
    mesh::certs::{self, CertsError, Issue, Made},
};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// What to do with certificates.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make the authority of a new cluster: ca.pem, which every node needs, and ca.key, which none does
    Init(Init),
    /// Issue the certificate of a node: NODE.pem and NODE.key
    Issue(IssueArguments),
}

/// What the authority is like.
#[derive(Debug, Args)]
pub(super) struct Init {
    #[command(flatten)]
    folder: Folder,
    /// Days until it expires, and with it all that it signed
    #[arg(long, default_value_t = certs::CA_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

/// What the certificate is like.
#[derive(Debug, Args)]
pub(super) struct IssueArguments {
    /// Name of the node, as its configuration has it
    #[arg(long, value_name = "NAME")]
    node: String,
    /// Host name or IP address of the node, for tools that look for one; may be repeated
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    #[command(flatten)]
    folder: Folder,
    /// Days until it expires
    #[arg(long, default_value_t = certs::NODE_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Replace the certificate and key that are there; a running node takes the new ones up within seconds
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Args)]
struct Folder {
    /// Folder of the certificates; else what mesh.certs says
    #[arg(long = "dir", value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

impl Folder {
    fn path<'a>(&'a self, config: &'a Config) -> &'a Path {
        self.dir.as_deref().unwrap_or(&config.mesh.certs)
    }
}

pub(super) fn run(command: &Command, config: &Config) -> anyhow::Result<()> {
    let (made, next) = match command {
        Command::Init(init) => {
            let made = certs::init(init.folder.path(config), init.days)?;
            (made, "Keep ca.key off the nodes. Next: hongyan certs issue --node NAME".to_owned())
        }
        Command::Issue(wanted) => {
            let folder = wanted.folder.path(config);
            let issue =
                Issue { node: &wanted.node, hosts: &wanted.host, days: wanted.days, replace: wanted.replace };
            let made = certs::issue(folder, &issue).map_err(|error| match error {
                CertsError::BadName(_) => anyhow::Error::new(Usage(format!("--node {error}"))),
                CertsError::BadHost(_) => anyhow::Error::new(Usage(format!("--host {error}"))),
                other => other.into(),
            })?;
            (made, format!("The node {} needs these two and ca.pem in its mesh.certs.", wanted.node))
        }
    };
    let Made { certificate, key } = made;
    output::line(&format!("Certificate  {}\nKey          {}\n{next}", certificate.display(), key.display()))?;
    Ok(())
}
