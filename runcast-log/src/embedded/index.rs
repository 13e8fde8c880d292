//! Where every event is, and how every stream stands: what readers may see.
//!
//! In memory, rebuilt at the start, changed only by the writer and only for what is committed.
//! Addresses are (file, position), so that files of another kind can be added.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use runcast_event::{Epoch, Offset, RunId};

use crate::contract::{ReadError, ReadLimit, StreamStat};
use crate::embedded::disk::DiskFile;
use crate::embedded::wal::group;
use crate::stats::LogStats;
use crate::stream::{Phase, Stream};

/// Neighbouring appends of one stream are one extent up to this many bytes: a reader reads at least
/// one extent.
pub(crate) const EXTENT_BYTES_MAX: u32 = 64 * 1024;
/// Extents with at most this many bytes of other streams between them are read together.
const READ_GAP_BYTES_MAX: u64 = 2 * 1024;
/// The most bytes that are read in one piece, unless an extent is larger.
const READ_BYTES_MAX: u64 = 256 * 1024;

/// What a hash map adds to an entry.
const HASH_BYTES: usize = 1;
/// What a name of usual length takes behind its pointer.
const NAME_BYTES: usize = 64;
/// By how much a tree is larger than what is in it.
const TREE_FACTOR: usize = 2;

/// A place with events of one stream, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) first: u64,
    pub(crate) position: u64,
    pub(crate) count: u32,
    pub(crate) file: u32,
    pub(crate) length: u32,
    /// Bytes of the events themselves.
    pub(crate) events_bytes: u32,
}

impl Extent {
    fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    fn end(&self) -> u64 {
        self.position + u64::from(self.length)
    }

    /// Takes the next extent in, if it is right behind, at most a group's header away.
    fn join(&mut self, next: &Self) -> bool {
        let Some(gap) = next.position.checked_sub(self.end()) else { return false };
        let length = next.position + u64::from(next.length) - self.position;
        let joins = self.file == next.file
            && (gap == 0 || gap == group::HEADER_LENGTH as u64)
            && length <= u64::from(EXTENT_BYTES_MAX);
        if joins {
            self.length += gap as u32 + next.length;
            self.count += next.count;
            self.events_bytes += next.events_bytes;
        }
        joins
    }
}

/// A stream and the places of its events.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) stream: Stream,
    extents: Vec<Extent>,
}

impl Entry {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, extents: Vec::new() }
    }

    pub(crate) fn push(&mut self, extent: Extent) {
        let joined = self.extents.last_mut().is_some_and(|last| last.join(&extent));
        if !joined {
            self.extents.push(extent);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.extents = Vec::new();
    }

    fn sizes(&self) -> Sizes {
        let Stream { first, last, .. } = self.stream;
        Sizes {
            events: (last.get() + 1).saturating_sub(first.get()),
            extents: self.extents.capacity() as u64,
        }
    }
}

/// What entries have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sizes {
    /// Events that are kept.
    events: u64,
    /// Extents that there is memory for.
    extents: u64,
}

impl Sizes {
    fn replace(&mut self, before: Self, now: Self) {
        self.events = self.events + now.events - before.events;
        self.extents = self.extents + now.extents - before.extents;
    }
}

/// All streams.
#[derive(Default)]
pub(crate) struct Index {
    entries: HashMap<RunId, Entry>,
    /// Those that are not deleted, in order.
    names: BTreeSet<RunId>,
    /// The file with number n is at n - 1.
    files: Vec<Arc<dyn DiskFile>>,
    /// All entries together, since they were last counted.
    sizes: Sizes,
    /// The epoch of a name that was never used.
    pub(crate) first_epoch: Epoch,
}

impl Index {
    pub(crate) fn add_file(&mut self, file: Arc<dyn DiskFile>) {
        self.files.push(file);
    }

    /// A stream or its tombstone.
    pub(crate) fn stream(&self, run: &RunId) -> Option<&Stream> {
        self.entries.get(run).map(|entry| &entry.stream)
    }

    pub(crate) fn entry_by_name(&mut self, run: &str) -> Option<&mut Entry> {
        self.entries.get_mut(run)
    }

    /// The entry of a stream, made if it is not there. The caller leaves it with a stream that is
    /// not deleted.
    pub(crate) fn alive(&mut self, run: &RunId, stream: impl FnOnce() -> Stream) -> &mut Entry {
        let entry = self.entries.entry(run.clone()).or_insert_with(|| {
            self.names.insert(run.clone());
            Entry::new(stream())
        });
        if entry.stream.phase == Phase::Deleted {
            self.names.insert(run.clone());
        }
        entry
    }

    /// Takes over a stream's new state from the writer.
    pub(crate) fn put(&mut self, run: RunId, stream: Stream, emptied: bool, extents: &[Extent]) {
        let deleted = stream.phase == Phase::Deleted;
        if deleted {
            self.names.remove(&run);
        } else if self.entries.get(&run).is_none_or(|e| e.stream.phase == Phase::Deleted) {
            self.names.insert(run.clone());
        }
        let before = self.entries.get(&run).map(Entry::sizes).unwrap_or_default();
        let entry = self.entries.entry(run).or_insert_with(|| Entry::new(stream.clone()));
        entry.stream = stream;
        if emptied {
            entry.clear();
        }
        for extent in extents {
            entry.push(*extent);
        }
        let now = entry.sizes();
        self.sizes.replace(before, now);
    }

