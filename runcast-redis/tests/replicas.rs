//! Appends that replicas must have before they are acknowledged.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use runcast_contract::{batch, run};
use runcast_log::Log;
use runcast_redis::{RedisLog, RedisOptions};
use support::{Server, options};
use tokio::time::timeout;

/// A primary and its replica, and a node that waits for it.
async fn pair(wait: Duration) -> (Server, Server, Arc<RedisLog>) {
    let primary = Server::start_with(&["--repl-diskless-sync-delay", "0"]);
    let port = primary.port.to_string();
    let replica = Server::start_with(&["--replicaof", "127.0.0.1", &port]);
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while replica.info("master_link_status") != "up" {
        assert!(std::time::Instant::now() < until, "the replica does not follow");
    }
    let options = RedisOptions {
        wait_replicas: 1,
        wait_timeout: wait,
        command_timeout: wait * 2,
        ..options(&primary)
    };
    let log = RedisLog::open(options, Arc::new(())).await.unwrap();
    (primary, replica, log)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_of_many_runs_wait_for_a_replica_together() {
    let (primary, replica, log) = pair(Duration::from_secs(5)).await;
    let tasks: Vec<_> = (0..200)
        .map(|at| {
            let log = Arc::clone(&log);
            tokio::spawn(async move { log.append(batch(&format!("r{at}"), &["1"])).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    for at in [0, 99, 199] {
        let length = replica.command(&["XLEN", &format!("rc:{{r{at}}}:events")]);
        assert_eq!(length.trim(), "1", "what is acknowledged is there");
    }
    let waits = primary.info("cmdstat_wait");
    let calls = waits.strip_prefix("calls=").unwrap().split_once(',').unwrap().0;
    assert!(calls.parse::<u32>().unwrap() < 100, "one for many: {waits}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_replica_holds_up_nothing_else() {
    let (_primary, replica, log) = pair(Duration::from_secs(20)).await;
    log.append(batch("a", &["1"])).await.unwrap();
    replica.stop(true);
    let waiting = {
        let log = Arc::clone(&log);
        tokio::spawn(async move { log.append(batch("a", &["2"])).await })
    };
    // It is stored, and can be read while it is not acknowledged yet.
    let stored = async {
        while log.stat(&run("a")).await.unwrap().unwrap().last.get() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), stored).await.expect("reads wait for the replica");
    assert!(!waiting.is_finished());
    replica.stop(false);
    waiting.await.unwrap().unwrap();
}
