//! Why an event is refused: the field, and what is wrong with it.

use std::fmt;

/// A refused event: which field, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventError {
    /// The field as a path, such as `data.exit_code`; empty when the event as a whole is meant.
    pub field: String,
    /// What is wrong.
    pub problem: EventProblem,
}

/// What can be wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventProblem {
    /// The text is not JSON.
    #[error("is not JSON: {0}")]
    Syntax(String),
    /// A field that events do not have.
    #[error(
        "is not a field of an event; the fields are type, time, channel, variation, stage, step, agent and data"
    )]
    Unknown,
    /// `offset` was sent; only the server gives offsets.
    #[error("is given by the server and cannot be sent")]
    OffsetSent,
    /// A field is there twice.
    #[error("is there more than once")]
    Repeated,
    /// A needed field is not there.
    #[error("is missing: {0}")]
    Missing(&'static str),
    /// A field has another type than it must have.
    #[error("must be {expected}, is {found}")]
    WrongType {
        /// What it must be, with its article.
        expected: &'static str,
        /// What it is, with its article.
        found: &'static str,
    },
    /// A value of the right type that is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// More bytes, characters, items or levels than allowed.
    #[error("has {actual} {unit}, {max} are allowed")]
    TooLarge {
        /// How many there are.
        actual: usize,
        /// How many are allowed.
        max: usize,
        /// Of what.
        unit: &'static str,
    },
}

impl EventError {
    pub(crate) fn new(field: impl Into<String>, problem: EventProblem) -> Self {
        Self { field: field.into(), problem }
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(f, "the event {}", self.problem)
        } else {
            write!(f, "{} {}", self.field, self.problem)
        }
    }
}

impl std::error::Error for EventError {}
