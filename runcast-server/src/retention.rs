//! Gives up what is not to be kept: deletes runs some time after their end, or when there are too many,
//! and trims runs and the feed.
//!
//! Goes by what the projection has on its agenda, and does a bounded amount at a time, so that appends
//! never wait for more than that. The state of a run that is trimmed stands for the events that are
//! gone. A run's newest event always stays. What does not work is tried again.

use std::time::{Duration, Instant};

use runcast_event::{Offset, Payload, RunId, Timestamp};
use runcast_hub::Hub;
use runcast_log::{DeleteError, ReadError, ReadLimit, Trim};

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::projection::{Act, Look, Projection, Seen, with_slack};

mod compaction;
mod policy;

pub(crate) use compaction::Compaction;
pub(crate) use policy::Keep;
pub use policy::{RetentionClass, RetentionError, RetentionPolicy};

/// Runs that are looked at in one step; their deletions go to the disk together.
const STEP_RUNS: usize = 256;
/// After how long a run is looked at again at the earliest, also if something did not work.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Between two steps the disk is left to others for as long as the step took, and at most for this.
const REST_MAX: Duration = Duration::from_secs(1);
/// One event.
const ONE: ReadLimit = ReadLimit { events_max: 1, bytes_max: 1 };

/// The task that carries retention out.
pub(crate) struct Retention {
    pub(crate) hub: Hub,
    pub(crate) projection: Projection,
    pub(crate) clock: Clock,
    pub(crate) metrics: std::sync::Arc<Metrics>,
    /// So many entries of the feed are kept.
    pub(crate) feed_events_max: u64,
}

/// Why a run stays as it is for now.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Delete(#[from] DeleteError),
    #[error("{0}")]
    State(String),
}

impl Retention {
    /// Works until it is dropped.
    pub(crate) async fn run(self) {
        let mut feed_first = Offset::START;
        loop {
            let began = Instant::now();
            self.trim_feed(&mut feed_first).await;
            let looks = self.projection.take_looks(self.clock.now(), STEP_RUNS);
            if looks.is_empty() {
                self.wait().await;
                continue;
            }
            let (own, others): (Vec<_>, Vec<_>) =
                looks.into_iter().partition(|look| self.hub.has_duty(&look.run));
            for look in others {
                self.projection.look_again_at(&look.run, self.later());
            }
            self.step(own).await;
            tokio::time::sleep(began.elapsed().min(REST_MAX)).await;
        }
    }

