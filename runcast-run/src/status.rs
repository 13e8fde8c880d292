//! Where a run stands in its life.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A run's status. The last five are terminal: nothing comes after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Made, and nothing has happened yet.
    Queued,
    /// At work.
    Running,
    /// Holding still until it is resumed.
    Paused,
    /// Waiting for a person's answer to an input.
    InputRequired,
    /// Asked to stop, and not at its end yet.
    Cancelling,
    /// Ended well.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended because somebody asked for it.
    Cancelled,
    /// Ended because its time was up.
    TimedOut,
    /// Ended without saying so: its process was lost.
    Crashed,
}

impl Status {
    /// Every status, in the order of a run's life.
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::Running,
        Self::Paused,
        Self::InputRequired,
        Self::Cancelling,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
        Self::Crashed,
    ];

    /// The name in JSON and in queries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::InputRequired => "input_required",
            Self::Cancelling => "cancelling",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::Crashed => "crashed",
        }
    }

    /// Whether the run has ended.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Cancelled | Self::TimedOut | Self::Crashed
        )
    }

    /// The status that an event of the run's life sets, or none for any other type of event.
    pub(crate) fn after(event_type: &str) -> Option<Self> {
        match event_type {
            "run.queued" => Some(Self::Queued),
            "run.started" | "run.resumed" => Some(Self::Running),
            "run.paused" => Some(Self::Paused),
            "run.completed" => Some(Self::Completed),
            "run.failed" => Some(Self::Failed),
            "run.cancelled" => Some(Self::Cancelled),
            "run.timed_out" => Some(Self::TimedOut),
            "run.crashed" => Some(Self::Crashed),
            _ => None,
        }
    }
}

impl FromStr for WorkStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|status| status.as_str()).collect();
            format!("is not a status of a step; those are {}", names.join(", "))
        })
    }
}

/// Where a part of a run stands: a stage, a step, a variation, a task, a tool call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkStatus {
    /// Declared, and not begun.
    #[default]
    Pending,
    /// At work.
    Running,
    /// An attempt has failed, another is to come.
    Retrying,
    /// Ended well.
    Completed,
    /// Ended with an error.
    Failed,
    /// Passed over.
    Skipped,
    /// Begun, and not ended when the run was.
    Interrupted,
}

impl WorkStatus {
    /// All, in the order of their values.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Running,
        Self::Retrying,
        Self::Completed,
        Self::Failed,
        Self::Skipped,
        Self::Interrupted,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether it has begun and not ended.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Retrying)
    }

    /// Whether it has ended.
    #[must_use]
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Pending | Self::Running | Self::Retrying)
    }
}

impl fmt::Display for WorkStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|status| status.as_str()).collect();
            format!("is not a status; the statuses are {}", names.join(", "))
        })
    }
}
