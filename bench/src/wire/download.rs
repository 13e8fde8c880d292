//! One answer that is read as it comes, and can be let go of at any byte.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::body::Body;
use super::head::{HEAD_BYTES_MAX, parse_head};

/// How long a head may take.
const HEAD_MAX: Duration = Duration::from_secs(30);

/// How long one read waits before it says that nothing came.
const READ_MAX: Duration = Duration::from_millis(50);

/// An answer under way.
#[derive(Debug)]
pub(crate) struct Download {
    socket: TcpStream,
    body: Body,
    /// Read with the head, not given yet.
    rest: Vec<u8>,
    status: u16,
}

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// Something; or nothing so far.
    Some,
    /// Nothing ever again: the body is whole.
    End,
    /// Nothing ever again: the connection broke off within the body.
    Cut,
}

impl Download {
    /// Sends `GET path` and reads the head of the answer. `room` is how much the socket takes that
    /// nobody has read, in bytes.
    pub(crate) fn open(
        address: SocketAddrV4,
        path: &str,
        headers: &str,
        room: Option<usize>,
    ) -> Result<Self> {
        let family = AddressFamily::INET;
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        if let Some(room) = room {
            sockopt::set_socket_recv_buffer_size(&socket, room)?;
        }
        rustix::net::connect(&socket, &address)?;
        let mut socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(HEAD_MAX))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
        socket.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        let mut buffer = [0; HEAD_BYTES_MAX];
        loop {
            let count = socket.read(&mut buffer).context("no head of an answer came")?;
            if count == 0 {
                bail!("the connection ended before an answer");
            }
            bytes.extend_from_slice(&buffer[..count]);
            if let Some((head, length)) = parse_head(&bytes)? {
                socket.set_read_timeout(Some(READ_MAX))?;
                let rest = bytes.split_off(length);
                return Ok(Self { socket, body: head.body, rest, status: head.status });
            }
        }
    }

    /// Sends more, behind an upgrade.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.socket.write_all(bytes)?)
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Waits for a moment and gives what came of the body, at most about `most` bytes.
    pub(crate) fn read(&mut self, most: usize, piece: impl FnMut(&[u8])) -> Result<Came> {
        if self.body.is_done() {
            return Ok(Came::End);
        }
        if self.rest.is_empty() {
            self.rest.resize(most, 0);
            let count = match self.socket.read(&mut self.rest) {
                Ok(0) => {
                    let is_whole = self.body == Body::UntilClose;
                    return Ok(if is_whole { Came::End } else { Came::Cut });
                }
                Ok(count) => count,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    0
                }
                Err(_) => return Ok(Came::Cut),
            };
            self.rest.truncate(count);
        }
        self.body.take(&self.rest, piece)?;
        self.rest.clear();
        Ok(Came::Some)
    }
}
