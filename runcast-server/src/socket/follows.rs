//! The runs that one connection follows: a follower each, of which only those are looked at that
//! have something new.

use std::collections::HashMap;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::stream::{self, AbortHandle, Abortable, BoxStream, SelectAll, StreamExt as _};
use runcast_event::{Cursor, RunId};
use runcast_hub::{Delivery, Follower};

use crate::transport::view::View;

type Deliveries = Abortable<BoxStream<'static, (RunId, Delivery)>>;

/// A run that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) view: View,
    /// Behind what was looked at for the reader.
    pub(super) seen: Cursor,
    /// The cursor that the reader has been told.
    pub(super) told: Cursor,
    /// Since when it is followed.
    pub(super) since: Instant,
    /// Ends the follower.
    handle: AbortHandle,
}

/// All of them. Holds no events.
#[derive(Default)]
pub(super) struct Follows {
    deliveries: SelectAll<Deliveries>,
    runs: HashMap<RunId, Followed>,
}

impl Follows {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    /// At most so many runs, each with how far its reader is, as they are written in `?after=`.
    pub(super) fn cursors(&self, max: usize) -> String {
        let cursors = self.runs.iter().take(max).map(|(run, of)| format!("{run}:{}", of.seen));
        cursors.collect::<Vec<_>>().join(",")
    }

    /// Follows a run, which is not followed.
    pub(super) fn add(&mut self, follower: Follower, view: View, cursor: Cursor) {
        let (run, seen) = (follower.run().clone(), follower.cursor());
        let deliveries = stream::unfold(Some(follower), |follower| async move {
            let mut follower = follower?;
            let delivery = follower.next().await;
            let run = follower.run().clone();
            let goes_on = matches!(delivery, Delivery::Events(_) | Delivery::Gap(_));
            Some(((run, delivery), goes_on.then_some(follower)))
        });
        let (deliveries, handle) = stream::abortable(deliveries.boxed());
        self.deliveries.push(deliveries);
        self.runs.insert(run, Followed { view, seen, told: cursor, since: Instant::now(), handle });
    }

    pub(super) fn remove(&mut self, run: &RunId) {
        if let Some(followed) = self.runs.remove(run) {
            followed.handle.abort();
        }
    }

    pub(super) fn get(&mut self, run: &RunId) -> Option<&mut Followed> {
        self.runs.get_mut(run)
    }

    /// Waits for what comes next of any run. Can be cancelled without losing anything.
    pub(super) async fn next(&mut self) -> (RunId, Delivery) {
        loop {
            match self.deliveries.next().await {
                Some(delivery) => return delivery,
                // Nothing is followed: nothing comes.
                None => std::future::pending::<()>().await,
            }
        }
    }

    /// What comes next if it is there now.
    pub(super) fn try_next(&mut self) -> Option<(RunId, Delivery)> {
        self.deliveries.next().now_or_never().flatten()
    }

    /// Runs whose readers do not know how far they were looked at.
    pub(super) fn untold(&mut self) -> impl Iterator<Item = (&RunId, &mut Followed)> {
        self.runs.iter_mut().filter(|(_, followed)| followed.seen != followed.told)
    }
}
