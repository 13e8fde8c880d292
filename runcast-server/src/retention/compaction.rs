//! Tells the log which ended runs are stored with their deltas merged: those of classes that ask for it.
//!
//! The log asks when it writes a run into a new file anyway. A run whose end is not folded in yet stays as
//! it is until it is written the next time.

use std::ops::Range;

use bytes::Bytes;
use runcast_event::{Payload, RunId, StoredDeltas};
use runcast_log::{Join, Joiner, StreamStat};

use crate::projection::States;

/// Goes by the states of the runs.
pub(crate) struct Compaction {
    pub(crate) states: States,
}

impl Joiner for Compaction {
    fn of(&self, run: &RunId, stat: &StreamStat) -> Option<Box<dyn Join>> {
        self.states.merges(run, stat).then(|| Box::new(Deltas::default()) as Box<dyn Join>)
    }
}

/// The deltas of one run.
#[derive(Default)]
struct Deltas(StoredDeltas);

impl Join for Deltas {
    fn join(&mut self, earlier: &Bytes, later: &Bytes) -> Option<(Range<usize>, Range<usize>)> {
        let payload = |bytes: &Bytes| Payload::from_stored(bytes.clone());
        self.0.join(&payload(earlier), &payload(later))
    }
}
