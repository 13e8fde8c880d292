//! Follows the feed live, as server-sent events.

use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use runcast_event::{Cursor, Payload, RunId};
use runcast_hub::{Delivery, Follower, Format, Slice};
use tokio::time::Interval;

use crate::accept::{Phase, PhaseWatch};
use crate::api::{Services, live};
use crate::feed::FeedFilter;
use crate::problem::Problem;
use crate::transport::{feed, sse};

/// Answers with the entries from the cursor on, and those to come.
pub(super) async fn follow(
    services: &Services,
    cursor: Cursor,
    filter: FeedFilter,
    is_named: bool,
) -> Result<Response, Problem> {
    let viewer = Viewer {
        follower: services.hub.follow(&RunId::feed(), cursor).await?,
        filter,
        format: if is_named { Format::SseNamed } else { Format::Sse },
        heartbeat: live::heartbeat(services.heartbeat),
        phase: services.phase.clone(),
        is_open: false,
        told: cursor,
    };
    Ok(live::answer(stream::unfold(viewer, |mut viewer| async move {
        let frame = viewer.next_frame().await?;
        Some((frame, viewer))
    })))
}

struct Viewer {
    follower: Follower,
    filter: FeedFilter,
    format: Format,
    heartbeat: Interval,
    phase: PhaseWatch,
    is_open: bool,
    /// Where the reader knows that it is.
    told: Cursor,
}

impl Viewer {
    /// What is sent next; none when the stream is over.
    async fn next_frame(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.is_open, true) {
            return Some(Bytes::from_static(sse::OPENING));
        }
        loop {
            let delivery = tokio::select! {
                biased;
                // The viewer comes back and goes on.
                () = self.phase.reached(Phase::Draining) => return None,
                delivery = self.follower.next() => delivery,
                _ = self.heartbeat.tick() => return Some(self.beat()),
            };
            let frame = match delivery {
                Delivery::Events(slice) => self.entries(&slice),
                Delivery::Gap(gap) => sse::gap(&gap),
                Delivery::End { .. } | Delivery::Deleted => return None,
                Delivery::Failed { reason } => {
                    tracing::error!(%reason, "a follower of the feed cannot be served");
                    return None;
                }
            };
            if !frame.is_empty() {
                return Some(frame);
            }
        }
    }

    fn entries(&mut self, slice: &Slice) -> Bytes {
        let cursor = Cursor::new(slice.epoch(), slice.last());
        if self.filter.is_open() {
            self.told = cursor;
            return sse::events(slice, self.format);
        }
        let passes = |payload: &Payload| self.filter.passes(payload);
        let newest = slice.records().last().map(|record| record.payload.clone());
        let frames = feed::wanted_entries(slice, self.format, passes);
        if newest.is_some_and(|newest| passes(&Payload::from_stored(newest))) {
            self.told = cursor;
        }
        frames
    }

    /// A heartbeat, with the cursor if it moved past entries that were not wanted.
    fn beat(&mut self) -> Bytes {
        let cursor = self.follower.cursor();
        let has_moved = cursor != self.told;
        self.told = cursor;
        feed::heartbeat(has_moved.then_some(cursor))
    }
}
