//! A command as it is asked of the run.

use runcast_event::{Event, Timestamp};
use serde_json::Value;

/// Something that is asked of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// Its id.
    pub(super) command: String,
    /// What is asked.
    pub(super) name: String,
    by: Option<String>,
    reason: Option<String>,
    /// From when on nobody wants it any more.
    expires: Option<Timestamp>,
}

impl Request {
    /// The command that an event asks for; none for an event of another kind.
    pub(super) fn of(event: &Event) -> Option<Self> {
        if event.event_type != "command.requested" {
            return None;
        }
        let data = event.data_value();
        let text = |field: &str| data.get(field).and_then(Value::as_str).map(str::to_owned);
        let timeout_ms = data.get("timeout_ms").and_then(Value::as_u64);
        let expires = timeout_ms.and_then(|millis| {
            let micros = i64::try_from(millis.saturating_mul(1_000)).ok()?;
            Some(Timestamp::from_micros(event.time.as_micros().saturating_add(micros)))
        });
        Some(Self {
            command: text("command")?,
            name: text("name")?,
            by: text("by"),
            reason: text("reason"),
            expires,
        })
    }

    /// Whether it has expired: the server says so, and wants no outcome.
    pub(super) fn is_late(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether it is one that exec carries out itself.
    pub(super) fn is_for_exec(&self) -> bool {
        matches!(self.name.as_str(), "stop" | "pause" | "resume")
    }

    /// Who made the run do this, and why: `stopped by ada: too wild`.
    pub(super) fn blame(&self, done: &str) -> String {
        let by = self.by.as_deref().unwrap_or("a command");
        match &self.reason {
            Some(reason) => format!("{done} by {by}: {reason}"),
            None => format!("{done} by {by}"),
        }
    }
}
