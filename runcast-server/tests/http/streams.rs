//! Following many runs on one connection.

use std::time::Duration;

use runcast_hub::HubConfig;
use serde_json::json;

use crate::client::{TestServer, frames};

const ONE: &str = r#"{"type":"output","time":"2026-01-02T03:04:05Z","data":{"text":"x"}}"#;
const END: &str =
    r#"{"type":"run.completed","time":"2026-01-02T03:04:05Z","data":{"exit_code":0}}"#;
const LIVE: (&str, &str) = ("Accept", "text/event-stream");

#[tokio::test]
async fn many_runs_are_followed_to_the_end_of_all() {
    let server = TestServer::start().await;
    server.post("/v1/runs/a/events", ONE).await;
    let mut follower = server.follow("/v1/streams?run=a&run=b:1&named=1").await;
    follower.until("\"text\":\"x\"}}\n\n").await;
    server.post("/v1/runs/b:1/events", &format!("[{ONE},{END}]")).await;
    let wire = follower.until("\"type\":\"run.completed\"}\n\n").await;
    let expected = r#"id: a:1,b:1:1
event: output
data: {"run":"b:1","offset":1,"type":"output","time":"2026-01-02T03:04:05.000000Z","channel":"output","data":{"text":"x"}}

id: a:1,b:1:2
event: run.completed
data: {"run":"b:1","offset":2,"type":"run.completed","time":"2026-01-02T03:04:05.000000Z","channel":"status","data":{"exit_code":0}}

event: end
data: {"offset":2,"run":"b:1","type":"run.completed"}

"#;
    assert_eq!(wire, expected);
    server.post("/v1/runs/a/events", END).await;
    let rest = frames(&String::from_utf8(follower.rest().await).unwrap());
    assert_eq!(rest.len(), 3);
    assert_eq!((rest[0].0.as_str(), &rest[0].2["run"]), ("a:2,b:1:2", &json!("a")));
    assert_eq!((rest[1].1.as_str(), &rest[1].2["run"]), ("end", &json!("a")));
    let all = json!({"runs": [
        {"run": "a", "offset": 2, "type": "run.completed"},
        {"run": "b:1", "offset": 2, "type": "run.completed"},
    ]});
    assert_eq!((rest[2].1.as_str(), &rest[2].2), ("end", &all));
    let target = "/v1/streams?run=a&run=b:1";
    let headers = [LIVE, ("Last-Event-ID", "a:2,b:1:2")];
    assert_eq!(server.send("GET", target, &headers, b"").await.status, 204);
    let headers = [LIVE, ("Last-Event-ID", "a:1,b:1:2")];
    assert_eq!(server.send("GET", target, &headers, b"").await.status, 200);
}

#[tokio::test]
async fn a_browser_resumes_all_runs_wherever_it_was_cut_off() {
    let server = TestServer::start().await;
    for run in ["a", "b", "c"] {
        server.post(&format!("/v1/runs/{run}/events"), &format!("[{ONE},{ONE},{END}]")).await;
    }
    let target = "/v1/streams?run=a&run=b&run=c";
    let mut follower = server.follow(target).await;
    let whole = frames(&String::from_utf8(follower.rest().await).unwrap());
    let events: Vec<_> = whole.iter().filter(|frame| !frame.0.is_empty()).collect();
    assert_eq!(events.len(), 9);
    for (cut, frame) in events.iter().enumerate() {
        let reply = server.send("GET", target, &[LIVE, ("Last-Event-ID", &frame.0)], b"").await;
        let resumed = frames(reply.text());
        let mut seen: Vec<_> = events[..=cut].iter().map(|frame| place(frame)).collect();
        seen.extend(resumed.iter().filter(|frame| !frame.0.is_empty()).map(place));
        seen.sort();
        let all: Vec<_> = ["a", "b", "c"]
            .iter()
            .flat_map(|run| (1..=3).map(|offset| ((*run).to_owned(), offset)))
            .collect();
        assert_eq!(seen, all, "cut off behind {frame:?}");
    }
}

fn place(frame: &(String, String, serde_json::Value)) -> (String, u64) {
    (frame.2["run"].as_str().unwrap().to_owned(), frame.2["offset"].as_u64().unwrap())
}

#[tokio::test]
async fn a_busy_run_does_not_starve_the_others() {
    let server = TestServer::start().await;
    let many = format!("[{}]", vec![ONE; 1_000].join(","));
    for _ in 0..10 {
        server.post("/v1/runs/busy/events", &many).await;
    }
    server.post("/v1/runs/quiet/events", &format!("[{ONE},{END}]")).await;
    server.post("/v1/runs/busy/events", END).await;
    let mut follower = server.follow("/v1/streams?run=busy&run=quiet").await;
    let all = frames(&String::from_utf8(follower.rest().await).unwrap());
    let first = all.iter().position(|frame| frame.2["run"] == "quiet").unwrap();
    assert!(first <= 1_000, "the quiet run came {first} events late");
    assert_eq!(all.len(), 10_001 + 2 + 3);
}

