//! Where every event is, and how every stream stands: what readers may see.
//!
//! Two layers. What was sealed stands in the segments' indices. Over them lie, in a map, the streams
//! that changed in a write-ahead log that is not sealed: an entry there says how its stream stands
//! now, and where its events in those logs are. A stream that is quiet leaves the map when its last
//! change is sealed, so that the map's size is that of the unsealed logs and not that of the log.
//!
//! Changed only by the writer, for what is committed, and by the upkeep, which moves what is sealed
//! from one layer to the other without changing what a reader sees.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use runcast_event::{Epoch, Offset, RunId};

use crate::contract::{ReadError, ReadLimit, StreamStat};
use crate::embedded::base::BasePlace;
use crate::embedded::disk::DiskFile;
use crate::embedded::extent::Extent;
use crate::embedded::manifest::Manifest;
use crate::embedded::pending::Touched;
use crate::embedded::plan::{PlanBasis, ReadPlan, Source, Spans};
use crate::embedded::segment::Segment;
use crate::embedded::segment::index::{NameHash, SegmentIndex};
use crate::stats::LogStats;
use crate::stream::{Phase, Stream};

mod list;
mod trimmed;

pub(crate) use trimmed::keeps_base;

/// What a hash map adds to an entry.
const HASH_BYTES: usize = 1;
/// What a name of usual length takes behind its pointer.
const NAME_BYTES: usize = 64;
/// By how much a tree is larger than what is in it.
const TREE_FACTOR: usize = 2;
/// The map gives memory back only while it has at most this many streams: they all move then, and
/// appends wait for that.
const SHRINK_STREAMS_MAX: usize = 16 * 1024;
/// How much larger than its streams the map may be.
const SHRINK_FACTOR: usize = 4;

/// A stream and the places of its events that are not sealed.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) stream: Stream,
    extents: Vec<Extent>,
    /// What stands for events that were trimmed, if a log that is not sealed has it.
    base: Option<Box<BasePlace>>,
    /// The newest write-ahead log that changed it.
    changed_in: u32,
}

impl Entry {
    fn new(stream: Stream) -> Self {
        Self { stream, extents: Vec::new(), base: None, changed_in: 0 }
    }

    /// Adds events of the newest write-ahead log.
    pub(crate) fn push(&mut self, extent: Extent) {
        let joined = self.extents.last_mut().is_some_and(|last| last.join(&extent));
        if !joined {
            self.extents.push(extent);
        }
        self.changed_in = extent.file;
    }

    pub(crate) fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// What a write-ahead log that is not sealed put in the place of trimmed events.
    pub(crate) fn base(&self) -> Option<&BasePlace> {
        self.base.as_deref()
    }

    /// Forgets the places of events that the stream does not keep.
    fn let_go(&mut self) {
        let first = self.stream.first.get();
        self.extents.retain(|extent| extent.last() >= first);
        if self.extents.is_empty() {
            self.extents = Vec::new();
        }
    }
}

/// All streams together, without the feed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Those that are not deleted.
    pub(crate) streams: u64,
    /// Events that they keep.
    pub(crate) events: u64,
}

impl Totals {
    fn of(run: &RunId, stream: Option<&Stream>) -> Self {
        match stream {
            Some(stream) if stream.phase != Phase::Deleted && !run.is_feed() => {
                Self { streams: 1, events: stream.kept() }
            }
            _ => Self::default(),
        }
    }

    fn replace(&mut self, before: Self, now: Self) {
        // What is checked may count less than there is, and then take more away than it counts.
        self.streams = (self.streams + now.streams).saturating_sub(before.streams);
        self.events = (self.events + now.events).saturating_sub(before.events);
    }
}

