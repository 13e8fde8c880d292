//! Server-sent events of the feed.

use bytes::Bytes;
use runcast_event::Merged;
use runcast_hub::{Format, Slice};

use super::shape::Shape;
use super::sse::write_event;
use super::view::View;

/// The frames of all entries, made once for all readers of the same format.
pub(crate) fn entries(slice: &Slice, format: Format) -> Bytes {
    super::sse::events(slice, &Shape { view: View::default(), format })
}

/// The frames of these entries of the slice.
pub(crate) fn chosen_entries(slice: &Slice, chosen: &[Merged], format: Format) -> Bytes {
    let mut out = Vec::new();
    for entry in chosen {
        write_event(slice.epoch(), entry, format, &mut out);
    }
    out.into()
}
