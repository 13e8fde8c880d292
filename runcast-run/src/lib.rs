//! Folds a run's events into its state.
//!
//! Owns what a run's status, parts, times and counts are; which events cannot be true of it
//! ([`RunState::check`]); and what must be said for it when nobody says it ([`RunState::due`]).
//! Pure: the same events give the same state, however they are split over calls and merged; no
//! clock is read and nothing is stored.

mod agent;
mod check;
mod command;
mod damage;
mod declared;
mod definition;
mod due;
#[cfg(test)]
mod fuzz;
mod input;
mod json;
mod kept;
#[cfg(test)]
mod laws;
pub mod limits;
mod message;
mod progress;
mod reckoning;
mod snapshot;
mod stage;
mod standing;
mod state;
mod status;
mod step;
mod stored;
mod template;
#[cfg(test)]
mod testing;
mod usage;
mod variation;
mod work;

pub use agent::{Agent, Task};
pub use check::{Refusal, RefusedAt};
pub use command::{Command, CommandStatus, PAUSE, RESUME, STOP};
pub use damage::Damaged;
pub use definition::Definition;
pub use due::{Due, Liveness};
pub use input::{Input, InputStatus};
pub use json::{GrowingText, Json};
pub use message::{Message, MessageStatus, ToolCall};
pub use progress::Progress;
pub use snapshot::{EventCounts, Omitted, RunSnapshot, RunSummary, StepResult};
pub use stage::StageState;
pub use state::RunState;
pub use status::{Status, WorkStatus};
pub use step::{Attempt, Step, StepProgress};
pub use stored::StoredStateError;
pub use template::{AGENT_PIPELINE, BUILT_IN, built_in};
pub use usage::Usage;
pub use variation::Variation;
