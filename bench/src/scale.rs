//! How much of everything: the full measurement, a quick look, and a smoke test.

use std::time::Duration;

/// The sizes of all rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Its name.
    pub(crate) name: &'static str,
    /// How often each row is measured, unless asked otherwise.
    pub(crate) repetitions: usize,
    /// Viewers of the fan-out, and runs of the row with many runs.
    pub(crate) viewers: usize,
    /// How long events flow in the rows that have a rate.
    pub(crate) flow: Duration,
    /// How long viewers go from server to server.
    pub(crate) moving: Duration,
    /// How long appends are measured.
    pub(crate) appends: Duration,
    /// Events of the run that is replayed.
    pub(crate) replay_events: u64,
    /// How often it is replayed.
    pub(crate) replays: u32,
    /// Viewers that come back at once.
    pub(crate) crowd: usize,
    /// Viewers that do nothing.
    pub(crate) idle: usize,
    /// Events of the row that measures one viewer's latency.
    pub(crate) latency_events: u64,
    /// Events of the row that measures the disk.
    pub(crate) disk_events: u64,
    /// Runs that are stored before a start.
    pub(crate) stored_runs: usize,
    /// Runs in the log that is read from the disk; in the row with many, a hundred times as many.
    pub(crate) log_runs: usize,
    /// Runs at work in a list.
    pub(crate) active_runs: usize,
}

impl Scale {
    /// What the targets are about.
    pub(crate) const FULL: Self = Self {
        name: "full",
        repetitions: 3,
        viewers: 1_000,
        flow: Duration::from_secs(10),
        moving: Duration::from_secs(200),
        appends: Duration::from_secs(5),
        replay_events: 100_000,
        replays: 5,
        crowd: 5_000,
        idle: 10_000,
        latency_events: 1_000,
        disk_events: 1_000_000,
        stored_runs: 1_000_000,
        log_runs: 1_000,
        active_runs: 10_000,
    };

    /// The same in about a minute: shorter, and once.
    pub(crate) const QUICK: Self = Self {
        name: "quick",
        repetitions: 1,
        flow: Duration::from_secs(2),
        moving: Duration::from_secs(10),
        appends: Duration::from_secs(2),
        replays: 2,
        latency_events: 200,
        disk_events: 250_000,
        stored_runs: 100_000,
        ..Self::FULL
    };

    /// Small: whether it works, not how fast.
    pub(crate) const SMOKE: Self = Self {
        name: "smoke",
        repetitions: 1,
        viewers: 20,
        flow: Duration::from_millis(200),
        moving: Duration::from_secs(1),
        appends: Duration::from_millis(100),
        replay_events: 2_500,
        replays: 1,
        crowd: 50,
        idle: 50,
        latency_events: 10,
        disk_events: 2_560,
        stored_runs: 20,
        log_runs: 10,
        active_runs: 20,
    };
}
