//! One connection that follows many runs: one task, one cursor a run, no queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use runcast_event::{Cursor, Merged, RunId};
use runcast_hub::{Delivery, FollowError, Follower, Hub, Slice};
use runcast_log::ReadError;
use tokio::time::Interval;

use crate::accept::{Carried, Wire};
use crate::api::Services;
use crate::api::follow::type_of_end;
use crate::api::live::{self, Departure};
use crate::metrics::Transport;
use crate::problem::Problem;
use crate::transport::many::{self, Ended, Id};
use crate::transport::sse;
use crate::transport::view::View;

/// A part of a run's events ends behind this many bytes: the ids of many runs take room.
const PART_BYTES_MAX: usize = 64 * 1024;

/// Runs that the server's log names of one viewer.
const RUNS_TOLD_MAX: usize = 8;

/// A follower on its way to its next delivery, with its place among the runs.
type Reading = BoxFuture<'static, (usize, Follower, Delivery)>;

/// One open connection.
pub(super) struct Viewer {
    carried: Carried,
    hub: Hub,
    runs: Vec<Viewed>,
    /// Those that have not ended. A run whose turn is over waits behind all that are ready.
    readings: FuturesUnordered<Reading>,
    view: View,
    is_named: bool,
    /// Whether a cursor has moved past events that were not chosen, which the reader cannot know.
    has_passed: bool,
    /// What is sent before anything else.
    frames: VecDeque<Bytes>,
    /// Events that were delivered and are not all sent yet.
    part: Option<Part>,
    heartbeat: Interval,
    departure: Departure,
    is_over: bool,
}

struct Viewed {
    run: RunId,
    cursor: Cursor,
    ended: Option<Ended>,
}

struct Part {
    at: usize,
    events: std::vec::IntoIter<Merged>,
    /// Behind all of them, and those that were not chosen.
    end: Cursor,
}

impl Viewer {
    /// Follows runs, each from its cursor. A run that was deleted has ended.
    pub(super) async fn open(
        services: &Services,
        cursors: Vec<(RunId, Cursor)>,
        view: View,
        is_named: bool,
        wire: Option<Arc<Wire>>,
    ) -> Result<Self, Problem> {
        let mut viewer = Self {
            carried: Carried::begin(&services.metrics, wire, Transport::Sse),
            hub: services.hub.clone(),
            runs: Vec::with_capacity(cursors.len()),
            readings: FuturesUnordered::new(),
            view,
            is_named,
            has_passed: false,
            frames: VecDeque::from([Bytes::from_static(sse::OPENING)]),
            part: None,
            heartbeat: live::heartbeat(services.heartbeat),
            departure: Departure::of(services),
            is_over: false,
        };
        for (at, (run, cursor)) in cursors.into_iter().enumerate() {
            let followed = viewer.hub.follow(&run, cursor).await;
            viewer.runs.push(Viewed { run: run.clone(), cursor, ended: None });
            match followed {
                Ok(follower) => {
                    viewer.carried.follows(cursor);
                    viewer.read_on(at, follower);
                }
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
                last = self.departure.comes() => {
                    self.is_over = true;
                    return Some([self.beat(), last].concat().into());
                }
                Some((at, follower, delivery)) = self.readings.next() => {
                    self.take(at, follower, delivery).await?;
                }
                _ = self.heartbeat.tick() => return Some(self.beat()),
            }
        }
    }

    /// Takes in a delivery. None when the connection cannot go on.
    async fn take(&mut self, at: usize, follower: Follower, delivery: Delivery) -> Option<()> {
        match delivery {
            Delivery::Events(slice) => {
                self.choose(at, &slice);
                self.read_on(at, follower);
            }
            Delivery::Gap(gap) => {
                self.carried.told(&gap);
                self.runs[at].cursor = gap.behind();
                let id = Id::around(self.cursors(), at);
                self.frames.push_back(many::gap(&id, &self.runs[at].run, &gap));
                self.read_on(at, follower);
            }
            Delivery::End { last } => {
                let event_type = type_of_end(&self.hub, follower.run(), last).await.ok()?;
                if self.has_passed {
                    // So that a reader that comes back is known to have it all.
                    let passed = self.beat();
                    self.frames.push_back(passed);
                }
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

    fn tell_given_up(&self, after: Duration) {
        let (runs, seconds) = (self.runs.len(), after.as_secs_f64());
        let cursors = self.cursors().take(RUNS_TOLD_MAX);
        let cursors: Vec<_> = cursors.map(|(run, cursor)| format!("{run}:{cursor}")).collect();
        let cursors = cursors.join(",");
        tracing::warn!(runs, cursors, seconds, "a viewer took nothing and was disconnected");
    }

    fn end(&mut self, at: usize, ended: Ended) -> Bytes {
        let viewed = &mut self.runs[at];
        many::end(&viewed.run, viewed.ended.insert(ended))
    }

    /// Says that the connection is open, and how far its runs are, if the reader cannot know that.
    fn beat(&mut self) -> Bytes {
        let is_away = self.hub.is_away();
        if !is_away && std::mem::take(&mut self.has_passed) {
            return many::passed(self.cursors());
        }
        sse::heartbeat(is_away)
    }

    fn choose(&mut self, at: usize, slice: &Slice) {
        let end = Cursor::new(slice.epoch(), slice.last());
        let events = self.view.of(slice.records());
        self.has_passed |= events.last().is_none_or(|newest| newest.offset < end.after);
        // Counted when it is taken in: what is not sent yet is sent before anything else.
        self.carried.delivered(slice, !events.is_empty());
        if events.is_empty() {
            self.runs[at].cursor = end;
        } else {
            self.part = Some(Part { at, events: events.into_iter(), end });
        }
    }

    /// Writes events up to a bound, and keeps the rest.
    fn send(&mut self, mut part: Part) -> Bytes {
        let Part { at, end, .. } = part;
        let id = Id::around(self.cursors(), at);
        let viewed = &mut self.runs[at];
        let mut out = Vec::new();
        for event in part.events.by_ref() {
            many::write_event(&id, &viewed.run, end.epoch, &event, self.is_named, &mut out);
            viewed.cursor = Cursor::new(end.epoch, event.offset);
            if out.len() >= PART_BYTES_MAX {
                break;
            }
        }
        if part.events.len() > 0 {
            self.part = Some(part);
        } else {
            viewed.cursor = end;
        }
        out.into()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        if let Some(after) = self.carried.given_up_after() {
            self.tell_given_up(after);
        }
    }
}
