//! One connection of the floor.

use std::os::fd::OwnedFd;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It asks, one request after the other.
    Asking,
    /// It has become a WebSocket and says next which run it follows.
    Upgraded,
    /// It follows a run and has been written its frames up to here.
    Following { run: usize, sent: usize },
}

/// A socket and what stands between its bytes.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    pub(crate) part: Part,
    /// What was read and is not a whole request yet.
    pub(crate) input: Vec<u8>,
    /// What did not fit into the socket.
    pub(crate) output: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, part: Part::Asking, input: Vec::new(), output: Vec::new() }
    }
}
