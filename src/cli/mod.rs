//! The command line.
//!
//! Purpose: parse it, load the configuration, run one command.
//! Exit codes: 0 done; 1 it failed; 2 the command line or the configuration is wrong, and nothing was done.

mod again;
mod app;
mod bench;
mod certs;
mod check;
mod demo;
mod drain;
mod health;
mod http;
mod output;
mod repair;
mod serve;
mod status;
mod token;

use crate::config::{self, Loaded, Problems, Setting, Sources, apps_file::AppsFileError};
use clap::{Args, Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// Self-hosted instant messaging in one binary.
///
/// Without a command it serves; without a configuration it does so on this machine only, ready to try.
#[derive(Debug, Parser)]
#[command(name = "hongyan", version)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

/// All commands; each has its module, here and in `run` below: there is no third place to touch for a new one.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node (what happens without a command)
    Serve(serve::Arguments),
    /// Try several regions: nodes that are linked, on this machine, until Ctrl-C
    Demo(demo::Arguments),
    /// Make and list apps
    #[command(subcommand)]
    App(app::Command),
    /// Print a user token
    Token(token::Arguments),
    /// Make the certificates with which nodes know each other
    #[command(subcommand)]
    Certs(certs::Command),
    /// Judge the configuration and show what is not left at its default
    Check,
    /// Ask a running node on this machine whether it is healthy
    Health,
    /// Show how a running node on this machine and the others of its cluster are
    Status(status::Arguments),
    /// Have a running node on this machine hand its users to the other nodes, and end
    Drain(drain::Arguments),
    /// Make a damaged store open again without what is lost; the node must not run
    Repair(repair::Arguments),
    /// Measure what this program carries on this machine
    Bench(bench::Arguments),
    /// The yardstick of `bench`
    #[command(hide = true)]
    BenchEcho,
}

/// Settings, good with every command. What stands here beats variables, and those beat the file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
struct Settings {
    /// Configuration file (TOML); else the one that HONGYAN_CONFIG names; else none
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Where clients connect: IP address and port
    #[arg(long, value_name = "ADDRESS", global = true)]
    listen: Option<String>,
    /// Where health and metrics are served: IP address and port, or off
    #[arg(long, value_name = "ADDRESS", global = true)]
    admin_listen: Option<String>,
    /// Folder of the store
    #[arg(long, value_name = "FOLDER", global = true)]
    data: Option<String>,
    /// Let anybody in by name alone, on a loopback address: true, false or auto
    #[arg(long, value_name = "WHETHER", num_args = 0..=1, require_equals = true, default_missing_value = "true", global = true)]
    dev_login: Option<String>,
    /// Any other setting by its full name, such as limits.content=65536; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, global = true)]
    set: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE, such as limits.content=65536")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

impl Settings {
    /// Loads the configuration that the process was given.
    fn load(self) -> Result<Loaded, Problems> {
        let environment: Vec<_> = std::env::vars_os().collect();
        let named = || std::env::var_os("HONGYAN_CONFIG").filter(|path| !path.is_empty());
        let file = self.config.or_else(|| named().map(PathBuf::from));
        let own = [
            ("--listen", "listen", self.listen),
            ("--admin-listen", "admin_listen", self.admin_listen),
            ("--data", "data", self.data),
            ("--dev-login", "dev_login", self.dev_login),
        ];
        let setting = |flag: String, key: &str, value| Setting { flag, key: key.to_owned(), value };
        let sets = self.set.into_iter().map(|(key, value)| setting(format!("--set {key}"), &key, value));
        let own =
            own.into_iter().filter_map(|(flag, key, value)| Some(setting(flag.to_owned(), key, value?)));
        config::load(&Sources { file, environment, flags: sets.chain(own).collect() })
    }
}

/// A command line that says something impossible.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) => {
            // Help and version come here too, and go to standard output.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("hongyan: {e:#}");
            ExitCode::from(exit_code(&e))
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let loaded = arguments.settings.load()?;
    match arguments.command.unwrap_or_else(|| Command::Serve(serve::Arguments::default())) {
        Command::Serve(arguments) => serve::run(&arguments, loaded),
        Command::Demo(arguments) => demo::run(&arguments, &loaded.config),
        Command::App(command) => app::run(command, &loaded.config),
        Command::Token(arguments) => token::run(&arguments, &loaded.config),
        Command::Certs(command) => certs::run(&command, &loaded.config),
        Command::Check => check::run(&loaded),
        Command::Health => health::run(&loaded.config),
        Command::Status(arguments) => status::run(&arguments, &loaded.config),
        Command::Drain(arguments) => drain::run(&arguments, &loaded.config),
        Command::Repair(arguments) => repair::run(&arguments, &loaded.config),
        Command::Bench(arguments) => bench::run(&arguments, &loaded),
        Command::BenchEcho => bench::serve_echo(),
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let wrong = |e: &(dyn std::error::Error + 'static)| {
        e.is::<Problems>()
            || e.is::<Usage>()
            || matches!(e.downcast_ref(), Some(AppsFileError::Bad(_) | AppsFileError::Wrong { .. }))
    };
    if error.chain().any(wrong) { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn settings_stand_before_and_after_a_command() {
        let arguments =
            Arguments::try_parse_from(["hongyan", "--data", "a", "serve", "--dev-login", "--set", "node=x"]);
        let settings = arguments.unwrap().settings;
        assert_eq!(settings.data.as_deref(), Some("a"));
        assert_eq!(settings.dev_login.as_deref(), Some("true"));
        assert_eq!(settings.set, [("node".to_owned(), "x".to_owned())]);
        assert!(Arguments::try_parse_from(["hongyan", "--set", "node"]).is_err());
    }

    #[test]
    fn a_wrong_configuration_and_a_failure_are_told_apart() {
        assert_eq!(exit_code(&Problems(Vec::new()).into()), 2);
        assert_eq!(exit_code(&AppsFileError::Bad(Problems(Vec::new())).into()), 2);
        assert_eq!(exit_code(&anyhow::Error::new(Usage("x".into())).context("y")), 2);
        assert_eq!(exit_code(&anyhow::anyhow!("disk full")), 1);
    }
}
