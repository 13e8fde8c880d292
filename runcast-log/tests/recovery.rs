//! What a log is after a crash, after damage, and after a clean end.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use proptest::prelude::*;
use runcast_event::{Epoch, Offset};
use runcast_log::{
    Append, AppendError, Durability, EmbeddedLog, EmbeddedOptions, FORMAT_VERSION, Log, OpenError,
    ReadError, StreamStat,
};
use support::{
    Faults, batch, events, killed, machine, open, open_with, run, stamped, wal, without_room,
    without_upkeep,
};

/// Durability that never syncs by itself in a test's time.
fn relaxed() -> EmbeddedOptions {
    let durability = Durability::Relaxed { sync_every: Duration::from_secs(3_600) };
    EmbeddedOptions { durability, ..without_room() }
}

async fn stat(log: &dyn Log, name: &str) -> StreamStat {
    log.stat(&run(name)).await.unwrap().unwrap()
}

fn length(directory: &Path) -> u64 {
    std::fs::metadata(wal(directory, 1)).unwrap().len()
}

/// A log with one group for each number, killed; where each group ends, from the opening's on.
async fn groups(count: usize, options: EmbeddedOptions) -> (tempfile::TempDir, Vec<u64>) {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), options, "boot").unwrap();
    let mut ends = vec![length(directory.path())];
    for at in 0..count {
        log.append(batch("a", &[&at.to_string(), "second"])).await.unwrap();
        ends.push(length(directory.path()));
    }
    (killed(directory.path()), ends)
}

fn damage(directory: &Path, number: u32, at: usize) {
    let mut bytes = std::fs::read(wal(directory, number)).unwrap();
    bytes[at] ^= 0x40;
    std::fs::write(wal(directory, number), bytes).unwrap();
}

#[tokio::test]
async fn a_log_that_is_cut_anywhere_keeps_every_whole_group_and_invents_none() {
    let (directory, ends) = groups(4, without_room()).await;
    let whole = std::fs::read(wal(directory.path(), 1)).unwrap();
    // In a file that ends where its groups do, and in one with room.
    for (cut, room) in (ends[0] as usize..=whole.len()).flat_map(|cut| [(cut, 0), (cut, 300)]) {
        let bytes = [&whole[..cut], &vec![0; room]].concat();
        std::fs::write(wal(directory.path(), 1), bytes).unwrap();
        let kept = ends.iter().filter(|end| **end <= cut as u64).count() - 1;
        let log = open(directory.path());
        let read = events(&*log, "a").await;
        let expected: Vec<String> =
            (0..kept).flat_map(|at| [at.to_string(), "second".to_owned()]).collect();
        match kept {
            0 => assert_eq!(read, Err(ReadError::NotFound)),
            _ => assert_eq!(read.unwrap(), expected, "cut at {cut}"),
        }
        let next = log.append(batch("a", &["next"])).await.unwrap();
        assert_eq!((next.epoch, next.last.get()), (Epoch::FIRST, kept as u64 * 2 + 1));
    }
}

#[tokio::test]
async fn a_tail_that_was_cut_off_does_not_come_back() {
    let (directory, ends) = groups(3, without_room()).await;
    let whole = std::fs::read(wal(directory.path(), 1)).unwrap();
    std::fs::write(wal(directory.path(), 1), &whole[..ends[3] as usize - 1]).unwrap();
    for opened in 0..3 {
        let log = open(directory.path());
        assert_eq!(events(&*log, "a").await.unwrap().len(), 4 + opened);
        log.append(batch("a", &["x"])).await.unwrap();
    }
}

