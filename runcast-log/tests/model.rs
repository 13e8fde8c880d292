//! Random work on the embedded engine, with seals and merges, restarts and kills, against the one in
//! memory.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use runcast_contract::model::{append, assert_same};
use runcast_event::{Offset, RunId};
use runcast_log::{Append, EmbeddedLog, EmbeddedOptions, Log, MemoryLog, Trim};
use support::{JoinAll, Recorder, keep_up, killed, machine, run, without_upkeep};

#[derive(Debug, Clone)]
enum Step {
    Append(Append),
    Delete(String),
    Trim(String, u64, String),
    /// One step of the upkeep, or all of them.
    KeepUp {
        all: bool,
    },
    Restart,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => append().prop_map(Step::Append),
        2 => "[a-d]".prop_map(Step::Delete),
        4 => ("[a-d]|feed", 0..12_u64, "|[a-z]{1,60}").prop_map(|(name, before, base)| Step::Trim(name, before, base)),
        8 => any::<bool>().prop_map(|all| Step::KeepUp { all }),
        1 => Just(Step::Restart),
        2 => Just(Step::Kill),
    ]
}

/// Small files and few of them, so that seals and merges happen all the time.
fn options() -> impl Strategy<Value = EmbeddedOptions> {
    let sizes = (200..1_500_u64, prop_oneof![Just(50), Just(1 << 20)]);
    let merges = (2..5_usize, prop_oneof![Just(600), Just(3_000), Just(1 << 20)]);
    (sizes, merges, 1..4_usize).prop_map(|(sizes, merges, files_open_max)| EmbeddedOptions {
        wal_bytes_max: sizes.0,
        seal_memory_bytes_max: sizes.1,
        merge_segments: merges.0,
        segment_bytes_max: merges.1,
        files_open_max,
        // A log that gives events up turns to its next file at once.
        erase_within: Duration::ZERO,
        ..without_upkeep()
    })
}

fn open(directory: &Path, options: &EmbeddedOptions) -> Arc<EmbeddedLog> {
    let machine = machine("boot", &Arc::default());
    let observer = Arc::new(Recorder::default());
    let log = EmbeddedLog::open_in(directory, options.clone(), machine, observer).unwrap();
    log.join_by(Arc::new(JoinAll));
    log
}

async fn walk(options: EmbeddedOptions, steps: Vec<Step>) {
    let mut directory = tempfile::tempdir().unwrap();
    let model = MemoryLog::new(Arc::new(Recorder::default()));
    let mut log = open(directory.path(), &options);
    for step in steps {
        match step {
            Step::Append(append) => {
                assert_eq!(model.append(append.clone()).await, log.append(append).await);
            }
            Step::Delete(name) => {
                assert_eq!(model.delete(&run(&name)).await, log.delete(&run(&name)).await);
            }
            Step::Trim(name, before, base) => {
                let run = if name == "feed" { RunId::feed() } else { run(&name) };
                let trim = Trim { base: base.into(), ..Trim::before(Offset::new(before)) };
                assert_eq!(model.trim(&run, trim.clone()).await, log.trim(&run, trim).await);
            }
            Step::KeepUp { all: true } => keep_up(&log),
            Step::KeepUp { all: false } => {
                log.keep_up().unwrap();
            }
            Step::Restart => {
                log.shut_down().await;
                log = open(directory.path(), &options);
            }
            Step::Kill => {
                let copy = killed(directory.path());
                log = open(copy.path(), &options);
                directory = copy;
            }
        }
        assert_same(&*model, &*log).await;
        let (expected, measured) = (model.measure(), log.measure());
        assert_eq!((expected.streams, expected.events), (measured.streams, measured.events));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_embedded_engine_does_what_the_one_in_memory_does(
        options in options(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(walk(options, steps));
    }
}
