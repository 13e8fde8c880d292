//! Events that became durable together, and their wire form, made once for all followers.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use runcast_event::{Epoch, Offset};
use runcast_log::Record;

/// A wire form that followers share. The hub keeps the bytes and does not know what is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Server-sent events without names.
    Sse,
    /// Server-sent events named by their type.
    SseNamed,
    /// WebSocket messages.
    WebSocket,
}

const FORMATS: usize = 3;

/// Consecutive events of one stream; at least one.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) epoch: Epoch,
    pub(crate) records: Vec<Record>,
    pub(crate) bytes: usize,
    /// When they became readable; none for events that were read from the log.
    committed_at: Option<Instant>,
    encoded: [OnceLock<Bytes>; FORMATS],
}

impl Batch {
    /// Events that became durable just now.
    pub(crate) fn committed(epoch: Epoch, records: Vec<Record>) -> Arc<Self> {
        Self::new(epoch, records, Some(Instant::now()))
    }

    /// Events that were read from the log.
    pub(crate) fn read(epoch: Epoch, records: Vec<Record>) -> Arc<Self> {
        Self::new(epoch, records, None)
    }

    fn new(epoch: Epoch, records: Vec<Record>, committed_at: Option<Instant>) -> Arc<Self> {
        let payloads: usize = records.iter().map(|record| record.payload.len()).sum();
        let bytes = payloads + records.len() * size_of::<Record>();
        Arc::new(Self { epoch, records, bytes, committed_at, encoded: Default::default() })
    }

    pub(crate) fn first(&self) -> Offset {
        self.records.first().map_or(Offset::START, Record::first)
    }

    pub(crate) fn last(&self) -> Offset {
        self.records.last().map_or(Offset::START, |record| record.offset)
    }
}

/// The part of a batch that a follower has not seen; at least one event.
#[derive(Debug, Clone)]
pub struct Slice {
    batch: Arc<Batch>,
    from: usize,
}

impl Slice {
    /// The part of `batch` from the event at `next` on, which must be in it.
    pub(crate) fn from_offset(batch: Arc<Batch>, next: Offset) -> Self {
        let from = batch.records.partition_point(|record| record.offset < next);
        Self { batch, from }
    }

    /// The events, in order, without a hole.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.batch.records[self.from..]
    }

    /// The epoch of the events.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.batch.epoch
    }

    /// When the events became durable; none for events that were read from the log.
    #[must_use]
    pub fn committed_at(&self) -> Option<Instant> {
        self.batch.committed_at
    }

    /// The offset of the last event.
    #[must_use]
    pub fn last(&self) -> Offset {
        self.batch.last()
    }

    /// The events' wire form: encoded by the first follower that asks, shared by all others.
    ///
    /// A follower that joined in the middle of the batch gets bytes of its own.
    pub fn encoded(
        &self,
        format: Format,
        encode: impl FnOnce(Epoch, &[Record], &mut Vec<u8>),
    ) -> Bytes {
        let make = || {
            let mut out = Vec::with_capacity(self.batch.bytes + self.records().len() * 32);
            encode(self.batch.epoch, self.records(), &mut out);
            Bytes::from(out)
        };
        if self.from == 0 {
            self.batch.encoded[format as usize].get_or_init(make).clone()
        } else {
            make()
        }
    }
}
