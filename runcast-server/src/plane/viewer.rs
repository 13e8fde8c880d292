//! One connection that follows a run: a cursor, a socket, and at most one piece of bytes that the
//! socket did not take yet.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;

use bytes::Bytes;
use mio::net::TcpStream;
use runcast_event::{Epoch, Offset};
use runcast_hub::FollowerPlace;
use tokio::sync::OwnedSemaphorePermit;

use super::runs::Membership;
use super::wave::Part;
use super::wheel::Tick;

/// Pieces in one write.
const SLICES_MAX: usize = 64;
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

/// Bytes of which the socket took the first.
struct Pending {
    bytes: Bytes,
    taken: usize,
}

impl Pending {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }
}

/// How far a write came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The socket took everything.
    Sent,
    /// The socket is full. What it did not take must be offered again, from the viewer's cursor on.
    Full,
    /// The socket is full, and the rest is less than the last part: the viewer keeps it.
    Kept,
}

pub(super) struct Viewer {
    socket: TcpStream,
    pub(super) serial: u64,
    pub(super) stage: Stage,
    /// The socket took less than it was given, and has not said since that it takes more.
    pub(super) is_full: bool,
    pending: Option<Pending>,
    pub(super) membership: Option<Membership>,
    pub(super) epoch: Epoch,
    /// The next event that it gets; what is pending comes before.
    pub(super) next: Offset,
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
            pending: None,
            membership: None,
            epoch: Epoch::FIRST,
            next: Offset::START,
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
        let bytes = match self.pending.take() {
            Some(pending) => Bytes::from([pending.rest(), &bytes].concat()),
            None => bytes,
        };
        self.pending = Some(Pending { bytes, taken: 0 });
    }

    /// Writes what is pending and then the parts, as much as the socket takes, and moves the cursor.
    /// Gives how many bytes it took.
    pub(super) fn send(&mut self, parts: &[Part], now: Tick) -> io::Result<(Progress, usize)> {
        let mut rest = parts;
        let mut total = 0;
        loop {
            self.pass_over_empty(&mut rest);
            if self.pending.is_none() && rest.is_empty() {
                return Ok((Progress::Sent, total));
            }
            match self.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.took_at = now;
                    total += taken;
                    self.account(taken, &mut rest);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.is_full {
                        (self.is_full, self.took_at) = (true, now);
                    }
                    let is_kept = rest.is_empty();
                    let progress = if is_kept { Progress::Kept } else { Progress::Full };
                    return Ok((progress, total));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn write(&mut self, parts: &[Part]) -> io::Result<usize> {
        match (&self.pending, parts) {
            (None, [part]) => self.socket.write(&part.bytes),
            (Some(pending), []) => self.socket.write(pending.rest()),
            (pending, parts) => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let pending = pending.iter().map(Pending::rest);
                let all = pending.chain(parts.iter().map(|part| &*part.bytes));
                let mut length = 0;
                for (slice, bytes) in slices.iter_mut().zip(all) {
                    *slice = IoSlice::new(bytes);
                    length += 1;
                }
                self.socket.write_vectored(&slices[..length])
            }
        }
    }

    fn pass_over_empty(&mut self, rest: &mut &[Part]) {
        while let [part, behind @ ..] = *rest
            && part.bytes.is_empty()
        {
            self.pass(part);
            *rest = behind;
        }
    }

    fn pass(&mut self, part: &Part) {
        (self.epoch, self.next) = (part.epoch, part.next);
    }

    /// Takes in that the socket took so many bytes. A part that it took in half is pending.
    fn account(&mut self, mut taken: usize, rest: &mut &[Part]) {
        if let Some(pending) = &mut self.pending {
            let length = taken.min(pending.rest().len());
            pending.taken += length;
            taken -= length;
            if !pending.rest().is_empty() {
                return;
            }
            self.pending = None;
        }
        while taken > 0
            && let [part, behind @ ..] = *rest
        {
            *rest = behind;
            self.pass(part);
            if taken < part.bytes.len() {
                self.pending = Some(Pending { bytes: part.bytes.clone(), taken });
                return;
            }
            taken -= part.bytes.len();
        }
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

#[cfg(test)]
mod tests;