#[tokio::test]
async fn a_flipped_bit_in_an_acknowledged_group_is_refused() {
    let (directory, ends) = groups(3, without_room()).await;
    let whole = std::fs::read(wal(directory.path(), 1)).unwrap();
    for at in 0..ends[2] as usize {
        std::fs::write(wal(directory.path(), 1), &whole).unwrap();
        damage(directory.path(), 1, at);
        let error = open_with(directory.path(), EmbeddedOptions::default(), "boot").err();
        match error.unwrap_or_else(|| panic!("byte {at} was taken")) {
            OpenError::Damaged { path, position, .. } => {
                assert_eq!(path, wal(directory.path(), 1));
                assert!(
                    position <= at as u64
                        && (at < 64 || ends.contains(&position) || position == 64)
                );
            }
            OpenError::Foreign { .. } => assert!(at < 8, "byte {at}"),
            OpenError::Newer { .. } => assert!((8..12).contains(&at), "byte {at}"),
            other => panic!("byte {at}: {other}"),
        }
        let left = std::fs::read(wal(directory.path(), 1)).unwrap();
        assert_eq!(left.len(), whole.len(), "nothing is changed");
    }
}

#[tokio::test]
async fn damage_in_a_file_that_is_not_the_newest_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { wal_bytes_max: 300, ..without_room() };
    let log = open_with(directory.path(), options.clone(), "boot").unwrap();
    for _ in 0..10 {
        log.append(batch("a", &["an event of some length"])).await.unwrap();
    }
    let directory = killed(directory.path());
    assert!(wal(directory.path(), 3).exists());
    let whole = std::fs::read(wal(directory.path(), 2)).unwrap();
    let refused = |what: &str| {
        let error = open_with(directory.path(), options.clone(), "boot").err();
        error.unwrap_or_else(|| panic!("{what} was taken"))
    };
    for at in 0..whole.len() {
        damage(directory.path(), 2, at);
        refused(&format!("byte {at}"));
        std::fs::write(wal(directory.path(), 2), &whole[..at]).unwrap();
        refused(&format!("cut at {at}"));
        std::fs::write(wal(directory.path(), 2), &whole).unwrap();
    }
    std::fs::rename(wal(directory.path(), 2), directory.path().join("away")).unwrap();
    let error = refused("a missing file").to_string();
    assert!(error.contains("wal-0000000002.log") && error.contains("missing"), "{error}");
    std::fs::rename(directory.path().join("away"), wal(directory.path(), 2)).unwrap();
    let log = open_with(directory.path(), options, "boot").unwrap();
    assert_eq!(events(&*log, "a").await.unwrap().len(), 10);
}

#[tokio::test]
async fn a_damaged_event_is_an_error_of_its_reader_and_never_wrong_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), without_room(), "boot").unwrap();
    log.append(batch("a", &["good"])).await.unwrap();
    let end = length(directory.path());
    log.append(batch("b", &["bad"])).await.unwrap();
    log.append(batch("a", &["good"])).await.unwrap();
    damage(directory.path(), 1, end as usize + 44 + 15);
    let Err(ReadError::Damaged { reason, .. }) = events(&*log, "b").await else { panic!("damage") };
    assert!(reason.contains("wal-0000000001.log") && reason.contains("checksum"), "{reason}");
    assert_eq!(events(&*log, "a").await.unwrap(), ["good", "good"]);
}

/// Everything that a log knows, told from outside.
async fn fill(log: &dyn Log) {
    log.append(stamped("open", &["0", "1", "2"], "p", 3, 0)).await.unwrap();
    log.append(stamped("open", &["x"], "q", 0, 0)).await.unwrap();
    log.append(Append { close: true, ..stamped("closed", &["0", "end"], "p", 0, 0) })
        .await
        .unwrap();
    log.append(batch("gone", &["x"])).await.unwrap();
    log.delete(&run("gone")).await.unwrap();
    log.append(batch("again", &["x", "y"])).await.unwrap();
    log.delete(&run("again")).await.unwrap();
    log.append(batch("again", &["z"])).await.unwrap();
}

