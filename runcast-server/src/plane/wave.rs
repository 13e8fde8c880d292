//! What a reader at an offset gets next: made once for all who are there.

use std::sync::Arc;

use bytes::Bytes;
use runcast_event::{Epoch, Offset, Payload};
use runcast_hub::{Format, Look, Watch};
use runcast_log::Record;

use crate::transport::sse;

/// Bytes in a wave, unless one part alone has more.
const WAVE_BYTES_MAX: usize = 256 * 1024;
/// Parts in a wave.
const WAVE_PARTS_MAX: usize = 63;

/// Shared bytes, and where their reader stands behind them.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) bytes: Bytes,
    pub(super) epoch: Epoch,
    pub(super) next: Offset,
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
}

impl Wave {
    /// Looks what there is in memory from the event at `from` on.
    pub(super) fn look(
        watch: &Watch,
        format: Format,
        (epoch, from, deletions): (Epoch, Offset, u64),
    ) -> Self {
        let mut wave = Self { from, deletions, parts: Vec::new(), then: Then::More };
        let (mut epoch, mut next, mut bytes) = (epoch, from, 0);
        let mut terminal = None;
        while bytes < WAVE_BYTES_MAX && wave.parts.len() < WAVE_PARTS_MAX {
            match watch.look(next, deletions) {
                Look::Events(slice) => {
                    (epoch, next) = (slice.epoch(), slice.last().next());
                    terminal = slice.records().last().and_then(terminal_type);
                    let part = Part { bytes: sse::events(&slice, format), epoch, next };
                    bytes += part.bytes.len();
                    wave.parts.push(part);
                    continue;
                }
                Look::NotYet => wave.then = Then::Wait,
                Look::InLog => wave.then = Then::Read,
                Look::End => match terminal {
                    Some(event_type) => wave.end(epoch, next, &event_type),
                    None => wave.then = Then::ReadEnd,
                },
                Look::Deleted => {
                    let bytes = Bytes::from_static(sse::DELETED);
                    wave.parts.push(Part { bytes, epoch, next });
                    wave.then = Then::Close;
                }
            }
            break;
        }
        wave
    }

    /// Adds that the run has ended.
    pub(super) fn end(&mut self, epoch: Epoch, next: Offset, event_type: &str) {
        let last = Offset::new(next.get().saturating_sub(1));
        self.parts.push(Part { bytes: sse::end(last, event_type), epoch, next });
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
