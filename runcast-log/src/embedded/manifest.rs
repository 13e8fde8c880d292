//! The manifest: which files make up the log, and what the write-ahead logs that are gone have said.
//!
//! One small file that is replaced as a whole by a rename, so that after a crash either the old set
//! of files counts or the new one. A log that never sealed anything has none. The format is in
//! `docs/log-format.md`.

use std::io;
use std::path::Path;

use runcast_event::Epoch;

use crate::embedded::disk::Disk;
use crate::embedded::number::{Rest, u32_at, u64_at};
use crate::embedded::wal::FORMAT_VERSION;

#[cfg(test)]
mod fuzz;

/// Its name in the directory.
pub(crate) const NAME: &str = "manifest";
/// A manifest that is being written.
pub(crate) const NEW_NAME: &str = "manifest.new";
const MAGIC: &[u8; 8] = b"RUNCASTM";
/// What stands before the boot id.
const FIXED_LENGTH: usize = 80;
const SEGMENT_LENGTH: usize = 24;
const CHECKSUM_LENGTH: usize = 4;
/// A larger file is none of ours: far more segments than a disk has place for.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

const FLAG_RELAXED: u32 = 1;
const FLAG_CLEAN: u32 = 2;

/// How the process that had the log last left it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LastSession {
    pub(crate) boot_id: String,
    pub(crate) relaxed: bool,
    pub(crate) clean: bool,
}

/// A segment that is part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListedSegment {
    pub(crate) number: u32,
    pub(crate) level: u32,
    pub(crate) length: u64,
    /// Bytes of it that are holes: events that were given up.
    pub(crate) erased: u64,
}

/// What a manifest says. All but the segments is as of the end of the last write-ahead log that is
/// sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) log_id: [u8; 16],
    /// The oldest write-ahead log that is not sealed.
    pub(crate) wal_first: u32,
    /// The number of the first group in it.
    pub(crate) next_group: u64,
    /// The number of the next segment that is made.
    pub(crate) next_segment: u32,
    /// The epoch of a name that no segment knows.
    pub(crate) first_epoch: Epoch,
    /// How many new epochs have begun for all streams.
    pub(crate) epochs_begun: u32,
    /// Streams that are not deleted, without the feed.
    pub(crate) streams: u64,
    /// Events that they keep.
    pub(crate) events: u64,
    pub(crate) session: LastSession,
    /// The older before the newer.
    pub(crate) segments: Vec<ListedSegment>,
}

/// Why bytes are not a manifest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ManifestFault {
    Foreign,
    Newer(u32),
    Damaged,
}

impl Manifest {
    /// That of a log that never sealed anything.
    pub(crate) fn empty(log_id: [u8; 16]) -> Self {
        Self {
            log_id,
            wal_first: 1,
            next_group: 1,
            next_segment: 1,
            first_epoch: Epoch::FIRST,
            epochs_begun: 0,
            streams: 0,
            events: 0,
            session: LastSession::default(),
            segments: Vec::new(),
        }
    }

    /// What it says of a segment.
    pub(crate) fn listed(&self, number: u32) -> Option<&ListedSegment> {
        self.segments.iter().find(|listed| listed.number == number)
    }

    pub(crate) fn listed_mut(&mut self, number: u32) -> Option<&mut ListedSegment> {
        self.segments.iter_mut().find(|listed| listed.number == number)
    }

    fn encode(&self) -> Vec<u8> {
        let session = &self.session;
        let boot_id = session.boot_id.as_bytes();
        let length =
            FIXED_LENGTH + boot_id.len() + self.segments.len() * SEGMENT_LENGTH + CHECKSUM_LENGTH;
        let narrow = |number: usize| u32::try_from(number).expect("a manifest is far below 4 GiB");
        let flags = if session.relaxed { FLAG_RELAXED } else { 0 }
            | if session.clean { FLAG_CLEAN } else { 0 };
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&narrow(length).to_le_bytes());
        bytes.extend_from_slice(&self.log_id);
        bytes.extend_from_slice(&self.next_group.to_le_bytes());
        bytes.extend_from_slice(&self.streams.to_le_bytes());
        bytes.extend_from_slice(&self.events.to_le_bytes());
        let numbers = [
            self.wal_first,
            self.next_segment,
            self.first_epoch.get(),
            flags | narrow(boot_id.len()) << 8,
            narrow(self.segments.len()),
            self.epochs_begun,
        ];
        numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        bytes.extend_from_slice(boot_id);
        for segment in &self.segments {
            bytes.extend_from_slice(&segment.number.to_le_bytes());
            bytes.extend_from_slice(&segment.level.to_le_bytes());
            bytes.extend_from_slice(&segment.length.to_le_bytes());
            bytes.extend_from_slice(&segment.erased.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ManifestFault> {
        if bytes.len() < MAGIC.len() || &bytes[..8] != MAGIC {
            return Err(ManifestFault::Foreign);
        }
        if bytes.len() < FIXED_LENGTH + CHECKSUM_LENGTH {
            return Err(ManifestFault::Damaged);
        }
        // A newer format may have its checksum elsewhere, so the version comes first.
        let version = u32_at(bytes, 8);
        if version > FORMAT_VERSION {
            return Err(ManifestFault::Newer(version));
        }
        let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM_LENGTH);
        if u32_at(bytes, 12) as usize != bytes.len()
            || crc32c::crc32c(content) != u32_at(checksum, 0)
        {
            return Err(ManifestFault::Damaged);
        }
        Self::parse(content).ok_or(ManifestFault::Damaged)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut log_id = [0; 16];
        log_id.copy_from_slice(&bytes[16..32]);
        let flags = u32_at(bytes, 68);
        let mut rest = Rest::new(bytes, FIXED_LENGTH);
        let boot_id = rest.text((flags >> 8) as usize)?.to_owned();
        let listed = &bytes[rest.at..];
        if listed.len() != (u32_at(bytes, 72) as usize).checked_mul(SEGMENT_LENGTH)? {
            return None;
        }
        let segments = listed.chunks_exact(SEGMENT_LENGTH).map(|segment| ListedSegment {
            number: u32_at(segment, 0),
            level: u32_at(segment, 4),
            length: u64_at(segment, 8),
            erased: u64_at(segment, 16),
        });
        let session = LastSession {
            boot_id,
            relaxed: flags & FLAG_RELAXED != 0,
            clean: flags & FLAG_CLEAN != 0,
        };
        Some(Self {
            log_id,
            next_group: u64_at(bytes, 32),
            streams: u64_at(bytes, 40),
            events: u64_at(bytes, 48),
            wal_first: u32_at(bytes, 56),
            next_segment: u32_at(bytes, 60),
            first_epoch: Epoch::new(u32_at(bytes, 64))?,
            epochs_begun: u32_at(bytes, 76),
            session,
            segments: segments.collect(),
        })
    }

    /// Puts it in the place of the one before, durably. It can be tried again.
    pub(crate) fn replace(&self, disk: &dyn Disk, directory: &Path) -> io::Result<()> {
        let unfinished = directory.join(NEW_NAME);
        let file = disk.create(&unfinished)?;
        file.write_all_at(&self.encode(), 0)?;
        file.sync()?;
        disk.rename(&unfinished, &directory.join(NAME))?;
        disk.sync_directory(directory)
    }

    /// The bytes of a directory's manifest.
    pub(crate) fn read(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<u8>> {
        let file = disk.open(&directory.join(NAME))?;
        let length = file.length()?.min(BYTES_MAX);
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}
