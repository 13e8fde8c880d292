//! A disk that fills up, fails, or cannot sync; and how many syncs a load takes.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use runcast_event::{Epoch, Offset};
use runcast_log::{
    Append, AppendError, CommitObserver, Committed, DeleteError, Durability, EmbeddedLog,
    EmbeddedOptions, Log, LogHealth, ReadError,
};
use support::{
    Faults, Recorder, batch, events, killed, machine, open, run, start, without_room,
    without_upkeep,
};

struct Setup {
    directory: tempfile::TempDir,
    faults: Arc<Faults>,
    recorder: Arc<Recorder>,
    log: Arc<EmbeddedLog>,
}

fn setup(options: EmbeddedOptions) -> Setup {
    let directory = tempfile::tempdir().unwrap();
    let faults = Arc::<Faults>::default();
    let recorder = Arc::new(Recorder::default());
    let observer = Arc::clone(&recorder) as Arc<_>;
    let surroundings = machine("boot", &faults);
    let log = EmbeddedLog::open_in(directory.path(), options, surroundings, observer).unwrap();
    Setup { directory, faults, recorder, log }
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_recovers_by_itself() {
    let Setup { directory, faults, recorder, log } = setup(EmbeddedOptions::default());
    log.append(batch("a", &["1"])).await.unwrap();
    // Every length of torn write.
    for room in 0..57 {
        faults.set_room(Some(room));
        let refused = log.append(Append { close: true, ..batch("a", &["lost"]) }).await;
        assert!(matches!(refused, Err(AppendError::NoRoom { .. })), "{refused:?}");
        assert!(matches!(log.delete(&run("a")).await, Err(DeleteError::NoRoom { .. })));
        assert!(matches!(log.health(), LogHealth::Full { .. }));
        assert!(events(&*log, "a").await.unwrap().iter().all(|text| text != "lost"));
        let copy = killed(directory.path());
        assert_eq!(events(&*open(copy.path()), "a").await, events(&*log, "a").await);
        if room % 8 == 0 {
            faults.set_room(None);
            log.append(batch("a", &["x"])).await.unwrap();
            assert_eq!(log.health(), LogHealth::Healthy);
        }
    }
    let read = events(&*log, "a").await.unwrap();
    assert_eq!(read.len(), 9);
    assert_eq!(recorder.take().len(), 9, "the observer hears of what is stored only");
    drop(log);
    assert_eq!(events(&*open(directory.path()), "a").await.unwrap(), read);
}

#[tokio::test]
async fn a_failed_write_that_cannot_be_cut_off_is_cut_off_later() {
    let Setup { directory, faults, log, .. } = setup(EmbeddedOptions::default());
    log.append(batch("a", &["1"])).await.unwrap();
    faults.set_room(Some(70));
    faults.truncate_fails.store(true, Ordering::SeqCst);
    faults.other_error.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let refused = log.append(batch("a", &["a rather long event that is torn"])).await;
        assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
        faults.set_room(None);
    }
    faults.truncate_fails.store(false, Ordering::SeqCst);
    log.append(batch("a", &["2"])).await.unwrap();
    let copy = killed(directory.path());
    assert_eq!(events(&*open(copy.path()), "a").await.unwrap(), ["1", "2"]);
}

#[tokio::test]
async fn a_full_disk_at_the_start_or_at_a_new_file_is_recovered_from() {
    let options = EmbeddedOptions { wal_bytes_max: 200, ..without_upkeep() };
    let Setup { directory, faults, log, .. } = setup(options.clone());
    for at in 1..6 {
        faults.set_room(Some(30));
        let refused = log.append(batch("a", &["an event of forty bytes and some more"])).await;
        assert!(matches!(refused, Err(AppendError::NoRoom { .. })), "{refused:?}");
        faults.set_room(None);
        let appended = log.append(batch("a", &["an event of forty bytes and some more"])).await;
        assert_eq!(appended.unwrap().last.get(), at);
    }
    drop(log);
    faults.set_room(Some(10));
    let surroundings = machine("boot", &faults);
    let log = EmbeddedLog::open_in(directory.path(), options, surroundings, Arc::new(())).unwrap();
    assert!(matches!(log.health(), LogHealth::Full { .. }));
    assert_eq!(events(&*log, "a").await.unwrap().len(), 5);
    assert!(matches!(log.append(batch("a", &["x"])).await, Err(AppendError::NoRoom { .. })));
    faults.set_room(None);
    log.append(batch("a", &["x"])).await.unwrap();
    assert_eq!(log.health(), LogHealth::Healthy);
}

#[tokio::test]
async fn a_failed_sync_ends_appends_and_shows_nothing_of_the_group() {
    let Setup { directory, faults, recorder, log } = setup(EmbeddedOptions::default());
    log.append(batch("a", &["kept"])).await.unwrap();
    recorder.take();
    faults.sync_fails.store(true, Ordering::SeqCst);
    let refused = log.append(batch("a", &["lost"])).await;
    assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
    faults.sync_fails.store(false, Ordering::SeqCst);
    let syncs = faults.syncs.load(Ordering::SeqCst);
    let refused = log.append(batch("b", &["late"])).await;
    assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
    assert!(matches!(log.health(), LogHealth::Failed { .. }));
    assert_eq!(events(&*log, "a").await.unwrap(), ["kept"]);
    assert_eq!(events(&*log, "b").await, Err(ReadError::NotFound));
    log.shut_down().await;
    assert_eq!(faults.syncs.load(Ordering::SeqCst), syncs, "a failed sync is never tried again");
    assert_eq!(recorder.take().len(), 0);
    let log = open(directory.path());
    assert_eq!(events(&*log, "a").await.unwrap(), ["kept"]);
    assert_eq!(log.health(), LogHealth::Healthy);
}

