//! Folds a run from the log, for whoever needs a state that is not kept.

use runcast_event::{Offset, RunId};
use runcast_hub::Hub;
use runcast_log::{ReadError, ReadLimit};
use runcast_run::RunState;

use super::hole::Hole;
use crate::stored::event_of;

/// How much is read at a time.
const PAGE: ReadLimit = ReadLimit { events_max: 1_000, bytes_max: 1024 * 1024 };

/// Folds into a state what the log has behind it, up to the end: from what stands for trimmed events,
/// if they are the next. What is damaged is not in it, of which the state says so.
pub(crate) async fn to_the_end(hub: &Hub, mut state: RunState) -> Result<RunState, ReadError> {
    let mut after = state.offset();
    loop {
        let page = match hub.read(state.run(), after, PAGE).await {
            Err(ReadError::Trimmed { first }) => match base_of(hub, state.run()).await {
                Ok(base) => {
                    state = base.unwrap_or(state);
                    after = state.offset().max(Offset::new(first.get() - 1));
                    continue;
                }
                Err(error) => Err(error),
            },
            page => page,
        };
        let page = match page {
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
            state.apply_merged(page.stat.epoch, &event_of(&record));
        }
        if after >= page.stat.last {
            return Ok(state);
        }
        tokio::task::yield_now().await;
    }
}

/// The state that stands for a run's trimmed events. None if nothing does: then what was trimmed is
/// not in the run's state.
pub(super) async fn base_of(hub: &Hub, run: &RunId) -> Result<Option<RunState>, ReadError> {
    let stat = hub.stat(run).await?.ok_or(ReadError::NotFound)?;
    let Some(base) = hub.base(run).await? else { return Ok(None) };
    let state = RunState::decode_in(stat.epoch, &base).map_err(|error| ReadError::Failed {
        reason: format!("what stands for trimmed events of the run {run}: {error}"),
    })?;
    Ok(Some(state))
}

#[cfg(test)]
mod tests;
