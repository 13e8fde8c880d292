//! Which producers are there: who holds its run's mailbox, and who was heard of when.
//!
//! Kept in memory only. After a restart every producer counts as heard of then, so that it has its
//! time to come back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runcast_event::{RunId, Timestamp};

use crate::clock::Clock;

/// The producers. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Presence {
    clock: Clock,
    began_at: Timestamp,
    heard: Arc<Mutex<HashMap<RunId, Heard>>>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    /// Connections that hold the run's mailbox.
    held: usize,
    at: Timestamp,
}

impl Presence {
    pub(crate) fn new(clock: Clock) -> Self {
        let began_at = clock.now();
        Self { clock, began_at, heard: Arc::default() }
    }

    /// The time, by the clock that producers are listened for with.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn heard(&self) -> MutexGuard<'_, HashMap<RunId, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run's producer gives a sign.
    pub(crate) fn hear(&self, run: &RunId) {
        let at = self.clock.now();
        self.heard().entry(run.clone()).or_insert(Heard { held: 0, at }).at = at;
    }

    /// The run's producer is there as long as this is held.
    pub(crate) fn hold(&self, run: &RunId) -> Held {
        self.hear(run);
        if let Some(heard) = self.heard().get_mut(run) {
            heard.held += 1;
        }
        Held { presence: self.clone(), run: run.clone() }
    }

    /// When the run's producer was last heard of here: now, if it is there.
    pub(crate) fn heard_at(&self, run: &RunId) -> Timestamp {
        match self.heard().get(run) {
            Some(heard) if heard.held > 0 => self.clock.now(),
            Some(heard) => heard.at,
            None => self.began_at,
        }
    }

    /// Forgets a run that needs no producer any more.
    pub(crate) fn forget(&self, run: &RunId) {
        let mut heard = self.heard();
        if heard.get(run).is_some_and(|heard| heard.held == 0) {
            heard.remove(run);
        }
    }
}

/// A producer that is there.
#[derive(Debug)]
pub(crate) struct Held {
    presence: Presence,
    run: RunId,
}

impl Drop for Held {
    fn drop(&mut self) {
        let at = self.presence.clock.now();
        if let Some(heard) = self.presence.heard().get_mut(&self.run) {
            heard.held -= 1;
            heard.at = at;
        }
    }
}
