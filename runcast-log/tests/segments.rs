//! Sealed segments on a disk: what is damaged in them, what is missing, what is given up, and a disk
//! that is full or cannot sync while they are made.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use runcast_event::{Epoch, Offset};
use runcast_log::{
    AppendError, EmbeddedLog, EmbeddedOptions, Log, LogHealth, OpenError, ReadError, Trim, UpkeepBy,
};
use support::{
    ALL, Faults, batch, bytes_in, events, keep_up, killed, machine, open_with, run, segments,
    texts, wal, without_room,
};

fn options() -> EmbeddedOptions {
    EmbeddedOptions { wal_bytes_max: 2_000, scrub_every: Duration::ZERO, ..without_room() }
}

/// An event of this run with this number.
fn text(name: &str, at: usize) -> String {
    format!("{name} {at} {}", "x".repeat(60))
}

/// A log in which two runs with so many events each are sealed into one segment.
async fn sealed(count: usize) -> (tempfile::TempDir, Arc<EmbeddedLog>) {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { wal_bytes_max: 200_000, ..options() };
    let log = open_with(directory.path(), options, "boot").unwrap();
    for at in 0..count {
        for name in ["a", "b"] {
            log.append(batch(name, &[&text(name, at)])).await.unwrap();
        }
    }
    seal(&log).await;
    (directory, log)
}

/// Fills the newest write-ahead log and seals it.
async fn seal(log: &EmbeddedLog) {
    while log.measure().wals_waiting == 0 {
        log.append(batch("filler", &[&"f".repeat(20_000)])).await.unwrap();
    }
    keep_up(log);
}

fn reopen(directory: &Path) -> Result<Arc<EmbeddedLog>, OpenError> {
    open_with(directory, options(), "boot")
}

#[tokio::test]
async fn what_is_sealed_reads_as_before_and_takes_little_more_than_its_events() {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { wal_bytes_max: 700_000, ..options() };
    let log = open_with(directory.path(), options, "boot").unwrap();
    let event = "e".repeat(200);
    for _ in 0..100 {
        for name in ["a", "b", "c"] {
            log.append(batch(name, &[event.as_str(); 10])).await.unwrap();
        }
    }
    let before = events(&*log, "b").await.unwrap();
    seal(&log).await;
    assert!(!wal(directory.path(), 1).exists(), "what is sealed needs its log no more");
    assert_eq!(events(&*log, "b").await.unwrap(), before);
    let page = log.read(&run("b"), Offset::new(998), ALL).await.unwrap();
    assert_eq!(page.records.len(), 2);
    let stats = log.measure();
    assert_eq!((stats.segments, stats.events), (1, 3_000 + stats.events % 1_000));
    let filler = log.stat(&run("filler")).await.unwrap().unwrap().last.get() - 1;
    let of_events = stats.written.seal - filler * 20_000;
    assert!(of_events < 3_000 * 210, "{of_events} bytes for 3,000 events");
}

#[tokio::test]
async fn any_wrong_byte_of_a_segment_is_noticed_and_costs_its_block_at_most() {
    let (directory, log) = sealed(4).await;
    let expected: Vec<_> = (0..4).map(|at| text("a", at)).collect();
    assert_eq!(events(&*log, "a").await.unwrap(), expected);
    drop(log);
    let path = segments(directory.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let blocks_end = whole.windows(8).rposition(|w| w == b"SEGINDEX").unwrap();
    let (mut refused, mut unread) = (0, 0);
    let near_the_ends = (0..64).chain((64..1_000).step_by(5)).chain(blocks_end - 150..whole.len());
    for at in near_the_ends {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        std::fs::write(&path, &bytes).unwrap();
        let log = match reopen(directory.path()) {
            Ok(log) => log,
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains(path.file_name().unwrap().to_str().unwrap()), "{text}");
                refused += 1;
                continue;
            }
        };
        for name in ["a", "b"] {
            match events(&*log, name).await {
                Ok(read) => assert_eq!(read, (0..4).map(|at| text(name, at)).collect::<Vec<_>>()),
                Err(ReadError::Damaged { first, last, reason }) => {
                    assert_eq!((first.get(), last.get()), (1, 4), "byte {at}");
                    assert!(reason.contains("seg-0000000001.seg, byte "), "{reason}");
                    unread += 1;
                }
                other => panic!("byte {at}: {other:?}"),
            }
        }
    }
    assert!(refused > 190 && unread > 100, "{refused} refused, {unread} not read");
}

