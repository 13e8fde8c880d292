//! What an event can be filtered by.

use serde::{Deserialize, Serialize};

use crate::error::{EventError, EventProblem};
use crate::limits::LABEL_BYTES_MAX;

/// A stage, by its name or by its number in the run's declared list (from 1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stage {
    /// By number, from 1.
    Number(u32),
    /// By name.
    Name(String),
}

/// The labels of an event. Each is absent or a short text without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Labels {
    /// `output`, `logs`, `status`, `control`, or a name of the producer's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Which of a run's parallel attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variation: Option<String>,
    /// Which stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Which step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Which agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Checks one label's value; `field` names it in the error.
pub(crate) fn check_label(field: &str, value: &str) -> Result<(), EventError> {
    check_name(field, value, LABEL_BYTES_MAX)
}

/// Checks a short name: not empty, not longer than `max` bytes, no control characters.
pub(crate) fn check_name(field: &str, value: &str, max: usize) -> Result<(), EventError> {
    if value.is_empty() {
        return Err(EventError::new(field, EventProblem::Invalid("must not be empty".into())));
    }
    if value.len() > max {
        let problem = EventProblem::TooLarge { actual: value.len(), max, unit: "bytes" };
        return Err(EventError::new(field, problem));
    }
    if let Some(control) = value.chars().find(|c| c.is_control()) {
        let message = format!("has the control character {control:?}");
        return Err(EventError::new(field, EventProblem::Invalid(message)));
    }
    Ok(())
}
