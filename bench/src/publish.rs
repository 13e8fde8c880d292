//! The publishers: a number of connections that append events, in one thread.

mod answer;
mod connection;
mod plan;
mod publisher;

pub(crate) use plan::{Amount, Pace, Plan, Progress};
pub(crate) use publisher::{Published, publish, publish_in_background};
