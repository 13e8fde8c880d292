//! What becomes of one connection of the HTTP library: known to its socket, which sees it happen, and
//! to the viewer on it, which can say whom it concerned.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::http::Request;
use runcast_event::{Cursor, Offset};
use runcast_hub::{Gap, Slice};

use crate::metrics::{Connected, Eviction, Metrics, Traffic, Transport};
use crate::stored::count_of;

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    metrics: Arc<Metrics>,
    /// What is on it counts as this; see [`Transport::ALL`].
    carries: AtomicU8,
    /// Whether it has many requests at once, of which none has it to itself.
    is_shared: bool,
    /// It broke while there was something to send.
    is_broken: AtomicBool,
    /// For how long the client took nothing, if it was given up for that.
    given_up_after: OnceLock<Duration>,
    _counted: Connected,
}

impl Wire {
    pub(super) fn new(metrics: &Arc<Metrics>, is_shared: bool) -> Arc<Self> {
        Arc::new(Self {
            metrics: Arc::clone(metrics),
            carries: AtomicU8::new(Transport::Http as u8),
            is_shared,
            is_broken: AtomicBool::new(false),
            given_up_after: OnceLock::new(),
            _counted: metrics.connect(Transport::Http),
        })
    }

    /// Lets a request's handler find the connection.
    pub(crate) fn mark<B>(self: Arc<Self>, request: &mut Request<B>) {
        request.extensions_mut().insert(self);
    }

    /// The connection that a request came on.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Arc<Self>> {
        request.extensions().get::<Arc<Self>>().cloned()
    }

    fn traffic(&self) -> &Traffic {
        let carries = usize::from(self.carries.load(Ordering::Relaxed));
        self.metrics.of(Transport::ALL[carries])
    }

    fn carry(&self, transport: Transport) {
        if !self.is_shared {
            self.carries.store(transport as u8, Ordering::Relaxed);
        }
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.traffic().sent(bytes as u64);
    }

    /// The client takes nothing at the moment.
    pub(super) fn waits(&self) {
        self.traffic().stalled();
    }

    /// A write failed.
    pub(super) fn broke(&self) {
        self.ends(Eviction::WriteFailed);
    }

    fn ends(&self, reason: Eviction) {
        if !self.is_broken.swap(true, Ordering::Relaxed) {
            self.traffic().evicted(reason);
            self.traffic().failed();
        }
    }

    /// The client took nothing for so long that it is given up.
    pub(super) fn gives_up(&self, after: Duration) {
        if self.given_up_after.set(after).is_ok() {
            self.ends(Eviction::Stalled);
        }
    }
}

/// A viewer on a connection of the HTTP library: it counts as one while this is held.
#[derive(Debug)]
pub(crate) struct Carried {
    wire: Option<Arc<Wire>>,
    counted: Connected,
    metrics: Arc<Metrics>,
    began_at: Instant,
}

impl Carried {
    pub(crate) fn begin(
        metrics: &Arc<Metrics>,
        wire: Option<Arc<Wire>>,
        transport: Transport,
    ) -> Self {
        if let Some(wire) = &wire {
            wire.carry(transport);
        }
        Self {
            wire,
            counted: metrics.connect(transport),
            metrics: Arc::clone(metrics),
            began_at: Instant::now(),
        }
    }

    /// Counts that it follows from this cursor on.
    pub(crate) fn follows(&self, cursor: Cursor) {
        if cursor.after > Offset::START {
            self.traffic().resumed();
        }
    }

    /// Counts events that it is taken past, and whether anything is sent of them.
    pub(crate) fn delivered(&self, slice: &Slice, is_sent: bool) {
        let events = count_of(slice.records());
        self.traffic().delivered(events, u64::from(is_sent));
        // What was there before is not late.
        if let Some(committed_at) = slice.committed_at()
            && committed_at >= self.began_at
        {
            self.metrics.delivery_took(committed_at.elapsed(), 1);
        }
    }

    /// Counts that it is told of events that it cannot have.
    pub(crate) fn told(&self, gap: &Gap) {
        self.metrics.told_gap(gap.reason);
    }

    /// Counts what goes over it.
    fn traffic(&self) -> &Traffic {
        self.counted.traffic()
    }

    /// For how long the client took nothing, if it was given up for that.
    pub(crate) fn given_up_after(&self) -> Option<Duration> {
        self.wire.as_ref()?.given_up_after.get().copied()
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if let Some(wire) = &self.wire {
            wire.carry(Transport::Http);
        }
    }
}
