//! A run's state as readers get it.

use std::collections::{HashMap, HashSet};

use runcast_event::{Cursor, Epoch, Offset, RunId, Stage as Label, Timestamp};
use serde::Serialize;

use crate::agent::{Agent, Task};
use crate::command::Command;
use crate::damage::Damaged;
use crate::input::Input;
use crate::json::Json;
use crate::message::{Message, ToolCall};
use crate::progress::Progress;
use crate::stage::StageState;
use crate::state::{Counts, Details, RunState};
use crate::status::{Status, WorkStatus};
use crate::step::Step;
use crate::usage::Usage;
use crate::variation::Variation;
use crate::work::is_zero;

/// How many events a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct EventCounts {
    /// All.
    pub total: u64,
    /// Of type `output`.
    pub output: u64,
    /// Of type `log`.
    pub log: u64,
    /// Those among all that cannot be read any more, whatever they said.
    pub damaged: u64,
}

/// A run in a list: what it is, where it stands, how far it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// The run.
    pub id: RunId,
    /// The kind of run.
    pub workflow: Option<String>,
    /// A name for people.
    pub name: Option<String>,
    /// What it can be found by.
    pub tags: Vec<String>,
    /// What its producer keeps with it.
    pub metadata: Json,
    /// When it must have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    pub error: Option<Json>,
    /// How much is done, where that can be said.
    pub progress: Option<Progress>,
    /// Inputs that wait for an answer.
    pub open_inputs: usize,
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

/// The answer to `GET /v1/runs/{run}`: the state that the events up to `offset` fold to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSnapshot {
    /// What a list says of it.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// The stage that it is in: its name, or its number.
    pub current_stage: Option<Label>,
    /// The step that it is at: its place in all steps, from 0, counting those left out.
    pub current_step: Option<u64>,
    /// What came of each step that has ended, in the order of the steps.
    pub step_results: Vec<StepResult>,
    /// What came of the run.
    pub output_data: Option<Json>,
    /// The stages: those declared, in order, and others that have begun.
    pub stages: Vec<StageState>,
    /// The steps: those declared, in order, and others that have begun.
    pub steps: Vec<Step>,
    /// The variations: those declared, in order, and others that have begun.
    pub variations: Vec<Variation>,
    /// The agents.
    pub agents: Vec<Agent>,
    /// Their tasks.
    pub tasks: Vec<Task>,
    /// The newest messages.
    pub messages: Vec<Message>,
    /// The newest tool calls.
    pub tool_calls: Vec<ToolCall>,
    /// The inputs that are open, and the newest others.
    pub inputs: Vec<Input>,
    /// The commands that are open, and the newest others.
    pub commands: Vec<Command>,
    /// What it took of models.
    pub usage: Usage,
    /// What is left out of this state, and is in the log.
    pub omitted: Omitted,
    /// The events that cannot be read any more: this is the state of all others.
    pub damaged: Vec<Damaged>,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepResult {
    /// The step.
    pub step: Box<str>,
    /// The variation that took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variation: Option<Box<str>>,
    /// How it ended.
    pub status: WorkStatus,
    /// What came of it.
    pub output: Option<Json>,
    /// What went wrong.
    pub error: Option<Json>,
    /// How long its last attempt took.
    pub duration_ms: Option<u64>,
    /// How many attempts it took.
    pub attempts: u32,
}

/// What is left out of a state, by the limits of [`crate::limits`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Omitted {
    /// Stages.
    #[serde(skip_serializing_if = "is_zero")]
    pub stages: u64,
    /// Steps.
    #[serde(skip_serializing_if = "is_zero")]
    pub steps: u64,
    /// Variations.
    #[serde(skip_serializing_if = "is_zero")]
    pub variations: u64,
    /// Agents.
    #[serde(skip_serializing_if = "is_zero")]
    pub agents: u64,
    /// Tasks.
    #[serde(skip_serializing_if = "is_zero")]
    pub tasks: u64,
    /// Messages.
    #[serde(skip_serializing_if = "is_zero")]
    pub messages: u64,
    /// Tool calls.
    #[serde(skip_serializing_if = "is_zero")]
    pub tool_calls: u64,
    /// Inputs.
    #[serde(skip_serializing_if = "is_zero")]
    pub inputs: u64,
    /// Commands.
    #[serde(skip_serializing_if = "is_zero")]
    pub commands: u64,
    /// Bytes of the run's own texts and values; what is left out of a part, the part says.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes: u64,
}

