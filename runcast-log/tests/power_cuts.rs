//! A machine that loses its power at every single operation on the disk: of appends, deletions,
//! trims, seals, merges, erasing, the manifest, and the first work on a log of an older format.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runcast_event::{Offset, RunId};
use runcast_log::{
    Append, EmbeddedLog, EmbeddedOptions, Log, LogHealth, MemoryLog, OpenError, Page, Record,
    Surroundings, SystemClock, Trim,
};
use support::power::{Kept, PowerDisk};
use support::{ALL, JoinAll, Recorder, batch, run, stamped, texts, without_room};

/// What is in no file any more once it was deleted and erased.
const SECRET: &str = "secret";

#[derive(Debug, Clone)]
enum Action {
    Append(Append),
    Delete(&'static str),
    Trim(&'static str, u64),
    /// A step of the upkeep, which nobody sees.
    KeepUp,
    Reopen,
}

fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        wal_bytes_max: 700,
        merge_segments: 2,
        seal_memory_bytes_max: 300,
        files_open_max: 2,
        erase_within: Duration::from_secs(3_600),
        ..without_room()
    }
}

fn open(directory: &Path, disk: &PowerDisk) -> Result<Arc<EmbeddedLog>, OpenError> {
    open_with(directory, disk, options())
}

fn open_with(
    directory: &Path,
    disk: &PowerDisk,
    options: EmbeddedOptions,
) -> Result<Arc<EmbeddedLog>, OpenError> {
    let surroundings = Surroundings {
        disk: Arc::new(disk.clone()),
        boot_id: Some("boot".to_owned()),
        new_log_id: *b"the tests' logid",
        clock: Arc::new(SystemClock),
    };
    let recorder = Arc::new(Recorder::default());
    let log = EmbeddedLog::open_in(directory, options, surroundings, recorder)?;
    log.join_by(Arc::new(JoinAll));
    Ok(log)
}

fn actions() -> Vec<Action> {
    let mut actions = Vec::new();
    for round in 0..4 {
        for name in ["a", "b", "c"] {
            let life = format!("life {round} of {name}");
            let filler = "x".repeat(60);
            let sequence = round * 3;
            actions.push(Action::Append(stamped(name, &[&life, &filler, "end"], "p", 0, sequence)));
        }
        let secret = format!("{SECRET} {round} {}", "s".repeat(100));
        actions.push(Action::Append(batch("life-d", &[&secret, &secret])));
        let text = format!("{round} to be joined ");
        actions.push(match round {
            0 | 1 => Action::Append(batch("closed", &[&text, &text, "and "])),
            2 => Action::Append(Append { close: true, ..batch("closed", &[&text, &text]) }),
            _ => Action::Trim("closed", 5),
        });
        actions.push(Action::KeepUp);
        actions.push(Action::Trim("a", round * 2));
        actions.push(Action::Trim("life-d", round % 2 + 2));
        if round % 2 == 1 {
            actions.push(Action::Delete("life-d"));
            actions.push(Action::Append(batch("b", &["x".repeat(500).as_str()])));
            actions.push(Action::KeepUp);
        }
        if round == 2 {
            actions.push(Action::Reopen);
        }
        actions.push(Action::KeepUp);
    }
    actions.push(Action::Append(Append { close: true, ..batch("c", &["last"]) }));
    actions.push(Action::Append(batch("b", &["x".repeat(700).as_str()])));
    actions.push(Action::Append(batch("b", &["y"])));
    actions.extend([const { Action::KeepUp }; 6]);
    actions
}

/// Everything that a reader can see.
async fn seen(log: &dyn Log) -> String {
    let mut seen = format!("{:?}", log.list(None, 100).await);
    for run in ["a", "b", "c", "closed", "life-d"].map(run).into_iter().chain([RunId::feed()]) {
        let stat = log.stat(&run).await;
        let first = stat.as_ref().ok().and_then(|stat| stat.as_ref()).map_or(1, |s| s.first.get());
        let page = log.read(&run, Offset::new(first - 1), ALL).await;
        seen += &format!("\n{:?}", log.base(&run).await);
        // Of closed streams, some events are one.
        let all = |page: Page| {
            let first = page.records.first().map(Record::first);
            let texts: Vec<_> = texts(&page).into_iter().map(|(_, text)| text).collect();
            (first, page.records.last().map(|record| record.offset), texts.concat())
        };
        seen += &format!("\n{run}: {stat:?} {:?}", page.map(all));
    }
    seen
}

