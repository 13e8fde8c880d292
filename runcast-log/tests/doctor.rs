//! What a check finds in directories that are damaged in every way, and what a repair makes of them:
//! a log that opens, in which every event is the one that was appended there, or an error.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use runcast_event::Offset;
use runcast_log::doctor::{Checkup, check, repair};
use runcast_log::{
    Append, EmbeddedLog, EmbeddedOptions, Log, OpenError, ReadError, ReadLimit, Trim,
};
use support::{
    ALL, JoinAll, batch, busy, events, keep_up, killed, open, open_with, run, stamped, texts,
    without_room,
};

fn checked(directory: &Path) -> Checkup {
    check(directory, &mut |_, _| {}).unwrap()
}

fn repaired(directory: &Path) -> Vec<String> {
    repair(directory, 1, &mut |_, _| {}).unwrap().done
}

fn text(name: &str, offset: u64) -> String {
    format!("event {offset} of {name}")
}

/// Appends the next events of a run, each of which says which it is.
async fn add(log: &EmbeddedLog, name: &str, count: u64) {
    let last = log.stat(&run(name)).await.unwrap().map_or(0, |stat| stat.last.get());
    let texts: Vec<String> = (last + 1..=last + count).map(|at| text(name, at)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    log.append(batch(name, &texts)).await.unwrap();
}

fn base(name: &str, first: u64) -> String {
    format!("what stands for {name} before {first}")
}

/// Gives up a run's events before one, with something in their place that says which they are.
async fn trim(log: &EmbeddedLog, name: &str, first: u64) {
    let trim = Trim { base: base(name, first).into(), ..Trim::before(Offset::new(first)) };
    assert!(log.trim(&run(name), trim).await.unwrap());
}

/// A log with segments of two levels, an erased run, trimmed runs, a run whose events are stored as one,
/// and write-ahead logs.
async fn log_in(directory: &Path) -> Arc<EmbeddedLog> {
    let options = EmbeddedOptions { wal_bytes_max: 500, merge_segments: 3, ..without_room() };
    let log = open_with(directory, options, "boot").unwrap();
    log.join_by(Arc::new(JoinAll));
    for _ in 0..10 {
        for name in ["a", "b", "c"] {
            add(&log, name, 2).await;
        }
    }
    add(&log, "ended", 4).await;
    log.append(Append { close: true, ..batch("ended", &["event 5 of ended"]) }).await.unwrap();
    log.delete(&run("c")).await.unwrap();
    trim(&log, "b", 4).await;
    add(&log, "trimmed", 6).await;
    trim(&log, "trimmed", 3).await;
    add(&log, "trimmed-to-its-end", 2).await;
    trim(&log, "trimmed-to-its-end", 3).await;
    for _ in 0..6 {
        add(&log, "d", 3).await;
    }
    keep_up(&log);
    for _ in 0..4 {
        add(&log, "a", 1).await;
        add(&log, "e", 2).await;
        add(&log, "b", 1).await;
    }
    trim(&log, "trimmed", 5).await;
    add(&log, "trimmed", 1).await;
    log.append(stamped("p", &["event 1 of p"], "producer", 1, 0)).await.unwrap();
    log
}

/// What can be read of a log, run by run: offsets and texts. Each text must be that of its place; and
/// what stands for trimmed events is there, or an error.
async fn readable(directory: &Path) -> BTreeMap<String, Vec<u64>> {
    let log = open(directory);
    let mut found = BTreeMap::new();
    for (run, stat) in log.list(None, usize::MAX).await.unwrap() {
        let mut after = Offset::new(stat.first.get() - 1);
        let mut offsets = Vec::new();
        while after < stat.last {
            let limit = ReadLimit { events_max: 1, bytes_max: 1 };
            match log.read(&run, after, limit).await {
                Ok(page) => {
                    let (offset, event) = texts(&page).pop().unwrap();
                    assert_eq!(offset, after.get() + 1);
                    assert_eq!(event, text(run.as_str(), offset), "never another event");
                    offsets.push(offset);
                    after = Offset::new(offset);
                }
                Err(ReadError::Damaged { last, .. }) => {
                    assert!(last > after);
                    after = last;
                }
                other => panic!("{other:?}"),
            }
        }
        found.insert(run.as_str().to_owned(), offsets);
        let (name, first) = (run.as_str(), stat.first.get());
        match log.base(&run).await {
            Ok(Some(stands)) => {
                assert_eq!(stands, base(name, first), "never another");
                found.insert(format!("the base of {name}"), vec![first]);
            }
            Ok(None) => assert_eq!(first, 1, "of {name} it is missing, and nobody is told"),
            Err(ReadError::Damaged { last, .. }) => assert_eq!(last.get() + 1, first),
            other => panic!("{other:?}"),
        }
    }
    log.shut_down().await;
    found
}

fn names(directory: &Path, start: &str) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(start)).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_sound_log_is_sound_also_while_it_is_served_and_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let _served = log_in(directory.path()).await;
    let checkup = checked(directory.path());
    assert!(checkup.served_by.is_some() && checkup.findings.is_empty(), "{checkup:?}");
    assert!(checkup.segments > 1 && checkup.wals > 1 && checkup.runs == 8, "{checkup:?}");
    let served = repair(directory.path(), 1, &mut |_, _| {});
    assert!(matches!(served, Err(OpenError::Locked { .. })), "{served:?}");
    let copy = killed(directory.path());
    let checkup = checked(copy.path());
    assert!(checkup.is_sound() && checkup.findings.is_empty(), "{checkup:?}");
    assert_eq!(checkup.served_by, None);
    let before = readable(copy.path()).await;
    assert_eq!(repaired(copy.path()), Vec::<String>::new());
    assert_eq!(readable(copy.path()).await, before);
}

