//! What a reader at an offset gets next: made once for all who are there.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use runcast_event::{Offset, Payload, RunId};
use runcast_hub::{Look, Slice, Watch};
use runcast_log::Record;

use super::outbox::Place;
use crate::transport::shape::Shape;

/// Bytes in a wave, unless one part alone has more.
const WAVE_BYTES_MAX: usize = 256 * 1024;
/// Batches in a wave: as many as go in one write, with what is pending before them and the end
/// behind them.
const WAVE_SLICES_MAX: usize = 62;

/// Shared bytes, and where their reader stands behind them.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) bytes: Bytes,
    pub(super) behind: Place,
}

/// What happens behind a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing until the run changes.
    Wait,
    /// There is more in memory.
    More,
    /// What comes next is in the log.
    Read,
    /// The run has ended, with an event that the reader has had; which type it was is in the log.
    ReadEnd,
    /// Nothing comes any more.
    Close,
    /// What comes next is another history's: the reader has to find its place in it.
    Fail,
}

/// Parts that leave in one write.
#[derive(Debug)]
pub(super) struct Wave {
    /// For readers whose next event is this,
    pub(super) from: Offset,
    /// of this incarnation of the run.
    pub(super) deletions: u64,
    pub(super) parts: Vec<Part>,
    pub(super) then: Then,
    /// When the first of its events became durable; none for events that were read from the log.
    pub(super) committed_at: Option<Instant>,
}

impl Wave {
    /// Looks what there is in memory from the event at `from` on.
    pub(super) fn look(watch: &Watch, shape: &Shape, (place, deletions): (Place, u64)) -> Self {
        let (run, from) = (watch.run(), place.next);
        let (parts, then) = (Vec::new(), Then::More);
        let mut wave = Self { from, deletions, parts, then, committed_at: None };
        let (mut behind, mut bytes) = (place, 0);
        let mut slices = Vec::new();
        let next = loop {
            if bytes >= WAVE_BYTES_MAX || slices.len() >= WAVE_SLICES_MAX {
                break None;
            }
            match watch.look(behind.next, deletions) {
                // A part has one epoch.
                Look::Events(slice) if !slices.is_empty() && slice.epoch() != behind.epoch => {
                    break None;
                }
                Look::Events(slice) => {
                    wave.committed_at = wave.committed_at.or(slice.committed_at());
                    behind = Place { epoch: slice.epoch(), next: slice.last().next() };
                    bytes +=
                        slice.records().iter().map(|record| record.payload.len()).sum::<usize>();
                    slices.push(slice);
                }
                next => break Some(next),
            }
        };
        wave.add((run, shape), &slices, behind);
        match next {
            None | Some(Look::Events(_)) => {}
            Some(Look::NotYet) => wave.then = Then::Wait,
            Some(Look::InLog) => wave.then = Then::Read,
            Some(Look::End) => {
                let last = slices.last().and_then(|slice| slice.records().last());
                match last.and_then(terminal_type) {
                    Some(event_type) => wave.end((run, shape), behind, Some(&event_type)),
                    None => wave.then = Then::ReadEnd,
                }
            }
            Some(Look::Lost) => wave.then = Then::Fail,
            Some(Look::Deleted) => {
                wave.parts.push(Part { bytes: shape.deleted(run), behind });
                wave.then = Then::Close;
            }
        }
        wave
    }

    /// Adds what a reader gets of these batches, which stands at `behind` with the last.
    fn add(&mut self, (run, shape): (&RunId, &Shape), slices: &[Slice], behind: Place) {
        if !shape.view.coalesce || slices.len() == 1 {
            let part = |slice: &Slice| Part {
                bytes: shape.events(run, slice),
                behind: Place { next: slice.last().next(), ..behind },
            };
            self.parts.extend(slices.iter().map(part));
        } else if !slices.is_empty() {
            // Of all of them together, so that deltas merge over the borders of batches.
            let records: Vec<_> =
                slices.iter().flat_map(|slice| slice.records()).cloned().collect();
            self.parts.push(Part { bytes: shape.page(run, behind.epoch, &records), behind });
        }
    }

    /// Adds that the run has ended.
    pub(super) fn end(
        &mut self,
        (run, shape): (&RunId, &Shape),
        behind: Place,
        event_type: Option<&str>,
    ) {
        let bytes = shape.end(run, behind.cursor(), event_type);
        self.parts.push(Part { bytes, behind });
        self.then = Then::Close;
    }

    fn is_for(&self, from: Offset, deletions: u64) -> bool {
        self.from == from && self.deletions == deletions
    }
}

/// The type of an event that ends its run.
pub(super) fn terminal_type(record: &Record) -> Option<String> {
    let payload = Payload::from_stored(record.payload.clone());
    let event_type = payload.event_type();
    runcast_event::is_terminal(event_type).then(|| event_type.to_owned())
}

/// The waves of one turn, so that readers at the same place share one.
#[derive(Debug, Default)]
pub(super) struct Waves(Vec<Arc<Wave>>);

/// Places in a run that have a wave at once. Readers who keep up are all at one; the others are
/// where their sockets were full.
const WAVES_MAX: usize = 4;

impl Waves {
    /// When the first event of the first wave became durable: of those who keep up, if any does.
    pub(super) fn committed_at(&self) -> Option<Instant> {
        self.0.first().and_then(|wave| wave.committed_at)
    }

    pub(super) fn at(
        &mut self,
        (from, deletions): (Offset, u64),
        look: impl FnOnce() -> Wave,
    ) -> Arc<Wave> {
        if let Some(wave) = self.0.iter().find(|wave| wave.is_for(from, deletions)) {
            return Arc::clone(wave);
        }
        let wave = Arc::new(look());
        if self.0.len() < WAVES_MAX {
            self.0.push(Arc::clone(&wave));
        }
        wave
    }
}
