//! What to read for a page: reads from files, each with the extents in it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use runcast_event::{Epoch, Offset};

use crate::contract::{ReadLimit, StreamStat};
use crate::embedded::disk::DiskFile;
use crate::embedded::extent::Extent;
use crate::embedded::segment::{self, Segment};
use crate::embedded::wal;

/// Extents with at most this many bytes of other streams between them are read together.
const READ_GAP_BYTES_MAX: u64 = 2 * 1024;
/// The most bytes that are read in one piece, unless an extent is larger.
const READ_BYTES_MAX: u64 = 256 * 1024;

/// What a plan was made by. Once it is another, what the plan tells of may be gone from the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlanBasis {
    /// Of the set of files.
    pub(crate) generation: u64,
    pub(crate) born: Epoch,
    pub(crate) first: Offset,
}

/// What to read for a page.
pub(crate) struct ReadPlan {
    pub(crate) stat: StreamStat,
    pub(crate) spans: Vec<Span>,
    pub(crate) basis: PlanBasis,
}

/// The reads of a plan as it is made.
pub(crate) struct Spans {
    after: Offset,
    limit: ReadLimit,
    events: usize,
    bytes: usize,
    pub(crate) spans: Vec<Span>,
}

impl Spans {
    pub(crate) fn new(after: Offset, limit: ReadLimit) -> Self {
        Self { after, limit, events: 0, bytes: 0, spans: Vec::new() }
    }

    /// Whether the page is full.
    pub(crate) fn are_enough(&self) -> bool {
        self.events >= self.limit.events_max.max(1) || self.bytes > self.limit.bytes_max
    }

    /// Adds the next extent, of which at least one event is behind `after`.
    pub(crate) fn push(&mut self, source: impl FnOnce() -> Option<Source>, extent: &Extent) {
        // Of an extent that the page begins in the middle of, at least one event counts.
        let begun = extent.first <= self.after.get();
        self.events += if begun { 1 } else { extent.count as usize };
        self.bytes += if begun { 0 } else { extent.events_bytes as usize };
        let Some(source) = source() else { return };
        let joined = self.spans.last_mut().is_some_and(|span| span.join(&source, extent));
        if !joined {
            self.spans.push(Span::new(source, extent));
        }
    }
}

/// Where a span is.
#[derive(Clone)]
pub(crate) enum Source {
    Wal(u32, Arc<dyn DiskFile>),
    Segment(Arc<Segment>),
}

impl Source {
    /// The name of the file.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Wal(number, _) => wal::file_name(*number),
            Self::Segment(segment) => segment::file_name(segment.number()),
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wal(one, _), Self::Wal(other, _)) => one == other,
            (Self::Segment(one), Self::Segment(other)) => one.number() == other.number(),
            _ => false,
        }
    }
}

/// One read from one file.
pub(crate) struct Span {
    pub(crate) source: Source,
    pub(crate) position: u64,
    pub(crate) length: usize,
    pub(crate) extents: Vec<Extent>,
}

impl Span {
    pub(crate) fn new(source: Source, extent: &Extent) -> Self {
        Self {
            source,
            position: extent.position,
            length: extent.length as usize,
            extents: vec![*extent],
        }
    }

    fn join(&mut self, source: &Source, extent: &Extent) -> bool {
        let Some(gap) = extent.position.checked_sub(self.position + self.length as u64) else {
            return false;
        };
        let length = extent.end() - self.position;
        let joins = self.source.is(source) && gap <= READ_GAP_BYTES_MAX && length <= READ_BYTES_MAX;
        if joins {
            self.length = length as usize;
            self.extents.push(*extent);
        }
        joins
    }

    /// Its bytes. Blocks.
    pub(crate) fn read(&self) -> io::Result<Bytes> {
        let mut buffer = vec![0; self.length];
        match &self.source {
            Source::Wal(_, file) => file.read_exact_at(&mut buffer, self.position)?,
            Source::Segment(segment) => {
                segment.file()?.read_exact_at(&mut buffer, self.position)?
            }
        }
        Ok(Bytes::from(buffer))
    }

    /// Lets the disk fetch it while others are fetched and read.
    pub(crate) fn announce(&self) {
        match &self.source {
            Source::Wal(_, file) => file.will_read(self.position, self.length),
            Source::Segment(segment) => {
                if let Ok(file) = segment.file() {
                    file.will_read(self.position, self.length);
                }
            }
        }
    }

    /// Its bytes if the system has them in memory.
    pub(crate) fn read_cached(&self) -> Option<Bytes> {
        let mut buffer = vec![0; self.length];
        let is_read = match &self.source {
            Source::Wal(_, file) => file.read_cached_at(&mut buffer, self.position),
            Source::Segment(segment) => {
                segment.open_file()?.read_cached_at(&mut buffer, self.position)
            }
        };
        is_read.then(|| Bytes::from(buffer))
    }
}