/// Where a record is of a trim that kept a run's events from `first` on.
fn trim_record(bytes: &[u8], name: &str, first: u64) -> std::ops::Range<usize> {
    let base = base(name, first);
    let base_at = bytes.windows(base.len()).position(|part| part == base.as_bytes());
    base_at.map_or(0..0, |at| at - (12 + name.len() + 1)..at + base.len())
}

#[tokio::test]
async fn a_flipped_byte_in_any_file_is_found_and_costs_few_events() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path()).await;
    let whole = killed(directory.path());
    log.shut_down().await;
    let all = readable(killed(whole.path()).path()).await;
    let newest = names(whole.path(), "wal-").pop().unwrap();
    let mut files = names(whole.path(), "seg-");
    files.extend(names(whole.path(), "wal-"));
    files.push("manifest".to_owned());
    for name in files {
        let bytes = fs::read(whole.path().join(&name)).unwrap();
        // More was trimmed since.
        let given_up = trim_record(&bytes, "trimmed", 3);
        let kept = [("b", 4), ("trimmed", 5)];
        for at in (0..bytes.len()).step_by(13) {
            let copy = killed(whole.path());
            let mut other = bytes.clone();
            other[at] ^= 0x41;
            fs::write(copy.path().join(&name), &other).unwrap();
            let what = format!("{name}, byte {at}");
            let before = match check(copy.path(), &mut |_, _| {}) {
                Ok(before) => before,
                // A version of which nothing is known.
                Err(OpenError::Newer { .. }) => continue,
                Err(error) => panic!("{what}: {error}"),
            };
            // The last group may be one that nobody was told of; what erased blocks have is nothing.
            let erased = name.starts_with("seg") && (bytes[at] == 0 || given_up.contains(&at));
            assert!(!before.findings.is_empty() || erased, "{what}");
            let opens = EmbeddedLog::open(copy.path(), EmbeddedOptions::default(), Arc::new(()));
            let opens = opens.map(drop).is_ok();
            let copy = killed(whole.path());
            fs::write(copy.path().join(&name), &other).unwrap();
            if before.is_sound() {
                assert!(opens, "{what}: {before:?}");
            }
            let repaired = repair(copy.path(), 1, &mut |_, _| {});
            let repaired = repaired.unwrap_or_else(|error| panic!("{what}: {error} {before:?}"));
            let now = readable(copy.path()).await;
            let mut lost = 0;
            for (run, offsets) in &all {
                let now = now.get(run).map_or(&[][..], Vec::as_slice);
                lost += offsets.iter().filter(|offset| !now.contains(offset)).count();
            }
            for (run, first) in kept {
                let is_hit = trim_record(&bytes, run, first).contains(&at);
                let base = now.get(&format!("the base of {run}"));
                assert!(is_hit || base == Some(&vec![first]), "{what}: {run} {before:?}");
            }
            // A block, or an append; of the manifest nothing.
            let max = if name == "manifest" {
                0
            } else if name == newest {
                3
            } else {
                20
            };
            assert!(lost <= max, "{what}: {lost} lost, {before:?} {repaired:?}");
        }
    }
}

