//! What the log promises, written down a second time and without a disk: how streams stand, and what
//! becomes of each request.
//!
//! Shares no code with the log's own decisions. Cheap to clone, so that every state that a crash may
//! leave can be kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use runcast_event::{Epoch, Offset, RunId};
use runcast_log::{Append, AppendError, Appended, Page, ReadError, ReadLimit, Record, StreamStat};

use crate::observer;

/// The most producers that a stream remembers.
pub(crate) const PRODUCERS_MAX: usize = 3;

/// A stream, or the tombstone of one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stream {
    epoch: u32,
    /// How many events there ever were, and how many of them are not kept any more.
    last: u64,
    trimmed: u64,
    /// Those that are kept.
    events: Vec<Bytes>,
    /// What stands for the others; empty if nothing does.
    base: Bytes,
    is_closed: bool,
    is_deleted: bool,
    /// For each producer its epoch and the number of its next event.
    producers: BTreeMap<String, (u64, u64)>,
    bases: Vec<(u32, u64)>,
}

/// All streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Model {
    streams: BTreeMap<RunId, Arc<Stream>>,
    /// The epoch of a stream whose name was never used.
    first_epoch: u32,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { streams: BTreeMap::new(), first_epoch: 1 }
    }

    fn living(&self, run: &RunId) -> Option<&Stream> {
        self.streams.get(run).map(AsRef::as_ref).filter(|stream| !stream.is_deleted)
    }

    fn stream_mut(&mut self, run: &RunId) -> Option<&mut Stream> {
        self.streams.get_mut(run).map(Arc::make_mut)
    }

    /// Carries an append out.
    pub(crate) fn append(&mut self, append: &Append) -> Result<Appended, AppendError> {
        let begins = self.living(&append.run).is_none();
        let duplicates = match self.living(&append.run) {
            Some(stream) => match stream.check(append)? {
                Ok(duplicates) => duplicates,
                Err(stored_before) => return Ok(stored_before),
            },
            None => self.check_beginning(append)?,
        };
        let epoch = match self.streams.get(&append.run) {
            Some(stream) => self.next_epoch(&append.run).unwrap_or(stream.epoch),
            None => self.first_epoch,
        };
        let last = self.living(&append.run).map_or(0, |stream| stream.last);
        let new = &append.events[duplicates..];
        if let Some(at) = new.iter().position(observer::is_refused) {
            return Err(AppendError::Refused(observer::refusal(duplicates + at)));
        }
        if begins {
            self.streams.insert(append.run.clone(), Arc::new(Stream::new(epoch)));
        }
        let stream = self.stream_mut(&append.run).expect("it exists now");
        stream.take(append, duplicates);
        let entries: Vec<Bytes> = (last + 1..)
            .zip(new)
            .filter(|(_, event)| observer::is_life(event))
            .map(|(offset, _)| observer::entry(&append.run, begins && last == 0, epoch, offset))
            .collect();
        let stored = new.len() as u64;
        self.feed(entries);
        Ok(Appended {
            epoch: Epoch::new(epoch).expect("an epoch is not 0"),
            last: Offset::new(last + stored),
            stored,
            duplicates: duplicates as u64,
        })
    }

    fn check_beginning(&self, append: &Append) -> Result<usize, AppendError> {
        if append.run.is_feed() || !append.create || append.events.is_empty() {
            return Err(AppendError::NotFound);
        }
        if let Some(sequence) = append.producer.as_ref().map(|p| p.sequence).filter(|s| *s > 0) {
            return Err(AppendError::SequenceGap { sequence, expected: 0 });
        }
        match append.expected_last {
            Some(expected) if expected.get() > 0 => {
                Err(AppendError::OffsetMismatch { expected, actual: Offset::new(0) })
            }
            _ => Ok(0),
        }
    }

    fn feed(&mut self, entries: Vec<Bytes>) {
        if entries.is_empty() {
            return;
        }
        let first_epoch = self.first_epoch;
        let feed = self.streams.entry(RunId::feed());
        let feed = Arc::make_mut(feed.or_insert_with(|| Arc::new(Stream::new(first_epoch))));
        feed.last += entries.len() as u64;
        feed.events.extend(entries);
    }

    pub(crate) fn delete(&mut self, run: &RunId) -> bool {
        if run.is_feed() || self.living(run).is_none() {
            return false;
        }
        let stream = self.stream_mut(run).expect("it is there");
        *stream = Stream { epoch: stream.epoch, is_deleted: true, ..Stream::new(1) };
        self.feed(observer::deletion(run).into_iter().collect());
        true
    }

    pub(crate) fn trim(&mut self, run: &RunId, before: Offset, base: &Bytes) -> bool {
        if self.living(run).is_none() {
            return false;
        }
        let stream = self.stream_mut(run).expect("it is there");
        let trimmed = before.get().saturating_sub(1).min(stream.last);
        let more = trimmed.saturating_sub(stream.trimmed);
        if more > 0 {
            stream.events.drain(..more as usize);
            stream.trimmed += more;
            stream.base = base.clone();
        }
        more > 0
    }

    /// The machine stopped before what was acknowledged was on the disk.
    pub(crate) fn begin_epoch(&mut self) {
        self.first_epoch += 1;
        for stream in self.streams.values_mut().filter(|stream| !stream.is_closed) {
            let stream = Arc::make_mut(stream);
            stream.epoch += 1;
            if !stream.is_deleted {
                stream.bases.push((stream.epoch, stream.last));
            }
        }
    }

    /// Every name that was ever used, the feed's too.
    pub(crate) fn names(&self) -> impl Iterator<Item = &RunId> {
        self.streams.keys()
    }

    /// The names whose streams are deleted.
    pub(crate) fn deleted(&self) -> impl Iterator<Item = RunId> {
        let deleted = self.streams.iter().filter(|(_, stream)| stream.is_deleted);
        deleted.map(|(run, _)| run.clone())
    }

    /// The epoch of a stream that is made next by the name of one that is deleted.
    pub(crate) fn next_epoch(&self, run: &RunId) -> Option<u32> {
        let stream = self.streams.get(run).filter(|stream| stream.is_deleted);
        stream.map(|stream| stream.epoch + 1)
    }

    /// A producer's epoch and its next number in a run.
    pub(crate) fn producer(&self, run: &RunId, id: &str) -> (u64, u64) {
        let stream = self.living(run);
        stream.and_then(|stream| stream.producers.get(id)).copied().unwrap_or_default()
    }

    /// The last offset of a run.
    pub(crate) fn last(&self, run: &RunId) -> u64 {
        self.living(run).map_or(0, |stream| stream.last)
    }

    pub(crate) fn stat(&self, run: &RunId) -> Result<Option<StreamStat>, ReadError> {
        match self.streams.get(run) {
            None => Ok(None),
            Some(stream) if stream.is_deleted => Err(ReadError::Deleted),
            Some(stream) => Ok(Some(stream.stat())),
        }
    }

    /// What stands for the events of a run that were trimmed.
    pub(crate) fn base(&self, run: &RunId) -> Result<Option<Bytes>, ReadError> {
        match self.streams.get(run) {
            None => Err(ReadError::NotFound),
            Some(stream) if stream.is_deleted => Err(ReadError::Deleted),
            Some(stream) => Ok(Some(stream.base.clone()).filter(|base| !base.is_empty())),
        }
    }

    pub(crate) fn list(&self) -> Vec<(RunId, StreamStat)> {
        let living =
            self.streams.iter().filter(|(run, stream)| !run.is_feed() && !stream.is_deleted);
        living.map(|(run, stream)| (run.clone(), stream.stat())).collect()
    }

    pub(crate) fn read(
        &self,
        run: &RunId,
        after: Offset,
        limit: ReadLimit,
    ) -> Result<Page, ReadError> {
        let Some(stream) = self.streams.get(run) else { return Err(ReadError::NotFound) };
        if stream.is_deleted {
            return Err(ReadError::Deleted);
        }
        if after.get() < stream.trimmed {
            return Err(ReadError::Trimmed { first: Offset::new(stream.trimmed + 1) });
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        let skipped = (after.get() - stream.trimmed).min(stream.events.len() as u64) as usize;
        for (at, payload) in stream.events.iter().enumerate().skip(skipped) {
            bytes += payload.len();
            let is_full = bytes > limit.bytes_max || records.len() >= limit.events_max;
            if is_full && !records.is_empty() {
                break;
            }
            let offset = Offset::new(stream.trimmed + at as u64 + 1);
            records.push(Record::single(offset, payload.clone()));
        }
        Ok(Page { records, stat: stream.stat() })
    }
}

