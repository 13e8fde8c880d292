//! What is to be published, and how far it got.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// When requests are made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// One each time that this has passed, whether the one before was answered or not. An event's
    /// stamp is the moment it was due, so that waiting for a free connection counts.
    Every(Duration),
    /// One as soon as a connection is free.
    AtOnce,
}

/// How much is published.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Amount {
    /// So many requests.
    Requests(u64),
    /// For so long.
    For(Duration),
    /// Until [`Progress::stop`].
    UntilStopped,
}

/// What is to be published. Request `n` goes to run `n` modulo the number of runs.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The runs.
    pub(crate) runs: Arc<[String]>,
    /// How many connections, each with one request under way at most.
    pub(crate) connections: usize,
    /// How many events a request: one is a JSON object, more are NDJSON.
    pub(crate) events_a_request: usize,
    /// When.
    pub(crate) pace: Pace,
    /// How much.
    pub(crate) amount: Amount,
}

/// How far a publisher got, for others to look at.
#[derive(Debug)]
pub(crate) struct Progress {
    acknowledged: Box<[AtomicU64]>,
    finished: AtomicBool,
    stopped: AtomicBool,
}

impl Progress {
    /// Of so many runs, with nothing published.
    pub(crate) fn of(runs: usize) -> Arc<Self> {
        Arc::new(Self {
            acknowledged: (0..runs).map(|_| AtomicU64::new(0)).collect(),
            finished: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        })
    }

    /// The newest offset of a run that was acknowledged.
    pub(crate) fn acknowledged(&self, run: usize) -> u64 {
        self.acknowledged[run].load(Ordering::Acquire)
    }

    /// Whether everything was published and answered.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Asks the publisher to make no more requests.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn acknowledge(&self, run: usize, last: u64) {
        self.acknowledged[run].fetch_max(last, Ordering::AcqRel);
    }

    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }
}
