//! Steps: what a run does one after the other, or side by side, with its attempts.

use runcast_event::{Reading, Stage as Label, Timestamp};
use serde::{Deserialize, Serialize};

use crate::json::Json;
use crate::kept::{Item, Kept, Room, bytes_of};
use crate::limits;
use crate::progress::rounded;
use crate::status::WorkStatus;
use crate::work::{boxed, duration, is_zero};

/// A step, kept and served in this form.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Step {
    /// Its id: the label of its events.
    pub step: Box<str>,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// The variation that takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variation: Option<Box<str>>,
    /// The stage that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Label>,
    /// The step that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Box<str>>,
    /// The agent that takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Box<str>>,
    /// Where it stands.
    pub status: WorkStatus,
    /// Which attempt this is, from 1; 0 before the first.
    pub attempt: u32,
    /// When the attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How long the attempt took: as its producer says, else from start to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Box<StepProgress>>,
    /// What it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Json>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// What went wrong with the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Json>,
    /// Why it was skipped or is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Json>,
    /// The attempts before this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_attempts: Vec<Attempt>,
    /// Earlier attempts that are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_attempts: u64,
    /// Bytes of its texts and values that are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_bytes: u64,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StepProgress {
    /// From 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// How many are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// Of how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What it is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Json>,
}

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which one, from 1.
    pub attempt: u32,
    /// How it ended.
    pub status: WorkStatus,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Json>,
}

impl Step {
    /// Whether any attempt has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.attempt > 0
    }

    /// How much of it is done.
    pub(crate) fn fraction(&self) -> f64 {
        match self.status {
            WorkStatus::Completed | WorkStatus::Failed | WorkStatus::Skipped => 1.0,
            _ => self.progress.as_ref().and_then(|said| said.fraction).unwrap_or(0.0),
        }
    }

    /// An attempt begins. One that is told of again goes on.
    fn begin(&mut self, said: Option<u32>, at: Timestamp, room: &mut Room) {
        let is_again = self.status == WorkStatus::Running && said.is_none_or(|n| n <= self.attempt);
        if is_again {
            return;
        }
        let next = match self.status {
            WorkStatus::Retrying => self.attempt,
            _ => self.attempt.saturating_add(1),
        };
        if self.status != WorkStatus::Retrying && self.has_begun() {
            self.close_attempt(self.status, at, room);
        }
        self.attempt = said.map_or(next, |said| said.max(1));
        self.status = WorkStatus::Running;
        self.started_at = Some(at);
        self.clear(room);
    }

    /// What an attempt says is gone with it.
    fn clear(&mut self, room: &mut Room) {
        let slots = [&mut self.output, &mut self.error, &mut self.reason];
        for slot in slots {
            room.give_back(bytes_of(slot));
            *slot = None;
        }
        room.give_back(self.progress_bytes());
        self.progress = None;
        self.ended_at = None;
        self.duration_ms = None;
    }

    /// The attempt becomes one of the earlier ones.
    fn close_attempt(&mut self, status: WorkStatus, at: Timestamp, room: &mut Room) {
        if self.earlier_attempts.len() >= limits::ATTEMPTS_MAX {
            let gone = self.earlier_attempts.remove(0);
            room.give_back(bytes_of(&gone.error));
            self.omitted_attempts += 1;
        }
        let ended_at = self.ended_at.unwrap_or(at);
        self.earlier_attempts.push(Attempt {
            attempt: self.attempt,
            status: if status.is_over() { status } else { WorkStatus::Failed },
            started_at: self.started_at,
            ended_at: Some(ended_at),
            duration_ms: self.duration_ms.or_else(|| duration(self.started_at, ended_at)),
            error: self.error.take(),
        });
    }

    fn retry(&mut self, said: Option<u32>, event: &Reading<'_>, at: Timestamp, room: &mut Room) {
        room.keep(&mut self.error, event.field("error"), &mut self.omitted_bytes);
        self.duration_ms = event.count("duration_ms").or(self.duration_ms);
        if self.has_begun() && self.status != WorkStatus::Retrying {
            self.close_attempt(WorkStatus::Failed, at, room);
        }
        self.clear(room);
        self.attempt = said.unwrap_or(self.attempt.saturating_add(1)).max(1);
        self.status = WorkStatus::Retrying;
        self.started_at = Some(at);
        room.keep(&mut self.reason, event.field("reason"), &mut self.omitted_bytes);
    }

    fn advance(&mut self, event: &Reading<'_>, at: Timestamp, room: &mut Room) {
        if !self.status.is_open() {
            self.begin(None, at, room);
        }
        self.status = WorkStatus::Running;
        let progress = self.progress.get_or_insert_default();
        progress.current = event.count("current").or(progress.current);
        progress.total = event.count("total").or(progress.total);
        let counted = match (progress.current, progress.total) {
            (Some(current), Some(total)) if total > 0 => {
                Some((current as f64 / total as f64).min(1.0))
            }
            _ => None,
        };
        let fraction = event.fraction("progress").or(counted);
        progress.fraction = fraction.map(rounded).or(progress.fraction);
        room.keep(&mut progress.message, event.field("message"), &mut self.omitted_bytes);
    }

    fn end(&mut self, status: WorkStatus, event: &Reading<'_>, at: Timestamp) {
        self.status = status;
        self.ended_at = Some(at);
        let said = event.count("duration_ms");
        self.duration_ms = said.or_else(|| duration(self.started_at, at));
    }

    /// The run has ended, and this with it.
    pub(crate) fn interrupt(&mut self, at: Timestamp) {
        if self.status.is_open() {
            self.status = WorkStatus::Interrupted;
            self.ended_at = Some(at);
            self.duration_ms = duration(self.started_at, at);
        }
    }

    fn progress_bytes(&self) -> usize {
        self.progress.as_ref().map_or(0, |progress| bytes_of(&progress.message))
    }
}

