//! A segment's index: an entry for each stream, sorted by name, as the bytes that are in the file.

use std::cmp::Ordering;

use crate::embedded::number::u32_at;
use crate::embedded::segment::entry::{Blocks, StoredEntry, name_at};
use crate::embedded::segment::filter::Filter;
use crate::embedded::segment::header::{self, PLACE_LENGTH, Trailer};
use crate::stream::{Phase, Stream};

pub(crate) use crate::embedded::segment::filter::NameHash;

/// An index that was checked: what is in it can be read.
#[derive(Debug)]
pub(crate) struct SegmentIndex {
    /// The entries, then their places.
    bytes: Box<[u8]>,
    entries_bytes: usize,
    filter: Filter,
    /// Entries of streams that were deleted.
    pub(crate) tombstones: usize,
}

impl SegmentIndex {
    /// Checks an index of which the blocks end at `blocks_end`.
    pub(crate) fn check(
        bytes: Vec<u8>,
        trailer: &Trailer,
        blocks_end: u64,
    ) -> Result<Self, &'static str> {
        if bytes.len() as u64 != trailer.index_bytes() {
            return Err("its index is cut off");
        }
        if crc32c::crc32c(&bytes) != trailer.checksum {
            return Err("the checksum of its index is wrong");
        }
        let entries_bytes = trailer.entries_bytes as usize;
        let filter = Filter::new(trailer.entries as usize);
        let mut index = Self { bytes: bytes.into(), entries_bytes, filter, tombstones: 0 };
        let (mut end, mut events, mut tombstones, mut before) = (0, 0, 0, None);
        let mut filter = Filter::new(trailer.entries as usize);
        for at in 0..index.len() {
            if index.place(at) != end {
                return Err("an entry of its index is at another place than the next");
            }
            let entry = index.stored(at).ok_or("an entry of its index cannot be read")?;
            let whole = entry.read().filter(|_| entry.run().is_some());
            let (_, blocks, entry_end) = whole.ok_or("an entry of its index cannot be read")?;
            if before.is_some_and(|before| before >= entry.name) {
                return Err("its index is not sorted");
            }
            if let Some(base) = &entry.base
                && (base.position < header::LENGTH as u64 || base.end() > blocks_end)
            {
                return Err("its index tells of blocks that do not fit into it");
            }
            for block in blocks {
                let block_end = block.position + u64::from(block.length);
                if block.position < header::LENGTH as u64 || block_end > blocks_end {
                    return Err("its index tells of blocks that do not fit into it");
                }
                events += u64::from(block.count);
            }
            filter.add(NameHash::of(entry.name));
            tombstones += usize::from(entry.phase == Phase::Deleted);
            before = Some(entry.name);
            end = entry_end;
        }
        if end != entries_bytes || events != trailer.events {
            return Err("its index is not what its trailer says");
        }
        (index.filter, index.tombstones) = (filter, tombstones);
        Ok(index)
    }

    /// How many streams it has.
    pub(crate) fn len(&self) -> usize {
        (self.bytes.len() - self.entries_bytes) / PLACE_LENGTH
    }

    /// Bytes that it takes of the memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() + self.filter.bytes()
    }

    fn place(&self, at: usize) -> usize {
        u32_at(&self.bytes, self.entries_bytes + at * PLACE_LENGTH) as usize
    }

    fn stored(&self, at: usize) -> Option<StoredEntry<'_>> {
        StoredEntry::decode(&self.bytes[..self.entries_bytes], self.place(at))
    }

    /// The entry with a number that is below [`Self::len`].
    pub(crate) fn entry(&self, at: usize) -> StoredEntry<'_> {
        self.stored(at).expect("every entry was checked when the segment was opened")
    }

    /// The stream of an entry and its blocks.
    pub(crate) fn read(entry: StoredEntry<'_>) -> (Stream, Blocks<'_>) {
        let read = entry.read().expect("every entry was checked when the segment was opened");
        (read.0, read.1)
    }

    fn name(&self, at: usize) -> &[u8] {
        name_at(&self.bytes, self.place(at))
            .expect("every entry was checked when the segment was opened")
    }

    /// The entry of a name.
    pub(crate) fn find(&self, name: &str, hash: NameHash) -> Option<usize> {
        if !self.filter.may_have(hash) {
            return None;
        }
        let at = self.first_from(name);
        (at < self.len() && self.name(at) == name.as_bytes()).then_some(at)
    }

    /// The first entry whose name is not before `name`.
    pub(crate) fn first_from(&self, name: &str) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.name(middle).cmp(name.as_bytes()) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal | Ordering::Greater => high = middle,
            }
        }
        low
    }
}
