//! Which runs changed: for projections, which read the change itself from the log.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use runcast_event::RunId;
use tokio::sync::Notify;

/// The runs that changed since the last look. A run is in it once, however much it changed, so
/// that its size is bounded by the number of runs.
#[derive(Debug, Default)]
pub(crate) struct ChangedRuns {
    runs: Mutex<HashSet<RunId>>,
    changed: Notify,
}

impl ChangedRuns {
    pub(crate) fn add(&self, run: &RunId) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if !runs.contains(run) {
            runs.insert(run.clone());
            drop(runs);
            self.changed.notify_one();
        }
    }

    fn take(&self) -> Vec<RunId> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.drain().collect()
    }
}

/// A reader of changes. Sees every run that changed after it was made; there may be several.
#[derive(Debug)]
pub struct Changes(pub(crate) Arc<ChangedRuns>);

/// Tells how much a reader of changes has before it. Does not keep the reader alive.
#[derive(Debug, Clone)]
pub struct Backlog(Weak<ChangedRuns>);

impl Backlog {
    /// Runs that have changed and that the reader has not taken.
    #[must_use]
    pub fn runs(&self) -> usize {
        let Some(changed) = self.0.upgrade() else { return 0 };
        changed.runs.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Changes {
    /// What tells how much this reader has before it.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        Backlog(Arc::downgrade(&self.0))
    }

    /// Waits until runs have changed and takes their names, in no order. A deleted run counts.
    ///
    /// Can be cancelled without losing a change.
    pub async fn next(&mut self) -> Vec<RunId> {
        loop {
            let runs = self.0.take();
            if !runs.is_empty() {
                return runs;
            }
            self.0.changed.notified().await;
        }
    }
}
