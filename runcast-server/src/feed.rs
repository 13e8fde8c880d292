//! The feed: the life-cycle events of all runs, as one stream.
//!
//! Owns what an entry says and which entries a reader wants. Keeps of each open run what its next
//! entry says of it; the entries themselves are in the log, in one step with what they tell of.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use runcast_event::{Payload, RunId, Timestamp};
use runcast_hub::{FeedSource, Hub};
use runcast_log::{NewEvents, ReadError, ReadLimit};
use runcast_run::{Brief, RunState, Status};

use crate::projection::States;

mod entry;
mod filter;

pub(crate) use filter::{FEED_FIELDS, FeedFilter};

/// How every payload of a life-cycle event begins.
const LIFE: &[u8] = b"{\"type\":\"run.";
/// How much is read at a time of a run that is not known.
const PAGE: ReadLimit = ReadLimit { events_max: 1_000, bytes_max: 1024 * 1024 };

fn is_life(event: &[u8]) -> bool {
    event.starts_with(LIFE)
}

/// Makes the feed's entries.
pub(crate) struct LifeCycle {
    states: States,
    known: Mutex<Known>,
}

/// What is known of open runs: as it is stored, and as it will be with what is on its way there.
#[derive(Default)]
struct Known {
    stored: HashMap<RunId, Brief>,
    /// None for a run that ends or is deleted.
    coming: HashMap<RunId, Option<Brief>>,
    /// Runs in `stored` that any event makes run.
    queued: usize,
}

impl Known {
    /// None if nothing is known of the run.
    fn get(&self, run: &RunId) -> Option<&Brief> {
        match self.coming.get(run) {
            Some(coming) => coming.as_ref(),
            None => self.stored.get(run),
        }
    }

    fn has_queued(&self) -> bool {
        self.queued > 0 || !self.coming.is_empty()
    }

    fn store(&mut self, run: RunId, brief: Option<Brief>) {
        let is_queued = |brief: &Brief| usize::from(brief.status == Status::Queued);
        self.queued += brief.as_ref().map_or(0, is_queued);
        let before = match brief {
            Some(brief) => self.stored.insert(run, brief),
            None => self.stored.remove(&run),
        };
        self.queued -= before.as_ref().map_or(0, is_queued);
    }
}

impl LifeCycle {
    /// Looks runs up in `states` first.
    pub(crate) fn new(states: States) -> Self {
        Self { states, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds a run up to its end now. None when there is no such run.
    async fn read(&self, hub: &Hub, run: &RunId) -> Result<Option<Brief>, ReadError> {
        let stat = match hub.stat(run).await {
            Ok(Some(stat)) => stat,
            Ok(None) | Err(ReadError::Deleted) => return Ok(None),
            Err(error) => return Err(error),
        };
        let folded = self.states.get(run).filter(|state| state.epoch() == stat.epoch);
        let mut state = folded.unwrap_or_else(|| RunState::new(run.clone()));
        while state.offset() < stat.last {
            let page = hub.read(run, state.offset(), PAGE).await?;
            if page.records.is_empty() {
                break;
            }
            for record in page.records {
                let payload = Payload::from_stored(record.payload);
                state.apply(record.offset, page.stat.epoch, &payload);
            }
        }
        Ok(Some(Brief::of(&state)))
    }
}

impl FeedSource for LifeCycle {
    fn is_ready(&self, run: &RunId) -> bool {
        self.known().get(run).is_some()
    }

    fn make_ready<'a>(
        &'a self,
        hub: &'a Hub,
        run: &'a RunId,
        is_deletion: bool,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            match self.read(hub, run).await {
                // To a run that has ended nothing is added: its events are repetitions.
                Ok(Some(brief)) if brief.status.is_terminal() && !is_deletion => {}
                Ok(Some(brief)) => {
                    let mut known = self.known();
                    if !known.coming.contains_key(run) && !known.stored.contains_key(run) {
                        known.store(run.clone(), Some(brief));
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%run, %error, "the feed cannot say what the run is");
                }
            }
        })
    }

    fn entries(&self, events: NewEvents<'_>) -> Vec<Bytes> {
        let NewEvents { run, epoch, begins, records } = events;
        let mut known = self.known();
        let has_life = records.iter().any(|record| is_life(&record.payload));
        if !has_life && !begins {
            let is_queued = |brief: &Brief| brief.status == Status::Queued;
            if !known.has_queued() || !known.get(run).is_some_and(is_queued) {
                return Vec::new();
            }
        }
        let before = if begins { None } else { known.get(run).cloned() };
        let mut brief = before.unwrap_or_default();
        let mut entries = Vec::new();
        for (at, record) in records.iter().enumerate() {
            let payload = Payload::from_stored(record.payload.clone());
            let was = brief.status;
            brief.apply(&payload);
            let (is_first, starts) = (begins && at == 0, was != brief.status);
            if is_life(&record.payload) || is_first || starts {
                let entry = entry::of_event(run, epoch, record.offset, &payload, &brief);
                entries.push(entry.into_bytes());
            }
        }
        let is_open = !brief.status.is_terminal();
        known.coming.insert(run.clone(), is_open.then_some(brief));
        entries
    }

    fn deletion(&self, run: &RunId) -> Option<Bytes> {
        let mut known = self.known();
        let brief = known.get(run).cloned();
        known.coming.insert(run.clone(), None);
        Some(entry::of_deletion(run, Timestamp::now(), brief.as_ref()).into_bytes())
    }

    fn settle(&self, is_stored: bool) {
        let mut known = self.known();
        if known.coming.is_empty() {
            return;
        }
        for (run, brief) in std::mem::take(&mut known.coming) {
            if is_stored {
                known.store(run, brief);
            }
        }
    }
}
