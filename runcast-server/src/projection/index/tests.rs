use std::time::Duration;

use runcast_event::parse_event;
use tokio::sync::watch;

use super::*;
use crate::clock::Clock;
use crate::presence::Presence;

/// Whatever is put in first, all was heard at the same time.
pub(in crate::projection) fn empty() -> Index {
    let clock = Clock::Set(watch::channel(Timestamp::default()).1);
    let presence = Presence::new(clock.clone());
    let listening = Listening { clock, presence, silent_after: Duration::from_secs(60) };
    Index::new(listening, Arc::default(), RetentionPolicy::default())
}

pub(in crate::projection) fn run(number: usize) -> RunId {
    RunId::new(&format!("r_{number}")).unwrap()
}

pub(in crate::projection) fn stat(last: u64) -> StreamStat {
    StreamStat {
        first: Offset::new(1),
        last: Offset::new(last),
        closed: false,
        epoch: Epoch::FIRST,
        epoch_bases: [].into(),
    }
}

/// Events behind an offset, as they are stored.
fn records(after: Offset, now: Timestamp, events: &[&str]) -> Vec<Record> {
    let offsets = (after.get() + 1..).map(Offset::new);
    let record = |(offset, json): (Offset, &&str)| {
        let payload = parse_event(json.as_bytes(), now).unwrap().payload;
        Record::single(offset, payload.into_bytes())
    };
    offsets.zip(events).map(record).collect()
}

/// Folds a run's next events, which are all of one time.
pub(in crate::projection) fn fold(
    index: &mut Index,
    number: usize,
    now: Timestamp,
    events: &[&str],
) {
    let (_, after) = index.folded(&run(number));
    let records = records(after, now, events);
    index.fold(&run(number), &records, &stat(after.get() + events.len() as u64));
}

fn index_of(count: usize) -> Index {
    let mut index = empty();
    for number in 1..=count {
        let json = format!(r#"{{"type":"run.queued","data":{{"tags":["t{}"]}}}}"#, number % 2);
        fold(&mut index, number, Timestamp::from_micros(number as i64 / 3), &[&json]);
    }
    index
}

fn list(index: &Index, filter: &Filter, from: Option<Place>, limit: usize) -> Listed {
    let mut listed = Listed::begin(from);
    while !index.list_more(filter, limit, 2, &mut listed) {}
    listed
}

#[test]
fn pages_of_a_list_are_the_list() {
    let index = index_of(10);
    for tags in [vec![], vec!["t1".to_owned()]] {
        let filter = Filter { tags, ..Filter::default() };
        let whole = list(&index, &filter, None, 100);
        assert!(whole.next.is_none());
        let mut runs = Vec::new();
        let mut from = None;
        loop {
            let page = list(&index, &filter, from, 2);
            runs.extend(page.runs);
            let Some(next) = page.next else { break };
            from = Some(next.to_string().parse().unwrap());
        }
        assert_eq!(runs, whole.runs);
        assert!(runs.is_sorted_by(|a, b| (a.created_at, &a.id) > (b.created_at, &b.id)));
    }
}

#[test]
fn what_runs_did_that_ended_long_ago_is_let_go_and_can_be_restored() {
    let mut index = empty();
    let events = [r#"{"type":"step.started","step":"s"}"#, r#"{"type":"run.completed"}"#];
    for number in 0..=WHOLE_MAX {
        fold(&mut index, number, Timestamp::default(), &events);
    }
    let is_whole = |index: &Index, number| index.state(&run(number)).unwrap().is_whole();
    assert!(!is_whole(&index, 0) && is_whole(&index, 1) && is_whole(&index, WHOLE_MAX));
    let mut state = RunState::new(run(0));
    for record in records(Offset::START, Timestamp::default(), &events) {
        state.apply_merged(Epoch::FIRST, &event_of(&record));
    }
    index.restore(state.clone());
    assert_eq!(index.state(&run(0)), Some(&state));
    assert!(!is_whole(&index, 1));
}

#[test]
fn a_removed_run_is_not_listed() {
    let mut index = index_of(3);
    index.remove(&run(2));
    let listed = list(&index, &Filter::default(), None, 10);
    assert_eq!(listed.runs.iter().map(|run| run.id.as_str()).collect::<Vec<_>>(), ["r_3", "r_1"]);
}
