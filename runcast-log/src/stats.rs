//! How a log is doing, in its own words, for whoever watches it.

use crate::distribution::Spread;

/// A log at one moment. What an engine does not know is 0 or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Bytes of all its files.
    pub disk_bytes: u64,
    /// Its files.
    pub files: u64,
    /// Streams that are not deleted; the feed is not one of them.
    pub streams: u64,
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
}
