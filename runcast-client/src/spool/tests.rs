use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use runcast_event::{RunId, Timestamp};
use serde_json::Value;

use super::*;

const ROOMY: SpoolLimits = SpoolLimits { disk_bytes_max: 1 << 30, memory_bytes_max: 1 << 20 };

fn header() -> Header {
    let run = RunId::new("run").unwrap();
    Header::new(run, "http://127.0.0.1:1".to_owned(), Timestamp::default())
}

fn create(root: &Path, limits: SpoolLimits) -> Arc<Spool> {
    let (spool, error) = Spool::create(root, header(), limits);
    assert!(error.is_none(), "{error:?}");
    Arc::new(spool)
}

fn line(number: u64) -> Bytes {
    format!(r#"{{"type":"my.event","data":{number}}}"#).into()
}

fn append(spool: &Spool, numbers: std::ops::Range<u64>) {
    for number in numbers {
        spool.append(&[line(number)], Timestamp::default());
    }
}

/// All events from `from`, as a sender would read them.
fn read_all(spool: &Arc<Spool>, from: u64) -> Vec<(u64, Bytes)> {
    let mut reader = Reader::new(Arc::clone(spool));
    let (mut events, mut at) = (Vec::new(), from);
    while let Some(batch) = reader.read(at, 7).unwrap() {
        at = batch.end();
        events.extend((batch.first..).zip(batch.lines));
    }
    events
}

fn numbered(numbers: std::ops::Range<u64>) -> Vec<(u64, Bytes)> {
    numbers.map(|number| (number, line(number))).collect()
}

fn only_spool(root: &Path) -> PathBuf {
    let found = leftovers(root).unwrap();
    assert!(found.unreadable.is_empty(), "{found:?}");
    assert_eq!(found.spools.len(), 1);
    found.spools[0].dir.clone()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        entries.filter(|path| path.to_string_lossy().contains("/events-")).collect();
    found.sort();
    found
}

fn gap_of(line: &Bytes) -> Value {
    let event: Value = serde_json::from_slice(line).unwrap();
    assert_eq!(event["type"], "producer.gap", "{event}");
    runcast_event::parse_event(line, Timestamp::default()).unwrap();
    event["data"].clone()
}

#[test]
fn events_are_read_in_order_from_any_number_and_go_when_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let spool = create(root.path(), ROOMY);
    append(&spool, 0..100);
    assert_eq!(read_all(&spool, 0), numbered(0..100));
    assert_eq!(read_all(&spool, 93), numbered(93..100));
    assert_eq!(read_all(&spool, 100), []);
    spool.acknowledge(100);
    assert_eq!(spool.close(), (None, 0));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn segments_go_one_by_one_as_they_are_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let small = SpoolLimits { disk_bytes_max: 1 << 19, ..ROOMY };
    let spool = create(root.path(), small);
    let dir = only_spool(root.path());
    append(&spool, 0..5_000);
    let before = segments(&dir).len();
    assert!(before > 2, "{before}");
    spool.acknowledge(4_999);
    assert_eq!(segments(&dir).len(), 1);
    assert_eq!(read_all(&spool, 4_999), numbered(4_999..5_000));
    append(&spool, 5_000..20_000);
    assert_eq!(spool.progress().lost, 0);
}

#[test]
fn a_spool_cut_at_any_byte_gives_its_whole_events_to_the_next_process() {
    let root = tempfile::tempdir().unwrap();
    let spool = create(root.path(), ROOMY);
    append(&spool, 0..4);
    let dir = only_spool(root.path());
    let path = segments(&dir).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    drop(spool);
    for cut in (0..=whole.len()).rev() {
        fs::write(&path, &whole[..cut]).unwrap();
        let events = memchr::memchr_iter(b'\n', &whole[..cut]).count() as u64;
        let spool = Arc::new(Spool::take_over(&dir, ROOMY).unwrap().unwrap());
        assert_eq!(read_all(&spool, 0), numbered(0..events), "cut at {cut}");
        assert_eq!(spool.progress().next, events);
    }
}

#[test]
fn a_damaged_line_costs_one_event_and_is_told_of_in_its_place() {
    let root = tempfile::tempdir().unwrap();
    let spool = create(root.path(), ROOMY);
    append(&spool, 0..3);
    let path = segments(&only_spool(root.path())).pop().unwrap();
    let line_bytes = fs::metadata(&path).unwrap().len() / 3;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"#", line_bytes + 20).unwrap();
    let events = read_all(&spool, 0);
    assert_eq!((&events[0].1, &events[2].1), (&line(0), &line(2)));
    assert_eq!(gap_of(&events[1].1)["lost_events"], 1);
}

#[test]
fn a_spool_has_one_owner_and_the_next_one_when_that_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let spool = create(root.path(), ROOMY);
    append(&spool, 0..2);
    let dir = only_spool(root.path());
    assert!(Spool::take_over(&dir, ROOMY).unwrap().is_none());
    assert!(leftovers(root.path()).unwrap().spools[0].in_use);
    drop(spool);
    assert!(!leftovers(root.path()).unwrap().spools[0].in_use);
    assert!(Spool::take_over(&dir, ROOMY).unwrap().is_some());
}

