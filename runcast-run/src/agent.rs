//! Agents and their tasks.

use runcast_event::{Reading, Timestamp};
use serde::{Deserialize, Serialize};

use crate::json::Json;
use crate::kept::{Item, Kept, Room, bytes_of};
use crate::limits;
use crate::progress::rounded;
use crate::status::WorkStatus;
use crate::work::{boxed, duration, is_zero};

/// An agent, kept and served in this form.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Agent {
    /// Its id: the label of its events.
    pub agent: Box<str>,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Json>,
    /// What it is there for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Json>,
    /// The model behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Json>,
    /// The agent that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Json>,
    /// When it was made.
    pub spawned_at: Timestamp,
    /// Bytes of its texts that are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_bytes: u64,
}

impl Item for Agent {
    fn is_over(&self) -> bool {
        false
    }

    fn bytes(&self) -> usize {
        [&self.name, &self.role, &self.model, &self.parent].into_iter().map(bytes_of).sum()
    }
}

/// A task, kept and served in this form.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub task: Box<str>,
    /// The agent that does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Box<str>>,
    /// Where it stands.
    pub status: WorkStatus,
    /// When it was first told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How long it took: as its producer says, else from start to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// How much of it is done, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// What it is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Json>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Json>,
    /// Bytes of its texts and values that are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_bytes: u64,
}

impl Task {
    /// The run has ended, and this with it.
    pub(crate) fn interrupt(&mut self, at: Timestamp) {
        if self.status.is_open() {
            self.status = WorkStatus::Interrupted;
            self.ended_at = Some(at);
            self.duration_ms = duration(self.started_at, at);
        }
    }
}

impl Item for Task {
    fn is_over(&self) -> bool {
        self.status.is_over()
    }

    fn bytes(&self) -> usize {
        [&self.message, &self.result, &self.error].into_iter().map(bytes_of).sum()
    }
}

/// Folds in an `agent.spawned`.
pub(crate) fn spawn(agents: &mut Kept<Agent>, room: &mut Room, event: &Reading<'_>, at: Timestamp) {
    let Some(id) = event.agent() else { return };
    let is_meant = |known: &Agent| *known.agent == *id;
    let new = || Agent { agent: (&*id).into(), spawned_at: at, ..Agent::default() };
    let agent = agents.find_or_add(limits::AGENTS_MAX, room, is_meant, new);
    let omitted = &mut agent.omitted_bytes;
    room.keep(&mut agent.name, event.field("name"), omitted);
    room.keep(&mut agent.role, event.field("role"), omitted);
    room.keep(&mut agent.model, event.field("model"), omitted);
    room.keep(&mut agent.parent, event.field("parent"), omitted);
}

/// Folds in a `task.*` event.
pub(crate) fn work(tasks: &mut Kept<Task>, room: &mut Room, event: &Reading<'_>, at: Timestamp) {
    let status = match event.event_type() {
        "task.progress" => WorkStatus::Running,
        "task.completed" => WorkStatus::Completed,
        "task.failed" => WorkStatus::Failed,
        _ => return,
    };
    let Some(id) = event.text("task") else { return };
    let is_meant = |known: &Task| *known.task == *id;
    let new = || Task { task: (&*id).into(), started_at: Some(at), ..Task::default() };
    let task = tasks.find_or_add(limits::TASKS_MAX, room, is_meant, new);
    task.status = status;
    task.agent = boxed(event.agent()).or(task.agent.take());
    task.progress = event.fraction("progress").map(rounded).or(task.progress);
    let said_ms = event.count("duration_ms");
    task.ended_at = status.is_over().then_some(at);
    task.duration_ms = task.ended_at.and(said_ms.or_else(|| duration(task.started_at, at)));
    room.keep(&mut task.message, event.field("message"), &mut task.omitted_bytes);
    room.keep(&mut task.result, event.field("result"), &mut task.omitted_bytes);
    room.keep(&mut task.error, event.field("error"), &mut task.omitted_bytes);
}
