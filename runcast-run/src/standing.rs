//! What makes a run's status: where its life stands, what it waits for, whether it was asked to stop.

use runcast_event::Reading;
use serde::{Deserialize, Serialize};

use crate::command::STOP;
use crate::limits;
use crate::status::Status;

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// What the events of its life say: never [`Status::InputRequired`] or [`Status::Cancelling`].
    life: Status,
    /// Inputs that wait for an answer. More than the limit are not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<Box<str>>,
    /// Commands to stop that nobody has refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stops: Vec<Box<str>>,
}

impl Default for Standing {
    fn default() -> Self {
        Self { life: Status::Queued, inputs: Vec::new(), stops: Vec::new() }
    }
}

impl Standing {
    /// Whether an event of this type can change the status of a run that has begun.
    pub(crate) fn is_changed_by(event_type: &str) -> bool {
        ["run.", "input.", "command."].iter().any(|prefix| event_type.starts_with(prefix))
    }

    /// The status.
    pub(crate) fn status(&self) -> Status {
        match self.life {
            life if life.is_terminal() => life,
            _ if !self.stops.is_empty() => Status::Cancelling,
            Status::Paused => Status::Paused,
            _ if !self.inputs.is_empty() => Status::InputRequired,
            life => life,
        }
    }

    /// Inputs that wait for an answer.
    pub(crate) fn open_inputs(&self) -> usize {
        self.inputs.len()
    }

    /// Whether it holds still, whatever else it waits for.
    pub(crate) fn is_paused(&self) -> bool {
        self.life == Status::Paused
    }

    /// Folds in an event that changes nothing but that the run is at work: true if that is new.
    pub(crate) fn begin(&mut self) -> bool {
        let is_new = self.life == Status::Queued;
        if is_new {
            self.life = Status::Running;
        }
        is_new
    }

    /// It has ended, and nobody can say how.
    pub(crate) fn end_unknown(&mut self) {
        *self = Self { life: Status::Crashed, ..Self::default() };
    }

    /// Folds in an event. Nothing comes after an end.
    pub(crate) fn apply(&mut self, event: &Reading<'_>) {
        if self.life.is_terminal() {
            return;
        }
        let event_type = event.event_type();
        if let Some(life) = Status::after(event_type) {
            self.life = life;
            if life.is_terminal() {
                (self.inputs, self.stops) = (Vec::new(), Vec::new());
            }
            return;
        }
        if event_type == "run.updated" {
            return;
        }
        self.begin();
        let field = if event_type.starts_with("input.") { "input" } else { "command" };
        let Some(id) = event.text(field) else { return };
        match event_type {
            "input.requested" => open(&mut self.inputs, &id, limits::INPUTS_MAX),
            "input.answered" | "input.timed_out" => self.inputs.retain(|open| **open != *id),
            "command.requested" if event.text("name").as_deref() == Some(STOP) => {
                open(&mut self.stops, &id, limits::COMMANDS_MAX);
            }
            "command.refused" | "command.expired" => self.stops.retain(|open| **open != *id),
            _ => {}
        }
    }
}

fn open(all: &mut Vec<Box<str>>, id: &str, max: usize) {
    if all.len() < max && !all.iter().any(|known| **known == *id) {
        all.push(id.into());
    }
}