/// All streams.
#[derive(Default)]
pub(crate) struct Index {
    entries: HashMap<RunId, Entry>,
    /// Those of `entries` that are not deleted, in order.
    names: BTreeSet<RunId>,
    /// The write-ahead logs that are not sealed, or not yet removed.
    wals: BTreeMap<u32, Arc<dyn DiskFile>>,
    /// The older before the newer.
    segments: Arc<[Arc<Segment>]>,
    /// What is in write-ahead logs up to this is in the segments.
    sealed_through: u32,
    /// One more each time that the set of files changes.
    generation: u64,
    totals: Totals,
    /// Extents that there is memory for.
    extents: u64,
    /// The epoch of a name that was never used, or is not remembered.
    pub(crate) first_epoch: Epoch,
    /// How many new epochs have begun for all streams.
    pub(crate) epochs_begun: u32,
}

impl Index {
    /// What a manifest and its segments say.
    pub(crate) fn over(manifest: &Manifest, segments: Arc<[Arc<Segment>]>) -> Self {
        Self {
            segments,
            sealed_through: manifest.wal_first - 1,
            totals: Totals { streams: manifest.streams, events: manifest.events },
            first_epoch: manifest.first_epoch,
            epochs_begun: manifest.epochs_begun,
            ..Self::default()
        }
    }

    pub(crate) fn add_wal(&mut self, number: u32, file: Arc<dyn DiskFile>) {
        self.wals.insert(number, file);
    }

    pub(crate) fn wal(&self, number: u32) -> Option<&Arc<dyn DiskFile>> {
        self.wals.get(&number)
    }

    /// Bytes of the write-ahead logs.
    pub(crate) fn wal_bytes(&self) -> io::Result<u64> {
        self.wals.values().map(|file| file.length()).sum()
    }

    pub(crate) fn segments(&self) -> &Arc<[Arc<Segment>]> {
        &self.segments
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// A stream or its tombstone.
    pub(crate) fn stream(&self, run: &RunId) -> Option<Cow<'_, Stream>> {
        match self.entries.get(run) {
            Some(entry) => Some(Cow::Borrowed(&entry.stream)),
            None => self.sealed(run.as_str()).map(Cow::Owned),
        }
    }

    /// A stream as the segments know it, in its epoch of now.
    pub(crate) fn sealed(&self, name: &str) -> Option<Stream> {
        let hash = NameHash::of(name);
        self.segments.iter().rev().find_map(|segment| {
            let at = segment.index.find(name, hash)?;
            Some(self.stream_of(segment, at))
        })
    }

    /// The stream of a segment's entry, in its epoch of now.
    fn stream_of(&self, segment: &Segment, at: usize) -> Stream {
        let (mut stream, _) = SegmentIndex::read(segment.index.entry(at));
        // Epochs that have begun since then.
        stream.begin_epoch(self.epochs_begun.saturating_sub(segment.trailer.epochs_begun));
        stream
    }

