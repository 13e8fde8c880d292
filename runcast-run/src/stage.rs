//! Stages: the large parts that a run goes through, one after the other.

use runcast_event::{Reading, Stage as Label, Timestamp};
use serde::{Deserialize, Serialize};

use crate::json::Json;
use crate::kept::{Item, Kept, Room, bytes_of};
use crate::limits;
use crate::status::WorkStatus;
use crate::work::{boxed, duration};

/// A stage that has begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stage {
    /// Its name if it has one, else its number.
    pub(crate) label: Label,
    pub(crate) variation: Option<Box<str>>,
    pub(crate) status: WorkStatus,
    /// Which attempt this is, from 1.
    pub(crate) attempt: u32,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) duration_ms: Option<u64>,
    pub(crate) error: Option<Json>,
    pub(crate) omitted_bytes: u64,
}

/// A stage as readers get it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageState {
    /// Its place in the declared list, from 1, or the number that its events have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The variation that goes through it, where its events name one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variation: Option<String>,
    /// Where it stands.
    pub status: WorkStatus,
    /// How much of it is done, from 0 to 1, where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// Which attempt this is, from 1; 0 before the first.
    pub attempt: u32,
    /// When the attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How long the attempt took: as its producer says, else from start to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Json>,
    /// Bytes of its texts and values that are left out.
    #[serde(skip_serializing_if = "crate::work::is_zero")]
    pub omitted_bytes: u64,
}

impl StageState {
    /// A stage that has not begun.
    pub(crate) fn pending(number: Option<u32>, name: Option<String>) -> Self {
        Self {
            number,
            name,
            variation: None,
            status: WorkStatus::Pending,
            progress: None,
            attempt: 0,
            started_at: None,
            ended_at: None,
            duration_ms: None,
            error: None,
            omitted_bytes: 0,
        }
    }
}

impl Stage {
    fn new(label: Label, variation: Option<Box<str>>) -> Self {
        Self {
            label,
            variation,
            status: WorkStatus::Pending,
            attempt: 0,
            started_at: None,
            ended_at: None,
            duration_ms: None,
            error: None,
            omitted_bytes: 0,
        }
    }

    /// The stage as readers get it, at its place in the declared list.
    pub(crate) fn state(&self, place: Option<u32>) -> StageState {
        let (number, name) = match &self.label {
            Label::Number(number) => (Some(*number), None),
            Label::Name(name) => (place, Some(name.clone())),
        };
        StageState {
            variation: self.variation.as_deref().map(str::to_owned),
            status: self.status,
            attempt: self.attempt,
            started_at: self.started_at,
            ended_at: self.ended_at,
            duration_ms: self.duration_ms,
            error: self.error.clone(),
            omitted_bytes: self.omitted_bytes,
            ..StageState::pending(number, name)
        }
    }

    fn begin(&mut self, at: Timestamp, room: &mut Room) {
        if self.status != WorkStatus::Running {
            self.attempt = self.attempt.saturating_add(1);
            self.started_at = Some(at);
        }
        self.status = WorkStatus::Running;
        self.ended_at = None;
        self.duration_ms = None;
        room.give_back(bytes_of(&self.error));
        self.error = None;
    }

    fn end(&mut self, status: WorkStatus, at: Timestamp) {
        self.status = status;
        self.attempt = self.attempt.max(1);
        self.ended_at = Some(at);
        self.duration_ms = duration(self.started_at, at);
    }

    /// The run has ended, and this with it.
    pub(crate) fn interrupt(&mut self, at: Timestamp) {
        if self.status.is_open() {
            self.end(WorkStatus::Interrupted, at);
        }
    }
}

impl Item for Stage {
    fn is_over(&self) -> bool {
        self.status.is_over()
    }

    fn bytes(&self) -> usize {
        bytes_of(&self.error)
    }
}

/// Folds in a `stage.*` event about the stage that `label` means.
pub(crate) fn apply(
    stages: &mut Kept<Stage>,
    room: &mut Room,
    label: Label,
    event: &Reading<'_>,
    at: Timestamp,
) {
    let variation = boxed(event.variation());
    let is_meant = |stage: &Stage| stage.label == label && stage.variation == variation;
    let new = || Stage::new(label.clone(), variation.clone());
    let stage = stages.find_or_add(limits::STAGES_MAX, room, is_meant, new);
    match event.event_type() {
        "stage.started" => stage.begin(at, room),
        "stage.completed" => stage.end(WorkStatus::Completed, at),
        _ => stage.end(WorkStatus::Failed, at),
    }
    stage.duration_ms = event.count("duration_ms").or(stage.duration_ms);
    room.keep(&mut stage.error, event.field("error"), &mut stage.omitted_bytes);
}
