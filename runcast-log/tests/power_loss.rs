//! A machine that loses power: of what was not synced, any sectors may be on the disk or not.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use runcast_event::{Epoch, Offset};
use runcast_log::{
    Append, Durability, EmbeddedLog, EmbeddedOptions, Log, OpenError, Surroundings, SystemClock,
};
use support::power::{Kept, PowerDisk};
use support::{Recorder, batch, events, killed, open_with, run, wal, without_room};

/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;

fn relaxed() -> EmbeddedOptions {
    let durability = Durability::Relaxed { sync_every: Duration::from_secs(3_600) };
    EmbeddedOptions { durability, ..without_room() }
}

#[derive(Debug, Clone)]
enum Step {
    /// A batch of events of so many bytes.
    Append(usize, usize),
    /// Syncs whatever the durability is.
    Delete,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..4_usize, 0..700_usize).prop_map(|(count, bytes)| Step::Append(count, bytes)),
        1 => Just(Step::Delete),
    ]
}

/// The sectors that the disk has; the others are as if they had never been written.
fn lose(bytes: &mut Vec<u8>, synced: usize, kept: &[bool], cut: usize) {
    let mut at = synced;
    for kept in kept.iter().cycle() {
        let end = ((at / SECTOR_BYTES) + 1) * SECTOR_BYTES;
        let end = end.min(bytes.len());
        if at >= end {
            break;
        }
        if !kept {
            bytes[at..end].fill(0);
        }
        at = end;
    }
    let left = bytes.len() - (bytes.len() - synced) * cut / 100;
    bytes.truncate(left);
}

async fn walk(steps: Vec<Step>, kept: Vec<bool>, cut: usize, room: usize) {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), relaxed(), "boot").unwrap();
    let length = || std::fs::metadata(wal(directory.path(), 1)).unwrap().len() as usize;
    let mut acknowledged: Vec<String> = Vec::new();
    let (mut synced_events, mut synced) = (0, length());
    for step in steps {
        match step {
            Step::Append(count, bytes) => {
                let next = acknowledged.len();
                let texts = (next..next + count).map(|at| format!("{at}{}", "x".repeat(bytes)));
                let texts: Vec<String> = texts.collect();
                let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
                log.append(batch("a", &refs)).await.unwrap();
                acknowledged.extend(texts);
            }
            Step::Delete => {
                log.append(batch("b", &["x"])).await.unwrap();
                log.delete(&run("b")).await.unwrap();
                (synced_events, synced) = (acknowledged.len(), length());
            }
        }
    }
    let crashed = killed(directory.path());
    let mut bytes = std::fs::read(wal(crashed.path(), 1)).unwrap();
    lose(&mut bytes, synced, &kept, cut);
    bytes.resize(bytes.len() + room, 0);
    std::fs::write(wal(crashed.path(), 1), bytes).unwrap();

    let second = Epoch::FIRST.next();
    let log = open_with(crashed.path(), EmbeddedOptions::default(), "another").unwrap();
    let left = events(&*log, "a").await.unwrap_or_default();
    assert!(left.len() >= synced_events, "what was synced is kept");
    assert!(acknowledged.starts_with(&left), "what is kept is what was appended");
    let goes_on =
        Append { expected_last: Some(Offset::new(left.len() as u64)), ..batch("a", &["y"]) };
    assert_eq!(log.append(goes_on).await.unwrap().epoch, second);
    let bases = log.stat(&run("a")).await.unwrap().unwrap().epoch_bases;
    assert_eq!(&*bases, &[(second, Offset::new(left.len() as u64))]);
    log.shut_down().await;
    let log = open_with(crashed.path(), EmbeddedOptions::default(), "third").unwrap();
    assert_eq!(events(&*log, "a").await.unwrap().len(), left.len() + 1);
    assert_eq!(log.stat(&run("a")).await.unwrap().unwrap().epoch, second);
}

fn open_on(directory: &Path, disk: &PowerDisk) -> Result<Arc<EmbeddedLog>, OpenError> {
    let surroundings = Surroundings {
        disk: Arc::new(disk.clone()),
        boot_id: Some("boot".to_owned()),
        new_log_id: *b"the tests' logid",
        clock: Arc::new(SystemClock),
    };
    EmbeddedLog::open_in(directory, relaxed(), surroundings, Arc::new(Recorder::default()))
}

#[tokio::test]
async fn what_a_start_shows_is_on_the_disk_even_if_a_sync_of_it_failed_before() {
    let directory = tempfile::tempdir().unwrap();
    let disk = PowerDisk::default();
    let log = open_on(directory.path(), &disk).unwrap();
    for text in ["1", "2", "3"] {
        log.append(batch("a", &[text])).await.unwrap();
    }
    disk.fail_at(disk.operations() + 1);
    drop(log);
    disk.revive();
    disk.let_syncs_fail(true);
    assert!(matches!(open_on(directory.path(), &disk), Err(OpenError::Io { .. })));
    disk.let_syncs_fail(false);
    let log = open_on(directory.path(), &disk).unwrap();
    assert_eq!(events(&*log, "a").await.unwrap(), ["1", "2", "3"]);
    log.append(batch("a", &["4"])).await.unwrap();
    log.shut_down().await;
    disk.restart(Kept::Nothing);
    let log = open_on(directory.path(), &disk).unwrap();
    assert_eq!(events(&*log, "a").await.unwrap(), ["1", "2", "3", "4"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_loss_of_what_was_not_synced_leaves_a_true_prefix_in_a_new_epoch(
        steps in prop::collection::vec(step(), 1..12),
        kept in prop::collection::vec(any::<bool>(), 1..16),
        cut in 0..=100_usize,
        room in prop_oneof![Just(0), 1..5_000_usize],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(walk(steps, kept, cut, room));
    }
}
