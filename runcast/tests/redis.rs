//! Two servers on one Redis, with the real binary.

#![allow(clippy::unwrap_used, reason = "tests")]

mod server;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use runcast_client::{Client, FollowItem};
use runcast_contract::redis_server::{Cluster, Server as Redis, Watched};
use runcast_event::{Cursor, Draft, RunId};
use serde_json::json;
use server::Server;

fn run() -> RunId {
    RunId::new("r").unwrap()
}

fn event(event_type: &'static str) -> Draft {
    Draft::new(event_type, json!({}))
}

#[tokio::test]
async fn what_is_published_on_one_server_is_followed_on_the_other() {
    let redis = Redis::start();
    follow_on_the_other(&redis.url()).await;
}

#[tokio::test]
async fn the_same_on_a_cluster() {
    let cluster = Cluster::start_bare();
    follow_on_the_other(&cluster.url()).await;
}

#[tokio::test]
async fn the_same_by_sentinels() {
    let watched = Watched::start();
    follow_on_the_other(&watched.url()).await;
}

async fn follow_on_the_other(url: &str) {
    let servers = [(); 2].map(|()| Server::started_on_redis(url, &[]));
    let [one, two] = [&servers[0], &servers[1]].map(|server| Client::new(&server.url()).unwrap());
    let mut follower = two.follow(&run(), Cursor::START);
    one.append(&run(), &[event("run.started"), event("my.tick")]).await.unwrap();
    two.append(&run(), &[event("run.paused"), event("run.resumed")]).await.unwrap();
    // Judged by what the other server stored.
    let refused = one.append(&run(), &[event("run.resumed")]).await.unwrap_err();
    assert!(refused.to_string().contains("running"), "{refused}");
    one.append(&run(), &[event("run.completed")]).await.unwrap();
    let mut offsets = Vec::new();
    loop {
        match follower.next().await.unwrap().unwrap() {
            FollowItem::State(_) => {}
            FollowItem::Event(event) => offsets.push(event.offset.get()),
            FollowItem::End { event_type } => {
                assert_eq!(event_type.as_deref(), Some("run.completed"));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(offsets, [1, 2, 3, 4, 5]);
    // Its state is on both, whichever stored what.
    let states = servers.each_ref().map(|server| {
        let state: serde_json::Value = serde_json::from_str(&server.get("/v1/runs/r")).unwrap();
        (state["status"].clone(), state["offset"].clone())
    });
    assert_eq!(states, [(); 2].map(|()| (json!("completed"), json!(5))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_one_server_is_flooded_with_takes_what_another_server_has_to_say() {
    let redis = Redis::start();
    let servers = [(); 2].map(|()| Server::started_on_redis(&redis.url(), &[]));
    let [one, two] = [&servers[0], &servers[1]].map(|server| Client::new(&server.url()).unwrap());
    one.append(&run(), &[event("run.started")]).await.unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    let flood: Vec<_> = (0..4)
        .map(|_| {
            let (one, enough) = (one.clone(), Arc::clone(&enough));
            tokio::spawn(async move {
                while !enough.load(Ordering::Relaxed) {
                    one.append(&run(), &[event("my.tick")]).await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..20 {
        two.append(&run(), &[event("run.paused")]).await.unwrap();
        two.append(&run(), &[event("run.resumed")]).await.unwrap();
    }
    enough.store(true, Ordering::Relaxed);
    for task in flood {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_producer_that_talks_to_one_server_is_not_lost_to_the_other() {
    let redis = Redis::start();
    let servers = [(); 2].map(|()| Server::started_on_redis(&redis.url(), &[]));
    let spool = tempfile::tempdir().unwrap();
    // It says nothing, and is there.
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_runcast"))
        .args(["exec", "--run", "r", "--lost-after", "3s", "--url", &servers[0].url()])
        .args(["--", "sleep", "8"])
        .env("XDG_STATE_HOME", spool.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = || {
        let state: serde_json::Value = serde_json::from_str(&servers[1].get("/v1/runs/r")).unwrap();
        state["status"].as_str().unwrap().to_owned()
    };
    let until = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "it does not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(status(), "completed");
}

#[tokio::test]
async fn a_run_is_at_once_on_every_server_what_any_of_them_acknowledged() {
    let redis = Redis::start();
    let servers = [(); 2].map(|()| Server::started_on_redis(&redis.url(), &[]));
    let one = Client::new(&servers[0].url()).unwrap();
    for offset in 1..=100_u64 {
        one.append(&run(), &[event("my.tick")]).await.unwrap();
        let state: serde_json::Value = serde_json::from_str(&servers[1].get("/v1/runs/r")).unwrap();
        assert!(state["offset"].as_u64() >= Some(offset), "{state} after {offset}");
    }
}

/// An open stream of events, as its bytes come.
struct Stream {
    connection: TcpStream,
    seen: String,
}

impl Stream {
    fn open(server: &Server, target: &str) -> Self {
        let mut connection = TcpStream::connect(server.address()).unwrap();
        let host = server.address();
        let head =
            format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { connection, seen: String::new() }
    }

    /// Reads until this has come, and forgets it and all before.
    fn until(&mut self, expected: &str) {
        loop {
            if let Some(at) = self.seen.find(expected) {
                self.seen.drain(..at + expected.len());
                return;
            }
            let mut bytes = [0; 4_096];
            let length = self.connection.read(&mut bytes).expect("it comes");
            assert!(length > 0, "the stream ended before {expected:?}: {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }
}

#[tokio::test]
async fn viewers_stay_while_redis_is_away_and_are_told_and_go_on() {
    let mut redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let server = Server::started_on_redis(&redis.url(), &["heartbeat_s=1", "away_max_s=60"]);
    let client = Client::new(&server.url()).unwrap();
    client.append(&run(), &[event("run.started")]).await.unwrap();
    let mut live = ["/v1/runs/r/events", "/v1/streams?run=r"].map(|target| {
        let mut stream = Stream::open(&server, target);
        stream.until("run.started");
        stream
    });
    redis.kill();
    for stream in &mut live {
        stream.until("event: away\n");
        stream.until("event: away\n");
    }
    let ready = server.status("/readyz");
    let page = server.status("/v1/runs/r/events");
    assert_eq!((ready, page), (503, 503));
    // Who comes now waits, as who was there.
    let mut late = Stream::open(&server, "/v1/runs/r/events");
    redis.restart();
    late.until("run.started");
    // A retry by the client, as long as the server says that it is not ready.
    client.append(&run(), &[event("run.completed")]).await.unwrap();
    for stream in live.iter_mut().chain([&mut late]) {
        stream.until("run.completed");
        stream.until("event: end\n");
        assert!(!stream.seen.contains("gap"), "nothing was lost: {}", stream.seen);
    }
}
