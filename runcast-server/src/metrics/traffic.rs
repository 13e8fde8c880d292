//! What goes over each transport, and who is connected by it.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Metrics, add, load};

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Calls that are answered, and what the HTTP library serves.
    Http,
    /// Follows as server-sent events.
    Sse,
    /// WebSocket.
    WebSocket,
}

impl Transport {
    pub(crate) const ALL: [Self; 3] = [Self::Http, Self::Sse, Self::WebSocket];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Sse => "sse",
            Self::WebSocket => "websocket",
        }
    }
}

/// Why the server closed a connection that its client had not finished with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// Its socket took nothing for too long.
    Stalled,
    /// A write to it failed, after which none works with TCP.
    WriteFailed,
    /// It did not answer a ping.
    Silent,
}

impl Eviction {
    pub(crate) const ALL: [Self; 3] = [Self::Stalled, Self::WriteFailed, Self::Silent];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Stalled => "stalled",
            Self::WriteFailed => "write_failed",
            Self::Silent => "silent",
        }
    }
}

/// The counters of one transport.
#[derive(Debug)]
pub(crate) struct Traffic {
    open: AtomicU64,
    opened: AtomicU64,
    resumes: AtomicU64,
    events: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    stalls: AtomicU64,
    evictions: [AtomicU64; Eviction::ALL.len()],
}

impl Default for Traffic {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            open: zero(),
            opened: zero(),
            resumes: zero(),
            events: zero(),
            frames: zero(),
            bytes: zero(),
            failed: zero(),
            stalls: zero(),
            evictions: array::from_fn(|_| zero()),
        }
    }
}

impl Traffic {
    /// A connection is open from now on.
    pub(crate) fn opened(&self) {
        add(&self.open, 1);
        add(&self.opened, 1);
    }

    /// So many connections are open no more.
    pub(crate) fn closed(&self, connections: u64) {
        self.open.fetch_sub(connections, Ordering::Relaxed);
    }

    /// A follow began with a cursor: a reader came back, or joined where it knew the run to be.
    pub(crate) fn resumed(&self) {
        add(&self.resumes, 1);
    }

    /// Readers were taken past these events, with so many pieces of bytes handed to connections.
    pub(crate) fn delivered(&self, events: u64, frames: u64) {
        add(&self.events, events);
        add(&self.frames, frames);
    }

    /// Sockets took these bytes.
    pub(crate) fn sent(&self, bytes: u64) {
        add(&self.bytes, bytes);
    }

    /// A connection broke, or was closed, while there was something to send.
    pub(crate) fn failed(&self) {
        add(&self.failed, 1);
    }

    /// A socket was full, and the connection began to wait for its client.
    pub(crate) fn stalled(&self) {
        add(&self.stalls, 1);
    }

    /// The server closed a connection that its client had not finished with.
    pub(crate) fn evicted(&self, reason: Eviction) {
        add(&self.evictions[reason as usize], 1);
    }

    pub(super) fn open(&self) -> u64 {
        load(&self.open)
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            opened: load(&self.opened),
            resumes: load(&self.resumes),
            events: load(&self.events),
            frames: load(&self.frames),
            bytes: load(&self.bytes),
            failed: load(&self.failed),
            stalls: load(&self.stalls),
            evictions: self.evictions.each_ref().map(load),
        }
    }
}

/// What was counted on one transport since the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) opened: u64,
    pub(super) resumes: u64,
    pub(super) events: u64,
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) failed: u64,
    pub(super) stalls: u64,
    pub(super) evictions: [u64; Eviction::ALL.len()],
}

/// A connection that counts as open while this is held.
#[derive(Debug)]
pub(crate) struct Connected {
    metrics: Arc<Metrics>,
    transport: Transport,
}

impl Connected {
    pub(super) fn new(metrics: Arc<Metrics>, transport: Transport) -> Self {
        metrics.of(transport).opened();
        Self { metrics, transport }
    }

    /// Counts what goes over it.
    pub(crate) fn traffic(&self) -> &Traffic {
        self.metrics.of(self.transport)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.traffic().closed(1);
    }
}
