//! What every command shares: the server's address, and the runtime that commands run on.

use std::future::Future;

use runcast_client::{Client, ClientError};

/// Behind the options of the command itself.
const LAST: usize = 900;

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Global {
    /// The server's address
    #[arg(
        long,
        global = true,
        display_order = LAST,
        env = "RUNCAST_URL",
        default_value = "http://127.0.0.1:7070",
        hide_env_values = true
    )]
    pub(crate) url: String,
}

impl Global {
    /// A client of the server.
    pub(crate) fn client(&self) -> Result<Client, ClientError> {
        Client::new(&self.url)
    }
}

/// Runs a command's future on a runtime of one thread: a client needs no more.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(future);
    // A blocking read of stdin must not hold the process back.
    runtime.shutdown_background();
    outcome
}
