//! What a run's events are: ids, offsets, the envelope, the typed events and their validation.
//!
//! Owns the words that every other crate uses and the canonical bytes of a stored event
//! ([`Payload`]). Does no I/O, knows no clock, no async and no transport.
//!
//! An event is parsed and validated once, where it enters ([`parse_event`], [`parse_batch`]), and
//! turned into a [`Payload`]: one line of JSON that is stored, replayed and sent as it is. Putting
//! the offset in front ([`Payload::write_json`]) is all that a transport has to add.

mod batch;
mod catalogue;
mod coalesce;
mod draft;
mod error;
mod filter;
#[cfg(test)]
mod fuzz;
mod id;
mod label;
pub mod limits;
mod offset;
mod payload;
mod reading;
mod text;
mod time;

pub use batch::{BatchError, parse_array, parse_batch, parse_lines};
pub use catalogue::{EventType, is_terminal, is_typed};
pub use coalesce::{Merged, StoredDeltas, coalesce};
pub use draft::{Draft, parse_event};
pub use error::{EventError, EventProblem};
pub use filter::{EventFilter, FILTER_FIELDS, Head};
pub use id::{IdError, ProducerId, RunId, new_command_id};
pub use label::{Labels, Stage};
pub use offset::{Cursor, CursorError, Epoch, Offset};
pub use payload::{Event, Payload, Prepared};
pub use reading::{Reading, readable_text};
pub use text::TextFilter;
pub use time::Timestamp;
