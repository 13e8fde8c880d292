//! The server over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod appends;
mod client;
mod coalescing;
mod compaction;
mod connections;
mod damaged;
mod departures;
mod faults;
mod feed;
mod follows;
mod guards;
mod http2;
mod keeping;
mod logged;
mod metrics;
mod pages;
mod plane;
mod retention;
mod runs;
mod saved;
mod stops;
mod store;
mod streams;
mod talking;
mod twice;
mod views;
mod websocket;
