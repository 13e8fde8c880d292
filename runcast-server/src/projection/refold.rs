//! Folds a run from the log, for whoever needs a state that is not kept.

use runcast_event::{Offset, Payload, RunId};
use runcast_hub::Hub;
use runcast_log::{ReadError, ReadLimit, StreamStat};
use runcast_run::{Damaged, RunState};

/// How much is read at a time.
const PAGE: ReadLimit = ReadLimit { events_max: 1_000, bytes_max: 1024 * 1024 };

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

/// Folds into a state what the log has behind it, up to the end. What retention took is not in
/// it, and neither is what is damaged, of which the state says so.
pub(crate) async fn to_the_end(hub: &Hub, mut state: RunState) -> Result<RunState, ReadError> {
    let mut after = state.offset();
    loop {
        let page = match hub.read(state.run(), after, PAGE).await {
            Err(ReadError::Trimmed { first }) if state.offset() == Offset::START => {
                after = Offset::new(first.get() - 1);
                continue;
            }
            Err(error) => {
                let hole = Hole::found(hub, state.run(), error).await?;
                after = hole.events.to;
                hole.fold_into(&mut state);
                if hole.is_last() {
                    return Ok(state);
                }
                continue;
            }
            Ok(page) => page,
        };
        for record in page.records {
            after = record.offset;
            state.apply(after, page.stat.epoch, &Payload::from_stored(record.payload));
        }
        if after >= page.stat.last {
            return Ok(state);
        }
        tokio::task::yield_now().await;
    }
}
