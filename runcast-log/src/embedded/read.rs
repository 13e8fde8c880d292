//! Reading a page from the files.
//!
//! Each record's checksum is verified on every read: a wrong byte gives an error that names its
//! place, never a wrong event. Events are slices of what was read, not copies.

use bytes::Bytes;
use runcast_event::{Offset, RunId};

use crate::contract::{Page, ReadError, ReadLimit, Record};
use crate::embedded::index::{Extent, ReadPlan, Span};
use crate::embedded::wal::file_name;
use crate::embedded::wal::group::GroupHeader;
use crate::embedded::wal::record;

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
    pub(crate) fn at_once(&self) -> Option<Result<Page, ReadError>> {
        let length: usize = self.plan.spans.iter().map(|span| span.length).sum();
        if length > AT_ONCE_BYTES_MAX {
            return None;
        }
        let mut buffers = Vec::with_capacity(self.plan.spans.len());
        for span in &self.plan.spans {
            let mut buffer = vec![0; span.length];
            if !span.file.read_cached_at(&mut buffer, span.position) {
                return None;
            }
            buffers.push(Bytes::from(buffer));
        }
        Some(self.page(|at| Ok(buffers[at].clone())))
    }

    /// The page. Blocks.
    pub(crate) fn blocking(&self) -> Result<Page, ReadError> {
        self.page(|at| {
            let span = &self.plan.spans[at];
            let mut buffer = vec![0; span.length];
            match span.file.read_exact_at(&mut buffer, span.position) {
                Ok(()) => Ok(Bytes::from(buffer)),
                Err(error) => Err(failed(span, span.position, &error.to_string())),
            }
        })
    }

    fn page(&self, load: impl Fn(usize) -> Result<Bytes, ReadError>) -> Result<Page, ReadError> {
        let mut records = Collector::new(self.after, self.limit);
        for (at, span) in self.plan.spans.iter().enumerate() {
            if records.full {
                break;
            }
            let bytes = load(at)?;
            for extent in &span.extents {
                self.collect(span, extent, &bytes, &mut records)?;
            }
        }
        Ok(Page { records: records.records, stat: self.plan.stat.clone() })
    }

    /// Takes one extent's events. Between its records there may be groups' headers.
    fn collect(
        &self,
        span: &Span,
        extent: &Extent,
        bytes: &Bytes,
        records: &mut Collector,
    ) -> Result<(), ReadError> {
        let start = (extent.position - span.position) as usize;
        let end = start + extent.length as usize;
        let fail = |at: usize, reason: &str| failed(span, span.position + at as u64, reason);
        let mut at = start;
        let mut next = extent.first;
        while at < end && !records.full {
            let rest = &bytes[at..end];
            if GroupHeader::decode(rest, self.tag).is_some() {
                at += crate::embedded::wal::group::HEADER_LENGTH;
                continue;
            }
            let (record, length) = record::decode(rest).map_err(|reason| fail(at, reason))?;
            match record {
                record::Record::Append(append) if append.run == self.run.as_str() => {
                    if append.first.get() != next {
                        return Err(fail(at, "another event is there than the index says"));
                    }
                    next += append.count;
                    for (offset, place) in append.events() {
                        records.take(offset, bytes, at + place.start..at + place.end);
                    }
                }
                _ => {}
            }
            at += length;
        }
        if !records.full && next != extent.first + u64::from(extent.count) {
            return Err(fail(start, "fewer events are there than the index says"));
        }
        Ok(())
    }
}

fn failed(span: &Span, position: u64, reason: &str) -> ReadError {
    let name = file_name(span.file_number);
    ReadError::Failed { reason: format!("{name}, byte {position}: {reason}") }
}

/// The records of a page as they come.
struct Collector {
    after: Offset,
    limit: ReadLimit,
    bytes: usize,
    records: Vec<Record>,
    full: bool,
}

impl Collector {
    fn new(after: Offset, limit: ReadLimit) -> Self {
        Self { after, limit, bytes: 0, records: Vec::new(), full: false }
    }

    fn take(&mut self, offset: Offset, buffer: &Bytes, place: std::ops::Range<usize>) {
        if offset <= self.after || self.full {
            return;
        }
        self.bytes += place.len();
        if self.bytes > self.limit.bytes_max && !self.records.is_empty() {
            self.full = true;
            return;
        }
        self.records.push(Record { offset, payload: buffer.slice(place) });
        self.full = self.records.len() >= self.limit.events_max.max(1);
    }
}
