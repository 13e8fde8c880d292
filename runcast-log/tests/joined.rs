//! Runs whose events are stored as one: any cursor and any limit read what they read before.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;

use runcast_event::Offset;
use runcast_log::{Append, EmbeddedLog, EmbeddedOptions, Log, ReadLimit, Record, Trim};
use support::{ALL, JoinAll, apart, batch, bytes_in, keep_up, open_with, run, without_room};

const EVENTS: u64 = 5_000;

fn open(directory: &Path) -> Arc<EmbeddedLog> {
    let options = EmbeddedOptions { wal_bytes_max: 50_000, merge_segments: 2, ..without_room() };
    open_with(directory, options, "boot").unwrap()
}

fn text(at: u64) -> String {
    format!("{at}{}", "x".repeat(at as usize % 50))
}

fn records(first: u64) -> Vec<Record> {
    (first..=EVENTS).map(|at| Record::single(Offset::new(at), text(at).into())).collect()
}

/// Appends all events of a run, and ends it.
async fn fill(log: &EmbeddedLog, name: &str) {
    let texts: Vec<String> = (1..=EVENTS).map(text).collect();
    for (at, texts) in texts.chunks(100).enumerate() {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let close = at as u64 == EVENTS / 100 - 1;
        log.append(Append { close, ..batch(name, &texts) }).await.unwrap();
    }
}

/// Seals what there is, and merges it.
async fn rewrite(log: &EmbeddedLog) {
    for _ in 0..8 {
        log.append(batch("filler", &[&"f".repeat(60_000)])).await.unwrap();
        keep_up(log);
    }
}

/// Holds pages against the events themselves; says how many records there are in all.
async fn check(log: &EmbeddedLog, first: u64) -> usize {
    let events = records(first);
    for after in [first - 1, first, 777, 2_047, 4_998, EVENTS] {
        for events_max in [1, 2, 1_000, usize::MAX] {
            let limit = ReadLimit { events_max, ..ALL };
            let page = log.read(&run("r"), Offset::new(after), limit).await.unwrap();
            let expected: Vec<Record> =
                events.iter().filter(|event| event.offset.get() > after).cloned().collect();
            let expected = &expected[..expected.len().min(events_max)];
            assert_eq!(
                apart(&page.records, after, expected),
                expected,
                "{events_max} behind {after}"
            );
        }
        // Bytes bound a page as far as what is stored as one lets them.
        let limit = ReadLimit { bytes_max: 10_000, ..ALL };
        let page = log.read(&run("r"), Offset::new(after), limit).await.unwrap();
        let bytes: usize = page.records.iter().map(|record| record.payload.len()).sum();
        assert!(page.records.len() <= 1 || bytes <= 10_000);
        assert_eq!(page.records.is_empty(), after == EVENTS);
    }
    log.read(&run("r"), Offset::new(first - 1), ALL).await.unwrap().records.len()
}

#[tokio::test]
async fn a_run_reads_by_any_cursor_as_before_it_was_joined_however_often_it_is_merged() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    fill(&log, "r").await;
    rewrite(&log).await;
    assert_eq!(check(&log, 1).await, EVENTS as usize, "nobody has asked for it");
    let stat = log.stat(&run("r")).await.unwrap();

    log.join_by(Arc::new(JoinAll));
    for _ in 0..4 {
        rewrite(&log).await;
        check(&log, 1).await;
    }
    let stored = check(&log, 1).await;
    assert!(stored < 20, "{stored} records are left");
    assert_eq!(log.stat(&run("r")).await.unwrap(), stat);
    log.shut_down().await;

    // What is joined stays so, also when it is merged by who does not join: as whole blocks too.
    let log = open(directory.path());
    for _ in 0..4 {
        rewrite(&log).await;
    }
    assert_eq!(check(&log, 1).await, stored);
    assert!(log.trim(&run("r"), Trim::before(Offset::new(700))).await.unwrap());
    check(&log, 700).await;
    for _ in 0..4 {
        rewrite(&log).await;
    }
    check(&log, 700).await;
    assert_eq!(log.measure().upkeep_failures, 0);
}

#[tokio::test]
async fn a_run_that_has_not_ended_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    log.join_by(Arc::new(JoinAll));
    for at in 1..=EVENTS {
        log.append(batch("r", &[&text(at)])).await.unwrap();
    }
    rewrite(&log).await;
    assert_eq!(check(&log, 1).await, EVENTS as usize);
    assert!(bytes_in(directory.path()).1 > 0);
}
