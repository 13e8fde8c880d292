//! The log itself, in this process, without a server: what an append costs, what is written for it,
//! and how fast one run is read when nothing of it is in memory.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use runcast_event::{Offset, RunId};
use runcast_log::{
    Append, Durability, EmbeddedLog, EmbeddedOptions, Log as _, ReadLimit, UpkeepBy,
};
use rustix::fs::{Advice, fadvise};

use super::{Line, Row, Target};
use crate::sample::{Sample, Spent, milliseconds, number};
use crate::scale::Scale;
use crate::subject::Place;
use crate::usage::{CpuClock, Memory, disk_bytes};

pub(super) const APPEND: Row = Row {
    name: "log-append",
    about: "batches of 256 events of 300 B to 1,000 streams, each synced",
    has_floor: false,
    lines: &[
        Line::new("cpu", "µs", "CPU an event in the log", Target::AtMost(1.5)),
        Line::new("upkeep", "µs", "CPU an event to seal and merge", Target::Shown),
        Line::new("written", "×", "bytes written for a byte", Target::AtMost(3.0)),
        Line::new("stored", "×", "bytes on disk for a byte, sealed", Target::AtMost(1.3)),
    ],
    measure: |place, scale| run_in(place, async |directory| append(directory, scale).await),
};

pub(super) const COLD: Row = Row {
    name: "log-cold",
    about: "1,000 events of 300 B of one run of 1,000, from the disk",
    has_floor: false,
    lines: &[Line::new("ms", "ms", "the median run", Target::AtMost(1.0)), NEWEST, WRITTEN],
    measure: |place, scale| run_in(place, async |at| cold(at, scale.log_runs, READ_EVENTS).await),
};

pub(super) const COLD_OF_MANY: Row = Row {
    name: "log-cold-many",
    about: "the same among 100,000 active runs of 10 events",
    has_floor: false,
    lines: &[Line::new("ms", "ms", "the median run", Target::AtMost(5.0)), NEWEST, WRITTEN],
    measure: |place, scale| run_in(place, async |at| cold(at, scale.log_runs * 100, 10).await),
};

pub(super) const DELETE: Row = Row {
    name: "log-delete",
    about: "runs of 5 MB are deleted from segments",
    has_floor: false,
    lines: &[
        Line::new("ms", "ms", "a deletion", Target::AtMost(1.0)),
        Line::new("space", "s", "until the space is back", Target::AtMost(60.0)),
    ],
    measure: |place, _| run_in(place, async |directory| delete(directory).await),
};

const NEWEST: Line =
    Line::new("newest", "ms", "the same, its newest events in the write-ahead log", Target::Shown);
const WRITTEN: Line = Line::new("written", "×", "bytes written for a byte", Target::AtMost(3.0));

const EVENT_BYTES: usize = 300;
pub(super) const EVENTS_A_BATCH: usize = 256;
const STREAMS: usize = 1_000;
/// Batches that are on their way at a time.
const CONCURRENT: usize = 64;
/// Runs with 1,000 events each that are read, one after the other, each once.
const READ_RUNS: usize = 9;
const READ_EVENTS: usize = 1_000;
const ALL: ReadLimit = ReadLimit { events_max: READ_EVENTS, bytes_max: usize::MAX };
/// Runs that are deleted, and the size of each in batches.
const DELETED_RUNS: usize = 20;
const DELETED_BATCHES: usize = 64;
/// How often it is looked whether the space is back, and for how long.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(90);

fn run_in(place: &Place, measure: impl AsyncFnOnce(&Path) -> Result<Sample>) -> Result<Sample> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    in_directory(place, |directory| runtime.block_on(measure(&directory.join("data"))))
}

/// Measures in a directory of its own.
pub(super) fn in_directory(
    place: &Place,
    measure: impl FnOnce(&Path) -> Result<Sample>,
) -> Result<Sample> {
    std::fs::create_dir_all(&place.data)?;
    let directory = tempfile::Builder::new().prefix("runcast-bench-").tempdir_in(&place.data)?;
    let begin = Instant::now();
    let sample = measure(directory.path())?;
    let wall_s = begin.elapsed().as_secs_f64();
    let memory = Memory::of(std::process::id())?;
    Ok(Sample { spent: Spent { wall_s, memory, ..sample.spent }, ..sample })
}

fn open(directory: &Path, upkeep: UpkeepBy) -> Result<Arc<EmbeddedLog>> {
    open_with(directory, upkeep, Durability::Sync)
}

fn open_with(
    directory: &Path,
    upkeep: UpkeepBy,
    durability: Durability,
) -> Result<Arc<EmbeddedLog>> {
    // Where upkeep comes later, more may wait for it than appends should let wait.
    let wals_waiting_max = match upkeep {
        UpkeepBy::Stepped => usize::MAX,
        UpkeepBy::Background => EmbeddedOptions::default().wals_waiting_max,
    };
    let options =
        EmbeddedOptions { durability, upkeep, wals_waiting_max, ..EmbeddedOptions::default() };
    Ok(EmbeddedLog::open(directory, options, Arc::new(()))?)
}

fn run(name: &str) -> RunId {
    RunId::new(name).expect("a short name")
}

pub(super) fn batch(name: &str, events: usize) -> Append {
    let event = Bytes::from(vec![b'x'; EVENT_BYTES]);
    Append {
        run: run(name),
        events: vec![event; events],
        close: false,
        expected_last: None,
        producer: None,
        create: true,
    }
}

/// Appends all batches, some at a time.
async fn append_all(log: &EmbeddedLog, batches: impl Iterator<Item = Append>) -> Result<()> {
    let mut batches = batches.peekable();
    while batches.peek().is_some() {
        let some = batches.by_ref().take(CONCURRENT).map(|batch| log.append(batch));
        try_join_all(some).await?;
    }
    Ok(())
}

