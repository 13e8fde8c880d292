//! Commands: what is asked of a run, and what became of it.

use runcast_event::{Reading, Timestamp};
use serde::{Deserialize, Serialize};

use crate::json::Json;
use crate::kept::{Item, Kept, Room};
use crate::limits;
use crate::work::{boxed, is_zero, keep_apart};

/// The command that asks a run to hold still.
pub const PAUSE: &str = "pause";
/// The command that asks a paused run to go on.
pub const RESUME: &str = "resume";
/// The command that asks a run to end.
pub const STOP: &str = "stop";

/// Where a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandStatus {
    /// Asked for.
    #[default]
    Requested,
    /// The run has it.
    Delivered,
    /// The run has carried it out.
    Done,
    /// The run will not.
    Refused,
    /// Its time was up.
    Expired,
    /// The run ended first.
    Closed,
}

impl CommandStatus {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Delivered => "delivered",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Closed => "closed",
        }
    }
}

/// A command, kept and served in this form.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Command {
    /// Its id.
    pub command: Box<str>,
    /// What is asked for: `pause`, `resume`, `stop`, `set`, or a name of the run's own.
    pub name: Box<str>,
    /// Where it stands.
    pub status: CommandStatus,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Json>,
    /// The key that makes asking again the same command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Box<str>>,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Json>,
    /// Why it was asked for; or why it was refused or expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Json>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When the run had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// When it was done, refused, expired, or closed by the run's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Until when it can be carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Bytes of its texts and values that are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_bytes: u64,
}

impl Command {
    /// Whether it waits for the run.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.status, CommandStatus::Requested | CommandStatus::Delivered)
    }

    fn requested(id: &str, event: &Reading<'_>, at: Timestamp) -> Self {
        let mut command = Self {
            command: id.into(),
            name: boxed(event.text("name")).unwrap_or_default(),
            key: boxed(event.text("key")),
            requested_at: at,
            expires_at: event.count("timeout_ms").map(|millis| at.plus_millis(millis)),
            ..Self::default()
        };
        let omitted = &mut command.omitted_bytes;
        keep_apart(&mut command.args, event.field("args"), omitted);
        keep_apart(&mut command.by, event.field("by"), omitted);
        keep_apart(&mut command.reason, event.field("reason"), omitted);
        command
    }

    /// The run has ended, and this with it.
    pub(crate) fn close(&mut self, at: Timestamp) {
        if self.is_open() {
            self.status = CommandStatus::Closed;
            self.ended_at = Some(at);
        }
    }
}

impl Item for Command {
    fn is_over(&self) -> bool {
        !self.is_open()
    }

    /// What is asked has room of its own.
    fn bytes(&self) -> usize {
        0
    }
}

/// Folds in a `command.*` event.
pub(crate) fn apply(
    commands: &mut Kept<Command>,
    room: &mut Room,
    event: &Reading<'_>,
    at: Timestamp,
) {
    let Some(id) = event.text("command") else { return };
    let found = commands.find_mut(|known| *known.command == *id);
    let status = match event.event_type() {
        "command.requested" => {
            let command = Command::requested(&id, event, at);
            match found {
                Some(found) => *found = command,
                None => commands.add(limits::COMMANDS_MAX, room, command),
            }
            return;
        }
        "command.delivered" => CommandStatus::Delivered,
        "command.done" => CommandStatus::Done,
        "command.refused" => CommandStatus::Refused,
        "command.expired" => CommandStatus::Expired,
        _ => return,
    };
    let Some(command) = found.filter(|command| command.is_open()) else { return };
    command.status = status;
    if status == CommandStatus::Delivered {
        command.delivered_at.get_or_insert(at);
        return;
    }
    command.ended_at = Some(at);
    keep_apart(&mut command.reason, event.field("reason"), &mut command.omitted_bytes);
}
