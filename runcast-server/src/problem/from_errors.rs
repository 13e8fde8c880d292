//! Which code each error is.

use runcast_event::{BatchError, EventError, EventProblem, IdError};
use runcast_hub::FollowError;
use runcast_log::{AppendError, DeleteError, ReadError, Refusal};

use super::{Code, Problem};

/// How an event's place in its request is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its place in the array, from 1.
    Event,
    /// Its line, from 1.
    Line,
}

impl Place {
    const fn member(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Line => "line",
        }
    }
}

impl Problem {
    /// The problem of a batch that was refused.
    pub(crate) fn of_batch(error: &BatchError, place: Place) -> Self {
        let BatchError { index, error } = error;
        let whole = error.field.is_empty();
        match &error.problem {
            EventProblem::TooLarge { max, .. } if error.field == "batch" => {
                Self::new(Code::BodyTooLarge, error.to_string()).with("max", *max)
            }
            EventProblem::Syntax(reason) if whole && place == Place::Event => {
                Self::new(Code::InvalidBody, format!("the body is not JSON: {reason}"))
            }
            _ => Self::of_event(error, place, *index),
        }
    }

    /// The problem of one event that was refused.
    pub(crate) fn of_event(error: &EventError, place: Place, index: usize) -> Self {
        let member = place.member();
        let mut problem = Self::new(Code::InvalidEvent, format!("{member} {index}: {error}"));
        if !error.field.is_empty() {
            problem = problem.with("field", error.field.as_str());
        }
        if let EventProblem::TooLarge { max, .. } = &error.problem {
            problem = problem.with("max", *max);
        }
        problem.with(member, index)
    }

    /// The problem of a terminal event with events behind it.
    pub(crate) fn after_end(place: Place, index: usize) -> Self {
        let member = place.member();
        let detail = format!(
            "{member} {index} ends the run, and events come after it; nothing of the batch was stored"
        );
        Self::new(Code::EventAfterEnd, detail).with(member, index)
    }

    /// The run's state does not allow an event. `event` is for those who sent several.
    pub(crate) fn not_possible(refusal: Refusal) -> Self {
        let Refusal { code, detail, state, allowed, .. } = refusal;
        Self::new(Code::NotPossible, detail)
            .with("reason", code)
            .with("state", state)
            .with("allowed", allowed)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(Code::RunNotFound, "no event of this run was ever stored")
    }
}

impl From<IdError> for Problem {
    fn from(error: IdError) -> Self {
        Self::new(Code::InvalidRunId, format!("the run id {error}"))
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        let detail = error.to_string();
        match error {
            AppendError::Closed { last } => {
                Self::new(Code::RunEnded, detail).with("last", last.get())
            }
            AppendError::NotFound => Self::not_found(),
            AppendError::OffsetMismatch { actual, .. } => {
                Self::new(Code::OffsetMismatch, detail).with("actual", actual.get())
            }
            AppendError::Fenced { current, .. } => {
                Self::new(Code::ProducerFenced, detail).with("current", current)
            }
            AppendError::SequenceGap { expected, .. } => {
                Self::new(Code::SequenceGap, detail).with("expected", expected)
            }
            AppendError::TooManyProducers { max } => {
                Self::new(Code::TooManyProducers, detail).with("max", max)
            }
            AppendError::Refused(refusal) => Self::not_possible(refusal),
            AppendError::NoRoom { .. } => Self::new(Code::NoRoom, detail),
            AppendError::Unready | AppendError::Unavailable { .. } => {
                Self::new(Code::LogUnavailable, detail)
            }
        }
    }
}

impl From<DeleteError> for Problem {
    fn from(error: DeleteError) -> Self {
        let detail = error.to_string();
        match error {
            DeleteError::NoRoom { .. } => Self::new(Code::NoRoom, detail),
            DeleteError::Unavailable { .. } => Self::new(Code::LogUnavailable, detail),
            // No request brings what is too large.
            DeleteError::BaseTooLarge { .. } => Self::new(Code::Internal, detail),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let detail = error.to_string();
        match error {
            ReadError::NotFound => Self::not_found(),
            ReadError::Deleted => Self::new(Code::RunDeleted, detail),
            ReadError::Away { reason } => {
                // Where it is, is nobody's business who only reads.
                tracing::debug!(reason, "the log cannot be reached");
                Self::new(Code::LogUnavailable, "the log cannot be reached now; try again")
            }
            ReadError::Trimmed { .. } | ReadError::Damaged { .. } | ReadError::Failed { .. } => {
                tracing::error!(%error, "a run cannot be read");
                Self::new(Code::Internal, detail)
            }
        }
    }
}

impl From<FollowError> for Problem {
    fn from(error: FollowError) -> Self {
        let detail = error.to_string();
        match error {
            FollowError::OffsetInFuture { last } => {
                Self::new(Code::OffsetInFuture, detail).with("last", last.get())
            }
            FollowError::TooManyFollowers { max } => {
                Self::new(Code::TooManyFollowers, detail).with("max", max)
            }
            FollowError::Read(error) => error.into(),
        }
    }
}