async fn check(log: &dyn Log) {
    assert_eq!(events(log, "open").await.unwrap(), ["0", "1", "2", "x"]);
    let repeated = log.append(stamped("open", &["1", "2"], "p", 3, 1)).await.unwrap();
    assert_eq!((repeated.stored, repeated.duplicates), (0, 2));
    let fenced = log.append(stamped("open", &["1"], "p", 2, 0)).await;
    assert_eq!(fenced, Err(AppendError::Fenced { epoch: 2, current: 3 }));
    let closed = log.append(batch("closed", &["late"])).await;
    assert_eq!(closed, Err(AppendError::Closed { last: Offset::new(2) }));
    let repeated = log.append(stamped("closed", &["0", "end"], "p", 0, 0)).await.unwrap();
    assert_eq!(repeated.duplicates, 2);
    assert_eq!(log.stat(&run("gone")).await, Err(ReadError::Deleted));
    assert_eq!(events(log, "again").await.unwrap(), ["z"]);
    let again = stat(log, "again").await;
    let second = Epoch::FIRST.next();
    assert_eq!((again.epoch, &*again.epoch_bases), (second, &[(second, Offset::START)][..]));
    let names = log.list(None, 10).await.unwrap();
    let names: Vec<_> = names.iter().map(|(run, _)| run.as_str()).collect();
    assert_eq!(names, ["again", "closed", "open"]);
}

#[tokio::test]
async fn a_log_is_the_same_after_a_clean_end_and_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let options = || EmbeddedOptions { wal_bytes_max: 400, ..EmbeddedOptions::default() };
    // No file comes or goes while they are copied.
    let still = EmbeddedOptions { wal_bytes_max: 400, ..without_upkeep() };
    let log = open_with(directory.path(), still, "boot").unwrap();
    fill(&*log).await;
    check(&*log).await;
    let copy = killed(directory.path());
    check(&*open_with(copy.path(), options(), "boot").unwrap()).await;
    log.shut_down().await;
    for boot in ["boot", "another"] {
        let log = open_with(directory.path(), options(), boot).unwrap();
        check(&*log).await;
        log.shut_down().await;
    }
    let log = open(directory.path());
    assert_eq!(log.append(batch("gone", &["new"])).await.unwrap().epoch, Epoch::FIRST.next());
}

#[tokio::test]
async fn a_log_that_is_dropped_lets_go_of_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let log = open(directory.path());
        log.append(batch("a", &["x"])).await.unwrap();
    }
    assert_eq!(events(&*open(directory.path()), "a").await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_who_has_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let _log = open(directory.path());
    let error = open_with(directory.path(), EmbeddedOptions::default(), "boot").err().unwrap();
    assert!(matches!(error, OpenError::Locked { .. }));
    let text = error.to_string();
    let pid = std::process::id().to_string();
    assert!(text.contains(&pid) && text.contains(directory.path().to_str().unwrap()), "{text}");
}

#[tokio::test]
async fn a_directory_of_a_newer_format_is_refused() {
    let (directory, _) = groups(1, EmbeddedOptions::default()).await;
    let mut bytes = std::fs::read(wal(directory.path(), 1)).unwrap();
    bytes[8] = FORMAT_VERSION as u8 + 1;
    std::fs::write(wal(directory.path(), 1), bytes).unwrap();
    let error = open_with(directory.path(), EmbeddedOptions::default(), "boot").err().unwrap();
    assert!(matches!(error, OpenError::Newer { found, .. } if found == FORMAT_VERSION + 1));
}

#[tokio::test]
async fn what_is_not_a_log_is_refused_and_left_alone() {
    for (name, content) in
        [("wal-0000000001.log", &b"my diary"[..]), ("wal-1.log", b""), ("wal-0000000001.log", b"")]
    {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        let error = open_with(directory.path(), EmbeddedOptions::default(), "boot").err().unwrap();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()));
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = open_with(file.path(), EmbeddedOptions::default(), "boot").err().unwrap();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_was_not_finished_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("wal-0000000001.log.new"), b"half a hea").unwrap();
    let log = open(&directory.path().join("."));
    log.append(batch("a", &["x"])).await.unwrap();
    assert!(!directory.path().join("wal-0000000001.log.new").exists());
}

