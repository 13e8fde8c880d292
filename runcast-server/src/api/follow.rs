//! Follows a run live, as server-sent events.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use runcast_event::{Cursor, EventFilter, FILTER_FIELDS, Offset, Payload, RunId};
use runcast_hub::{Delivery, Follower, Format, Hub, Slice};
use runcast_log::{ReadError, ReadLimit, StreamStat};
use tokio::time::Interval;

use super::Services;
use super::live::{self, Departure};
use super::parameters::{Query, cursor, without_body};
use crate::accept::{Carried, Wire};
use crate::metrics::Transport;
use crate::presence::Held;
use crate::problem::Problem;
use crate::transport::shape::Shape;
use crate::transport::sse;
use crate::transport::view::View;

/// What of a run is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Its events, of which the reader chooses.
    Events,
    /// What is said to it: the reader is its producer.
    Mailbox,
}

/// The types of events that a run's mailbox has.
const MAIL: [&str; 3] = ["command.requested", "input.answered", "input.timed_out"];

impl Scope {
    /// Takes a query apart that may have `more` beside what every representation has.
    pub(super) fn query<'a>(self, uri: &'a Uri, more: &[&str]) -> Result<Query<'a>, Problem> {
        match self {
            Self::Events => {
                let known = [&["after", "coalesce"], more].concat();
                Query::parse(uri.query(), &known, &FILTER_FIELDS)
            }
            Self::Mailbox => Query::parse(uri.query(), &[&["after"], more].concat(), &[]),
        }
    }

    /// Which events the reader gets.
    pub(super) fn view(self, query: &Query<'_>) -> Result<View, Problem> {
        match self {
            Self::Events => query.view(),
            Self::Mailbox => Ok(Self::mail()),
        }
    }

    /// Which events a mailbox has.
    pub(crate) fn mail() -> View {
        let mut filter = EventFilter::default();
        for event_type in MAIL {
            filter.allow("type", event_type).expect("it is a type");
        }
        View { filter, coalesce: false }
    }
}

/// What a reader asks that wants to follow a run live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FollowRequest {
    pub(crate) run: RunId,
    pub(crate) scope: Scope,
    /// None if it does not say: from the first event on.
    pub(crate) cursor: Option<Cursor>,
    pub(crate) shape: Shape,
}

impl FollowRequest {
    pub(crate) fn parse(
        run: RunId,
        scope: Scope,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        without_body(headers)?;
        let query = scope.query(uri, &["named"])?;
        let view = scope.view(&query)?;
        let cursor = cursor(headers, &query)?;
        let is_named = query.switch("named")?.unwrap_or(false);
        let format = if is_named { Format::SseNamed } else { Format::Sse };
        Ok(Self { run, scope, cursor, shape: Shape { view, format } })
    }
}

