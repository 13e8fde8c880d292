//! One call after the other over one connection, for what is not measured by the thousand.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::head::parse_head;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How much is read at once, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// A connection that is kept open between calls.
#[derive(Debug)]
pub(crate) struct Caller {
    socket: TcpStream,
    address: SocketAddrV4,
    buffer: Vec<u8>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Caller {
    /// Connects.
    pub(crate) fn connect(address: SocketAddrV4) -> Result<Self> {
        let socket = TcpStream::connect(address)
            .with_context(|| format!("nobody accepts connections on {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Self { socket, address, buffer: vec![0; READ_BYTES] })
    }

    /// Where it is connected to.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Reads a resource as JSON.
    pub(crate) fn get(&mut self, path: &str) -> Result<Answer> {
        self.get_as(path, "application/json")
    }

    /// Reads a resource as this type of media.
    pub(crate) fn get_as(&mut self, path: &str, media: &str) -> Result<Answer> {
        let address = self.address;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {media}\r\n\r\n");
        self.socket.write_all(request.as_bytes())?;
        self.answer().with_context(|| format!("GET {path}"))
    }

    /// Posts a body; `headers` are whole lines.
    pub(crate) fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> Result<Answer> {
        self.send_post(path, headers, body)?;
        self.answer().with_context(|| format!("POST {path}"))
    }

    /// Posts a body and does not wait for the answer.
    pub(crate) fn send_post(&mut self, path: &str, headers: &str, body: &[u8]) -> Result<()> {
        let (address, length) = (self.address, body.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        self.socket.write_all(head.as_bytes())?;
        Ok(self.socket.write_all(body)?)
    }

    fn answer(&mut self) -> Result<Answer> {
        let mut head_bytes = Vec::new();
        let (mut head, mut rest) = loop {
            let count = self.socket.read(&mut self.buffer)?;
            if count == 0 {
                bail!("the connection ended before an answer");
            }
            head_bytes.extend_from_slice(&self.buffer[..count]);
            if let Some((head, length)) = parse_head(&head_bytes)? {
                break (head, head_bytes.split_off(length));
            }
        };
        let mut body = Vec::new();
        loop {
            head.body.take(&rest, |piece| body.extend_from_slice(piece))?;
            if head.body.is_done() {
                return Ok(Answer { status: head.status, body });
            }
            let count = self.socket.read(&mut self.buffer)?;
            if count == 0 {
                bail!("the connection ended within an answer");
            }
            rest.clear();
            rest.extend_from_slice(&self.buffer[..count]);
        }
    }
}
