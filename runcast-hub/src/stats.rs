//! How the hub is doing, in its own words, for whoever watches it.
//!
//! Counted with relaxed additions where the work is done; nobody waits to be counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use runcast_log::{Append, AppendError, Appended, Distribution, Spread};

/// The hub at one moment. What is not a number of now is counted since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Followers now.
    pub followers: u64,
    /// Streams that are followed now, whose newest events are in memory.
    pub tails: u64,
    /// Bytes of those events.
    pub tails_bytes: u64,
    /// Batches that were acknowledged.
    pub append_batches: u64,
    /// Events that were stored.
    pub append_events: u64,
    /// Events that had been stored before, and were acknowledged again.
    pub append_duplicates: u64,
    /// Bytes of the events of acknowledged batches.
    pub append_bytes: u64,
    /// How long acknowledged batches took, in nanoseconds.
    pub append_ns: Spread,
    /// How many events a follower was behind when it began to read the log, each time.
    pub catch_up_events: Spread,
}

#[derive(Debug)]
pub(crate) struct Counts {
    batches: AtomicU64,
    events: AtomicU64,
    duplicates: AtomicU64,
    bytes: AtomicU64,
    append_times: Distribution,
    catch_ups: Distribution,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            batches: AtomicU64::new(0),
            events: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            append_times: Distribution::of_times(),
            catch_ups: Distribution::of_counts(),
        }
    }
}

/// An append under way.
pub(crate) struct AppendBegun {
    at: Instant,
    bytes: u64,
}

impl AppendBegun {
    pub(crate) fn now(append: &Append) -> Self {
        let bytes = append.events.iter().map(Bytes::len).sum::<usize>() as u64;
        Self { at: Instant::now(), bytes }
    }
}

impl Counts {
    pub(crate) fn appended(&self, begun: &AppendBegun, answer: &Result<Appended, AppendError>) {
        let Ok(appended) = answer else { return };
        self.append_times.add_time(begun.at.elapsed());
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(appended.stored, Ordering::Relaxed);
        self.bytes.fetch_add(begun.bytes, Ordering::Relaxed);
        if appended.duplicates > 0 {
            self.duplicates.fetch_add(appended.duplicates, Ordering::Relaxed);
        }
    }

    /// A follower begins to read the log, this many events behind the newest.
    pub(crate) fn falls_behind(&self, events: u64) {
        self.catch_ups.add(events, 1);
    }

    /// What is counted here; the rest is left at 0.
    pub(crate) fn stats(&self) -> HubStats {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        HubStats {
            append_batches: load(&self.batches),
            append_events: load(&self.events),
            append_duplicates: load(&self.duplicates),
            append_bytes: load(&self.bytes),
            append_ns: self.append_times.spread(),
            catch_up_events: self.catch_ups.spread(),
            ..HubStats::default()
        }
    }
}
