//! What stands at a segment's two ends.

use std::io;

use crate::embedded::number::{u32_at, u64_at};
use crate::embedded::wal::FORMAT_VERSION;

/// Length of the header in bytes.
pub(crate) const LENGTH: usize = 64;
const MAGIC: &[u8; 8] = b"RUNCASTS";
/// Length of the trailer in bytes.
pub(crate) const TRAILER_LENGTH: usize = 64;
const TRAILER_MAGIC: &[u8; 8] = b"SEGINDEX";
/// What an entry has in the table of places.
pub(crate) const PLACE_LENGTH: usize = 4;

/// Which segment it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// How often what is in it was merged.
    pub(crate) level: u32,
    pub(crate) log_id: [u8; 16],
    pub(crate) number: u32,
}

/// Where the index is, and what the segment tells of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// Bytes of the index's entries.
    pub(crate) entries_bytes: u32,
    /// How many entries there are.
    pub(crate) entries: u32,
    /// Of the entries and their places.
    pub(crate) checksum: u32,
    /// How many new epochs had begun for all streams when they stood as the index says.
    pub(crate) epochs_begun: u32,
    /// Events in the blocks.
    pub(crate) events: u64,
}

/// Why a segment cannot be opened.
#[derive(Debug)]
pub(crate) enum SegmentFault {
    Foreign,
    Newer(u32),
    /// What is wrong, from which byte on.
    At(u64, &'static str),
    Io(io::Error),
}

impl From<io::Error> for SegmentFault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.level.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.log_id);
        bytes[32..36].copy_from_slice(&self.number.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; LENGTH]) -> Result<Self, SegmentFault> {
        if &bytes[..8] != MAGIC {
            return Err(SegmentFault::Foreign);
        }
        // A newer format may have its checksum elsewhere, so the version comes first.
        let version = u32_at(bytes, 8);
        if version > FORMAT_VERSION {
            return Err(SegmentFault::Newer(version));
        }
        if crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(SegmentFault::At(0, "the checksum of its header is wrong"));
        }
        let mut log_id = [0; 16];
        log_id.copy_from_slice(&bytes[16..32]);
        Ok(Self { level: u32_at(bytes, 12), log_id, number: u32_at(bytes, 32) })
    }
}

impl Trailer {
    pub(crate) fn encode(&self) -> [u8; TRAILER_LENGTH] {
        let mut bytes = [0; TRAILER_LENGTH];
        bytes[..8].copy_from_slice(TRAILER_MAGIC);
        bytes[8..12].copy_from_slice(&self.entries_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.entries.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.epochs_begun.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.events.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; TRAILER_LENGTH]) -> Option<Self> {
        if &bytes[..8] != TRAILER_MAGIC || crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return None;
        }
        Some(Self {
            entries_bytes: u32_at(bytes, 8),
            entries: u32_at(bytes, 12),
            checksum: u32_at(bytes, 16),
            epochs_begun: u32_at(bytes, 20),
            events: u64_at(bytes, 24),
        })
    }

    /// Bytes of the whole index: entries and their places.
    pub(crate) fn index_bytes(&self) -> u64 {
        u64::from(self.entries_bytes) + u64::from(self.entries) * PLACE_LENGTH as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_read_back_and_any_other_byte_is_noticed() {
        let header = SegmentHeader { level: 3, log_id: *b"0123456789abcdef", number: 7 };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes).unwrap(), header);
        let trailer =
            Trailer { entries_bytes: 1, entries: 2, checksum: 3, epochs_begun: 5, events: 4 };
        let trailer_bytes = trailer.encode();
        assert_eq!(Trailer::decode(&trailer_bytes), Some(trailer));
        for at in 0..LENGTH {
            let (mut other, mut other_trailer) = (bytes, trailer_bytes);
            other[at] ^= 1;
            other_trailer[at] ^= 1;
            assert!(SegmentHeader::decode(&other).is_err(), "byte {at}");
            assert!(Trailer::decode(&other_trailer).is_none(), "byte {at}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_a_damaged_one() {
        let mut bytes = SegmentHeader { level: 0, log_id: [1; 16], number: 1 }.encode();
        bytes[8] = FORMAT_VERSION as u8 + 1;
        let newer = SegmentHeader::decode(&bytes);
        assert!(matches!(newer, Err(SegmentFault::Newer(n)) if n == FORMAT_VERSION + 1));
        bytes[0] = b'X';
        assert!(matches!(SegmentHeader::decode(&bytes), Err(SegmentFault::Foreign)));
    }
}
