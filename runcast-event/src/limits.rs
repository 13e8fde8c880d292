//! The limits of events and names. Each is enforced where a thing is parsed, and named in the error.

/// The largest event in bytes, as stored (the envelope with its data).
pub const EVENT_BYTES_MAX: usize = 256 * 1024;
/// The most events in one batch. A batch is stored whole or not at all.
pub const BATCH_EVENTS_MAX: usize = 1_000;
/// The most bytes in one batch, as sent.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The longest run id, in characters of `A-Z a-z 0-9 . _ ~ : -`.
pub const RUN_ID_CHARS_MAX: usize = 128;
/// The longest producer id, in the same characters as a run id.
pub const PRODUCER_ID_CHARS_MAX: usize = 128;
/// The longest event type, in characters.
pub const TYPE_CHARS_MAX: usize = 64;
/// The longest label value (`channel`, `variation`, `stage`, `step`, `agent`), in bytes.
pub const LABEL_BYTES_MAX: usize = 128;
/// The most tags a run can have.
pub const TAGS_MAX: usize = 32;
/// The longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 128;
/// The longest workflow name, in bytes.
pub const WORKFLOW_BYTES_MAX: usize = 128;
/// The longest run name, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The most declared stages, steps or variations of a run.
pub const DECLARED_MAX: usize = 1_000;
/// How deep `data` may nest. Deeper JSON breaks the parsers of many languages.
pub const DATA_DEPTH_MAX: usize = 64;
/// The most of anything that retention bounds: events, bytes, seconds.
pub const RETENTION_MAX: u64 = 1_000_000_000_000;
/// The most values that one reader's filter can name.
pub const FILTER_VALUES_MAX: usize = 64;
