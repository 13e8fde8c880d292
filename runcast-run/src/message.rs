//! Messages and tool calls, put together from their deltas.

use runcast_event::{Reading, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::{GrowingText, Json};
use crate::kept::{Item, Kept, Room, bytes_of};
use crate::limits;
use crate::status::WorkStatus;
use crate::usage::Usage;
use crate::work::{boxed, duration, is_zero};

/// Whether more of a message is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// More may come.
    #[default]
    Streaming,
    /// It is complete.
    Completed,
    /// The run has ended within it.
    Interrupted,
}

/// A message, kept and served in this form.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub message: Box<str>,
    /// Whose it is: `assistant`, `user` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Json>,
    /// Whether more is to come.
    pub status: MessageStatus,
    /// The text so far.
    pub text: GrowingText,
    /// Bytes of the text, as JSON, that are left out behind `text`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_bytes: u64,
    /// When it began, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it was complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// The variation that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variation: Option<Box<str>>,
    /// The step that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Box<str>>,
    /// The agent whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Box<str>>,
    /// What it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Box<Usage>>,
}

impl Item for Message {
    fn is_over(&self) -> bool {
        self.status != MessageStatus::Streaming
    }

    fn bytes(&self) -> usize {
        self.text.bytes() + bytes_of(&self.role)
    }
}

/// A tool call, kept and served in this form.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ToolCall {
    /// Its id.
    pub call: Box<str>,
    /// What is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<Box<str>>,
    /// Where it stands.
    pub status: WorkStatus,
    /// The arguments, if they came as a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Json>,
    /// The arguments so far, if they came as deltas.
    #[serde(default, skip_serializing_if = "GrowingText::is_empty")]
    pub args_text: GrowingText,
    /// Bytes, as JSON, that are left out behind `args_text`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_args_bytes: u64,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Json>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How long it took: as its producer says, else from start to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The variation that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variation: Option<Box<str>>,
    /// The step that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Box<str>>,
    /// The agent that calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Box<str>>,
    /// Bytes of its other texts and values that are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_bytes: u64,
}

impl ToolCall {
    /// The run has ended, and this with it.
    pub(crate) fn interrupt(&mut self, at: Timestamp) {
        if !self.status.is_over() {
            self.status = WorkStatus::Interrupted;
            self.ended_at = Some(at);
            self.duration_ms = duration(self.started_at, at);
        }
    }
}

impl Item for ToolCall {
    fn is_over(&self) -> bool {
        self.status.is_over()
    }

    fn bytes(&self) -> usize {
        let slots = [&self.args, &self.result, &self.error];
        self.args_text.bytes() + slots.into_iter().map(bytes_of).sum::<usize>()
    }
}

/// Adds to a text of which nothing is left out yet: what is kept is its beginning, without a hole.
fn grow(text: &mut GrowingText, omitted_bytes: &mut u64, more: Option<&RawValue>, room: &mut Room) {
    let Some(more) = more else { return };
    let is_cut = *omitted_bytes > 0;
    let max = limits::MESSAGE_TEXT_BYTES_MAX.saturating_sub(text.bytes()).min(room.left());
    let before = text.bytes();
    *omitted_bytes += text.push(more, if is_cut { 0 } else { max });
    room.take(text.bytes() - before);
}

/// Folds in a `message.*` event.
pub(crate) fn apply(
    messages: &mut Kept<Message>,
    room: &mut Room,
    event: &Reading<'_>,
    at: Timestamp,
) {
    let event_type = event.event_type();
    if !matches!(event_type, "message.started" | "message.delta" | "message.completed") {
        return;
    }
    let Some(id) = event.text("message") else { return };
    let variation = boxed(event.variation());
    let is_meant = |known: &Message| *known.message == *id && known.variation == variation;
    let new = || Message {
        message: (&*id).into(),
        variation: variation.clone(),
        step: boxed(event.step()),
        agent: boxed(event.agent()),
        ..Message::default()
    };
    let message = messages.find_or_add(limits::MESSAGES_MAX, room, is_meant, new);
    let text = event.field("text");
    match event_type {
        "message.delta" => grow(&mut message.text, &mut message.omitted_bytes, text, room),
        "message.started" => {
            message.status = MessageStatus::Streaming;
            message.started_at.get_or_insert(at);
            // A role is a word: what does not fit is not one.
            let mut omitted = 0;
            room.keep(&mut message.role, event.field("role"), &mut omitted);
        }
        _ => {
            message.status = MessageStatus::Completed;
            message.completed_at = Some(at);
            message.usage = Usage::of(event).map(Box::new).or(message.usage.take());
            if text.is_some() {
                // The whole text stands for its deltas.
                room.give_back(message.text.bytes());
                (message.text, message.omitted_bytes) = (GrowingText::default(), 0);
                grow(&mut message.text, &mut message.omitted_bytes, text, room);
            }
        }
    }
}

/// Folds in a `tool.*` event.
pub(crate) fn call(
    calls: &mut Kept<ToolCall>,
    room: &mut Room,
    event: &Reading<'_>,
    at: Timestamp,
) {
    let event_type = event.event_type();
    if !matches!(event_type, "tool.called" | "tool.args" | "tool.completed" | "tool.failed") {
        return;
    }
    let Some(id) = event.text("call") else { return };
    let variation = boxed(event.variation());
    let is_meant = |known: &ToolCall| *known.call == *id && known.variation == variation;
    let new = || ToolCall {
        call: (&*id).into(),
        status: WorkStatus::Running,
        variation: variation.clone(),
        step: boxed(event.step()),
        agent: boxed(event.agent()),
        ..ToolCall::default()
    };
    let call = calls.find_or_add(limits::TOOL_CALLS_MAX, room, is_meant, new);
    match event_type {
        "tool.args" => {
            let more = event.field("text");
            return grow(&mut call.args_text, &mut call.omitted_args_bytes, more, room);
        }
        "tool.called" => {
            call.status = WorkStatus::Running;
            call.started_at.get_or_insert(at);
            call.tool = boxed(event.text("tool")).or(call.tool.take());
        }
        _ => {
            let is_done = event_type == "tool.completed";
            call.status = if is_done { WorkStatus::Completed } else { WorkStatus::Failed };
            call.ended_at = Some(at);
            call.duration_ms = event.count("duration_ms").or_else(|| duration(call.started_at, at));
        }
    }
    room.keep(&mut call.args, event.field("args"), &mut call.omitted_bytes);
    room.keep(&mut call.result, event.field("result"), &mut call.omitted_bytes);
    room.keep(&mut call.error, event.field("error"), &mut call.omitted_bytes);
}
