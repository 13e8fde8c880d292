//! What has happened on the plane, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that all shards share. A shard adds once a turn, not once an event.
#[derive(Debug, Default)]
pub(crate) struct PlaneCounts {
    /// Connections now.
    pub(crate) viewers: AtomicU64,
    /// Batches of events that were written to a viewer's socket.
    pub(crate) deliveries: AtomicU64,
    /// Bytes that viewers' sockets took.
    pub(crate) bytes: AtomicU64,
    /// Pages of the log that were read for viewers who catch up.
    pub(crate) pages: AtomicU64,
    /// Viewers who were let go because they took nothing for too long.
    pub(crate) stalled: AtomicU64,
}

impl PlaneCounts {
    /// Takes in what a shard has counted since it was here last.
    pub(super) fn add(&self, tally: &mut Tally) {
        let Tally { deliveries, bytes, pages } = std::mem::take(tally);
        if bytes > 0 {
            self.deliveries.fetch_add(deliveries, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        if pages > 0 {
            self.pages.fetch_add(pages, Ordering::Relaxed);
        }
    }
}

/// What a shard has counted in a turn.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) deliveries: u64,
    pub(super) bytes: u64,
    pub(super) pages: u64,
}
