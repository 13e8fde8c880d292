//! Folds a run's events into its state.
//!
//! Owns what a run's status, times and counts are. Pure: the same events give the same state,
//! however they are split over calls; no clock is read and nothing is stored.

mod brief;
mod definition;
mod snapshot;
mod state;
mod status;

pub use brief::Brief;
pub use definition::Definition;
pub use snapshot::{EventCounts, RunSnapshot};
pub use state::RunState;
pub use status::Status;