impl RunState {
    /// The run as a list has it. `first_offset` is the oldest event that the log keeps.
    #[must_use]
    pub fn summary(&self, first_offset: Offset) -> RunSummary {
        let end = self.end.as_deref();
        let updated_at = self.updated_at();
        let definition = self.definition.as_ref().clone();
        let until = end.map_or(updated_at, |end| end.at);
        let status = self.status();
        RunSummary {
            id: self.run.clone(),
            workflow: definition.workflow,
            name: definition.name,
            tags: definition.tags.unwrap_or_default(),
            metadata: definition.metadata.unwrap_or_else(Json::empty_object),
            deadline: definition.deadline,
            status,
            status_reason: self.status_reason.as_deref().map(str::to_owned),
            is_terminal: status.is_terminal(),
            exit_code: end.and_then(|end| end.exit_code),
            signal: end.and_then(|end| end.signal.as_deref().map(str::to_owned)),
            error: end.and_then(|end| end.error.clone()),
            progress: self.progress(),
            open_inputs: self.standing.open_inputs(),
            created_at: self.created_at,
            started_at: self.started_at,
            ended_at: end.map(|end| end.at),
            updated_at,
            duration_ms: self.started_at.map(|started| until.millis_since(started)),
            events: self.event_counts(),
            epoch: self.epoch,
            offset: self.offset,
            cursor: Cursor::new(self.epoch, self.offset).to_string(),
            first_offset,
        }
    }

    /// The whole state. Of an ended run whose details were let go ([`Self::is_whole`]) it has only
    /// what was declared.
    #[must_use]
    pub fn snapshot(&self, first_offset: Offset) -> RunSnapshot {
        let steps = self.steps();
        let mut snapshot = RunSnapshot {
            summary: self.summary(first_offset),
            current_stage: None,
            current_step: None,
            step_results: steps.iter().filter(|step| step.status.is_over()).map(result).collect(),
            output_data: None,
            stages: self.stages(),
            steps,
            variations: self.variations(),
            agents: Vec::new(),
            tasks: Vec::new(),
            messages: Vec::new(),
            tool_calls: Vec::new(),
            inputs: Vec::new(),
            commands: Vec::new(),
            usage: Usage::default(),
            omitted: Omitted::default(),
            damaged: self.damage.as_ref().map(|damage| damage.ranges.clone()).unwrap_or_default(),
        };
        snapshot.current_stage = current_stage(&snapshot.stages);
        snapshot.current_step = current_step(&snapshot.steps);
        let Some(work) = self.kept() else { return snapshot };
        snapshot.omitted = Omitted {
            stages: work.stages.omitted(),
            steps: work.steps.omitted(),
            variations: work.variations.omitted(),
            agents: work.agents.omitted(),
            tasks: work.tasks.omitted(),
            messages: work.messages.omitted(),
            tool_calls: work.tool_calls.omitted(),
            inputs: work.inputs.omitted(),
            commands: work.commands.omitted(),
            bytes: work.omitted_bytes,
        };
        snapshot.current_step = snapshot.current_step.map(|at| at + work.steps.omitted());
        snapshot.output_data.clone_from(&work.output);
        snapshot.agents = work.agents.iter().cloned().collect();
        snapshot.tasks = work.tasks.iter().cloned().collect();
        snapshot.messages = work.messages.iter().cloned().collect();
        snapshot.messages.iter_mut().for_each(|message| message.text.mend());
        snapshot.tool_calls = work.tool_calls.iter().cloned().collect();
        snapshot.tool_calls.iter_mut().for_each(|call| call.args_text.mend());
        snapshot.inputs = work.inputs.iter().cloned().collect();
        snapshot.commands = work.commands.iter().cloned().collect();
        snapshot.usage = work.usage;
        snapshot
    }

    fn event_counts(&self) -> EventCounts {
        let Counts { total, output, log } = self.events;
        EventCounts { total, output, log, damaged: self.damaged_events() }
    }

