//! Durable, ordered streams of opaque events.
//!
//! Owns the promise: what is acknowledged is kept, in one order, and readers see only what is
//! kept. Never parses an event and never hears of HTTP.

mod contract;
mod distribution;
mod embedded;
mod inbox;
mod memory;
mod stats;
mod stream;

pub mod engine;

pub use contract::{
    Append, AppendError, Appended, BASE_BYTES_MAX, CommitObserver, Committed, DeleteError, Join,
    Joiner, Log, LogHealth, NewEvents, NotAdmitted, Page, ProducerStamp, ReadError, ReadLimit,
    Record, Refusal, StreamStat, Trim,
};
pub use distribution::{COUNT_BOUNDS, Distribution, Spread, TIME_BOUNDS_NS};
pub use embedded::{
    Clock, Durability, EmbeddedLog, EmbeddedOptions, FORMAT_VERSION, OpenError, STATES_NAME,
    Surroundings, SystemClock, UpkeepBy, WritingBy,
};
pub use embedded::{backup, disk, doctor, inspect};
pub use inbox::{Inbox, Received, Rejected};
pub use memory::MemoryLog;
pub use stats::{BytesWritten, LogStats};