#[tokio::test]
async fn a_missing_file_costs_what_was_in_it_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path()).await;
    let whole = killed(directory.path());
    log.shut_down().await;
    let all = readable(killed(whole.path()).path()).await;
    let mut files = names(whole.path(), "seg-");
    files.extend(names(whole.path(), "wal-"));
    files.push("manifest".to_owned());
    for name in files {
        let copy = killed(whole.path());
        fs::remove_file(copy.path().join(&name)).unwrap();
        let before = checked(copy.path());
        let is_last = names(whole.path(), "wal-").last() == Some(&name);
        // That the newest file is gone, nothing tells if there is one before it.
        assert!(is_last || !before.is_sound(), "{name}: {before:?}");
        repaired(copy.path());
        let now = readable(copy.path()).await;
        // What was deleted or trimmed may be back as far as it was not erased.
        let is_whole = |run: &str| {
            !["b", "c", "trimmed", "the base"].iter().any(|start| run.starts_with(start))
        };
        for (run, offsets) in now.iter().filter(|(run, _)| is_whole(run)) {
            assert!(offsets.iter().all(|offset| all[run].contains(offset)), "{name}: {run}");
        }
        if name == "manifest" {
            assert_eq!(now, all);
        }
        let after = checked(copy.path());
        let is_told = |finding: &runcast_log::doctor::Finding| {
            finding.is_harmless || finding.lost_events.is_some()
        };
        assert!(after.findings.iter().all(is_told), "{name}: {after:?}");
    }
}

#[tokio::test]
async fn a_truncated_file_is_found_and_what_is_left_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path()).await;
    let whole = killed(directory.path());
    log.shut_down().await;
    let mut files = names(whole.path(), "seg-");
    files.extend(names(whole.path(), "wal-"));
    files.push("manifest".to_owned());
    for name in files {
        let bytes = fs::read(whole.path().join(&name)).unwrap();
        for at in (0..bytes.len()).step_by(61) {
            let copy = killed(whole.path());
            fs::write(copy.path().join(&name), &bytes[..at]).unwrap();
            // Where a group ends, nothing tells that there was another.
            let is_newest = names(whole.path(), "wal-").last() == Some(&name);
            let is_found = !checked(copy.path()).findings.is_empty();
            assert!(is_found || is_newest, "{name} cut at {at}");
            repaired(copy.path());
            readable(copy.path()).await;
        }
    }
}

#[tokio::test]
async fn what_follows_damage_is_kept_at_its_offsets_and_cursors_are_of_another_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), without_room(), "boot").unwrap();
    for _ in 0..5 {
        add(&log, "a", 1).await;
        add(&log, "b", 1).await;
    }
    log.shut_down().await;
    let path = directory.path().join("wal-0000000001.log");
    let mut bytes = fs::read(&path).unwrap();
    let third = bytes.windows(12).position(|part| part == b"event 3 of a").unwrap();
    bytes[third] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let found = checked(directory.path());
    let lost: Vec<_> = found.findings.iter().filter_map(|f| f.lost_events.clone()).collect();
    assert_eq!(lost, [(run("a"), 3, 3)]);
    let place = found.findings.iter().find(|finding| finding.position.is_some()).unwrap();
    assert_eq!(place.file.as_deref(), Some("wal-0000000001.log"));
    let done = repaired(directory.path());
    assert!(done.iter().any(|done| done.contains("wal-0000000001.log.damaged")), "{done:?}");
    assert_eq!(fs::read(directory.path().join("wal-0000000001.log.damaged")).unwrap(), bytes);
    let read = readable(directory.path()).await;
    assert_eq!((&read["a"][..], &read["b"][..]), (&[1, 2, 4, 5][..], &[1, 2, 3, 4, 5][..]));
    // It goes on, also through seals and merges.
    let options = EmbeddedOptions { wal_bytes_max: 200, merge_segments: 2, ..without_room() };
    let log = open_with(directory.path(), options, "boot").unwrap();
    assert_eq!(log.stat(&run("a")).await.unwrap().unwrap().epoch.get(), 2);
    for _ in 0..10 {
        add(&log, "a", 1).await;
        while log.keep_up().unwrap_or(true) {}
    }
    log.shut_down().await;
    let read = readable(directory.path()).await;
    assert_eq!(read["a"], [&[1, 2][..], &(4..=15).collect::<Vec<_>>()].concat());
    // A second repair finds the hole and changes nothing.
    assert_eq!(repaired(directory.path()), Vec::<String>::new());
    assert!(!checked(directory.path()).is_sound(), "what is lost stays lost");
}

