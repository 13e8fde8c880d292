//! Erasing what was given up: the blocks of deleted and trimmed streams become holes.
//!
//! A write-ahead log that says that events were given up is sealed only when they are erased, so that
//! after a crash the erasing begins again. Until then a reader may have a plan for such a block; it
//! finds zeros, looks again, and finds that the stream is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Upkeep, UpkeepError};
use crate::embedded::directory;
use crate::embedded::manifest::Manifest;
use crate::embedded::recovery::Recovery;
use crate::embedded::segment::Segment;
use crate::embedded::segment::index::{NameHash, SegmentIndex};
use crate::stream::{Phase, Stream};

/// Whether a stream that stands like this keeps a block of the stream that began in an epoch.
pub(super) fn keeps(stream: &Stream, born: runcast_event::Epoch, last: u64) -> bool {
    stream.phase != Phase::Deleted && stream.born == born && last >= stream.first.get()
}

/// A part of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    position: u64,
    end: u64,
}

impl Hole {
    /// Adds the next hole: names come in order, and so do their blocks. Neighbours are one hole, so
    /// that a block of the file system that has small runs only is given back.
    pub(super) fn join_or_push(self, holes: &mut Vec<Self>) {
        match holes.last_mut() {
            Some(before) if before.end == self.position => before.end = self.end,
            _ => holes.push(self),
        }
    }
}

/// The blocks of a stream in a segment that it kept as it stood before, and does not keep now. They
/// lie behind each other.
pub(super) fn hole(segment: &Segment, name: &str, before: &Stream, now: &Stream) -> Option<Hole> {
    let at = segment.index.find(name, NameHash::of(name))?;
    let entry = segment.index.entry(at);
    let (_, blocks) = SegmentIndex::read(entry);
    let mut given_up = blocks.filter(|block| {
        keeps(before, entry.born, block.last()) && !keeps(now, entry.born, block.last())
    });
    let first = given_up.next()?;
    let end = given_up.last().map_or(first.end(), |last| last.end());
    Some(Hole { position: first.position, end })
}

impl Upkeep {
    /// Erases from the segments what write-ahead logs gave up, and notes in a manifest how much.
    pub(super) fn erase_given_up(
        &mut self,
        recovery: &Recovery,
        manifest: &mut Manifest,
    ) -> Result<(), UpkeepError> {
        let mut holes: BTreeMap<u32, Vec<Hole>> = BTreeMap::new();
        for run in &recovery.gave_up {
            let Some(now) = recovery.index.stream(run) else { continue };
            let Some(before) = recovery.index.sealed(run.as_str()) else { continue };
            for segment in self.segments.iter() {
                if let Some(hole) = hole(segment, run.as_str(), &before, &now) {
                    hole.join_or_push(holes.entry(segment.number()).or_default());
                }
            }
            if let Some(merge) = &mut self.merge {
                merge.gave_up(run);
            }
        }
        for segment in self.segments.iter() {
            let Some(holes) = holes.get(&segment.number()) else { continue };
            let erased = self.erase(segment, holes)?;
            if let Some(listed) = manifest.listed_mut(segment.number()) {
                listed.erased += erased;
            }
        }
        Ok(())
    }

    /// Makes holes, durably, and says how many bytes they have.
    pub(super) fn erase(&self, segment: &Arc<Segment>, holes: &[Hole]) -> Result<u64, UpkeepError> {
        let path = directory::segment_path(&self.directory, segment.number());
        let file = segment.file().map_err(UpkeepError::io("open", &path))?;
        let mut erased = 0;
        for Hole { position, end } in holes {
            self.breathe()?;
            let length = end - position;
            file.erase(*position, length).map_err(UpkeepError::io("erase in", &path))?;
            erased += length;
        }
        file.sync().map_err(UpkeepError::io("sync", &path))?;
        Ok(erased)
    }
}
