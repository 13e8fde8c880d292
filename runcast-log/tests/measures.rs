//! What a log says about its own size and work.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use runcast_log::{EmbeddedLog, EmbeddedOptions, Log, MemoryLog};
use support::{batch, bytes_in, keep_up, open, open_with, run, without_upkeep};

#[tokio::test]
async fn sizes_are_those_of_the_directory_before_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { wal_bytes_max: 300, merge_segments: 2, ..without_upkeep() };
    let log = EmbeddedLog::open(directory.path(), options, Arc::new(())).unwrap();
    for number in 0..40 {
        let name = format!("run-{}", number % 4);
        log.append(batch(&name, &["one event of a run", "another"])).await.unwrap();
    }
    assert!(log.delete(&run("run-3")).await.unwrap());
    let before = log.measure();
    assert_eq!((before.streams, before.events), (3, 60));
    assert_eq!((before.files, before.disk_bytes), bytes_in(directory.path()));
    assert!(before.files > 1 && before.segments == 0 && before.wals_waiting > 0);
    keep_up(&log);
    let sealed = log.measure();
    assert_eq!((sealed.streams, sealed.events), (3, 60));
    assert_eq!((sealed.files, sealed.disk_bytes), bytes_in(directory.path()));
    assert!(sealed.segments > 0 && sealed.wals_waiting == 0 && sealed.written.merge > 0);
    assert!(sealed.written.seal > 0 && sealed.written.wal > sealed.written.events);
    assert!(before.index_bytes > 0);
    log.shut_down().await;
    drop(log);
    let log = open_with(directory.path(), without_upkeep(), "boot").unwrap();
    let after = log.measure();
    assert_eq!((after.streams, after.events), (3, 60));
    assert_eq!((after.files, after.disk_bytes), bytes_in(directory.path()));
}

#[tokio::test]
async fn every_group_and_every_sync_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let opened = log.measure();
    for _ in 0..3 {
        log.append(batch("a", &["x"])).await.unwrap();
    }
    let now = log.measure();
    assert_eq!(now.group_changes.count(), 3);
    assert_eq!(now.group_changes.sum, 3);
    assert_eq!(now.sync_ns.count() - opened.sync_ns.count(), 3);
    assert!(now.sync_ns.sum > opened.sync_ns.sum);
    assert_eq!(now.requests_waiting, 0);
}

#[tokio::test]
async fn a_log_in_memory_counts_streams_and_events() {
    let log = MemoryLog::new(Arc::new(()));
    log.append(batch("a", &["x", "y"])).await.unwrap();
    log.append(batch("b", &["x"])).await.unwrap();
    log.delete(&run("b")).await.unwrap();
    assert_eq!((log.measure().streams, log.measure().events), (1, 2));
}
