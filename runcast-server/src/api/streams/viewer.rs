//! One connection that follows many runs: one task, one cursor a run, no queue.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use runcast_event::{Cursor, Offset, Payload, RunId};
use runcast_hub::{Delivery, FollowError, Follower, Hub, Slice};
use runcast_log::{ReadError, ReadLimit};
use tokio::time::Interval;

use crate::accept::{Phase, PhaseWatch};
use crate::api::{Services, live};
use crate::problem::Problem;
use crate::transport::many::{self, Ended, Id};
use crate::transport::sse;

/// A part of a run's events ends behind this many bytes: the ids of many runs take room.
const PART_BYTES_MAX: usize = 64 * 1024;

/// A follower on its way to its next delivery, with its place among the runs.
type Reading = BoxFuture<'static, (usize, Follower, Delivery)>;

/// One open connection.
pub(super) struct Viewer {
    hub: Hub,
    runs: Vec<Viewed>,
    /// Those that have not ended. A run whose turn is over waits behind all that are ready.
    readings: FuturesUnordered<Reading>,
    is_named: bool,
    /// What is sent before anything else.
    frames: VecDeque<Bytes>,
    /// Events that were delivered and are not all sent yet.
    part: Option<Part>,
    heartbeat: Interval,
    phase: PhaseWatch,
    is_over: bool,
}

struct Viewed {
    run: RunId,
    cursor: Cursor,
    ended: Option<Ended>,
}

struct Part {
    at: usize,
    slice: Slice,
    from: usize,
}

impl Viewer {
    /// Follows runs, each from its cursor. A run that was deleted has ended.
    pub(super) async fn open(
        services: &Services,
        cursors: Vec<(RunId, Cursor)>,
        is_named: bool,
    ) -> Result<Self, Problem> {
        let mut viewer = Self {
            hub: services.hub.clone(),
            runs: Vec::with_capacity(cursors.len()),
            readings: FuturesUnordered::new(),
            is_named,
            frames: VecDeque::from([Bytes::from_static(sse::OPENING)]),
            part: None,
            heartbeat: live::heartbeat(services.heartbeat),
            phase: services.phase.clone(),
            is_over: false,
        };
        for (at, (run, cursor)) in cursors.into_iter().enumerate() {
            let followed = viewer.hub.follow(&run, cursor).await;
            viewer.runs.push(Viewed { run: run.clone(), cursor, ended: None });
            match followed {
                Ok(follower) => viewer.read_on(at, follower),
                Err(FollowError::Read(ReadError::Deleted)) => {
                    let frame = viewer.end(at, Ended::Deleted);
                    viewer.frames.push_back(frame);
                }
                Err(error) => return Err(Problem::from(error).with("run", run.as_str())),
            }
        }
        Ok(viewer)
    }

    fn read_on(&self, at: usize, mut follower: Follower) {
        self.readings.push(Box::pin(async move {
            let delivery = follower.next().await;
            (at, follower, delivery)
        }));
    }

    fn cursors(&self) -> impl Iterator<Item = (&RunId, Cursor)> {
        self.runs.iter().map(|viewed| (&viewed.run, viewed.cursor))
    }

    /// What is sent next; none when the connection is over.
    pub(super) async fn next_frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            if let Some(part) = self.part.take() {
                return Some(self.send(part));
            }
            if self.is_over {
                return None;
            }
            if self.readings.is_empty() {
                self.is_over = true;
                let ended = |viewed: &Viewed| viewed.ended.clone().map(|e| (viewed.run.clone(), e));
                let ended: Vec<_> = self.runs.iter().filter_map(ended).collect();
                return Some(many::end_of_all(ended.iter().map(|(run, ended)| (run, ended))));
            }
            tokio::select! {
                biased;
                // Not the runs' end: the viewer comes back and goes on.
                () = self.phase.reached(Phase::Draining) => return None,
                Some((at, follower, delivery)) = self.readings.next() => {
                    self.take(at, follower, delivery).await?;
                }
                _ = self.heartbeat.tick() => return Some(many::heartbeat(self.cursors())),
            }
        }
    }

    /// Takes in a delivery. None when the connection cannot go on.
    async fn take(&mut self, at: usize, follower: Follower, delivery: Delivery) -> Option<()> {
        match delivery {
            Delivery::Events(slice) => {
                self.part = Some(Part { at, slice, from: 0 });
                self.read_on(at, follower);
            }
            Delivery::Gap(gap) => {
                self.frames.push_back(many::gap(&self.runs[at].run, &gap));
                self.read_on(at, follower);
            }
            Delivery::End { last } => {
                let event_type = type_of(&self.hub, follower.run(), last).await?;
                let frame = self.end(at, Ended::Run { last, event_type });
                self.frames.push_back(frame);
            }
            Delivery::Deleted => {
                let frame = self.end(at, Ended::Deleted);
                self.frames.push_back(frame);
            }
            Delivery::Failed { reason } => {
                tracing::error!(run = %follower.run(), %reason, "a follower cannot be served");
                return None;
            }
        }
        Some(())
    }

    fn end(&mut self, at: usize, ended: Ended) -> Bytes {
        let viewed = &mut self.runs[at];
        many::end(&viewed.run, viewed.ended.insert(ended))
    }

    /// Writes events up to a bound, and keeps the rest.
    fn send(&mut self, part: Part) -> Bytes {
        let Part { at, slice, from } = part;
        let id = Id::around(self.cursors(), at);
        let viewed = &mut self.runs[at];
        let mut out = Vec::new();
        let mut sent = from;
        for record in &slice.records()[from..] {
            let payload = Payload::from_stored(record.payload.clone());
            let place = (slice.epoch(), record.offset);
            many::write_event(&id, &viewed.run, place, &payload, self.is_named, &mut out);
            viewed.cursor = Cursor::new(slice.epoch(), record.offset);
            sent += 1;
            if out.len() >= PART_BYTES_MAX {
                break;
            }
        }
        if sent < slice.records().len() {
            self.part = Some(Part { at, slice, from: sent });
        }
        out.into()
    }
}

/// The type of the event that ended a run.
async fn type_of(hub: &Hub, run: &RunId, last: Offset) -> Option<String> {
    let before = Offset::new(last.get().saturating_sub(1));
    let limit = ReadLimit { events_max: 1, bytes_max: 1 };
    let page = hub.read(run, before, limit).await.ok()?;
    let record = page.records.into_iter().next()?;
    Some(Payload::from_stored(record.payload).event_type().to_owned())
}