/// What is seen after each action.
async fn expected(before: &[Action], actions: &[Action]) -> Vec<String> {
    let model = MemoryLog::new(Arc::new(Recorder::default()));
    for action in before {
        act_on(&*model, action).await.unwrap();
    }
    let mut expected = vec![seen(&*model).await];
    for action in actions {
        act_on(&*model, action).await.unwrap();
        expected.push(seen(&*model).await);
    }
    expected
}

async fn act_on(log: &dyn Log, action: &Action) -> Result<(), String> {
    match action {
        Action::Append(append) => {
            log.append(append.clone()).await.map(drop).map_err(|error| error.to_string())
        }
        Action::Delete(name) => {
            log.delete(&run(name)).await.map(drop).map_err(|error| error.to_string())
        }
        Action::Trim(name, before) => {
            // What stands for events is erased as they are.
            let secret = if *name == "life-d" { SECRET } else { "base" };
            let base = format!("{secret} of {name} before {before}");
            let trim = Trim { base: base.into(), ..Trim::before(Offset::new(*before)) };
            let trimmed = log.trim(&run(name), trim).await;
            trimmed.map(drop).map_err(|error| error.to_string())
        }
        Action::KeepUp | Action::Reopen => Ok(()),
    }
}

/// Does what works, and says how many actions did.
async fn act(directory: &Path, disk: &PowerDisk, actions: &[Action]) -> usize {
    let Ok(mut log) = open(directory, disk) else { return 0 };
    for (done, action) in actions.iter().enumerate() {
        let worked = match action {
            Action::KeepUp => log.keep_up().map(drop),
            Action::Reopen => {
                log.shut_down().await;
                match open(directory, disk) {
                    Ok(again) => {
                        log = again;
                        Ok(())
                    }
                    Err(error) => Err(error.to_string()),
                }
            }
            action => act_on(&*log, action).await,
        };
        if worked.is_err() {
            return done;
        }
    }
    actions.len()
}

/// Cuts the power at every operation, and looks at what is left.
async fn cut_everywhere(files: Vec<(PathBuf, Vec<u8>)>, before: &[Action], directory: &Path) {
    let actions = actions();
    let expected = expected(before, &actions).await;
    let disk = || PowerDisk::with_files(files.clone());
    let whole = disk();
    assert_eq!(act(directory, &whole, &actions).await, actions.len());
    let operations = whole.operations();
    let is_merged = |(path, bytes): (PathBuf, Vec<u8>)| {
        path.extension().is_some_and(|extension| extension == "seg") && bytes[12] > 0
    };
    assert!(whole.contents().into_iter().any(is_merged), "there are merges to cut");
    let log = open(directory, &whole).unwrap();
    let closed = log.read(&run("closed"), Offset::new(4), ALL).await.unwrap().records;
    let counts: Vec<_> = closed.iter().map(|record| record.count).collect();
    assert!(counts.len() < 4, "some are joined, and a part of them was given up: {counts:?}");
    assert_eq!(counts.iter().sum::<u64>(), 4);
    log.shut_down().await;
    for operation in 1..=operations {
        for kept in [Kept::Nothing, Kept::All, Kept::Some(operation as u64 * 7 + 1)] {
            let context = format!("power cut at {operation} of {operations}, {kept:?}");
            let disk = disk();
            disk.fail_at(operation);
            let done = act(directory, &disk, &actions).await;
            disk.restart(kept);
            if matches!(kept, Kept::Some(_)) {
                // And again, while the log is opened or its work is taken up.
                disk.fail_at(1 + operation % 16);
                if let Ok(log) = open(directory, &disk) {
                    while log.keep_up().is_ok_and(|has_more| has_more) {}
                }
                disk.restart(kept);
            }
            check(directory, &disk, &expected, done, &context).await;
        }
    }
}

