//! What is given up and when, by a clock that stands still until it is set; and what readers of it get.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runcast_event::{RunId, Timestamp, parse_event};
use runcast_hub::HubConfig;
use runcast_log::{Append, EmbeddedOptions};
use runcast_server::{
    Clock, HttpConfig, RetentionClass, RetentionPolicy, ServerConfig, Store, start,
};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use crate::client::{TestServer, frames, patiently};
use crate::faults::hub_without_room_for_deletions;
use crate::websocket::socket::Socket;

/// A clock, and the time that it began at.
struct Hand(watch::Sender<Timestamp>);

impl Hand {
    fn new() -> Self {
        Self(watch::channel("2026-01-02T03:00:00Z".parse().unwrap()).0)
    }

    fn clock(&self) -> Clock {
        Clock::Set(self.0.subscribe())
    }

    fn pass(&self, seconds: u64) {
        self.0.send_modify(|now| *now = now.plus_millis(seconds * 1_000));
    }
}

fn policy(classes: Value) -> RetentionPolicy {
    let classes: Vec<RetentionClass> = serde_json::from_value(classes).unwrap();
    RetentionPolicy::new(classes).unwrap()
}

async fn server(hand: &Hand, classes: Value) -> TestServer {
    let change = |config: &mut HttpConfig| {
        (config.clock, config.retention) = (hand.clock(), policy(classes));
    };
    TestServer::start_with(change, HubConfig::default()).await
}

async fn on_disk(directory: &Path, hand: &Hand, classes: Value) -> TestServer {
    on_log(directory, EmbeddedOptions::default(), hand, classes).await
}

async fn on_log(directory: &Path, log: EmbeddedOptions, hand: &Hand, classes: Value) -> TestServer {
    let (clock, retention) = (hand.clock(), policy(classes));
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = ServerConfig {
        store: Store::Directory { path: directory.to_path_buf(), options: log },
        hub: HubConfig::default(),
        http: HttpConfig { listen, clock, retention, ..HttpConfig::default() },
    };
    TestServer::running(start(config).await.unwrap())
}

async fn stop(mut server: TestServer) {
    server.begin_to_stop();
    server.stopped().await;
}

