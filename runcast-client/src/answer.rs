//! What the server answers.

use runcast_event::{Cursor, Epoch, Event, Offset, RunId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// Events that are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppendAnswer {
    /// The run's epoch; none when the request had no event.
    pub epoch: Option<Epoch>,
    /// The first event newly stored; none when all had been stored before.
    pub first: Option<Offset>,
    /// The last event newly stored.
    pub last: Option<Offset>,
    /// How many were newly stored.
    pub stored: u64,
    /// How many had been stored before.
    pub duplicates: u64,
}

impl AppendAnswer {
    /// Adds the answer of a later batch of the same request.
    pub(crate) fn absorb(&mut self, batch: &BatchAnswer) {
        self.epoch = Some(batch.epoch);
        self.first = self.first.or(batch.first);
        self.last = batch.last.or(self.last);
        self.stored += batch.stored;
        self.duplicates += batch.duplicates;
    }
}

/// One batch's answer, as it is on the wire.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct BatchAnswer {
    pub(crate) epoch: Epoch,
    pub(crate) first: Option<Offset>,
    pub(crate) last: Option<Offset>,
    pub(crate) stored: u64,
    pub(crate) duplicates: u64,
    /// Of NDJSON: how many lines were read up to here.
    #[serde(default)]
    pub(crate) lines: Option<u64>,
}

/// A run's state, true at `offset`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its id.
    pub id: RunId,
    /// Which workflow it is a run of.
    #[serde(default)]
    pub workflow: Option<String>,
    /// Its name for people.
    #[serde(default)]
    pub name: Option<String>,
    /// What it can be found by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// `queued`, `running`, `completed` …
    pub status: String,
    /// Why it has that status.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// Whether it has ended.
    pub is_terminal: bool,
    /// The exit code, for a process that has ended with one.
    #[serde(default)]
    pub exit_code: Option<i64>,
    /// The signal that killed it.
    #[serde(default)]
    pub signal: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it started.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// How long it has run.
    #[serde(default)]
    pub duration_ms: Option<u64>,
    /// Its last event.
    pub offset: Offset,
    /// `offset` as a cursor, to read or follow on from.
    #[serde(deserialize_with = "cursor", serialize_with = "cursor_text")]
    pub cursor: Cursor,
    /// Everything else that the server says about it.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

impl RunInfo {
    /// What was asked of it and is known still: at least what is open.
    #[must_use]
    pub fn commands(&self) -> Vec<CommandInfo> {
        let commands = self.rest.get("commands").and_then(serde_json::Value::as_array);
        let known = commands.into_iter().flatten();
        known.filter_map(|command| CommandInfo::deserialize(command).ok()).collect()
    }
}

/// A page of runs, newest first.
#[derive(Debug, Clone, Deserialize)]
pub struct RunList {
    /// The runs.
    pub runs: Vec<RunInfo>,
    /// Where the next page begins; none at the end.
    pub next: Option<String>,
    /// The feed's cursor that goes with it: what the feed says behind it, the list may not have.
    #[serde(deserialize_with = "cursor")]
    pub feed: Cursor,
}

/// A page of the feed of all runs.
#[derive(Debug, Clone, Deserialize)]
pub struct FeedPage {
    /// What happened to runs.
    #[serde(rename = "events")]
    pub entries: Vec<FeedEntry>,
    /// Where the next page begins.
    #[serde(deserialize_with = "cursor")]
    pub next: Cursor,
}

/// Something that happened to a run.
#[derive(Debug, Clone, Deserialize)]
pub struct FeedEntry {
    /// The run.
    pub run: RunId,
    /// What: an event of its life, `run.created` or `run.deleted`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The run behind it.
    pub data: FeedData,
}

/// What the feed says of a run.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct FeedData {
    /// Which workflow it is a run of.
    #[serde(default)]
    pub workflow: Option<String>,
    /// What it can be found by.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A command, as far as it has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommandInfo {
    /// Its id.
    pub command: String,
    /// What is asked.
    pub name: String,
    /// `requested`, `delivered`, `done`, `refused`, `expired`, or `closed` by the run's end.
    pub status: String,
    /// Why it was asked, or refused.
    #[serde(default)]
    pub reason: Option<String>,
    /// Everything else that the server says about it.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

impl CommandInfo {
    /// Whether the run has still to carry it out.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.status.as_str(), "requested" | "delivered")
    }
}

/// Something that a run asks of people.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InputInfo {
    /// The run that asks; where the input is of a known run, it may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Its id, in the run.
    pub input: String,
    /// `open`, `answered`, `timed_out`, or `closed` by the run's end.
    pub status: String,
    /// What is asked, in Markdown.
    #[serde(default)]
    pub prompt: Option<String>,
    /// What can be chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<String>>,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// Until when it can be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Everything else that the server says about it.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

/// A page of open inputs, the most urgent first.
#[derive(Debug, Clone, Deserialize)]
pub struct InputList {
    /// The inputs.
    pub inputs: Vec<InputInfo>,
    /// Where the next page begins; none at the end.
    pub next: Option<String>,
}

/// Events that a reader asked for and cannot have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Gap {
    /// The first one.
    pub from: Offset,
    /// The last one, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Offset>,
    /// `trimmed`, `damaged` or `epoch_changed`.
    pub reason: String,
    /// The epoch in which the stream goes on at `from`, for `epoch_changed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
}

/// Events of a run, in order.
#[derive(Debug, Clone)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// Where to read on from.
    pub next: Cursor,
    /// The newest event of the run.
    pub last: Offset,
    /// Whether the run has ended.
    pub closed: bool,
    /// What is missing in front of the events.
    pub gap: Option<Gap>,
}

/// A page as it is on the wire.
#[derive(Deserialize)]
pub(crate) struct WirePage {
    pub(crate) events: Vec<Box<RawValue>>,
    #[serde(deserialize_with = "cursor")]
    pub(crate) next: Cursor,
    pub(crate) last: Offset,
    pub(crate) closed: bool,
    #[serde(default)]
    pub(crate) gap: Option<Gap>,
}

fn cursor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cursor, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

fn cursor_text<S: serde::Serializer>(cursor: &Cursor, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(cursor)
}