#[tokio::test]
async fn gaps_and_deletions_name_their_run() {
    let server = TestServer::start().await;
    for run in ["a", "b", "gone"] {
        server.post(&format!("/v1/runs/{run}/events"), ONE).await;
    }
    for run in ["b", "gone"] {
        server.send("DELETE", &format!("/v1/runs/{run}"), &[], b"").await;
    }
    server.post("/v1/runs/b/events", END).await;
    let mut follower = server.follow("/v1/streams?run=a&run=b&run=gone&after=a:1,b:1,gone:1").await;
    let wire = follower.until("\"type\":\"run.completed\"}\n\n").await;
    let expected = r#": runcast
retry: 1000

event: deleted
data: {"run":"gone"}

id: a:1,b:2.0,gone:1
event: gap
data: {"run":"b","from":1,"to":1,"reason":"epoch_changed","epoch":2}

id: a:1,b:2.1,gone:1
data: {"run":"b","offset":1,"type":"run.completed","time":"2026-01-02T03:04:05.000000Z","channel":"status","data":{"exit_code":0}}

event: end
data: {"offset":1,"run":"b","type":"run.completed"}

"#;
    assert_eq!(wire, expected);
    server.send("DELETE", "/v1/runs/a", &[], b"").await;
    let rest = frames(&String::from_utf8(follower.rest().await).unwrap());
    assert_eq!((rest[0].1.as_str(), &rest[0].2), ("deleted", &json!({"run": "a"})));
    assert_eq!(rest[1].2["runs"][2], json!({"run": "gone", "deleted": true}));
    let headers = [LIVE, ("Last-Event-ID", "a:1,b:2.1,gone:1")];
    let reply = server.send("GET", "/v1/streams?run=a&run=b&run=gone", &headers, b"").await;
    assert_eq!(reply.status, 204);
}

#[tokio::test]
async fn a_choice_moves_the_cursors_past_what_it_leaves_out() {
    let beat = Duration::from_millis(50);
    let server =
        TestServer::start_with(|config| config.heartbeat = beat, HubConfig::default()).await;
    server.post("/v1/runs/a/events", &format!("[{ONE},{ONE},{END}]")).await;
    server.post("/v1/runs/b/events", &format!("[{ONE},{ONE}]")).await;
    let target = "/v1/streams?run=a&run=b&run=c&after=c:0&type=run.*&type=output&step=x";
    let mut follower = server.follow(target).await;
    let mut wire = String::new();
    while !wire.contains("id: a:3,b:2\n\n") || !wire.contains("event: end") {
        wire.push_str(&String::from_utf8(follower.part().await.unwrap()).unwrap());
    }
    assert_eq!(frames(&wire).len(), 1, "the end of a, and no event: {wire}");
    server.post("/v1/runs/b/events", END).await;
    server.post("/v1/runs/c/events", END).await;
    let wire = String::from_utf8(follower.rest().await).unwrap();
    assert!(wire.contains("id: a:3,b:3,c:1\n\n"), "{wire}");
    let headers = [LIVE, ("Last-Event-ID", "a:3,b:3,c:1")];
    assert_eq!(server.send("GET", target, &headers, b"").await.status, 204);
}

#[tokio::test]
async fn deltas_of_each_run_are_merged() {
    let server = TestServer::start().await;
    for run in ["a", "b"] {
        let many = format!("[{},{END}]", vec![ONE; 100].join(","));
        server.post(&format!("/v1/runs/{run}/events"), &many).await;
    }
    let mut follower = server.follow("/v1/streams?run=a&run=b&coalesce=1").await;
    let wire = frames(&String::from_utf8(follower.rest().await).unwrap());
    let merged: Vec<_> = wire.iter().filter(|frame| frame.2["merged"] == 100).collect();
    assert_eq!(merged.len(), 2);
    assert_eq!(merged[0].2["data"]["text"], "x".repeat(100));
    assert_eq!((merged[0].0.as_str(), merged[1].0.as_str()), ("a:100", "a:101,b:100"));
    assert_eq!(wire.len(), 2 + 2 + 3);
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused() {
    let server = TestServer::start().await;
    server.post("/v1/runs/a/events", ONE).await;
    let runs =
        |count: usize| (0..count).map(|at| format!("run=r{at}")).collect::<Vec<_>>().join("&");
    for (query, parameter) in [
        (String::new(), "run"),
        ("run=a&run=a".to_owned(), "run"),
        (runs(257), "run"),
        ("run=a&after=b:1".to_owned(), "after"),
        ("run=a&after=a:1,a:1".to_owned(), "after"),
        ("run=a&after=a".to_owned(), "after"),
        ("run=a&after=1".to_owned(), "after"),
        ("run=a&after=a:1,".to_owned(), "after"),
        ("run=a&after=a:x".to_owned(), "after"),
        ("run=a&limit=1".to_owned(), "limit"),
        ("run=a&named=yes".to_owned(), "named"),
    ] {
        let reply = server.send("GET", &format!("/v1/streams?{query}"), &[LIVE], b"").await;
        assert_eq!(reply.problem(400, "invalid_parameter")["parameter"], parameter, "{query}");
    }
    let at = |target: &'static str| server.send("GET", target, &[LIVE], b"");
    at("/v1/streams?run=a/b").await.problem(400, "invalid_run_id");
    at("/v1/streams?run=%24feed").await.problem(400, "invalid_run_id");
    let problem = at("/v1/streams?run=a&run=b&after=b:1").await.problem(400, "offset_in_future");
    assert_eq!(problem["run"], "b");
    let headers = [LIVE, ("Last-Event-ID", "b:1")];
    let reply = server.send("GET", "/v1/streams?run=a", &headers, b"").await;
    assert_eq!(reply.problem(400, "invalid_header")["header"], "Last-Event-ID");
    let mut most = server.follow(&format!("/v1/streams?{}", runs(256))).await;
    most.until("\n\n").await;
    server.post("/v1/runs/r255/events", ONE).await;
    most.until("\"text\":\"x\"}}\n\n").await;
    drop(most);
    while server.hub.followers() > 0 {
        tokio::task::yield_now().await;
    }
}
