//! Runcast over HTTP: append, read, follow, run states, the web UI.
//!
//! Owns the meaning of requests, the state of runs (as a projection of their streams) and who may
//! connect. Reaches streams only through the hub. `docs/http-api.md` is its contract.
//!
//! A request's way: `accept` takes the connection and its first head; a follow goes on to `plane`,
//! everything else to the HTTP library: `front` and `guard` let the request in, `api` knows what it
//! means. `transport` writes the answer.

mod accept;
mod api;
mod clock;
mod config;
mod feed;
mod front;
mod gate;
mod guard;
mod intake;
mod keeper;
mod metrics;
mod plane;
mod presence;
mod problem;
mod projection;
mod publisher;
mod retention;
mod schema;
mod server;
mod signs;
mod socket;
mod start;
mod stored;
mod transport;
mod ui;

pub use clock::Clock;
pub use config::{HttpConfig, Limits, Origin, OriginError};
pub use retention::{RetentionClass, RetentionError, RetentionPolicy};
pub use runcast_hub::HubConfig;
pub use runcast_log::{Durability, EmbeddedOptions};
pub use runcast_redis::RedisOptions;
pub use server::{BindError, Server};
pub use start::{ServerConfig, StartError, Store, start};
