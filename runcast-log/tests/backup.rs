//! Backups of a log that is in use, and what comes of them when they are put back.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use runcast_event::Offset;
use runcast_log::backup::{BackedUp, BackupError, BackupOptions, back_up, restore};
use runcast_log::{Append, EmbeddedLog, EmbeddedOptions, Log, OpenError, ReadError, Trim};
use support::{ALL, batch, busy, events, keep_up, open, open_with, run, texts, without_upkeep};

fn options(name: &str) -> BackupOptions {
    BackupOptions { name: name.to_owned(), keep: 1, verify_all: false }
}

fn backed_up(data: &Path, target: &Path, name: &str) -> BackedUp {
    back_up(data, target, &options(name), &mut |_| {}).unwrap()
}

fn restored(from: &Path) -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    restore(from, data.path(), 1, &mut |_| {}).unwrap();
    data
}

/// Small files, so that there are many.
fn small() -> EmbeddedOptions {
    EmbeddedOptions { wal_bytes_max: 600, merge_segments: 3, ..without_upkeep() }
}

fn files(set: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(set).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    files.map(|path| (name(&path), std::fs::read(&path).unwrap())).collect()
}

async fn filled(log: &EmbeddedLog, from: u64, to: u64) {
    for at in from..to {
        for name in ["a", "b", "c"] {
            log.append(batch(name, &[&format!("{name} {at} of some length")])).await.unwrap();
        }
    }
}

/// Gives up a run's events before one. What stands for them says whose they were, as an event does.
async fn trim(log: &EmbeddedLog, name: &str, first: u64) {
    let base = format!("{name} {first} and what was before it").into();
    log.trim(&run(name), Trim { base, ..Trim::before(Offset::new(first)) }).await.unwrap();
}

/// All that is kept of all runs, and what stands for what is not.
async fn contents(log: &EmbeddedLog) -> BTreeMap<String, Vec<(u64, String)>> {
    let mut contents = BTreeMap::new();
    for (run, stat) in log.list(None, usize::MAX).await.unwrap() {
        let before = Offset::new(stat.first.get() - 1);
        let page = log.read(&run, before, ALL).await.unwrap();
        let mut texts = texts(&page);
        if let Some(base) = log.base(&run).await.unwrap() {
            texts.insert(0, (stat.first.get(), String::from_utf8(base.to_vec()).unwrap()));
        }
        assert!(stat.first.get() == 1 || texts[0].1.ends_with("what was before it"), "{run}");
        contents.insert(run.as_str().to_owned(), texts);
    }
    contents
}