#[tokio::test]
async fn readers_get_everything_but_what_is_damaged() {
    let (directory, log) = sealed(3_000).await;
    log.shut_down().await;
    drop(log);
    let path = segments(directory.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let needle = text("a", 1_500);
    let at = bytes.windows(needle.len()).position(|w| w == needle.as_bytes()).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let scrubbing = EmbeddedOptions { scrub_every: Duration::from_nanos(1), ..options() };
    let log = open_with(directory.path(), scrubbing, "boot").unwrap();
    assert_eq!(events(&*log, "b").await.unwrap().len(), 3_000);
    let page = log.read(&run("a"), Offset::START, ALL).await.unwrap();
    let good = page.records.len() as u64;
    assert!((1..1_501).contains(&good), "the page ends before the damage");
    let damaged = log.read(&run("a"), Offset::new(good), ALL).await;
    let Err(ReadError::Damaged { first, last, .. }) = damaged else { panic!("{damaged:?}") };
    assert_eq!(first.get(), good + 1);
    assert!((1_501..3_000).contains(&last.get()) && last.get() - first.get() < 1_000);
    let page = log.read(&run("a"), last, ALL).await.unwrap();
    assert_eq!(page.records.len() as u64, 3_000 - last.get());
    assert_eq!(texts(&page)[0].1, text("a", last.get() as usize));
    while log.measure().damaged_places == 0 {
        assert!(log.keep_up().unwrap(), "the scrubber finds it");
    }
    assert!(log.measure().scrubbed_bytes > 0);
}

#[tokio::test]
async fn a_missing_or_damaged_file_is_named() {
    let (directory, log) = sealed(4).await;
    drop(log);
    let manifest = directory.path().join("manifest");
    let segment = segments(directory.path()).remove(0);
    let whole = std::fs::read(&manifest).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&manifest, &bytes).unwrap();
        let error = reopen(directory.path()).err().unwrap_or_else(|| panic!("byte {at} was taken"));
        assert!(error.to_string().contains("manifest"), "{error}");
    }
    std::fs::write(&manifest, &whole).unwrap();
    for path in [manifest, segment] {
        let away = directory.path().join("away");
        std::fs::rename(&path, &away).unwrap();
        let error = reopen(directory.path()).err().unwrap().to_string();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(error.contains(name) && error.contains("missing"), "{error}");
        std::fs::rename(&away, &path).unwrap();
    }
    let log = reopen(directory.path()).unwrap();
    assert_eq!(events(&*log, "a").await.unwrap().len(), 4);
}

#[tokio::test]
async fn what_no_manifest_tells_of_is_removed() {
    let (directory, log) = sealed(4).await;
    let old_wal = std::fs::read(wal(directory.path(), 2)).unwrap();
    drop(log);
    let stray = |name: &str| directory.path().join(name);
    for name in ["seg-0000000099.seg", "seg-0000000098.seg.new", "manifest.new"] {
        std::fs::write(stray(name), b"half a segm").unwrap();
    }
    std::fs::write(wal(directory.path(), 1), old_wal).unwrap();
    let log = reopen(directory.path()).unwrap();
    assert_eq!(events(&*log, "a").await.unwrap().len(), 4);
    assert_eq!(segments(directory.path()).len(), 1);
    assert!(!stray("manifest.new").exists() && !wal(directory.path(), 1).exists());
}

fn blocks(directory: &Path) -> u64 {
    segments(directory).iter().map(|path| std::fs::metadata(path).unwrap().blocks()).sum()
}

