//! The server from its start to its end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use runcast_hub::{Hub, HubBuilder, HubConfig};
use runcast_log::{EmbeddedLog, EmbeddedOptions, OpenError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::accept::{Acceptor, Phase, PhaseWatch};
use crate::api::{self, Services};
use crate::config::HttpConfig;
use crate::front::FrontDoor;
use crate::guard::Guard;
use crate::projection::Projection;

/// Everything that a server on one machine is made of.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where the events are kept.
    pub data_dir: PathBuf,
    /// How the log keeps them.
    pub log: EmbeddedOptions,
    /// The bounds of followers.
    pub hub: HubConfig,
    /// How the server speaks HTTP.
    pub http: HttpConfig,
}

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address can be reached from other machines, and everybody there could use the server.
    #[error(
        "cannot listen on {address}: other machines could reach it, and there is no authentication \
         yet; use a loopback address such as 127.0.0.1:{}", address.port()
    )]
    NotLoopback {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// Another process listens there.
    #[error("cannot listen on {address}: another process does; stop it or choose another port")]
    InUse {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The system refuses the address.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
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
}

/// Opens a data directory and a server on it. Connections wait until [`Server::run`].
///
/// # Errors
/// Says what is wrong with the address or the data directory, and what to do.
///
/// # Panics
/// When the thread that opens the directory does.
pub async fn start(config: ServerConfig) -> Result<Server, StartError> {
    raise_file_limit();
    let listener = listen(config.http.listen).await?;
    let builder = HubBuilder::new(config.hub);
    let (data_dir, log, observer) = (config.data_dir, config.log, builder.observer());
    let opened =
        tokio::task::spawn_blocking(move || EmbeddedLog::open(&data_dir, log, observer)).await;
    let log = opened.expect("opening the log does not panic")?;
    Ok(Server { listener, config: config.http, hub: builder.build(log) })
}

/// Each connection is an open file, of which a process has 1,024 unless it asks for more.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = limit.current, "the limit of open files cannot be raised");
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    if !address.ip().is_loopback() {
        return Err(BindError::NotLoopback { address });
    }
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        _ => BindError::Refused { address, source },
    })
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    config: HttpConfig,
    hub: Hub,
}

impl Server {
    /// Begins to listen. Connections wait until [`Self::run`].
    ///
    /// # Errors
    /// When the address is not a loopback one, is in use, or the system refuses it.
    pub async fn bind(config: HttpConfig, hub: Hub) -> Result<Self, BindError> {
        Ok(Self { listener: listen(config.listen).await?, config, hub })
    }

    /// Where it listens.
    ///
    /// # Panics
    /// When the system does not know the address of a socket that listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr().expect("a socket that listens has an address")
    }

    /// The hub that it serves.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Serves until `shutdown`, then finishes what is under way and closes the log.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let (sender, receiver) = watch::channel(Phase::Serving);
        let phase = PhaseWatch(receiver);
        let HttpConfig { heartbeat, drain, limits, .. } = self.config.clone();
        let services = Services {
            hub: self.hub.clone(),
            projection: Projection::start(self.hub.clone(), limits.state_wait),
            limits: limits.clone(),
            heartbeat,
            phase: phase.clone(),
        };
        let seats_max = limits.connections_max.min(Semaphore::MAX_PERMITS);
        let seats = Arc::new(Semaphore::new(seats_max));
        let acceptor = Arc::new(Acceptor {
            front: FrontDoor::new(Guard::new(&self.config), api::router(services)),
            limits,
            phase,
            seats: Arc::clone(&seats),
        });
        tracing::info!(address = %self.local_addr(), "listening");
        let accepting = tokio::spawn(acceptor.run(self.listener));
        shutdown.await;
        tracing::info!("shutting down");
        sender.send_replace(Phase::Draining);
        // Its end closes the listener.
        let _ = accepting.await;
        let every_seat = u32::try_from(seats_max).unwrap_or(u32::MAX);
        if tokio::time::timeout(drain, seats.acquire_many(every_seat)).await.is_err() {
            tracing::warn!("connections were cut off: they did not finish in time");
        }
        sender.send_replace(Phase::Stopped);
        self.hub.shut_down().await;
    }
}