#[tokio::test]
async fn damaged_appends_before_a_trim_cost_nothing_that_it_gave_up() {
    for (damaged, lost) in
        [(&[1][..], &[][..]), (&[2], &[]), (&[1, 2], &[]), (&[3], &[3]), (&[1, 2, 3], &[3])]
    {
        let directory = tempfile::tempdir().unwrap();
        let log = open_with(directory.path(), without_room(), "boot").unwrap();
        for _ in 0..3 {
            add(&log, "a", 1).await;
        }
        trim(&log, "a", 3).await;
        add(&log, "a", 1).await;
        log.shut_down().await;
        let path = directory.path().join("wal-0000000001.log");
        let mut bytes = fs::read(&path).unwrap();
        for offset in damaged {
            let text = text("a", *offset);
            let at = bytes.windows(text.len()).position(|part| part == text.as_bytes()).unwrap();
            bytes[at] ^= 1;
        }
        fs::write(&path, &bytes).unwrap();
        repaired(directory.path());
        let after = checked(directory.path());
        let told: Vec<_> = after.findings.iter().filter_map(|f| f.lost_events.clone()).collect();
        let expected: Vec<_> = lost.iter().map(|at| (run("a"), *at, *at)).collect();
        assert_eq!(told, expected, "{damaged:?}");
        let read = readable(directory.path()).await;
        let kept: Vec<u64> = (3..=4).filter(|offset| !lost.contains(offset)).collect();
        assert_eq!((&read["a"], &read["the base of a"]), (&kept, &vec![3]), "{damaged:?}");
    }
}

#[tokio::test]
async fn a_rebuilt_index_has_ends_tombstones_and_producers_as_before() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path()).await;
    add(&log, "e", 20).await;
    add(&log, "e", 20).await;
    keep_up(&log);
    let ended = log.read(&run("ended"), Offset::START, ALL).await.unwrap().records;
    assert_eq!((ended.len(), ended[0].count), (1, 5), "its events are stored as one");
    let whole = killed(directory.path());
    log.shut_down().await;
    let all = readable(killed(whole.path()).path()).await;
    for name in names(whole.path(), "seg-") {
        let copy = killed(whole.path());
        let path = copy.path().join(&name);
        let mut bytes = fs::read(&path).unwrap();
        // In the trailer: all of the index is there.
        let at = bytes.len() - 20;
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(!checked(copy.path()).is_sound());
        repaired(copy.path());
        let after = checked(copy.path());
        assert!(after.is_sound(), "{name}: {after:?}");
        assert_eq!(readable(copy.path()).await, all, "{name}");
        let log = open(copy.path());
        assert_eq!(events(&*log, "c").await, Err(ReadError::Deleted), "{name}");
        assert!(log.stat(&run("ended")).await.unwrap().unwrap().closed, "{name}");
        let again = log.append(stamped("p", &["event 1 of p"], "producer", 1, 0)).await.unwrap();
        assert_eq!(again.duplicates, 1, "{name}");
        log.shut_down().await;
    }
}

