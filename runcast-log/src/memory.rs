//! A log that lives in memory: what tests of other parts run on.
//!
//! Keeps the whole contract except that nothing outlives the process. Commits are made under one
//! lock, so that the observer hears of them in order.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use runcast_event::{Epoch, Offset, RunId};

use crate::contract::{
    Append, AppendError, Appended, CommitObserver, Committed, DeleteError, Log, LogHealth,
    NewEvents, Page, ReadError, ReadLimit, Record, StreamStat, Trim,
};
use crate::stats::LogStats;
use crate::stream::{self, Phase, Placement, Plan, Rules, Stream};

/// The most producers that a stream remembers.
const PRODUCERS_MAX: usize = 1_024;

/// Streams in memory.
pub struct MemoryLog {
    /// Held over a whole commit. None once the log is shut down.
    observer: Mutex<Option<Arc<dyn CommitObserver>>>,
    streams: Mutex<Streams>,
}

struct Kept {
    stream: Stream,
    events: Vec<Bytes>,
    /// What stands for events that were trimmed.
    base: Bytes,
}

impl MemoryLog {
    /// An empty log that tells `observer` of every commit. `Arc::new(())` observes nothing.
    #[must_use]
    pub fn new(observer: Arc<dyn CommitObserver>) -> Arc<Self> {
        Arc::new(Self {
            observer: Mutex::new(Some(observer)),
            streams: Mutex::new(BTreeMap::new()),
        })
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observer(&self) -> MutexGuard<'_, Option<Arc<dyn CommitObserver>>> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, append: &Append) -> Result<Appended, AppendError> {
        let observer = self.observer();
        let Some(observer) = observer.as_ref() else {
            return Err(AppendError::Unavailable { reason: SHUT_DOWN.to_owned() });
        };
        let (appended, changes) = self.store(append, observer.as_ref())?;
        if !changes.is_empty() {
            observer.committed(changes);
        }
        Ok(appended)
    }

    fn store(
        &self,
        append: &Append,
        observer: &dyn CommitObserver,
    ) -> Result<(Appended, Vec<Committed>), AppendError> {
        let rules = Rules { producers_max: PRODUCERS_MAX, first_epoch: Epoch::FIRST };
        let mut streams = self.streams();
        let standing = streams.get(&append.run).map(|kept| &kept.stream);
        let placement = match stream::decide(standing, append, rules)? {
            Plan::Acknowledge(appended) => return Ok((appended, Vec::new())),
            Plan::Store(placement) => placement,
        };
        let records = placement.records(append);
        let entries = observer.admit(NewEvents {
            run: &append.run,
            epoch: placement.epoch,
            begins: placement.begins,
            records: &records,
            is_trial: false,
        });
        let entries = entries.map_err(|reason| placement.not_admitted(reason))?;
        let mut changes = vec![take(&mut streams, append, &placement)];
        changes.extend(feed(&mut streams, entries));
        Ok((placement.appended(append), changes))
    }
}

type Streams = BTreeMap<RunId, Kept>;

fn take(streams: &mut Streams, append: &Append, placement: &Placement) -> Committed {
    let kept = streams.entry(append.run.clone()).or_insert_with(|| Kept {
        stream: Stream::new(placement.epoch),
        events: Vec::new(),
        base: Bytes::new(),
    });
    kept.take(append, placement)
}

fn feed(streams: &mut Streams, entries: Vec<Bytes>) -> Option<Committed> {
    if entries.is_empty() {
        return None;
    }
    let standing = streams.get(&RunId::feed()).map(|kept| &kept.stream);
    let (append, placement) = stream::feed(standing, entries, Epoch::FIRST);
    Some(take(streams, &append, &placement))
}

impl Kept {
    fn take(&mut self, append: &Append, placement: &Placement) -> Committed {
        self.stream.advance(&placement.advance(append));
        let records = placement.records(append);
        self.events.extend(records.iter().map(|record| record.payload.clone()));
        Committed::Appended { run: append.run.clone(), records, stat: self.stream.stat() }
    }

    fn page(&self, after: Offset, limit: ReadLimit) -> Page {
        let after = after.max(Offset::new(self.stream.first.get() - 1));
        let skipped = after.get() - (self.stream.first.get() - 1);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(self.events.len());
        let events = self.events[skipped..].iter();
        let mut bytes = 0;
        let mut records = Vec::new();
        for (event, offset) in
            events.zip(after.get().saturating_add(1)..).take(limit.events_max.max(1))
        {
            bytes += event.len();
            if bytes > limit.bytes_max && !records.is_empty() {
                break;
            }
            records.push(record((event, offset)));
        }
        Page { records, stat: self.stream.stat() }
    }
}

fn record((event, offset): (&Bytes, u64)) -> Record {
    Record::single(Offset::new(offset), event.clone())
}

