//! Random work on two nodes of the Redis engine, against the engine in memory.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use proptest::prelude::*;
use runcast_contract::model::{append, assert_same};
use runcast_contract::{Recorder, run};
use runcast_event::{Offset, RunId};
use runcast_log::{Append, Log, MemoryLog, Trim};
use runcast_redis::RedisLog;
use support::{Server, options};

#[derive(Debug, Clone)]
enum Step {
    Append(Append),
    Delete(String),
    Trim(String, u64, String),
    /// The connections are cut, and the scripts are forgotten.
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => append().prop_map(Step::Append),
        3 => "[a-d]".prop_map(Step::Delete),
        5 => ("[a-d]|feed", 0..12_u64, "|[a-z]{1,60}")
            .prop_map(|(name, before, base)| Step::Trim(name, before, base)),
        1 => Just(Step::Cut),
    ]
}

/// Each step is done by one of the two nodes, and the other must see the same.
async fn walk(server: &Server, steps: Vec<(bool, Step)>) {
    server.command(&["FLUSHALL"]);
    let model = MemoryLog::new(Arc::new(Recorder::default()));
    let open = || RedisLog::open(options(server), Arc::new(Recorder::default()));
    let nodes = [open().await.unwrap(), open().await.unwrap()];
    for (at, step) in steps {
        let (log, other) = (&nodes[usize::from(at)], &nodes[usize::from(!at)]);
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
            Step::Cut => {
                server.command(&["SCRIPT", "FLUSH"]);
                server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
            }
        }
        assert_same(&*model, &**other).await;
    }
}

#[test]
fn two_nodes_do_what_the_engine_in_memory_does() {
    let server = Server::start();
    let config =
        ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    let steps = prop::collection::vec((any::<bool>(), step()), 1..60);
    proptest!(config, |(steps in steps)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(walk(&server, steps));
    });
}
