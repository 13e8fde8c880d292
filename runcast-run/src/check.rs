//! Which events cannot be true of a run, so that they are refused before they are in its log.
//!
//! Refused is what nothing could make sense of, or what somebody must be told: an end after the
//! end, a stage outside of the declared list, a step that completes and never began, an answer to
//! what is not asked any more. Whatever can be made sense of is taken: producers in the wild say
//! things twice, leave things out, and begin without saying so.
//!
//! A run that declares no stages may name any: a list that is declared is a promise, against which a
//! misspelt name is found; without one, the first event of a stage is its declaration.

use std::borrow::Cow;

use runcast_event::{Payload, Reading, Stage as Label, is_terminal};
use serde_json::Value;

use crate::command::{Command, PAUSE, RESUME, STOP};
use crate::input::Input;
use crate::limits;
use crate::state::RunState;
use crate::status::WorkStatus;
use crate::step;
use crate::template;
use crate::work::Work;

mod refusal;

pub use refusal::{Refusal, RefusedAt};

/// Names told in one refusal, at most.
const NAMES_TOLD_MAX: usize = 32;

impl RunState {
    /// Whether the event can be the run's next one.
    ///
    /// # Errors
    /// Says what the run's state is and what it would allow.
    pub fn check(&self, payload: &Payload) -> Result<(), Refusal> {
        if self.status().is_terminal() {
            return Err(Refusal::RunEnded { status: self.status() });
        }
        if !is_judged(payload.event_type()) {
            return Ok(());
        }
        let event = Reading::of(payload);
        match self.check_judged(&event) {
            // What the missing events said may be what it wants.
            Err(refusal) if self.has_holes() && refusal.is_for_want_of_events() => Ok(()),
            checked => checked,
        }
    }

    fn check_judged(&self, event: &Reading<'_>) -> Result<(), Refusal> {
        match event.event_type() {
            "run.queued" | "run.started" | "run.updated" => check_definition(event),
            "run.resumed" if !self.standing.is_paused() => {
                Err(Refusal::NotPaused { status: self.status() })
            }
            "stage.started" | "stage.completed" | "stage.failed" => self.check_stage(event),
            "step.completed" => self.check_step(event),
            "input.requested" => self.check_question(event),
            "input.answered" | "input.timed_out" => self.check_answer(event),
            "command.requested" => self.check_command(event),
            "command.delivered" | "command.done" | "command.refused" | "command.expired" => {
                self.check_outcome(event)
            }
            _ => Ok(()),
        }
    }

