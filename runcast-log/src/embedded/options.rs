//! What can be set about the embedded engine, and what it takes from its surroundings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::embedded::disk::{Disk, SystemDisk};

/// When an append is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When it is on the disk.
    #[default]
    Sync,
    /// When the operating system has it; the disk has it at most `sync_every` later. A crash of
    /// the machine, not of the process, can lose that much; streams then begin a new epoch.
    Relaxed {
        /// The longest time that an acknowledged event is not on the disk.
        sync_every: Duration,
    },
}

/// How the embedded engine works. Every field has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// When an append is acknowledged.
    pub durability: Durability,
    /// A write-ahead log file that is this large is followed by a new one.
    pub wal_bytes_max: u64,
    /// The most zeros that are written ahead of the newest file's end, so that a sync writes events
    /// and not the file's new size as well. It is given back when the log is closed.
    pub room_bytes_max: u64,
    /// The most bytes of appends that go out in one write; a single larger one goes out alone.
    pub group_bytes_max: usize,
    /// The most appends that wait for the writer. More wait in their callers.
    pub queue_appends_max: usize,
    /// The most bytes of appends that wait for the writer, at most 1 GiB. More wait in their
    /// callers; a single append that is larger is refused.
    pub queue_bytes_max: usize,
    /// The most producers that a stream remembers.
    pub producers_max: usize,
    /// Full write-ahead logs that wait to be sealed. When there are more, appends wait, and are
    /// refused while sealing does not work.
    pub wals_waiting_max: usize,
    /// Bytes of events that a seal has in memory.
    pub seal_memory_bytes_max: usize,
    /// Segments are merged into one of at most this many bytes.
    pub segment_bytes_max: u64,
    /// So many neighbouring segments in which runs have little are merged into one.
    pub merge_segments: usize,
    /// When more deleted runs are remembered than this, merges forget those of which nothing is left:
    /// a reader of such a run is answered that it never was.
    pub tombstones_max: usize,
    /// Segments' files that are open at a time.
    pub files_open_max: usize,
    /// Events of deleted runs are gone from the disk after this long at most, as long as the log is
    /// open and the disk takes writes.
    pub erase_within: Duration,
    /// How long after one pass over all segments, which looks for damage, the next one begins; 0:
    /// there is none.
    pub scrub_every: Duration,
    /// Who seals, merges, erases and scrubs.
    pub upkeep: UpkeepBy,
    /// Who writes what is appended.
    pub writing: WritingBy,
}

/// Who writes what is appended, deleted and trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WritingBy {
    /// A thread of its own.
    #[default]
    Background,
    /// Whoever calls [`EmbeddedLog::write`](crate::EmbeddedLog::write): simulations.
    Stepped,
}

/// Who does what is to be done besides appending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpkeepBy {
    /// A thread of its own.
    #[default]
    Background,
    /// Whoever calls [`EmbeddedLog::keep_up`](crate::EmbeddedLog::keep_up): tests and simulations.
    Stepped,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            wal_bytes_max: 64 * 1024 * 1024,
            room_bytes_max: 1024 * 1024,
            group_bytes_max: 8 * 1024 * 1024,
            queue_appends_max: 16_384,
            queue_bytes_max: 64 * 1024 * 1024,
            producers_max: 1_024,
            wals_waiting_max: 16,
            seal_memory_bytes_max: 16 * 1024 * 1024,
            segment_bytes_max: 1024 * 1024 * 1024,
            merge_segments: 16,
            tombstones_max: 1_000_000,
            files_open_max: 256,
            erase_within: Duration::from_secs(60),
            scrub_every: Duration::from_secs(24 * 60 * 60),
            upkeep: UpkeepBy::Background,
            writing: WritingBy::Background,
        }
    }
}

/// What the engine takes from outside, so that a test can put something else there.
#[derive(Clone)]
pub struct Surroundings {
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
    /// What tells this start of the machine from others; none when the system does not say.
    pub boot_id: Option<String>,
    /// The random id of a log that is made now.
    pub new_log_id: [u8; 16],
    /// What says when something is due.
    pub clock: Arc<dyn Clock>,
}

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The time, which never goes back.
    fn now(&self) -> Instant;
}

/// The clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
}

impl Surroundings {
    /// This machine.
    #[must_use]
    pub fn system() -> Self {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Self {
            disk: Arc::new(SystemDisk),
            boot_id: boot_id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()),
            new_log_id: uuid::Uuid::now_v7().into_bytes(),
            clock: Arc::new(SystemClock),
        }
    }
}
