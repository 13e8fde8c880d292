//! A page of events, and events one a line.

use std::io::Write as _;

use bytes::Bytes;
use runcast_event::{Cursor, Merged, RunId};
use runcast_hub::{Gap, GapReason};
use runcast_log::StreamStat;

/// A page as it grows.
pub(crate) struct PageWriter {
    out: Vec<u8>,
    events: usize,
}

impl PageWriter {
    pub(crate) fn new(run: &RunId, epoch: runcast_event::Epoch) -> Self {
        let mut out = Vec::with_capacity(4 * 1024);
        // An id's characters need no escape.
        write!(out, "{{\"run\":\"{run}\",\"epoch\":{epoch},\"events\":[").expect(VEC);
        Self { out, events: 0 }
    }

    /// A page of the feed, which is of no run.
    pub(crate) fn of_feed(epoch: runcast_event::Epoch) -> Self {
        Self { out: format!("{{\"epoch\":{epoch},\"events\":[").into_bytes(), events: 0 }
    }

    pub(crate) fn events(&self) -> usize {
        self.events
    }

    pub(crate) fn bytes(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn push(&mut self, event: &Merged) {
        if self.events > 0 {
            self.out.push(b',');
        }
        self.events += 1;
        event.write_json(&mut self.out);
    }

    /// The whole page: `next` is where the next one begins, `stat` how the stream stood.
    pub(crate) fn finish(mut self, next: Cursor, stat: &StreamStat, gap: Option<&Gap>) -> Vec<u8> {
        let StreamStat { first, last, closed, .. } = stat;
        write!(
            self.out,
            "],\"next\":\"{next}\",\"first\":{first},\"last\":{last},\"closed\":{closed}"
        )
        .expect(VEC);
        if let Some(gap) = gap {
            self.out.extend_from_slice(b",\"gap\":");
            write_gap(gap, &mut self.out);
        }
        self.out.push(b'}');
        self.out
    }
}

const VEC: &str = "a Vec takes every write";

/// Writes events, each on a line of its own.
pub(crate) fn write_lines(events: &[Merged], out: &mut Vec<u8>) {
    for event in events {
        event.write_json(out);
        out.push(b'\n');
    }
}

/// A line that says which events are not among those that follow.
pub(crate) fn gap_line(gap: &Gap) -> Bytes {
    let mut out = b"{\"gap\":".to_vec();
    write_gap(gap, &mut out);
    out.extend_from_slice(b"}\n");
    out.into()
}

pub(super) fn write_gap(gap: &Gap, out: &mut Vec<u8>) {
    let Gap { from, to, reason, epoch } = gap;
    let result = match reason {
        GapReason::Trimmed => write!(out, "{{\"from\":{from},\"to\":{to},\"reason\":\"trimmed\"}}"),
        GapReason::Damaged => write!(out, "{{\"from\":{from},\"to\":{to},\"reason\":\"damaged\"}}"),
        GapReason::EpochChanged => write!(
            out,
            "{{\"from\":{from},\"to\":{to},\"reason\":\"epoch_changed\",\"epoch\":{epoch}}}"
        ),
    };
    result.expect(VEC);
}
