//! What the servers of the suite keep their events in: memory, or what `RUNCAST_TEST_STORE` says, so that
//! every engine passes the same suite.

use std::any::Any;
use std::sync::Arc;

use runcast_contract::redis_server::Server as Redis;
use runcast_log::{CommitObserver, EmbeddedLog, EmbeddedOptions, Log, MemoryLog};
use runcast_redis::{RedisLog, RedisOptions};

fn chosen() -> String {
    std::env::var("RUNCAST_TEST_STORE").unwrap_or_else(|_| "memory".to_owned())
}

/// Whether it is the log in memory.
pub(crate) fn is_in_memory() -> bool {
    chosen() == "memory"
}

/// Whether the log itself knows how large it is, at any moment.
pub(crate) fn knows_its_size() -> bool {
    chosen() != "redis"
}

/// A log, and what has to be kept as long as it is used.
pub(crate) async fn open(observer: Arc<dyn CommitObserver>) -> (Arc<dyn Log>, Box<dyn Any + Send>) {
    match chosen().as_str() {
        "memory" => (MemoryLog::new(observer), Box::new(())),
        "directory" => {
            let directory = tempfile::tempdir().unwrap();
            let options = EmbeddedOptions::default();
            let log = EmbeddedLog::open(directory.path(), options, observer).unwrap();
            (log, Box::new(directory))
        }
        "redis" => {
            let redis = Redis::start();
            let options = RedisOptions { url: redis.url(), ..RedisOptions::default() };
            (RedisLog::open(options, observer).await.unwrap(), Box::new(redis))
        }
        other => panic!("RUNCAST_TEST_STORE is memory, directory or redis, not {other:?}"),
    }
}