impl Item for Step {
    fn is_over(&self) -> bool {
        self.status.is_over()
    }

    fn bytes(&self) -> usize {
        let slots = [&self.input, &self.output, &self.error, &self.reason];
        let earlier = self.earlier_attempts.iter().map(|attempt| bytes_of(&attempt.error));
        slots.into_iter().map(bytes_of).sum::<usize>()
            + earlier.sum::<usize>()
            + self.progress_bytes()
    }
}

/// The step that an event means. An event that names no variation also means the newest open step of
/// that name in any.
pub(crate) fn find<'a>(
    steps: &'a Kept<Step>,
    name: &str,
    variation: Option<&str>,
) -> Option<&'a Step> {
    let exactly = |step: &Step| &*step.step == name && step.variation.as_deref() == variation;
    let open = |step: &Step| &*step.step == name && step.status.is_open();
    let found = steps.find(exactly);
    if found.is_none() && variation.is_none() { steps.find(open) } else { found }
}

/// Folds in a `step.*` event; `stage` is the one that its label means.
pub(crate) fn apply(
    steps: &mut Kept<Step>,
    room: &mut Room,
    stage: Option<Label>,
    event: &Reading<'_>,
    at: Timestamp,
) {
    let Some(name) = event.step() else { return };
    let variation = event.variation();
    let variation = match find(steps, &name, variation.as_deref()) {
        Some(found) => found.variation.clone(),
        None => boxed(variation),
    };
    let is_meant = |step: &Step| *step.step == *name && step.variation == variation;
    let new = || Step { step: (&*name).into(), variation: variation.clone(), ..Step::default() };
    let step = steps.find_or_add(limits::STEPS_MAX, room, is_meant, new);
    step.stage = stage.or(step.stage.take());
    step.name = boxed(event.text("name")).or(step.name.take());
    step.parent = boxed(event.text("parent")).or(step.parent.take());
    step.agent = boxed(event.agent()).or(step.agent.take());
    let said = event.count("attempt").and_then(|said| u32::try_from(said).ok());
    match event.event_type() {
        "step.started" => step.begin(said, at, room),
        "step.progress" => return step.advance(event, at, room),
        "step.retrying" => return step.retry(said, event, at, room),
        "step.completed" => step.end(WorkStatus::Completed, event, at),
        "step.failed" => step.end(WorkStatus::Failed, event, at),
        _ => step.end(WorkStatus::Skipped, event, at),
    }
    if let Some(said) = said.filter(|said| *said > 0 && step.has_begun()) {
        step.attempt = said;
    }
    let omitted = &mut step.omitted_bytes;
    room.keep(&mut step.input, event.field("input"), omitted);
    room.keep(&mut step.output, event.field("output"), omitted);
    room.keep(&mut step.error, event.field("error"), omitted);
    room.keep(&mut step.reason, event.field("reason"), omitted);
}
