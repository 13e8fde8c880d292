//! The feed: the life-cycle events of all runs.

use std::path::Path;
use std::time::Duration;

use runcast_hub::HubConfig;
use runcast_server::{EmbeddedOptions, HttpConfig, ServerConfig, Store, start};
use serde_json::{Value, json};

use crate::client::{TestServer, frames};

const LIVE: (&str, &str) = ("Accept", "text/event-stream");
const LINES: (&str, &str) = ("Accept", "application/x-ndjson");

fn event(event_type: &str, data: &str) -> String {
    format!(r#"{{"type":"{event_type}","time":"2026-01-02T03:04:05Z","data":{data}}}"#)
}

async fn append(server: &TestServer, run: &str, event_type: &str, data: &str) {
    let reply = server.post(&format!("/v1/runs/{run}/events"), &event(event_type, data)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Of each entry the run, the type and the data.
fn told(page: &Value) -> Vec<(&str, &str, &Value)> {
    let entries = page["events"].as_array().unwrap();
    let text = |entry: &'static str| move |value: &Value| value[entry].as_str().is_some();
    assert!(entries.iter().all(|entry| text("run")(entry) && text("time")(entry)));
    entries
        .iter()
        .map(|entry| {
            (entry["run"].as_str().unwrap(), entry["type"].as_str().unwrap(), &entry["data"])
        })
        .collect()
}

fn types(page: &Value) -> Vec<String> {
    told(page).into_iter().map(|(run, event_type, _)| format!("{run} {event_type}")).collect()
}

#[tokio::test]
async fn the_feed_tells_of_every_run_from_its_begin_to_its_end() {
    let server = TestServer::start().await;
    let empty = server.get("/v1/feed").await.json();
    assert_eq!(empty, json!({"epoch":1,"events":[],"next":"0","first":1,"last":0,"closed":false}));
    append(&server, "a", "run.queued", r#"{"workflow":"w","name":"n","tags":["x","y"]}"#).await;
    append(&server, "a", "output", r#"{"text":"makes it work"}"#).await;
    append(&server, "b", "output", r#"{"text":"its first"}"#).await;
    append(&server, "a", "run.updated", r#"{"tags":["z"]}"#).await;
    let batch = [event("output", r#"{"text":"m"}"#), event("run.failed", r#"{"exit_code":3}"#)];
    let stored = server.post("/v1/runs/a/events", &format!("[{}]", batch.join(","))).await;
    assert_eq!(stored.status, 200, "{}", stored.text());
    assert_eq!(server.send("DELETE", "/v1/runs/a", &[], b"").await.status, 204);
    append(&server, "a", "run.started", "{}").await;
    let page = server.get("/v1/feed").await.json();
    assert_eq!(
        page["events"][0],
        json!({"offset": 1, "type": "run.queued", "time": "2026-01-02T03:04:05.000000Z", "run": "a",
            "data": {"workflow": "w", "name": "n", "tags": ["x", "y"], "status": "queued",
                "epoch": 1, "offset": 1}}),
    );
    let of_a = |tags: Value, status: &str| json!({"workflow": "w", "name": "n", "tags": tags, "status": status});
    let with = |mut data: Value, epoch: u64, offset: u64| {
        data["epoch"] = epoch.into();
        data["offset"] = offset.into();
        data
    };
    let none = json!({"workflow": null, "name": null, "tags": [], "status": "running"});
    let mut failed = with(of_a(json!(["z"]), "failed"), 1, 5);
    failed["exit_code"] = 3.into();
    assert_eq!(
        told(&page)[1..],
        [
            ("a", "run.started", &with(of_a(json!(["x", "y"]), "running"), 1, 2)),
            ("b", "run.created", &with(none.clone(), 1, 1)),
            ("a", "run.updated", &with(of_a(json!(["z"]), "running"), 1, 3)),
            ("a", "run.failed", &failed),
            ("a", "run.deleted", &of_a(json!(["z"]), "failed")),
            ("a", "run.started", &with(none, 2, 1)),
        ],
    );
    assert_eq!((&page["next"], &page["last"]), (&json!("7"), &json!(7)));
    let listed = server.get("/v1/runs").await.json();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 2, "the feed is no run");
    assert_eq!(listed["feed"], "7");
    server.get("/v1/runs/%24feed").await.problem(400, "invalid_run_id");
}

#[tokio::test]
async fn the_feed_tells_of_whatever_changes_a_status() {
    let server = TestServer::start().await;
    append(&server, "a", "run.started", "{}").await;
    append(&server, "a", "input.requested", r#"{"input":"1","prompt":"?"}"#).await;
    append(&server, "a", "input.requested", r#"{"input":"2","prompt":"?"}"#).await;
    append(&server, "a", "input.answered", r#"{"input":"1","answer":1}"#).await;
    append(&server, "a", "input.timed_out", r#"{"input":"2"}"#).await;
    append(&server, "a", "command.requested", r#"{"command":"c","name":"set"}"#).await;
    append(&server, "a", "command.requested", r#"{"command":"d","name":"stop"}"#).await;
    append(&server, "a", "command.refused", r#"{"command":"d","reason":"no"}"#).await;
    append(&server, "b", "input.requested", r#"{"input":"1","prompt":"?"}"#).await;
    let page = server.get("/v1/feed").await.json();
    let told: Vec<_> = told(&page)
        .into_iter()
        .map(|(run, event_type, data)| (run, event_type, data["status"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("a", "run.started", "running"),
            ("a", "input.requested", "input_required"),
            ("a", "input.timed_out", "running"),
            ("a", "command.requested", "cancelling"),
            ("a", "command.refused", "running"),
            ("b", "run.created", "input_required"),
        ]
    );
}

#[tokio::test]
async fn a_retry_adds_nothing_to_the_feed() {
    let server = TestServer::start().await;
    let send = async |sequence: &str, events: &[String]| {
        let headers = [
            ("Content-Type", "application/json"),
            ("Producer-Id", "p"),
            ("Producer-Epoch", "0"),
            ("Producer-Seq", sequence),
        ];
        let body = format!("[{}]", events.join(","));
        let reply = server.send("POST", "/v1/runs/a/events", &headers, body.as_bytes()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    let events: Vec<_> =
        ["run.queued", "run.started", "run.paused", "run.resumed", "run.completed"]
            .map(|name| event(name, "{}"))
            .into();
    send("0", &events[..2]).await;
    send("0", &events[..2]).await;
    send("1", &events[1..4]).await;
    send("0", &events).await;
    send("4", &events[4..]).await;
    let page = server.get("/v1/feed").await.json();
    let expected =
        ["a run.queued", "a run.started", "a run.paused", "a run.resumed", "a run.completed"];
    assert_eq!(types(&page), expected);
}

#[tokio::test]
async fn the_feed_is_followed_and_resumed_as_any_stream() {
    let server = TestServer::start().await;
    let mut follower = server.follow("/v1/feed?named=1").await;
    append(&server, "a", "run.started", "{}").await;
    let wire = follower.until("\"offset\":1}}\n\n").await;
    let expected = r#": runcast
retry: 1000

id: 1
event: run.started
data: {"offset":1,"type":"run.started","time":"2026-01-02T03:04:05.000000Z","run":"a","data":{"workflow":null,"name":null,"tags":[],"status":"running","epoch":1,"offset":1}}

"#;
    assert_eq!(wire, expected);
    drop(follower);
    append(&server, "a", "run.completed", "{}").await;
    append(&server, "b", "run.queued", "{}").await;
    let mut follower = server.open("GET", "/v1/feed", &[LIVE, ("Last-Event-ID", "1")]).await;
    assert_eq!(follower.head().await.status, 200);
    let resumed = frames(&follower.until("\"queued\",\"epoch\":1,\"offset\":1}}\n\n").await);
    let ids: Vec<_> = resumed.into_iter().map(|(id, event, _)| (id, event)).collect();
    assert_eq!(ids, [("2".to_owned(), String::new()), ("3".to_owned(), String::new())]);
    let reply = server.send("GET", "/v1/feed?after=1", &[LINES], b"").await;
    let lines = reply.json_lines();
    assert_eq!(lines.iter().map(|line| &line["offset"]).collect::<Vec<_>>(), [2, 3]);
    let page = server.get("/v1/feed?after=1&limit=1").await.json();
    assert_eq!((types(&page), &page["next"]), (vec!["a run.completed".to_owned()], &json!("2")));
    let waiting = server.get("/v1/feed?after=3&wait=20000&type=run.paused");
    let acting = async {
        append(&server, "b", "run.started", "{}").await;
        append(&server, "b", "run.paused", "{}").await;
    };
    let (page, ()) = tokio::join!(waiting, acting);
    assert_eq!(
        (types(&page.json()), &page.json()["next"]),
        (vec!["b run.paused".to_owned()], &json!("5"))
    );
}

#[tokio::test]
async fn a_reader_gets_the_runs_that_it_chose() {
    let beat = Duration::from_millis(50);
    let server =
        TestServer::start_with(|config| config.heartbeat = beat, HubConfig::default()).await;
    append(&server, "a", "run.queued", r#"{"workflow":"w","tags":["x","y"]}"#).await;
    append(&server, "b", "run.started", r#"{"workflow":"v","tags":["x"]}"#).await;
    append(&server, "a", "run.started", "{}").await;
    append(&server, "b", "run.completed", "{}").await;
    let read = async |query: &str| types(&server.get(&format!("/v1/feed?{query}")).await.json());
    assert_eq!(read("workflow=w").await, ["a run.queued", "a run.started"]);
    assert_eq!(read("workflow=w&workflow=v").await.len(), 4);
    assert_eq!(read("tag=x&tag=y").await, ["a run.queued", "a run.started"]);
    assert_eq!(read("status=queued&status=completed").await, ["a run.queued", "b run.completed"]);
    assert_eq!(read("type=run.started&tag=x").await, ["b run.started", "a run.started"]);
    assert_eq!(read("type=run.*").await.len(), 4);
    let reply = server.send("GET", "/v1/feed?status=completed", &[LINES], b"").await;
    assert_eq!(reply.json_lines().len(), 1);
    let mut follower = server.follow("/v1/feed?workflow=w").await;
    let wire = follower.until("\n\nid: 4\n\n").await;
    let ids: Vec<_> = frames(&wire).into_iter().map(|(id, _, _)| id).collect();
    assert_eq!(ids, ["1", "3"]);
    follower.until(":\n\n").await;
    append(&server, "b2", "run.started", r#"{"workflow":"v"}"#).await;
    follower.until("id: 5\n\n").await;
}

#[tokio::test]
async fn a_feed_that_cannot_be_read_is_refused() {
    let server = TestServer::start().await;
    let status = "status";
    for (query, parameter) in [
        ("status=done", status),
        ("type=a%20b", "type"),
        ("limit=0", "limit"),
        ("run=a", "run"),
        ("after=x", "after"),
        ("after=1&after=2", "after"),
    ] {
        let reply = server.get(&format!("/v1/feed?{query}")).await;
        assert_eq!(reply.problem(400, "invalid_parameter")["parameter"], parameter, "{query}");
    }
    let tags = vec!["tag=x"; 65].join("&");
    server.get(&format!("/v1/feed?{tags}")).await.problem(400, "invalid_parameter");
    server.get("/v1/feed?after=1").await.problem(400, "offset_in_future");
    let reply = server.send("GET", "/v1/feed?after=1", &[LIVE], b"").await;
    reply.problem(400, "offset_in_future");
    server.send("POST", "/v1/feed", &[], b"").await.problem(405, "method_not_allowed");
}

async fn on_disk(directory: &Path) -> TestServer {
    let config = ServerConfig {
        store: Store::Directory {
            path: directory.to_path_buf(),
            options: EmbeddedOptions::default(),
        },
        hub: HubConfig::default(),
        http: HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), ..HttpConfig::default() },
    };
    TestServer::running(start(config).await.unwrap())
}

#[tokio::test]
async fn the_feed_goes_on_over_a_restart_and_knows_its_runs() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = on_disk(directory.path()).await;
    append(&server, "a", "run.started", r#"{"workflow":"w","tags":["x"]}"#).await;
    append(&server, "a", "output", r#"{"text":"x"}"#).await;
    append(&server, "done", "run.started", r#"{"workflow":"v"}"#).await;
    append(&server, "done", "run.completed", "{}").await;
    append(&server, "late", "run.queued", r#"{"workflow":"u"}"#).await;
    server.begin_to_stop();
    server.stopped().await;
    let server = on_disk(directory.path()).await;
    assert_eq!(server.get("/v1/runs?limit=1").await.json()["feed"], "4");
    append(&server, "late", "output", r#"{"text":"x"}"#).await;
    append(&server, "a", "run.completed", "{}").await;
    assert_eq!(server.send("DELETE", "/v1/runs/done", &[], b"").await.status, 204);
    let page = server.get("/v1/feed?after=4").await.json();
    let data = |at: usize| &page["events"][at]["data"];
    assert_eq!(types(&page), ["late run.started", "a run.completed", "done run.deleted"]);
    assert_eq!((&data(0)["workflow"], &data(0)["status"]), (&json!("u"), &json!("running")));
    assert_eq!((&data(1)["workflow"], &data(1)["tags"]), (&json!("w"), &json!(["x"])));
    assert_eq!((&data(2)["workflow"], &data(2)["status"]), (&json!("v"), &json!("completed")));
}

#[tokio::test]
async fn the_feed_and_the_runs_say_the_same_whoever_writes_at_the_same_time() {
    let server = TestServer::start().await;
    let names = ["run.started", "run.paused", "my.event", "output", "run.updated"];
    let write = async |writer: usize| {
        for at in 0..40 {
            let run = format!("r{}", (writer * 7 + at) % 6);
            let name = names[(writer + at) % names.len()];
            let data = if name == "output" { r#"{"text":""}"# } else { "{}" };
            append(&server, &run, name, data).await;
        }
    };
    let follow = async {
        let mut follower = server.follow("/v1/feed").await;
        let mut wire = String::new();
        while !wire.contains("run.completed") {
            wire.push_str(&String::from_utf8(follower.part().await.unwrap()).unwrap());
        }
        frames(&wire)
    };
    let writing = async {
        tokio::join!(write(0), write(1), write(2), write(3));
        append(&server, "last", "run.completed", "{}").await;
    };
    let (followed, ()) = tokio::join!(follow, writing);
    let page = server.get("/v1/feed?limit=1000").await.json();
    let entries = page["events"].as_array().unwrap();
    let followed: Vec<_> = followed.into_iter().map(|(_, _, data)| data).collect();
    assert_eq!(&followed, entries, "a follower gets what a reader gets");
    for run in ["r0", "r1", "r2", "r3", "r4", "r5", "last"] {
        let events = server.get(&format!("/v1/runs/{run}/events?limit=1000")).await.json();
        let events = events["events"].as_array().unwrap().iter();
        let life = events.filter(|event| {
            event["type"].as_str().unwrap().starts_with("run.") || event["offset"] == 1
        });
        let told = entries.iter().filter(|entry| entry["run"] == run);
        assert!(
            told.map(|entry| &entry["data"]["offset"]).eq(life.map(|event| &event["offset"])),
            "{run}"
        );
        let last = entries.iter().rfind(|entry| entry["run"] == run).unwrap();
        let state = server.get(&format!("/v1/runs/{run}")).await.json();
        assert_eq!(last["data"]["status"], state["status"]);
    }
}
