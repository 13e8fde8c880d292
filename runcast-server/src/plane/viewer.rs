//! One connection that follows a run: a cursor, a socket, and at most one piece of bytes that the
//! socket did not take yet.

use std::io::{self, Read as _};
use std::net::Shutdown;

use bytes::Bytes;
use mio::net::TcpStream;
use runcast_event::Offset;
use runcast_hub::FollowerPlace;
use tokio::sync::OwnedSemaphorePermit;

use super::outbox::{Outbox, Progress, Taken};
use super::runs::Membership;
use super::wave::Part;
use super::wheel::Tick;

/// Bytes that a client may send behind its request. None of them is ever looked at.
const DISCARDED_BYTES_MAX: usize = 64 * 1024;

/// A viewer's place in the shard, and which of those who sat there it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ViewerKey {
    pub(super) at: usize,
    pub(super) serial: u64,
}

/// What a viewer waits for, beside its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// To learn where it begins.
    Placing,
    /// For events.
    Flowing,
    /// For a page of the log.
    Reading,
    /// For its socket to take the last bytes.
    Ending,
    /// For the client to close, everything being sent.
    Lingering,
    /// For nothing: it is taken away at the end of the turn.
    Gone,
}

pub(super) struct Viewer {
    socket: TcpStream,
    pub(super) serial: u64,
    pub(super) stage: Stage,
    /// The socket took less than it was given, and has not said since that it takes more.
    pub(super) is_full: bool,
    pub(super) outbox: Outbox,
    pub(super) membership: Option<Membership>,
    /// The `next` up to which it was told that it has passed over events.
    pub(super) told: Offset,
    /// The incarnation of the run that it follows.
    pub(super) deletions: u64,
    /// It reads the log, and has not come back to the newest event since it began to.
    pub(super) is_behind: bool,
    /// When its socket took something last.
    pub(super) took_at: Tick,
    /// When it is looked at by the clock.
    pub(super) due: Tick,
    discarded: usize,
    place: Option<FollowerPlace>,
    _seat: OwnedSemaphorePermit,
}

impl Viewer {
    pub(super) fn new(
        socket: TcpStream,
        serial: u64,
        seat: OwnedSemaphorePermit,
        now: Tick,
    ) -> Self {
        Self {
            socket,
            serial,
            stage: Stage::Placing,
            is_full: false,
            outbox: Outbox::default(),
            membership: None,
            told: Offset::START,
            deletions: 0,
            is_behind: false,
            took_at: now,
            due: now,
            discarded: 0,
            place: None,
            _seat: seat,
        }
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Makes it count as a follower until it has got everything.
    pub(super) fn take_place(&mut self, place: FollowerPlace) {
        self.place = Some(place);
    }

    /// Puts bytes before everything that is sent from now on; what is pending stays before them.
    pub(super) fn say(&mut self, bytes: Bytes) {
        self.outbox.say(bytes);
    }

    /// Writes what is pending and then the parts, as much as the socket takes, and moves the cursor.
    pub(super) fn send(&mut self, parts: &[Part], now: Tick) -> io::Result<Taken> {
        let taken = self.outbox.send(&mut self.socket, parts)?;
        let is_full = taken.progress != Progress::Sent;
        if taken.bytes > 0 || (is_full && !self.is_full) {
            self.took_at = now;
        }
        self.is_full = is_full;
        Ok(taken)
    }

    /// Reads what the client sends behind its request and throws it away. False when the client has
    /// closed, or sends more than it may.
    pub(super) fn discard(&mut self) -> bool {
        let mut bytes = [0; 2 * 1024];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return false,
                Ok(length) => {
                    self.discarded += length;
                    if self.discarded > DISCARDED_BYTES_MAX {
                        return false;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    /// Says that everything was sent. What the client still sends is read on, because closing with
    /// unread bytes would throw away what the client has not read yet.
    pub(super) fn linger(&mut self) -> bool {
        self.stage = Stage::Lingering;
        self.place = None;
        self.socket.shutdown(Shutdown::Write).is_ok()
    }
}
