//! What the tests share: nodes on a Redis of their own.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use runcast_contract::Recorder;
pub use runcast_contract::redis_server::Server;
use runcast_redis::{RedisLog, RedisOptions};

pub fn options(server: &Server) -> RedisOptions {
    RedisOptions {
        url: server.url(),
        check_every: Duration::from_millis(200),
        ..RedisOptions::default()
    }
}

/// A node, and what it tells its observer.
pub async fn node(server: &Server) -> (Arc<RedisLog>, Arc<Recorder>) {
    let recorder = Arc::<Recorder>::default();
    let log = RedisLog::open(options(server), Arc::clone(&recorder) as Arc<_>).await.unwrap();
    (log, recorder)
}