#[tokio::test]
async fn relaxed_a_kill_loses_nothing_and_a_crash_of_the_machine_begins_an_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), relaxed(), "boot").unwrap();
    fill(&*log).await;
    let copy = killed(directory.path());
    let after_kill = open_with(copy.path(), relaxed(), "boot").unwrap();
    check(&*after_kill).await;
    assert_eq!(stat(&*after_kill, "open").await.epoch, Epoch::FIRST);

    let copy = killed(directory.path());
    let second = Epoch::FIRST.next();
    for boot in ["another", "another", "third"] {
        // Opened with the default durability, so that the next crash loses nothing.
        let log = open_with(copy.path(), EmbeddedOptions::default(), boot).unwrap();
        let open = stat(&*log, "open").await;
        assert_eq!((open.epoch, &*open.epoch_bases), (second, &[(second, Offset::new(4))][..]));
        assert_eq!(stat(&*log, "closed").await.epoch, Epoch::FIRST);
        let again = stat(&*log, "again").await;
        let bases = [(second, Offset::START), (second.next(), Offset::new(1))];
        assert_eq!((again.epoch, &*again.epoch_bases), (second.next(), &bases[..]));
        let killed = killed(copy.path());
        drop(log);
        let log = open_with(killed.path(), EmbeddedOptions::default(), "fourth").unwrap();
        // What was lost may have had these names: they share no epoch with it.
        assert_eq!(log.append(batch("new", &["x"])).await.unwrap().epoch, second);
        assert_eq!(stat(&*log, "new").await.epoch_bases[0], (second, Offset::START));
        assert_eq!(log.append(batch("gone", &["x"])).await.unwrap().epoch, second.next());
    }
}

#[tokio::test]
async fn relaxed_a_clean_end_begins_no_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), relaxed(), "boot").unwrap();
    log.append(batch("a", &["x"])).await.unwrap();
    log.shut_down().await;
    let log = open_with(directory.path(), relaxed(), "another").unwrap();
    assert_eq!(stat(&*log, "a").await.epoch, Epoch::FIRST);
}

#[tokio::test]
async fn relaxed_groups_that_reached_the_disk_out_of_order_are_lost_and_not_damage() {
    let (directory, ends) = groups(5, relaxed()).await;
    let mut bytes = std::fs::read(wal(directory.path(), 1)).unwrap();
    bytes[ends[2] as usize..ends[3] as usize].fill(0);
    std::fs::write(wal(directory.path(), 1), bytes).unwrap();
    for _ in 0..2 {
        let log = open_with(directory.path(), relaxed(), "another").unwrap();
        assert_eq!(events(&*log, "a").await.unwrap(), ["0", "second", "1", "second"]);
        let stat = stat(&*log, "a").await;
        let second = Epoch::FIRST.next();
        assert_eq!((stat.epoch, &*stat.epoch_bases), (second, &[(second, Offset::new(4))][..]));
        log.shut_down().await;
    }
}

#[tokio::test]
async fn relaxed_damage_to_what_was_synced_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), relaxed(), "boot").unwrap();
    log.append(batch("a", &["x"])).await.unwrap();
    let end = length(directory.path());
    log.append(batch("b", &["x"])).await.unwrap();
    // A deletion is synced, and what is before it with it.
    log.delete(&run("b")).await.unwrap();
    log.append(batch("a", &["y"])).await.unwrap();
    let directory = killed(directory.path());
    damage(directory.path(), 1, end as usize + 50);
    let error = open_with(directory.path(), relaxed(), "another").err().unwrap();
    assert!(matches!(error, OpenError::Damaged { position, .. } if position == end), "{error}");
}

