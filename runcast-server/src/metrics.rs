//! What the server counts, and the page that says it.
//!
//! Owns a counter for each value of each label, made once, so that counting is a relaxed addition
//! at a known place. The log and the hub count in their own words; `exposition` reads all of it when
//! it is scraped, and is the one place that knows names, units and the library. `docs/metrics.md` is
//! the table. Decides nothing: no request is answered otherwise because of a count.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runcast_event::RunId;
use runcast_hub::GapReason;
use runcast_log::Distribution;

use crate::problem::Code;

mod exposition;
mod process;
mod traffic;

pub(crate) use exposition::{Exposition, METRICS_MEDIA_TYPE};
pub(crate) use traffic::{Connected, Eviction, Traffic, Transport};

const GAP_REASONS: [GapReason; 3] =
    [GapReason::Trimmed, GapReason::EpochChanged, GapReason::Damaged];

/// Everything that the server counts itself.
#[derive(Debug)]
pub(crate) struct Metrics {
    traffic: [Traffic; Transport::ALL.len()],
    gaps: [AtomicU64; GAP_REASONS.len()],
    append_requests: AtomicU64,
    append_refusals: [AtomicU64; Code::ALL.len()],
    retention_deletions: AtomicU64,
    /// Events of runs, and entries of the feed.
    retention_trims: [AtomicU64; 2],
    delivery_times: Distribution,
}

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            traffic: array::from_fn(|_| Traffic::default()),
            gaps: array::from_fn(|_| AtomicU64::new(0)),
            append_requests: AtomicU64::new(0),
            append_refusals: array::from_fn(|_| AtomicU64::new(0)),
            retention_deletions: AtomicU64::new(0),
            retention_trims: array::from_fn(|_| AtomicU64::new(0)),
            delivery_times: Distribution::of_times(),
        })
    }

    /// What goes over one transport.
    pub(crate) fn of(&self, transport: Transport) -> &Traffic {
        &self.traffic[transport as usize]
    }

    /// Counts a connection until the answer is dropped.
    pub(crate) fn connect(self: &Arc<Self>, transport: Transport) -> Connected {
        Connected::new(Arc::clone(self), transport)
    }

    /// A reader was told of events that it cannot have.
    pub(crate) fn told_gap(&self, reason: GapReason) {
        add(&self.gaps[reason as usize], 1);
    }

    /// A producer asked for an append.
    pub(crate) fn append_requested(&self) {
        add(&self.append_requests, 1);
    }

    /// A producer's append, or the rest of it, was refused.
    pub(crate) fn append_refused(&self, code: Code) {
        add(&self.append_refusals[code as usize], 1);
    }

    /// Retention deleted a run.
    pub(crate) fn retention_deleted(&self) {
        add(&self.retention_deletions, 1);
    }

    /// Retention gave up so many events of a run, or entries of the feed.
    pub(crate) fn retention_trimmed(&self, stream: &RunId, events: u64) {
        add(&self.retention_trims[usize::from(stream.is_feed())], events);
    }

    /// Events were handed to this many connections so long after they became durable.
    ///
    /// Only for readers that were there before: what a reader catches up on is not late.
    pub(crate) fn delivery_took(&self, took: Duration, connections: u64) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.delivery_times.add(took, connections);
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use runcast_run::Status;

    use super::*;

    #[test]
    fn every_label_has_the_place_that_its_value_counts_in() {
        assert!(Transport::ALL.iter().enumerate().all(|(at, value)| *value as usize == at));
        assert!(Eviction::ALL.iter().enumerate().all(|(at, value)| *value as usize == at));
        assert!(GAP_REASONS.iter().enumerate().all(|(at, value)| *value as usize == at));
        assert!(Status::ALL.iter().enumerate().all(|(at, value)| *value as usize == at));
        assert!(Code::ALL.iter().enumerate().all(|(at, value)| *value as usize == at));
    }
}
