//! Variations: a run's parallel attempts, each with its own end.

use runcast_event::{Reading, Timestamp};
use serde::{Deserialize, Serialize};

use crate::json::Json;
use crate::kept::{Item, Kept, Room, bytes_of};
use crate::limits;
use crate::status::WorkStatus;
use crate::work::{boxed, duration, is_zero};

/// A variation, kept and served in this form.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Variation {
    /// Its id: the label of its events.
    pub variation: Box<str>,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// Where it stands.
    pub status: WorkStatus,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How long it took: as its producer says, else from start to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The exit code of its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// The signal that ended its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Box<str>>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Json>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// Bytes of its texts and values that are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_bytes: u64,
}

impl Variation {
    fn end(&mut self, status: WorkStatus, said_ms: Option<u64>, at: Timestamp) {
        self.status = status;
        self.ended_at = Some(at);
        self.duration_ms = said_ms.or_else(|| duration(self.started_at, at));
    }

    /// The run has ended, and this with it.
    pub(crate) fn interrupt(&mut self, at: Timestamp) {
        if self.status.is_open() {
            self.end(WorkStatus::Interrupted, None, at);
        }
    }
}

impl Item for Variation {
    fn is_over(&self) -> bool {
        self.status.is_over()
    }

    fn bytes(&self) -> usize {
        bytes_of(&self.error) + bytes_of(&self.output)
    }
}

/// Folds in an event of a variation: whoever works has begun, even if nobody said so.
pub(crate) fn apply(
    variations: &mut Kept<Variation>,
    room: &mut Room,
    event: &Reading<'_>,
    at: Timestamp,
) {
    let Some(id) = event.variation() else { return };
    let is_meant = |known: &Variation| *known.variation == *id;
    let new = || Variation { variation: (&*id).into(), ..Variation::default() };
    let variation = variations.find_or_add(limits::VARIATIONS_MAX, room, is_meant, new);
    let event_type = event.event_type();
    let is_own = event_type.starts_with("variation.");
    if variation.status == WorkStatus::Pending || event_type == "variation.started" {
        variation.status = WorkStatus::Running;
        variation.started_at.get_or_insert(at);
        variation.ended_at = None;
        variation.duration_ms = None;
    }
    if !is_own {
        return;
    }
    let said_ms = event.count("duration_ms");
    match event_type {
        "variation.completed" => variation.end(WorkStatus::Completed, said_ms, at),
        "variation.failed" => variation.end(WorkStatus::Failed, said_ms, at),
        _ => {}
    }
    variation.name = boxed(event.text("name")).or(variation.name.take());
    variation.exit_code = event.integer("exit_code").or(variation.exit_code);
    variation.signal = boxed(event.text("signal")).or(variation.signal.take());
    room.keep(&mut variation.error, event.field("error"), &mut variation.omitted_bytes);
    room.keep(&mut variation.output, event.field("output"), &mut variation.omitted_bytes);
}
