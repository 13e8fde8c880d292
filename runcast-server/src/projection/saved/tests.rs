use std::fs;

use runcast_event::{Epoch, Timestamp};
use runcast_run::{Status, WorkStatus};

use super::super::index::tests::{self, run, stat};
use super::super::index::{Filter, Listed};
use super::*;

fn empty() -> Mutex<Index> {
    Mutex::new(tests::empty())
}

fn fold(index: &Mutex<Index>, number: usize, events: &[&str]) {
    tests::fold(&mut lock(index), number, Timestamp::from_micros(number as i64), events);
}

/// Runs of all kinds: some wait for an answer, some have ended.
fn full(count: usize) -> Mutex<Index> {
    let index = empty();
    for number in 0..count {
        fold(&index, number, &[r#"{"type":"run.started","data":{"workflow":"w"}}"#]);
        match number % 3 {
            0 => fold(
                &index,
                number,
                &[r#"{"type":"input.requested","data":{"input":"q","prompt":"?"}}"#],
            ),
            1 => fold(
                &index,
                number,
                &[
                    r#"{"type":"step.started","step":"s"}"#,
                    r#"{"type":"step.failed","step":"s"}"#,
                    r#"{"type":"run.completed"}"#,
                ],
            ),
            _ => {}
        }
    }
    index
}

fn saved(directory: &Path) -> SavedStates {
    SavedStates { file: directory.join("states"), log: 7, every: Duration::from_secs(60) }
}

fn lists(index: &Mutex<Index>) -> Vec<Vec<runcast_run::RunSummary>> {
    let index = lock(index);
    let failed = vec![WorkStatus::Failed];
    let filters = [
        Filter::default(),
        Filter { step_statuses: failed, ..Filter::default() },
        Filter { is_asking: true, ..Filter::default() },
        Filter { statuses: vec![Status::Completed], ..Filter::default() },
    ];
    let list = |filter: &Filter| {
        let mut listed = Listed::begin(None);
        while !index.list_more(filter, 10_000, 10_000, &mut listed) {}
        listed.runs
    };
    filters.iter().map(list).collect()
}

#[test]
fn what_was_saved_is_as_it_was_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let saved = saved(directory.path());
    let before = full(4 * CHANGED_MIN);
    saved.save_if_due(&before);
    let after = empty();
    saved.load(&after, 0);
    assert_eq!(lists(&after), lists(&before));
    assert_eq!(lock(&after).statuses(), lock(&before).statuses());
    let questions = |index: &Mutex<Index>| lock(index).questions(&Filter::default(), None, 9).0;
    assert_eq!(
        serde_json::to_value(questions(&after)).unwrap(),
        serde_json::to_value(questions(&before)).unwrap()
    );
    assert_eq!(
        lock(&after).next_due().map(|(_, run)| run),
        lock(&before).next_due().map(|(_, run)| run)
    );
    for index in [&before, &after] {
        fold(index, 0, &[r#"{"type":"input.answered","data":{"input":"q","answer":1}}"#]);
    }
    assert_eq!(lists(&after), lists(&before));
}

#[test]
fn it_is_saved_when_enough_has_changed_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let saved = saved(directory.path());
    let index = full(3);
    saved.save_if_due(&index);
    assert!(!saved.file.exists());
    for _ in 0..CHANGED_MIN {
        fold(&index, 2, &[r#"{"type":"my.event"}"#]);
    }
    saved.save_if_due(&index);
    assert!(saved.file.exists());
    fs::remove_file(&saved.file).unwrap();
    saved.save_if_due(&index);
    assert!(!saved.file.exists(), "it has not changed since");
}

#[test]
fn what_the_log_does_not_have_is_not_there_and_what_has_grown_is_folded_on() {
    let directory = tempfile::tempdir().unwrap();
    let saved = saved(directory.path());
    let index = full(3);
    saved.write(&index).unwrap();
    let index = empty();
    saved.load(&index, 0);
    let mut index = lock(&index);
    let grown = (run(1), stat(9));
    let other = (run(2), StreamStat { epoch: Epoch::FIRST.next(), ..stat(1) });
    let changed = vec![grown, other];
    let streams = [vec![(run(0), stat(2))], changed.clone()].concat();
    assert_eq!(index.confirm_all(streams), changed);
    assert!(changed.iter().all(|(run, stat)| !index.confirm(run, stat)));
    index.remove_doubtful();
    assert_eq!(index.len(), 3);
    drop(index);
    let index = empty();
    saved.load(&index, 0);
    lock(&index).confirm(&run(0), &stat(2));
    lock(&index).remove_doubtful();
    assert_eq!(lock(&index).len(), 1);
    assert_eq!(lock(&index).statuses().iter().sum::<usize>(), 1);
}

#[test]
fn a_file_that_is_damaged_or_not_ours_leaves_runs_to_be_folded_and_no_wrong_state() {
    let directory = tempfile::tempdir().unwrap();
    let saved = saved(directory.path());
    let before = full(3);
    saved.write(&before).unwrap();
    let bytes = fs::read(&saved.file).unwrap();
    let whole = &lists(&before)[0];
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        fs::write(&saved.file, damaged).unwrap();
        let after = empty();
        saved.load(&after, 0);
        assert!(lists(&after)[0].iter().all(|run| whole.contains(run)), "byte {at}");
        fs::write(&saved.file, &bytes[..at]).unwrap();
        let after = empty();
        saved.load(&after, 0);
        assert!(lists(&after)[0].iter().all(|run| whole.contains(run)), "cut at {at}");
    }
    fs::write(&saved.file, &bytes).unwrap();
    let after = empty();
    SavedStates { log: 8, ..saved }.load(&after, 0);
    assert_eq!(lock(&after).len(), 0, "they are of another log");
}
