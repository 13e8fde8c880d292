//! What the log costs, measured: run with `--release -- --ignored --nocapture`, one at a time.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use runcast_event::Offset;
use runcast_log::{Append, EmbeddedLog, EmbeddedOptions, Log, LogStats, ReadLimit, UpkeepBy};
use support::{ALL, batch, run};

const EVENT_BYTES: usize = 300;

fn open(directory: &Path, options: EmbeddedOptions) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(directory, options, Arc::new(())).unwrap()
}

/// CPU time of the process so far.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn forget_cached(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let file = std::fs::File::open(entry.unwrap().path()).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

async fn settle(log: &EmbeddedLog) -> LogStats {
    let mut before = log.measure().written;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let stats = log.measure();
        if stats.wals_waiting == 0 && stats.written == before {
            return stats;
        }
        before = stats.written;
    }
}

fn append(name: &str, count: usize) -> Append {
    let event = Bytes::from(vec![b'e'; EVENT_BYTES]);
    Append { events: vec![event; count], ..batch(name, &[]) }
}

/// Fills a log with batches to so many streams in turn, from 16 tasks.
async fn fill(
    log: &Arc<EmbeddedLog>,
    streams: usize,
    rounds: usize,
    count: usize,
) -> (Duration, Vec<u64>) {
    let began = cpu();
    let tasks = (0..16).map(|task| {
        let log = Arc::clone(log);
        tokio::spawn(async move {
            let mut took = Vec::new();
            for _ in 0..rounds {
                for stream in (task..streams).step_by(16) {
                    let start = Instant::now();
                    log.append(append(&format!("run-{stream:07}"), count)).await.unwrap();
                    took.push(start.elapsed().as_micros() as u64);
                }
            }
            took
        })
    });
    let mut took = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        took.extend(task.await.unwrap());
    }
    took.sort_unstable();
    (cpu() - began, took)
}