#[tokio::test]
async fn a_deleted_run_is_erased_and_gives_its_place_back() {
    let (directory, log) = sealed(3_000).await;
    let has = |needle: &str| {
        let files = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let has = |path| {
            let bytes = std::fs::read(path).unwrap();
            bytes.windows(needle.len()).any(|w| w == needle.as_bytes())
        };
        files.map(has).filter(|has| *has).count()
    };
    // Half of it is in the newest log.
    log.append(batch("a", &["newest of a"])).await.unwrap();
    let before = blocks(directory.path());
    assert_eq!((has("a 1500 x"), has("newest of a")), (1, 1));
    log.delete(&run("a")).await.unwrap();
    let trim = Trim { base: "the base".into(), ..Trim::before(Offset::new(2_000)) };
    log.trim(&run("b"), trim).await.unwrap();
    seal(&log).await;
    assert_eq!((has("a 1500 x"), has("newest of a"), has("b 500 x")), (0, 0, 0));
    assert!(blocks(directory.path()) < before * 2 / 3 + 100, "its place is given back");
    let page = log.read(&run("b"), Offset::new(1_999), ALL).await.unwrap();
    assert_eq!(page.records.len(), 1_001);
    assert_eq!(log.read(&run("a"), Offset::START, ALL).await.unwrap_err(), ReadError::Deleted);
    log.append(batch("a", &["again"])).await.unwrap();
    assert_eq!(events(&*log, "a").await.unwrap(), ["again"]);
    // What stands for trimmed events goes with the next trim.
    assert_eq!((has("the base"), has("the next base")), (1, 0));
    let trim = Trim { base: "the next base".into(), ..Trim::before(Offset::new(2_500)) };
    log.trim(&run("b"), trim).await.unwrap();
    seal(&log).await;
    assert_eq!((has("the base"), has("the next base")), (0, 1));
    assert_eq!(log.base(&run("b")).await.unwrap().unwrap(), "the next base");
}

#[tokio::test]
async fn a_damaged_base_is_never_given_to_a_reader_and_found_without_one() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), options(), "boot").unwrap();
    log.append(batch("a", &["1", "2", "3"])).await.unwrap();
    let trim = Trim { base: "the base".into(), ..Trim::before(Offset::new(3)) };
    log.trim(&run("a"), trim).await.unwrap();
    seal(&log).await;
    let path = &segments(directory.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(8).position(|window| window == b"the base").unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let error = log.base(&run("a")).await.unwrap_err();
    assert!(
        matches!(&error, ReadError::Damaged { first, last, reason }
        if (first.get(), last.get()) == (1, 2) && reason.contains("seg-")),
        "{error}"
    );
    let page = log.read(&run("a"), Offset::new(2), ALL).await.unwrap();
    assert_eq!(texts(&page), [(3, "3".to_owned())], "it costs no event");
    log.shut_down().await;
    let scrub_every = Duration::from_nanos(1);
    let log =
        open_with(directory.path(), EmbeddedOptions { scrub_every, ..options() }, "boot").unwrap();
    while log.measure().damaged_places == 0 {
        log.keep_up().unwrap();
    }
}

#[tokio::test]
async fn deletions_are_erased_in_time_without_a_further_append() {
    let directory = tempfile::tempdir().unwrap();
    let erase_within = Duration::from_millis(10);
    let upkeep = UpkeepBy::Background;
    let options = EmbeddedOptions { erase_within, upkeep, ..options() };
    let log = open_with(directory.path(), options, "boot").unwrap();
    log.append(batch("a", &["a secret"])).await.unwrap();
    log.delete(&run("a")).await.unwrap();
    while wal(directory.path(), 1).exists() {
        tokio::task::yield_now().await;
    }
    assert_eq!(log.stat(&run("a")).await, Err(ReadError::Deleted));
}

#[tokio::test]
async fn runs_at_rest_are_not_in_the_map() {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { wal_bytes_max: 300_000, ..options() };
    let log = open_with(directory.path(), options.clone(), "boot").unwrap();
    for at in 0..1_000 {
        log.append(batch(&format!("run-{at:05}"), &["an event", "another"])).await.unwrap();
    }
    assert_eq!(log.measure().streams_changed, 1_000);
    let before = log.measure().index_bytes;
    seal(&log).await;
    // The one that filled the log is in the next one too.
    assert_eq!((log.measure().streams_changed, log.measure().streams), (1, 1_001));
    assert!(log.measure().index_bytes < before / 3);
    log.append(batch("run-00500", &["a third"])).await.unwrap();
    assert_eq!(log.measure().streams_changed, 2);
    assert_eq!(events(&*log, "run-00500").await.unwrap(), ["an event", "another", "a third"]);
    assert_eq!(
        log.measure().events,
        2_001 + log.stat(&run("filler")).await.unwrap().unwrap().last.get()
    );
    let listed = log.list(Some(&run("run-00498")), 3).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|(run, stat)| (run.as_str(), stat.last.get())).collect();
    assert_eq!(listed, [("run-00499", 2), ("run-00500", 3), ("run-00501", 2)]);
}

