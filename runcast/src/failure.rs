//! How a command's failure is told: one line on stderr, and an exit code.

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

/// Writes the line and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    let line = format!("{error:#}").replace('\n', " ");
    let hint = hint(error);
    // With stderr closed there is nobody to tell.
    drop(writeln!(io::stderr(), "runcast: {line}{hint}"));
    ExitCode::from(if error.is::<UsageError>() { USAGE } else { FAILURE })
}

/// Whether whoever read the output has had enough, as `head` has.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn hint(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Unreachable { .. }) => "; start a server with \"runcast serve\"",
        _ => "",
    }
}
