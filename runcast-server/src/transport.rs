//! The only place that writes what goes over the wire to readers and producers.
//!
//! Owns the form of answers: server-sent events, pages, lines. Never reads a log and never decides
//! what to send.

pub(crate) mod answer;
pub(crate) mod feed;
pub(crate) mod head;
pub(crate) mod many;
pub(crate) mod page;
pub(crate) mod shape;
pub(crate) mod sse;
pub(crate) mod view;
pub(crate) mod websocket;
