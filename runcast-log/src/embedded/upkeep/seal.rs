//! Sealing: full write-ahead logs become a segment in which each stream's events lie together.
//!
//! What to write is found by reading the logs over the segments before them, as recovery does, so
//! that what is sealed is what a restart would find. Streams that were given up meanwhile are erased
//! from older segments before the logs that say so go.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use runcast_event::RunId;

use super::{NewSegment, Upkeep, UpkeepError, gather};
use crate::embedded::directory;
use crate::embedded::index::Entry;
use crate::embedded::manifest::Manifest;
use crate::embedded::recovery::Recovery;
use crate::embedded::segment::Segment;
use crate::embedded::wal;

/// The most write-ahead logs that become one segment.
const WALS_MAX: u32 = 4;
/// So many streams are changed in the index at a time: readers and the writer wait meanwhile.
const STREAMS_AT_ONCE: usize = 256;

impl Upkeep {
    /// Seals the write-ahead logs before the newest one, or the oldest of them.
    pub(super) fn seal(&mut self, newest: u32) -> Result<(), UpkeepError> {
        let first = self.manifest.wal_first;
        let end = newest.min(first + WALS_MAX);
        let log_id = Some(self.manifest.log_id);
        let mut recovery = Recovery::over(&self.manifest, Arc::clone(&self.segments), log_id);
        for number in first..end {
            self.breathe()?;
            recovery.read_wal(self.disk.as_ref(), &self.directory, number, false)?;
        }
        recovery.index.count();
        let mut manifest = Manifest {
            wal_first: end,
            next_group: recovery.next_group,
            first_epoch: recovery.index.first_epoch,
            epochs_begun: recovery.index.epochs_begun,
            streams: recovery.index.totals().streams,
            events: recovery.index.totals().events,
            session: recovery.session.clone(),
            ..self.manifest.clone()
        };
        let mut segments = self.segments.to_vec();
        let made = self.write_sealed(&recovery)?;
        let number = made.as_ref().map(|(segment, _)| segment.number());
        if let Some((segment, length)) = &made {
            manifest.segments.push(Self::listed(segment, *length));
            segments.push(Arc::clone(segment));
        }
        if let Err(error) = self.erase_given_up(&recovery, &mut manifest) {
            number.into_iter().for_each(|number| self.remove_segment(number));
            return Err(error);
        }
        self.install(manifest, segments, number)?;
        if let Some((segment, length)) = made {
            self.shared.counts.written_by_seals.fetch_add(length, Ordering::Relaxed);
            self.forget_sealed(&segment);
        }
        self.remove_wals(first..end);
        self.remove_orphans();
        self.sync_removals();
        Ok(())
    }

    /// Writes a segment of what changed; none if nothing did.
    fn write_sealed(
        &mut self,
        recovery: &Recovery,
    ) -> Result<Option<(Arc<Segment>, u64)>, UpkeepError> {
        let mut streams: Vec<(&RunId, &Entry)> = recovery.index.changed().collect();
        if streams.is_empty() {
            return Ok(None);
        }
        streams.sort_unstable_by_key(|(run, _)| *run);
        let mut new = self.begin_segment(0)?;
        self.write_streams(recovery, &streams, &mut new)?;
        self.finish_segment(new, recovery.index.epochs_begun).map(Some)
    }

    fn write_streams(
        &self,
        recovery: &Recovery,
        streams: &[(&RunId, &Entry)],
        new: &mut NewSegment,
    ) -> Result<(), UpkeepError> {
        let path = new.file.path.clone();
        let failed = || UpkeepError::io("write", &path);
        let mut ended = 0;
        self.begin_stream(recovery, streams, 0, new)?;
        for piece in gather::pieces(streams, self.options.seal_memory_bytes_max) {
            self.breathe()?;
            let read = gather::read(&recovery.index, &piece)?;
            for (wanted, bytes) in piece.iter().zip(read) {
                self.end_streams(recovery, streams, ended..wanted.stream, new)?;
                ended = wanted.stream;
                let (run, entry) = streams[wanted.stream];
                let (born, first) = (entry.stream.born, entry.stream.first);
                let mut written = Ok(());
                gather::events(run, &wanted.extent, &bytes, self.tag(), first, |event| {
                    if written.is_ok() {
                        written = new.writer().event(run, born, event);
                    }
                })?;
                written.map_err(failed())?;
            }
        }
        self.end_streams(recovery, streams, ended..streams.len(), new)
    }

    /// Lets the map of changed streams go of what a new segment has, a few streams at a time.
    fn forget_sealed(&self, segment: &Segment) {
        let mut at = 0;
        while at < segment.index.len() {
            let end = segment.index.len().min(at + STREAMS_AT_ONCE);
            let names = (at..end).map(|at| segment.index.entry(at).name);
            let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
            index.forget_sealed(names);
            drop(index);
            at = end;
        }
    }

    /// Removes write-ahead logs that are sealed. Readers that have them open go on.
    fn remove_wals(&mut self, numbers: Range<u32>) {
        let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
        let files: Vec<_> = numbers.map(|number| (number, index.wal(number).cloned())).collect();
        index.forget_wals();
        drop(index);
        for (number, file) in files {
            let length = file.and_then(|file| file.length().ok()).unwrap_or(0);
            self.remove(directory::path_of(&self.directory, number), length);
        }
    }

    /// Ends streams one behind the other, and begins the one behind them.
    fn end_streams(
        &self,
        recovery: &Recovery,
        streams: &[(&RunId, &Entry)],
        ended: Range<usize>,
        new: &mut NewSegment,
    ) -> Result<(), UpkeepError> {
        for at in ended {
            let (run, entry) = streams[at];
            let path = new.file.path.clone();
            new.writer().end(run, &entry.stream).map_err(UpkeepError::io("write", &path))?;
            self.begin_stream(recovery, streams, at + 1, new)?;
        }
        Ok(())
    }

    /// Writes what stands for trimmed events of a stream, if the logs that are sealed have it, and says
    /// whether the others are joined.
    fn begin_stream(
        &self,
        recovery: &Recovery,
        streams: &[(&RunId, &Entry)],
        at: usize,
        new: &mut NewSegment,
    ) -> Result<(), UpkeepError> {
        let Some((run, entry)) = streams.get(at) else { return Ok(()) };
        new.writer().join_by(self.join(run, &entry.stream));
        let Some(base) = entry.base() else { return Ok(()) };
        let file = recovery.index.wal(base.file).expect("a record is in a file that was read");
        let record = base.read(file.as_ref(), run.as_str(), entry.stream.first);
        let record = record.map_err(|reason| {
            let name = wal::file_name(base.file);
            UpkeepError::Damaged(format!("{name}, byte {}: {reason}", base.position))
        })?;
        let path = new.file.path.clone();
        new.writer().base(&record).map_err(UpkeepError::io("write", &path))
    }
}
