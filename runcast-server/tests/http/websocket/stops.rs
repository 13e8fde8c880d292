//! A server that stops, a log that is slow and one that cannot be read, as WebSockets see them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;

use super::socket::{Frame, Socket};
use crate::client::TestServer;
use crate::faults::{slow_hub, unreadable_hub};

#[tokio::test]
async fn a_server_that_stops_says_when_to_come_back_to_each_another_time() {
    let mut server = TestServer::start().await;
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let mut socket = Socket::open(&server).await;
        socket.subscribe("r", "0").await;
        sockets.push(socket);
    }
    server.begin_to_stop();
    let mut waits = std::collections::BTreeSet::new();
    for socket in &mut sockets {
        let Frame::Close(code, reason) = socket.next().await else { panic!("no close") };
        assert_eq!(code, Some(1012));
        let wait: u64 = reason.strip_prefix("restart; retry_ms=").unwrap().parse().unwrap();
        assert!(wait <= 5_000);
        waits.insert(wait);
        socket.frame(8, &1012_u16.to_be_bytes()).await;
        assert!(socket.connection.is_closed().await);
    }
    assert!(waits.len() > 3, "{waits:?}");
    server.stopped().await;
}

fn publish(id: u64, run: &str) -> serde_json::Value {
    json!({"type": "publish", "id": id, "run": run, "events": [{"type": "a.b", "data": id}]})
}

#[tokio::test]
async fn a_server_that_stops_answers_what_is_under_way_before_it_closes_and_takes_nothing_new() {
    let gate = Arc::new(Semaphore::new(0));
    let one_shard = |config: &mut runcast_server::HttpConfig| config.plane_shards = 1;
    let mut server = TestServer::start_on(one_shard, slow_hub(&gate)).await;
    let mut idle = Socket::open(&server).await;
    let mut publisher = Socket::open(&server).await;
    for id in 1..=3 {
        publisher.send(&publish(id, "r")).await;
    }
    publisher.send(&json!({"type": "ping", "id": "all taken"})).await;
    assert_eq!(publisher.message().await["type"], "pong");
    server.begin_to_stop();
    assert_eq!(idle.close_code_answered().await, Some(1012));
    // The shard has told everyone by now; this comes too late.
    publisher.send(&publish(4, "r")).await;
    gate.add_permits(4);
    for id in 1..=3 {
        let message = publisher.message().await;
        assert_eq!((&message["type"], &message["id"]), (&json!("published"), &json!(id)));
    }
    assert_eq!(publisher.close_code_answered().await, Some(1012));
    let run = runcast_event::RunId::new("r").unwrap();
    assert_eq!(server.hub.stat(&run).await.unwrap().unwrap().last.get(), 3);
    server.stopped().await;
}

#[tokio::test]
async fn publishes_to_a_slow_log_are_stored_in_the_order_in_which_they_came() {
    let gate = Arc::new(Semaphore::new(0));
    let server = TestServer::start_on(|_| {}, slow_hub(&gate)).await;
    let mut socket = Socket::open(&server).await;
    for id in 1..=60 {
        socket.send(&publish(id, if id % 3 == 0 { "a" } else { "b" })).await;
    }
    socket.send(&json!({"type": "ping", "id": "all taken"})).await;
    assert_eq!(socket.message().await["type"], "pong", "nothing is stored yet");
    gate.add_permits(60);
    for _ in 1..=60 {
        assert_eq!(socket.message().await["type"], "published");
    }
    for run in ["a", "b"] {
        let page = server.get(&format!("/v1/runs/{run}/events?limit=100")).await.json();
        let ids = page["events"].as_array().unwrap().iter();
        let ids: Vec<_> = ids.map(|event| event["data"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), if run == "a" { 20 } else { 40 });
        assert!(ids.is_sorted(), "{ids:?}");
    }
}

#[tokio::test]
async fn a_client_is_not_silent_when_it_is_the_server_that_does_not_listen() {
    let gate = Arc::new(Semaphore::new(0));
    let impatient = |config: &mut runcast_server::HttpConfig| {
        config.heartbeat = Duration::from_millis(20);
        config.limits.pong_timeout = Duration::from_millis(300);
    };
    let server = TestServer::start_on(impatient, slow_hub(&gate)).await;
    let mut socket = Socket::open(&server).await;
    for id in 1..=70 {
        socket.send(&publish(id, "r")).await;
    }
    // It answers, behind publishes that the server does not take yet.
    for _ in 0..30 {
        assert_eq!(socket.next().await, Frame::Ping);
        socket.frame(10, b"").await;
    }
    gate.add_permits(70);
    for _ in 1..=70 {
        assert_eq!(socket.message().await["type"], "published");
    }
}

#[tokio::test]
async fn a_run_that_cannot_be_read_ends_its_subscription_and_nothing_else() {
    let server = TestServer::start_on(|_| {}, unreadable_hub()).await;
    server.post("/v1/runs/r/events", r#"{"type":"a.b"}"#).await;
    let mut socket = Socket::open(&server).await;
    for _ in 0..2 {
        assert_eq!(socket.subscribe("r", "0").await["type"], "subscribed");
        let message = socket.message().await;
        assert_eq!((&message["type"], &message["run"]), (&json!("error"), &json!("r")));
        assert_eq!((&message["problem"]["code"], message.get("id")), (&json!("internal"), None));
    }
    while server.hub.followers() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_with_much_under_way_is_read_on_when_some_of_it_is_answered() {
    let gate = Arc::new(Semaphore::new(0));
    let one_shard = |config: &mut runcast_server::HttpConfig| config.plane_shards = 1;
    let server = TestServer::start_on(one_shard, slow_hub(&gate)).await;
    let mut other = Socket::open(&server).await;
    let large = json!([{"type": "a.b", "data": "x".repeat(250_000)}]).to_string();
    for (publishes, events) in [(64, json!([{"type": "a.b"}]).to_string()), (17, large)] {
        let mut socket = Socket::open(&server).await;
        for id in 1..=publishes {
            let publish =
                format!(r#"{{"type":"publish","id":{id},"run":"r{publishes}","events":{events}}}"#);
            socket.text(&publish).await;
        }
        socket.send(&json!({"type": "ping", "id": "behind"})).await;
        // The shard has had many turns by then, and all that was sent has arrived.
        for _ in 0..100 {
            other.send(&json!({"type": "ping"})).await;
            assert_eq!(other.message().await["type"], "pong");
        }
        gate.add_permits(1);
        assert_eq!(socket.message().await["id"], 1);
        assert_eq!(socket.message().await, json!({"type": "pong", "id": "behind"}));
        gate.add_permits(publishes - 1);
        for id in 2..=publishes {
            assert_eq!(socket.message().await["id"], id);
        }
    }
}
