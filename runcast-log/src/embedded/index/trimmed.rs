//! What retention asks: what stands for trimmed events, and how much there is to trim.

use std::sync::Arc;

use runcast_event::{Offset, RunId};

use super::{Entry, Index};
use crate::contract::ReadError;
use crate::embedded::base::{self, BasePlace, BasePlan};
use crate::embedded::extent::Extent;
use crate::embedded::plan::Source;
use crate::embedded::segment::entry::StoredEntry;
use crate::embedded::segment::index::{NameHash, SegmentIndex};
use crate::stream::{Phase, Stream};

impl Index {
    /// Where to read what stands for a stream's trimmed events.
    pub(crate) fn base_plan(&self, run: &RunId) -> Result<Option<BasePlan>, ReadError> {
        let stream = self.stream(run).ok_or(ReadError::NotFound)?;
        let basis = self.basis(run).ok_or(ReadError::Deleted)?;
        if !stream.has_base {
            return Ok(None);
        }
        let (run, first) = (run.clone(), stream.first);
        match self.base_place(&run, &stream) {
            Some((source, place)) => Ok(Some(BasePlan { run, first, source, place, basis })),
            None => Err(base::damaged(first, "the file that had it is gone")),
        }
    }

    /// Where what stands for the trimmed events of a stream is, which stands like this.
    pub(crate) fn base_place(&self, run: &RunId, stream: &Stream) -> Option<(Source, BasePlace)> {
        let unsealed = self.entries.get(run).and_then(Entry::base);
        if let Some(base) = unsealed.filter(|base| base.file > self.sealed_through) {
            let wal = self.wals.get(&base.file)?;
            return Some((Source::Wal(base.file, Arc::clone(wal)), *base));
        }
        let hash = NameHash::of(run.as_str());
        self.segments.iter().rev().find_map(|segment| {
            let entry = segment.index.entry(segment.index.find(run.as_str(), hash)?);
            let base = entry.base.filter(|_| keeps_base(stream, &entry))?;
            Some((Source::Segment(Arc::clone(segment)), base))
        })
    }

    /// See [`crate::contract::Log::first_within`].
    pub(crate) fn first_within(&self, run: &RunId, bytes_max: u64) -> Result<Offset, ReadError> {
        let stream = self.stream(run).ok_or(ReadError::NotFound)?;
        if stream.phase == Phase::Deleted {
            return Err(ReadError::Deleted);
        }
        let (mut left, mut first) = (bytes_max, stream.last.get() + 1);
        let mut fits = |extent: &Extent| {
            let rest = left.checked_sub(extent.events_bytes.into());
            left = rest.unwrap_or(0);
            if rest.is_some() {
                first = extent.first;
            }
            rest.is_some()
        };
        let unsealed = self.entries.get(run).map_or(&[][..], |entry| self.unsealed(entry));
        if unsealed.iter().rev().all(&mut fits) {
            let hash = NameHash::of(run.as_str());
            for segment in self.segments.iter().rev() {
                let Some(at) = segment.index.find(run.as_str(), hash) else { continue };
                let entry = segment.index.entry(at);
                let blocks: Vec<Extent> = SegmentIndex::read(entry).1.collect();
                if entry.born != stream.born || !blocks.iter().rev().all(&mut fits) {
                    break;
                }
            }
        }
        Ok(Offset::new(first).max(stream.first))
    }
}

/// Whether what a segment has in the place of trimmed events still stands for those of the stream.
pub(crate) fn keeps_base(stream: &Stream, entry: &StoredEntry<'_>) -> bool {
    let is_same = stream.born == entry.born && stream.first == entry.first;
    is_same && stream.phase != Phase::Deleted
}
