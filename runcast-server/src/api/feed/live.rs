//! Follows the feed live, as server-sent events.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use runcast_event::{Cursor, RunId};
use runcast_hub::{Delivery, Follower, Format, Slice};
use tokio::time::Interval;

use crate::accept::{Carried, Wire};
use crate::api::Services;
use crate::api::live::{self, Departure};
use crate::feed::FeedFilter;
use crate::metrics::Transport;
use crate::problem::Problem;
use crate::transport::{feed, sse};

/// Answers with the entries from the cursor on, and those to come.
pub(super) async fn follow(
    services: &Services,
    cursor: Cursor,
    filter: FeedFilter,
    is_named: bool,
    wire: Option<Arc<Wire>>,
) -> Result<Response, Problem> {
    let follower = services.hub.follow(&RunId::feed(), cursor).await?;
    let carried = Carried::begin(&services.metrics, wire, Transport::Sse);
    carried.follows(cursor);
    let viewer = Viewer {
        carried,
        told: follower.cursor(),
        follower,
        filter,
        format: if is_named { Format::SseNamed } else { Format::Sse },
        heartbeat: live::heartbeat(services.heartbeat),
        departure: Departure::of(services),
        is_open: false,
        is_over: false,
    };
    Ok(live::answer(stream::unfold(viewer, |mut viewer| async move {
        let frame = viewer.next_frame().await?;
        Some((frame, viewer))
    })))
}

struct Viewer {
    carried: Carried,
    follower: Follower,
    filter: FeedFilter,
    format: Format,
    heartbeat: Interval,
    departure: Departure,
    is_open: bool,
    is_over: bool,
    /// Where the reader knows that it is.
    told: Cursor,
}

impl Viewer {
    /// What is sent next; none when the stream is over.
    async fn next_frame(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.is_open, true) {
            return Some(Bytes::from_static(sse::OPENING));
        }
        if self.is_over {
            return None;
        }
        loop {
            let delivery = tokio::select! {
                biased;
                last = self.departure.comes() => {
                    self.is_over = true;
                    return Some([self.beat(), last].concat().into());
                }
                delivery = self.follower.next() => delivery,
                _ = self.heartbeat.tick() => return Some(self.beat()),
            };
            let frame = match delivery {
                Delivery::Events(slice) => {
                    let frames = self.entries(&slice);
                    self.carried.delivered(&slice, !frames.is_empty());
                    frames
                }
                Delivery::Gap(gap) => {
                    self.carried.told(&gap);
                    sse::gap(&gap)
                }
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
            return feed::entries(slice, self.format);
        }
        let chosen = self.filter.choose(slice.records());
        if let Some(newest) = chosen.last() {
            self.told = Cursor::new(slice.epoch(), newest.offset);
        }
        feed::chosen_entries(slice, &chosen, self.format)
    }

    /// Says that the stream is open, and up to where, if the reader cannot know that.
    fn beat(&mut self) -> Bytes {
        let cursor = self.follower.cursor();
        if cursor == self.told || self.follower.is_away() {
            return sse::heartbeat(self.follower.is_away());
        }
        self.told = cursor;
        sse::passed(cursor)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        if let Some(after) = self.carried.given_up_after() {
            let (cursor, seconds) = (self.follower.cursor(), after.as_secs_f64());
            tracing::warn!(%cursor, seconds, "a viewer of the feed took nothing and was disconnected");
        }
    }
}