    /// Counts what recovery put in; from here on [`Self::put`] keeps count.
    pub(crate) fn count(&mut self) {
        self.sizes = Sizes::default();
        for entry in self.entries.values() {
            self.sizes.replace(Sizes::default(), entry.sizes());
        }
    }

    /// Bytes of all files.
    pub(crate) fn disk_bytes(&self) -> io::Result<u64> {
        self.files.iter().map(|file| file.length()).sum()
    }

    /// How large it is.
    pub(crate) fn measure(&self) -> LogStats {
        let entry_bytes = size_of::<(RunId, Entry)>() + HASH_BYTES;
        let fixed = self.entries.capacity() * entry_bytes
            + self.entries.len() * NAME_BYTES
            + self.names.len() * size_of::<RunId>() * TREE_FACTOR;
        let feed = RunId::feed();
        let of_feed = self.entries.get(&feed).map(Entry::sizes).unwrap_or_default();
        let extent_bytes = self.sizes.extents * size_of::<Extent>() as u64;
        LogStats {
            files: self.files.len() as u64,
            streams: (self.names.len() - usize::from(self.names.contains(&feed))) as u64,
            events: self.sizes.events - of_feed.events,
            index_bytes: fixed as u64 + extent_bytes,
            ..LogStats::default()
        }
    }

    pub(crate) fn delete(&mut self, run: &str) -> bool {
        let Some(entry) = self.entries.get_mut(run) else { return false };
        entry.stream.delete();
        entry.clear();
        self.names.remove(run);
        true
    }

    /// Acknowledged events may have been lost: see [`Stream::begin_epoch`].
    pub(crate) fn begin_epoch(&mut self) {
        for entry in self.entries.values_mut() {
            entry.stream.begin_epoch();
        }
        self.first_epoch = self.first_epoch.next();
    }

    pub(crate) fn stat(&self, run: &RunId) -> Result<Option<StreamStat>, ReadError> {
        match self.stream(run) {
            None => Ok(None),
            Some(stream) if stream.phase == Phase::Deleted => Err(ReadError::Deleted),
            Some(stream) => Ok(Some(stream.stat())),
        }
    }

    pub(crate) fn list(&self, after: Option<&RunId>, limit: usize) -> Vec<(RunId, StreamStat)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let names = self.names.range::<RunId, _>((start, Bound::Unbounded));
        let names = names.filter(|run| !run.is_feed()).take(limit);
        let stats = names.filter_map(|run| {
            let entry = self.entries.get(run)?;
            Some((run.clone(), entry.stream.stat()))
        });
        stats.collect()
    }

    /// What to read for a page.
    pub(crate) fn plan(
        &self,
        run: &RunId,
        after: Offset,
        limit: ReadLimit,
    ) -> Result<ReadPlan, ReadError> {
        let entry = self.entries.get(run).ok_or(ReadError::NotFound)?;
        let stat = self.stat(run)?.ok_or(ReadError::NotFound)?;
        if after.get().saturating_add(1) < stat.first.get() {
            return Err(ReadError::Trimmed { first: stat.first });
        }
        let start = entry.extents.partition_point(|extent| extent.last() <= after.get());
        let mut spans: Vec<Span> = Vec::new();
        let (mut events, mut bytes) = (0, 0);
        for extent in &entry.extents[start..] {
            if events >= limit.events_max.max(1) || bytes > limit.bytes_max {
                break;
            }
            // Of an extent that the page begins in the middle of, at least one event counts.
            let begun = extent.first <= after.get();
            events += if begun { 1 } else { extent.count as usize };
            bytes += if begun { 0 } else { extent.events_bytes as usize };
            let joined = spans.last_mut().is_some_and(|span| span.join(extent));
            if !joined {
                let file = &self.files[extent.file as usize - 1];
                spans.push(Span::new(extent, Arc::clone(file)));
            }
        }
        Ok(ReadPlan { stat, spans })
    }
}

/// What to read for a page: reads, each with the extents in it.
pub(crate) struct ReadPlan {
    pub(crate) stat: StreamStat,
    pub(crate) spans: Vec<Span>,
}

/// One read from one file.
pub(crate) struct Span {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) file_number: u32,
    pub(crate) position: u64,
    pub(crate) length: usize,
    pub(crate) extents: Vec<Extent>,
}

impl Span {
    fn new(extent: &Extent, file: Arc<dyn DiskFile>) -> Self {
        Self {
            file,
            file_number: extent.file,
            position: extent.position,
            length: extent.length as usize,
            extents: vec![*extent],
        }
    }

    fn join(&mut self, extent: &Extent) -> bool {
        let Some(gap) = extent.position.checked_sub(self.position + self.length as u64) else {
            return false;
        };
        let length = extent.end() - self.position;
        let joins = extent.file == self.file_number
            && gap <= READ_GAP_BYTES_MAX
            && length <= READ_BYTES_MAX;
        if joins {
            self.length = length as usize;
            self.extents.push(*extent);
        }
        joins
    }
}
