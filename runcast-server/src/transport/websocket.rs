//! WebSocket (RFC 6455) as bytes and as messages, without a socket.
//!
//! Owns the handshake, the frames in both directions and the form of the server's messages, which
//! `protocol/PROTOCOL.md` describes. Never reads a socket, a log or a clock, so that any loop can
//! drive it. A reader that waits for the next frame holds no buffer.

mod close;
mod handshake;
mod reader;
mod writer;

pub(crate) mod message;

pub(crate) use close::Close;
pub(crate) use handshake::{SUBPROTOCOL, handshake};
pub(crate) use reader::{FrameReader, Received};
pub(crate) use writer::{close, ping, pong, text};

/// The largest message, in both directions: the payload of all its frames.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The largest payload of a control frame.
const CONTROL_BYTES_MAX: usize = 125;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
