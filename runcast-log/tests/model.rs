//! Random work on the embedded engine, with restarts and kills, against the one in memory.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use proptest::prelude::*;
use runcast_event::Offset;
use runcast_log::{Append, EmbeddedOptions, Log, MemoryLog, ReadLimit};
use support::{ALL, batch, killed, open_with, run, stamped};

#[derive(Debug, Clone)]
enum Step {
    Append(Append),
    Delete(String),
    Restart,
    Kill,
}

fn append() -> impl Strategy<Value = Append> {
    let stamp = (0..2_u8, 0..3_u64, 0..8_u64);
    let expected = prop::option::weighted(0.2, 0..6_u64);
    (
        "[a-d]",
        prop::collection::vec("[a-z]{0,40}", 0..5),
        prop::option::weighted(0.7, stamp),
        prop::bool::weighted(0.1),
        expected,
        prop::bool::weighted(0.9),
    )
        .prop_map(|(run, events, stamp, close, expected, create)| {
            let events: Vec<&str> = events.iter().map(String::as_str).collect();
            let base = match stamp {
                Some((id, epoch, at)) => stamped(&run, &events, &format!("p{id}"), epoch / 2, at),
                None => batch(&run, &events),
            };
            Append { close, create, expected_last: expected.map(Offset::new), ..base }
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => append().prop_map(Step::Append),
        2 => "[a-d]".prop_map(Step::Delete),
        1 => Just(Step::Restart),
        2 => Just(Step::Kill),
    ]
}

async fn assert_same(model: &dyn Log, log: &dyn Log) {
    assert_eq!(model.list(None, 100).await, log.list(None, 100).await);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(model.stat(&run(name)).await, log.stat(&run(name)).await);
        for (after, events_max) in [(0, usize::MAX), (0, 1), (2, 3), (5, 2)] {
            let limit = ReadLimit { events_max, ..ALL };
            let expected = model.read(&run(name), Offset::new(after), limit).await;
            let read = log.read(&run(name), Offset::new(after), limit).await;
            assert_eq!(expected.map(|page| page.records), read.map(|page| page.records));
        }
    }
}

async fn walk(steps: Vec<Step>) {
    let mut directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { wal_bytes_max: 1_000, ..EmbeddedOptions::default() };
    let model = MemoryLog::new(Arc::new(()));
    let mut log = open_with(directory.path(), options.clone(), "boot").unwrap();
    for step in steps {
        match step {
            Step::Append(append) => {
                assert_eq!(model.append(append.clone()).await, log.append(append).await);
            }
            Step::Delete(name) => {
                assert_eq!(model.delete(&run(&name)).await, log.delete(&run(&name)).await);
            }
            Step::Restart => {
                log.shut_down().await;
                log = open_with(directory.path(), options.clone(), "boot").unwrap();
            }
            Step::Kill => {
                let copy = killed(directory.path());
                log = open_with(copy.path(), options.clone(), "boot").unwrap();
                directory = copy;
            }
        }
        assert_same(&*model, &*log).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_embedded_engine_does_what_the_one_in_memory_does(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(walk(steps));
    }
}
