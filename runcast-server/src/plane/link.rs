//! One connection: its socket, what the socket did not take yet, and who reads over it.

use std::io::{self, Read as _};
use std::net::Shutdown;

use bytes::Bytes;
use mio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::dialogue::Dialogue;
use super::outbox::{Outbox, Place, Progress, Taken};
use super::wave::Part;
use super::wheel::Tick;
use crate::metrics::Transport;

/// Bytes that a client may send behind its request. None of them is ever looked at.
const DISCARDED_BYTES_MAX: usize = 64 * 1024;
/// The same for a client that is to close: it may have been sending when it was told.
const LINGERING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection's place in the shard, and which of those that were there it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinkKey {
    pub(super) at: usize,
    pub(super) serial: u64,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It carries what it was made for.
    Open,
    /// Its socket is to take the last bytes.
    Ending,
    /// The client is to close, everything being sent.
    Lingering,
    /// It is taken away at the end of the turn.
    Gone,
}

/// What a connection carries.
pub(super) enum Kind {
    /// Server-sent events, to this reader.
    Events { reader: Option<usize> },
    /// A WebSocket.
    WebSocket(Box<Dialogue>),
}

pub(super) struct Link {
    socket: TcpStream,
    pub(super) serial: u64,
    pub(super) phase: Phase,
    pub(super) kind: Kind,
    /// The socket took less than it was given, and has not said since that it takes more.
    pub(super) is_full: bool,
    outbox: Outbox,
    /// When its socket took something last.
    pub(super) took_at: Tick,
    /// When it is looked at by the clock.
    pub(super) due: Tick,
    discarded: usize,
    _seat: OwnedSemaphorePermit,
}

impl Link {
    pub(super) fn new(
        socket: TcpStream,
        serial: u64,
        kind: Kind,
        seat: OwnedSemaphorePermit,
        now: Tick,
    ) -> Self {
        Self {
            socket,
            serial,
            phase: Phase::Open,
            kind,
            is_full: false,
            outbox: Outbox::default(),
            took_at: now,
            due: now,
            discarded: 0,
            _seat: seat,
        }
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    pub(super) fn transport(&self) -> Transport {
        match self.kind {
            Kind::Events { .. } => Transport::Sse,
            Kind::WebSocket(_) => Transport::WebSocket,
        }
    }

    pub(super) fn dialogue(&mut self) -> Option<&mut Dialogue> {
        match &mut self.kind {
            Kind::WebSocket(dialogue) => Some(dialogue),
            Kind::Events { .. } => None,
        }
    }

    /// Puts bytes before everything that is sent from now on; what is pending stays before them.
    pub(super) fn say(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.outbox.say(bytes);
        }
    }

    /// Bytes that the socket was not given yet, or did not take.
    pub(super) fn pending_bytes(&self) -> usize {
        self.outbox.pending_bytes()
    }

    /// Writes what is pending and then a reader's parts, as much as the socket takes, and moves the
    /// reader.
    pub(super) fn send(
        &mut self,
        parts: &[Part],
        place: &mut Place,
        now: Tick,
    ) -> io::Result<Taken> {
        let taken = self.outbox.send(&mut self.socket, parts, place)?;
        let is_full = taken.progress != Progress::Sent;
        if taken.bytes > 0 || (is_full && !self.is_full) {
            self.took_at = now;
        }
        if taken.bytes > 0
            && self.is_full
            && let Some(dialogue) = self.dialogue()
        {
            // Only the client can have made room. The ping may be behind what it has not read yet.
            dialogue.silent_since = None;
        }
        self.is_full = is_full;
        Ok(taken)
    }

    /// Reads what the client has sent.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.socket.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// Reads what the client sends and throws it away. False when the client has closed, or sends
    /// more than it may.
    pub(super) fn discard(&mut self) -> bool {
        let mut buffer = [0; 4 * 1024];
        let max = match self.phase {
            Phase::Lingering => LINGERING_BYTES_MAX,
            _ => DISCARDED_BYTES_MAX,
        };
        while self.discarded <= max {
            match self.read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => self.discarded += length,
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        false
    }

    /// Says that everything was sent. What the client still sends is read on, because closing with
    /// unread bytes would throw away what the client has not read yet.
    pub(super) fn linger(&mut self) -> bool {
        self.phase = Phase::Lingering;
        self.discarded = 0;
        self.socket.shutdown(Shutdown::Write).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream as StdStream};
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    fn pair() -> (TcpStream, StdStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (TcpStream::from_std(server), client)
    }

    #[test]
    fn a_client_that_takes_what_was_written_is_not_silent() {
        let (socket, mut client) = pair();
        let seat = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let dialogue = Dialogue::new(Vec::new(), Tick(0));
        let kind = Kind::WebSocket(Box::new(dialogue));
        let mut link = Link::new(socket, 1, kind, seat, Tick(0));
        let send = |link: &mut Link| {
            link.say(Bytes::from(vec![0; 1024 * 1024]));
            link.send(&[], &mut Place::START.clone(), Tick(0)).unwrap()
        };
        let silent_since = |link: &mut Link| link.dialogue().unwrap().silent_since;
        link.dialogue().unwrap().silent_since = Some(Tick(0));
        while send(&mut link).progress == Progress::Sent {}
        assert!(silent_since(&mut link).is_some(), "the system took it, not the client");
        assert_eq!(send(&mut link).bytes, 0);
        assert!(silent_since(&mut link).is_some());
        let mut buffer = vec![0; 64 * 1024];
        while send_rest(&mut link) == 0 {
            client.read_exact(&mut buffer).unwrap();
        }
        assert!(silent_since(&mut link).is_none());
    }

    fn send_rest(link: &mut Link) -> usize {
        link.send(&[], &mut Place::START.clone(), Tick(0)).unwrap().bytes
    }
}
