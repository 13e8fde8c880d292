//! Stands before the log: what cannot be true of a run is refused, and what changes a run's life goes
//! into the feed, in one step with the event.
//!
//! Keeps the states of the open runs that something was appended to last, as they will be with what is
//! on its way to the disk. Only the events that say what a run does are folded in, not what it puts
//! out. The state of any other run is made again when it is needed.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use runcast_event::{Payload, RunId, Timestamp};
use runcast_hub::{Gate, Hub};
use runcast_log::{NewEvents, NotAdmitted, ReadError, Refusal};
use runcast_run::{RunState, Status};

use crate::feed;
use crate::projection::{States, to_the_end};

/// States that are kept at most, beside those that wait for the disk; half of them at least.
const KEPT_MAX: usize = 4_096;

/// How the payloads of events begin that a run's state decides about, or is changed by.
const JUDGED: [&[u8]; 6] = [
    b"{\"type\":\"run.",
    b"{\"type\":\"stage.",
    b"{\"type\":\"step.",
    b"{\"type\":\"variation.",
    b"{\"type\":\"input.",
    b"{\"type\":\"command.",
];

fn is_judged(event: &[u8]) -> bool {
    JUDGED.iter().any(|beginning| event.starts_with(beginning))
}

/// The gate.
pub(crate) struct RunGate {
    states: States,
    known: Mutex<Known>,
}

/// What is known of open runs.
#[derive(Default)]
struct Known {
    /// Those that something was appended to since the others were put aside.
    recent: HashMap<RunId, RunState>,
    /// The others. They are forgotten when the recent ones are put aside.
    others: HashMap<RunId, RunState>,
    /// How many of both any event makes run.
    queued: usize,
    /// Runs whose state has events that are on their way to the disk.
    coming: Vec<RunId>,
    /// Runs whose deletion is.
    going: HashSet<RunId>,
}

impl Known {
    fn has(&self, run: &RunId) -> bool {
        self.recent.contains_key(run) || self.others.contains_key(run)
    }

    /// The state of a run that something is to be appended to.
    fn get(&mut self, run: &RunId) -> Option<&RunState> {
        if let Some(state) = self.others.remove(run) {
            self.recent.insert(run.clone(), state);
        }
        self.recent.get(run)
    }

    fn put(&mut self, run: RunId, state: RunState) {
        self.queued += usize::from(is_queued(&state));
        if let Some(before) = self.recent.insert(run, state) {
            self.queued -= usize::from(is_queued(&before));
        }
    }

    fn take(&mut self, run: &RunId) -> Option<RunState> {
        let state = self.recent.remove(run).or_else(|| self.others.remove(run))?;
        self.queued -= usize::from(is_queued(&state));
        Some(state)
    }

    /// Keeps no more than may be kept. Nothing is on its way to the disk.
    fn forget_some(&mut self) {
        if self.recent.len() >= KEPT_MAX / 2 {
            let others = std::mem::replace(&mut self.others, std::mem::take(&mut self.recent));
            self.queued -= others.values().filter(|state| is_queued(state)).count();
        }
    }
}

fn is_queued(state: &RunState) -> bool {
    state.status() == Status::Queued
}

impl RunGate {
    /// A gate that looks runs up in `states` first.
    pub(crate) fn new(states: States) -> Self {
        Self { states, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds a run up to its end now. None when there is no such run.
    async fn read(&self, hub: &Hub, run: &RunId) -> Result<Option<RunState>, ReadError> {
        let stat = match hub.stat(run).await {
            Ok(Some(stat)) => stat,
            Ok(None) | Err(ReadError::Deleted) => return Ok(None),
            Err(error) => return Err(error),
        };
        let folded = self.states.get(run).filter(|state| state.epoch() == stat.epoch);
        let state = folded.unwrap_or_else(|| RunState::new(run.clone()));
        to_the_end(hub, state).await.map(Some)
    }
}

impl Gate for RunGate {
    fn is_ready(&self, run: &RunId) -> bool {
        self.known().get(run).is_some()
    }

    fn make_ready<'a>(
        &'a self,
        hub: &'a Hub,
        run: &'a RunId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            match self.read(hub, run).await {
                Ok(Some(state)) => {
                    let mut known = self.known();
                    if !known.has(run) && !known.going.contains(run) {
                        known.put(run.clone(), state);
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%run, %error, "a run's events cannot be judged");
                }
            }
        })
    }

    fn admit(&self, events: NewEvents<'_>) -> Result<Vec<Bytes>, NotAdmitted> {
        let NewEvents { run, begins, records, .. } = events;
        let mut known = self.known();
        let judged = records.iter().filter(|record| is_judged(&record.payload)).count();
        if judged == 0 && !begins && known.queued == 0 {
            return Ok(Vec::new());
        }
        let mut state = if begins {
            known.take(run);
            RunState::new(run.clone())
        } else {
            let before = known.get(run).ok_or(NotAdmitted::Unready)?;
            if judged == 0 && !is_queued(before) {
                return Ok(Vec::new());
            }
            known.take(run).ok_or(NotAdmitted::Unready)?
        };
        // What is refused behind the first event must leave no trace of the events before.
        let undo = (judged > 1 && !begins).then(|| state.clone());
        match fold(&mut state, &events) {
            Ok(entries) => {
                known.put(run.clone(), state);
                known.coming.push(run.clone());
                known.going.remove(run);
                Ok(entries)
            }
            Err(refusal) => {
                if !begins {
                    known.put(run.clone(), undo.unwrap_or(state));
                }
                Err(refusal.into())
            }
        }
    }

    fn deletion(&self, run: &RunId) -> Option<Bytes> {
        let mut known = self.known();
        let state = known.take(run);
        known.going.insert(run.clone());
        Some(feed::of_deletion(run, Timestamp::now(), state.as_ref()).into_bytes())
    }

    fn settle(&self, is_stored: bool) {
        let mut known = self.known();
        known.going.clear();
        for run in std::mem::take(&mut known.coming) {
            // What was not stored is read again when it is needed; what has ended is not needed.
            let is_over = |state: &RunState| state.status().is_terminal();
            if !is_stored || known.recent.get(&run).is_some_and(is_over) {
                known.take(&run);
            }
        }
        known.forget_some();
    }
}

/// Folds events in, the first that cannot be true excepted; gives what the feed has of them.
fn fold(state: &mut RunState, events: &NewEvents<'_>) -> Result<Vec<Bytes>, Refusal> {
    let NewEvents { run, epoch, begins, records } = *events;
    let mut entries = Vec::new();
    for (event, record) in records.iter().enumerate() {
        let is_judged = is_judged(&record.payload);
        let is_first = begins && event == 0;
        let before = state.status();
        if !is_judged && !is_first && before != Status::Queued {
            continue;
        }
        let payload = Payload::from_stored(record.payload.clone());
        if is_judged {
            state.check(&payload).map_err(|refusal| Refusal {
                event,
                code: refusal.code(),
                detail: refusal.to_string(),
                state: refusal.state(),
                allowed: refusal.allowed(),
            })?;
        }
        state.apply(record.offset, epoch, &payload);
        let event_type = payload.event_type();
        let told = match state.status() {
            _ if event_type.starts_with("run.") => event_type,
            _ if is_first => "run.created",
            Status::Running if before == Status::Queued => "run.started",
            now if now != before => event_type,
            _ => continue,
        };
        let entry = feed::of_event(run, (epoch, record.offset), told, &payload, state);
        entries.push(entry.into_bytes());
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
