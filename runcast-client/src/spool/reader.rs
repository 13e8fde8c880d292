//! Reads a spool in order, a batch at a time.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;
use runcast_event::{Draft, Timestamp};
use serde_json::json;

use super::segment::{decode, line_start, read_at};
use super::store::Spool;

/// How much of a segment is read at once. Any line fits.
const READ_BYTES: usize = 1024 * 1024;

/// Consecutive events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The number of the first.
    pub(crate) first: u64,
    /// Each one line of JSON.
    pub(crate) lines: Vec<Bytes>,
}

impl Batch {
    /// The number after the last.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.lines.len() as u64
    }
}

/// Where a read ended, so that the next need not count lines.
#[derive(Debug)]
struct Mark {
    number: u64,
    segment: u64,
    byte: u64,
}

/// Reads one spool. Rewinding is allowed; reading on is cheap.
#[derive(Debug)]
pub(crate) struct Reader {
    spool: Arc<Spool>,
    mark: Option<Mark>,
}

/// Where an event is.
enum Place {
    Disk { path: PathBuf, first: u64, count: u64, bytes: u64 },
    Memory(Batch),
}

impl Reader {
    /// A reader of `spool`.
    pub(crate) fn new(spool: Arc<Spool>) -> Self {
        Self { spool, mark: None }
    }

    /// Up to `events_max` events (and about 1 MiB), the first of which is `from` or, if that is
    /// lost, the next one that is there. None at the end.
    pub(crate) fn read(&mut self, from: u64, events_max: usize) -> io::Result<Option<Batch>> {
        match self.find(from, events_max) {
            None => Ok(None),
            Some(Place::Memory(batch)) => Ok(Some(batch)),
            Some(Place::Disk { path, first, count, bytes }) => {
                let from = from.max(first);
                let file = File::open(&path)?;
                let start = match &self.mark {
                    Some(mark) if mark.number == from && mark.segment == first => mark.byte,
                    _ => line_start(&file, from - first)?,
                };
                let most = usize::try_from(first + count - from).unwrap_or(usize::MAX);
                let left = usize::try_from(bytes.saturating_sub(start)).unwrap_or(usize::MAX);
                let text = read_whole(&file, start, left.min(READ_BYTES))?;
                let (lines, read) = decode_lines(&text, events_max.min(most));
                if lines.is_empty() {
                    let message = format!("{} is damaged at byte {start}", path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
                let batch = Batch { first: from, lines };
                self.mark =
                    Some(Mark { number: batch.end(), segment: first, byte: start + read as u64 });
                Ok(Some(batch))
            }
        }
    }

    /// The number after the segment that has `number`.
    pub(crate) fn after_segment(&self, number: u64) -> u64 {
        let state = self.spool.lock();
        let segments = state.disk.iter().flat_map(|disk| &disk.segments);
        let found = segments.into_iter().find(|s| s.end() > number && s.count > 0);
        found.map_or(number, super::segment::Segment::end)
    }

    fn find(&self, from: u64, events_max: usize) -> Option<Place> {
        let state = self.spool.lock();
        let segments = state.disk.iter().flat_map(|disk| &disk.segments);
        if let Some(segment) = segments.into_iter().find(|s| s.end() > from && s.count > 0) {
            return Some(Place::Disk {
                path: segment.path.clone(),
                first: segment.first,
                count: segment.count,
                bytes: segment.bytes,
            });
        }
        let memory_first = state.memory_first();
        let first = from.max(memory_first);
        let skip = usize::try_from(first - memory_first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let fits = |line: &&Bytes| {
            let is_first = bytes == 0;
            bytes += line.len();
            is_first || bytes <= READ_BYTES
        };
        let lines: Vec<Bytes> =
            state.memory.iter().skip(skip).take(events_max).take_while(fits).cloned().collect();
        (!lines.is_empty()).then_some(Place::Memory(Batch { first, lines }))
    }
}

fn read_whole(file: &File, start: u64, bytes: usize) -> io::Result<Bytes> {
    let mut text = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        let read = read_at(file, &mut text[filled..], start + filled as u64)?;
        if read == 0 {
            break;
        }
        filled += read;
    }
    text.truncate(filled);
    Ok(text.into())
}

/// The events of whole lines, and how many bytes those took. A damaged line becomes a gap.
fn decode_lines(text: &Bytes, lines_max: usize) -> (Vec<Bytes>, usize) {
    let mut lines = Vec::new();
    let mut at = 0;
    while lines.len() < lines_max
        && let Some(length) = memchr(b'\n', &text[at..])
    {
        let line = &text[at..at + length];
        lines.push(match decode(line) {
            Some(json) => text.slice_ref(json),
            None => damaged(line.len()),
        });
        at += length + 1;
    }
    (lines, at)
}

fn damaged(bytes: usize) -> Bytes {
    let reason = "the event was damaged in the spool";
    let data = json!({ "lost_events": 1, "lost_bytes": bytes, "reason": reason });
    Draft::new("producer.gap", data).at(Timestamp::now()).to_json().into()
}
