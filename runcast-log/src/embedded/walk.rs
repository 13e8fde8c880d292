//! Going through the events of an extent, each record checked.

use crate::embedded::extent::Extent;
use crate::embedded::joined::EventPlace;
use crate::embedded::wal::group::{self, GroupHeader};
use crate::embedded::wal::record::{self, Record};

/// What is wrong in an extent, and at which of its bytes.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) reason: &'static str,
}

/// Gives every event of a run in an extent, in order, with its place in `bytes`, until `take` says
/// that it wants no more. Between the extent's records there may be groups' headers and records of
/// others. What was given before a fault is right.
pub(crate) fn walk(
    bytes: &[u8],
    extent: &Extent,
    run: &str,
    tag: u64,
    mut take: impl FnMut(EventPlace<'_>) -> bool,
) -> Result<(), Fault> {
    let fault = |at, reason| Fault { at, reason };
    let mut at = 0;
    let mut next = extent.first;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if GroupHeader::decode(rest, tag).is_some() {
            at += group::HEADER_LENGTH;
            continue;
        }
        let (record, length) = record::decode(rest).map_err(|reason| fault(at, reason))?;
        match record {
            Record::Append(append) if append.run == run => {
                if append.first.get() != next {
                    return Err(fault(at, "another event is there than the index says"));
                }
                next += append.count;
                for mut event in append.events() {
                    event.place = at + event.place.start..at + event.place.end;
                    if !take(event) {
                        return Ok(());
                    }
                }
            }
            _ => {}
        }
        at += length;
    }
    if next == extent.last() + 1 {
        Ok(())
    } else {
        Err(fault(0, "fewer events are there than the index says"))
    }
}
