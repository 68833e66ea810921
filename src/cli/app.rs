//! `hongyan app`: make and list apps.

use super::output;
use crate::config::{App, Config, apps_file};
use clap::{Args, Subcommand};

/// What to do with apps.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an app; a running node takes it up within seconds
    Create(Create),
    /// List all apps of this node
    List(List),
}

/// What the new app is like.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// Name for people
    #[arg(long, default_value = "")]
    name: String,
    /// App key, when it must be a certain one; else it is random. The secret is random always
    #[arg(long)]
    key: Option<String>,
    /// Print the secret too
    #[arg(long)]
    show_secret: bool,
}

/// How to list.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Print the secrets too
    #[arg(long)]
    show_secret: bool,
}

pub(super) fn run(command: Command, config: &Config) -> anyhow::Result<()> {
    match command {
        Command::Create(create) => make(&create, config),
        Command::List(list) => show(list.show_secret, config),
    }
}

fn make(create: &Create, config: &Config) -> anyhow::Result<()> {
    if let Some(key) = create.key.as_ref().filter(|key| config.apps.iter().any(|app| app.key == **key)) {
        return Err(apps_file::AppsFileError::Exists(key.clone()).into());
    }
    let app = apps_file::create(&config.data, create.key.as_deref(), None, &create.name)?;
    let secret = if create.show_secret {
        app.secret
    } else {
        format!("in {}", apps_file::path(&config.data).display())
    };
    output::line(&format!("App key     {}\nApp secret  {secret}", app.key))?;
    Ok(())
}

fn show(secrets: bool, config: &Config) -> anyhow::Result<()> {
    let apps = config.all_apps()?;
    if apps.is_empty() {
        eprintln!("No apps yet. Make one: hongyan app create");
        return Ok(());
    }
    let widest = apps.iter().map(|app| app.key.len()).max().unwrap_or_default().max(3);
    let row = |app: &App| {
        let state = if app.disabled { "disabled" } else { "enabled" };
        let secret = if secrets { format!("  {:<32}", app.secret) } else { String::new() };
        format!("{:<widest$}  {state:<8}{secret}  {}", app.key, app.name).trim_end().to_owned()
    };
    let head = format!(
        "{:<widest$}  {:<8}{}  NAME",
        "KEY",
        "STATE",
        if secrets { format!("  {:<32}", "SECRET") } else { String::new() }
    );
    let rows = apps.iter().map(row);
    output::line(&std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n"))?;
    Ok(())
}