/// Answers with the run's events from the cursor on, and those to come.
pub(super) async fn live(
    services: &Services,
    request: FollowRequest,
    wire: Option<Arc<Wire>>,
) -> Result<Response, Problem> {
    let FollowRequest { run, scope, cursor, shape } = request;
    if let Some(cursor) = cursor
        && let Some(stat) = services.hub.stat(&run).await?
        && has_seen_all(cursor, &stat)
    {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let follower = services.hub.follow(&run, cursor.unwrap_or_default()).await?;
    let carried = Carried::begin(&services.metrics, wire, Transport::Sse);
    carried.follows(cursor.unwrap_or_default());
    let viewer = Viewer {
        hub: services.hub.clone(),
        told: follower.cursor(),
        follower,
        shape,
        terminal: None,
        heartbeat: live::heartbeat(services.heartbeat),
        departure: Departure::of(services),
        next: Next::Opening,
        carried,
        _there: (scope == Scope::Mailbox).then(|| services.presence.hold(&run)),
    };
    Ok(live::answer(stream::unfold(viewer, |mut viewer| async move {
        let frame = viewer.next_frame().await?;
        Some((frame, viewer))
    })))
}

fn has_seen_all(cursor: Cursor, stat: &StreamStat) -> bool {
    stat.closed && cursor == Cursor::new(stat.epoch, stat.last)
}

/// The type of the event that ended a run, if that is still known.
pub(super) async fn type_of_end(
    hub: &Hub,
    run: &RunId,
    last: Offset,
) -> Result<Option<String>, ReadError> {
    let before = Offset::new(last.get().saturating_sub(1));
    let limit = ReadLimit { events_max: 1, bytes_max: 1 };
    match hub.read(run, before, limit).await {
        Ok(page) => {
            let record = page.records.into_iter().next().ok_or(ReadError::NotFound)?;
            Ok(Some(Payload::from_stored(record.payload).event_type().to_owned()))
        }
        Err(ReadError::Damaged { .. } | ReadError::Trimmed { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One open stream of events.
struct Viewer {
    hub: Hub,
    follower: Follower,
    /// The cursor that the reader has been told.
    told: Cursor,
    shape: Shape,
    /// The type of the event that ended the run, once it was sent.
    terminal: Option<String>,
    heartbeat: Interval,
    departure: Departure,
    next: Next,
    carried: Carried,
    /// The run's producer is there while it reads its mailbox.
    _there: Option<Held>,
}

enum Next {
    Opening,
    Events,
    Nothing,
}

impl Viewer {
    /// What is sent next; none when the stream is over.
    async fn next_frame(&mut self) -> Option<Bytes> {
        match self.next {
            Next::Opening => {
                self.next = Next::Events;
                return Some(Bytes::from_static(sse::OPENING));
            }
            Next::Events => {}
            Next::Nothing => return None,
        }
        loop {
            let delivery = tokio::select! {
                biased;
                // Not the run's end: the viewer comes back and goes on.
                last = self.departure.comes() => {
                    self.next = Next::Nothing;
                    return Some([self.heartbeat_frame(), last].concat().into());
                }
                delivery = self.follower.next() => delivery,
                _ = self.heartbeat.tick() => return Some(self.heartbeat_frame()),
            };
            return match delivery {
                Delivery::Events(slice) => {
                    let frames = self.events(&slice);
                    if frames.is_empty() {
                        continue;
                    }
                    Some(frames)
                }
                Delivery::Gap(gap) => {
                    self.carried.told(&gap);
                    self.told = gap.behind();
                    Some(sse::gap(&gap))
                }
                Delivery::End { last } => {
                    self.next = Next::Nothing;
                    let event_type = match self.terminal.take() {
                        // This viewer did not get it.
                        None => type_of_end(&self.hub, self.follower.run(), last).await.ok()?,
                        event_type => event_type,
                    };
                    Some(self.end_frame(last, event_type.as_deref()))
                }
                Delivery::Deleted => {
                    self.next = Next::Nothing;
                    Some(Bytes::from_static(sse::DELETED))
                }
                Delivery::Failed { reason } => {
                    tracing::error!(run = %self.follower.run(), %reason, "a follower cannot be served");
                    None
                }
            };
        }
    }

    /// Says that the run has ended, and moves the reader to the tail, so that it comes back to a 204.
    fn end_frame(&self, last: Offset, event_type: Option<&str>) -> Bytes {
        let end = sse::end(last, event_type);
        let cursor = self.follower.cursor();
        if cursor == self.told {
            return end;
        }
        [sse::passed(cursor), end].concat().into()
    }

    /// Says that the stream is open, and up to where, if the reader cannot know that.
    fn heartbeat_frame(&mut self) -> Bytes {
        let cursor = self.follower.cursor();
        if cursor == self.told || self.follower.is_away() {
            return sse::heartbeat(self.follower.is_away());
        }
        self.told = cursor;
        sse::passed(cursor)
    }

    fn events(&mut self, slice: &Slice) -> Bytes {
        if let Some(record) = slice.records().last() {
            let payload = Payload::from_stored(record.payload.clone());
            let event_type = payload.event_type();
            if runcast_event::is_terminal(event_type) {
                self.terminal = Some(event_type.to_owned());
            }
        }
        let frames = sse::events(slice, &self.shape);
        self.carried.delivered(slice, !frames.is_empty());
        if self.shape.view.is_plain() {
            self.told = self.follower.cursor();
        }
        frames
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        if let Some(after) = self.carried.given_up_after() {
            let (run, cursor, seconds) =
                (self.follower.run(), self.follower.cursor(), after.as_secs_f64());
            tracing::warn!(%run, %cursor, seconds, "a viewer took nothing and was disconnected");
        }
    }
}
