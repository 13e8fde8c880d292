//! What becomes of one connection: known to its socket, which sees it happen, and to the follow on
//! it, which can say whom it concerned.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{Request, Version};

use crate::metrics::{Connected, Eviction, Metrics, Traffic, Transport};

/// One connection of the HTTP library.
#[derive(Debug)]
pub(crate) struct Wire {
    metrics: Arc<Metrics>,
    counted: Connected,
    /// Whether a follow has the connection to itself.
    is_followed: AtomicBool,
    /// It broke while there was something to send.
    is_broken: AtomicBool,
    /// For how long the client took nothing, if it was given up for that.
    given_up_after: OnceLock<Duration>,
}

impl Wire {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            metrics: Arc::clone(metrics),
            counted: metrics.connect(Transport::Http),
            is_followed: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
            given_up_after: OnceLock::new(),
        })
    }

    /// Lets a request's handler find the connection.
    pub(crate) fn mark<B>(self: Arc<Self>, request: &mut Request<B>) {
        request.extensions_mut().insert(self);
    }

    fn traffic(&self) -> &Traffic {
        if self.is_followed.load(Ordering::Relaxed) {
            self.metrics.of(Transport::Sse)
        } else {
            self.counted.traffic()
        }
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.traffic().sent(bytes as u64);
    }

    /// The client takes nothing at the moment.
    pub(super) fn waits(&self) {
        self.traffic().stalled();
    }

    pub(super) fn broke(&self) {
        if !self.is_broken.swap(true, Ordering::Relaxed) {
            self.traffic().failed();
        }
    }

    /// The client took nothing for so long that it is given up.
    pub(super) fn gives_up(&self, after: Duration) {
        if self.given_up_after.set(after).is_ok() {
            self.traffic().evicted(Eviction::Stalled);
            self.broke();
        }
    }
}

/// A follow as one of the server's connections, while it is held.
#[derive(Debug)]
pub(crate) struct FollowedWire {
    wire: Option<Arc<Wire>>,
    counted: Connected,
    has_wire_to_itself: bool,
}

impl FollowedWire {
    /// Counts the follow that a request asks for, as server-sent events.
    pub(crate) fn begin(metrics: &Arc<Metrics>, request: &Parts) -> Self {
        let wire = request.extensions.get::<Arc<Wire>>().cloned();
        let has_wire_to_itself = request.version <= Version::HTTP_11;
        if let Some(wire) = &wire
            && has_wire_to_itself
        {
            wire.is_followed.store(true, Ordering::Relaxed);
        }
        Self { wire, counted: metrics.connect(Transport::Sse), has_wire_to_itself }
    }

    /// Counts what goes over it.
    pub(crate) fn traffic(&self) -> &Traffic {
        self.counted.traffic()
    }

    /// For how long the client took nothing, if it was given up for that.
    pub(crate) fn given_up_after(&self) -> Option<Duration> {
        self.wire.as_ref()?.given_up_after.get().copied()
    }
}

impl Drop for FollowedWire {
    fn drop(&mut self) {
        if let Some(wire) = &self.wire
            && self.has_wire_to_itself
        {
            wire.is_followed.store(false, Ordering::Relaxed);
        }
    }
}
