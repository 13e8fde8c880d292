//! A server on a hub: listens, serves, stops.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use runcast_hub::Hub;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, watch};

use crate::accept::{self, Acceptor, Phase, PhaseWatch};
use crate::api::{self, Services};
use crate::config::HttpConfig;
use crate::front::FrontDoor;
use crate::gate::RunGate;
use crate::guard::Guard;
use crate::intake::Intake;
use crate::keeper::Keeper;
use crate::metrics::{Exposition, Metrics};
use crate::plane::{Plane, PlaneConfig, PlaneServices};
use crate::presence::Presence;
use crate::projection::{Listening, Projection, SavedStates};
use crate::publisher::Publisher;
use crate::retention::{Compaction, Retention};
use crate::signs;

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

pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    if !address.ip().is_loopback() {
        return Err(BindError::NotLoopback { address });
    }
    open_listener(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        _ => BindError::Refused { address, source },
    })
}

fn open_listener(address: SocketAddr) -> io::Result<TcpListener> {
    /// Connections that may wait to be accepted; the system holds it to its own limit. With fewer,
    /// viewers that all come back at once would wait for seconds until they ask again.
    const BACKLOG_MAX: u32 = 65_535;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So that a server that was killed can be started again at once.
    socket.set_reuseaddr(true)?;
    accept::prepare(&socket)?;
    socket.bind(address)?;
    socket.listen(BACKLOG_MAX)
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    config: HttpConfig,
    hub: Hub,
    /// Where run states are saved, if they are.
    saved: Option<SavedStates>,
}

impl Server {
    /// Begins to listen. Connections wait until [`Self::run`].
    ///
    /// # Errors
    /// When the address is not a loopback one, is in use, or the system refuses it.
    pub async fn bind(config: HttpConfig, hub: Hub) -> Result<Self, BindError> {
        Ok(Self::on(listen(config.listen)?, config, hub, None))
    }

    pub(crate) fn on(
        listener: TcpListener,
        config: HttpConfig,
        hub: Hub,
        saved: Option<SavedStates>,
    ) -> Self {
        Self { listener, config, hub, saved }
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
    ///
    /// # Errors
    /// When the system has no threads or files left for the stream plane.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let (sender, receiver) = watch::channel(Phase::Serving);
        let phase = PhaseWatch(receiver);
        let HttpConfig { heartbeat, drain, limits, clock, retention, plane_shards: shards, .. } =
            self.config.clone();
        let metrics = Metrics::new();
        let presence = Presence::new(clock.clone());
        let listening = Listening {
            clock: clock.clone(),
            presence: presence.clone(),
            silent_after: limits.silent_after,
        };
        let (hub, saved) = (self.hub.clone(), self.saved.take());
        let is_compacting = retention.merges_any();
        let projection = Projection::start(hub, limits.state_wait, listening, retention, saved);
        let saving = tokio::spawn(projection.keep_saved());
        let gate = Arc::new(RunGate::new(projection.states()));
        if let Err(error) = self.hub.set_gate(gate).await {
            tracing::error!(%error, "the feed cannot be read");
        }
        if is_compacting {
            self.hub.join_by(Arc::new(Compaction { states: projection.states() }));
        }
        let telling = tokio::spawn(signs::tell(self.hub.clone(), presence.clone()));
        let keeper = Keeper {
            hub: self.hub.clone(),
            projection: projection.clone(),
            presence: presence.clone(),
            clock: clock.clone(),
        };
        let keeper = tokio::spawn(keeper.run());
        let retention = Retention {
            hub: self.hub.clone(),
            projection: projection.clone(),
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            feed_events_max: limits.feed_events_max as u64,
        };
        let retention = tokio::spawn(retention.run());
        let publisher = Publisher::new(self.hub.clone(), projection.clone());
        let intake = Intake {
            hub: self.hub.clone(),
            publisher: publisher.clone(),
            metrics: Arc::clone(&metrics),
        };
        let intake = tokio::spawn(intake.run());
        let services = Services {
            clock,
            presence: presence.clone(),
            publisher: publisher.clone(),
            hub: self.hub.clone(),
            exposition: Exposition::new(Arc::clone(&metrics), self.hub.clone(), projection.clone()),
            metrics: Arc::clone(&metrics),
            projection: projection.clone(),
            limits: limits.clone(),
            heartbeat,
            phase: phase.clone(),
        };
        let seats_max = limits.connections_max.min(Semaphore::MAX_PERMITS);
        let seats = Arc::new(Semaphore::new(seats_max));
        let plane = PlaneConfig {
            shards,
            heartbeat,
            stalled: limits.write_stall_timeout,
            pong_timeout: limits.pong_timeout,
            reconnect_spread: limits.reconnect_spread,
        };
        let plane_services = PlaneServices { hub: self.hub.clone(), presence, publisher };
        let plane = Arc::new(Plane::start(&plane_services, &plane, &metrics)?);
        let acceptor = Arc::new(Acceptor {
            plane: Arc::clone(&plane),
            front: FrontDoor::new(Guard::new(&self.config), api::router(services)),
            limits,
            phase,
            metrics,
            seats: Arc::clone(&seats),
        });
        tracing::info!(address = %self.local_addr(), "listening");
        let accepting = tokio::spawn(acceptor.run(self.listener));
        shutdown.await;
        tracing::info!("shutting down");
        sender.send_replace(Phase::Draining);
        // Its end closes the listener.
        let _ = accepting.await;
        plane.drain();
        let every_seat = u32::try_from(seats_max).unwrap_or(u32::MAX);
        if tokio::time::timeout(drain, seats.acquire_many(every_seat)).await.is_err() {
            tracing::warn!("connections were cut off: they did not finish in time");
        }
        sender.send_replace(Phase::Stopped);
        // The shards end at once, but a thread is only ended when it was waited for.
        let _ = tokio::task::spawn_blocking(move || plane.stop()).await;
        intake.abort();
        keeper.abort();
        telling.abort();
        retention.abort();
        saving.abort();
        projection.save().await;
        self.hub.shut_down().await;
        Ok(())
    }
}
