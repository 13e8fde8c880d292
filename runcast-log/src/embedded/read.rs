//! Reading a page from the files.
//!
//! Each record's checksum is verified on every read: a wrong byte gives an error that names its
//! place and the events that cannot be read, never a wrong event. A page ends before such events, and
//! the next one begins with the error. Events are slices of what was read, not copies.

use std::io;

use bytes::Bytes;
use runcast_event::{Offset, RunId};

use crate::contract::{Page, ReadError, ReadLimit, Record, StreamStat};
use crate::embedded::extent::Extent;
use crate::embedded::joined::EventPlace;
use crate::embedded::plan::{ReadPlan, Span};
use crate::embedded::walk::walk;

/// A page of at most this many bytes is read at once, without another thread, if the system has
/// the bytes in memory.
pub(crate) const AT_ONCE_BYTES_MAX: usize = 256 * 1024;

/// What a page is read for.
pub(crate) struct PageRead {
    pub(crate) run: RunId,
    pub(crate) after: Offset,
    pub(crate) limit: ReadLimit,
    pub(crate) plan: ReadPlan,
    /// What marks the log's groups.
    pub(crate) tag: u64,
}

impl PageRead {
    /// The page, if it is small and the system has it in memory.
    pub(crate) fn at_once(&self) -> Option<Taken> {
        let length: usize = self.plan.spans.iter().map(|span| span.length).sum();
        if length > AT_ONCE_BYTES_MAX {
            return None;
        }
        let buffers: Option<Vec<Bytes>> = self.plan.spans.iter().map(Span::read_cached).collect();
        let mut records = Collector::new(self);
        let taken = self.plan.spans.iter().zip(buffers?).try_for_each(|(span, bytes)| {
            span.extents.iter().try_for_each(|extent| records.take_extent(span, extent, &bytes))
        });
        Some(self.page(records, taken))
    }

    /// The page. Blocks.
    pub(crate) fn blocking(&self) -> Taken {
        if self.plan.spans.len() > 1 {
            self.plan.spans.iter().for_each(Span::announce);
        }
        let mut records = Collector::new(self);
        let taken = self.plan.spans.iter().try_for_each(|span| records.take_span(span));
        self.page(records, taken)
    }

    fn page(&self, collected: Collector<'_>, taken: Result<(), ReadError>) -> Taken {
        let stat = self.plan.stat.clone();
        let nothing = collected.records.is_empty().then(|| missing(self.after, &stat)).flatten();
        let page = Page { records: collected.records, stat };
        Taken { page, fault: taken.err().or(nothing) }
    }
}

/// What was read.
pub(crate) struct Taken {
    page: Page,
    /// Why it is not all.
    pub(crate) fault: Option<ReadError>,
}

impl Taken {
    /// What a plan gives that has nothing to read.
    pub(crate) fn nothing(stat: StreamStat, after: Offset) -> Self {
        let fault = missing(after, &stat);
        Self { page: Page { records: Vec::new(), stat }, fault }
    }

    /// What cannot be read, for a reason that has nothing to do with what is stored.
    pub(crate) fn failed(stat: StreamStat, reason: String) -> Self {
        let page = Page { records: Vec::new(), stat };
        Self { page, fault: Some(ReadError::Failed { reason }) }
    }

    /// The page as a reader gets it: up to what is damaged, and then an error.
    pub(crate) fn into_page(self) -> Result<Page, ReadError> {
        match self.fault {
            None => Ok(self.page),
            Some(ReadError::Damaged { .. }) if !self.page.records.is_empty() => Ok(self.page),
            Some(fault) => Err(fault),
        }
    }
}

/// Why there is nothing behind an event that is not the last one.
fn missing(after: Offset, stat: &StreamStat) -> Option<ReadError> {
    let reason = "the index has no place for these events".to_owned();
    (after < stat.last).then(|| ReadError::Damaged { first: after.next(), last: stat.last, reason })
}

