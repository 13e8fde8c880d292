//! What is shown of a log's files, whole and damaged.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use runcast_event::Offset;
use runcast_log::inspect::{InspectError, Piece, Selection, Value, inspect};
use runcast_log::{Append, EmbeddedLog, EmbeddedOptions, Log, Trim};
use support::{batch, keep_up, killed, open_with, run, without_room};

fn shown(path: &Path, selection: &Selection) -> (bool, Vec<Piece>) {
    let mut pieces = Vec::new();
    let is_damaged = inspect(path, selection, &mut |piece| {
        pieces.push(piece);
        Ok(())
    });
    (is_damaged.unwrap(), pieces)
}

/// Gives up the events of a run before one.
async fn trim(log: &EmbeddedLog, name: &str, first: u64, base: &str) {
    let trim = Trim { base: base.to_owned().into(), ..Trim::before(Offset::new(first)) };
    log.trim(&run(name), trim).await.unwrap();
}

/// A segment with an erased run, and a write-ahead log; trims in both.
async fn some_log() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { wal_bytes_max: 400, merge_segments: 99, ..without_room() };
    let log = open_with(directory.path(), options, "boot").unwrap();
    for at in 0..6 {
        log.append(batch("a", &[&format!("a{at} secret")])).await.unwrap();
        log.append(batch("b", &[&format!("b{at} secret"), "more"])).await.unwrap();
        keep_up(&log);
    }
    log.delete(&run("b")).await.unwrap();
    log.append(Append { close: true, ..batch("a", &["end"]) }).await.unwrap();
    log.append(batch("t", &["t0", "t1", "t2"])).await.unwrap();
    trim(&log, "t", 2, "a secret base").await;
    for at in 0..5 {
        log.append(batch("c", &[&format!("c{at} secret, a long one of a run that is there")]))
            .await
            .unwrap();
        keep_up(&log);
    }
    trim(&log, "t", 3, "another").await;
    log.shut_down().await;
    directory
}

fn kinds(pieces: &[Piece]) -> Vec<&str> {
    let mut kinds: Vec<&str> = pieces.iter().map(|piece| piece.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

#[tokio::test]
async fn every_part_is_shown_and_events_only_if_asked_for() {
    let directory = some_log().await;
    let (is_damaged, pieces) = shown(directory.path(), &Selection::default());
    assert!(!is_damaged);
    for kind in
        ["wal", "group", "append", "segment", "run", "block", "erased", "manifest", "listed"]
    {
        assert!(kinds(&pieces).contains(&kind), "{kind}: {:?}", kinds(&pieces));
    }
    assert!(pieces.iter().all(|piece| piece.event.is_none()));
    assert!(!format!("{pieces:?}").contains("secret"));
    let trims = pieces.iter().filter(|piece| piece.kind == "trim").map(|piece| {
        assert_eq!(piece.run.as_deref(), Some("t"));
        (&piece.file[..3], piece.fields.clone())
    });
    let fields = |before, bytes| {
        vec![("before", Value::Number(before)), ("base_bytes", Value::Number(bytes))]
    };
    let expected = [("seg", fields(2, 13)), ("wal", fields(3, 7))];
    assert_eq!(trims.collect::<Vec<_>>(), expected);
    let of_c = Selection { run: Some("c".to_owned()), events: true };
    let (_, pieces) = shown(directory.path(), &of_c);
    assert!(pieces.iter().all(|piece| piece.run.as_deref() == Some("c")), "{pieces:?}");
    let events = pieces.iter().filter(|piece| piece.kind == "event");
    let mut seen: Vec<(Value, String)> = events
        .map(|piece| {
            let text = String::from_utf8(piece.event.clone().unwrap().to_vec()).unwrap();
            (piece.fields[0].1.clone(), text[..2].to_owned())
        })
        .collect();
    seen.sort_by(|one, other| one.1.cmp(&other.1));
    let expected = (0..5).map(|at| (Value::Number(at + 1), format!("c{at}")));
    assert_eq!(seen, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_flipped_byte_anywhere_is_shown_as_damage_and_the_rest_is_shown() {
    let directory = some_log().await;
    let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    for name in names.filter(|name| *name != "lock") {
        let bytes = fs::read(directory.path().join(&name)).unwrap();
        for at in (0..bytes.len()).step_by(3) {
            let copy = killed(directory.path());
            let path = copy.path().join(&name);
            let mut other = bytes.clone();
            other[at] ^= 0x41;
            fs::write(&path, &other).unwrap();
            let told = inspect(&path, &Selection { run: None, events: true }, &mut |_| Ok(()));
            // In an erased block nothing is read as it was; a version may become a newer one.
            let is_told = matches!(told, Ok(true) | Err(InspectError::Log(_)));
            assert!(is_told || bytes[at] == 0, "{name:?}, byte {at}: {told:?}");
        }
    }
}
