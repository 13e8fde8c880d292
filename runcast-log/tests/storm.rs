//! Appends, reads, lists, deletions and trims at once, while everything is sealed and merged under
//! them all the time.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runcast_event::Offset;
use runcast_log::{EmbeddedLog, EmbeddedOptions, Log, ReadError, ReadLimit, Trim};
use support::{ALL, batch, machine, run, texts};

const RUNS: usize = 12;
const ROUNDS: usize = 400;

fn name(at: usize) -> String {
    format!("run-{at:02}")
}

/// What stands at an offset of a run, whichever of its lives that is.
fn text(name: &str, offset: u64) -> String {
    format!("{name} {offset} {}", "x".repeat(offset as usize * 37 % 300))
}

async fn write(log: Arc<EmbeddedLog>, of: usize) {
    let mut last = [0; RUNS];
    for round in 0..ROUNDS {
        for at in (of..RUNS).step_by(3) {
            let name = name(at);
            let count = (round + at) as u64 % 4 + 1;
            let events: Vec<_> = (1..=count).map(|more| text(&name, last[at] + more)).collect();
            let events: Vec<_> = events.iter().map(String::as_str).collect();
            let appended = log.append(batch(&name, &events)).await.unwrap();
            last[at] += count;
            assert_eq!(appended.last.get(), last[at]);
            if (round * RUNS + at).is_multiple_of(61) {
                assert!(log.delete(&run(&name)).await.unwrap());
                last[at] = 0;
            } else if (round * RUNS + at).is_multiple_of(17) {
                log.trim(&run(&name), Trim::before(Offset::new(last[at] / 2))).await.unwrap();
            }
        }
    }
}

/// Reads until there is nothing more to come, and says how often.
async fn read(log: Arc<EmbeddedLog>, of: usize, is_over: Arc<AtomicBool>) -> usize {
    let mut reads = 0;
    while !is_over.load(Ordering::SeqCst) {
        let name = name((of + reads * 5) % RUNS);
        let mut after = Offset::new((reads as u64 * 7) % 90);
        let limit = ReadLimit { events_max: 1 + reads % 200, ..ALL };
        match log.read(&run(&name), after, limit).await {
            Ok(page) => {
                let is_whole = page.records.len() as u64
                    == (page.stat.last.get().saturating_sub(after.get()))
                    || page.records.len() == limit.events_max;
                assert!(
                    is_whole,
                    "{name} after {after}: {} of {:?}",
                    page.records.len(),
                    page.stat
                );
                for (offset, read) in texts(&page) {
                    assert_eq!((offset, &read), (after.get() + 1, &text(&name, offset)));
                    after = after.next();
                }
            }
            Err(ReadError::Trimmed { first }) => assert!(first > after.next()),
            Err(ReadError::Deleted | ReadError::NotFound) => {}
            Err(error) => panic!("{name} after {after}: {error}"),
        }
        if reads % 50 == 0 {
            let listed = log.list(None, 100).await.unwrap();
            assert!(listed.is_sorted_by(|(one, _), (other, _)| one < other));
        }
        reads += 1;
        tokio::task::yield_now().await;
    }
    reads
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_sees_anything_of_seals_merges_and_erasing() {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions {
        wal_bytes_max: 20_000,
        merge_segments: 3,
        segment_bytes_max: 400_000,
        files_open_max: 3,
        seal_memory_bytes_max: 10_000,
        erase_within: Duration::from_millis(20),
        scrub_every: Duration::from_millis(1),
        ..EmbeddedOptions::default()
    };
    let surroundings = machine("boot", &Arc::default());
    let log = EmbeddedLog::open_in(directory.path(), options, surroundings, Arc::new(())).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let read = |of| tokio::spawn(read(Arc::clone(&log), of, Arc::clone(&is_over)));
    let readers: Vec<_> = (0..3).map(read).collect();
    let writers: Vec<_> = (0..3).map(|of| tokio::spawn(write(Arc::clone(&log), of))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    while log.measure().written.merge == 0 || log.measure().wals_waiting > 0 {
        tokio::task::yield_now().await;
    }
    is_over.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.await.unwrap() > 50);
    }
    let stats = log.measure();
    assert_eq!((stats.upkeep_failures, stats.damaged_places), (0, 0));
}