/// Whether what the system says is about what is stored.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    let medium = rustix::io::Errno::IO.raw_os_error();
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(medium)
}

/// The records of a page as they come.
struct Collector<'a> {
    read: &'a PageRead,
    /// The offset of the next event that is wanted.
    next: u64,
    events: u64,
    events_max: u64,
    bytes: usize,
    records: Vec<Record>,
    full: bool,
}

impl<'a> Collector<'a> {
    fn new(read: &'a PageRead) -> Self {
        let next = read.after.get().saturating_add(1);
        let events_max = read.limit.events_max.max(1) as u64;
        Self { read, next, events: 0, events_max, bytes: 0, records: Vec::new(), full: false }
    }

    /// Reads a span and takes its events.
    fn take_span(&mut self, span: &Span) -> Result<(), ReadError> {
        if self.full {
            return Ok(());
        }
        match span.read() {
            Ok(bytes) => {
                span.extents.iter().try_for_each(|extent| self.take_extent(span, extent, &bytes))
            }
            // One by one, so that only what cannot be read is lost.
            Err(_) if span.extents.len() > 1 => span
                .extents
                .iter()
                .try_for_each(|extent| self.take_span(&Span::new(span.source.clone(), extent))),
            Err(error) if is_damage(&error) => {
                Err(self.damaged(span, &span.extents[0], span.position, &error.to_string()))
            }
            Err(error) => {
                let reason = format!("{}: {error}", span.source.name());
                Err(ReadError::Failed { reason })
            }
        }
    }

    /// Takes one extent's events. Between its records there may be groups' headers.
    fn take_extent(
        &mut self,
        span: &Span,
        extent: &Extent,
        bytes: &Bytes,
    ) -> Result<(), ReadError> {
        if self.full {
            return Ok(());
        }
        if extent.first > self.next {
            let missing = Extent { count: (extent.first - self.next) as u32, ..*extent };
            let missing = Extent { first: self.next, ..missing };
            let reason = "the index has no place for events before these";
            return Err(self.damaged(span, &missing, extent.position, reason));
        }
        let start = (extent.position - span.position) as usize;
        let slice = &bytes[start..start + extent.length as usize];
        let (run, tag) = (self.read.run.as_str(), self.read.tag);
        let walked = walk(slice, extent, run, tag, |mut event| {
            event.place = start + event.place.start..start + event.place.end;
            self.take(&event, bytes);
            !self.full
        });
        walked.map_err(|fault| {
            let position = extent.position + fault.at as u64;
            self.damaged(span, extent, position, fault.reason)
        })
    }

    fn take(&mut self, event: &EventPlace<'_>, buffer: &Bytes) {
        let last = event.last.get();
        if last < self.next || self.full {
            return;
        }
        let bytes = buffer.slice(event.place.clone());
        // Of several events that are stored as one, those that are wanted and fit.
        let (wanted, room) = (last - self.next + 1, self.events_max - self.events);
        let skipped = event.count().saturating_sub(wanted);
        let count = (event.count() - skipped).min(room);
        let payload = match &event.parts {
            Some(parts) if count < event.count() => parts.cut(&bytes, skipped, count),
            _ => bytes,
        };
        self.bytes += payload.len();
        if self.bytes > self.read.limit.bytes_max && !self.records.is_empty() {
            self.full = true;
            return;
        }
        let offset = Offset::new(last + 1 - event.count() + skipped + count - 1);
        self.records.push(Record { offset, count, payload });
        self.next = offset.get() + 1;
        self.events += count;
        self.full = self.events == self.events_max;
    }

    /// What is behind the events that were taken, up to the extent's end, cannot be read.
    fn damaged(&self, span: &Span, extent: &Extent, position: u64, reason: &str) -> ReadError {
        ReadError::Damaged {
            first: Offset::new(self.next.max(extent.first)),
            last: Offset::new(extent.last()),
            reason: format!("{}, byte {position}: {reason}", span.source.name()),
        }
    }
}
