//! Sorted segments: files that are written once, in which each stream's events lie together.
//!
//! The format is in `docs/log-format.md`. A segment's index is checked when it is opened and stays
//! in memory as the bytes that are in the file: some tens of bytes a stream, found by binary search
//! over the names. Blocks are checked each time that they are read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::embedded::disk::DiskFile;
use crate::embedded::open_files::OpenFiles;

pub(crate) mod entry;
mod filter;
#[cfg(test)]
mod fuzz;
pub(crate) mod header;
pub(crate) mod index;
pub(crate) mod writer;

use header::{SegmentFault, SegmentHeader, TRAILER_LENGTH, Trailer};
use index::SegmentIndex;

/// A block has at most this many bytes of events, unless its one event is larger.
pub(crate) const BLOCK_BYTES_MAX: usize = 64 * 1024;

/// The name of a file by its number.
pub(crate) fn file_name(number: u32) -> String {
    format!("seg-{number:010}.seg")
}

/// The number of a file by its name.
pub(crate) fn file_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("seg-")?.strip_suffix(".seg")?;
    let number = digits.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// A segment that can be read.
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) trailer: Trailer,
    pub(crate) index: SegmentIndex,
    /// Its length in bytes.
    pub(crate) length: u64,
    files: Arc<OpenFiles>,
    /// Something in it cannot be read, so that it is not merged with others.
    is_damaged: AtomicBool,
}

impl Segment {
    /// Reads and checks everything but the blocks.
    pub(crate) fn open(number: u32, files: &Arc<OpenFiles>) -> Result<Arc<Self>, SegmentFault> {
        let (header, trailer, index, length) = Self::read(files.get(number)?.as_ref())?;
        let files = Arc::clone(files);
        let is_damaged = AtomicBool::new(false);
        Ok(Arc::new(Self { header, trailer, index, length, files, is_damaged }))
    }

    /// What stands in a file at its two ends, its index and its length, checked.
    pub(crate) fn read(
        file: &dyn DiskFile,
    ) -> Result<(SegmentHeader, Trailer, SegmentIndex, u64), SegmentFault> {
        let length = file.length()?;
        let mut head = [0; header::LENGTH];
        let there = length.min(header::LENGTH as u64) as usize;
        file.read_exact_at(&mut head[..there], 0)?;
        let header = SegmentHeader::decode(&head)?;
        let blocks_and_index = length.checked_sub((header::LENGTH + TRAILER_LENGTH) as u64);
        let blocks_and_index = blocks_and_index.ok_or(SegmentFault::At(length, "it is cut off"))?;
        let trailer_at = length - TRAILER_LENGTH as u64;
        let mut tail = [0; TRAILER_LENGTH];
        file.read_exact_at(&mut tail, trailer_at)?;
        let trailer = Trailer::decode(&tail)
            .ok_or(SegmentFault::At(trailer_at, "the checksum of its trailer is wrong"))?;
        let index_length = trailer.index_bytes();
        if index_length > blocks_and_index {
            return Err(SegmentFault::At(trailer_at, "its index does not fit into it"));
        }
        let index_at = trailer_at - index_length;
        let mut bytes = vec![0; usize::try_from(index_length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, index_at)?;
        let index = SegmentIndex::check(bytes, &trailer, index_at)
            .map_err(|reason| SegmentFault::At(index_at, reason))?;
        Ok((header, trailer, index, length))
    }

    /// One of which the index was made anew from its blocks.
    pub(crate) fn rebuilt(
        header: SegmentHeader,
        trailer: Trailer,
        index: SegmentIndex,
        length: u64,
        files: &Arc<OpenFiles>,
    ) -> Arc<Self> {
        let (files, is_damaged) = (Arc::clone(files), AtomicBool::new(false));
        Arc::new(Self { header, trailer, index, length, files, is_damaged })
    }

    pub(crate) fn number(&self) -> u32 {
        self.header.number
    }

    /// Its file, opened if it is not.
    pub(crate) fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        self.files.get(self.header.number)
    }

    /// Its file if it is open.
    pub(crate) fn open_file(&self) -> Option<Arc<dyn DiskFile>> {
        self.files.get_open(self.header.number)
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    pub(crate) fn set_damaged(&self) {
        self.is_damaged.store(true, Ordering::Relaxed);
    }
}