const SHUT_DOWN: &str = "it is shut down";

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.commit(&append)
    }

    async fn read(&self, run: &RunId, after: Offset, limit: ReadLimit) -> Result<Page, ReadError> {
        match self.streams().get(run) {
            None => Err(ReadError::NotFound),
            Some(kept) if kept.stream.phase == Phase::Deleted => Err(ReadError::Deleted),
            Some(kept) if after.get().saturating_add(1) < kept.stream.first.get() => {
                Err(ReadError::Trimmed { first: kept.stream.first })
            }
            Some(kept) => Ok(kept.page(after, limit)),
        }
    }

    async fn stat(&self, run: &RunId) -> Result<Option<StreamStat>, ReadError> {
        match self.streams().get(run) {
            None => Ok(None),
            Some(kept) if kept.stream.phase == Phase::Deleted => Err(ReadError::Deleted),
            Some(kept) => Ok(Some(kept.stream.stat())),
        }
    }

    async fn list(
        &self,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<(RunId, StreamStat)>, ReadError> {
        let streams = self.streams();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let alive = streams
            .range::<RunId, _>((start, Bound::Unbounded))
            .filter(|(run, kept)| !run.is_feed() && kept.stream.phase != Phase::Deleted);
        Ok(alive.take(limit).map(|(run, kept)| (run.clone(), kept.stream.stat())).collect())
    }

    async fn delete_in(&self, run: &RunId, epoch: Option<Epoch>) -> Result<bool, DeleteError> {
        let observer = self.observer();
        let Some(observer) = observer.as_ref() else {
            return Err(DeleteError::Unavailable { reason: SHUT_DOWN.to_owned() });
        };
        let mut streams = self.streams();
        match streams.get_mut(run) {
            Some(kept) if kept.stream.is_there(epoch) && !run.is_feed() => {
                kept.stream.delete();
                (kept.events, kept.base) = (Vec::new(), Bytes::new());
            }
            _ => return Ok(false),
        }
        let mut changes = vec![Committed::Deleted { run: run.clone() }];
        let entry = observer.feed_deletion(run);
        changes.extend(feed(&mut streams, entry.into_iter().collect()));
        drop(streams);
        observer.committed(changes);
        Ok(true)
    }

    async fn trim(&self, run: &RunId, trim: Trim) -> Result<bool, DeleteError> {
        trim.check()?;
        if self.observer().is_none() {
            return Err(DeleteError::Unavailable { reason: SHUT_DOWN.to_owned() });
        }
        let mut streams = self.streams();
        let Some(kept) = streams.get_mut(run) else { return Ok(false) };
        let first = kept.stream.first.get();
        if !kept.stream.is_there(trim.epoch)
            || !kept.stream.trim(trim.before, !trim.base.is_empty())
        {
            return Ok(false);
        }
        let gone = kept.stream.first.get() - first;
        kept.events.drain(..usize::try_from(gone).unwrap_or(usize::MAX));
        kept.base = trim.base;
        Ok(true)
    }

    async fn base(&self, run: &RunId) -> Result<Option<Bytes>, ReadError> {
        let streams = self.streams();
        let kept = streams.get(run).ok_or(ReadError::NotFound)?;
        if kept.stream.phase == Phase::Deleted {
            return Err(ReadError::Deleted);
        }
        Ok(Some(kept.base.clone()).filter(|base| !base.is_empty()))
    }

    async fn first_within(&self, run: &RunId, bytes_max: u64) -> Result<Offset, ReadError> {
        let streams = self.streams();
        let kept = streams.get(run).ok_or(ReadError::NotFound)?;
        if kept.stream.phase == Phase::Deleted {
            return Err(ReadError::Deleted);
        }
        let mut left = bytes_max;
        let fits = |event: &&Bytes| {
            let rest = left.checked_sub(event.len() as u64);
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        let fit = kept.events.iter().rev().take_while(fits).count() as u64;
        Ok(Offset::new(kept.stream.last.get() + 1 - fit))
    }

    fn health(&self) -> LogHealth {
        match *self.observer() {
            Some(_) => LogHealth::Healthy,
            None => LogHealth::Failed { reason: SHUT_DOWN.to_owned() },
        }
    }

    fn measure(&self) -> LogStats {
        let streams = self.streams();
        let alive = streams
            .iter()
            .filter(|(run, kept)| !run.is_feed() && kept.stream.phase != Phase::Deleted)
            .map(|(_, kept)| kept);
        let (mut count, mut events) = (0, 0);
        for kept in alive {
            count += 1;
            events += kept.events.len() as u64;
        }
        LogStats { streams: count, events, ..LogStats::default() }
    }

    async fn shut_down(&self) {
        self.observer().take();
    }
}