#[tokio::test]
async fn relaxed_events_are_synced_in_time_without_a_further_append() {
    let directory = tempfile::tempdir().unwrap();
    let faults = Arc::<Faults>::default();
    let sync_every = Duration::from_millis(5);
    let options = EmbeddedOptions { durability: Durability::Relaxed { sync_every }, ..relaxed() };
    let surroundings = machine("boot", &faults);
    let log = EmbeddedLog::open_in(directory.path(), options, surroundings, Arc::new(())).unwrap();
    faults.hold_syncs();
    let before = faults.syncs.load(Ordering::SeqCst);
    log.append(batch("a", &["x"])).await.unwrap();
    assert_eq!(events(&*log, "a").await.unwrap(), ["x"], "acknowledged and read before the sync");
    faults.release_syncs();
    while faults.syncs.load(Ordering::SeqCst) == before {
        tokio::task::yield_now().await;
    }
}

/// A file of three whole groups of known ends.
fn three_groups() -> &'static (Vec<u8>, Vec<u64>) {
    static GROUPS: OnceLock<(Vec<u8>, Vec<u64>)> = OnceLock::new();
    GROUPS.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (directory, ends) = runtime.block_on(groups(3, without_room()));
        (std::fs::read(wal(directory.path(), 1)).unwrap(), ends)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_at_the_end_are_cut_off_or_refused_and_never_become_events(
        keep in 0..4_usize,
        tear in prop::option::of((0..60_usize, prop::collection::vec(any::<u8>(), 1..20))),
        garbage in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (whole, ends) = three_groups();
        let mut bytes = whole[..ends[keep] as usize].to_vec();
        if let Some((at, torn)) = tear && keep < 3 {
            // The beginning of the next group, with other bytes over it.
            let next = &whole[ends[keep] as usize..ends[keep + 1] as usize];
            let at = at.min(next.len() - 1);
            bytes.extend_from_slice(&next[..at]);
            bytes.extend_from_slice(&torn);
        }
        bytes.extend_from_slice(&garbage);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(wal(directory.path(), 1), bytes).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let log = open(directory.path());
        let read = runtime.block_on(events(&*log, "a")).map_or(0, |events| events.len());
        prop_assert_eq!(read, keep * 2);
    }
}

#[tokio::test]
async fn relaxed_an_epoch_begins_for_runs_at_rest_too() {
    let mut directory = tempfile::tempdir().unwrap();
    let options = || EmbeddedOptions { wal_bytes_max: 100, merge_segments: 2, ..relaxed() };
    let mut log = open_with(directory.path(), options(), "boot").unwrap();
    fill(&*log).await;
    check(&*log).await;
    let mut epoch = Epoch::FIRST;
    let mut bases = Vec::new();
    for boot in 0..6 {
        // Everything is at rest, in segments of several epochs or in one.
        let is_merged = boot % 2 == 1;
        while log.keep_up().unwrap() && (is_merged || log.measure().wals_waiting > 0) {}
        let copy = killed(directory.path());
        drop(log);
        directory = copy;
        epoch = epoch.next();
        bases.push((epoch, Offset::new(4)));
        log = open_with(directory.path(), options(), &format!("boot {boot}")).unwrap();
        let open = stat(&*log, "open").await;
        assert_eq!((open.epoch, &*open.epoch_bases), (epoch, &bases[..]), "boot {boot}");
        assert_eq!(stat(&*log, "closed").await.epoch, Epoch::FIRST);
        assert_eq!(stat(&*log, "again").await.epoch, epoch.next());
        let listed = log.list(None, 10).await.unwrap();
        assert!(listed.iter().any(|(run, stat)| run.as_str() == "open" && *stat == open));
        let made = log.append(batch(&format!("new-{boot}"), &["x"])).await.unwrap();
        assert_eq!(made.epoch, epoch, "a name that was never used");
        log.append(batch("filler", &["x".repeat(200).as_str()])).await.unwrap();
    }
    assert_eq!(log.append(batch("gone", &["x"])).await.unwrap().epoch, epoch.next());
}
