//! Folds a run from the log, for whoever needs a state that is not kept.

use runcast_event::{Offset, Payload};
use runcast_hub::Hub;
use runcast_log::{ReadError, ReadLimit};
use runcast_run::RunState;

use super::hole::Hole;

/// How much is read at a time.
const PAGE: ReadLimit = ReadLimit { events_max: 1_000, bytes_max: 1024 * 1024 };

/// Folds into a state what the log has behind it, up to the end. What retention took is not in it.
pub(crate) async fn to_the_end(hub: &Hub, mut state: RunState) -> Result<RunState, ReadError> {
    let mut after = state.offset();
    loop {
        let page = match hub.read(state.run(), after, PAGE).await {
            Err(ReadError::Trimmed { first }) if state.offset() == Offset::START => {
                after = Offset::new(first.get() - 1);
                continue;
            }
            Err(error @ ReadError::Damaged { .. }) => {
                let hole = Hole::found(hub, state.run(), error).await?;
                after = hole.events.to;
                hole.fold_into(&mut state);
                if hole.is_last() {
                    return Ok(state);
                }
                continue;
            }
            page => page?,
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
