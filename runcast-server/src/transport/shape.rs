//! What decides a reader's bytes: which events it chose, and how they are written. Readers of one
//! shape get the same bytes of the same run, whatever connection they are on.

use bytes::Bytes;
use runcast_event::{Cursor, Epoch, RunId};
use runcast_hub::{Format, Gap, Slice};
use runcast_log::Record;

use super::sse;
use super::view::View;
use super::websocket::message;

/// Which events, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub(crate) view: View,
    pub(crate) format: Format,
}

impl Shape {
    const fn is_websocket(&self) -> bool {
        matches!(self.format, Format::WebSocket)
    }

    /// Events that have just come: made once for all readers who get all of them. Empty when a reader
    /// of this shape gets none.
    pub(crate) fn events(&self, run: &RunId, slice: &Slice) -> Bytes {
        if self.is_websocket() {
            message::events(slice, run, &self.view)
        } else {
            sse::events(slice, self)
        }
    }

    /// Events that follow on each other in one stream.
    pub(crate) fn page(&self, run: &RunId, epoch: Epoch, records: &[Record]) -> Bytes {
        if self.is_websocket() {
            message::page(run, epoch, records, &self.view)
        } else {
            sse::page(epoch, records, self)
        }
    }

    /// Which events the reader cannot have.
    pub(crate) fn gap(&self, run: &RunId, gap: &Gap) -> Bytes {
        if self.is_websocket() { message::gap(run, gap) } else { sse::gap(gap) }
    }

    /// That the run has ended, with the event at the cursor, of this type if that is still known.
    pub(crate) fn end(&self, run: &RunId, cursor: Cursor, event_type: Option<&str>) -> Bytes {
        if self.is_websocket() {
            return message::end(run, cursor, event_type);
        }
        let end = sse::end(cursor.after, event_type);
        if self.view.is_plain() {
            return end;
        }
        // It may not have got the last event; so it comes back to the tail, and to a 204.
        [sse::passed(cursor), end].concat().into()
    }

    /// That the run was deleted.
    pub(crate) fn deleted(&self, run: &RunId) -> Bytes {
        if self.is_websocket() { message::deleted(run) } else { Bytes::from_static(sse::DELETED) }
    }

    /// Up to where the reader was taken past events that it did not choose.
    pub(crate) fn passed(&self, run: &RunId, cursor: Cursor) -> Bytes {
        if self.is_websocket() { message::cursor(run, cursor) } else { sse::passed(cursor) }
    }
}
