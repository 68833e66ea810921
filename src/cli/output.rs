//! Writing results to standard output.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

/// Writes one line, or several. A reader that has gone away, as `head` does, is no error.
///
/// # Errors
/// When it cannot be written, for instance on a full disk.
pub(super) fn line(text: &str) -> io::Result<()> {
    part(&format!("{text}\n")).map(|_| ())
}

/// Writes part of a line, to be seen at once. Gives whether anybody still reads.
///
/// # Errors
/// As [`line`].
pub(super) fn part(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
    }
}

/// Text in bold on a terminal that wants colours, else as it is.
pub(super) fn bold(text: &str) -> String {
    styled("1", text)
}

/// Text in cyan, likewise.
pub(super) fn cyan(text: &str) -> String {
    styled("36", text)
}

/// Text in red, likewise.
pub(super) fn red(text: &str) -> String {
    styled("31", text)
}

fn styled(code: &str, text: &str) -> String {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    if wanted && io::stdout().is_terminal() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
