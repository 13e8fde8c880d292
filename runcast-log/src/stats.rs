//! How a log is doing, in its own words, for whoever watches it.

use crate::distribution::Spread;

/// A log at one moment. What an engine does not know is 0 or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Bytes of all its files, with the holes that deleted streams leave, which take no place on a disk.
    pub disk_bytes: u64,
    /// Its files.
    pub files: u64,
    /// Those of them that are sorted segments.
    pub segments: u64,
    /// Streams that are not deleted; the feed is not one of them.
    pub streams: u64,
    /// Streams that are not at rest in segments: they changed since the last seal.
    pub streams_changed: u64,
    /// Events that they keep.
    pub events: u64,
    /// What the index takes of the memory: an estimate.
    pub index_bytes: u64,
    /// Requests that wait for the writer.
    pub requests_waiting: u64,
    /// Changes (appends and deletions) that were made durable in one write.
    pub group_changes: Spread,
    /// How long a sync took, in nanoseconds.
    pub sync_ns: Spread,
    /// Bytes written since the log was opened.
    pub written: BytesWritten,
    /// Full write-ahead logs that wait to be sealed.
    pub wals_waiting: u64,
    /// Seals and merges that were given up and are tried again.
    pub upkeep_failures: u64,
    /// Bytes of segments that the scrubber has read since the log was opened.
    pub scrubbed_bytes: u64,
    /// Places in segments at which damage was found since the log was opened.
    pub damaged_places: u64,
}

/// Bytes written, by what for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BytesWritten {
    /// Events, as they were appended.
    pub events: u64,
    /// Write-ahead logs, without the room ahead of their ends.
    pub wal: u64,
    /// Segments made of write-ahead logs.
    pub seal: u64,
    /// Segments made of segments.
    pub merge: u64,
}