    /// The streams that changed since the last seal, in no order.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&RunId, &Entry)> {
        self.entries.iter()
    }

    /// The entry of a stream that changed since the last seal.
    pub(crate) fn entry(&self, run: &RunId) -> Option<&Entry> {
        self.entries.get(run)
    }

    /// The entry of a stream or a tombstone, to be changed by the write-ahead log with a number.
    pub(crate) fn entry_by_name(&mut self, name: &str, file: u32) -> Option<&mut Entry> {
        if !self.entries.contains_key(name) {
            let stream = self.sealed(name)?;
            let run = RunId::from_stored(name).ok()?;
            if stream.phase != Phase::Deleted {
                self.names.insert(run.clone());
            }
            self.entries.insert(run, Entry::new(stream));
        }
        let entry = self.entries.get_mut(name)?;
        entry.changed_in = file;
        Some(entry)
    }

    /// The entry of a stream that begins.
    pub(crate) fn begin(&mut self, run: &RunId, stream: Stream) -> &mut Entry {
        self.names.insert(run.clone());
        let entry = self.entries.entry(run.clone()).or_insert_with(|| Entry::new(stream.clone()));
        entry.stream = stream;
        entry
    }

    /// Takes over a stream's new state from the writer: changed in a write-ahead log, with the places
    /// of what is new in it.
    pub(crate) fn put(&mut self, run: RunId, touched: Touched, file: u32) {
        let Touched { stream, emptied, extents, base } = touched;
        let before = Totals::of(&run, self.stream(&run).as_deref());
        self.totals.replace(before, Totals::of(&run, Some(&stream)));
        if stream.phase == Phase::Deleted {
            self.names.remove(&run);
        } else if self.entries.get(&run).is_none_or(|e| e.stream.phase == Phase::Deleted) {
            self.names.insert(run.clone());
        }
        let entry = self.entries.entry(run).or_insert_with(|| Entry::new(stream.clone()));
        let extents_before = entry.extents.capacity();
        let trimmed = entry.stream.first < stream.first;
        entry.stream = stream;
        entry.changed_in = file;
        if emptied {
            entry.extents = Vec::new();
        }
        if emptied || trimmed || base.is_some() {
            entry.base = base.map(Box::new);
        }
        for extent in extents {
            entry.push(extent);
        }
        if trimmed {
            entry.let_go();
        }
        self.extents += entry.extents.capacity() as u64;
        self.extents -= extents_before as u64;
    }

    /// Counts what recovery put over the segments; from here on [`Self::put`] keeps count.
    pub(crate) fn count(&mut self) {
        let mut totals = self.totals;
        for (run, entry) in &self.entries {
            let before = Totals::of(run, self.sealed(run.as_str()).as_ref());
            totals.replace(before, Totals::of(run, Some(&entry.stream)));
        }
        self.totals = totals;
        self.extents = self.entries.values().map(|entry| entry.extents.capacity() as u64).sum();
    }

    /// How large it is.
    pub(crate) fn measure(&self) -> LogStats {
        let entry_bytes = size_of::<(RunId, Entry)>() + HASH_BYTES;
        let fixed = self.entries.capacity() * entry_bytes
            + self.entries.len() * NAME_BYTES
            + self.names.len() * size_of::<RunId>() * TREE_FACTOR;
        let extent_bytes = self.extents * size_of::<Extent>() as u64;
        let sealed_bytes: usize = self.segments.iter().map(|segment| segment.index.bytes()).sum();
        LogStats {
            files: (self.wals.len() + self.segments.len()) as u64,
            segments: self.segments.len() as u64,
            streams: self.totals.streams,
            streams_changed: self.entries.len() as u64,
            events: self.totals.events,
            index_bytes: fixed as u64 + extent_bytes + sealed_bytes as u64,
            ..LogStats::default()
        }
    }

    /// A stream that was deleted, in a write-ahead log that is read back. False if there is none.
    pub(crate) fn delete(&mut self, name: &str, file: u32) -> bool {
        let alive = |entry: &&mut Entry| entry.stream.phase != Phase::Deleted;
        let Some(entry) = self.entry_by_name(name, file).filter(alive) else { return false };
        entry.stream.delete();
        entry.base = None;
        entry.let_go();
        self.names.remove(name);
        true
    }

    /// A stream that was trimmed, in a write-ahead log that is read back. False if it was not so.
    pub(crate) fn trim(
        &mut self,
        name: &str,
        before: Offset,
        base: Option<BasePlace>,
        file: u32,
    ) -> bool {
        let Some(entry) = self.entry_by_name(name, file) else { return false };
        let trims = entry.stream.trim(before, base.is_some());
        if trims {
            entry.base = base.map(Box::new);
            entry.let_go();
        }
        trims
    }

    /// Acknowledged events may have been lost: see [`Stream::begin_epoch`]. For streams that are not
    /// in the map it counts when they are looked at.
    pub(crate) fn begin_epoch(&mut self, by: u32) {
        for entry in self.entries.values_mut() {
            entry.stream.begin_epoch(by);
        }
        self.first_epoch = self.first_epoch.plus(by);
        self.epochs_begun = self.epochs_begun.saturating_add(by);
    }

    pub(crate) fn stat(&self, run: &RunId) -> Result<Option<StreamStat>, ReadError> {
        match self.stream(run) {
            None => Ok(None),
            Some(stream) if stream.phase == Phase::Deleted => Err(ReadError::Deleted),
            Some(stream) => Ok(Some(stream.stat())),
        }
    }

    /// What to read for a page.
    pub(crate) fn plan(
        &self,
        run: &RunId,
        after: Offset,
        limit: ReadLimit,
    ) -> Result<ReadPlan, ReadError> {
        let stream = self.stream(run).ok_or(ReadError::NotFound)?;
        if stream.phase == Phase::Deleted {
            return Err(ReadError::Deleted);
        }
        if after.get().saturating_add(1) < stream.first.get() {
            return Err(ReadError::Trimmed { first: stream.first });
        }
        let extents = self.entries.get(run).map_or(&[][..], |entry| self.unsealed(entry));
        let mut spans = Spans::new(after, limit);
        let before_them = extents.first().map_or(stream.last.get(), |extent| extent.first - 1);
        if after.get() < before_them {
            self.plan_segments(run, after, stream.born, &mut spans);
        }
        let start = extents.partition_point(|extent| extent.last() <= after.get());
        for extent in &extents[start..] {
            if spans.are_enough() {
                break;
            }
            let wal = || Some(Source::Wal(extent.file, Arc::clone(self.wals.get(&extent.file)?)));
            spans.push(wal, extent);
        }
        let basis =
            PlanBasis { generation: self.generation, born: stream.born, first: stream.first };
        Ok(ReadPlan { stat: stream.stat(), spans: spans.spans, basis })
    }

    fn plan_segments(&self, run: &RunId, after: Offset, born: Epoch, spans: &mut Spans) {
        let hash = NameHash::of(run.as_str());
        for segment in self.segments.iter() {
            let Some(at) = segment.index.find(run.as_str(), hash) else { continue };
            let entry = segment.index.entry(at);
            // Another stream had the name.
            if entry.born != born {
                continue;
            }
            let (_, blocks) = SegmentIndex::read(entry);
            for block in blocks.skip_while(|block| block.last() <= after.get()) {
                if spans.are_enough() {
                    return;
                }
                spans.push(|| Some(Source::Segment(Arc::clone(segment))), &block);
            }
        }
    }

    /// What a plan for a stream would be made by now.
    pub(crate) fn basis(&self, run: &RunId) -> Option<PlanBasis> {
        let stream = self.stream(run).filter(|stream| stream.phase != Phase::Deleted)?;
        let (born, first) = (stream.born, stream.first);
        Some(PlanBasis { generation: self.generation, born, first })
    }

    /// The places of a stream's events that are not sealed.
    fn unsealed<'a>(&self, entry: &'a Entry) -> &'a [Extent] {
        let start = entry.extents.partition_point(|extent| extent.file <= self.sealed_through);
        &entry.extents[start..]
    }

    /// Another set of segments, which a manifest tells of: readers see the same in it.
    pub(crate) fn replace_segments(&mut self, segments: Arc<[Arc<Segment>]>, manifest: &Manifest) {
        self.segments = segments;
        self.sealed_through = manifest.wal_first - 1;
        self.generation += 1;
        // Names may have been forgotten: what is made under them has a later epoch than they had.
        let begun_since = self.epochs_begun.saturating_sub(manifest.epochs_begun);
        self.first_epoch = self.first_epoch.max(manifest.first_epoch.plus(begun_since));
    }

    /// Forgets what is sealed of a few streams, and of those that are quiet everything.
    pub(crate) fn forget_sealed<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            let Some(entry) = self.entries.get_mut(name) else { continue };
            self.extents -= entry.extents.capacity() as u64;
            if entry.changed_in <= self.sealed_through {
                self.entries.remove(name);
                self.names.remove(name);
                continue;
            }
            let sealed = entry.extents.partition_point(|e| e.file <= self.sealed_through);
            entry.extents.drain(..sealed);
            entry.extents.shrink_to_fit();
            entry.base.take_if(|base| base.file <= self.sealed_through);
            self.extents += entry.extents.capacity() as u64;
        }
    }

    /// Forgets write-ahead logs that are sealed, and gives memory back.
    pub(crate) fn forget_wals(&mut self) {
        self.wals = self.wals.split_off(&(self.sealed_through + 1));
        let streams = self.entries.len();
        if streams <= SHRINK_STREAMS_MAX && self.entries.capacity() > streams * SHRINK_FACTOR {
            self.entries.shrink_to_fit();
        }
    }
}
