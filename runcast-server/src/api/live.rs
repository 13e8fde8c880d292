//! What every live answer has in common.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Interval, MissedTickBehavior};

use super::Services;
use crate::accept::{Phase, PhaseWatch};
use crate::config::Limits;
use crate::transport::sse;

/// An answer that goes on with these frames.
pub(super) fn answer(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    use futures_util::StreamExt as _;
    let frames = frames.map(Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    let cache_control = HeaderValue::from_static("no-cache, no-transform");
    headers.insert(header::CACHE_CONTROL, cache_control);
    // nginx would keep frames back until they fill a buffer.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The end of the server as its viewers see it: each is to come back, at another time.
pub(super) struct Departure {
    phase: PhaseWatch,
    limits: Limits,
}

impl Departure {
    pub(super) fn of(services: &Services) -> Self {
        Self { phase: services.phase.clone(), limits: services.limits.clone() }
    }

    /// Waits for it, and gives what a viewer is told last.
    pub(super) async fn comes(&mut self) -> Bytes {
        self.phase.reached(Phase::Draining).await;
        sse::retry(self.limits.reconnect_after())
    }
}

/// When to say that the connection is open.
pub(super) fn heartbeat(period: Duration) -> Interval {
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat
}
