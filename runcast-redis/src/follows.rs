//! Which streams are followed from now on or no more, on the way from the hub to the node: of each the
//! last word.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use runcast_event::RunId;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Follows {
    changes: Mutex<HashMap<RunId, bool>>,
    changed: Notify,
}

impl Follows {
    fn changes(&self) -> MutexGuard<'_, HashMap<RunId, bool>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, run: &RunId, is_followed: bool) {
        self.changes().insert(run.clone(), is_followed);
        self.changed.notify_one();
    }

    /// Waits for changes. Can be cancelled without losing any.
    pub(crate) async fn next(&self) -> HashMap<RunId, bool> {
        loop {
            let changes = std::mem::take(&mut *self.changes());
            if !changes.is_empty() {
                return changes;
            }
            self.changed.notified().await;
        }
    }
}