async fn say(server: &TestServer, run: &str, event: Value) {
    let reply = server.post(&format!("/v1/runs/{run}/events"), &event.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

async fn put_out(server: &TestServer, run: &str, count: usize) {
    for _ in 0..count {
        say(server, run, json!({"type": "output", "data": {"text": "x".repeat(100)}})).await;
    }
}

/// Waits until the first event that is kept is another than the first; says which.
async fn trimmed(server: &TestServer, run: &str, but: u64) -> u64 {
    patiently(async {
        loop {
            let run = server.get(&format!("/v1/runs/{run}")).await.json();
            let first = run["first_offset"].as_u64().unwrap();
            if first > but {
                return first;
            }
        }
    })
    .await
}

/// Waits until there are these runs and no others.
async fn only(server: &TestServer, runs: &[&str]) {
    patiently(async {
        loop {
            let listed = server.get("/v1/runs").await.json();
            let listed = listed["runs"].as_array().unwrap();
            let listed: HashSet<_> = listed.iter().map(|run| run["id"].as_str().unwrap()).collect();
            if listed == runs.iter().copied().collect() {
                return;
            }
        }
    })
    .await;
}

/// A run's state without what a trim changes, of which there may be another at any moment.
async fn state(server: &TestServer, run: &str) -> Value {
    let mut state = server.get(&format!("/v1/runs/{run}")).await.json();
    state.as_object_mut().unwrap().remove("first_offset").unwrap();
    state
}

#[tokio::test]
async fn an_ended_run_is_deleted_so_long_after_its_end_and_the_feed_tells_of_it() {
    let hand = Hand::new();
    let server = server(&hand, json!([{"workflow": "w", "keep_ended_s": 60}])).await;
    let made = json!({"type": "run.started", "data": {"workflow": "w"}});
    for run in ["ended", "open"] {
        say(&server, run, made.clone()).await;
    }
    say(&server, "other", json!({"type": "run.completed"})).await;
    hand.pass(100);
    say(&server, "ended", json!({"type": "run.failed"})).await;
    let feed = server.get("/v1/feed").await.json();
    hand.pass(59);
    only(&server, &["open", "ended", "other"]).await;
    hand.pass(1);
    let after = feed["next"].as_str().unwrap();
    let told = server.get(&format!("/v1/feed?after={after}&wait=20000")).await.json();
    assert_eq!(told["events"][0]["type"], "run.deleted");
    assert_eq!(told["events"][0]["run"], "ended");
    assert_eq!(told["events"][0]["data"]["workflow"], "w");
    server.get("/v1/runs/ended").await.problem(410, "run_deleted");
    only(&server, &["open", "other"]).await;
    let metrics = server.get("/metrics").await;
    assert!(metrics.text().contains("\nruncast_retention_deleted_runs_total 1\n"));
}

#[tokio::test]
async fn of_a_class_only_those_are_kept_that_ended_last() {
    let hand = Hand::new();
    let classes = json!([{"tag": "keep"}, {"ended": true, "keep_runs": 2}]);
    let server = server(&hand, classes).await;
    for run in ["a", "b", "c", "d"] {
        say(&server, run, json!({"type": "run.started"})).await;
        hand.pass(1);
    }
    let kept = json!({"type": "run.started", "data": {"tags": ["keep"]}});
    say(&server, "kept", kept).await;
    for run in ["kept", "c", "b", "a"] {
        hand.pass(1);
        say(&server, run, json!({"type": "run.completed"})).await;
    }
    only(&server, &["kept", "d", "b", "a"]).await;
    hand.pass(1);
    say(&server, "d", json!({"type": "run.completed"})).await;
    only(&server, &["kept", "d", "a"]).await;
}

#[tokio::test]
async fn a_trimmed_run_keeps_its_state_its_followers_and_its_newest_events() {
    let hand = Hand::new();
    let server = server(&hand, json!([{"events_max": 20}])).await;
    let made =
        json!({"type": "run.queued", "data": {"workflow": "w", "name": "n", "steps": ["s"]}});
    say(&server, "r", made).await;
    say(&server, "r", json!({"type": "step.started", "step": "s"})).await;
    say(&server, "r", json!({"type": "input.requested", "data": {"input": "i", "prompt": "?"}}))
        .await;
    put_out(&server, "r", 19).await;
    assert_eq!(server.get("/v1/runs/r").await.json()["first_offset"], 1, "10 % are let be");
    let mut live = server.follow("/v1/runs/r/events?after=22").await;
    let before = state(&server, "r").await;
    put_out(&server, "r", 1).await;
    assert_eq!(trimmed(&server, "r", 1).await, 4);
    let after = state(&server, "r").await;
    for field in ["workflow", "name", "steps", "inputs", "created_at", "status"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    // The open question can be answered though it is gone from the events.
    let answered = server.post("/v1/runs/r/inputs/i", r#"{"answer":1}"#).await;
    assert_eq!(answered.status / 100, 2, "{}", answered.text());
    say(&server, "r", json!({"type": "run.completed"})).await;
    let text = String::from_utf8(live.rest().await).unwrap();
    let seen: Vec<_> = frames(&text).into_iter().map(|(id, name, _)| id + &name).collect();
    assert_eq!(seen, ["23", "24", "25", "end"], "a live follower sees nothing of it");
    let metrics = server.get("/metrics").await;
    assert!(metrics.text().contains("runcast_retention_trimmed_events_total{of=\"runs\"} 3\n"));
}

#[tokio::test]
async fn readers_of_what_is_gone_are_told_of_the_gap_on_every_way() {
    let hand = Hand::new();
    let server = server(&hand, json!([{"events_max": 10}])).await;
    put_out(&server, "r", 11).await;
    say(&server, "r", json!({"type": "run.completed"})).await;
    assert_eq!(trimmed(&server, "r", 1).await, 3);
    let gap = |from: u64| json!({"from": from, "to": 2, "reason": "trimmed"});
    let page = server.get("/v1/runs/r/events").await.json();
    assert_eq!((&page["gap"], &page["events"][0]["offset"]), (&gap(1), &json!(3)));
    for (target, headers, from) in [
        ("/v1/runs/r/events", vec![], 1),
        ("/v1/runs/r/events?after=1", vec![], 2),
        ("/v1/runs/r/events", vec![("Last-Event-ID", "1")], 2),
    ] {
        let headers: Vec<_> =
            [("Accept", "text/event-stream")].into_iter().chain(headers).collect();
        let mut follower = server.open("GET", target, &headers).await;
        follower.head().await;
        let frames = frames(&String::from_utf8(follower.rest().await).unwrap());
        let (_, name, data) = &frames[0];
        assert_eq!((&**name, data), ("gap", &gap(from)), "{target}");
        assert_eq!(frames[1].2["offset"], 3, "{target}");
    }
    let mut socket = Socket::open(&server).await;
    socket.send(&json!({"type": "subscribe", "run": "r", "after": "1"})).await;
    assert_eq!(socket.message().await["type"], "subscribed");
    let told = socket.message().await;
    assert_eq!((&told["type"], &told["gap"]), (&json!("gap"), &gap(2)));
}

#[tokio::test]
async fn a_run_is_trimmed_by_its_bytes_and_by_the_age_of_its_events() {
    let hand = Hand::new();
    let classes =
        json!([{"workflow": "b", "bytes_max": 2_000}, {"workflow": "a", "age_max_s": 100}]);
    let server = server(&hand, classes).await;
    for run in ["a", "b"] {
        say(&server, run, json!({"type": "run.started", "data": {"workflow": run}})).await;
    }
    put_out(&server, "b", 30).await;
    // It may be trimmed several times as it grows.
    let first = trimmed(&server, "b", 14).await;
    // The newest stays. What lies together on a disk goes together.
    assert!(first <= 31, "{first}");
    for _ in 0..5 {
        hand.pass(20);
        put_out(&server, "a", 1).await;
    }
    hand.pass(9);
    assert_eq!(server.get("/v1/runs/a").await.json()["first_offset"], 1);
    hand.pass(1);
    // 110 s old, 90, 70 …: what is older than 100 goes when the oldest is 10 % older.
    assert_eq!(trimmed(&server, "a", 1).await, 2);
    hand.pass(10_000);
    assert_eq!(trimmed(&server, "a", 2).await, 6, "the newest stays");
    assert_eq!(server.get("/v1/runs/a").await.json()["workflow"], "a");
}

#[tokio::test]
async fn a_run_can_ask_to_be_kept_for_less_and_is_told_which_field_cannot_be() {
    let hand = Hand::new();
    let server = server(&hand, json!([])).await;
    for (retention, field) in [
        (json!({"keep_ended": 1}), "data.retention.keep_ended"),
        (json!({"events_max": 0}), "data.retention.events_max"),
        (json!({"age_max_s": "1 d"}), "data.retention.age_max_s"),
        (json!({"keep_runs": 7}), "data.retention.keep_runs"),
    ] {
        let event = json!({"type": "run.started", "data": {"retention": retention}});
        let refused = server.post("/v1/runs/no/events", &event.to_string()).await;
        assert_eq!(refused.problem(400, "invalid_event")["field"], field);
    }
    let asks = json!({"type": "run.started", "data": {"retention": {"keep_ended_s": 10}}});
    for run in ["asks", "asks_too"] {
        say(&server, run, asks.clone()).await;
        hand.pass(1);
    }
    say(&server, "stays", json!({"type": "run.completed"})).await;
    say(&server, "asks", json!({"type": "run.completed"})).await;
    hand.pass(10);
    only(&server, &["stays", "asks_too"]).await;
}

#[tokio::test]
async fn the_feed_keeps_its_newest_entries_and_tells_of_the_gap() {
    let change = |config: &mut HttpConfig| config.limits.feed_events_max = 10;
    let server = TestServer::start_with(change, HubConfig::default()).await;
    for number in 0..12 {
        say(&server, &format!("r{number}"), json!({"type": "run.started"})).await;
    }
    let page = patiently(async {
        loop {
            let page = server.get("/v1/feed").await.json();
            if page["first"] != 1 {
                return page;
            }
        }
    });
    let page = page.await;
    assert_eq!(page["gap"], json!({"from": 1, "to": 2, "reason": "trimmed"}));
    assert_eq!((&page["first"], &page["events"][0]["offset"]), (&json!(3), &json!(3)));
}

#[tokio::test]
async fn a_server_that_starts_again_has_the_states_of_trimmed_runs_and_goes_on_deleting() {
    let (hand, directory) = (Hand::new(), tempfile::tempdir().unwrap());
    let classes = json!([{"events_max": 10, "keep_ended_s": 60}]);
    let server = on_disk(directory.path(), &hand, classes.clone()).await;
    let made = json!({"type": "run.started", "data": {"workflow": "w", "steps": ["s"], "metadata": {"k": 1}}});
    say(&server, "r", made).await;
    say(&server, "r", json!({"type": "step.started", "step": "s"})).await;
    say(&server, "ends", json!({"type": "run.completed"})).await;
    put_out(&server, "r", 20).await;
    trimmed(&server, "r", 2).await;
    let before = state(&server, "r").await;
    stop(server).await;
    let _none_yet = std::fs::remove_file(directory.path().join("states.saved"));
    hand.pass(30);
    let server = on_disk(directory.path(), &hand, classes.clone()).await;
    assert_eq!(state(&server, "r").await, before);
    only(&server, &["ends", "r"]).await;
    hand.pass(30);
    only(&server, &["r"]).await;
    stop(server).await;
    let server = on_disk(directory.path(), &hand, classes).await;
    say(&server, "r", json!({"type": "step.completed", "step": "s"})).await;
    let step = &server.get("/v1/runs/r").await.json()["steps"][0];
    assert_eq!((&step["step"], &step["status"]), (&json!("s"), &json!("completed")));
}

#[tokio::test]
async fn states_that_were_saved_go_on_over_trims_before_and_since() {
    let (hand, directory) = (Hand::new(), tempfile::tempdir().unwrap());
    let classes = json!([{"workflow": "w", "events_max": 10}]);
    let server = on_disk(directory.path(), &hand, classes.clone()).await;
    let made = json!({"type": "run.started", "data": {"workflow": "w", "metadata": {"k": 1}}});
    say(&server, "r", made).await;
    say(&server, "r", json!({"type": "step.skipped", "step": "s"})).await;
    put_out(&server, "r", 20).await;
    trimmed(&server, "r", 2).await;
    // So many that they are saved.
    let others = 0..1_200;
    futures_util::future::join_all(others.map(|number| {
        let server = &server;
        async move { say(server, &format!("r{number}"), json!({"type": "run.started"})).await }
    }))
    .await;
    // All is folded in then.
    server.get("/v1/runs?limit=1").await;
    let before = state(&server, "r").await;
    stop(server).await;
    let file = directory.path().join("states.saved");
    let saved = std::fs::read(&file).unwrap();

    let server = on_disk(directory.path(), &hand, classes.clone()).await;
    assert_eq!(state(&server, "r").await, before);
    say(&server, "r", json!({"type": "step.failed", "step": "t"})).await;
    put_out(&server, "r", 20).await;
    trimmed(&server, "r", before["offset"].as_u64().unwrap() + 1).await;
    let before = state(&server, "r").await;
    stop(server).await;
    assert!(std::fs::read(&file).unwrap() == saved, "little has changed");

    // Between what is saved and what the log has there are trimmed events.
    let server = on_disk(directory.path(), &hand, classes).await;
    assert_eq!(state(&server, "r").await, before);
    let steps = before["steps"].as_array().unwrap().iter();
    let steps: Vec<_> = steps.map(|step| (&step["step"], &step["status"])).collect();
    assert_eq!(steps, [(&json!("s"), &json!("skipped")), (&json!("t"), &json!("failed"))]);
    assert_eq!(before["metadata"], json!({"k": 1}));
}

/// The log's files in which a text is, and where it is in each.
fn places(directory: &Path, text: &str) -> Vec<(PathBuf, usize)> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let place = |path: PathBuf| {
        // Files come and go.
        let bytes = std::fs::read(&path).unwrap_or_default();
        let at = bytes.windows(text.len()).position(|part| part == text.as_bytes())?;
        Some((path, at))
    };
    files.filter_map(place).collect()
}

#[tokio::test]
async fn a_trimmed_run_whose_state_is_damaged_says_what_is_missing_and_goes_on() {
    let (hand, directory) = (Hand::new(), tempfile::tempdir().unwrap());
    let classes = json!([{"workflow": "w", "events_max": 10}]);
    let log = EmbeddedOptions { wal_bytes_max: 8 * 1024, ..EmbeddedOptions::default() };
    let server = on_log(directory.path(), log.clone(), &hand, classes.clone()).await;
    let made =
        json!({"type": "run.started", "data": {"workflow": "w", "metadata": {"k": "the mark"}}});
    say(&server, "r", made).await;
    put_out(&server, "r", 20).await;
    trimmed(&server, "r", 2).await;
    let is_sealed = |(path, _): &(PathBuf, usize)| path.extension().unwrap() == "seg";
    patiently(async {
        // All but one are erased.
        while !matches!(&places(directory.path(), "the mark")[..], [one] if is_sealed(one)) {
            put_out(&server, "other", 1).await;
        }
    })
    .await;
    let first = server.get("/v1/runs/r").await.json()["first_offset"].as_u64().unwrap();
    stop(server).await;
    let (path, at) = places(directory.path(), "the mark").remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let server = on_log(directory.path(), log, &hand, classes).await;
    let state = server.get("/v1/runs/r").await.json();
    assert_eq!(state["damaged"], json!([{"from": 1, "to": first - 1}]));
    assert_eq!((&state["first_offset"], &state["metadata"]), (&json!(first), &json!({})));
    assert_eq!(server.get("/v1/runs/other").await.json()["status"], "running");
    let events = server.get("/v1/runs/r/events").await.json();
    assert_eq!(events["gap"]["to"], first - 1);
    assert_eq!(events["events"][0]["offset"], first);
    // It goes on: what that needs may have been said in what is missing.
    say(&server, "r", json!({"type": "step.completed", "step": "s"})).await;
    let state = server.get("/v1/runs/r").await.json();
    assert_eq!(state["steps"][0]["status"], "completed");
}

#[tokio::test]
async fn what_could_not_be_deleted_for_want_of_room_is_tried_again() {
    for classes in [json!([{"keep_runs": 1}]), json!([{"tag": "t", "keep_ended_s": 60}])] {
        let (hand, gate) = (Hand::new(), Arc::new(Semaphore::new(1)));
        let change = |config: &mut HttpConfig| {
            (config.clock, config.retention) = (hand.clock(), policy(classes));
        };
        let server = TestServer::start_on(change, hub_without_room_for_deletions(&gate)).await;
        say(&server, "a", json!({"type": "run.started", "data": {"tags": ["t"]}})).await;
        say(&server, "a", json!({"type": "run.completed"})).await;
        hand.pass(60);
        say(&server, "b", json!({"type": "run.completed"})).await;
        patiently(async {
            while gate.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        only(&server, &["a", "b"]).await;
        patiently(async {
            while server.get("/v1/runs/a").await.status == 200 {
                hand.pass(5);
            }
        })
        .await;
        only(&server, &["b"]).await;
    }
}

#[tokio::test]
async fn many_runs_that_expire_at_once_hold_no_append_up() {
    const RUNS: usize = 5_000;
    let (hand, directory) = (Hand::new(), tempfile::tempdir().unwrap());
    let server = on_disk(directory.path(), &hand, json!([{"keep_ended_s": 60}])).await;
    let now = *hand.0.borrow();
    let end = parse_event(br#"{"type":"run.completed"}"#, now).unwrap().payload.into_bytes();
    let append = |number: usize| Append {
        run: RunId::new(&format!("r{number}")).unwrap(),
        events: vec![end.clone()],
        close: true,
        expected_last: None,
        producer: None,
        create: true,
    };
    for numbers in (0..RUNS).collect::<Vec<_>>().chunks(1_000) {
        let appends = numbers.iter().map(|number| server.hub.append(append(*number)));
        futures_util::future::try_join_all(appends).await.unwrap();
    }
    let left = async || {
        let counts = server.get("/v1/runs?limit=1&counts=1").await.json()["counts"].clone();
        counts["completed"].as_u64().unwrap_or(0) as usize
    };
    assert_eq!(left().await, RUNS);
    hand.pass(60);
    patiently(async { while left().await == RUNS {} }).await;
    say(&server, "goes_on", json!({"type": "run.started"})).await;
    assert!(left().await > 0, "an append does not wait until all are gone");
    patiently(async { while left().await > 0 {} }).await;
    assert_eq!(server.get("/v1/runs/goes_on").await.json()["status"], "running");
}