/// Seals and merges until nothing is left to do.
fn keep_up(log: &EmbeddedLog) -> Result<()> {
    while log.keep_up().map_err(anyhow::Error::msg)? {}
    Ok(())
}

/// Bytes written for each byte of the events.
fn written(log: &EmbeddedLog) -> f64 {
    let written = log.measure().written;
    number(written.wal + written.seal + written.merge) / number(written.events)
}

async fn append(directory: &Path, scale: &Scale) -> Result<Sample> {
    let names: Vec<String> = (0..STREAMS).map(|number| format!("run-{number}")).collect();
    let cpu = CpuClock::of(std::process::id())?;
    let log = open(directory, UpkeepBy::Stepped)?;
    let batches = |count| names.iter().cycle().take(count).map(|name| batch(name, EVENTS_A_BATCH));
    append_all(&log, batches(STREAMS)).await?;
    let (before, begin, mut appended) = (cpu.read()?, Instant::now(), 0);
    while begin.elapsed() < scale.appends {
        append_all(&log, batches(STREAMS)).await?;
        appended += (STREAMS * EVENTS_A_BATCH) as u64;
    }
    let appending = cpu.read()? - before;
    let before = cpu.read()?;
    keep_up(&log)?;
    let upkeep = cpu.read()? - before;
    let stats = log.measure();
    let written = written(&log);
    log.shut_down().await;
    drop(log);
    let each = |spent: Duration, events| spent.as_secs_f64() * 1e6 / number(events);
    let stored = number(disk_bytes(directory)?) / number(stats.written.events);
    Ok(Sample::default()
        .with("cpu", each(appending, appended))
        .with("upkeep", each(upkeep, stats.events))
        .with("written", written)
        .with("stored", stored))
}

/// Reads runs of 1,000 events, each of which came between events of all other runs.
async fn cold(directory: &Path, runs: usize, events_each: usize) -> Result<Sample> {
    // What is read lies the same, and a million syncs would take their time.
    let durability = Durability::Relaxed { sync_every: Duration::from_secs(1) };
    let log = open_with(directory, UpkeepBy::Stepped, durability)?;
    let others: Vec<String> = (0..runs).map(|number| format!("run-{number}")).collect();
    let read: Vec<String> = (0..READ_RUNS).map(|number| format!("run-5{number}x")).collect();
    let each_time = others.len() * events_each / READ_EVENTS;
    let mut next = others.iter().cycle();
    for _ in 0..READ_EVENTS {
        let between = next.by_ref().take(each_time.max(1));
        append_all(&log, between.chain(&read).map(|name| batch(name, 1))).await?;
    }
    keep_up(&log)?;
    let newest = read_cold(&log, directory, &read).await?;
    append_all(&log, a_file_of("behind")).await?;
    keep_up(&log)?;
    let written = written(&log);
    let sealed = read_cold(&log, directory, &read).await?;
    log.shut_down().await;
    Ok(Sample::default()
        .with("ms", milliseconds(sealed))
        .with("newest", milliseconds(newest))
        .with("written", written))
}

/// Batches that fill a write-ahead log, so that what was before them is sealed.
fn a_file_of(name: &str) -> impl Iterator<Item = Append> {
    let bytes = EmbeddedOptions::default().wal_bytes_max as usize;
    let count = bytes / (EVENT_BYTES * EVENTS_A_BATCH) + 1;
    std::iter::repeat_with(move || batch(name, EVENTS_A_BATCH)).take(count)
}

/// How long the median run takes to read when the system has nothing of it.
async fn read_cold(log: &EmbeddedLog, directory: &Path, runs: &[String]) -> Result<Duration> {
    let mut times = Vec::new();
    for name in runs {
        forget(directory)?;
        let begin = Instant::now();
        let page = log.read(&run(name), Offset::START, ALL).await?;
        times.push(begin.elapsed());
        ensure!(page.records.len() == READ_EVENTS, "{name} has not all its events");
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// Lets the system forget what it has of the files.
fn forget(directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let file = std::fs::File::open(&path)?;
        // What is not on the disk yet cannot be forgotten.
        file.sync_data()?;
        fadvise(&file, 0, None, Advice::DontNeed)
            .with_context(|| format!("{} stays in memory", path.display()))?;
    }
    Ok(())
}

async fn delete(directory: &Path) -> Result<Sample> {
    let log = open(directory, UpkeepBy::Stepped)?;
    let names: Vec<String> = (0..DELETED_RUNS).map(|number| format!("run-{number}")).collect();
    let all = names.iter().cycle().take(DELETED_RUNS * DELETED_BATCHES);
    append_all(&log, all.map(|name| batch(name, EVENTS_A_BATCH))).await?;
    append_all(&log, a_file_of("behind")).await?;
    keep_up(&log)?;
    log.shut_down().await;
    drop(log);

    let log = open(directory, UpkeepBy::Background)?;
    let before = disk_bytes(directory)?;
    let size = (DELETED_RUNS * DELETED_BATCHES * EVENTS_A_BATCH * EVENT_BYTES) as u64;
    let begin = Instant::now();
    for name in &names {
        ensure!(log.delete(&run(name)).await?, "{name} was there");
    }
    let deleted = begin.elapsed();
    // Holes are whole blocks: a run's first and last may stay until it is merged.
    while disk_bytes(directory)? > before - size * 9 / 10 {
        ensure!(begin.elapsed() < LOOK_MAX, "the space is not back after {LOOK_MAX:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let space = begin.elapsed();
    log.shut_down().await;
    Ok(Sample::default()
        .with("ms", milliseconds(deleted) / number(DELETED_RUNS as u64))
        .with("space", space.as_secs_f64()))
}