#[tokio::test]
async fn what_a_failed_sync_may_have_lost_of_acknowledged_events_is_told_by_a_new_epoch() {
    let durability = Durability::Relaxed { sync_every: Duration::ZERO };
    let options = EmbeddedOptions { durability, ..without_room() };
    let Setup { directory, faults, log, .. } = setup(options.clone());
    log.append(batch("a", &["kept"])).await.unwrap();
    log.shut_down().await;
    let reopen = |options: &EmbeddedOptions| {
        let surroundings = machine("boot", &faults);
        let recorder = Arc::new(Recorder::default());
        EmbeddedLog::open_in(directory.path(), options.clone(), surroundings, recorder).unwrap()
    };
    let log = reopen(&options);
    let wal = directory.path().join("wal-0000000001.log");
    let durable = std::fs::metadata(&wal).unwrap().len();
    faults.sync_fails.store(true, Ordering::SeqCst);
    let acknowledged = log.append(batch("a", &["acknowledged"])).await.unwrap();
    assert_eq!(acknowledged.epoch, Epoch::FIRST);
    log.shut_down().await;
    assert!(matches!(log.health(), LogHealth::Failed { .. }));
    faults.sync_fails.store(false, Ordering::SeqCst);
    // The system forgets what it could not write.
    File::options().write(true).open(&wal).unwrap().set_len(durable).unwrap();

    for _ in 0..2 {
        let log = reopen(&options);
        let stat = log.stat(&run("a")).await.unwrap().unwrap();
        assert_eq!((stat.last, stat.epoch.get()), (Offset::new(1), 2), "once");
        log.shut_down().await;
    }
}

#[tokio::test]
async fn appends_that_wait_go_out_with_one_sync() {
    let Setup { faults, log, .. } = setup(EmbeddedOptions::default());
    faults.hold_syncs();
    let before = faults.syncs.load(Ordering::SeqCst);
    let appends = start(&log, (0..100).map(|at| batch(&format!("s{at}"), &["x"]))).await;
    assert_eq!(log.list(None, 1).await.unwrap(), [], "nothing is seen before it is synced");
    faults.release_syncs();
    for append in appends {
        append.await.unwrap().unwrap();
    }
    assert!(faults.syncs.load(Ordering::SeqCst) - before <= 2);
}

#[tokio::test]
async fn an_append_whose_caller_has_gone_is_stored() {
    let Setup { faults, log, .. } = setup(EmbeddedOptions::default());
    faults.hold_syncs();
    let caller = start(&log, [batch("a", &["x"])]).await.remove(0);
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    faults.release_syncs();
    log.append(batch("b", &["y"])).await.unwrap();
    assert_eq!(events(&*log, "a").await.unwrap(), ["x"]);
}

#[tokio::test]
async fn a_full_queue_lets_callers_wait_and_loses_nothing() {
    let options = EmbeddedOptions {
        queue_appends_max: 2,
        queue_bytes_max: 2_000,
        group_bytes_max: 600,
        ..EmbeddedOptions::default()
    };
    let Setup { faults, log, .. } = setup(options);
    faults.hold_syncs();
    let tasks = start(&log, vec![batch("a", &["x", "y"]); 50]).await;
    faults.release_syncs();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(events(&*log, "a").await.unwrap().len(), 100);
    let large = log.append(batch("a", &["x".repeat(2_000).as_str()])).await;
    assert!(matches!(large, Err(AppendError::Unavailable { .. })), "{large:?}");
}

#[tokio::test]
async fn a_shut_down_finishes_what_waits_and_refuses_who_waits_outside() {
    let options = EmbeddedOptions { queue_appends_max: 3, ..EmbeddedOptions::default() };
    let Setup { directory, faults, log, .. } = setup(options);
    faults.hold_syncs();
    let tasks = start(&log, vec![batch("a", &["x"]); 10]).await;
    let ending = Arc::clone(&log);
    let ending = tokio::spawn(async move { ending.shut_down().await });
    tokio::task::yield_now().await;
    faults.release_syncs();
    ending.await.unwrap();
    let mut stored = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(appended) => stored += appended.stored,
            Err(error) => assert!(matches!(error, AppendError::Unavailable { .. }), "{error}"),
        }
    }
    assert_eq!(stored, 3);
    assert_eq!(events(&*open(directory.path()), "a").await.unwrap().len(), 3);
}

struct Panics;

impl CommitObserver for Panics {
    fn committed(&self, _changes: Vec<Committed>) {
        panic!("a fault in the observer");
    }
}

#[tokio::test]
async fn a_writer_that_panics_leaves_nobody_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let surroundings = machine("boot", &Arc::default());
    let options = EmbeddedOptions::default();
    let log = EmbeddedLog::open_in(directory.path(), options, surroundings, Arc::new(Panics));
    let log = log.unwrap();
    for _ in 0..2 {
        let refused = log.append(batch("a", &["x"])).await;
        assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
    }
    log.shut_down().await;
    assert!(matches!(log.health(), LogHealth::Failed { .. }));
    assert_eq!(events(&*open(directory.path()), "a").await.unwrap(), ["x"]);
}
