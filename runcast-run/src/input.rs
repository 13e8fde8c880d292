//! Inputs: what a run asks of people, and what they answered.

use runcast_event::{Reading, Timestamp};
use serde::{Deserialize, Serialize};

use crate::json::Json;
use crate::kept::{Item, Kept, Room};
use crate::limits;
use crate::work::{boxed, is_zero, keep_apart};

/// Where an input stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputStatus {
    /// Waits for an answer.
    #[default]
    Open,
    /// Somebody answered.
    Answered,
    /// Nobody answered in time; the default stands in, if there is one.
    TimedOut,
    /// The run ended first.
    Closed,
}

impl InputStatus {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Answered => "answered",
            Self::TimedOut => "timed_out",
            Self::Closed => "closed",
        }
    }
}

/// An input, kept and served in this form.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Input {
    /// Its id.
    pub input: Box<str>,
    /// Where it stands.
    pub status: InputStatus,
    /// What is asked, in Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Json>,
    /// What can be chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<Json>,
    /// The JSON Schema of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
    /// The answer if nobody answers in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Json>,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// Until when it can be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Json>,
    /// Who answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<Json>,
    /// When it was answered, timed out, or closed by the run's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The variation that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variation: Option<Box<str>>,
    /// The step that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Box<str>>,
    /// The agent that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Box<str>>,
    /// Bytes of its texts and values that are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_bytes: u64,
}

impl Input {
    /// Whether it waits for an answer.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.status == InputStatus::Open
    }

    fn requested(id: &str, event: &Reading<'_>, at: Timestamp) -> Self {
        let mut input = Self {
            input: id.into(),
            requested_at: at,
            expires_at: event.count("timeout_ms").map(|millis| at.plus_millis(millis)),
            variation: boxed(event.variation()),
            step: boxed(event.step()),
            agent: boxed(event.agent()),
            ..Self::default()
        };
        let omitted = &mut input.omitted_bytes;
        keep_apart(&mut input.prompt, event.field("prompt"), omitted);
        keep_apart(&mut input.choices, event.field("choices"), omitted);
        keep_apart(&mut input.schema, event.field("schema"), omitted);
        keep_apart(&mut input.default, event.field("default"), omitted);
        input
    }

    /// The run has ended, and this with it.
    pub(crate) fn close(&mut self, at: Timestamp) {
        if self.is_open() {
            self.status = InputStatus::Closed;
            self.ended_at = Some(at);
        }
    }
}

impl Item for Input {
    fn is_over(&self) -> bool {
        !self.is_open()
    }

    /// What is asked has room of its own.
    fn bytes(&self) -> usize {
        0
    }
}

/// Folds in an `input.*` event.
pub(crate) fn apply(inputs: &mut Kept<Input>, room: &mut Room, event: &Reading<'_>, at: Timestamp) {
    let Some(id) = event.text("input") else { return };
    let found = inputs.find_mut(|known| *known.input == *id);
    let status = match event.event_type() {
        "input.requested" => {
            let input = Input::requested(&id, event, at);
            match found {
                Some(found) => *found = input,
                None => inputs.add(limits::INPUTS_MAX, room, input),
            }
            return;
        }
        "input.answered" => InputStatus::Answered,
        "input.timed_out" => InputStatus::TimedOut,
        _ => return,
    };
    // The first answer is the answer.
    let Some(input) = found.filter(|input| input.is_open()) else { return };
    input.status = status;
    input.ended_at = Some(at);
    keep_apart(&mut input.answer, event.field("answer"), &mut input.omitted_bytes);
    keep_apart(&mut input.answered_by, event.field("by"), &mut input.omitted_bytes);
}