fn quantile(sorted: &[u64], part: f64) -> u64 {
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

fn tell(name: &str, stats: &LogStats) {
    let written = stats.written;
    let all = written.wal + written.seal + written.merge;
    eprintln!(
        "{name}: {} events, {} segments, written wal {} seal {} merge {} MB = {:.2} bytes a byte, disk {} MB, index {} MB",
        stats.events,
        stats.segments,
        written.wal >> 20,
        written.seal >> 20,
        written.merge >> 20,
        all as f64 / written.events as f64,
        stats.disk_bytes >> 20,
        stats.index_bytes >> 20,
    );
}

#[tokio::test]
#[ignore = "takes minutes and gigabytes"]
async fn appends_and_a_cold_replay_among_1_000_runs() {
    let directory = tempfile::tempdir_in(std::env::var("FIGURES").unwrap()).unwrap();
    let log = open(directory.path(), EmbeddedOptions::default());
    let (took, latencies) = fill(&log, 1_000, 8, 256).await;
    let events = log.measure().events;
    eprintln!(
        "append of 256: {:.2} us of CPU an event, latency p50 {} p99 {} p99.9 {} max {} us",
        took.as_secs_f64() * 1e6 / events as f64,
        quantile(&latencies, 0.5),
        quantile(&latencies, 0.99),
        quantile(&latencies, 0.999),
        quantile(&latencies, 1.0),
    );
    tell("1,000 runs", &settle(&log).await);
    replay(&log, directory.path(), 1_000).await;
}

async fn replay(log: &EmbeddedLog, directory: &Path, streams: usize) {
    let limit = ReadLimit { events_max: 1_000, ..ALL };
    let mut took = Vec::new();
    for at in 0..20 {
        forget_cached(directory);
        let name = format!("run-{:07}", at * (streams / 20) + 7);
        let start = Instant::now();
        let page = log.read(&run(&name), Offset::START, limit).await.unwrap();
        took.push(start.elapsed().as_micros() as u64);
        assert!(page.records.len() >= 500, "{}", page.records.len());
    }
    took.sort_unstable();
    eprintln!("cold replay of 1,000 among {streams}: median {} us, max {} us", took[10], took[19]);
}

#[tokio::test]
#[ignore = "takes minutes and gigabytes"]
async fn a_cold_replay_among_100_000_runs() {
    let directory = tempfile::tempdir_in(std::env::var("FIGURES").unwrap()).unwrap();
    let log = open(directory.path(), EmbeddedOptions::default());
    // Most runs get 10 events in turn again and again, and some of them 1,000 altogether.
    for round in 0..10 {
        fill(&log, 100_000, 1, 10).await;
        for at in 0..20 {
            let name = format!("run-{:07}", at * 5_000 + 7);
            log.append(append(&name, 90)).await.unwrap();
        }
        eprintln!("round {round}, waiting {}", log.measure().wals_waiting);
    }
    tell("100,000 runs", &settle(&log).await);
    replay(&log, directory.path(), 100_000).await;
}

#[tokio::test]
#[ignore = "takes minutes and gigabytes"]
async fn a_million_stored_runs_open_fast() {
    let directory = tempfile::tempdir_in(std::env::var("FIGURES").unwrap()).unwrap();
    let log = open(directory.path(), EmbeddedOptions::default());
    let (took, _) = fill(&log, 1_000_000, 1, 2).await;
    eprintln!("a million runs made: {:.2} us of CPU each", took.as_secs_f64());
    tell("1,000,000 runs", &settle(&log).await);
    log.shut_down().await;
    drop(log);
    for cold in [true, false] {
        if cold {
            forget_cached(directory.path());
        }
        let memory = resident_bytes();
        let start = Instant::now();
        let log = open(directory.path(), EmbeddedOptions::default());
        let opened = start.elapsed();
        log.append(append("run-0500000", 1)).await.unwrap();
        let page = log.read(&run("run-0700000"), Offset::START, ALL).await.unwrap();
        let stats = log.measure();
        eprintln!(
            "open (cold {cold}): {opened:?}, then an append and a read {:?}, {} events, index {} bytes a run, resident +{} MB",
            start.elapsed() - opened,
            page.records.len(),
            stats.index_bytes / stats.streams,
            (resident_bytes().saturating_sub(memory)) >> 20,
        );
        let mut took = Vec::new();
        for at in 0..1_000 {
            let start = Instant::now();
            log.delete(&run(&format!("run-{:07}", at * 997))).await.unwrap();
            took.push(start.elapsed().as_micros() as u64);
        }
        took.sort_unstable();
        eprintln!("delete: median {} us, p99 {} us", took[500], took[990]);
        let start = Instant::now();
        let mut after = None;
        let mut count = 0;
        loop {
            let listed = log.list(after.as_ref(), 1_000).await.unwrap();
            count += listed.len();
            let Some((last, _)) = listed.last() else { break };
            after = Some(last.clone());
        }
        eprintln!("a list of {count}: {:?}", start.elapsed());
        log.shut_down().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes and gigabytes"]
async fn appends_do_not_wait_for_seals() {
    for upkeep in [UpkeepBy::Stepped, UpkeepBy::Background] {
        let directory = tempfile::tempdir_in(std::env::var("FIGURES").unwrap()).unwrap();
        let options =
            EmbeddedOptions { upkeep, wals_waiting_max: 1_000, ..EmbeddedOptions::default() };
        let log = open(directory.path(), options);
        let filling = Arc::clone(&log);
        // About 15 MB a second to 1,000 runs.
        let filler = tokio::spawn(async move {
            for batch in 0..6_000_u64 {
                let next = tokio::time::Instant::now() + Duration::from_millis(5);
                filling.append(append(&format!("run-{:07}", batch % 1_000), 256)).await.unwrap();
                tokio::time::sleep_until(next).await;
            }
        });
        let mut took = Vec::new();
        while !filler.is_finished() {
            let start = Instant::now();
            log.append(append("probe", 1)).await.unwrap();
            took.push(start.elapsed().as_micros() as u64);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        took.sort_unstable();
        let stats = log.measure();
        eprintln!(
            "{upkeep:?}: {} appends, p50 {} p99 {} p99.9 {} max {} us; sync mean {} us, slower than {:?} ns: {:?}; {} segments",
            took.len(),
            quantile(&took, 0.5),
            quantile(&took, 0.99),
            quantile(&took, 0.999),
            quantile(&took, 1.0),
            stats.sync_ns.sum / stats.sync_ns.count() / 1_000,
            &stats.sync_ns.bounds[5..],
            &stats.sync_ns.counts[6..],
            stats.segments,
        );
    }
}