    /// Whether the events can be the run's next ones, in this order.
    ///
    /// # Errors
    /// As [`Self::check`], for the first that cannot.
    pub fn check_all<'a>(
        &self,
        events: impl IntoIterator<Item = &'a Payload>,
    ) -> Result<(), RefusedAt> {
        let mut state = Cow::Borrowed(self);
        let mut pending: Vec<&Payload> = Vec::new();
        let mut has_ended = self.status().is_terminal();
        for (index, payload) in events.into_iter().enumerate() {
            let event_type = payload.event_type();
            // Only what is judged needs the state that the events before it make.
            if has_ended || is_judged(event_type) {
                for before in pending.drain(..) {
                    let state = state.to_mut();
                    state.apply(state.offset().next(), state.epoch(), before);
                }
                state.check(payload).map_err(|refusal| RefusedAt { index, refusal })?;
            }
            has_ended |= is_terminal(event_type);
            pending.push(payload);
        }
        Ok(())
    }

    fn check_stage(&self, event: &Reading<'_>) -> Result<(), Refusal> {
        let stages = &self.declared.stages;
        let Some(label) = event.stage().filter(|_| stages.len() > 0) else { return Ok(()) };
        if stages.find(&label).is_some() {
            return Ok(());
        }
        let text = |label| match label {
            Label::Name(name) => name,
            Label::Number(number) => number.to_string(),
        };
        let declared = (0..stages.len().min(NAMES_TOLD_MAX)).map(|at| text(stages.label(at)));
        Err(Refusal::StageNotDeclared {
            stage: text(label),
            declared: declared.collect(),
            count: stages.len(),
        })
    }

    fn check_step(&self, event: &Reading<'_>) -> Result<(), Refusal> {
        let Some(name) = event.step() else { return Ok(()) };
        let found = self
            .kept()
            .and_then(|work| step::find(&work.steps, &name, event.variation().as_deref()));
        // Of a step that is not kept nobody knows what it did.
        let is_forgotten =
            found.is_none() && self.kept().is_some_and(|work| work.steps.omitted() > 0);
        if is_forgotten || found.is_some_and(step::Step::has_begun) {
            return Ok(());
        }
        let status = found.map_or(WorkStatus::Pending, |step| step.status);
        Err(Refusal::StepNotStarted { step: name.into_owned(), status })
    }

    /// Where its steps stand, those that are kept.
    pub fn step_statuses(&self) -> impl Iterator<Item = WorkStatus> {
        let kept = self.kept().into_iter().flat_map(|work| work.steps.iter());
        kept.map(|step| step.status)
    }

    /// The inputs that wait for an answer.
    pub fn open_inputs(&self) -> impl Iterator<Item = &Input> {
        let kept = self.kept().into_iter().flat_map(|work| work.inputs.iter());
        kept.filter(|input| input.is_open())
    }

    /// What was asked under this id, if it is kept.
    #[must_use]
    pub fn input(&self, id: &str) -> Option<&Input> {
        self.kept().and_then(|work| work.inputs.find(|known| *known.input == *id))
    }

    /// The command of this id, if it is kept.
    #[must_use]
    pub fn command(&self, id: &str) -> Option<&Command> {
        self.kept().and_then(|work| work.commands.find(|known| *known.command == *id))
    }

    fn check_question(&self, event: &Reading<'_>) -> Result<(), Refusal> {
        let id = event.text("input").unwrap_or_default();
        if let Some(found) = self.input(&id) {
            return Err(Refusal::InputExists { input: id.into_owned(), status: found.status });
        }
        fits(event, &["prompt", "choices", "schema", "default"])?;
        let open = |work: &Work| work.inputs.iter().filter(|input| input.is_open()).count();
        if self.kept().map_or(0, open) >= limits::INPUTS_MAX {
            return Err(Refusal::TooManyInputs { max: limits::INPUTS_MAX });
        }
        Ok(())
    }

    fn check_answer(&self, event: &Reading<'_>) -> Result<(), Refusal> {
        let id = event.text("input").unwrap_or_default();
        let Some(input) = self.input(&id) else {
            let open = self.kept().into_iter().flat_map(|work| work.inputs.iter());
            let open = open.filter(|input| input.is_open()).map(|input| input.input.to_string());
            return Err(Refusal::InputUnknown { input: id.into_owned(), open: open.collect() });
        };
        if !input.is_open() {
            return Err(Refusal::InputClosed {
                input: id.into_owned(),
                status: input.status,
                by: input.answered_by.as_ref().and_then(crate::Json::as_text),
                at: input.ended_at,
            });
        }
        if event.event_type() == "input.timed_out" {
            return Ok(());
        }
        fits(event, &["answer"])?;
        let Some(Value::Array(choices)) = input.choices.as_ref().map(crate::Json::value) else {
            return Ok(());
        };
        let answer = event.text("answer");
        let is_choice = |choice: &Value| choice.as_str() == answer.as_deref();
        if choices.is_empty() || (answer.is_some() && choices.iter().any(is_choice)) {
            return Ok(());
        }
        let choices = choices.iter().filter_map(|choice| choice.as_str().map(str::to_owned));
        Err(Refusal::NotAChoice {
            input: id.into_owned(),
            choices: choices.take(NAMES_TOLD_MAX).collect(),
        })
    }

    fn check_command(&self, event: &Reading<'_>) -> Result<(), Refusal> {
        let id = event.text("command").unwrap_or_default();
        if let Some(found) = self.command(&id) {
            return Err(Refusal::CommandExists { command: id.into_owned(), status: found.status });
        }
        let (name, key) = (event.text("name").unwrap_or_default(), event.text("key"));
        if let Some(same) = self.same_command(&name, key.as_deref()) {
            let command = same.command.to_string();
            return Err(Refusal::AlreadyRequested { name: name.into_owned(), command });
        }
        fits(event, &["args", "reason"])?;
        let open = || self.kept().into_iter().flat_map(|work| work.commands.iter());
        let open = || open().filter(|command| command.is_open());
        let is_pausing = open().any(|command| &*command.name == PAUSE);
        if name == RESUME && !self.standing.is_paused() && !is_pausing {
            return Err(Refusal::NotPaused { status: self.status() });
        }
        if open().count() >= limits::COMMANDS_MAX {
            return Err(Refusal::TooManyCommands { max: limits::COMMANDS_MAX });
        }
        Ok(())
    }

    /// The command that asking for this would ask for again: one with the same key, or, as two stops
    /// are one, a stop that nobody has refused.
    #[must_use]
    pub fn same_command(&self, name: &str, key: Option<&str>) -> Option<&Command> {
        use crate::command::CommandStatus::{Delivered, Done, Requested};
        let work = self.kept()?;
        let has_key = |known: &Command| key.is_some() && known.key.as_deref() == key;
        let is_stop = |known: &Command| {
            name == STOP
                && &*known.name == STOP
                && matches!(known.status, Requested | Delivered | Done)
        };
        work.commands.find(|known| has_key(known) || is_stop(known))
    }

    fn check_outcome(&self, event: &Reading<'_>) -> Result<(), Refusal> {
        let id = event.text("command").unwrap_or_default();
        match self.command(&id) {
            Some(command) if command.is_open() => Ok(()),
            Some(command) => Err(Refusal::CommandClosed {
                command: id.into_owned(),
                name: command.name.to_string(),
                status: command.status,
            }),
            None => Err(Refusal::CommandUnknown { command: id.into_owned() }),
        }
    }
}

/// Whether an event of this type can be refused for more than the run's end.
fn is_judged(event_type: &str) -> bool {
    matches!(
        event_type,
        "run.queued" | "run.started" | "run.updated" | "run.resumed" | "step.completed"
    ) || ["stage.", "input.", "command."].iter().any(|kind| event_type.starts_with(kind))
}

/// Stages may be the name of a list only if there is such a list.
fn check_definition(event: &Reading<'_>) -> Result<(), Refusal> {
    match event.text("stages") {
        Some(name) if template::built_in(&name).is_none() => {
            Err(Refusal::StagesUnknown { name: name.into_owned() })
        }
        _ => Ok(()),
    }
}

/// What is asked of people and runs must be in the state whole.
fn fits(event: &Reading<'_>, fields: &[&'static str]) -> Result<(), Refusal> {
    let max = limits::ASKED_BYTES_MAX;
    for field in fields {
        let actual = event.field(field).map_or(0, |value| value.get().len());
        if actual > max {
            return Err(Refusal::TooLarge { field, actual, max });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
