//! Ended runs that are stored with their deltas merged: every reader, with any cursor, gets every letter
//! once, and the run's state is what it was.

use std::collections::BTreeMap;
use std::path::Path;

use runcast_hub::HubConfig;
use runcast_log::EmbeddedOptions;
use runcast_log::inspect::{Selection, inspect};
use runcast_server::{HttpConfig, RetentionClass, RetentionPolicy, ServerConfig, Store, start};
use serde_json::{Value, json};

use crate::client::{TestServer, frames, patiently};
use crate::websocket::socket::Socket;

/// Seals and merges all the time.
async fn on(directory: &Path) -> TestServer {
    with(directory, 32 * 1024).await
}

async fn with(directory: &Path, wal_bytes_max: u64) -> TestServer {
    let classes = json!([{"workflow": "w", "coalesce_ended": true}]);
    let classes: Vec<RetentionClass> = serde_json::from_value(classes).unwrap();
    let retention = RetentionPolicy::new(classes).unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let options = EmbeddedOptions {
        wal_bytes_max,
        room_bytes_max: 8 * 1024,
        seal_memory_bytes_max: 16 * 1024,
        merge_segments: 2,
        ..EmbeddedOptions::default()
    };
    let config = ServerConfig {
        store: Store::Directory { path: directory.to_path_buf(), options },
        hub: HubConfig::default(),
        http: HttpConfig { listen, retention, ..HttpConfig::default() },
    };
    TestServer::running(start(config).await.unwrap())
}

async fn stop(mut server: TestServer) {
    server.begin_to_stop();
    server.stopped().await;
}

/// What a run does: tokens of two messages and of a call, and lines.
fn events(workflow: &str) -> Vec<Value> {
    let mut events = vec![json!({"type": "run.queued", "data": {"workflow": workflow}})];
    for at in 0..150 {
        let text = format!("{at} \"\u{1F538}\"\n");
        events.push(json!({"type": "message.delta", "data": {"message": "a", "text": text}}));
    }
    for at in 0..300 {
        let data = match at / 40 % 4 {
            0 => json!({"message": "b", "text": format!("b{at} ")}),
            1 => json!({"call": "c", "text": format!("c{at} ")}),
            2 => json!({"stream": "stdout", "text": format!("line {at}\n")}),
            _ => json!({"stream": "stderr", "text": ""}),
        };
        let event_type = ["message.delta", "tool.args", "output", "output"][at / 40 % 4];
        events.push(json!({"type": event_type, "data": data}));
    }
    events.push(json!({"type": "run.completed", "data": {"output": "done"}}));
    events
}

/// Appends what a run does; gives all of its events as they are stored before any are merged.
async fn append(server: &TestServer, run: &str, workflow: &str) -> Vec<Value> {
    let events = events(workflow);
    let (end, others) = events.split_last().unwrap();
    let mut stored = Vec::new();
    // Nothing is merged before the end, and the end itself never.
    for events in others.chunks(50).chain([std::slice::from_ref(end)]) {
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        let reply = server.lines(&format!("/v1/runs/{run}/events"), &lines).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        stored.extend(pages(server, run, stored.len() as u64, events.len() as u64).await);
    }
    stored
}

/// The text of each message, call and stream behind an event.
type Texts = BTreeMap<String, String>;

fn texts(events: &[Value], mut after: u64) -> Texts {
    let mut texts = Texts::new();
    for event in events {
        let merged = event["merged"].as_u64().unwrap_or(1);
        assert_ne!(event["merged"], 1, "one event is not merged");
        after += merged;
        assert_eq!(event["offset"], after, "no hole and nothing twice");
        let data = &event["data"];
        let key =
            format!("{} {} {} {}", event["type"], data["message"], data["call"], data["stream"]);
        texts.entry(key).or_default().push_str(data["text"].as_str().unwrap_or_default());
    }
    texts
}

/// All pages behind an event; a page has at most so many events, counting those that are merged.
async fn pages(server: &TestServer, run: &str, after: u64, limit: u64) -> Vec<Value> {
    let (mut events, mut next) = (Vec::new(), after.to_string());
    loop {
        let page =
            server.get(&format!("/v1/runs/{run}/events?after={next}&limit={limit}")).await.json();
        let from: u64 = next.parse().unwrap();
        next = page["next"].as_str().unwrap().to_owned();
        let last = page["last"].as_u64().unwrap();
        assert_eq!(next.parse::<u64>().unwrap(), (from + limit).min(last), "a page is full");
        events.extend(page["events"].as_array().unwrap().clone());
        if from + limit >= last {
            return events;
        }
    }
}

/// Writes until the run is stored with merged deltas.
async fn compacted(server: &TestServer, run: &str) {
    patiently(async {
        loop {
            let filler = json!({"type": "output", "data": {"text": "x".repeat(20_000)}});
            server.post("/v1/runs/filler/events", &filler.to_string()).await;
            let page = server.get(&format!("/v1/runs/{run}/events?limit=1000")).await.json();
            let events = page["events"].as_array().unwrap();
            if events.iter().any(|event| event["merged"].is_u64()) {
                return;
            }
        }
    })
    .await;
}

