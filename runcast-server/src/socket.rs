//! What a WebSocket client's messages mean. The protocol is `protocol/PROTOCOL.md`; the stream plane
//! has the connections and does what a session decides.
//!
//! Pure: never touches a socket, a hub or a clock.

mod fields;
mod session;

pub(crate) use session::{Action, Session};

/// Subscriptions of one connection.
const SUBSCRIPTIONS_MAX: usize = 256;
/// Publishes of one connection that are not answered; behind them it is not read any further.
pub(crate) const PUBLISHES_MAX: usize = 64;
/// Bytes of their events.
pub(crate) const PUBLISH_BYTES_MAX: usize = 4 * 1024 * 1024;
