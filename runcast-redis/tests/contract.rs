//! The Redis engine passes the suite that every engine passes.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use runcast_contract::redis_server::Cluster;
use runcast_contract::{Engine, Recorder, all_facts};
use runcast_redis::{RedisLog, RedisOptions};
use support::{Server, node, options_at};

async fn redis() -> Engine {
    let server = Server::start();
    let (log, recorder) = node(&server).await;
    Engine { log, recorder, counts_events: false, keeps: Box::new(server) }
}

all_facts!(a_log_in_redis, super::redis().await);

/// Each fact has keys of its own in the Cluster.
async fn in_cluster(cluster: &Cluster) -> Engine {
    static FACTS: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("fact-{}", FACTS.fetch_add(1, Ordering::Relaxed));
    let options = RedisOptions { prefix, ..options_at(&cluster.url()) };
    let recorder = Arc::<Recorder>::default();
    let log = RedisLog::open(options, Arc::clone(&recorder) as Arc<_>).await.unwrap();
    Engine { log, recorder, counts_events: false, keeps: Box::new(()) }
}

all_facts!(together a_log_in_a_cluster, cluster = Cluster::start_bare(), in_cluster(&cluster).await);
