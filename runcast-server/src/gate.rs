//! Stands before the log: what cannot be true of a run is refused, and what changes a run's life goes
//! into the feed, in one step with the event.
//!
//! Keeps the states of the open runs that something was appended to last, as they will be with what is
//! on its way to the log. A state is good only for what comes right behind the events that it was made
//! of: if another node has appended something meanwhile, the run is read again. Only the events that say what a run does are folded in, not what it puts
//! out. The state of any other run is made again when it is needed.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use runcast_event::{Epoch, Offset, Payload, RunId, Timestamp};
use runcast_hub::{Gate, Hub};
use runcast_log::{NewEvents, NotAdmitted, ReadError, Record, Refusal, StreamStat};
use runcast_run::{RunState, Status};

use crate::feed;
use crate::projection::{States, to_the_end};
use crate::stored::event_of;

/// States that are kept at most; half of them at least.
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
    recent: HashMap<RunId, KnownRun>,
    /// The others. They are forgotten when the recent ones are put aside.
    others: HashMap<RunId, KnownRun>,
    /// How many of both any event makes run.
    queued: usize,
}

/// A run's state, as it is behind an event of its stream: it holds only where that is the newest one.
struct KnownRun {
    state: RunState,
    epoch: Epoch,
    last: Offset,
    /// How to go back to what is stored, if that is likely to be asked for.
    undo: Option<Box<Undo>>,
}

/// What a run was before the events that are on their way to the log.
struct Undo {
    /// None if it was the same.
    state: Option<RunState>,
    last: Offset,
}

impl KnownRun {
    /// Remembers what it is before events that may not be stored, which change the state or not.
    fn prepare_undo(&mut self, changes: bool) {
        let undo = self.undo.get_or_insert_with(|| Box::new(Undo { state: None, last: self.last }));
        if changes && undo.state.is_none() {
            undo.state = Some(self.state.clone());
        }
    }

    /// Whether these events come right behind those that are known.
    fn is_before(&self, epoch: Epoch, records: &[Record]) -> bool {
        let next = records.first().map(Record::first);
        self.epoch == epoch && next == Some(self.last.next())
    }
}

impl Known {
    #[cfg(test)]
    fn has(&self, run: &RunId) -> bool {
        self.recent.contains_key(run) || self.others.contains_key(run)
    }

    /// A run that something is to be appended to.
    fn get(&mut self, run: &RunId) -> Option<&mut KnownRun> {
        if let Some(known) = self.others.remove(run) {
            self.recent.insert(run.clone(), known);
        }
        self.recent.get_mut(run)
    }

    fn put(&mut self, run: RunId, known: KnownRun) {
        self.queued += usize::from(is_queued(&known.state));
        if let Some(before) = self.recent.insert(run, known) {
            self.queued -= usize::from(is_queued(&before.state));
        }
        self.forget_some();
    }

    fn take(&mut self, run: &RunId) -> Option<KnownRun> {
        let known = self.recent.remove(run).or_else(|| self.others.remove(run))?;
        self.queued -= usize::from(is_queued(&known.state));
        Some(known)
    }

