//! What to do after the server has not taken a batch.

use crate::ClientError;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same again, later.
    Retry,
    /// The server knows this producer's events only up to this sequence.
    Rewind {
        /// The number that it expects.
        expected: u64,
    },
    /// Never send this line (counted from 0) again; a gap goes in its place.
    Replace {
        /// Which.
        line: usize,
    },
    /// Send less at once.
    Smaller,
    /// Another process publishes the run, in this epoch.
    Fenced {
        /// Its epoch.
        current: u64,
    },
    /// Nothing of this run will be taken.
    GiveUp,
}

/// Refusals of the run or of its producer, whatever event they name.
const RUN_IS_CLOSED: [&str; 4] =
    ["run_ended", "run_deleted", "too_many_producers", "event_after_end"];

impl Verdict {
    /// Sorts an error.
    #[must_use]
    pub fn on(error: &ClientError) -> Self {
        let problem = match error {
            ClientError::Problem(problem) => problem,
            // Another kind of server answers there for now: a proxy's page, a port taken over.
            ClientError::Unreachable { .. } | ClientError::Protocol { .. } => return Self::Retry,
            ClientError::BadUrl { .. } => return Self::GiveUp,
        };
        if problem.is_retryable() || problem.code.is_empty() {
            return Self::Retry;
        }
        let expected = problem.number("expected");
        let line = problem.number("line").and_then(|line| usize::try_from(line).ok());
        if problem.code == "producer_fenced" {
            return problem
                .number("current")
                .map_or(Self::GiveUp, |current| Self::Fenced { current });
        }
        match (problem.code.as_str(), expected, line) {
            ("sequence_gap", Some(expected), _) => Self::Rewind { expected },
            (code, _, _) if RUN_IS_CLOSED.contains(&code) => Self::GiveUp,
            // One event is not valid, or not possible in the state that the run is in.
            (_, _, Some(line @ 1..)) => Self::Replace { line: line - 1 },
            ("body_too_large" | "not_possible", _, _) => Self::Smaller,
            _ => Self::GiveUp,
        }
    }
}
