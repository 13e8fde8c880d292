//! Pages of the log for readers who catch up.
//!
//! Owns how many are read at once, and that readers at the same place share a page. A page that is
//! in memory is there at once; one on disk is read by the runtime's threads, and the shard goes on.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use runcast_event::{Epoch, Offset, RunId};
use runcast_hub::{Gap, GapReason};
use runcast_log::{Page, ReadError, ReadLimit};

use super::outbox::Place;
use super::reader::ReaderKey;
use super::wave::{Part, Then, Wave, terminal_type};
use crate::transport::shape::Shape;

/// Pages that a shard has read at once.
const PAGES_UNDER_WAY_MAX: usize = 64;
/// Pages that a shard keeps for the next reader, until the next tick.
const RECENT_PAGES_MAX: usize = 4;
/// Events in a page.
const PAGE_EVENTS_MAX: usize = 1_000;
/// Bytes in a page, unless one event has more.
const PAGE_BYTES_MAX: usize = 256 * 1024;

/// What is read a page for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    /// The events from the cursor on.
    Events,
    /// The event before the cursor, which ended the run.
    End,
}

/// Readers with the same key get the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PageKey {
    /// Which group of a run's readers, among all that were ever in the shard.
    pub(super) group: u64,
    pub(super) next: Offset,
    pub(super) deletions: u64,
    pub(super) wanted: Wanted,
}

impl PageKey {
    /// What to read: after which event, and how much.
    pub(super) fn span(&self) -> (Offset, ReadLimit) {
        let before = |offsets| Offset::new(self.next.get().saturating_sub(offsets));
        match self.wanted {
            Wanted::Events => {
                (before(1), ReadLimit { events_max: PAGE_EVENTS_MAX, bytes_max: PAGE_BYTES_MAX })
            }
            Wanted::End => (before(2), ReadLimit { events_max: 1, bytes_max: 1 }),
        }
    }

    /// What the readers are told instead of a page, when events are missing.
    pub(super) fn gap(&self, epoch: Epoch, page: &Result<Page, ReadError>) -> Option<Gap> {
        let (to, reason) = match (page, self.wanted) {
            (Err(ReadError::Trimmed { first }), Wanted::Events) => {
                (Offset::new(first.get().saturating_sub(1)), GapReason::Trimmed)
            }
            (Err(ReadError::Damaged { last, .. }), Wanted::Events) => (*last, GapReason::Damaged),
            _ => return None,
        };
        Some(Gap { from: self.next, to, reason, epoch })
    }

    /// Makes what the readers get of a page.
    pub(super) fn wave(
        &self,
        (run, shape): (&RunId, &Shape),
        epoch: Epoch,
        page: Result<Page, ReadError>,
    ) -> Result<Wave, ReadError> {
        let Self { next, deletions, wanted, .. } = *self;
        let (parts, then) = (Vec::new(), Then::More);
        let mut wave = Wave { from: next, deletions, parts, then, committed_at: None };
        if let Some(gap) = self.gap(epoch, &page) {
            let behind = Place { epoch, next: gap.to.next() };
            wave.parts.push(Part { bytes: shape.gap(run, &gap), behind });
            return Ok(wave);
        }
        match page {
            Ok(page) if wanted == Wanted::End => {
                let record = page.records.first().ok_or(ReadError::NotFound)?;
                // The stream is closed behind this event, whatever it is.
                let event_type = terminal_type(record);
                let behind = Place { epoch: page.stat.epoch, next };
                wave.end((run, shape), behind, event_type.as_deref());
            }
            // That it has ended is known, and not how.
            Err(ReadError::Damaged { .. } | ReadError::Trimmed { .. }) if wanted == Wanted::End => {
                wave.end((run, shape), Place { epoch, next }, None);
            }
            Ok(page) => {
                if let Some(last) = page.records.last() {
                    let behind = Place { epoch: page.stat.epoch, next: last.offset.next() };
                    let bytes = shape.page(run, behind.epoch, &page.records);
                    wave.parts.push(Part { bytes, behind });
                }
            }
            Err(ReadError::Deleted) => {
                let behind = Place { epoch, next };
                wave.parts.push(Part { bytes: shape.deleted(run), behind });
                wave.then = Then::Close;
            }
            Err(error) => return Err(error),
        }
        Ok(wave)
    }
}

/// Whether a reader who asks for a page must have it read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Now.
    Read,
    /// It is being read, or will be.
    Wait,
}

/// Who waits for a page, of which run, and the form in which they want it.
pub(super) struct Asked {
    pub(super) run: RunId,
    pub(super) shape: Arc<Shape>,
    pub(super) readers: Vec<ReaderKey>,
}

#[derive(Default)]
pub(super) struct Pages {
    asked: HashMap<PageKey, Asked>,
    /// Those that are not read yet, because too many are.
    queue: VecDeque<(PageKey, RunId)>,
    under_way: usize,
    recent: VecDeque<(PageKey, Arc<Wave>)>,
}

impl Pages {
    /// A page that was read not long ago.
    pub(super) fn recent(&self, key: &PageKey) -> Option<Arc<Wave>> {
        self.recent.iter().find(|(known, _)| known == key).map(|(_, wave)| Arc::clone(wave))
    }

    pub(super) fn keep(&mut self, key: PageKey, wave: &Arc<Wave>) {
        if self.recent.len() == RECENT_PAGES_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((key, Arc::clone(wave)));
    }

    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    pub(super) fn ask(
        &mut self,
        key: PageKey,
        (run, shape): (&RunId, &Arc<Shape>),
        reader: ReaderKey,
    ) -> Ask {
        let new = || Asked { run: run.clone(), shape: Arc::clone(shape), readers: Vec::new() };
        let readers = &mut self.asked.entry(key).or_insert_with(new).readers;
        readers.push(reader);
        if readers.len() > 1 {
            return Ask::Wait;
        }
        if self.under_way == PAGES_UNDER_WAY_MAX {
            self.queue.push_back((key, run.clone()));
            return Ask::Wait;
        }
        self.under_way += 1;
        Ask::Read
    }

    /// Takes in that a page has come; gives who waits for it.
    pub(super) fn came(&mut self, key: &PageKey) -> Option<Asked> {
        self.under_way -= 1;
        self.asked.remove(key)
    }

    /// A page to read now, because there is room again.
    pub(super) fn next_in_queue(&mut self) -> Option<(PageKey, RunId)> {
        if self.under_way == PAGES_UNDER_WAY_MAX {
            return None;
        }
        let next = self.queue.pop_front()?;
        self.under_way += 1;
        Some(next)
    }
}
