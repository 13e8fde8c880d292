//! Events that a fold cannot read: it goes over them, and the state says so.

use runcast_event::RunId;
use runcast_hub::Hub;
use runcast_log::{ReadError, StreamStat};
use runcast_run::{Damaged, RunState};

/// Events of a run that cannot be read any more.
pub(super) struct Hole {
    pub(super) events: Damaged,
    /// The stream that they are missing of.
    pub(super) stat: StreamStat,
}

impl Hole {
    /// What an error says of damage.
    ///
    /// # Errors
    /// When it says something else, or when it cannot be read how the stream stands.
    pub(super) async fn found(hub: &Hub, run: &RunId, error: ReadError) -> Result<Self, ReadError> {
        let ReadError::Damaged { first, last, reason } = error else { return Err(error) };
        let stat = hub.stat(run).await?.ok_or(ReadError::NotFound)?;
        tracing::warn!(%run, %first, %last, reason, "damaged events are missing in the state of a run");
        Ok(Self { events: Damaged { from: first, to: last.min(stat.last) }, stat })
    }

    pub(super) fn fold_into(&self, state: &mut RunState) {
        let is_end = self.stat.closed && self.is_last();
        state.miss(self.stat.epoch, self.events, is_end);
    }

    /// Whether nothing is behind it.
    pub(super) fn is_last(&self) -> bool {
        self.events.to >= self.stat.last
    }
}
