//! Starts a server on a data directory or on Redis: the only place that knows which log there is.

use std::path::PathBuf;

use runcast_hub::{HubBuilder, HubConfig};
use runcast_log::{EmbeddedLog, EmbeddedOptions, OpenError, STATES_NAME};
use runcast_redis::{RedisLog, RedisOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::HttpConfig;
use crate::projection::SavedStates;
use crate::server::{BindError, Server, listen};

/// Everything that a server is made of.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where the events are kept.
    pub store: Store,
    /// The bounds of followers.
    pub hub: HubConfig,
    /// How the server speaks HTTP.
    pub http: HttpConfig,
}

/// Where events are kept.
#[derive(Debug, Clone)]
pub enum Store {
    /// In a directory of this machine, for one server alone.
    Directory {
        /// Which.
        path: PathBuf,
        /// How the log keeps them there.
        options: EmbeddedOptions,
    },
    /// In Redis, for several servers to share.
    Redis(RedisOptions),
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The data directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Redis cannot be used.
    #[error(transparent)]
    Redis(#[from] runcast_redis::OpenError),
}

/// Opens a data directory, or connects to Redis, and opens a server on it. Connections wait until
/// [`Server::run`].
///
/// # Errors
/// Says what is wrong with the address, the data directory or Redis, and what to do.
///
/// # Panics
/// When the thread that opens the directory does.
pub async fn start(config: ServerConfig) -> Result<Server, StartError> {
    raise_file_limit();
    let listener = listen(config.http.listen)?;
    let builder = HubBuilder::new(config.hub);
    let observer = builder.observer();
    match config.store {
        Store::Directory { path, options } => {
            let file = path.join(STATES_NAME);
            let open = move || EmbeddedLog::open(&path, options, observer);
            let opened = tokio::task::spawn_blocking(open).await;
            let log = opened.expect("opening the log does not panic")?;
            let every = config.http.limits.save_states_every;
            let saved = SavedStates { file, log: log.id(), every };
            Ok(Server::on(listener, config.http, builder.build(log), Some(saved)))
        }
        Store::Redis(options) => {
            let log = RedisLog::open(options, observer).await?;
            Ok(Server::on(listener, config.http, builder.build(log), None))
        }
    }
}

/// Each connection is an open file, of which a process has 1,024 unless it asks for more.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = limit.current, "the limit of open files cannot be raised");
    }
}
