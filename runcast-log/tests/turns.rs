//! Going on in another file because it is time, on a disk that fails meanwhile.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use runcast_log::{
    Append, AppendError, Appended, Clock, Durability, EmbeddedLog, EmbeddedOptions, Log,
    Surroundings, WritingBy,
};
use support::power::{Kept, PowerDisk};
use support::{batch, events, run, without_room};

struct SetClock(Mutex<Instant>);

impl SetClock {
    fn advance(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for SetClock {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }
}

fn open(directory: &Path, disk: &PowerDisk, clock: &Arc<SetClock>) -> Arc<EmbeddedLog> {
    open_with(directory, disk, clock, without_room())
}

fn open_with(
    directory: &Path,
    disk: &PowerDisk,
    clock: &Arc<SetClock>,
    options: EmbeddedOptions,
) -> Arc<EmbeddedLog> {
    let options = EmbeddedOptions { writing: WritingBy::Stepped, ..options };
    let surroundings = Surroundings {
        disk: Arc::new(disk.clone()),
        boot_id: Some("boot".to_owned()),
        new_log_id: *b"the tests' logid",
        clock: Arc::<SetClock>::clone(clock),
    };
    EmbeddedLog::open_in(directory, options, surroundings, Arc::new(())).unwrap()
}

async fn append(log: &EmbeddedLog, append: Append) -> Result<Appended, AppendError> {
    let (appended, _) = tokio::join!(log.append(append), async { log.write() });
    appended
}

/// A log that has given something up, and goes on in another file at the next step.
async fn about_to_turn(
    directory: &Path,
    disk: &PowerDisk,
    clock: &Arc<SetClock>,
) -> Arc<EmbeddedLog> {
    let log = open(directory, disk, clock);
    append(&log, batch("a", &["1"])).await.unwrap();
    append(&log, batch("b", &["x"])).await.unwrap();
    let name = run("b");
    let (deleted, _) = tokio::join!(log.delete(&name), async { log.write() });
    deleted.unwrap();
    clock.advance(Duration::from_secs(3_600));
    log
}

#[tokio::test]
async fn a_turn_that_fails_at_any_operation_leaves_a_log_that_goes_on_and_opens() {
    for operation in 1..=6 {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock(Mutex::new(Instant::now())));
        let disk = PowerDisk::default();
        let log = about_to_turn(directory.path(), &disk, &clock).await;
        disk.fail_once(disk.operations() + operation);
        log.write();
        for text in ["2", "3"] {
            append(&log, batch("a", &[text])).await.unwrap();
        }
        disk.fail_at(disk.operations() + 1);
        drop(log);
        disk.revive();
        let log = open(directory.path(), &disk, &clock);
        assert_eq!(events(&*log, "a").await.unwrap(), ["1", "2", "3"], "{operation}");
    }
}

#[tokio::test]
async fn a_log_that_had_no_room_for_a_group_before_a_turn_opens_after_a_loss_of_power() {
    for kept in (1..60).map(|seed| Kept::Some(seed * 11)) {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock(Mutex::new(Instant::now())));
        let disk = PowerDisk::default();
        let log = about_to_turn(directory.path(), &disk, &clock).await;
        disk.fail_once(disk.operations() + 1);
        let large = "x".repeat(3_000);
        let refused = append(&log, batch("a", &[&large])).await;
        assert!(matches!(refused, Err(AppendError::NoRoom { .. })), "{refused:?}");
        assert!(log.measure().wals_waiting > 0, "it goes on in another file");
        disk.fail_at(disk.operations() + 1);
        drop(log);
        disk.restart(kept);
        let log = open(directory.path(), &disk, &clock);
        assert_eq!(events(&*log, "a").await.unwrap(), ["1"], "{kept:?}");
    }
}

#[tokio::test]
async fn a_log_that_has_no_place_to_note_its_end_is_durable_nevertheless() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(Mutex::new(Instant::now())));
    let disk = PowerDisk::default();
    let options = EmbeddedOptions {
        durability: Durability::Relaxed { sync_every: Duration::from_secs(3_600) },
        wal_bytes_max: 300,
        wals_waiting_max: 1,
        ..without_room()
    };
    let log = open_with(directory.path(), &disk, &clock, options);
    let events_of_a = ["1".repeat(400), "2".repeat(400)];
    for event in &events_of_a {
        append(&log, batch("a", &[event])).await.unwrap();
    }
    log.shut_down().await;
    disk.restart(Kept::Nothing);
    let log = open(directory.path(), &disk, &clock);
    assert_eq!(events(&*log, "a").await.unwrap(), events_of_a);
}
