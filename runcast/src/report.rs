//! What a person is told on stderr: notes, and a command's failure in one line.

use std::io::{self, Write as _};
use std::process::ExitCode;

use runcast_client::ClientError;

/// The exit code of a failure.
const FAILURE: u8 = 1;
/// The exit code of a command line that cannot be meant, as clap has it.
const USAGE: u8 = 2;

/// Arguments that are each well formed and cannot be meant together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Tells something beside the output.
pub(crate) fn note(text: &str) {
    let line = printable(text);
    // With stderr closed there is nobody to tell.
    drop(writeln!(io::stderr(), "runcast: {line}"));
}

/// Tells why a command failed, and gives the exit code.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    let hint = match error.downcast_ref::<ClientError>() {
        Some(error) if error.is_refused_connection() => "; start a server with \"runcast serve\"",
        _ => "",
    };
    note(&format!("{error:#}{hint}"));
    ExitCode::from(if error.is::<UsageError>() { USAGE } else { FAILURE })
}

/// Who sits here, for those who look at what was asked or answered.
pub(crate) fn user_name() -> Option<String> {
    let named = |variable| std::env::var(variable).ok().filter(|name| !name.trim().is_empty());
    named("USER").or_else(|| named("LOGNAME"))
}

/// The text on one line, without characters that a terminal takes for orders.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether whoever read the output has had enough, as `head` has.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
