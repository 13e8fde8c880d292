//! What a commit reaches: the tails of followed streams, those who read which runs change, and the gate.
//!
//! Called by the log in the order of its commits: never waits, and never calls the log.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

use bytes::Bytes;
use runcast_event::{Cursor, RunId};
use runcast_log::{CommitObserver, Committed, NewEvents, NotAdmitted};

use crate::changes::{ChangedRuns, Changes};
use crate::damage::Damage;
use crate::gate::Gate;
use crate::hub::HubConfig;
use crate::stats::Counts;
use crate::tail::{Tail, TailBudget};
use crate::turns::Turns;

/// Streams that are followed, spread over maps so that their locks rarely meet.
const SHARDS: usize = 64;

type Shard = Mutex<HashMap<RunId, Arc<Tail>>>;

pub(crate) struct Fanout {
    shards: [Shard; SHARDS],
    hasher: RandomState,
    pub(crate) budget: Arc<TailBudget>,
    pub(crate) followers: AtomicUsize,
    changes: RwLock<Vec<Weak<ChangedRuns>>>,
    pub(crate) counts: Counts,
    pub(crate) damage: Damage,
    pub(crate) gate: OnceLock<Arc<dyn Gate>>,
    /// Who appends to runs that the gate is being made ready for.
    pub(crate) turns: Turns,
    /// Behind the newest entry of the feed of which all readers of changes have heard.
    pub(crate) feed_cursor: Mutex<Cursor>,
}

impl Fanout {
    pub(crate) fn new(config: &HubConfig) -> Self {
        Self {
            shards: std::array::from_fn(|_| Shard::default()),
            hasher: RandomState::new(),
            budget: Arc::new(TailBudget {
                stream_bytes_max: config.tail_bytes_max,
                total_bytes_max: config.tails_bytes_max,
                total_bytes: AtomicUsize::new(0),
            }),
            followers: AtomicUsize::new(0),
            changes: RwLock::default(),
            counts: Counts::default(),
            damage: Damage::default(),
            gate: OnceLock::new(),
            turns: Turns::default(),
            feed_cursor: Mutex::default(),
        }
    }

    pub(crate) fn shard(&self, run: &RunId) -> MutexGuard<'_, HashMap<RunId, Arc<Tail>>> {
        let at = self.hasher.hash_one(run) as usize % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tail(&self, run: &RunId) -> Option<Arc<Tail>> {
        self.shard(run).get(run).cloned()
    }

    /// How many streams are followed.
    pub(crate) fn tails(&self) -> usize {
        let tails = |shard: &Shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(tails).sum()
    }

    pub(crate) fn changes(&self) -> Changes {
        let changed = Arc::new(ChangedRuns::default());
        let mut readers = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Arc::downgrade(&changed));
        Changes(changed)
    }

    pub(crate) fn notice(&self, run: &RunId) {
        let readers = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        readers.iter().filter_map(Weak::upgrade).for_each(|reader| reader.add(run));
    }

    pub(crate) fn set_feed_cursor(&self, cursor: Cursor) {
        *self.feed_cursor.lock().unwrap_or_else(PoisonError::into_inner) = cursor;
    }
}

impl CommitObserver for Fanout {
    fn committed(&self, changes: Vec<Committed>) {
        let readers = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        let mut feed_cursor = None;
        for change in changes {
            let (Committed::Appended { run, .. }
            | Committed::Deleted { run }
            | Committed::Changed { run }
            | Committed::Lost { run }) = &change;
            match (self.gate.get(), &change) {
                (Some(gate), Committed::Appended { records, stat, .. }) => {
                    gate.stored(run, records, stat);
                }
                (Some(gate), Committed::Deleted { .. } | Committed::Lost { .. }) => {
                    gate.forget(run);
                }
                _ => {}
            }
            // The feed is no run.
            if !run.is_feed() {
                readers.iter().filter_map(Weak::upgrade).for_each(|r| r.add(run));
            } else if let Committed::Appended { stat, .. } = &change {
                feed_cursor = Some(Cursor::new(stat.epoch, stat.last));
            }
            let Some(tail) = self.tail(run) else { continue };
            match change {
                Committed::Appended { records, stat, .. } => {
                    tail.push(records, &stat);
                }
                Committed::Deleted { .. } => tail.delete(),
                Committed::Changed { .. } => {}
                Committed::Lost { .. } => tail.lose(),
            }
        }
        if let Some(cursor) = feed_cursor {
            self.set_feed_cursor(cursor);
        }
    }

    fn admit(&self, events: NewEvents<'_>) -> Result<Vec<Bytes>, NotAdmitted> {
        self.gate.get().map_or_else(|| Ok(Vec::new()), |gate| gate.admit(events))
    }

    fn feed_deletion(&self, run: &RunId) -> Option<Bytes> {
        self.gate.get()?.deletion(run)
    }

    fn discarded(&self, run: &RunId) {
        if let Some(gate) = self.gate.get() {
            gate.undo(run);
        }
    }
}
