//! The feed and the events that it tells of are kept together, whatever happens.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;

use runcast_log::{AppendError, EmbeddedLog, FORMAT_VERSION, Log, OpenError, ReadError};
use support::{
    Faults, Recorder, batch, events, feed, killed, machine, run, start, wal, without_room,
};

fn open(directory: &Path, faults: &Arc<Faults>) -> Result<Arc<EmbeddedLog>, OpenError> {
    let options = without_room();
    let observer = Arc::new(Recorder::default());
    EmbeddedLog::open_in(directory, options, machine("boot", faults), observer)
}

/// The entries that a run's events have.
async fn wanted(log: &dyn Log, name: &str) -> Vec<String> {
    match events(log, name).await {
        Err(ReadError::NotFound) => Vec::new(),
        read => {
            let all = read.unwrap().into_iter().zip(1..);
            let life = all.filter(|(text, _)| text.starts_with("life"));
            life.map(|(_, offset)| format!("1.{offset}")).collect()
        }
    }
}

async fn check(log: &dyn Log, context: &str) {
    let entries = feed(log).await;
    for name in ["a", "b"] {
        let of_run = entries.iter().filter(|entry| entry.starts_with(name));
        let told: Vec<_> = of_run.map(|entry| entry.rsplit(' ').next().unwrap()).collect();
        assert_eq!(told, wanted(log, name).await, "{context}");
    }
}

#[tokio::test]
async fn a_log_that_is_cut_anywhere_has_an_entry_for_just_the_events_that_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let faults = Arc::default();
    let log = open(directory.path(), &faults).unwrap();
    // Groups of one append, and one of several.
    log.append(batch("a", &["life 1", "2"])).await.unwrap();
    log.append(batch("b", &["1", "life 2"])).await.unwrap();
    faults.hold_syncs();
    let waiting =
        start(&log, ["a", "b", "a", "b"].map(|name| batch(name, &["life", "x", "life"]))).await;
    faults.release_syncs();
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    check(&*log, "at first").await;
    assert_eq!(feed(&*log).await.len(), 10);
    let whole = std::fs::read(wal(killed(directory.path()).path(), 1)).unwrap();
    for cut in 64..=whole.len() {
        let copy = tempfile::tempdir().unwrap();
        std::fs::write(wal(copy.path(), 1), &whole[..cut]).unwrap();
        let log = open(copy.path(), &Arc::default()).unwrap();
        check(&*log, &format!("cut at {cut}")).await;
        log.append(batch("a", &["life"])).await.unwrap();
        check(&*log, &format!("cut at {cut}, and gone on")).await;
    }
}

#[tokio::test]
async fn what_the_disk_refuses_is_in_neither() {
    let directory = tempfile::tempdir().unwrap();
    let faults = Arc::default();
    let log = open(directory.path(), &faults).unwrap();
    log.append(batch("a", &["life 1"])).await.unwrap();
    for room in (0..105).step_by(7) {
        faults.set_room(Some(room));
        let refused = log.append(batch("b", &["life, lost"])).await;
        assert!(matches!(refused, Err(AppendError::NoRoom { .. })), "{refused:?}");
        check(&*log, "refused").await;
        faults.set_room(None);
        log.append(batch("a", &["life"])).await.unwrap();
        check(&*log, "gone on").await;
    }
    assert_eq!(log.stat(&run("b")).await, Ok(None));
}

#[tokio::test]
async fn a_file_of_an_older_format_is_read_and_not_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), &Arc::default()).unwrap();
    log.append(batch("a", &["1", "2"])).await.unwrap();
    log.shut_down().await;
    drop(log);
    let mut old = std::fs::read(wal(directory.path(), 1)).unwrap();
    old[8] = FORMAT_VERSION as u8 - 1;
    let checksum = crc32c::crc32c(&old[..60]);
    old[60..64].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(wal(directory.path(), 1), &old).unwrap();
    for _ in 0..2 {
        let log = open(directory.path(), &Arc::default()).unwrap();
        log.append(batch("a", &["life"])).await.unwrap();
        assert_eq!(std::fs::read(wal(directory.path(), 1)).unwrap(), old);
        check(&*log, "gone on").await;
        log.shut_down().await;
    }
    let newer = std::fs::read(wal(directory.path(), 2)).unwrap();
    assert_eq!(newer[8], FORMAT_VERSION as u8);
    assert!(!wal(directory.path(), 3).exists());
}