async fn check(
    directory: &Path,
    disk: &PowerDisk,
    expected: &[String],
    done: usize,
    context: &str,
) {
    let log = open(directory, disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    let left = seen(&*log).await;
    // What was under way may have happened.
    let possible = &expected[done..expected.len().min(done + 2)];
    assert!(possible.contains(&left), "{context}: {left}\nand not\n{possible:#?}");
    log.append(batch("other", &["goes on"])).await.unwrap();
    log.delete(&run("other")).await.unwrap();
    while log.keep_up().unwrap_or_else(|error| panic!("{context}: {error}")) {}
    let is_there = log.stat(&run("life-d")).await.is_ok_and(|stat| stat.is_some());
    log.shut_down().await;
    // What gives events up is sealed at once now.
    let erasing = EmbeddedOptions { erase_within: Duration::ZERO, ..options() };
    let log = open_with(directory, disk, erasing).unwrap();
    while log.measure().wals_waiting == 0 {
        tokio::task::yield_now().await;
    }
    while log.keep_up().unwrap() {}
    assert_eq!(seen(&*log).await, left, "{context}");
    // What was removed does not come back.
    disk.restart(Kept::Nothing);
    if !is_there {
        let has_secret = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes());
        for (path, bytes) in disk.contents() {
            assert!(!has_secret(&bytes), "{context}: {} has it", path.display());
        }
    }
    assert_eq!(log.measure().upkeep_failures, 0, "{context}");
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_comes_back_whenever_the_power_goes() {
    let directory = tempfile::tempdir().unwrap();
    cut_everywhere(Vec::new(), &[], directory.path()).await;
}

/// Does everything on a disk of which one operation fails.
async fn act_through_a_fault(directory: &Path, disk: &PowerDisk, expected: &[String]) {
    let open_again = || open(directory, disk).or_else(|_| open(directory, disk)).unwrap();
    let mut log = open_again();
    for (done, action) in actions().iter().enumerate() {
        match action {
            // What fails is tried again by the next step.
            Action::KeepUp => drop(log.keep_up()),
            Action::Reopen => {
                log.shut_down().await;
                log = open_again();
            }
            action if act_on(&*log, action).await.is_ok() => {}
            action => {
                assert_eq!(seen(&*log).await, expected[done], "what is refused did not happen");
                if matches!(log.health(), LogHealth::Failed { .. }) {
                    log.shut_down().await;
                    log = open_again();
                }
                act_on(&*log, action).await.unwrap();
            }
        }
        assert_eq!(seen(&*log).await, expected[done + 1]);
    }
    while log.keep_up().unwrap() {}
    assert_eq!(log.measure().wals_waiting, 0);
}

#[tokio::test]
async fn a_disk_that_fails_once_anywhere_costs_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let actions = actions();
    let expected = expected(&[], &actions).await;
    let whole = PowerDisk::default();
    assert_eq!(act(directory.path(), &whole, &actions).await, actions.len());
    for operation in 1..=whole.operations() {
        for kept in [Kept::Nothing, Kept::Some(operation as u64 * 7 + 1)] {
            let disk = PowerDisk::default();
            disk.fail_once(operation);
            act_through_a_fault(directory.path(), &disk, &expected).await;
            disk.restart(kept);
            let log = open(directory.path(), &disk).unwrap();
            let left = seen(&*log).await;
            assert_eq!(&left, expected.last().unwrap(), "fault at {operation}, {kept:?}");
        }
    }
}

/// Files of format 2, with runs in them.
async fn older(directory: &Path, actions: &[Action]) -> Vec<(PathBuf, Vec<u8>)> {
    let disk = PowerDisk::default();
    let log = open(directory, &disk).unwrap();
    for action in actions {
        act_on(&*log, action).await.unwrap();
    }
    log.shut_down().await;
    let older = |(path, mut bytes): (PathBuf, Vec<u8>)| {
        bytes[8] = 2;
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
        (path, bytes)
    };
    disk.contents().into_iter().map(older).collect()
}

#[tokio::test]
async fn a_log_of_format_2_goes_on_whenever_the_power_goes() {
    let directory = tempfile::tempdir().unwrap();
    let before = [
        Action::Append(batch("c", &["from before", "x"])),
        Action::Append(batch("b", &["x".repeat(900).as_str()])),
        Action::Append(batch("life-d", &["life of before"])),
        Action::Delete("life-d"),
        Action::Append(batch("life-d", &["life of before", SECRET])),
    ];
    let files = older(directory.path(), &before).await;
    assert_eq!(files.len(), 2);
    cut_everywhere(files, &before, directory.path()).await;
}
