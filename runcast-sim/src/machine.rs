//! The machine around the log: its clock, its starts, and one process after the other.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use runcast_log::{
    Clock, Durability, EmbeddedLog, EmbeddedOptions, Log as _, OpenError, Surroundings, UpkeepBy,
    WritingBy,
};

use crate::disk::ProcessDisk;
use crate::joined::JoinAll;
use crate::model::PRODUCERS_MAX;
use crate::observer::Observer;

/// Events of deleted runs are to be gone after this long.
pub(crate) const ERASE_WITHIN: Duration = Duration::from_secs(10);

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct SimClock {
    start: Instant,
    passed_ms: AtomicU64,
}

impl SimClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), passed_ms: AtomicU64::new(0) })
    }

    pub(crate) fn passed(&self) -> Duration {
        Duration::from_millis(self.passed_ms.load(Ordering::SeqCst))
    }

    pub(crate) fn advance(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.passed_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        self.start + self.passed()
    }
}

/// Small files and few of them, so that seals and merges happen all the time.
pub(crate) fn options(rng: &mut Rng) -> EmbeddedOptions {
    let sync_every = Duration::from_millis(rng.u64(1..3_000));
    let durability =
        if rng.u8(..10) < 3 { Durability::Relaxed { sync_every } } else { Durability::Sync };
    EmbeddedOptions {
        durability,
        wal_bytes_max: rng.u64(200..6_000),
        room_bytes_max: if rng.bool() { 0 } else { rng.u64(1..4_000) },
        group_bytes_max: rng.usize(1..6_000),
        producers_max: PRODUCERS_MAX,
        wals_waiting_max: rng.usize(2..8),
        seal_memory_bytes_max: rng.usize(50..5_000),
        segment_bytes_max: rng.u64(500..60_000),
        merge_segments: rng.usize(2..5),
        files_open_max: rng.usize(1..5),
        erase_within: ERASE_WITHIN,
        scrub_every: Duration::from_secs(rng.u64(..2) * 30),
        upkeep: UpkeepBy::Stepped,
        writing: WritingBy::Stepped,
        ..EmbeddedOptions::default()
    }
}

/// Starts a process with the log.
pub(crate) fn start(
    directory: &Path,
    options: &EmbeddedOptions,
    disk: &ProcessDisk,
    clock: &Arc<SimClock>,
    boot: u32,
    observer: &Arc<Observer>,
) -> Result<Arc<EmbeddedLog>, OpenError> {
    let surroundings = Surroundings {
        disk: Arc::new(disk.clone()),
        boot_id: Some(format!("boot {boot}")),
        new_log_id: *b"the simulation's",
        clock: Arc::<SimClock>::clone(clock),
    };
    let observer = Arc::<Observer>::clone(observer);
    let log = EmbeddedLog::open_in(directory, options.clone(), surroundings, observer)?;
    log.join_by(Arc::new(JoinAll));
    Ok(log)
}