#[test]
fn a_full_spool_counts_what_it_drops_and_a_gap_takes_its_place() {
    let root = tempfile::tempdir().unwrap();
    let small = SpoolLimits { disk_bytes_max: 70_000, memory_bytes_max: 1_000 };
    let spool = create(root.path(), small);
    append(&spool, 0..3_000);
    let kept = spool.progress().next;
    assert_eq!(spool.progress().lost, 3_000 - kept);
    assert!((1_000..3_000).contains(&kept), "{kept}");

    assert_eq!(read_all(&spool, 0), numbered(0..kept));
    spool.acknowledge(kept);
    append(&spool, 3_000..3_001);
    let events = read_all(&spool, kept);
    let gap = gap_of(&events[0].1);
    assert_eq!(gap["lost_events"], 3_000 - kept);
    assert_eq!(gap["lost_bytes"], (kept..3_000).map(|n| line(n).len()).sum::<usize>());
    assert_eq!(events[1], (kept + 1, line(3_000)));
}

#[test]
fn the_last_event_is_kept_whatever_the_bounds_say_behind_the_gap() {
    let root = tempfile::tempdir().unwrap();
    let small = SpoolLimits { disk_bytes_max: 70_000, memory_bytes_max: 1_000 };
    let spool = create(root.path(), small);
    append(&spool, 0..3_000);
    let kept = spool.progress().next;
    spool.append_last(line(9_999));
    let events = read_all(&spool, kept);
    assert_eq!(gap_of(&events[0].1)["lost_events"], 3_000 - kept);
    assert_eq!(events[1].1, line(9_999));

    let (dir, unsaved) = spool.close();
    assert_eq!(unsaved, 0);
    drop(spool);
    let next = Spool::take_over(&dir.unwrap(), ROOMY).unwrap().unwrap();
    assert_eq!(read_all(&Arc::new(next), kept), events);
}

#[test]
fn without_a_usable_directory_events_wait_in_memory() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("a file");
    fs::write(&file, "").unwrap();
    let limits = SpoolLimits { memory_bytes_max: 200, ..ROOMY };
    let (spool, error) = Spool::create(&file.join("spool"), header(), limits);
    assert!(error.is_some());
    let spool = Arc::new(spool);
    append(&spool, 0..10);
    let kept = spool.progress().next;
    assert!(kept > 0 && spool.progress().lost == 10 - kept);
    assert_eq!(read_all(&spool, 0), numbered(0..kept));
    spool.acknowledge(kept - 1);
    assert_eq!(read_all(&spool, 0), numbered(kept - 1..kept));
    assert_eq!(spool.close(), (None, 1));
}

#[test]
fn what_waited_in_memory_goes_to_the_disk_in_order_when_that_has_room() {
    let root = tempfile::tempdir().unwrap();
    let small = SpoolLimits { disk_bytes_max: 70_000, memory_bytes_max: 4_000 };
    let spool = create(root.path(), small);
    let mut number = 0;
    while spool.lock().memory.len() < 10 {
        append(&spool, number..number + 1);
        number += 1;
    }
    spool.acknowledge(number - 10);
    append(&spool, number..number + 1);
    assert!(spool.lock().memory.is_empty());
    assert_eq!(read_all(&spool, number - 10), numbered(number - 10..number + 1));
}

#[test]
fn a_spool_of_another_format_is_refused_with_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    drop(create(root.path(), ROOMY));
    let dir = only_spool(root.path());
    let text = fs::read_to_string(dir.join("header.json")).unwrap();
    fs::write(dir.join("header.json"), text.replace("\"format\":1", "\"format\":2")).unwrap();
    let found = leftovers(root.path()).unwrap();
    assert!(found.spools.is_empty());
    assert!(found.unreadable[0].1.to_string().contains("format 2"), "{found:?}");
}

#[test]
fn with_no_room_left_the_last_events_go_to_the_disk_first_and_leave_a_hole() {
    let root = tempfile::tempdir().unwrap();
    let spool = create(root.path(), ROOMY);
    append(&spool, 0..3);
    let dir = only_spool(root.path());
    // The next segment cannot be made, because something else has its name.
    spool.lock().disk.as_mut().unwrap().segments[0].close();
    fs::create_dir(dir.join(format!("events-{:020}", 3))).unwrap();
    append(&spool, 3..10);
    spool.append(
        &[br#"{"type":"producer.gap","data":{"lost_events":7,"reason":"x"}}"#.as_slice().into()],
        Timestamp::default(),
    );
    append(&spool, 11..20);
    assert_eq!(spool.lock().memory.len(), 17);
    assert_eq!(spool.close(), (Some(dir.clone()), 15));
    drop(spool);

    fs::remove_dir(dir.join(format!("events-{:020}", 3))).unwrap();
    let next = Arc::new(Spool::take_over(&dir, ROOMY).unwrap().unwrap());
    let events = read_all(&next, 0);
    assert_eq!(events[..3], numbered(0..3));
    // Numbers 3 to 16 are a hole; 17 counts itself and what the gap at 10 has counted.
    assert_eq!((events[3].0, &gap_of(&events[3].1)["lost_events"]), (17, &Value::from(8)));
    assert_eq!(events[4..], numbered(18..20));
}
