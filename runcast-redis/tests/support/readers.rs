//! Followers that get all there is, each event once, and producers that go on until it is stored.

use std::sync::Arc;
use std::time::Duration;

use runcast_contract::{run, stamped};
use runcast_hub::{Delivery, Follower, Hub};
use runcast_log::{Append, AppendError, Log as _};
use runcast_redis::RedisLog;
use tokio::time::timeout;

use super::witness::hub_with;
use super::{Server, options};

/// Long enough for anything that is tested.
pub const SOON: Duration = Duration::from_secs(30);

pub async fn hub(server: &Server) -> (Hub, Arc<RedisLog>) {
    hub_with(options(server)).await
}

pub async fn next(follower: &mut Follower) -> Delivery {
    timeout(SOON, follower.next()).await.expect("it hangs")
}

/// So many events that a follower gets, none twice and none left out.
pub async fn get(follower: &mut Follower, count: usize) -> Vec<String> {
    let mut got = Vec::new();
    while got.len() < count {
        let before = follower.cursor().after;
        match next(follower).await {
            Delivery::Events(slice) => {
                let offsets = slice.records().iter().map(|record| record.offset.get());
                assert!(offsets.eq(before.get() + 1..=slice.last().get()), "no hole");
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                got.extend(slice.records().iter().map(|record| text(&record.payload)));
            }
            other => panic!("{other:?} behind {before}"),
        }
    }
    got
}

pub async fn follow(hub: &Hub, name: &str, cursor: &str) -> Follower {
    hub.follow(&run(name), cursor.parse().unwrap()).await.unwrap()
}

/// Appends until it is stored, as a producer with a spool does.
pub async fn append_surely(log: &RedisLog, append: Append) {
    let until = tokio::time::Instant::now() + SOON;
    while let Err(error) = log.append(append.clone()).await {
        assert!(matches!(error, AppendError::Unavailable { .. }), "{error:?}");
        assert!(tokio::time::Instant::now() < until, "{error}");
        tokio::task::yield_now().await;
    }
}

pub fn numbered(name: &str, from: u64, count: u64) -> Append {
    let texts: Vec<String> = (from..from + count).map(|at| format!("{name} {at}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    stamped("a", &texts, name, 0, from)
}

/// Appends events of a producer in batches of different sizes.
pub async fn produce(log: Arc<RedisLog>, name: &'static str, count: u64) {
    let mut at = 0;
    while at < count {
        let size = (at % 4 + 1).min(count - at);
        append_surely(&log, numbered(name, at, size)).await;
        at += size;
    }
}

/// Each producer's events are there once and in its order.
pub fn check_whole(got: &[String], producers: &[&str], count: u64) {
    assert_eq!(got.len() as u64, producers.len() as u64 * count);
    for name in producers {
        let own = got.iter().filter_map(|text| text.strip_prefix(name)?.strip_prefix(' '));
        assert!(own.map(|at| at.parse::<u64>().unwrap()).eq(0..count), "{name}");
    }
}
