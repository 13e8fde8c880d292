//! How a server begins and ends.

use runcast_hub::{HubBuilder, HubConfig};
use runcast_log::{EmbeddedOptions, MemoryLog};
use runcast_server::{BindError, HttpConfig, Server, ServerConfig, StartError, Store};

use crate::client::TestServer;

const ONE: &str = r#"{"type":"output","data":{"text":"x"}}"#;

async fn bind(listen: &str) -> Result<Server, BindError> {
    let builder = HubBuilder::new(HubConfig::default());
    let log = MemoryLog::new(builder.observer());
    let config = HttpConfig { listen: listen.parse().unwrap(), ..HttpConfig::default() };
    Server::bind(config, builder.build(log)).await
}

#[tokio::test]
async fn only_a_loopback_address_is_listened_on() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7070"] {
        let refused = bind(address).await.err().unwrap();
        assert!(matches!(refused, BindError::NotLoopback { .. }));
        assert!(refused.to_string().contains("authentication"), "{refused}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr();
    let refused = bind(&address.to_string()).await.err().unwrap();
    assert!(matches!(refused, BindError::InUse { .. }));
    assert!(refused.to_string().contains(&address.to_string()));
}

#[tokio::test]
async fn a_server_ends_its_streams_and_finishes_its_requests() {
    let mut server = TestServer::start().await;
    let mut follower = server.follow("/v1/runs/r/events").await;
    follower.until("\n\n").await;
    let headers = [("Content-Type", "application/x-ndjson"), ("Transfer-Encoding", "chunked")];
    let mut producer = server.open("POST", "/v1/runs/r/events", &headers).await;
    producer.write_chunk(&format!("{ONE}\n")).await;
    producer.head().await;
    producer.until("\n").await;
    let idle = server.connect().await;
    let waiting = server.get("/v1/runs/r/events?after=1&wait=60000");
    let wait_and_stop = async {
        // The page waits once it has taken its place beside the follower.
        while server.hub.followers() < 2 {
            tokio::task::yield_now().await;
        }
        producer
    };
    let (waiting, mut producer) = {
        let mut waiting = Box::pin(waiting);
        let mut ready = Box::pin(wait_and_stop);
        let producer = tokio::select! {
            _ = &mut waiting => panic!("the page did not wait"),
            producer = &mut ready => producer,
        };
        drop(waiting);
        (server.get("/v1/runs/r/events?after=1"), producer)
    };
    assert_eq!(waiting.await.status, 200);
    server.begin_to_stop();
    let rest = String::from_utf8(follower.rest().await).unwrap();
    assert!(!rest.contains("event: end"), "{rest}");
    let answer: serde_json::Value = serde_json::from_str(&producer.until("\n").await).unwrap();
    assert_eq!(answer["problem"]["code"], "log_unavailable");
    server.stopped().await;
    drop(idle);
}

#[tokio::test]
async fn a_server_on_a_data_directory_keeps_its_events() {
    let directory = tempfile::tempdir().unwrap();
    let config = || ServerConfig {
        store: Store::Directory {
            path: directory.path().join("data"),
            options: EmbeddedOptions::default(),
        },
        hub: HubConfig::default(),
        http: HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), ..HttpConfig::default() },
    };
    for round in 1..=2 {
        let server = runcast_server::start(config()).await.unwrap();
        let second = runcast_server::start(config()).await.err().unwrap();
        assert!(matches!(second, StartError::Open(_)), "{second}");
        let mut server = TestServer::running(server);
        server.post("/v1/runs/r/events", ONE).await;
        assert_eq!(server.get("/v1/runs/r").await.json()["offset"], round);
        server.begin_to_stop();
        server.stopped().await;
    }
}
