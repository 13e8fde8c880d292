//! What happens on the plane, counted as traffic of server-sent events.

use std::sync::Arc;
use std::time::Instant;

use runcast_event::{Cursor, Offset};
use runcast_hub::GapReason;

use crate::metrics::{Eviction, Metrics, Traffic, Transport};

/// Counters that all shards share. What happens for each delivery is added once a turn.
#[derive(Debug, Clone)]
pub(super) struct PlaneCounts(Arc<Metrics>);

impl PlaneCounts {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        Self(Arc::clone(metrics))
    }

    fn traffic(&self) -> &Traffic {
        self.0.of(Transport::Sse)
    }

    /// A connection joins.
    pub(super) fn joined(&self) {
        self.traffic().opened();
    }

    /// So many connections are gone.
    pub(super) fn left(&self, connections: usize) {
        self.traffic().closed(connections as u64);
    }

    /// A viewer gets its place, which it asked for with this cursor.
    pub(super) fn placed(&self, cursor: Option<Cursor>) {
        if cursor.is_some_and(|cursor| cursor.after > Offset::START) {
            self.traffic().resumed();
        }
    }

    /// So many viewers are told of events that they cannot have.
    pub(super) fn told_gap(&self, reason: GapReason, viewers: usize) {
        (0..viewers).for_each(|_| self.0.told_gap(reason));
    }

    /// A viewer is let go because it took nothing for too long.
    pub(super) fn gave_up(&self) {
        self.traffic().evicted(Eviction::Stalled);
        self.traffic().failed();
    }

    /// A viewer could not be written to.
    pub(super) fn broke(&self) {
        self.traffic().failed();
    }

    /// So many viewers have by now been given what became durable then.
    pub(super) fn delivered(&self, committed_at: Instant, viewers: usize) {
        self.0.delivery_took(committed_at.elapsed(), viewers as u64);
    }

    /// Takes in what a shard has counted since it was here last.
    pub(super) fn add(&self, tally: &mut Tally) {
        let Tally { events, deliveries, bytes, stalls } = std::mem::take(tally);
        if deliveries > 0 {
            self.traffic().delivered(events, deliveries);
        }
        if bytes > 0 {
            self.traffic().sent(bytes);
        }
        for _ in 0..stalls {
            self.traffic().stalled();
        }
    }
}

/// What a shard has counted in a turn.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Events that viewers were taken past.
    pub(super) events: u64,
    /// Parts that were written to them.
    pub(super) deliveries: u64,
    /// Bytes that sockets took.
    pub(super) bytes: u64,
    /// Writes that filled a socket.
    pub(super) stalls: u64,
}
