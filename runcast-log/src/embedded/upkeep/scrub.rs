//! Looking over what is stored: every block of every segment is read and checked, slowly.
//!
//! Nothing is changed. What is damaged is named in the error output and counted; its segment is not
//! merged with others any more.

use std::ops::ControlFlow;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use runcast_event::RunId;

use super::erase::keeps;
use super::{Step, Upkeep};
use crate::embedded::base::{BaseFault, BasePlace};
use crate::embedded::extent::Extent;
use crate::embedded::index::keeps_base;
use crate::embedded::segment::entry::StoredEntry;
use crate::embedded::segment::index::SegmentIndex;
use crate::embedded::segment::{self, Segment};
use crate::embedded::walk::walk;

/// So many bytes are read in one step.
const STEP_BYTES: u64 = 4 * 1024 * 1024;
/// What looking at one more stream counts in these bytes.
const STREAM_BYTES: u64 = 256;

/// A pass over all segments.
pub(super) struct Scrub {
    /// How long after a pass the next one begins; 0 for never.
    every: Duration,
    begins: Instant,
    /// The segment that is looked over, and the next stream in it; none between passes. Segments that
    /// are made meanwhile have higher numbers.
    place: Option<(u32, usize)>,
}

impl Scrub {
    pub(super) fn new(every: Duration, now: Instant) -> Self {
        Self { every, begins: now + every, place: None }
    }
}

impl Upkeep {
    /// Goes on with a pass, if one is due.
    pub(super) fn scrub_a_piece(&mut self) -> Step {
        if self.scrub.every.is_zero() {
            return Step::Idle(None);
        }
        if self.scrub.place.is_none() && self.clock.now() < self.scrub.begins {
            return Step::Idle(Some(self.scrub.begins));
        }
        let (number, stream) = self.scrub.place.unwrap_or((0, 0));
        let next = self.segments.iter().filter(|segment| segment.number() >= number);
        let Some(segment) = next.min_by_key(|segment| segment.number()).cloned() else {
            self.scrub.place = None;
            self.scrub.begins = self.clock.now() + self.scrub.every;
            return Step::Idle(Some(self.scrub.begins));
        };
        let stream = if segment.number() == number { stream } else { 0 };
        let next = self.scrub_segment(&segment, stream);
        self.scrub.place = Some(match next {
            ControlFlow::Continue(stream) => (segment.number(), stream),
            ControlFlow::Break(()) => (segment.number() + 1, 0),
        });
        Step::Scrubbed
    }

    /// Looks over a segment from a stream on. Breaks off at its end.
    fn scrub_segment(&self, segment: &Segment, start: usize) -> ControlFlow<(), usize> {
        let mut read = 0;
        for at in start..segment.index.len() {
            if read >= STEP_BYTES || self.shared.progress.is_closing() {
                return ControlFlow::Continue(at);
            }
            let entry = segment.index.entry(at);
            read += STREAM_BYTES;
            let Some(run) = entry.run() else { continue };
            if let Some(base) = &entry.base {
                read += u64::from(base.length);
                self.scrub_base(segment, &run, &entry, base);
            }
            for block in SegmentIndex::read(entry).1 {
                if !self.is_kept(&run, entry.born, &block) {
                    continue;
                }
                read += u64::from(block.length);
                self.shared.counts.scrubbed.fetch_add(block.length.into(), Ordering::Relaxed);
                if let Err((position, reason)) = self.check_block(segment, &run, &block)
                    && self.is_kept(&run, entry.born, &block)
                {
                    let events = (block.first, block.last());
                    self.note_damage(segment, &run, events, position, &reason);
                }
            }
        }
        ControlFlow::Break(())
    }

    /// Looks over what stands for trimmed events.
    fn scrub_base(
        &self,
        segment: &Segment,
        run: &RunId,
        entry: &StoredEntry<'_>,
        base: &BasePlace,
    ) {
        let is_kept = || {
            let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
            index.stream(run).is_some_and(|stream| keeps_base(&stream, entry))
        };
        if !is_kept() {
            return;
        }
        self.shared.counts.scrubbed.fetch_add(base.length.into(), Ordering::Relaxed);
        let file = segment.file().map_err(BaseFault::Io);
        let read = file.and_then(|file| base.read(file.as_ref(), run.as_str(), entry.first));
        if let Err(reason) = read
            && is_kept()
        {
            let events = (1, entry.first.get() - 1);
            let reason = format!("what stands for trimmed events: {reason}");
            self.note_damage(segment, run, events, base.position, &reason);
        }
    }

    /// Whether a block is still wanted; it may have been given up and erased at any time.
    fn is_kept(&self, run: &RunId, born: runcast_event::Epoch, block: &Extent) -> bool {
        let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
        index.stream(run).is_some_and(|stream| keeps(&stream, born, block.last()))
    }

    fn check_block(
        &self,
        segment: &Segment,
        run: &RunId,
        block: &Extent,
    ) -> Result<(), (u64, String)> {
        let mut bytes = vec![0; block.length as usize];
        let read = segment.file().and_then(|file| file.read_exact_at(&mut bytes, block.position));
        read.map_err(|error| (block.position, error.to_string()))?;
        let bytes = Bytes::from(bytes);
        let walked = walk(&bytes, block, run.as_str(), self.tag(), |_| true);
        walked.map_err(|fault| (block.position + fault.at as u64, fault.reason.to_owned()))
    }

    fn note_damage(
        &self,
        segment: &Segment,
        run: &RunId,
        (first, last): (u64, u64),
        position: u64,
        reason: &str,
    ) {
        segment.set_damaged();
        self.shared.counts.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            file = segment::file_name(segment.number()),
            position,
            %run,
            first,
            last,
            reason,
            "stored events are damaged; all others can be read"
        );
    }
}
