//! Of several nodes one looks after each stream, and another when that is gone.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use runcast_contract::Recorder;
use runcast_contract::redis_server::Server;
use runcast_event::RunId;
use runcast_log::Log as _;
use runcast_redis::{RedisLog, RedisOptions};
use tokio::time::{Instant, sleep};

const LEASE: Duration = Duration::from_millis(500);

async fn node(server: &Server) -> Arc<RedisLog> {
    let options = RedisOptions { lease: LEASE, ..support::options(server) };
    RedisLog::open(options, Arc::<Recorder>::default()).await.unwrap()
}

fn runs() -> Vec<RunId> {
    (0..1_000).map(|number| RunId::new(&format!("run-{number}")).unwrap()).collect()
}

fn duties(log: &RedisLog) -> usize {
    runs().iter().filter(|run| log.has_duty(run)).count()
}

/// Waits until it is so; how long that took.
async fn until(is_so: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never is");
        sleep(Duration::from_millis(1)).await;
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_duties_and_those_of_a_node_that_is_gone_fall_to_the_others() {
    let server = Server::start();
    let one = node(&server).await;
    until(|| duties(&one) == 1_000).await;
    let other = node(&server).await;
    until(|| duties(&one) + duties(&other) == 1_000 && duties(&other).abs_diff(500) < 100).await;
    let nobody_has_two = runs().iter().all(|run| !(one.has_duty(run) && other.has_duty(run)));
    assert!(nobody_has_two);

    other.shut_down().await;
    assert_eq!(duties(&other), 0);
    until(|| duties(&one) == 1_000).await;

    let third = node(&server).await;
    until(|| duties(&one) + duties(&third) == 1_000 && duties(&third) > 400).await;
    // As if it were killed: nothing of it is left to say that it leaves.
    drop(third);
    until(|| duties(&one) == 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_reach_redis_has_no_duties_before_another_takes_them() {
    let mut server = Server::start();
    let log = node(&server).await;
    until(|| duties(&log) == 1_000).await;
    server.kill();
    until(|| duties(&log) == 0).await;
    server.restart();
    until(|| duties(&log) == 1_000).await;
}
