//! Says for runs what nobody says: that a producer is lost, that a deadline is past, that nobody has
//! answered in time. So every run comes to an end.

use std::time::Duration;

use runcast_event::{RunId, Timestamp, parse_event};
use runcast_hub::Hub;
use runcast_log::{Append, AppendError};
use runcast_run::Due;

use crate::clock::Clock;
use crate::presence::Presence;
use crate::projection::Projection;
use crate::signs;

/// After how long it is looked again at something that the log did not take, or that another node is to
/// say.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The task that keeps runs true.
pub(crate) struct Keeper {
    pub(crate) hub: Hub,
    pub(crate) projection: Projection,
    pub(crate) presence: Presence,
    pub(crate) clock: Clock,
}

impl Keeper {
    /// Works until it is dropped.
    pub(crate) async fn run(self) {
        loop {
            let Some((at, run)) = self.projection.next_due() else {
                self.projection.due_changed().await;
                continue;
            };
            tokio::select! {
                () = self.clock.reach(at) => self.look_after(&run).await,
                () = self.projection.due_changed() => {}
            }
        }
    }

    async fn look_after(&self, run: &RunId) {
        let now = self.clock.now();
        if self.projection.take_due(run, now).is_none() {
            return;
        }
        let later = now.plus_millis(TRY_AGAIN.as_millis() as u64);
        if !self.hub.has_duty(run) {
            // Another node says it; if that is gone, it falls to somebody soon.
            return self.projection.look_again(run, later);
        }
        if let Err(error) = signs::ask(&self.hub, &self.presence, run).await {
            tracing::warn!(%run, %error, "it cannot be said whether the producer is lost");
            return self.projection.look_again(run, later);
        }
        let Some((offset, due)) = self.projection.take_due(run, now) else { return };
        // Nothing may have come meanwhile: it may have been what was missing.
        let append = Append { expected_last: Some(offset), ..batch(run, &due, now) };
        match self.hub.append(append).await {
            Ok(_) => tracing::info!(%run, events = ?types(&due), "said for a run what nobody said"),
            // What has come is folded in soon, and with it what is due then.
            Err(
                AppendError::OffsetMismatch { .. }
                | AppendError::Closed { .. }
                | AppendError::NotFound,
            ) => {}
            Err(error) => {
                tracing::error!(%run, %error, events = ?types(&due), "cannot say for a run what nobody said");
                self.projection.look_again(run, later);
            }
        }
    }
}

fn types(due: &Due) -> Vec<&str> {
    due.events.iter().map(|event| &*event.event_type).collect()
}

fn batch(run: &RunId, due: &Due, now: Timestamp) -> Append {
    let prepared = due.events.iter().map(|draft| {
        parse_event(draft.to_json().as_bytes(), now).expect("what is due is a valid event")
    });
    let events: Vec<_> = prepared.collect();
    Append {
        run: run.clone(),
        close: events.iter().any(|event| event.terminal),
        events: events.into_iter().map(|event| event.payload.into_bytes()).collect(),
        expected_last: None,
        producer: None,
        create: false,
    }
}
