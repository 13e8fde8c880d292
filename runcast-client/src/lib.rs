//! Rust client of Runcast: append and read over HTTP, follow live with resume.
//!
//! [`Client`] is one request, one answer, and never retries: [`ClientError::is_retryable`] says
//! whether that would help. What retries by itself is built on top of it.

mod answer;
mod api;
mod backoff;
mod error;
mod follow;
pub mod publish;
mod request;
pub mod spool;
mod sse;
mod talk;

pub use answer::{
    AppendAnswer, CommandInfo, EventPage, FeedData, FeedEntry, FeedPage, Gap, InputInfo, InputList,
    RunInfo, RunList,
};
pub use api::Client;
pub use backoff::Backoff;
pub use error::{ClientError, Problem};
pub use follow::{FollowItem, FollowState, Follower};
pub use request::{
    Choice, CommandOutcome, CommandRequest, FeedQuery, InputQuery, ListQuery, PageQuery, Producer,
    RunDefinition,
};
