//! The Redis engine passes the suite that every engine passes.

#![allow(clippy::unwrap_used)]

mod support;

use runcast_contract::{Engine, all_facts};
use support::{Server, node};

async fn redis() -> Engine {
    let server = Server::start();
    let (log, recorder) = node(&server).await;
    Engine { log, recorder, counts_events: false, keeps: Box::new(server) }
}

all_facts!(a_log_in_redis, super::redis().await);
