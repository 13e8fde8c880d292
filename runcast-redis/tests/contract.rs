//! The Redis engine passes the suite that every engine passes.

#![allow(clippy::unwrap_used)]

mod support;

use runcast_contract::redis_server::Cluster;
use runcast_contract::{Engine, all_facts};
use support::{Server, node, node_at};

async fn redis() -> Engine {
    let server = Server::start();
    let (log, recorder) = node(&server).await;
    Engine { log, recorder, counts_events: false, keeps: Box::new(server) }
}

all_facts!(a_log_in_redis, super::redis().await);

async fn cluster() -> Engine {
    let cluster = Cluster::start_bare();
    let (log, recorder) = node_at(&cluster.url()).await;
    Engine { log, recorder, counts_events: false, keeps: Box::new(cluster) }
}

all_facts!(a_log_in_a_cluster, super::cluster().await);
