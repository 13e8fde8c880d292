//! A client's WebSocket: what its messages mean, and the connection that carries them.
//!
//! `session` is pure and decides; `connection` owns the socket, the followers and the publishes that
//! are under way. A viewer that is slow to read is a cursor and not a queue: while the socket takes
//! nothing, no follower is read. The protocol is `protocol/PROTOCOL.md`.

mod connection;
mod fields;
mod follows;
mod session;

pub(crate) use connection::serve;

/// Subscriptions of one connection.
const SUBSCRIPTIONS_MAX: usize = 256;
/// Publishes of one connection that are not answered; behind them it is not read any further.
const PUBLISHES_MAX: usize = 64;
/// Bytes of their events.
const PUBLISH_BYTES_MAX: usize = 4 * 1024 * 1024;
