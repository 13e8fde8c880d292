//! How far the upkeep has come: what the writer tells it, and waits for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the writer waits for the upkeep before it looks again whether there is any.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(crate) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    newest_wal: u32,
    /// The oldest write-ahead log that is not sealed.
    wal_first: u32,
    /// Waiting ones that there may be beside those that the options allow: they were there at the
    /// start.
    at_start: u32,
    /// Why the last step did not work.
    failure: Option<String>,
    is_stepped: bool,
    closing: bool,
}

impl Progress {
    pub(crate) fn new(newest_wal: u32, wal_first: u32, is_stepped: bool) -> Self {
        let at_start = newest_wal - wal_first;
        let (failure, closing) = (None, false);
        let state = State { newest_wal, wal_first, at_start, failure, is_stepped, closing };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn newest_wal(&self) -> u32 {
        self.state().newest_wal
    }

    /// Write-ahead logs that wait to be sealed.
    pub(crate) fn waiting(&self) -> u32 {
        let state = self.state();
        state.newest_wal - state.wal_first
    }

    /// The writer goes on in another file: those before are full.
    pub(crate) fn turned(&self, newest_wal: u32) {
        self.state().newest_wal = newest_wal;
        self.changed.notify_all();
    }

    pub(crate) fn worked(&self, wal_first: u32) {
        let mut state = self.state();
        state.wal_first = wal_first;
        state.at_start = state.at_start.min(state.newest_wal - wal_first);
        state.failure = None;
        self.changed.notify_all();
    }

    pub(crate) fn failed(&self, reason: String) {
        self.state().failure = Some(reason);
        self.changed.notify_all();
    }

    /// Nothing more is to be done.
    pub(crate) fn close(&self) {
        self.state().closing = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// Waits until there may be another write-ahead log, or says why there may not be one.
    pub(crate) fn wait_for_place(&self, waiting_max: usize) -> Result<(), String> {
        let mut state = self.state();
        loop {
            let waiting = state.newest_wal - state.wal_first;
            if (waiting as usize) < waiting_max.saturating_add(state.at_start as usize) {
                return Ok(());
            }
            if state.failure.is_some() || state.is_stepped || state.closing {
                let why = state.failure.as_deref().unwrap_or("nobody seals them");
                return Err(format!("{waiting} full write-ahead logs wait to be sealed: {why}"));
            }
            let woken = self.changed.wait_timeout(state, LOOK_AGAIN);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until a write-ahead log from `wal_first` on is full, until a time, or the end.
    pub(crate) fn wait_for_work(&self, wal_first: u32, until: Option<Instant>) {
        self.wait(until, |state| state.newest_wal > wal_first || state.closing);
    }

    /// Waits until a time, or the end.
    pub(crate) fn wait_until_closing(&self, until: Instant) {
        self.wait(Some(until), |state| state.closing);
    }

    fn wait(&self, until: Option<Instant>, is_over: impl Fn(&State) -> bool) {
        let mut state = self.state();
        while !is_over(&state) {
            let Some(until) = until else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
