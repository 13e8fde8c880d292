//! Events that are stored as one: the newest of them, in which the parts that they differ by stand
//! one behind the other.
//!
//! Knows where the parts are and how long each is, and not what is in them. So any of the events that
//! follow on each other can be given without the others: the same bytes without the others' parts.

use std::ops::Range;

use bytes::Bytes;
use runcast_event::Offset;

use crate::contract::Join;
use crate::embedded::number::Rest;
use crate::embedded::segment::BLOCK_BYTES_MAX;

/// The parts of an event in a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    /// How many there are: at least two.
    pub(crate) count: u64,
    /// Where the first begins in the event.
    pub(crate) start: usize,
    /// How long each is, as varints.
    pub(crate) lengths: &'a [u8],
}

impl Parts<'_> {
    fn lengths(&self) -> impl Iterator<Item = usize> {
        let mut lengths = Rest::new(self.lengths, 0);
        // They were read when the record was decoded.
        std::iter::from_fn(move || usize::try_from(lengths.varint()?).ok())
    }

    /// The event without its oldest `skipped` parts, and with at most `taken` of the others.
    pub(crate) fn cut(&self, event: &[u8], skipped: u64, taken: u64) -> Bytes {
        let (mut front, mut kept, mut back) = (0, 0, 0);
        for (at, length) in (0..self.count).zip(self.lengths()) {
            match at.checked_sub(skipped) {
                None => front += length,
                Some(at) if at < taken => kept += length,
                Some(_) => back += length,
            }
        }
        let front_end = self.start + front;
        let kept_end = front_end + kept;
        let pieces = [&event[..self.start], &event[front_end..kept_end], &event[kept_end + back..]];
        Bytes::from(pieces.concat())
    }
}

/// Where an event is in a record.
#[derive(Debug, Clone)]
pub(crate) struct EventPlace<'a> {
    /// Its offset; of several, the newest one's.
    pub(crate) last: Offset,
    pub(crate) place: Range<usize>,
    /// None if it stands for itself only.
    pub(crate) parts: Option<Parts<'a>>,
}

impl EventPlace<'_> {
    /// How many events it stands for.
    pub(crate) fn count(&self) -> u64 {
        self.parts.as_ref().map_or(1, |parts| parts.count)
    }

    /// The event, of which the record is in a buffer from a position on.
    pub(crate) fn read(&self, buffer: &Bytes) -> StoredEvent {
        let bytes = buffer.slice(self.place.clone());
        let (start, lengths) = match &self.parts {
            None => (0, Vec::new()),
            Some(parts) => (parts.start, parts.lengths().map(|length| length as u32).collect()),
        };
        StoredEvent { last: self.last, bytes, start, lengths }
    }
}

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredEvent {
    /// Its offset; of several, the newest one's.
    pub(crate) last: Offset,
    pub(crate) bytes: Bytes,
    /// Where its parts begin.
    pub(crate) start: usize,
    /// How long each part is; empty if it stands for itself only.
    pub(crate) lengths: Vec<u32>,
}

impl StoredEvent {
    /// An event as it was appended.
    #[cfg(test)]
    pub(crate) fn single(offset: Offset, bytes: Bytes) -> Self {
        Self { last: offset, bytes, start: 0, lengths: Vec::new() }
    }

    /// How many events it stands for.
    pub(crate) fn count(&self) -> u64 {
        self.lengths.len().max(1) as u64
    }

    pub(crate) fn first(&self) -> Offset {
        Offset::new(self.last.get() + 1 - self.count())
    }

    /// What it is of the events from `first` on, of which it has at least one.
    pub(crate) fn from(mut self, first: Offset) -> Self {
        let skipped = first.get().saturating_sub(self.first().get()) as usize;
        if skipped > 0 {
            let front: usize = self.lengths.drain(..skipped).map(|length| length as usize).sum();
            let pieces = [&self.bytes[..self.start], &self.bytes[self.start + front..]];
            self.bytes = Bytes::from(pieces.concat());
            if self.lengths.len() == 1 {
                (self.start, self.lengths) = (0, Vec::new());
            }
        }
        self
    }

    /// Whether its parts can be at a place.
    fn has_parts_at(&self, place: &Range<usize>) -> bool {
        let bytes: usize = self.lengths.iter().map(|length| *length as usize).sum();
        place.start <= place.end
            && place.end <= self.bytes.len()
            && (self.lengths.is_empty() || *place == (self.start..self.start + bytes))
    }

    /// The lengths of its parts, which are at a place.
    fn part_lengths(&self, place: &Range<usize>) -> Vec<u32> {
        if self.lengths.is_empty() { vec![place.len() as u32] } else { self.lengths.clone() }
    }
}

/// Joins the events of one stream as they come.
pub(crate) struct Joining {
    join: Box<dyn Join>,
    open: Option<Open>,
}

/// Events that may be joined with the next.
struct Open {
    newest: StoredEvent,
    /// Where the newest one's part is, if there are others.
    place: Range<usize>,
    parts: Vec<u8>,
    lengths: Vec<u32>,
}

impl Joining {
    pub(crate) fn new(join: Box<dyn Join>) -> Self {
        Self { join, open: None }
    }

    /// Adds the next event; gives those before it if it is not joined with them.
    pub(crate) fn add(&mut self, event: StoredEvent) -> Option<StoredEvent> {
        let Some(open) = &mut self.open else {
            self.open = Some(Open::new(event));
            return None;
        };
        match self.join.join(&open.newest.bytes, &event.bytes) {
            Some((earlier, own)) if open.can_take(&event, &earlier, &own) => {
                open.take(event, &earlier, own);
                None
            }
            _ => self.open.replace(Open::new(event)).map(Open::close),
        }
    }

    /// What has not been given yet.
    pub(crate) fn end(self) -> Option<StoredEvent> {
        self.open.map(Open::close)
    }
}

impl Open {
    fn new(newest: StoredEvent) -> Self {
        Self { newest, place: 0..0, parts: Vec::new(), lengths: Vec::new() }
    }

    fn can_take(&self, next: &StoredEvent, earlier: &Range<usize>, own: &Range<usize>) -> bool {
        let bytes = self.parts.len().max(earlier.len()) + next.bytes.len();
        let lengths = self.newest.lengths.len() + self.lengths.len() + next.lengths.len();
        self.newest.last.next() == next.first()
            && (self.lengths.is_empty() || self.place == *earlier)
            && self.newest.has_parts_at(earlier)
            && next.has_parts_at(own)
            && bytes + lengths <= BLOCK_BYTES_MAX
    }

    fn take(&mut self, next: StoredEvent, earlier: &Range<usize>, own: Range<usize>) {
        if self.lengths.is_empty() {
            self.parts = self.newest.bytes[earlier.clone()].to_vec();
            self.lengths = self.newest.part_lengths(earlier);
        }
        self.parts.extend_from_slice(&next.bytes[own.clone()]);
        self.lengths.extend(next.part_lengths(&own));
        (self.newest, self.place) = (next, own);
    }

    fn close(self) -> StoredEvent {
        let Self { newest, place, parts, lengths } = self;
        if lengths.is_empty() {
            return newest;
        }
        let around = [&newest.bytes[..place.start], &parts, &newest.bytes[place.end..]];
        let bytes = Bytes::from(around.concat());
        StoredEvent { last: newest.last, bytes, start: place.start, lengths }
    }
}

#[cfg(test)]
mod tests;