    /// The stages: those declared, in order, and the others that have begun.
    pub(crate) fn stages(&self) -> Vec<StageState> {
        let declared = &self.declared.stages;
        let mut begun: HashMap<Label, Vec<StageState>> = HashMap::new();
        let mut others = Vec::new();
        for stage in self.kept().into_iter().flat_map(|work| work.stages.iter()) {
            match declared.find(&stage.label) {
                Some(at) => begun
                    .entry(stage.label.clone())
                    .or_default()
                    .push(stage.state(u32::try_from(at + 1).ok())),
                None => others.push(stage.state(None)),
            }
        }
        let mut stages = Vec::with_capacity(declared.len() + others.len());
        for at in 0..declared.len() {
            let label = declared.label(at);
            match begun.remove(&label) {
                Some(begun) => stages.extend(begun),
                None => {
                    let name = match label {
                        Label::Name(name) => Some(name),
                        Label::Number(_) => None,
                    };
                    stages.push(StageState::pending(u32::try_from(at + 1).ok(), name));
                }
            }
        }
        stages.extend(others);
        self.measure_stages(&mut stages);
        stages
    }

    /// The steps: those declared, in order, and the others that have begun.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let begun = || self.kept().into_iter().flat_map(|work| work.steps.iter());
        let mut by_id: HashMap<&str, Vec<&Step>> = HashMap::new();
        if !self.declared.steps.is_empty() {
            begun().for_each(|step| by_id.entry(&step.step).or_default().push(step));
        }
        let mut steps = Vec::new();
        let mut seen = HashSet::new();
        for declared in self.declared.steps.iter().filter(|step| seen.insert(step.id())) {
            match by_id.get(declared.id()) {
                Some(begun) => steps.extend(begun.iter().map(|step| declared.complete(step))),
                None => steps.push(declared.pending()),
            }
        }
        steps.extend(begun().filter(|step| !seen.contains(&*step.step)).cloned());
        steps
    }

    fn variations(&self) -> Vec<Variation> {
        let begun = || self.kept().into_iter().flat_map(|work| work.variations.iter());
        let mut variations = Vec::new();
        let mut seen: HashSet<&str> = HashSet::new();
        for id in &self.declared.variations {
            if !seen.insert(id) {
                continue;
            }
            let found = begun().find(|variation| variation.variation == *id).cloned();
            let pending = || Variation { variation: id.clone(), ..Variation::default() };
            variations.push(found.unwrap_or_else(pending));
        }
        variations.extend(begun().filter(|known| !seen.contains(&*known.variation)).cloned());
        variations
    }

    fn progress(&self) -> Option<Progress> {
        let fraction = match (&self.end, &self.details) {
            (Some(end), _) => end.fraction?,
            (None, Details::Nothing) if self.declared.is_empty() => return None,
            (None, _) => self.fraction()?,
        };
        let is_at_work = matches!(self.status(), Status::Running | Status::InputRequired);
        let eta_at = self
            .kept()
            .filter(|_| is_at_work)
            .zip(self.started_at)
            .and_then(|(work, started_at)| work.pace.eta(started_at, fraction));
        Some(Progress { fraction, eta_at })
    }
}

fn result(step: &Step) -> StepResult {
    StepResult {
        step: step.step.clone(),
        variation: step.variation.clone(),
        status: step.status,
        output: step.output.clone(),
        error: step.error.clone(),
        duration_ms: step.duration_ms,
        attempts: step.attempt,
    }
}

/// The newest that is at work, else the first that has not begun, else the last.
fn current<T>(
    all: &[T],
    status: impl Fn(&T) -> WorkStatus,
    started_at: impl Fn(&T) -> Option<Timestamp>,
) -> Option<usize> {
    let open = all.iter().enumerate().filter(|(_, one)| status(one).is_open());
    let newest = open.max_by_key(|(at, one)| (started_at(one), *at)).map(|(at, _)| at);
    let next = || all.iter().position(|one| status(one) == WorkStatus::Pending);
    newest.or_else(next).or_else(|| all.len().checked_sub(1))
}

fn current_stage(stages: &[StageState]) -> Option<Label> {
    let has_begun = stages.iter().any(|stage| stage.status != WorkStatus::Pending);
    let at = current(stages, |stage| stage.status, |stage| stage.started_at)?;
    let stage = stages.get(at).filter(|_| has_begun)?;
    let number = stage.number.map(Label::Number);
    stage.name.clone().map(Label::Name).or(number)
}

fn current_step(steps: &[Step]) -> Option<u64> {
    current(steps, |step| step.status, |step| step.started_at).map(|at| at as u64)
}
