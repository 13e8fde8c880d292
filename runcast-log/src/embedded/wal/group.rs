//! A group: what goes to the disk in one write, whole or not at all.

use crate::embedded::number::{u32_at, u64_at};
use crate::embedded::wal::record::{self, Note};

/// Length of a group's header in bytes.
pub(crate) const HEADER_LENGTH: usize = 44;
/// How each group begins.
pub(crate) const MAGIC: &[u8; 4] = b"GRUP";
/// A buffer that grew past this for one large group is let go of behind it.
const BUFFER_BYTES_KEPT: usize = 16 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub(crate) number: u64,
    /// The newest group known to be synced when this one was written.
    pub(crate) synced: u64,
    pub(crate) relaxed: bool,
    pub(crate) body_length: u32,
    pub(crate) records: u32,
}

impl GroupHeader {
    fn encode(&self, tag: u64) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4] = u8::from(self.relaxed);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.synced.to_le_bytes());
        bytes[24..32].copy_from_slice(&tag.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.body_length.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.records.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..40]);
        bytes[40..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header at the front of `bytes`, if it is one of the log with this tag.
    pub(crate) fn decode(bytes: &[u8], tag: u64) -> Option<Self> {
        let bytes = bytes.get(..HEADER_LENGTH)?;
        let whole = &bytes[..4] == MAGIC
            && u64_at(bytes, 24) == tag
            && crc32c::crc32c(&bytes[..40]) == u32_at(bytes, 40);
        whole.then(|| Self {
            number: u64_at(bytes, 8),
            synced: u64_at(bytes, 16),
            relaxed: bytes[4] & 1 != 0,
            body_length: u32_at(bytes, 32),
            records: u32_at(bytes, 36),
        })
    }

    /// The length of the group in bytes.
    pub(crate) fn group_length(&self) -> usize {
        HEADER_LENGTH + self.body_length as usize
    }
}

/// A group in the making. Used again for each group, so that nothing is allocated an event.
#[derive(Debug, Default)]
pub(crate) struct GroupBuffer {
    bytes: Vec<u8>,
    records: u32,
}

impl GroupBuffer {
    /// Begins a new group.
    pub(crate) fn clear(&mut self) {
        if self.bytes.capacity() > BUFFER_BYTES_KEPT {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.bytes.resize(HEADER_LENGTH, 0);
        self.records = 0;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Adds a record and says where in the group it is, and its length.
    pub(crate) fn push_append(&mut self, append: &record::NewAppend<'_>) -> (usize, usize) {
        let start = self.bytes.len();
        append.encode(&mut self.bytes);
        self.records += 1;
        (start, self.bytes.len() - start)
    }

    /// As [`Self::push_append`].
    pub(crate) fn push_note(&mut self, note: &Note<'_>) -> (usize, usize) {
        let start = self.bytes.len();
        note.encode(&mut self.bytes);
        self.records += 1;
        (start, self.bytes.len() - start)
    }

    /// Puts the header in front and gives the whole group.
    pub(crate) fn finish(&mut self, number: u64, synced: u64, relaxed: bool, tag: u64) -> &[u8] {
        let body = self.bytes.len() - HEADER_LENGTH;
        let body_length = u32::try_from(body).expect("a group's bytes are bounded far below 4 GiB");
        let header = GroupHeader { number, synced, relaxed, body_length, records: self.records };
        self.bytes[..HEADER_LENGTH].copy_from_slice(&header.encode(tag));
        &self.bytes
    }
}
