//! What a run does, as far as its state tells: stages, steps, agents, messages, inputs, commands.
//!
//! Owns which event changes which of them. Each kind has its own module, its own limit, and a share
//! of the one room for texts and values.

use std::borrow::Cow;

use runcast_event::{Reading, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::agent::{self, Agent, Task};
use crate::command::{self, Command};
use crate::declared::Declared;
use crate::input::{self, Input};
use crate::json::Json;
use crate::kept::{Kept, Room};
use crate::limits;
use crate::message::{self, Message, MessageStatus, ToolCall};
use crate::progress::Pace;
use crate::stage::{self, Stage};
use crate::step::{self, Step};
use crate::usage::Usage;
use crate::variation::{self, Variation};

/// What a run does.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Work {
    room: Room,
    pub(crate) stages: Kept<Stage>,
    pub(crate) steps: Kept<Step>,
    pub(crate) variations: Kept<Variation>,
    pub(crate) agents: Kept<Agent>,
    pub(crate) tasks: Kept<Task>,
    pub(crate) messages: Kept<Message>,
    pub(crate) tool_calls: Kept<ToolCall>,
    pub(crate) inputs: Kept<Input>,
    pub(crate) commands: Kept<Command>,
    pub(crate) usage: Usage,
    pub(crate) pace: Pace,
    /// What came of the run.
    pub(crate) output: Option<Json>,
    pub(crate) omitted_bytes: u64,
}

/// Whether an event can say something of what a run does, beside that it is at work.
pub(crate) fn is_told_by(event_type: &str, json: &[u8]) -> bool {
    let kinds = [
        "message.",
        "tool.",
        "step.",
        "stage.",
        "task.",
        "agent.",
        "input.",
        "command.",
        "variation.",
    ];
    let is_kind = || kinds.iter().any(|kind| event_type.starts_with(kind));
    let has_usage = || memchr::memmem::find(json, crate::usage::PREFIX.as_bytes()).is_some();
    event_type != "output" && event_type != "log" && (is_kind() || has_usage())
}

impl Work {
    /// Folds in an event.
    pub(crate) fn apply(&mut self, event: &Reading<'_>, declared: &Declared, at: Timestamp) {
        let event_type = event.event_type();
        let room = &mut self.room;
        let label = |label| declared.stages.meant_by(label);
        let kind = event_type.split_once('.').map_or(event_type, |(kind, _)| kind);
        match kind {
            "message" => message::apply(&mut self.messages, room, event, at),
            "tool" => message::call(&mut self.tool_calls, room, event, at),
            "step" => {
                step::apply(&mut self.steps, room, event.stage().map(label), event, at);
                self.pace.moved(at);
            }
            "stage" => {
                if let Some(meant) = event.stage().map(label) {
                    stage::apply(&mut self.stages, room, meant, event, at);
                    self.pace.moved(at);
                }
            }
            "task" => agent::work(&mut self.tasks, room, event, at),
            "agent" if event_type == "agent.spawned" => {
                agent::spawn(&mut self.agents, room, event, at);
            }
            "input" => input::apply(&mut self.inputs, room, event, at),
            "command" => command::apply(&mut self.commands, room, event, at),
            _ => {}
        }
        variation::apply(&mut self.variations, &mut self.room, event, at);
        if !matches!(event_type, "message.delta" | "tool.args")
            && let Some(usage) = Usage::of(event)
        {
            self.usage.add(&usage);
        }
    }

    /// The event ends the run.
    pub(crate) fn end(&mut self, event: &Reading<'_>, at: Timestamp) {
        self.room.keep(&mut self.output, event.field("output"), &mut self.omitted_bytes);
        self.close(at);
    }

    /// The run has ended: what has not is interrupted, and nothing waits any more.
    pub(crate) fn close(&mut self, at: Timestamp) {
        self.stages.iter_mut().for_each(|stage| stage.interrupt(at));
        self.steps.iter_mut().for_each(|step| step.interrupt(at));
        self.variations.iter_mut().for_each(|variation| variation.interrupt(at));
        self.tasks.iter_mut().for_each(|task| task.interrupt(at));
        self.tool_calls.iter_mut().for_each(|call| call.interrupt(at));
        self.inputs.iter_mut().for_each(|input| input.close(at));
        self.commands.iter_mut().for_each(|command| command.close(at));
        for message in self.messages.iter_mut() {
            if message.status == MessageStatus::Streaming {
                message.status = MessageStatus::Interrupted;
            }
        }
    }
}

/// Keeps a value that has room of its own.
pub(crate) fn keep_apart(slot: &mut Option<Json>, value: Option<&RawValue>, omitted: &mut u64) {
    let Some(value) = value else { return };
    let (kept, left_out) = Json::fitting(value, limits::ASKED_BYTES_MAX);
    *slot = kept;
    *omitted += left_out;
}

/// A name as it is kept.
pub(crate) fn boxed(text: Option<Cow<'_, str>>) -> Option<Box<str>> {
    text.map(Into::into)
}

pub(crate) fn duration(started_at: Option<Timestamp>, at: Timestamp) -> Option<u64> {
    started_at.map(|started_at| at.millis_since(started_at))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}