#[tokio::test]
async fn a_disk_that_fills_up_while_a_segment_is_made_gets_its_place_back() {
    let directory = tempfile::tempdir().unwrap();
    let faults = Arc::<Faults>::default();
    let surroundings = machine("boot", &faults);
    let merging = EmbeddedOptions { merge_segments: 3, ..options() };
    let log = EmbeddedLog::open_in(directory.path(), merging, surroundings, Arc::new(())).unwrap();
    let mut count = 0;
    let mut rooms = (0..2_400).chain(5_000..8_000).step_by(150);
    *faults.only_of.lock().unwrap() = "seg-";
    let mut merged = 0;
    loop {
        log.append(batch("a", &[&text("a", count)])).await.unwrap();
        count += 1;
        if log.measure().wals_waiting == 0 {
            continue;
        }
        let Some(room) = rooms.next() else { break };
        faults.set_room(Some(room));
        let made = segments(directory.path());
        loop {
            match log.keep_up() {
                Ok(true) => {}
                Ok(false) => break,
                Err(reason) => {
                    assert!(reason.contains(".seg"), "{reason}");
                    assert!(segments(directory.path()).len() <= made.len() + 1, "it is given back");
                    assert!(log.measure().upkeep_failures > 0);
                    break;
                }
            }
        }
        merged = merged.max(log.measure().written.merge);
        assert_eq!(log.health(), LogHealth::Healthy, "appends go on");
        assert_eq!(events(&*log, "a").await.unwrap().len(), count);
    }
    assert!(merged > 0, "some of it were merges");
    *faults.only_of.lock().unwrap() = "manifest";
    faults.set_room(Some(20));
    assert!(log.keep_up().unwrap_err().contains("manifest"));
    let copy = killed(directory.path());
    assert_eq!(events(&*reopen(copy.path()).unwrap(), "a").await.unwrap().len(), count);
    faults.set_room(None);
    keep_up(&log);
    assert_eq!(log.measure().wals_waiting, 0);
    assert_eq!((log.measure().files, log.measure().disk_bytes), bytes_in(directory.path()));
    assert_eq!(events(&*log, "a").await.unwrap().len(), count);
    let copy = killed(directory.path());
    assert_eq!(events(&*reopen(copy.path()).unwrap(), "a").await.unwrap().len(), count);
}

#[tokio::test]
async fn a_file_that_could_not_be_synced_is_never_used() {
    let directory = tempfile::tempdir().unwrap();
    let faults = Arc::<Faults>::default();
    let surroundings = machine("boot", &faults);
    let log =
        EmbeddedLog::open_in(directory.path(), options(), surroundings, Arc::new(())).unwrap();
    while log.measure().wals_waiting == 0 {
        log.append(batch("a", &[&text("a", 0)])).await.unwrap();
    }
    let before = events(&*log, "a").await.unwrap();
    for name in ["seg-", "manifest"] {
        *faults.only_of.lock().unwrap() = name;
        faults.sync_fails.store(true, Ordering::SeqCst);
        let reason = log.keep_up().unwrap_err();
        assert!(reason.contains(name), "{reason}");
        faults.sync_fails.store(false, Ordering::SeqCst);
        assert_eq!(log.health(), LogHealth::Healthy);
    }
    keep_up(&log);
    let made = segments(directory.path());
    assert_eq!(made.len(), 1);
    assert!(made[0].ends_with("seg-0000000003.seg"), "{made:?}");
    assert_eq!(events(&*log, "a").await.unwrap(), before);
}

