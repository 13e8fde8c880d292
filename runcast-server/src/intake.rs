//! Takes what producers have left with the log itself, and appends it as what comes over HTTP: validated,
//! admitted by the gate, each event once.
//!
//! One server at a time does, of those that share a log. What no run takes is left out with its reason; in
//! its place are gaps, so that the numbers of what comes behind it stay right.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use runcast_event::{Draft, Prepared, ProducerId, Timestamp, parse_event};
use runcast_hub::Hub;
use runcast_log::{Append, Inbox, ProducerStamp, Received, Rejected};
use serde_json::json;
use tokio::time::sleep;

use crate::metrics::Metrics;
use crate::problem::{Code, Place, Problem};
use crate::publisher::{Publisher, Unstored};

/// How often it is looked whether something waits, while things come.
const LOOK_BUSY: Duration = Duration::from_millis(25);
/// How often, when nothing has come for a while, or another server looks.
const LOOK_IDLE: Duration = Duration::from_millis(250);
/// For how many looks without anything things still count as coming.
const BUSY_LOOKS: u32 = 400;
/// Runs that are appended to at a time.
const AT_A_TIME: usize = 16;
/// Bytes of what was rejected that are kept.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// The task that takes in.
pub(crate) struct Intake {
    pub(crate) hub: Hub,
    pub(crate) publisher: Publisher,
    pub(crate) metrics: Arc<Metrics>,
}

/// What has become of a batch.
enum Outcome {
    Appended(Received),
    Rejected(Received, Rejected),
    /// The log takes nothing now: it waits, and with it what comes behind it.
    Waits,
}

impl Intake {
    /// Works until it is dropped; ends at once if nobody can leave anything with the log.
    pub(crate) async fn run(self) {
        let Some(inbox) = self.hub.inbox() else { return };
        let name = inbox.name();
        let mut empty_looks = BUSY_LOOKS;
        loop {
            let has_taken = self.hub.has_duty(&name) && self.take(&*inbox).await;
            empty_looks = if has_taken { 0 } else { empty_looks.saturating_add(1) };
            match empty_looks {
                0 => {}
                1..BUSY_LOOKS => sleep(LOOK_BUSY).await,
                _ => sleep(LOOK_IDLE).await,
            }
        }
    }

    /// Takes what waits, some of it; whether there was something that could be taken.
    async fn take(&self, inbox: &dyn Inbox) -> bool {
        let received = match inbox.read().await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "the inbox cannot be read now");
                return false;
            }
        };
        let mut runs: HashMap<_, Vec<Received>> = HashMap::new();
        for batch in received {
            runs.entry(batch.run.clone()).or_default().push(batch);
        }
        let works = runs.into_values().map(|batches| self.append_all(batches));
        let outcomes: Vec<Outcome> =
            stream::iter(works).buffer_unordered(AT_A_TIME).flat_map(stream::iter).collect().await;
        let (mut done, mut rejected) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            match outcome {
                Outcome::Appended(batch) => done.push(batch),
                Outcome::Rejected(batch, why) => {
                    done.push(batch);
                    rejected.push(why);
                }
                Outcome::Waits => {}
            }
        }
        if done.is_empty() {
            return false;
        }
        if let Err(error) = inbox.done(&done, &rejected).await {
            // They are appended again, and stored once.
            tracing::debug!(%error, "what is appended cannot be taken out of the inbox now");
            return false;
        }
        true
    }

    /// Appends batches of one run, one behind the other.
    async fn append_all(&self, batches: Vec<Received>) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batches.len());
        for batch in batches {
            let outcome = self.append(batch).await;
            let waits = matches!(outcome, Outcome::Waits);
            outcomes.push(outcome);
            if waits {
                break;
            }
        }
        outcomes
    }

    async fn append(&self, batch: Received) -> Outcome {
        self.metrics.append_requested();
        let problem = match self.try_append(&batch).await {
            Ok(()) => return Outcome::Appended(batch),
            Err(problem) => problem,
        };
        if matches!(problem.code(), Code::LogUnavailable | Code::NoRoom | Code::Internal) {
            tracing::debug!(run = %batch.run, reason = problem.detail(), "the inbox waits");
            return Outcome::Waits;
        }
        self.metrics.append_refused(problem.code());
        let reason = format!("{}: {}", problem.code().as_str(), problem.detail());
        tracing::warn!(run = %batch.run, place = batch.place, reason, "left out of the inbox");
        if let Ok(gaps) = gaps(&batch, &reason)
            && let Err(problem) = self.stamped(&batch, &gaps, batch.producer.clone()).await
        {
            // The run takes nothing more of this producer, and of what comes behind neither.
            tracing::debug!(run = %batch.run, reason = problem.detail(), "there is no gap for it");
        }
        let mut events = batch.events.join(&b'\n');
        events.truncate(KEPT_BYTES_MAX);
        let rejected = Rejected {
            place: batch.place.clone(),
            run: batch.run.clone(),
            reason,
            events: events.into(),
        };
        Outcome::Rejected(batch, rejected)
    }

    async fn try_append(&self, batch: &Received) -> Result<(), Problem> {
        let events = batch.events.iter().zip(1..).map(|(event, index)| {
            parse_event(event, batch.time)
                .map_err(|error| Problem::of_event(&error, Place::Event, index))
        });
        let events: Vec<Prepared> = events.collect::<Result<_, _>>()?;
        if let Some(at) = events.iter().position(|event| event.terminal)
            && at + 1 < events.len()
        {
            return Err(Problem::after_end(Place::Event, at + 1));
        }
        match self.stamped(batch, &events, batch.producer.clone()).await {
            // The run was made again, or has forgotten: the inbox's numbers mean nothing to it.
            Err(problem)
                if batch.is_counted
                    && matches!(problem.code(), Code::SequenceGap | Code::ProducerFenced) =>
            {
                let id = ProducerId::new(&format!("runcast-inbox-{}", batch.place));
                let id = id.map_err(|_| problem)?;
                self.stamped(batch, &events, ProducerStamp { id, epoch: 1, sequence: 0 }).await
            }
            answer => answer,
        }
    }

    async fn stamped(
        &self,
        batch: &Received,
        events: &[Prepared],
        producer: ProducerStamp,
    ) -> Result<(), Problem> {
        let append = Append {
            run: batch.run.clone(),
            events: events.iter().map(|event| event.payload.bytes().clone()).collect(),
            close: events.last().is_some_and(|event| event.terminal),
            expected_last: None,
            producer: Some(producer),
            create: true,
        };
        self.publisher.append(append).await.map_err(Unstored::in_batch).map(drop)
    }
}

/// A gap for each event of a batch, so that each number is used.
fn gaps(batch: &Received, reason: &str) -> Result<Vec<Prepared>, runcast_event::EventError> {
    let gap = |_: &Bytes| {
        let data = json!({ "lost_events": 1, "reason": reason });
        let gap = Draft::new("producer.gap", data).at(batch.time).to_json();
        parse_event(gap.as_bytes(), Timestamp::now())
    };
    batch.events.iter().map(gap).collect()
}
