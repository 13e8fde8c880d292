//! What a reader gets of a run's events: those that it chose, merged if it wants that.
//!
//! Pure: the same events give the same answer to every reader with the same view, so that a
//! transport can encode it once for all of them.

use runcast_event::{EventFilter, Head, Merged, coalesce};
use runcast_log::Record;

use crate::stored::event_of;

/// A choice of events. Readers with equal views of the same events get the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct View {
    /// Which events.
    pub(crate) filter: EventFilter,
    /// Whether adjacent deltas of one thing become one event.
    pub(crate) coalesce: bool,
}

/// How much of some events a reader gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// Each as it is: what was written for other readers will do.
    All,
    /// Other events, or fewer.
    Some,
    /// Nothing.
    None,
}

impl View {
    /// Whether it is every event as it is.
    pub(crate) fn is_plain(&self) -> bool {
        !self.coalesce && self.filter.is_open()
    }

    /// How much a reader gets of these events, which follow on each other in one stream.
    pub(crate) fn share_of(&self, records: &[Record]) -> Share {
        let is_whole = !self.coalesce || records.len() == 1;
        if is_whole && self.filter.is_open() {
            return Share::All;
        }
        let chosen = records.iter().filter(|record| self.chooses(&event_of(record))).count();
        match chosen {
            0 => Share::None,
            _ if is_whole && chosen == records.len() => Share::All,
            _ => Share::Some,
        }
    }

    fn chooses(&self, event: &Merged) -> bool {
        self.filter.is_open() || self.filter.matches(&Head::of(&event.payload))
    }

    /// What a reader gets of these events, which follow on each other in one stream.
    ///
    /// The last one's offset may be less than that of the last record: what comes behind it was not
    /// chosen, and the reader's cursor moves past it all the same.
    pub(crate) fn of(&self, records: &[Record]) -> Vec<Merged> {
        let chosen = records.iter().map(event_of).filter(|event| self.chooses(event));
        if self.coalesce { coalesce(chosen) } else { chosen.collect() }
    }
}
