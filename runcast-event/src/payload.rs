//! The stored form of an event: one line of JSON, made once and never changed.

use std::borrow::Cow;
use std::num::NonZeroU64;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::draft::{Envelope, text_of};
use crate::error::{EventError, EventProblem};
use crate::id::RunId;
use crate::label::{Labels, Stage};
use crate::offset::Offset;
use crate::time::Timestamp;

/// The canonical bytes of an event without its offset.
///
/// A JSON object on one line (no raw CR or LF) that begins with `{"type":"`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload(Bytes);

/// How every payload begins.
const HEAD: &[u8] = b"{\"type\":\"";

impl Payload {
    /// Takes bytes that were a payload before: what a log gives back.
    #[must_use]
    pub fn from_stored(bytes: Bytes) -> Self {
        debug_assert!(bytes.starts_with(HEAD), "a payload begins with its type");
        Self(bytes)
    }

    /// An entry of the feed: an event of no run, that tells of one.
    ///
    /// The type is that of an event, the time is written as in one.
    ///
    /// # Panics
    /// When the data is not plain JSON.
    #[must_use]
    pub fn feed_entry(event_type: &str, time: &str, run: &RunId, data: &impl Serialize) -> Self {
        let data = serde_json::to_string(data).expect("the data of an entry is plain JSON");
        // The characters of types, times and ids need no escape.
        let entry = format!(
            "{{\"type\":\"{event_type}\",\"time\":\"{time}\",\"run\":\"{run}\",\"data\":{data}}}"
        );
        Self(entry.into())
    }

    /// The bytes to store.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The bytes to store, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The event's type, read without parsing the rest.
    #[must_use]
    pub fn event_type(&self) -> &str {
        let rest = self.0.get(HEAD.len()..).unwrap_or_default();
        let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
        std::str::from_utf8(&rest[..end]).unwrap_or_default()
    }

    /// When the event happened, as it is written, read without parsing the rest.
    #[must_use]
    pub fn time_text(&self) -> &str {
        let start = self.time_start();
        let rest = self.0.get(start..).unwrap_or_default();
        let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
        std::str::from_utf8(&rest[..end]).unwrap_or_default()
    }

    fn time_start(&self) -> usize {
        const BETWEEN: &[u8] = b"\",\"time\":\"";
        HEAD.len() + self.event_type().len() + BETWEEN.len()
    }

    /// Where the labels begin, with a comma, if there are any.
    pub(crate) fn labels_start(&self) -> usize {
        self.time_start() + self.time_text().len() + 1
    }

    /// Writes the event as a reader gets it: the payload with the offset in front.
    pub fn write_json(&self, offset: Offset, out: &mut Vec<u8>) {
        use std::io::Write as _;
        write!(out, "{{\"offset\":{offset},").expect("a Vec takes every write");
        out.extend_from_slice(&self.0[1..]);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When the bytes are not an event's, which says that they are damaged.
    pub fn parse(&self, offset: Offset) -> Result<Event, EventError> {
        read(&self.0, Some(offset))
    }
}

/// A validated event, ready to be appended.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What is stored.
    pub payload: Payload,
    /// Whether it ends its run.
    pub terminal: bool,
}

/// An event as a reader has it.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Its place in the stream; of several that were merged, the newest one's.
    pub offset: Offset,
    /// How many events it stands for, if several were merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged: Option<NonZeroU64>,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When it happened.
    pub time: Timestamp,
    /// What it can be filtered by.
    #[serde(flatten)]
    pub labels: Labels,
    /// What it says, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

impl Event {
    /// Reads an event from the JSON that a reader gets.
    ///
    /// # Errors
    /// Names the field that is not as an event has it.
    pub fn from_json(json: &[u8]) -> Result<Self, EventError> {
        read(json, None)
    }

    /// The offset of the oldest event that it stands for.
    #[must_use]
    pub fn first(&self) -> Offset {
        let before = self.merged.map_or(0, |merged| merged.get() - 1);
        Offset::new(self.offset.get().saturating_sub(before))
    }

    /// The data, or JSON null when there is none or it cannot be represented.
    #[must_use]
    pub fn data_value(&self) -> serde_json::Value {
        self.data
            .as_ref()
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or(serde_json::Value::Null)
    }
}

fn read(json: &[u8], offset: Option<Offset>) -> Result<Event, EventError> {
    let syntax =
        |error: serde_json::Error| EventError::new("", EventProblem::Syntax(error.to_string()));
    let envelope: Envelope<'_> = serde_json::from_slice(json).map_err(syntax)?;
    let missing =
        |field| EventError::new(field, EventProblem::Missing("every stored event has it"));
    let owned = |field: &str, raw: Option<&RawValue>| -> Result<Option<String>, EventError> {
        raw.map(|raw| text_of(field, raw).map(Cow::into_owned)).transpose()
    };
    let offset = match (offset, envelope.offset) {
        (Some(offset), _) => offset,
        (None, Some(raw)) => serde_json::from_str(raw.get()).map_err(syntax)?,
        (None, None) => return Err(missing("offset")),
    };
    let merged = envelope.merged.map(|raw| serde_json::from_str(raw.get()));
    let merged = merged.transpose().map_err(syntax)?;
    let stage: Option<Stage> =
        envelope.stage.map(|raw| serde_json::from_str(raw.get())).transpose().map_err(syntax)?;
    let time = owned("time", envelope.time)?.ok_or_else(|| missing("time"))?;
    Ok(Event {
        offset,
        merged,
        event_type: owned("type", envelope.event_type)?.ok_or_else(|| missing("type"))?,
        time: time
            .parse()
            .map_err(|message| EventError::new("time", EventProblem::Invalid(message)))?,
        labels: Labels {
            channel: owned("channel", envelope.channel)?,
            variation: owned("variation", envelope.variation)?,
            stage,
            step: owned("step", envelope.step)?,
            agent: owned("agent", envelope.agent)?,
        },
        data: envelope.data.map(ToOwned::to_owned),
    })
}
