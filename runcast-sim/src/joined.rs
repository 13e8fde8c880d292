//! Events of closed streams that the log stores as one: all of them, their bytes one behind the other. An
//! event's bytes say where it ends, so that what is read is held against the model event by event.

use std::ops::Range;

use bytes::Bytes;
use runcast_event::RunId;
use runcast_log::{Join, Joiner, Record, StreamStat};

/// Joins whatever it may.
pub(crate) struct JoinAll;

impl Joiner for JoinAll {
    fn of(&self, _run: &RunId, _stat: &StreamStat) -> Option<Box<dyn Join>> {
        Some(Box::new(Self))
    }
}

impl Join for JoinAll {
    fn join(&mut self, earlier: &Bytes, later: &Bytes) -> Option<(Range<usize>, Range<usize>)> {
        Some((0..earlier.len(), 0..later.len()))
    }
}

/// The events that a record stands for. Only if they are as many as it says.
pub(crate) fn apart(record: Record) -> Vec<(u64, Bytes)> {
    let Record { offset, count, mut payload } = record;
    let first = offset.get() + 1 - count;
    let mut events = Vec::new();
    while count > 1 && !payload.is_empty() {
        let event = payload.split_to(end(&payload));
        events.push((first + events.len() as u64, event));
    }
    if events.len() as u64 == count { events } else { vec![(offset.get(), payload)] }
}

/// Where the first of some events ends: each has a mark that ends with `~`, and fillers behind it.
fn end(events: &[u8]) -> usize {
    let marked = events.iter().position(|byte| *byte == b'~').map_or(events.len(), |at| at + 1);
    let fillers = events[marked..].iter().take_while(|byte| **byte == b'.').count();
    marked + fillers
}

/// Whether a page is right by its events, whatever its bytes are: events that are stored as one are given
/// as one.
pub(crate) fn is_beginning(page: &[(u64, Bytes)], all: &[(u64, Bytes)]) -> bool {
    all.starts_with(page) && page.is_empty() == all.is_empty()
}

#[cfg(test)]
mod tests {
    use runcast_event::Offset;

    use super::*;

    #[test]
    fn events_are_taken_apart_where_they_were_put_together() {
        let offset = Offset::new(9);
        let of = |count, text: &'static str| {
            apart(Record { offset, count, payload: Bytes::from_static(text.as_bytes()) })
        };
        let event = |at, text: &'static str| (at, Bytes::from_static(text.as_bytes()));
        assert_eq!(of(1, "#1~..#2~"), [event(9, "#1~..#2~")]);
        let expected = [event(7, "#1~.."), event(8, "#2~"), event(9, "life#3~.")];
        assert_eq!(of(3, "#1~..#2~life#3~."), expected);
        assert_eq!(of(2, "#1~..#2~life#3~.").len(), 1, "there are more than it says");
    }
}
