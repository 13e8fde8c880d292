//! Reading a file's groups one after the other, through a buffer of bounded size.

use std::io;
use std::sync::Arc;

use crate::embedded::disk::DiskFile;
use crate::embedded::wal::group::{GroupHeader, HEADER_LENGTH, MAGIC};
use crate::embedded::wal::record::{self, Record};

/// How much is read at once; more only for a larger group.
const WINDOW_BYTES: usize = 1024 * 1024;

/// A file, read from the front.
pub(crate) struct Scan {
    file: Arc<dyn DiskFile>,
    length: u64,
    tag: u64,
    /// Where in the file the window begins.
    start: u64,
    window: Vec<u8>,
}

/// What is at a place where a group should begin.
pub(crate) enum Found<'a> {
    /// The file's end, or room up to it.
    End,
    /// A whole group, its length, and the newest group that it knew to be synced.
    Group { length: usize, synced: u64, records: Records<'a> },
    /// Something else.
    Fault(&'static str),
}

/// Records with their places in the body and their lengths.
type Records<'a> = Vec<(usize, (Record<'a>, usize))>;

/// What headers of later groups say.
pub(crate) struct LaterGroups {
    /// The newest group that any of them knew to be synced; none if there are none.
    pub(crate) synced_max: Option<u64>,
}

impl Scan {
    pub(crate) fn new(file: Arc<dyn DiskFile>, tag: u64) -> io::Result<Self> {
        let length = file.length()?;
        Ok(Self { file, length, tag, start: 0, window: Vec::new() })
    }

    /// The file's length in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The bytes from a position, `wanted` of them or as many as there are.
    pub(crate) fn bytes(&mut self, position: u64, wanted: usize) -> io::Result<&[u8]> {
        let there = self.length.saturating_sub(position);
        let wanted = usize::try_from(there).unwrap_or(usize::MAX).min(wanted);
        let end = position + wanted as u64;
        if position < self.start || end > self.start + self.window.len() as u64 {
            let size = usize::try_from(there).unwrap_or(usize::MAX).min(WINDOW_BYTES.max(wanted));
            self.window.resize(size, 0);
            self.file.read_exact_at(&mut self.window, position)?;
            self.start = position;
        }
        let at = (position - self.start) as usize;
        Ok(&self.window[at..at + wanted])
    }

    /// Looks for the group with a number at a position.
    pub(crate) fn group_at(&mut self, position: u64, number: u64) -> io::Result<Found<'_>> {
        let tag = self.tag;
        let head = self.bytes(position, HEADER_LENGTH)?;
        if head.is_empty() {
            return Ok(Found::End);
        }
        let Some(header) = GroupHeader::decode(head, tag) else {
            let is_room = self.is_room(position)?;
            return Ok(if is_room { Found::End } else { Found::Fault("no group's header") });
        };
        if header.number != number {
            return Ok(Found::Fault("another group than the next"));
        }
        let length = header.group_length();
        if position + length as u64 > self.length {
            return Ok(Found::Fault("a group that is cut off"));
        }
        let body = &self.bytes(position, length)?[HEADER_LENGTH..];
        Ok(match records(body, header.records) {
            Ok(records) => Found::Group { length, synced: header.synced, records },
            Err(fault) => Found::Fault(fault),
        })
    }

    /// Whether there are only zeros from a position to the end.
    pub(crate) fn is_room(&mut self, position: u64) -> io::Result<bool> {
        let mut at = position;
        while at < self.length {
            let bytes = self.bytes(at, WINDOW_BYTES)?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }

    /// The header of a group at a position, if there is one.
    pub(crate) fn header_at(&mut self, position: u64) -> io::Result<Option<GroupHeader>> {
        let tag = self.tag;
        Ok(GroupHeader::decode(self.bytes(position, HEADER_LENGTH)?, tag))
    }

    /// Where the next group's header is, from a position on.
    pub(crate) fn next_header(&mut self, position: u64) -> io::Result<Option<u64>> {
        let tag = self.tag;
        let mut at = position;
        while at < self.length {
            let bytes = self.bytes(at, WINDOW_BYTES)?;
            let is_header = |place: &usize| GroupHeader::decode(&bytes[*place..], tag).is_some();
            if let Some(place) = memchr::memmem::find_iter(bytes, MAGIC).find(is_header) {
                return Ok(Some(at + place as u64));
            }
            let step = bytes.len().saturating_sub(HEADER_LENGTH - 1);
            at += step.max(1) as u64;
        }
        Ok(None)
    }

    /// Gives every whole record between two positions, wherever it begins, to `take`.
    pub(crate) fn records_between(
        &mut self,
        mut at: u64,
        end: u64,
        mut take: impl FnMut(u64, &(Record<'_>, usize)),
    ) -> io::Result<()> {
        while at + record::FIXED_LENGTH as u64 <= end {
            let window = self.bytes(at, WINDOW_BYTES)?;
            let zeros = window.iter().take_while(|byte| **byte == 0).count();
            // A checksum and a length may begin with zeros, a kind does not.
            let skipped = zeros.saturating_sub(record::FIXED_LENGTH - 1) as u64;
            if skipped > 0 {
                at += skipped;
                continue;
            }
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let Some(length) = record::length_if_likely(window).filter(|length| *length <= left)
            else {
                at += 1;
                continue;
            };
            match record::decode(self.bytes(at, length)?) {
                Ok(record) => {
                    take(at, &record);
                    at += record.1 as u64;
                }
                Err(_) => at += 1,
            }
        }
        Ok(())
    }

    /// Looks for headers of groups behind the one with `number`, from a position to the end.
    pub(crate) fn later_groups(&mut self, position: u64, number: u64) -> io::Result<LaterGroups> {
        let tag = self.tag;
        let mut synced_max = None;
        let mut at = position;
        while at < self.length {
            let bytes = self.bytes(at, WINDOW_BYTES)?;
            for place in memchr::memmem::find_iter(bytes, MAGIC) {
                match GroupHeader::decode(&bytes[place..], tag) {
                    Some(header) if header.number > number => {
                        synced_max = synced_max.max(Some(header.synced));
                    }
                    _ => {}
                }
            }
            // A header may lie across the window's end.
            let step = bytes.len().saturating_sub(HEADER_LENGTH - 1);
            at += step.max(1) as u64;
        }
        Ok(LaterGroups { synced_max })
    }
}

/// The records of a body, each checked.
fn records(body: &[u8], count: u32) -> Result<Records<'_>, &'static str> {
    let mut records = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let (record, length) = record::decode(&body[at..])?;
        records.push((at, (record, length)));
        at += length;
    }
    let counted = u32::try_from(records.len()) == Ok(count);
    if counted { Ok(records) } else { Err("the number of records is not the header's") }
}
