//! Merging: neighbouring segments become one, so that a run's events lie together and there are few
//! segments to look into.
//!
//! Which ones: as many neighbours of one level as the options say, when the runs in them have little
//! there each; when they have much, a merge would bring readers nothing, and is put off until there
//! are several times as many. And a segment of which most is erased is written anew. So each event is
//! written once to a write-ahead log, once by a seal, and usually at most once by a merge.
//!
//! A deleted stream's entry stays as a tombstone, some tens of bytes: so that a reader is told that it
//! was deleted, and a stream that is made again has an epoch that was never used. When there are too
//! many, a merge leaves those out of which no older segment knows anything. Their epochs are not
//! forgotten: from then on every name that is not known begins in a later one. With retention,
//! segments are written anew as their runs go, so that there are never many more tombstones than
//! streams.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use runcast_event::{Epoch, Offset, RunId};

use super::erase::{self, keeps};
use super::{NewSegment, Upkeep, UpkeepError};
use crate::embedded::base::{self, BaseFault};
use crate::embedded::extent::Extent;
use crate::embedded::index::keeps_base;
use crate::embedded::joined::StoredEvent;
use crate::embedded::manifest::{ListedSegment, Manifest};
use crate::embedded::segment::index::{NameHash, SegmentIndex};
use crate::embedded::segment::{self, BLOCK_BYTES_MAX, Segment};
use crate::embedded::walk::walk;
use crate::stream::{Phase, Stream};

/// Runs have little in a segment when it has at most this many bytes for each on average.
const LITTLE_BYTES: u64 = 16 * 1024;
/// Where they have much, so many times as many segments are there before they are merged.
const PUT_OFF: usize = 4;
/// The indices of segments that are merged have at most this many bytes together: they are in memory
/// once more meanwhile.
const INDEX_BYTES_MAX: usize = 256 * 1024 * 1024;
/// A segment is written anew when at least one part in so many is erased.
const ERASED_PART: u64 = 2;
/// So many bytes are merged before it is looked whether something is more urgent.
const STEP_BYTES: u64 = 8 * 1024 * 1024;
/// What looking at one more stream counts in these bytes.
const STREAM_BYTES: u64 = 256;
/// Each segment is read ahead by this much.
const WINDOW_BYTES: usize = 256 * 1024;
/// A block of at least this many bytes is taken over as it is.
const WHOLE_BLOCK_BYTES: u32 = BLOCK_BYTES_MAX as u32 / 2;

/// A merge under way.
pub(super) struct Merge {
    inputs: Vec<Input>,
    new: NewSegment,
    level: u32,
    epochs_begun: u32,
    /// Whether tombstones are left out, and the latest epoch of those that were.
    forgets: bool,
    forgotten: Option<Epoch>,
    /// Streams of which events were given up since it began: what is merged of them is erased.
    gave_up: BTreeSet<RunId>,
}

/// A segment that is merged, from its next stream on.
struct Input {
    segment: Arc<Segment>,
    next: usize,
    /// A part of the file, and where it begins.
    window: Bytes,
    start: u64,
}

impl Input {
    fn name(&self) -> Option<&str> {
        let index = &self.segment.index;
        (self.next < index.len()).then(|| index.entry(self.next).name)
    }

    /// The bytes of a block, or of what is before blocks. Asked for in the order of the file.
    fn read(&mut self, position: u64, length: u32) -> std::io::Result<Bytes> {
        let length = length as usize;
        let at = position.checked_sub(self.start).map(|at| at as usize);
        if let Some(at) = at.filter(|at| at + length <= self.window.len()) {
            return Ok(self.window.slice(at..at + length));
        }
        let there = self.segment.length - position;
        let mut window = vec![0; (WINDOW_BYTES.max(length) as u64).min(there) as usize];
        self.segment.file()?.read_exact_at(&mut window, position)?;
        (self.window, self.start) = (window.into(), position);
        Ok(self.window.slice(..length))
    }
}

impl Merge {
    pub(super) fn gave_up(&mut self, run: &RunId) {
        self.gave_up.insert(run.clone());
    }

