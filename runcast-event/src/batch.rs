//! Several events at once, as an array or as lines; taken whole or not at all.

use serde_json::value::RawValue;

use crate::draft::parse_event;
use crate::error::{EventError, EventProblem};
use crate::limits;
use crate::payload::Prepared;
use crate::time::Timestamp;

/// Which event of a batch is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {index}: {error}")]
pub struct BatchError {
    /// The event's place in the array, or the line's in the text, from 1.
    pub index: usize,
    /// What is wrong with it.
    #[source]
    pub error: EventError,
}

/// Parses a JSON body: one event, or an array of events.
///
/// # Errors
/// Names the event and the field, or the limit that the batch as a whole passes.
pub fn parse_batch(json: &[u8], now: Timestamp) -> Result<Vec<Prepared>, BatchError> {
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => parse_array(json, now),
        _ => match parse_event(json, now) {
            Ok(event) => Ok(vec![event]),
            Err(error) => Err(BatchError { index: 1, error }),
        },
    }
}

/// Parses a JSON array of events.
///
/// # Errors
/// As [`parse_batch`].
pub fn parse_array(json: &[u8], now: Timestamp) -> Result<Vec<Prepared>, BatchError> {
    check_bytes(json.len())?;
    let items: Vec<&RawValue> = serde_json::from_slice(json).map_err(|error| {
        let problem = EventProblem::Syntax(error.to_string());
        BatchError { index: 1, error: EventError::new("", problem) }
    })?;
    check_count(items.len())?;
    let numbered = items.into_iter().enumerate();
    numbered.map(|(at, item)| parse_at(at + 1, item.get().as_bytes(), now)).collect()
}

/// Parses newline-delimited JSON, one event a line; blank lines are passed over.
///
/// `first_line` is the number of the first line in the whole request, for errors.
///
/// # Errors
/// As [`parse_batch`].
pub fn parse_lines(
    text: &[u8],
    first_line: usize,
    now: Timestamp,
) -> Result<Vec<Prepared>, BatchError> {
    check_bytes(text.len())?;
    let mut events = Vec::new();
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        events.push(parse_at(first_line + at, line, now)?);
        check_count(events.len())?;
    }
    Ok(events)
}

fn parse_at(index: usize, json: &[u8], now: Timestamp) -> Result<Prepared, BatchError> {
    parse_event(json, now).map_err(|error| BatchError { index, error })
}

fn check_bytes(actual: usize) -> Result<(), BatchError> {
    check(actual, limits::BATCH_BYTES_MAX, "bytes")
}

fn check_count(actual: usize) -> Result<(), BatchError> {
    check(actual, limits::BATCH_EVENTS_MAX, "events")
}

fn check(actual: usize, max: usize, unit: &'static str) -> Result<(), BatchError> {
    if actual <= max {
        return Ok(());
    }
    let problem = EventProblem::TooLarge { actual, max, unit };
    Err(BatchError { index: 1, error: EventError::new("batch", problem) })
}