async fn state(server: &TestServer, run: &str) -> Value {
    let mut state = server.get(&format!("/v1/runs/{run}")).await.json();
    state.as_object_mut().unwrap().remove("id");
    state
}

async fn check(server: &TestServer, before: &[Value], state_before: &Value) {
    assert_eq!(state(server, "r").await, *state_before);
    let last = before.len() as u64;
    for after in [0, 1, 2, 3, 77, 150, 151, 152, 200, 333, 450, last - 1, last] {
        let expected = texts(&before[after as usize..], after);
        for limit in [1, 7, 100, 1_000] {
            let read = pages(server, "r", after, limit).await;
            assert_eq!(texts(&read, after), expected, "pages of {limit} after {after}");
        }
        let target = format!("/v1/runs/r/events?after={after}");
        let lines = [("accept", "application/x-ndjson")];
        let read = server.send("GET", &target, &lines, b"").await.json_lines();
        assert_eq!(texts(&read, after), expected, "lines after {after}");
        let merged = server.get(&format!("{target}&limit=1000&coalesce=1")).await.json();
        let merged = merged["events"].as_array().unwrap();
        assert_eq!(texts(merged, after), expected, "merged after {after}");
        if after < last {
            let wire = server.follow(&target).await.rest().await;
            let frames = frames(std::str::from_utf8(&wire).unwrap());
            let events: Vec<_> = frames
                .into_iter()
                .filter(|(id, name, _)| !id.is_empty() && name.is_empty())
                .map(|(_, _, event)| event)
                .collect();
            assert_eq!(texts(&events, after), expected, "frames after {after}");
        }
    }
    let chosen = server.get("/v1/runs/r/events?limit=1000&type=output").await.json();
    let count = |event: &Value| event["merged"].as_u64().unwrap_or(1);
    let outputs = chosen["events"].as_array().unwrap().iter().map(count).sum::<u64>();
    let of_type = |event: &&Value| event["type"] == "output";
    assert_eq!(outputs, before.iter().filter(of_type).count() as u64);
}

#[tokio::test]
async fn an_ended_run_of_a_class_that_asks_for_it_is_stored_merged_and_loses_no_letter() {
    let directory = tempfile::tempdir().unwrap();
    let server = on(directory.path()).await;
    let before = append(&server, "r", "w").await;
    let plain = append(&server, "plain", "other").await;
    let state_before = state(&server, "r").await;
    assert_eq!(state_before["events"]["total"], before.len());

    compacted(&server, "r").await;
    let stored = pages(&server, "r", 0, 1_000).await;
    assert!(stored.len() < 40, "{} events are left", stored.len());
    assert_eq!(stored[0], before[0]);
    assert_eq!(stored[1], before[1], "the first delta has its own time");
    check(&server, &before, &state_before).await;

    let mut socket = Socket::open(&server).await;
    socket.send(&json!({"type": "subscribe", "run": "r", "after": "77"})).await;
    let mut events = Vec::new();
    loop {
        let message = socket.message().await;
        match message["type"].as_str().unwrap() {
            "events" => events.extend(message["events"].as_array().unwrap().clone()),
            "end" => break,
            other => assert_eq!(other, "subscribed"),
        }
    }
    assert_eq!(texts(&events, 77), texts(&before[77..], 77));
    drop(socket);
    assert_eq!(pages(&server, "plain", 0, 1_000).await, plain, "another class stays as it is");

    // So few states are not saved: they are folded anew, from what is stored.
    stop(server).await;
    assert!(!directory.path().join("states.saved").exists());
    let server = on(directory.path()).await;
    check(&server, &before, &state_before).await;
}

/// Bytes of a run's blocks in the segments.
fn bytes_of(directory: &Path, run: &str) -> u64 {
    let selection = Selection { run: Some(run.to_owned()), events: false };
    let mut bytes = 0;
    let is_damaged = inspect(directory, &selection, &mut |piece| {
        bytes += if piece.kind == "block" { piece.bytes } else { 0 };
        Ok(())
    });
    assert!(!is_damaged.unwrap());
    bytes
}

#[tokio::test]
async fn ten_thousand_tokens_take_a_tenth_of_the_place_when_they_are_merged() {
    let directory = tempfile::tempdir().unwrap();
    let server = with(directory.path(), 4 * 1024 * 1024).await;
    for (run, workflow) in [("r", "w"), ("plain", "other")] {
        let token = json!({"type": "message.delta", "data": {"message": "m", "text": " token"}});
        let started = json!({"type": "run.started", "data": {"workflow": workflow}});
        let ended = json!({"type": "run.completed"});
        let tokens = format!("{token}\n").repeat(10_000);
        let lines = format!("{started}\n{tokens}{ended}\n");
        let reply = server.lines(&format!("/v1/runs/{run}/events"), &lines).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(state(&server, run).await["events"]["total"], 10_002);
    }
    compacted(&server, "r").await;
    stop(server).await;
    let (merged, plain) = (bytes_of(directory.path(), "r"), bytes_of(directory.path(), "plain"));
    println!("{plain} bytes, merged {merged}");
    assert!(merged * 10 < plain, "{merged} of {plain} bytes");
}