    /// The next stream, its segments from the oldest to the newest, and whether there is one.
    fn next_stream(&mut self) -> Option<(RunId, Vec<(usize, usize)>)> {
        let name = self.inputs.iter().filter_map(Input::name).min()?;
        let run = RunId::from_stored(name).expect("names were checked when the segment was opened");
        let mut holders = Vec::new();
        for (at, input) in self.inputs.iter_mut().enumerate() {
            if input.name() == Some(run.as_str()) {
                holders.push((at, input.next));
                input.next += 1;
            }
        }
        Some((run, holders))
    }

    /// Takes a stream over: what of it the newest of all segments says that it keeps.
    fn take(
        &mut self,
        run: &RunId,
        holders: &[(usize, usize)],
        (older, newer): (&[Arc<Segment>], &[Arc<Segment>]),
        upkeep: &Upkeep,
    ) -> Result<u64, UpkeepError> {
        let tag = upkeep.tag();
        let (newest, entry) = *holders.last().expect("a stream is in a segment");
        let newest = &self.inputs[newest].segment;
        let (mut stream, _) = SegmentIndex::read(newest.index.entry(entry));
        stream.begin_epoch(self.epochs_begun.saturating_sub(newest.trailer.epochs_begun));
        let now = sealed_in(newer, run.as_str());
        let keeper = now.as_ref().unwrap_or(&stream);
        let (mut taken, mut next) = (self.take_base(run, holders, keeper)?, None);
        self.new.writer().join_by(upkeep.join(run, keeper));
        for (input, entry) in holders {
            let segment = Arc::clone(&self.inputs[*input].segment);
            let entry = segment.index.entry(*entry);
            let born = entry.born;
            let (_, blocks) = SegmentIndex::read(entry);
            for block in blocks.filter(|block| keeps(keeper, born, block.last())) {
                // A repair leaves a hole where events could not be read. In one segment there is none.
                if next.is_some_and(|next| next != block.first) {
                    segment.set_damaged();
                    let name = segment::file_name(segment.number());
                    let reason = format!("{name} does not go on where run {run} ends before it");
                    return Err(UpkeepError::Damaged(reason));
                }
                next = Some(block.last() + 1);
                self.take_block(run, (born, keeper.first), *input, &block, tag)?;
                taken += u64::from(block.length);
            }
        }
        let is_tombstone = stream.phase == Phase::Deleted && now.is_none();
        if is_tombstone && self.forgets && sealed_in(older, run.as_str()).is_none() {
            self.forgotten = self.forgotten.max(Some(stream.epoch));
        } else if taken > 0 || now.is_none() {
            // Otherwise a newer segment says how the stream stands now.
            let path = self.new.file.path.clone();
            self.new.writer().end(run, &stream).map_err(UpkeepError::io("write", &path))?;
        }
        Ok(taken)
    }

    /// Takes over what stands for trimmed events, if it still does: its bytes.
    fn take_base(
        &mut self,
        run: &RunId,
        holders: &[(usize, usize)],
        keeper: &Stream,
    ) -> Result<u64, UpkeepError> {
        let found = holders.iter().rev().find_map(|(input, at)| {
            let entry = self.inputs[*input].segment.index.entry(*at);
            Some((*input, entry.base.filter(|_| keeps_base(keeper, &entry))?))
        });
        let Some((input, place)) = found else { return Ok(0) };
        let input = &mut self.inputs[input];
        let record = input.read(place.position, place.length).map_err(BaseFault::Io);
        let checked = record.and_then(|record| {
            base::check(&record, run.as_str(), keeper.first)?;
            Ok(record)
        });
        let record = checked.map_err(|reason| {
            input.segment.set_damaged();
            let name = segment::file_name(input.segment.number());
            UpkeepError::Damaged(format!("{name}, byte {}: {reason}", place.position))
        })?;
        let path = self.new.file.path.clone();
        self.new.writer().base(&record).map_err(UpkeepError::io("write", &path))?;
        Ok(place.length.into())
    }

