//! What a socket has not taken yet: at most one piece of bytes. Its readers stand behind it, each with
//! a cursor.

use std::io::{self, IoSlice, Write};

use bytes::{Buf as _, Bytes, BytesMut};
use runcast_event::{Cursor, Epoch, Offset};

use super::wave::Part;

/// Pieces in one write.
const SLICES_MAX: usize = 64;

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
    /// The socket is full. What it did not take must be offered again, from the reader's cursor on.
    Full,
    /// The socket is full, and the rest is less than the last part: it is kept.
    Kept,
}

/// What a socket took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) progress: Progress,
    pub(super) bytes: usize,
    /// Parts of which it took something.
    pub(super) parts: usize,
}

/// Where a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) epoch: Epoch,
    /// The next event that the reader gets; what is pending comes before.
    pub(super) next: Offset,
}

impl Place {
    pub(super) const START: Self = Self { epoch: Epoch::FIRST, next: Offset::START };

    /// The cursor of a client that has got everything up to here.
    pub(super) const fn cursor(self) -> Cursor {
        Cursor::new(self.epoch, Offset::new(self.next.get().saturating_sub(1)))
    }
}

#[derive(Default)]
pub(super) struct Outbox {
    pending: Option<Pending>,
}

impl Outbox {
    /// Puts bytes before everything that is sent from now on; what is pending stays before them.
    pub(super) fn say(&mut self, bytes: Bytes) {
        let bytes = match self.pending.take() {
            Some(Pending { bytes: mut rest, taken }) => {
                rest.advance(taken);
                // Many short things that are said one after the other are not copied each time.
                let shared = |shared: Bytes| BytesMut::from(&*shared);
                let mut all = rest.try_into_mut().unwrap_or_else(shared);
                all.extend_from_slice(&bytes);
                all.freeze()
            }
            None => bytes,
        };
        self.pending = Some(Pending { bytes, taken: 0 });
    }

    /// Bytes that are pending.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| pending.rest().len())
    }

    /// Writes what is pending and then a reader's parts, as much as the socket takes, and moves the
    /// reader.
    pub(super) fn send(
        &mut self,
        sink: &mut impl Write,
        parts: &[Part],
        place: &mut Place,
    ) -> io::Result<Taken> {
        let mut rest = parts;
        let mut bytes = 0;
        let progress = loop {
            pass_over_empty(&mut rest, place);
            if self.pending.is_none() && rest.is_empty() {
                break Progress::Sent;
            }
            match self.write(sink, rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    bytes += taken;
                    self.account(taken, &mut rest, place);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    break if rest.is_empty() { Progress::Kept } else { Progress::Full };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        let begun = &parts[..parts.len() - rest.len()];
        let parts = begun.iter().filter(|part| !part.bytes.is_empty()).count();
        Ok(Taken { progress, bytes, parts })
    }

    fn write(&self, sink: &mut impl Write, parts: &[Part]) -> io::Result<usize> {
        match (&self.pending, parts) {
            (None, [part]) => sink.write(&part.bytes),
            (Some(pending), []) => sink.write(pending.rest()),
            (pending, parts) => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let pending = pending.iter().map(Pending::rest);
                let all = pending.chain(parts.iter().map(|part| &*part.bytes));
                let mut length = 0;
                for (slice, bytes) in slices.iter_mut().zip(all) {
                    *slice = IoSlice::new(bytes);
                    length += 1;
                }
                sink.write_vectored(&slices[..length])
            }
        }
    }

    /// Takes in that the socket took so many bytes. A part that it took in half is pending.
    fn account(&mut self, mut taken: usize, rest: &mut &[Part], place: &mut Place) {
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
            *place = part.behind;
            if taken < part.bytes.len() {
                self.pending = Some(Pending { bytes: part.bytes.clone(), taken });
                return;
            }
            taken -= part.bytes.len();
        }
    }
}

fn pass_over_empty(rest: &mut &[Part], place: &mut Place) {
    while let [part, behind @ ..] = *rest
        && part.bytes.is_empty()
    {
        *place = part.behind;
        *rest = behind;
    }
}

#[cfg(test)]
mod tests;
