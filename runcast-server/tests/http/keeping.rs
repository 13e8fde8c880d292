//! No run is undead: lost producers, deadlines, questions that nobody answers. By a clock that stands
//! still until it is set.

use std::path::Path;
use std::time::Duration;

use runcast_event::Timestamp;
use runcast_hub::HubConfig;
use runcast_log::EmbeddedOptions;
use runcast_server::{Clock, HttpConfig, ServerConfig, Store, start};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::client::TestServer;
use crate::websocket::socket::Socket;

/// A clock, and the time that it began at.
struct Hand(watch::Sender<Timestamp>);

impl Hand {
    fn new() -> (Self, Clock) {
        let (set, time) = watch::channel("2026-01-02T03:00:00Z".parse().unwrap());
        (Self(set), Clock::Set(time))
    }

    fn clock(&self) -> Clock {
        Clock::Set(self.0.subscribe())
    }

    fn pass(&self, seconds: u64) {
        self.0.send_modify(|now| *now = now.plus_millis(seconds * 1_000));
    }
}

async fn server_with(clock: Clock) -> TestServer {
    TestServer::start_with(|config| config.clock = clock, HubConfig::default()).await
}

async fn on_disk(directory: &Path, clock: Clock) -> TestServer {
    let config = ServerConfig {
        store: Store::Directory {
            path: directory.to_path_buf(),
            options: EmbeddedOptions::default(),
        },
        hub: HubConfig::default(),
        http: HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), clock, ..HttpConfig::default() },
    };
    TestServer::running(start(config).await.unwrap())
}

async fn say(server: &TestServer, event: Value) {
    let reply = server.post("/v1/runs/r/events", &event.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

async fn status(server: &TestServer) -> Value {
    server.get("/v1/runs/r").await.json()["status"].clone()
}

/// The events behind this one, of which there is at least one, or will be.
async fn behind(server: &TestServer, after: u64) -> Vec<Value> {
    let page = server.get(&format!("/v1/runs/r/events?after={after}&wait=20000")).await.json();
    page["events"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_run_whose_producer_is_silent_for_too_long_has_crashed() {
    let (hand, clock) = Hand::new();
    let server = server_with(clock).await;
    say(&server, json!({"type": "run.started", "data": {"lost_after_ms": 60_000}})).await;
    hand.pass(50);
    say(&server, json!({"type": "output", "data": {"text": "here"}})).await;
    hand.pass(50);
    assert_eq!(status(&server).await, "running");
    assert_eq!(server.post("/v1/runs/r/heartbeat", "").await.status, 204);
    hand.pass(50);
    assert_eq!(status(&server).await, "running");
    hand.pass(11);
    let events = behind(&server, 2).await;
    assert_eq!(events[0]["type"], "run.crashed");
    assert_eq!(events[0]["time"], "2026-01-02T03:02:41.000000Z");
    server.post("/v1/runs/r/heartbeat", "").await.problem(409, "run_ended");
    server.post("/v1/runs/none/heartbeat", "").await.problem(404, "run_not_found");
}

#[tokio::test]
async fn a_producer_that_holds_its_mailbox_is_there_and_has_its_time_to_come_back() {
    for target in ["/v1/runs/r/commands", "/v1/streams?run=r"] {
        let (hand, clock) = Hand::new();
        let server = server_with(clock).await;
        say(&server, json!({"type": "run.started", "data": {"lost_after_ms": 60_000}})).await;
        assert_eq!(status(&server).await, "running");
        let held = server.follow(target).await;
        hand.pass(1_000);
        if target == "/v1/streams?run=r" {
            assert_eq!(
                behind(&server, 1).await[0]["type"],
                "run.crashed",
                "a viewer is no producer"
            );
            continue;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(status(&server).await, "running");
        drop(held);
        while server.hub.followers() > 0 {
            tokio::task::yield_now().await;
        }
        hand.pass(59);
        let back = server.follow(target).await;
        hand.pass(59);
        drop(back);
        while server.hub.followers() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(status(&server).await, "running");
        hand.pass(61);
        assert_eq!(behind(&server, 1).await[0]["type"], "run.crashed");
    }
}

#[tokio::test]
async fn a_mailbox_over_a_websocket_is_the_mailbox() {
    let (hand, clock) = Hand::new();
    let server = server_with(clock).await;
    say(&server, json!({"type": "run.started", "data": {"lost_after_ms": 60_000}})).await;
    let mut socket = Socket::open(&server).await;
    socket.send(&json!({"type": "subscribe", "run": "r", "mailbox": true})).await;
    assert_eq!(socket.message().await["type"], "subscribed");
    hand.pass(1_000);
    say(&server, json!({"type": "output", "data": {"text": "x"}})).await;
    let asked = server.post("/v1/runs/r/commands", r#"{"name":"stop"}"#).await;
    assert_eq!(asked.status, 201, "{}", asked.text());
    let told = socket.message().await;
    assert_eq!(
        (&told["events"][0]["type"], &told["cursor"]),
        (&json!("command.requested"), &json!("3"))
    );
    assert_eq!(told["events"].as_array().unwrap().len(), 1);
    drop(socket);
    while server.hub.followers() > 0 {
        tokio::task::yield_now().await;
    }
    hand.pass(61);
    assert_eq!(behind(&server, 3).await[0]["type"], "run.crashed");
}

#[tokio::test]
async fn a_run_that_says_nothing_of_its_producer_is_given_a_day() {
    let (hand, clock) = Hand::new();
    let server = server_with(clock).await;
    say(&server, json!({"type": "run.started"})).await;
    assert_eq!(status(&server).await, "running");
    hand.pass(23 * 3_600);
    assert_eq!(status(&server).await, "running");
    hand.pass(2 * 3_600);
    let crashed = behind(&server, 1).await;
    assert_eq!(crashed[0]["type"], "run.crashed");
    assert!(crashed[0]["data"]["status_reason"].is_string(), "{crashed:?}");
}

#[tokio::test]
async fn deadlines_questions_and_commands_are_kept_over_a_restart_once() {
    let directory = tempfile::tempdir().unwrap();
    let (hand, clock) = Hand::new();
    let mut server = on_disk(directory.path(), clock).await;
    let deadline = "2026-01-02T04:00:00Z";
    say(&server, json!({"type": "run.started", "data": {"deadline": deadline}})).await;
    let asked = json!({"input": "q", "prompt": "?", "default": "no", "timeout_ms": 600_000});
    say(&server, json!({"type": "input.requested", "data": asked})).await;
    let command = r#"{"name":"set","timeout_ms":1200000}"#;
    assert_eq!(server.post("/v1/runs/r/commands", command).await.status, 201);
    server.begin_to_stop();
    server.stopped().await;
    hand.pass(700);
    let mut server = on_disk(directory.path(), hand.clock()).await;
    let events = behind(&server, 3).await;
    assert_eq!(
        (&events[0]["type"], &events[0]["data"]["answer"]),
        (&json!("input.timed_out"), &json!("no"))
    );
    let late = server.post("/v1/runs/r/inputs/q", r#"{"answer":"yes"}"#).await;
    assert_eq!(late.problem(409, "input_closed")["input_status"], "timed_out");
    hand.pass(600);
    assert_eq!(behind(&server, 4).await[0]["type"], "command.expired");
    server.begin_to_stop();
    server.stopped().await;
    hand.pass(3_600);
    let server = on_disk(directory.path(), hand.clock()).await;
    let events = behind(&server, 5).await;
    assert_eq!((events.len(), &events[0]["type"]), (1, &json!("run.timed_out")));
    assert_eq!(status(&server).await, "timed_out");
}