    /// Takes the events of a block that are kept, of a stream that began in an epoch.
    fn take_block(
        &mut self,
        run: &RunId,
        (born, first): (Epoch, Offset),
        input: usize,
        block: &Extent,
        tag: u64,
    ) -> Result<(), UpkeepError> {
        let input = &mut self.inputs[input];
        let name = segment::file_name(input.segment.number());
        let damaged = |segment: &Segment, at: u64, reason: &str| {
            segment.set_damaged();
            UpkeepError::Damaged(format!("{name}, byte {at}: {reason}"))
        };
        let bytes = input
            .read(block.position, block.length)
            .map_err(|error| damaged(&input.segment, block.position, &error.to_string()))?;
        let mut events: Vec<StoredEvent> = Vec::new();
        let walked = walk(&bytes, block, run.as_str(), tag, |event| {
            if event.last >= first {
                events.push(event.read(&bytes).from(first));
            }
            true
        });
        walked.map_err(|fault| {
            damaged(&input.segment, block.position + fault.at as u64, fault.reason)
        })?;
        let path = self.new.file.path.clone();
        let writer = self.new.writer();
        let is_whole = first.get() <= block.first && block.length >= WHOLE_BLOCK_BYTES;
        let written = if is_whole && !writer.joins() {
            writer.block(run, born, Offset::new(block.first), block.count, &bytes)
        } else {
            events.into_iter().try_for_each(|event| writer.event(run, born, event))
        };
        written.map_err(UpkeepError::io("write", &path))
    }
}

/// The newest state of a stream in some segments.
fn sealed_in(segments: &[Arc<Segment>], name: &str) -> Option<Stream> {
    let hash = NameHash::of(name);
    segments.iter().rev().find_map(|segment| {
        let at = segment.index.find(name, hash)?;
        Some(SegmentIndex::read(segment.index.entry(at)).0)
    })
}

impl Upkeep {
    /// Begins a merge if there is something to merge, or goes on with one. False if there is nothing.
    pub(super) fn merge_a_piece(&mut self) -> Result<bool, UpkeepError> {
        let mut merge = match self.merge.take() {
            Some(merge) => merge,
            None => match self.choose() {
                Some(chosen) => self.begin_merge(chosen)?,
                None => return Ok(false),
            },
        };
        let place = self.place_of(&merge);
        let segments = Arc::clone(&self.segments);
        let others = (&segments[..place.start], &segments[place.end..]);
        let mut merged = 0;
        while merged < STEP_BYTES {
            self.breathe()?;
            let Some((run, holders)) = merge.next_stream() else {
                self.finish_merge(merge)?;
                return Ok(true);
            };
            merged += merge.take(&run, &holders, others, self)? + STREAM_BYTES;
        }
        self.merge = Some(merge);
        Ok(true)
    }

    /// Which segments to merge next.
    fn choose(&self) -> Option<Range<usize>> {
        let listed = &self.manifest.segments;
        let is_whole = |at: &usize| !self.segments[*at].is_damaged();
        let mostly_erased = |at: &usize| {
            let ListedSegment { erased, length, .. } = listed[*at];
            erased > 0 && erased.saturating_mul(ERASED_PART) >= length
        };
        if let Some(at) = (0..listed.len()).filter(is_whole).find(mostly_erased) {
            return Some(at..at + 1);
        }
        let mut start = 0;
        while start < listed.len() {
            let level = listed[start].level;
            let alike = (start..listed.len()).take_while(|at| listed[*at].level == level);
            let alike = alike.take_while(is_whole).count();
            if let Some(chosen) = self.choose_among(start..start + alike) {
                return Some(chosen);
            }
            start += alike.max(1);
        }
        None
    }

    /// Some of these neighbours, if they are enough.
    fn choose_among(&self, mut alike: Range<usize>) -> Option<Range<usize>> {
        let enough = self.options.merge_segments.max(2);
        let sizes = |range: Range<usize>| {
            self.segments[range].iter().fold((0, 0, 0), |(length, streams, index), segment| {
                let streams = streams + segment.index.len() as u64;
                (length + segment.length, streams, index + segment.index.bytes())
            })
        };
        while alike.len() >= enough {
            let (length, streams, _) = sizes(alike.clone());
            let have_much = length / streams.max(1) > LITTLE_BYTES;
            if have_much && alike.len() < enough * PUT_OFF {
                return None;
            }
            let mut chosen = alike.start..alike.start + enough;
            while chosen.len() >= 2 {
                let (length, _, index) = sizes(chosen.clone());
                if length <= self.options.segment_bytes_max && index <= INDEX_BYTES_MAX {
                    return Some(chosen);
                }
                chosen.end -= 1;
            }
            // The first is too large to be merged with any.
            alike.start += 1;
        }
        None
    }

