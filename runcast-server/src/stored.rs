//! Records of the log as events: what stands between the log, which knows no events, and all that read
//! them.

use runcast_event::{Merged, Payload};
use runcast_log::Record;

/// The event of a record, which may stand for several.
pub(crate) fn event_of(record: &Record) -> Merged {
    let payload = Payload::from_stored(record.payload.clone());
    Merged { offset: record.offset, count: record.count, payload }
}

/// How many events records stand for.
pub(crate) fn count_of(records: &[Record]) -> u64 {
    records.iter().map(|record| record.count).sum()
}
