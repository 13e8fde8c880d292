//! When something must be said for a run because nobody says it.

use std::time::Duration;

use runcast_event::{Offset, RunId, Timestamp};
use runcast_run::{Due, Liveness};

use super::index::{Entry, Index};
use crate::clock::Clock;
use crate::presence::Presence;

/// How producers are listened for.
#[derive(Debug, Clone)]
pub(crate) struct Listening {
    pub(crate) clock: Clock,
    pub(crate) presence: Presence,
    /// How long the producer of a run that says nothing about it may be silent.
    pub(crate) silent_after: Duration,
}

impl Listening {
    fn liveness(&self, entry: &Entry) -> Liveness {
        let silent_after = u64::try_from(self.silent_after.as_millis()).unwrap_or(u64::MAX);
        Liveness {
            heard_at: entry.heard_at.max(self.presence.heard_at(entry.state.run())),
            lost_after_ms: entry.state.definition().lost_after_ms.unwrap_or(silent_after),
        }
    }
}

impl Index {
    /// Notes when something is due for a run whose state has changed.
    pub(super) fn note_due(&mut self, run: &RunId) {
        let Some(entry) = self.entries.get(run) else { return };
        let due = entry.state.due(Some(self.listening.liveness(entry)));
        self.set_due(run, due.map(|due| due.at));
    }

    fn set_due(&mut self, run: &RunId, at: Option<Timestamp>) {
        let Some(entry) = self.entries.get_mut(run) else { return };
        let before = std::mem::replace(&mut entry.due_at, at);
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.due.remove(&(before, run.clone()));
        }
        if let Some(at) = at {
            self.due.insert((at, run.clone()));
            if self.due.first().is_some_and(|(first, of)| (*first, of) == (at, run)) {
                self.due_changed.notify_one();
            }
        }
    }

    pub(super) fn next_due(&self) -> Option<(Timestamp, RunId)> {
        self.due.first().cloned()
    }

    pub(super) fn take_due(&mut self, run: &RunId, now: Timestamp) -> Option<(Offset, Due)> {
        self.set_due(run, None);
        let entry = self.entries.get(run)?;
        let (offset, due) =
            (entry.state.offset(), entry.state.due(Some(self.listening.liveness(entry)))?);
        if due.at > now {
            self.set_due(run, Some(due.at));
            return None;
        }
        Some((offset, due))
    }

    pub(super) fn look_again(&mut self, run: &RunId, at: Timestamp) {
        if self.entries.get(run).is_some_and(|entry| entry.due_at.is_none()) {
            self.set_due(run, Some(at));
        }
    }
}
