//! Server-sent events of the feed.

use bytes::Bytes;
use runcast_event::{Cursor, Payload};
use runcast_hub::{Format, Slice};

use super::sse::{self, write_event};

/// The frames of the entries that are wanted; empty if none is.
pub(crate) fn wanted_entries(
    slice: &Slice,
    format: Format,
    is_wanted: impl Fn(&Payload) -> bool,
) -> Bytes {
    let mut out = Vec::new();
    for record in slice.records() {
        if is_wanted(&Payload::from_stored(record.payload.clone())) {
            write_event(slice.epoch(), record, format, &mut out);
        }
    }
    out.into()
}

/// Says that the connection is open; behind entries that were not wanted, also how far it is.
pub(crate) fn heartbeat(moved_to: Option<Cursor>) -> Bytes {
    match moved_to {
        None => Bytes::from_static(sse::HEARTBEAT),
        Some(cursor) => format!(":\nid: {cursor}\n\n").into(),
    }
}