    fn begin_merge(&mut self, chosen: Range<usize>) -> Result<Merge, UpkeepError> {
        let inputs: Vec<Input> = self.segments[chosen.clone()]
            .iter()
            .map(|segment| Input {
                segment: Arc::clone(segment),
                next: 0,
                window: Bytes::new(),
                start: 0,
            })
            .collect();
        let newest = &self.segments[chosen.end - 1];
        let (epochs_begun, level) = (newest.trailer.epochs_begun, newest.header.level);
        let tombstones: usize = self.segments.iter().map(|s| s.index.tombstones).sum();
        let forgets = tombstones > self.options.tombstones_max;
        let level = if chosen.len() > 1 { level + 1 } else { level };
        let new = self.begin_segment(level)?;
        let gave_up = BTreeSet::new();
        Ok(Merge { inputs, new, level, epochs_begun, forgets, forgotten: None, gave_up })
    }

    /// Where the segments that are merged stand among all.
    fn place_of(&self, merge: &Merge) -> Range<usize> {
        let first = merge.inputs.first().map(|input| input.segment.number());
        let start = self.segments.iter().position(|segment| Some(segment.number()) == first);
        let start = start.expect("what is merged stays until it is merged");
        start..start + merge.inputs.len()
    }

    /// Puts the merged segment in the place of those that it was made of.
    fn finish_merge(&mut self, merge: Merge) -> Result<(), UpkeepError> {
        let place = self.place_of(&merge);
        let Merge { new, epochs_begun, forgotten, gave_up, level, .. } = merge;
        let number = new.number;
        let (segment, length) = self.finish_segment(new, epochs_begun)?;
        debug_assert_eq!(segment.header.level, level, "it is what was begun");
        let mut listed = Self::listed(&segment, length);
        match self.erase_merged(&segment, &gave_up, &self.segments[place.end..]) {
            Ok(erased) => listed.erased = erased,
            Err(error) => {
                self.remove_segment(number);
                return Err(error);
            }
        }
        let mut segments = self.segments.to_vec();
        let mut manifest: Manifest = self.manifest.clone();
        if let Some(forgotten) = forgotten {
            let begun_since = manifest.epochs_begun.saturating_sub(epochs_begun);
            let forgotten = forgotten.plus(begun_since);
            manifest.first_epoch = manifest.first_epoch.max(forgotten.next());
        }
        if segment.index.len() == 0 {
            segments.drain(place.clone());
            manifest.segments.drain(place);
            self.install(manifest, segments, Some(number))?;
            self.remove_segment(number);
        } else {
            segments.splice(place.clone(), [Arc::clone(&segment)]);
            manifest.segments.splice(place, [listed]);
            self.install(manifest, segments, Some(number))?;
        }
        self.shared.counts.written_by_merges.fetch_add(length, Ordering::Relaxed);
        self.remove_orphans();
        self.sync_removals();
        Ok(())
    }

    /// Erases what was given up while it was merged.
    fn erase_merged(
        &self,
        segment: &Arc<Segment>,
        gave_up: &BTreeSet<RunId>,
        newer: &[Arc<Segment>],
    ) -> Result<u64, UpkeepError> {
        let mut holes = Vec::new();
        for run in gave_up {
            let Some(at) = segment.index.find(run.as_str(), NameHash::of(run.as_str())) else {
                continue;
            };
            let (before, _) = SegmentIndex::read(segment.index.entry(at));
            let Some(now) = sealed_in(newer, run.as_str()) else { continue };
            if let Some(hole) = erase::hole(segment, run.as_str(), &before, &now) {
                hole.join_or_push(&mut holes);
            }
        }
        if holes.is_empty() { Ok(0) } else { self.erase(segment, &holes) }
    }
}
