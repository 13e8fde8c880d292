//! Nodes on a Redis that sentinels watch.

#![allow(clippy::unwrap_used)]

mod support;

use runcast_contract::batch;
use runcast_contract::redis_server::Watched;
use runcast_log::Log;
use runcast_redis::{OpenError, RedisLog};
use std::sync::Arc;
use support::witness::{Producer, SOON, history, hub_with, witness};
use support::{node_at, options_at};
use tokio::sync::watch;
use tokio::time::timeout;

/// Two nodes through something that happens to their primary.
async fn through(watched: &mut Watched, happens: impl AsyncFnOnce(&mut Watched)) {
    let (hub_1, one) = hub_with(options_at(&watched.url())).await;
    let (hub_2, two) = hub_with(options_at(&watched.url())).await;
    let producers = [Producer::start(&one, "a", "one"), Producer::start(&two, "a", "two")];
    let (tell, count) = watch::channel(0);
    let witnesses = [witness(&hub_1, "a", count.clone()), witness(&hub_2, "a", count)];
    for producer in &producers {
        producer.goes_on(30).await;
    }
    happens(watched).await;
    for producer in &producers {
        producer.goes_on(30).await;
    }
    for producer in producers {
        producer.goes_on(10).await;
        producer.end().await;
    }
    let whole = history(&one, "a").await;
    assert_eq!(history(&two, "a").await, whole);
    let last = watched.servers[1].command(&["HGET", "rc:{a}:meta", "last"]);
    assert_eq!(last.trim(), whole.len().to_string(), "it is all at the new primary");
    tell.send(whole.len() as u64).unwrap();
    for witness in witnesses {
        let seen = timeout(SOON, witness).await.unwrap().unwrap();
        assert!(seen.events == whole, "it is not what a witness saw");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_go_on_at_the_replica_that_takes_over_from_a_primary_that_is_killed() {
    let mut watched = Watched::start();
    through(&mut watched, async |watched| {
        watched.servers[0].kill();
        let promoted = async {
            while watched.servers[1].info("role") != "master" {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, promoted).await.expect("no replica takes over");
        // It believes that it is a primary, until the sentinels tell it otherwise.
        watched.servers[0].restart();
    })
    .await;
    let [old, _] = &watched.servers;
    assert!(old.info("role") == "slave" || old.command(&["DBSIZE"]).trim() == "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_made_a_replica_is_not_written_to_any_more() {
    let mut watched = Watched::start();
    through(&mut watched, async |watched| {
        let asked = watched.sentinels[0].command(&["SENTINEL", "FAILOVER", "mine"]);
        assert!(asked.contains("OK"), "{asked}");
        watched.wait_until_replica(0);
    })
    .await;
}

#[tokio::test]
async fn sentinels_that_are_silent_or_dead_are_passed_over() {
    let mut watched = Watched::start();
    watched.sentinels[0].stop(true);
    watched.sentinels[1].kill();
    let (log, _) = node_at(&watched.url()).await;
    log.append(batch("a", &["1"])).await.unwrap();
    watched.sentinels[0].stop(false);
    let unknown = watched.url().replace("/mine", "/yours");
    let refused = RedisLog::open(options_at(&unknown), Arc::new(())).await;
    let Err(error @ OpenError::Unusable { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("knows no primary \"yours\""), "{error}");
}