#[tokio::test]
async fn appends_are_refused_with_the_reason_when_too_much_waits_to_be_sealed() {
    let directory = tempfile::tempdir().unwrap();
    let faults = Arc::<Faults>::default();
    *faults.only_of.lock().unwrap() = "seg-";
    faults.set_room(Some(0));
    let options =
        EmbeddedOptions { wals_waiting_max: 3, upkeep: UpkeepBy::Background, ..options() };
    let surroundings = machine("boot", &faults);
    let log = EmbeddedLog::open_in(directory.path(), options, surroundings, Arc::new(())).unwrap();
    let mut stored = 0;
    let refused = loop {
        match log.append(batch("a", &[&text("a", stored)])).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    let AppendError::Unavailable { reason } = &refused else { panic!("{refused:?}") };
    assert!(reason.contains("3 full write-ahead logs wait") && reason.contains(".seg"), "{reason}");
    assert!(matches!(log.health(), LogHealth::Full { .. }));
    assert_eq!(events(&*log, "a").await.unwrap().len(), stored, "readers go on");
    faults.set_room(None);
    while log.append(batch("a", &["on again"])).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(log.health(), LogHealth::Healthy);
    assert_eq!(events(&*log, "a").await.unwrap().len(), stored + 1);
}

#[tokio::test]
async fn a_list_passes_over_any_number_of_deleted_runs() {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { wal_bytes_max: 3_000_000, ..options() };
    let log = open_with(directory.path(), options, "boot").unwrap();
    let name = |at: usize| format!("run-{at:05}");
    let kept = |at: &usize| at % 4_000 == 7;
    for at in 0..9_000 {
        log.append(batch(&name(at), &["an event"])).await.unwrap();
    }
    for at in (0..9_000).filter(|at| !kept(at)) {
        log.delete(&run(&name(at))).await.unwrap();
    }
    let expected: Vec<_> = (0..9_000).filter(kept).map(|at| run(&name(at))).collect();
    for _ in 0..2 {
        for limit in [1, 2, 3, 100] {
            let listed = log.list(Some(&run("filler")), limit).await.unwrap();
            let listed = listed.into_iter().map(|(run, _)| run);
            assert!(listed.eq(expected.iter().take(limit).cloned()));
        }
        seal(&log).await;
    }
}

#[tokio::test]
async fn deleted_runs_are_forgotten_when_there_are_too_many_and_their_epochs_never_come_back() {
    let mut directory = tempfile::tempdir().unwrap();
    let options = || EmbeddedOptions {
        wal_bytes_max: 400,
        merge_segments: 2,
        tombstones_max: 5,
        ..options()
    };
    let mut log = open_with(directory.path(), options(), "boot").unwrap();
    log.append(batch("stays", &["x"])).await.unwrap();
    let mut epochs: HashMap<String, Epoch> = HashMap::new();
    for round in 0..6 {
        for at in 0..30 {
            let name = format!("run-{at}");
            let made = log.append(batch(&name, &["an event of some length"])).await.unwrap();
            let before = epochs.insert(name.clone(), made.epoch);
            assert!(before.is_none_or(|before| before < made.epoch), "{name}: {before:?} {made:?}");
            log.delete(&run(&name)).await.unwrap();
            if at % 7 == 0 {
                log.keep_up().unwrap();
            }
            if at % 11 == 0 {
                let copy = killed(directory.path());
                log = open_with(copy.path(), options(), "boot").unwrap();
                directory = copy;
            }
        }
        keep_up(&log);
        let mut forgotten = 0;
        for at in 0..30 {
            match log.stat(&run(&format!("run-{at}"))).await {
                Ok(None) => forgotten += 1,
                Err(ReadError::Deleted) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(forgotten > 10, "{forgotten} of 30");
        let new = log.append(batch(&format!("new-{round}"), &["x"])).await.unwrap();
        assert!(new.epoch > Epoch::FIRST, "it may have been there");
        assert_eq!(events(&*log, &format!("new-{round}")).await.unwrap(), ["x"]);
    }
    assert_eq!(events(&*log, "stays").await.unwrap(), ["x"]);
    assert_eq!(log.stat(&run("stays")).await.unwrap().unwrap().epoch, Epoch::FIRST);
    assert_eq!(log.measure().streams, 7);
}
