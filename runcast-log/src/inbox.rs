//! What producers have left with the engine itself, past every node: it waits there until one node appends it.

use async_trait::async_trait;
use bytes::Bytes;
use runcast_event::{RunId, Timestamp};

use crate::contract::{ProducerStamp, ReadError};

/// A batch of events that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Where it is in the inbox.
    pub place: String,
    /// When it was left there.
    pub time: Timestamp,
    /// The run that it is for.
    pub run: RunId,
    /// Who appends: whoever left it there said so, or the inbox counts the events of the run itself.
    pub producer: ProducerStamp,
    /// Whether the inbox has counted them.
    pub is_counted: bool,
    /// The events as they came: not looked at.
    pub events: Vec<Bytes>,
}

/// A batch that no run takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Where it was in the inbox.
    pub place: String,
    /// The run that it was for.
    pub run: RunId,
    /// Why.
    pub reason: String,
    /// The beginning of its events.
    pub events: Bytes,
}

/// What waits with an engine. One node at a time takes out; a batch is there until it is said to be done, so
/// that a node that is gone is followed by another that finds the same.
#[async_trait]
pub trait Inbox: Send + Sync + 'static {
    /// What falls to one node to do for the inbox goes by this name; see [`crate::Log::has_duty`].
    fn name(&self) -> RunId;

    /// The oldest batches that wait, some of them; none if nothing waits.
    async fn read(&self) -> Result<Vec<Received>, ReadError>;

    /// These are appended or rejected: they are taken out, and it is kept for a while what was rejected.
    async fn done(&self, done: &[Received], rejected: &[Rejected]) -> Result<(), ReadError>;
}
