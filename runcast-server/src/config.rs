//! What a server is told: where it listens, whom it answers, and every bound it keeps.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Clock;

mod origin;

pub use origin::{Origin, OriginError};
pub(crate) use origin::{host_of, is_loopback};

/// How the server speaks HTTP.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Where to listen. Only a loopback address is taken, because there is no authentication yet.
    pub listen: SocketAddr,
    /// Origins of browser pages that may use the server, beside its own and those on loopback.
    pub allowed_origins: Vec<Origin>,
    /// Host names that are this server's, beside `localhost` and the loopback addresses; with any
    /// port.
    pub allowed_hosts: Vec<String>,
    /// After how much silence a follower gets a comment, so that proxies keep the connection.
    pub heartbeat: Duration,
    /// Threads that serve those who follow runs.
    pub plane_shards: usize,
    /// Threads that serve all other requests; whoever makes the runtime goes by it.
    pub api_workers: usize,
    /// How long connections may take to finish when the server stops.
    pub drain: Duration,
    /// What time it is for runs: when producers are lost, deadlines past and questions timed out.
    pub clock: Clock,
    /// Everything that is bounded.
    pub limits: Limits,
}

/// The bounds of connections and requests. Those of events are in [`runcast_event::limits`], those
/// of followers in [`runcast_hub::HubConfig`].
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; more wait to be accepted.
    pub connections_max: usize,
    /// Bytes of a request's head: the request line and the headers.
    pub head_bytes_max: usize,
    /// How long the head of a connection's first request may take to arrive.
    pub head_timeout: Duration,
    /// How long a connection may go from one request to the whole head of the next.
    pub idle_timeout: Duration,
    /// How long a whole body of JSON may take.
    pub body_timeout: Duration,
    /// How long the body of a request may stand still. Between the lines of an NDJSON request
    /// there is no limit: a producer may be silent.
    pub body_idle_timeout: Duration,
    /// How long a client may take nothing while there is something to send to it. Then it is
    /// disconnected; a follower can resume.
    pub write_stall_timeout: Duration,
    /// How long a WebSocket client may leave pings unanswered. They are sent with the heartbeat.
    pub pong_timeout: Duration,
    /// Over how long clients spread that are told to come back because the server stops.
    pub reconnect_spread: Duration,
    /// Events looked at for one `contains=` request.
    pub scan_events_max: usize,
    /// How long a request for run states waits until they are as new as the log.
    pub state_wait: Duration,
    /// How long the producer of a run may be silent that does not say so itself.
    pub silent_after: Duration,
    /// How often it is looked whether run states have changed enough to be saved again.
    pub save_states_every: Duration,
}

impl Limits {
    /// After how long one client should come back when the server stops.
    pub(crate) fn reconnect_after(&self) -> Duration {
        somewhere_in(self.reconnect_spread)
    }
}

/// A time that is another for each who asks, so that not all come at once.
pub(crate) fn somewhere_in(spread: Duration) -> Duration {
    spread.mul_f64(fastrand::f64())
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            heartbeat: Duration::from_secs(15),
            plane_shards: half_of_the_processors(),
            api_workers: half_of_the_processors(),
            drain: Duration::from_secs(5),
            clock: Clock::System,
            limits: Limits::default(),
        }
    }
}

/// For those who follow, and as many for requests: with a thread of each kind for each processor,
/// threads were measured to wake each other more than they help, at 1.3 times the cost an event.
fn half_of_the_processors() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            head_bytes_max: 64 * 1024,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(120),
            body_idle_timeout: Duration::from_secs(30),
            write_stall_timeout: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(30),
            reconnect_spread: Duration::from_secs(5),
            scan_events_max: 100_000,
            state_wait: Duration::from_secs(5),
            silent_after: Duration::from_secs(24 * 60 * 60),
            save_states_every: Duration::from_secs(60),
        }
    }
}
