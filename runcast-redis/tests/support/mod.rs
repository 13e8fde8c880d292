//! What the tests share: nodes on a Redis of their own.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use runcast_contract::Recorder;
pub use runcast_contract::redis_server::Server;
use runcast_redis::{RedisLog, RedisOptions};

pub mod readers;
pub mod witness;

pub fn options(server: &Server) -> RedisOptions {
    options_at(&server.url())
}

pub fn options_at(url: &str) -> RedisOptions {
    RedisOptions {
        url: url.to_owned(),
        check_every: Duration::from_millis(200),
        ..RedisOptions::default()
    }
}

/// A node, and what it tells its observer.
pub async fn node(server: &Server) -> (Arc<RedisLog>, Arc<Recorder>) {
    node_at(&server.url()).await
}

pub async fn node_at(url: &str) -> (Arc<RedisLog>, Arc<Recorder>) {
    let recorder = Arc::<Recorder>::default();
    let log = RedisLog::open(options_at(url), Arc::clone(&recorder) as Arc<_>).await.unwrap();
    (log, recorder)
}
