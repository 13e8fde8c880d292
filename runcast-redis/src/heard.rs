//! On which connection the channels are heard that are wanted here: those of followed runs, each at the
//! server that has the run, and that of all changes, at any.

use std::collections::{BTreeMap, HashMap};

use runcast_event::RunId;

use crate::keys::Keys;
use crate::link::Up;
use crate::shards::Shards;

/// What is heard where, or was asked for there.
#[derive(Default)]
pub(crate) struct Heard {
    /// The numbers of connections.
    runs: HashMap<RunId, u64>,
    /// That of the connection for all changes; 0 before the first.
    changes: u64,
}

impl Heard {
    /// Those of these runs that are to be subscribed to, and on which connection. Of the others there is
    /// none now, or they are heard already.
    pub(crate) fn begin(
        &mut self,
        runs: impl Iterator<Item = RunId>,
        shards: &Shards,
    ) -> Vec<(Up, Vec<RunId>)> {
        let mut parts: BTreeMap<u64, (Up, Vec<RunId>)> = BTreeMap::new();
        for run in runs {
            let Some(up) = shards.current(Keys::slot(&run)) else { continue };
            if self.runs.insert(run.clone(), up.number) != Some(up.number) {
                parts.entry(up.number).or_insert_with(|| (up, Vec::new())).1.push(run);
            }
        }
        parts.into_values().collect()
    }

    /// The connections on which these runs are heard, which from now on they are not.
    pub(crate) fn end(&mut self, runs: Vec<RunId>, shards: &Shards) -> Vec<(Up, Vec<RunId>)> {
        let mut parts: BTreeMap<u64, (Up, Vec<RunId>)> = BTreeMap::new();
        for run in runs {
            let Some(number) = self.runs.remove(&run) else { continue };
            let up = shards.current(Keys::slot(&run)).filter(|up| up.number == number);
            // It is gone, and all that was heard on it.
            let Some(up) = up else { continue };
            parts.entry(number).or_insert_with(|| (up, Vec::new())).1.push(run);
        }
        parts.into_values().collect()
    }

    /// The connection for all changes, if it is another than before; and whether it is the first.
    pub(crate) fn begin_changes(&mut self, shards: &Shards) -> Option<(Up, bool)> {
        let ups = shards.all();
        if ups.iter().any(|up| up.number == self.changes) {
            return None;
        }
        let up = ups.into_iter().next()?;
        let is_first = std::mem::replace(&mut self.changes, up.number) == 0;
        Some((up, is_first))
    }
}