    /// Waits until there may be something to do.
    async fn wait(&self) {
        let due = async {
            match self.projection.next_look() {
                Some(at) => self.clock.reach(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = self.projection.retention_changed() => {}
        }
    }

    async fn step(&self, looks: Vec<Look>) {
        let deletions = looks.iter().filter(|look| matches!(look.act, Act::Delete));
        futures_util::future::join_all(deletions.map(|look| self.delete(look))).await;
        for look in &looks {
            let Act::Trim(keep) = look.act else { continue };
            let seen = self.trim(look, keep).await.unwrap_or_else(|error| {
                tracing::warn!(run = %look.run, %error, "a run cannot be trimmed now");
                Seen::default()
            });
            self.projection.looked_at(&look.run, seen, self.later());
        }
    }

    fn later(&self) -> Timestamp {
        self.clock.now().plus_millis(LOOK_AGAIN.as_millis() as u64)
    }

    async fn delete(&self, look: &Look) {
        match self.hub.delete_in(&look.run, look.epoch).await {
            Ok(true) => self.metrics.retention_deleted(),
            // Somebody else did it.
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(run = %look.run, %error, "a run cannot be deleted now");
                self.projection.look_again_at(&look.run, self.later());
            }
        }
    }

    /// Trims a run if it has more than it may have.
    async fn trim(&self, look: &Look, keep: Keep) -> Result<Seen, LookError> {
        let run = &look.run;
        let stat = match self.hub.stat(run).await {
            Ok(Some(stat)) if stat.epoch == look.epoch => stat,
            Ok(_) | Err(ReadError::Deleted) => return Ok(Seen::default()),
            Err(error) => return Err(error.into()),
        };
        let (first, last) = (stat.first, stat.last);
        let mut before = first;
        if let Some(max) = keep.events_max
            && last.get() + 1 - first.get() > with_slack(max)
        {
            before = before.max(Offset::new(last.get() + 1 - max));
        }
        if let Some(max) = keep.bytes_max
            && self.hub.first_within(run, with_slack(max)).await? > first
        {
            before = before.max(self.hub.first_within(run, max).await?);
        }
        if let Some(max) = keep.age_max_s {
            let oldest = self.time_of(run, before.min(last)).await?;
            let now = self.clock.now();
            if now.millis_since(oldest) >= with_slack(max * 1_000) {
                before =
                    before.max(self.first_within(run, before.min(last), last, now, max).await?);
            }
        }
        before = before.min(last);
        if before > first {
            let looked = self.projection.look(run, &stat, |state| {
                let stands_for_all = state.epoch() == stat.epoch && state.offset().next() >= before;
                stands_for_all.then(|| state.encode())
            });
            let base = looked.await.map_err(|problem| LookError::State(format!("{problem:?}")))?;
            let Some(base) = base.flatten() else { return Ok(Seen::default()) };
            let trim = Trim { before, epoch: Some(look.epoch), base: base.into() };
            if self.hub.trim(run, trim).await? {
                self.metrics.retention_trimmed(run, before.get() - first.get());
            }
        }
        let oldest_at = match keep.age_max_s {
            Some(_) if before <= last => Some(self.time_of(run, before).await?),
            _ => None,
        };
        Ok(Seen { first: before, bytes: keep.bytes_max, oldest_at })
    }

    /// The first event from `low` on that is at most so many seconds old; `last` if none is.
    async fn first_within(
        &self,
        run: &RunId,
        low: Offset,
        last: Offset,
        now: Timestamp,
        seconds: u64,
    ) -> Result<Offset, ReadError> {
        let (mut low, mut high) = (low.get(), last.get());
        while low < high {
            let middle = low.midpoint(high);
            let time = self.time_of(run, Offset::new(middle)).await?;
            if now.millis_since(time) > seconds * 1_000 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Offset::new(low))
    }

    /// When the event at an offset happened, or the next one that can be read; long ago if there is none.
    async fn time_of(&self, run: &RunId, offset: Offset) -> Result<Timestamp, ReadError> {
        let mut after = Offset::new(offset.get() - 1);
        let page = loop {
            match self.hub.read(run, after, ONE).await {
                Err(ReadError::Damaged { last, .. }) => after = last,
                page => break page?,
            }
        };
        let record = page.records.into_iter().next();
        let time = record.map(|record| Payload::from_stored(record.payload).time_text().parse());
        Ok(time.and_then(Result::ok).unwrap_or_default())
    }

    /// Trims the feed if it has more than it may have; `first` is where it began when it was looked at.
    async fn trim_feed(&self, first: &mut Offset) {
        let last = self.hub.feed_cursor().after;
        if !self.hub.has_duty(&RunId::feed())
            || (last.get() + 1).saturating_sub(first.get()) <= with_slack(self.feed_events_max)
        {
            return;
        }
        let feed = RunId::feed();
        let trimmed = async {
            let Some(stat) = self.hub.stat(&feed).await? else { return Ok(()) };
            *first = stat.first;
            let kept = stat.last.get() + 1 - stat.first.get();
            if kept > with_slack(self.feed_events_max) {
                let before = Offset::new(stat.last.get() + 1 - self.feed_events_max);
                if self.hub.trim(&feed, Trim::before(before)).await? {
                    self.metrics.retention_trimmed(&feed, before.get() - stat.first.get());
                }
                *first = before;
            }
            Ok::<_, LookError>(())
        };
        if let Err(error) = trimmed.await {
            // It is tried again with the next change of a run.
            tracing::warn!(%error, "the feed cannot be trimmed now");
        }
    }
}
