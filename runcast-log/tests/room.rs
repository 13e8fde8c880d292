//! Room: zeros ahead of the newest file's end, so that a sync does not change the file's size.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;

use runcast_log::{EmbeddedOptions, Log, OpenError};
use support::{Faults, batch, events, killed, machine, open, open_with, wal, without_room};

fn length(directory: &Path, number: u32) -> u64 {
    std::fs::metadata(wal(directory, number)).unwrap().len()
}

/// Where the last group of a file ends.
fn end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

/// A log of so many events that was killed, and its file.
async fn written(count: usize) -> (tempfile::TempDir, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    for at in 0..count {
        log.append(batch("a", &[&at.to_string()])).await.unwrap();
    }
    let killed = killed(directory.path());
    let bytes = std::fs::read(wal(killed.path(), 1)).unwrap();
    (killed, bytes)
}

#[tokio::test]
async fn groups_are_written_into_room_and_the_file_keeps_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let before = length(directory.path(), 1);
    for at in 0..100 {
        log.append(batch("a", &[&at.to_string()])).await.unwrap();
        assert_eq!(length(directory.path(), 1), before);
        assert_eq!(log.measure().disk_bytes, before);
    }
    log.shut_down().await;
    let bytes = std::fs::read(wal(directory.path(), 1)).unwrap();
    assert!(bytes.len() < 16 * 1024, "a log that is closed gives its room back");
    assert_eq!(events(&*open(directory.path()), "a").await.unwrap().len(), 100);
}

#[tokio::test]
async fn a_log_that_was_killed_goes_on_in_its_room() {
    let (directory, bytes) = written(3).await;
    assert!(bytes.len() > end(&bytes) + 1_000);
    let log = open(directory.path());
    assert_eq!(events(&*log, "a").await.unwrap().len(), 3);
    log.append(batch("a", &["next"])).await.unwrap();
    assert_eq!(length(directory.path(), 1), bytes.len() as u64);
    assert_eq!(events(&*log, "a").await.unwrap()[3], "next");
}

#[tokio::test]
async fn what_stands_in_the_room_and_is_no_group_is_cut_off() {
    let (directory, bytes) = written(3).await;
    let file = wal(directory.path(), 1);
    for at in (end(&bytes) + 4..bytes.len()).step_by(997) {
        let mut torn = bytes.clone();
        torn[at] = 1;
        std::fs::write(&file, torn).unwrap();
        let log = open(directory.path());
        assert_eq!(events(&*log, "a").await.unwrap().len(), 3, "byte {at}");
        log.append(batch("a", &["next"])).await.unwrap();
        assert_eq!(events(&*log, "a").await.unwrap().len(), 4);
    }
}

#[tokio::test]
async fn a_group_of_which_only_the_end_reached_the_disk_is_cut_off() {
    let (directory, bytes) = written(3).await;
    let (shorter, before) = written(2).await;
    let begin = end(&before);
    for lost in 1..end(&bytes) - begin {
        let mut torn = bytes.clone();
        torn[begin..begin + lost].fill(0);
        std::fs::write(wal(shorter.path(), 1), torn).unwrap();
        let log = open(shorter.path());
        assert_eq!(events(&*log, "a").await.unwrap().len(), 2, "{lost} bytes lost");
    }
    drop(directory);
}

#[tokio::test]
async fn a_disk_without_a_place_for_room_takes_events() {
    let directory = tempfile::tempdir().unwrap();
    let faults = Arc::<Faults>::default();
    let options = EmbeddedOptions::default();
    faults.set_room(Some(10_000));
    let machine = machine("boot", &faults);
    let log = runcast_log::EmbeddedLog::open_in(directory.path(), options, machine, Arc::new(()));
    let log = log.unwrap();
    // What was written as room is given back to the disk.
    faults.set_room(Some(1_000));
    for _ in 0..5 {
        log.append(batch("a", &["an event"])).await.unwrap();
    }
    let copy = killed(directory.path());
    assert_eq!(events(&*open(copy.path()), "a").await.unwrap().len(), 5);
    faults.set_room(None);
}

#[tokio::test]
async fn an_older_file_may_have_kept_its_room_but_not_anything_else_behind_its_groups() {
    let directory = tempfile::tempdir().unwrap();
    let options = || EmbeddedOptions { wal_bytes_max: 300, ..without_room() };
    let log = open_with(directory.path(), options(), "boot").unwrap();
    for _ in 0..10 {
        log.append(batch("a", &["an event of some length"])).await.unwrap();
    }
    let directory = killed(directory.path());
    let file = wal(directory.path(), 2);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, [&bytes[..], &[0; 500]].concat()).unwrap();
    let log = open_with(directory.path(), options(), "boot").unwrap();
    assert_eq!(events(&*log, "a").await.unwrap().len(), 10);
    drop(log);
    std::fs::write(&file, [&bytes[..], &[0; 500], &[1]].concat()).unwrap();
    let refused = open_with(directory.path(), options(), "boot").err();
    assert!(matches!(refused, Some(OpenError::Damaged { .. })), "{refused:?}");
}
