//! Logs: to standard error, for people or as JSON.
//!
//! Contents, tokens and secrets are never logged, at no level.

use crate::config::{LogConfig, LogFormat};
use std::io::{IsTerminal as _, stderr};
use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

/// Reads the directives of a filter.
///
/// # Errors
/// When a directive is not well formed.
pub fn filter(directives: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(directives)
}

/// Starts logging for the whole process, and sends panics there. Only the first call in a process counts.
///
/// # Errors
/// When `log.filter` is not well formed.
pub fn start(config: &LogConfig) -> Result<(), ParseError> {
    let builder = fmt().with_env_filter(filter(&config.filter)?).with_writer(stderr);
    // A second start fails, and the first goes on: nothing to do about it.
    let started = match config.format {
        LogFormat::Text => {
            let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            builder.with_ansi(colours).try_init().is_ok()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init().is_ok(),
    };
    if started {
        std::panic::set_hook(Box::new(|panic| {
            let backtrace = std::backtrace::Backtrace::capture();
            tracing::error!(%backtrace, "{panic}");
        }));
    }
    Ok(())
}