#[tokio::test]
async fn files_of_others_and_doubled_files_are_set_aside_or_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path()).await;
    let whole = killed(directory.path());
    log.shut_down().await;
    let all = readable(killed(whole.path()).path()).await;
    let wal = names(whole.path(), "wal-").pop().unwrap();
    let segment = names(whole.path(), "seg-").pop().unwrap();
    let copied = |from: &str, to: &str| {
        let copy = killed(whole.path());
        fs::copy(copy.path().join(from), copy.path().join(to)).unwrap();
        copy
    };
    for (from, to) in [(&wal, "wal-copy.log"), (&segment, "seg-1 (copy).seg")] {
        let copy = copied(from, to);
        let found = checked(copy.path());
        assert!(!found.is_sound() && found.findings[0].file.as_deref() == Some(to), "{found:?}");
        repaired(copy.path());
        assert!(copy.path().join(format!("{to}.damaged")).exists());
        assert!(checked(copy.path()).is_sound());
        assert_eq!(readable(copy.path()).await, all);
    }
    // A write-ahead log that stands twice, as the next one.
    let number: u32 = wal[4..14].parse().unwrap();
    let copy = copied(&wal, &format!("wal-{:010}.log", number + 1));
    assert!(!checked(copy.path()).is_sound());
    repaired(copy.path());
    assert_eq!(readable(copy.path()).await, all);
    // A segment that no manifest tells of, notes of others, and what was not finished.
    for to in ["seg-0000009999.seg", "notes.txt", "manifest.new", "seg-0000009998.seg.new"] {
        let copy = copied(&segment, to);
        let found = checked(copy.path());
        assert!(found.is_sound() && found.findings.len() == 1, "{to}: {found:?}");
        repaired(copy.path());
        assert_eq!(copy.path().join(to).exists(), to == "notes.txt");
        assert_eq!(readable(copy.path()).await, all);
    }
}

#[tokio::test]
async fn a_repair_that_was_killed_is_done_again() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path()).await;
    let whole = killed(directory.path());
    log.shut_down().await;
    let wals = names(whole.path(), "wal-");
    let path = whole.path().join(&wals[0]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[150] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let at_once = killed(whole.path());
    repaired(at_once.path());
    let expected = readable(at_once.path()).await;
    // New files are there and the manifest is not: all of them, or some.
    let is_new = |name: &String| !whole.path().join(name).exists();
    let made: Vec<String> =
        ["wal-", "seg-"].iter().flat_map(|s| names(at_once.path(), s)).collect();
    let made: Vec<&String> = made.iter().filter(|name| is_new(name)).collect();
    assert!(made.len() > 1, "{made:?}");
    for count in 1..=made.len() {
        let half = killed(whole.path());
        for name in made.iter().rev().take(count).filter(|name| !name.ends_with("damaged")) {
            fs::copy(at_once.path().join(name), half.path().join(name)).unwrap();
        }
        repaired(half.path());
        assert_eq!(readable(half.path()).await, expected);
    }
}

#[test]
fn a_directory_without_a_log_and_one_of_a_newer_version_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let found = check(directory.path(), &mut |_, _| {});
    assert!(matches!(found, Err(OpenError::Foreign { .. })), "{found:?}");
    let found = check(&directory.path().join("none"), &mut |_, _| {});
    assert!(matches!(found, Err(OpenError::Io { .. })), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_at_work_is_never_called_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), busy(), "boot").unwrap();
    let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let load = {
        let (log, ended) = (Arc::clone(&log), Arc::clone(&ended));
        tokio::spawn(async move {
            let mut at = 0_u32;
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                let name = format!("r{}", at % 50);
                log.append(batch(&name, &[&"x".repeat(300), "y"])).await.unwrap();
                if at.is_multiple_of(20) {
                    log.delete(&run(&format!("r{}", at % 7))).await.unwrap();
                    let name = format!("r{}", at % 43);
                    let stat = log.stat(&run(&name)).await.ok().flatten();
                    let last = stat.map_or(Offset::START, |stat| stat.last);
                    let trim = Trim { base: name.clone().into(), ..Trim::before(last) };
                    log.trim(&run(&name), trim).await.unwrap();
                }
                at += 1;
            }
        })
    };
    let mut looked_over = 0;
    while looked_over < 40 {
        let path = directory.path().to_path_buf();
        let found =
            tokio::task::spawn_blocking(move || check(&path, &mut |_, _| {})).await.unwrap();
        // Where files go all the time, it may have to give up; it never says what is not so.
        match found {
            Ok(checkup) => {
                assert!(checkup.is_sound(), "{checkup:?}");
                looked_over += u32::from(checkup.segments > 1);
            }
            Err(error) => assert!(matches!(error, OpenError::Io { .. }), "{error}"),
        }
    }
    ended.store(true, std::sync::atomic::Ordering::Relaxed);
    load.await.unwrap();
}