    /// Keeps no more than may be kept.
    fn forget_some(&mut self) {
        if self.recent.len() > KEPT_MAX / 2 {
            let others = std::mem::replace(&mut self.others, std::mem::take(&mut self.recent));
            self.queued -= others.values().filter(|known| is_queued(&known.state)).count();
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

    /// Folds a run up to its end now. None when there is no such run, or it became another meanwhile.
    async fn read(&self, hub: &Hub, run: &RunId) -> Result<Option<KnownRun>, ReadError> {
        let stat = match hub.stat(run).await {
            Ok(Some(stat)) => stat,
            Ok(None) | Err(ReadError::Deleted) => return Ok(None),
            Err(error) => return Err(error),
        };
        let folded = self.states.get(run).filter(|state| state.epoch() == stat.epoch);
        let state = folded.unwrap_or_else(|| RunState::new(run.clone()));
        let state = to_the_end(hub, state).await?;
        let (epoch, last) = (stat.epoch, stat.last.max(state.offset()));
        let is_same = state.offset() == Offset::START || state.epoch() == epoch;
        Ok(is_same.then_some(KnownRun { state, epoch, last, undo: None }))
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
                Ok(Some(read)) => {
                    let mut known = self.known();
                    let place = (read.epoch, read.last);
                    // What is on its way to the log is in the state that is there, and not in this one.
                    if known.get(run).is_none_or(|known| (known.epoch, known.last) < place) {
                        known.put(run.clone(), read);
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
        let NewEvents { run, epoch, begins, records, is_trial } = events;
        let Some(last) = records.last().map(|record| record.offset) else { return Ok(Vec::new()) };
        let mut known = self.known();
        if begins {
            known.take(run);
            let mut state = RunState::new(run.clone());
            let entries = fold(&mut state, &events)?;
            let nothing = || Box::new(Undo { state: None, last: Offset::START });
            let undo = is_trial.then(nothing);
            known.put(run.clone(), KnownRun { state, epoch, last, undo });
            return Ok(entries);
        }
        let judged = records.iter().filter(|record| is_judged(&record.payload)).count();
        match known.get(run) {
            Some(known) if known.is_before(epoch, records) => {
                let changes = judged > 0 || is_queued(&known.state);
                if is_trial {
                    known.prepare_undo(changes);
                }
                if !changes {
                    known.last = last;
                    return Ok(Vec::new());
                }
            }
            // Somebody else has appended something that is not known yet.
            _ => {
                known.take(run);
                return Err(NotAdmitted::Unready);
            }
        }
        let mut before = known.take(run).ok_or(NotAdmitted::Unready)?;
        // What is refused behind the first event must leave no trace of the events before.
        let undo = (judged > 1).then(|| before.state.clone());
        let folded = fold(&mut before.state, &events);
        match (&folded, undo) {
            (Ok(_), _) => before.last = last,
            (Err(_), Some(state)) => before.state = state,
            (Err(_), None) => {}
        }
        known.put(run.clone(), before);
        Ok(folded?)
    }

    fn deletion(&self, run: &RunId) -> Option<Bytes> {
        let known = self.known().take(run);
        let state = known.as_ref().map(|known| &known.state);
        Some(feed::of_deletion(run, Timestamp::now(), state).into_bytes())
    }

    fn stored(&self, run: &RunId, records: &[Record], stat: &StreamStat) {
        let mut known = self.known();
        let Some(run_known) = known.get(run) else { return };
        let is_queued_before = is_queued(&run_known.state);
        // Some may be known: the run was read meanwhile.
        let new = records.partition_point(|record| record.offset <= run_known.last);
        let new = &records[new..];
        if run_known.is_before(stat.epoch, new) {
            // Another node's: they were judged there.
            for record in new {
                run_known.state.apply_merged(stat.epoch, &event_of(record));
                run_known.last = record.offset;
            }
        }
        if records.last().is_some_and(|record| record.offset >= run_known.last) {
            run_known.undo = None;
        }
        let (is_over, is_queued) =
            (run_known.state.status().is_terminal(), is_queued(&run_known.state));
        known.queued = known.queued + usize::from(is_queued) - usize::from(is_queued_before);
        if is_over {
            // What has ended is not needed.
            known.take(run);
        }
    }

    fn undo(&self, run: &RunId) {
        let mut known = self.known();
        let Some(KnownRun { state, epoch, undo: Some(undo), .. }) = known.take(run) else { return };
        let Undo { state: before, last } = *undo;
        // Of a run that did not begin nothing is left.
        if last > Offset::START {
            let state = before.unwrap_or(state);
            known.put(run.clone(), KnownRun { state, epoch, last, undo: None });
        }
    }

    fn forget(&self, run: &RunId) {
        self.known().take(run);
    }
}

/// Folds events in, the first that cannot be true excepted; gives what the feed has of them.
fn fold(state: &mut RunState, events: &NewEvents<'_>) -> Result<Vec<Bytes>, Refusal> {
    let NewEvents { run, epoch, begins, records, .. } = *events;
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
