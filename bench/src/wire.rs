//! As much HTTP as the generator needs, incremental and without copies.
//!
//! Requests are written as text; answers are read in whatever pieces the socket gives.

pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod download;
#[cfg(test)]
mod fuzz;
pub(crate) mod head;
pub(crate) mod lines;
pub(crate) mod socket;
pub(crate) mod sse;
pub(crate) mod websocket;
