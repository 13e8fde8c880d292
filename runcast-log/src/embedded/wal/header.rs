//! The header of a write-ahead log file.

use crate::embedded::number::{u32_at, u64_at};
use crate::embedded::wal::FORMAT_VERSION;

/// Its length in bytes.
pub(crate) const LENGTH: usize = 64;
const MAGIC: &[u8; 8] = b"RUNCASTW";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    /// The format of what is in the file.
    pub(crate) version: u32,
    pub(crate) log_id: [u8; 16],
    pub(crate) number: u32,
    pub(crate) first_group: u64,
}

/// Why bytes are not a file header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Foreign,
    Newer(u32),
    Checksum,
}

impl FileHeader {
    pub(crate) fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.log_id);
        bytes[32..40].copy_from_slice(&u64::from(self.number).to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_group.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; LENGTH]) -> Result<Self, HeaderFault> {
        if &bytes[..8] != MAGIC {
            return Err(HeaderFault::Foreign);
        }
        // A newer format may have its checksum elsewhere, so the version comes first.
        let version = u32_at(bytes, 8);
        if version > FORMAT_VERSION {
            return Err(HeaderFault::Newer(version));
        }
        let number = u32::try_from(u64_at(bytes, 32));
        match number {
            Ok(number) if crc32c::crc32c(&bytes[..60]) == u32_at(bytes, 60) => {
                let mut log_id = [0; 16];
                log_id.copy_from_slice(&bytes[16..32]);
                Ok(Self { version, log_id, number, first_group: u64_at(bytes, 40) })
            }
            _ => Err(HeaderFault::Checksum),
        }
    }

    /// What marks each group of the log as its own.
    pub(crate) fn tag(&self) -> u64 {
        u64_at(&self.log_id, 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_any_other_byte_is_noticed() {
        let header = FileHeader {
            version: FORMAT_VERSION,
            log_id: *b"0123456789abcdef",
            number: 7,
            first_group: 99,
        };
        let bytes = header.encode();
        assert_eq!(FileHeader::decode(&bytes), Ok(header));
        for at in 0..LENGTH {
            let mut other = bytes;
            other[at] ^= 1;
            assert!(FileHeader::decode(&other).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_a_damaged_one() {
        let header = FileHeader { version: 1, log_id: [1; 16], number: 1, first_group: 1 };
        let mut bytes = header.encode();
        bytes[8] = FORMAT_VERSION as u8 + 1;
        assert_eq!(FileHeader::decode(&bytes), Err(HeaderFault::Newer(FORMAT_VERSION + 1)));
        bytes[0] = b'X';
        assert_eq!(FileHeader::decode(&bytes), Err(HeaderFault::Foreign));
    }
}