impl Stream {
    fn new(epoch: u32) -> Self {
        Self {
            epoch,
            last: 0,
            trimmed: 0,
            events: Vec::new(),
            base: Bytes::new(),
            is_closed: false,
            is_deleted: false,
            producers: BTreeMap::new(),
            bases: if epoch == 1 { Vec::new() } else { vec![(epoch, 0)] },
        }
    }

    /// How many events of a batch are stored already; or its answer, if all are.
    fn check(&self, append: &Append) -> Result<Result<usize, Appended>, AppendError> {
        if append.run.is_feed() {
            return Err(AppendError::NotFound);
        }
        let mut duplicates = 0;
        let mut gap = None;
        if let Some(stamp) = &append.producer {
            let known = self.producers.get(stamp.id.as_str());
            let (current, next) = known.copied().unwrap_or((stamp.epoch, 0));
            if stamp.epoch < current {
                return Err(AppendError::Fenced { epoch: stamp.epoch, current });
            }
            let expected = if stamp.epoch > current { 0 } else { next };
            let sequence = stamp.sequence;
            duplicates = expected.saturating_sub(sequence).min(append.events.len() as u64) as usize;
            if sequence > expected {
                gap = Some(AppendError::SequenceGap { sequence, expected });
            } else if known.is_none() && self.producers.len() >= PRODUCERS_MAX {
                gap = Some(AppendError::TooManyProducers { max: PRODUCERS_MAX });
            }
        }
        if duplicates == append.events.len() {
            return Ok(Err(Appended {
                epoch: self.stat().epoch,
                last: Offset::new(self.last),
                stored: 0,
                duplicates: duplicates as u64,
            }));
        }
        if self.is_closed {
            return Err(AppendError::Closed { last: Offset::new(self.last) });
        }
        if let Some(gap) = gap {
            return Err(gap);
        }
        match append.expected_last {
            Some(expected) if expected.get() + duplicates as u64 != self.last => {
                Err(AppendError::OffsetMismatch { expected, actual: Offset::new(self.last) })
            }
            _ => Ok(Ok(duplicates)),
        }
    }

    fn take(&mut self, append: &Append, duplicates: usize) {
        self.last += (append.events.len() - duplicates) as u64;
        self.events.extend_from_slice(&append.events[duplicates..]);
        self.is_closed = append.close;
        if let Some(stamp) = &append.producer {
            let next = stamp.sequence + append.events.len() as u64;
            self.producers.insert(stamp.id.as_str().to_owned(), (stamp.epoch, next));
        }
    }

    fn stat(&self) -> StreamStat {
        let epoch = |epoch| Epoch::new(epoch).expect("an epoch is not 0");
        let bases = self.bases.iter().map(|(of, base)| (epoch(*of), Offset::new(*base)));
        StreamStat {
            first: Offset::new(self.trimmed + 1),
            last: Offset::new(self.last),
            closed: self.is_closed,
            epoch: epoch(self.epoch),
            epoch_bases: bases.collect(),
        }
    }
}