#[tokio::test]
async fn what_was_acknowledged_is_in_the_backup_and_comes_back_event_by_event() {
    let (data, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open_with(data.path(), small(), "boot").unwrap();
    filled(&log, 0, 30).await;
    trim(&log, "a", 2).await;
    keep_up(&log);
    filled(&log, 30, 33).await;
    log.delete(&run("b")).await.unwrap();
    trim(&log, "c", 10).await;
    let made = backed_up(data.path(), target.path(), "1");
    assert_eq!((made.runs, made.events), (2, 32 + 24));
    assert!(made.damaged.is_empty() && made.files_copied > 1, "{made:?}");
    let before = contents(&log).await;
    filled(&log, 33, 40).await;
    let copy = restored(target.path());
    let back = open(copy.path());
    assert_eq!(contents(&back).await, before);
    assert_eq!(events(&*back, "b").await, Err(ReadError::Deleted));
    filled(&back, 33, 34).await;
}

#[tokio::test]
async fn a_later_backup_copies_what_is_new_and_links_the_rest_to_the_earlier_set() {
    let (data, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log =
        open_with(data.path(), EmbeddedOptions { merge_segments: 99, ..small() }, "boot").unwrap();
    filled(&log, 0, 30).await;
    keep_up(&log);
    let first = backed_up(data.path(), target.path(), "1");
    filled(&log, 30, 40).await;
    keep_up(&log);
    let second = backed_up(data.path(), target.path(), "2");
    assert!(first.files_linked == 0 && second.files_linked > 0, "{first:?} {second:?}");
    assert!(second.files_copied < first.files_copied, "{first:?} {second:?}");
    assert_eq!(second.removed, std::slice::from_ref(&first.set));
    assert!(!first.set.exists());
    let before = contents(&log).await;
    assert_eq!(contents(&open(restored(target.path()).path())).await, before);
    // Kept, when that is wanted.
    let kept = BackupOptions { keep: 2, ..options("3") };
    let third = back_up(data.path(), target.path(), &kept, &mut |_| {}).unwrap();
    assert!(third.removed.is_empty());
    assert_eq!(contents(&open(restored(&second.set).path())).await, before);
}

#[tokio::test]
async fn what_was_erased_is_in_no_later_backup() {
    let (data, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = EmbeddedOptions { merge_segments: 99, ..small() };
    let log = open_with(data.path(), options, "boot").unwrap();
    filled(&log, 0, 30).await;
    log.append(batch("b", &["the secret of b"])).await.unwrap();
    filled(&log, 30, 40).await;
    keep_up(&log);
    let has_secret = |set: &Path| {
        let of_set = files(set);
        of_set.values().any(|bytes| bytes.windows(8).any(|text| text == b"secret o"))
    };
    let first = backed_up(data.path(), target.path(), "1");
    assert!(has_secret(&first.set));
    log.delete(&run("b")).await.unwrap();
    filled(&log, 40, 50).await;
    keep_up(&log);
    let second = backed_up(data.path(), target.path(), "2");
    assert!(second.files_copied > 1, "{second:?}");
    assert!(!has_secret(&second.set));
    let back = open(restored(target.path()).path());
    assert_eq!(contents(&back).await, contents(&log).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_one_moment_of_the_log() {
    let (data, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open_with(data.path(), busy(), "boot").unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let load = {
        let (log, ended) = (Arc::clone(&log), Arc::clone(&ended));
        tokio::spawn(async move {
            let mut at = 0_usize;
            let mut counts = [0; 50];
            while !ended.load(Ordering::Relaxed) {
                let name = format!("r{}", at % 50);
                let count = &mut counts[at % 50];
                let text = |add| format!("{name} {} {}", *count + add, "x".repeat(300));
                log.append(batch(&name, &[&text(1), &text(2)])).await.unwrap();
                *count += 2;
                match at % 100 {
                    33 => {
                        log.delete(&run(&format!("r{}", at % 7))).await.unwrap();
                        counts[at % 7] = 0;
                    }
                    66 => trim(&log, &name, *count as u64 - 1).await,
                    _ => {}
                }
                at += 1;
            }
        })
    };
    for at in 0..5 {
        let acknowledged: Vec<_> = log.list(None, usize::MAX).await.unwrap();
        let (from, to) = (data.path().to_path_buf(), target.path().to_path_buf());
        let made = tokio::task::spawn_blocking(move || backed_up(&from, &to, &at.to_string()));
        let made = made.await.unwrap();
        assert_eq!(made.damaged, Vec::<String>::new());
        let copy = restored(target.path());
        let back = open(copy.path());
        // Every event that is kept can be read, and is the one that was appended there.
        for (name, events) in contents(&back).await {
            for (offset, text) in events {
                assert!(text.starts_with(&format!("{name} {offset} ")), "{name} {offset}: {text}");
            }
        }
        for (run, before) in acknowledged {
            match back.stat(&run).await {
                // By epoch and offset nothing is older than when the backup began.
                Ok(Some(now)) => {
                    assert!(now.last >= before.last || now.epoch_bases.len() > 1, "{run}");
                }
                Err(ReadError::Deleted) => {}
                other => panic!("{run}: {other:?}"),
            }
        }
        back.shut_down().await;
    }
    ended.store(true, Ordering::Relaxed);
    load.await.unwrap();
}

#[tokio::test]
async fn a_restored_log_begins_an_epoch_that_was_never_used() {
    let (data, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open_with(data.path(), small(), "boot").unwrap();
    filled(&log, 0, 10).await;
    log.append(Append { close: true, ..batch("closed", &["end"]) }).await.unwrap();
    backed_up(data.path(), target.path(), "1");
    let twice = tempfile::tempdir().unwrap();
    restore(target.path(), twice.path(), 5_000, &mut |_| {}).unwrap();
    let back = open(twice.path());
    let stat = back.stat(&run("a")).await.unwrap().unwrap();
    assert_eq!(stat.epoch.get(), 5_000);
    assert_eq!(&*stat.epoch_bases, &[(stat.epoch, Offset::new(10))]);
    assert_eq!(back.stat(&run("closed")).await.unwrap().unwrap().epoch.get(), 1);
    back.append(batch("new", &["1"])).await.unwrap();
    assert_eq!(back.stat(&run("new")).await.unwrap().unwrap().epoch.get(), 5_000);
    // At least the next one.
    let back = open(restored(target.path()).path());
    assert_eq!(back.stat(&run("a")).await.unwrap().unwrap().epoch.get(), 2);
}

#[tokio::test]
async fn a_backup_of_another_log_and_a_directory_that_is_not_empty_are_refused() {
    let (data, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open_with(data.path(), small(), "boot").unwrap();
    filled(&log, 0, 3).await;
    let made = backed_up(data.path(), target.path(), "1");
    let within = back_up(data.path(), &data.path().join("sub"), &options("1"), &mut |_| {});
    assert!(matches!(within, Err(BackupError::Within { .. })), "{within:?}");
    let empty = tempfile::tempdir().unwrap();
    let nothing = back_up(empty.path(), target.path(), &options("2"), &mut |_| {});
    assert!(matches!(nothing, Err(BackupError::NoLog { .. })), "{nothing:?}");
    let full = restore(target.path(), data.path(), 1, &mut |_| {});
    assert!(matches!(full, Err(BackupError::NotEmpty { .. })), "{full:?}");
    let none = restore(empty.path(), &empty.path().join("data"), 1, &mut |_| {});
    assert!(matches!(none, Err(BackupError::NoBackup { .. })), "{none:?}");
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 2, "the set and the lock");
    // A set that is not whole is put back nowhere.
    std::fs::remove_file(made.set.join("wal-0000000001.log")).unwrap();
    let broken = restore(target.path(), &empty.path().join("data"), 1, &mut |_| {});
    assert!(broken.is_err(), "{broken:?}");
    let opened = EmbeddedLog::open(&empty.path().join("data"), small(), Arc::new(()));
    assert!(matches!(opened, Err(OpenError::Foreign { .. })), "it is not finished");
}

#[tokio::test]
async fn a_damaged_file_does_not_take_the_good_copy_of_it_away() {
    let (data, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options_of_log = EmbeddedOptions { merge_segments: 99, ..small() };
    let log = open_with(data.path(), options_of_log, "boot").unwrap();
    filled(&log, 0, 30).await;
    keep_up(&log);
    let first = backed_up(data.path(), target.path(), "1");
    let path = data.path().join("seg-0000000001.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let second = backed_up(data.path(), target.path(), "2");
    assert_eq!(second.damaged.len(), 1, "{:?}", second.damaged);
    assert!(first.set.exists() && second.removed.is_empty());
    assert_eq!(contents(&open(restored(&first.set).path())).await.len(), 3);
}

#[tokio::test]
async fn a_backup_says_that_what_stands_for_trimmed_events_is_damaged() {
    let (data, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open_with(data.path(), small(), "boot").unwrap();
    log.append(batch("a", &["1", "2", "3"])).await.unwrap();
    trim(&log, "a", 3).await;
    filled(&log, 0, 30).await;
    keep_up(&log);
    let (name, mut bytes) = files(data.path())
        .into_iter()
        .find(|(name, bytes)| {
            name.starts_with("seg-") && bytes.windows(7).any(|part| part == b"a 3 and")
        })
        .unwrap();
    let at = bytes.windows(7).position(|part| part == b"a 3 and").unwrap();
    bytes[at] ^= 1;
    std::fs::write(data.path().join(&name), &bytes).unwrap();
    let made = backed_up(data.path(), target.path(), "1");
    let [damaged] = &made.damaged[..] else { panic!("{made:?}") };
    assert!(damaged.starts_with(&name), "{damaged}");
    assert!(damaged.contains("what stands for trimmed events is damaged"), "{damaged}");
    let back = open(restored(target.path()).path());
    assert!(matches!(back.base(&run("a")).await, Err(ReadError::Damaged { .. })));
    let page = back.read(&run("a"), Offset::new(2), ALL).await.unwrap();
    assert_eq!(page.records[0].offset.get(), 3);
}

#[tokio::test]
async fn a_backup_and_a_restore_that_were_killed_anywhere_are_done_again() {
    let (data, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open_with(data.path(), small(), "boot").unwrap();
    filled(&log, 0, 30).await;
    keep_up(&log);
    let first = backed_up(data.path(), target.path(), "1");
    let expected = contents(&log).await;
    let whole = files(&first.set);
    for left_out in 0..whole.len() {
        // As a killed one leaves them: some files, one of them a part, and no note.
        let half = target.path().join("2.new");
        std::fs::create_dir(&half).unwrap();
        let data_half = tempfile::tempdir().unwrap();
        std::fs::write(data_half.path().join("restoring"), "").unwrap();
        for (name, bytes) in whole.iter().filter(|(name, _)| *name != "backup.txt").take(left_out) {
            std::fs::write(half.join(name), &bytes[..bytes.len() / 2]).unwrap();
            std::fs::write(data_half.path().join(format!("{name}.part")), bytes).unwrap();
        }
        let next = backed_up(data.path(), target.path(), &format!("3-{left_out}"));
        assert!(!half.exists() && next.set.exists());
        restore(target.path(), data_half.path(), 1, &mut |_| {}).unwrap();
        assert_eq!(contents(&open(data_half.path())).await, expected);
    }
}
