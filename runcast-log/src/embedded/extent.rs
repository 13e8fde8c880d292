//! A place in a file with events of one stream, in order.

use crate::embedded::wal::group;
use crate::embedded::wal::record::StoredAppend;

/// Neighbouring appends of one stream are one extent up to this many bytes: a reader reads at least
/// one extent.
pub(crate) const EXTENT_BYTES_MAX: u32 = 64 * 1024;

/// A place in a write-ahead log, or a block of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) first: u64,
    pub(crate) position: u64,
    pub(crate) count: u32,
    /// The number of the write-ahead log; 0 in a segment.
    pub(crate) file: u32,
    pub(crate) length: u32,
    /// Bytes of the events themselves. Of a block, possibly less than there are.
    pub(crate) events_bytes: u32,
}

impl Extent {
    /// An append's record with its length, in a segment.
    pub(crate) fn block(append: &StoredAppend<'_>, position: u64, length: usize) -> Self {
        Self {
            first: append.first.get(),
            position,
            count: append.count as u32,
            file: 0,
            length: length as u32,
            events_bytes: append.events_bytes as u32,
        }
    }

    pub(crate) fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    /// The position behind it.
    pub(crate) fn end(&self) -> u64 {
        self.position + u64::from(self.length)
    }

    /// Takes the next extent in, if it is right behind, at most a group's header away.
    pub(crate) fn join(&mut self, next: &Self) -> bool {
        let Some(gap) = next.position.checked_sub(self.end()) else { return false };
        let length = next.position + u64::from(next.length) - self.position;
        let joins = self.file == next.file
            && next.first == self.last() + 1
            && (gap == 0 || gap == group::HEADER_LENGTH as u64)
            && length <= u64::from(EXTENT_BYTES_MAX);
        if joins {
            self.length += gap as u32 + next.length;
            self.count += next.count;
            self.events_bytes += next.events_bytes;
        }
        joins
    }
}
