//! A run's state as readers get it.

use runcast_event::{Epoch, Offset, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::status::Status;

/// How many events a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventCounts {
    /// All.
    pub total: u64,
    /// Of type `output`.
    pub output: u64,
    /// Of type `log`.
    pub log: u64,
}

/// The answer to `GET /v1/runs/{run}`: the state that the events up to `offset` fold to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSnapshot {
    /// The run.
    pub id: RunId,
    /// The kind of run.
    pub workflow: Option<String>,
    /// A name for people.
    pub name: Option<String>,
    /// What it can be found by.
    pub tags: Vec<String>,
    /// The stages that it will go through, as declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Value>,
    /// The steps that it will take, as declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Value>,
    /// Its parallel attempts, as declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variations: Vec<Value>,
    /// What its producer keeps with it.
    pub metadata: Map<String, Value>,
    /// When it must have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Where it stands.
    pub status: Status,
    /// Why it stands there, if somebody said so.
    pub status_reason: Option<String>,
    /// Whether it has ended.
    pub is_terminal: bool,
    /// The exit code of its process.
    pub exit_code: Option<i64>,
    /// The signal that ended its process.
    pub signal: Option<String>,
    /// What went wrong: a text, or an object.
    pub error: Option<Value>,
    /// When its first event happened.
    pub created_at: Timestamp,
    /// When it began to work.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When its newest event happened.
    pub updated_at: Timestamp,
    /// Milliseconds from the start to the end, or to the newest event while it has not ended.
    pub duration_ms: Option<u64>,
    /// How many events it has.
    pub events: EventCounts,
    /// The epoch of its stream.
    pub epoch: Epoch,
    /// The newest event that counts in this state.
    pub offset: Offset,
    /// The same as a cursor: `events?after=<cursor>` goes on where this state ends.
    pub cursor: String,
    /// The oldest event that is kept.
    pub first_offset: Offset,
}
