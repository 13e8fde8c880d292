//! What happens on the plane, counted as traffic of the transport that it happens on.

use std::sync::Arc;
use std::time::Instant;

use runcast_event::{Cursor, Offset};
use runcast_hub::GapReason;

use crate::metrics::{Eviction, Metrics, Transport};
use crate::problem::Code;

/// Counters that all shards share. What happens for each delivery is added once a turn.
#[derive(Debug, Clone)]
pub(super) struct PlaneCounts(Arc<Metrics>);

impl PlaneCounts {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        Self(Arc::clone(metrics))
    }

    /// A connection joins.
    pub(super) fn joined(&self, transport: Transport) {
        self.0.of(transport).opened();
    }

    /// So many connections are gone.
    pub(super) fn left(&self, transport: Transport, connections: u64) {
        self.0.of(transport).closed(connections);
    }

    /// A reader gets its place, which it asked for with this cursor.
    pub(super) fn placed(&self, transport: Transport, cursor: Option<Cursor>) {
        if cursor.is_some_and(|cursor| cursor.after > Offset::START) {
            self.0.of(transport).resumed();
        }
    }

    /// So many readers are told of events that they cannot have.
    pub(super) fn told_gap(&self, reason: GapReason, readers: usize) {
        (0..readers).for_each(|_| self.0.told_gap(reason));
    }

    /// A viewer is let go because it took nothing for too long.
    pub(super) fn gave_up(&self, transport: Transport) {
        self.0.of(transport).evicted(Eviction::Stalled);
        self.0.of(transport).failed();
    }

    /// A viewer is let go because it could not be written to.
    pub(super) fn broke(&self, transport: Transport) {
        self.0.of(transport).evicted(Eviction::WriteFailed);
        self.0.of(transport).failed();
    }

    /// A client is sent away because it did not answer a ping.
    pub(super) fn was_silent(&self, transport: Transport) {
        self.0.of(transport).evicted(Eviction::Silent);
    }

    /// So many readers have by now been given what became durable then.
    pub(super) fn delivered(&self, committed_at: Instant, readers: usize) {
        self.0.delivery_took(committed_at.elapsed(), readers as u64);
    }

    /// A WebSocket's client publishes.
    pub(super) fn append_requested(&self) {
        self.0.append_requested();
    }

    /// What it published was not stored.
    pub(super) fn append_refused(&self, code: Code) {
        self.0.append_refused(code);
    }

    /// Takes in what a shard has counted since it was here last.
    pub(super) fn add(&self, tally: &mut Tally) {
        for (transport, counted) in Transport::ALL.into_iter().zip(&mut tally.0) {
            let Counted { events, deliveries, bytes, stalls } = std::mem::take(counted);
            let traffic = self.0.of(transport);
            if events > 0 || deliveries > 0 {
                traffic.delivered(events, deliveries);
            }
            if bytes > 0 {
                traffic.sent(bytes);
            }
            for _ in 0..stalls {
                traffic.stalled();
            }
        }
    }
}

/// What a shard has counted in a turn, for each transport.
#[derive(Debug, Default)]
pub(super) struct Tally([Counted; Transport::ALL.len()]);

impl Tally {
    pub(super) fn of(&mut self, transport: Transport) -> &mut Counted {
        &mut self.0[transport as usize]
    }
}

/// What was counted on one transport.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Events that readers were taken past.
    pub(super) events: u64,
    /// Parts that were written to them.
    pub(super) deliveries: u64,
    /// Bytes that sockets took.
    pub(super) bytes: u64,
    /// Writes that filled a socket.
    pub(super) stalls: u64,
}
