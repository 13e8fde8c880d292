//! Following a run live.

use std::time::Duration;

use runcast_hub::HubConfig;

use crate::client::{TestServer, frames};

const ONE: &str = r#"{"type":"output","time":"2026-01-02T03:04:05Z","data":{"text":"x"}}"#;
const END: &str =
    r#"{"type":"run.completed","time":"2026-01-02T03:04:05Z","data":{"exit_code":0}}"#;
const LIVE: (&str, &str) = ("Accept", "text/event-stream");

#[tokio::test]
async fn a_run_is_followed_from_its_first_event_to_its_end() {
    let server = TestServer::start().await;
    server.post("/v1/runs/r/events", &format!("[{ONE},{END}]")).await;
    let mut follower = server.open("GET", "/v1/runs/r/events", &[LIVE]).await;
    let head = follower.head().await;
    assert_eq!(head.header("cache-control"), Some("no-cache, no-transform"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    let wire = String::from_utf8(follower.rest().await).unwrap();
    let expected = r#": runcast
retry: 1000

id: 1
data: {"offset":1,"type":"output","time":"2026-01-02T03:04:05.000000Z","channel":"output","data":{"text":"x"}}

id: 2
data: {"offset":2,"type":"run.completed","time":"2026-01-02T03:04:05.000000Z","channel":"status","data":{"exit_code":0}}

event: end
data: {"offset":2,"type":"run.completed"}

"#;
    assert_eq!(wire, expected);
}

#[tokio::test]
async fn frames_are_named_if_the_follower_wants_it() {
    let server = TestServer::start().await;
    server.post("/v1/runs/r/events", &format!("[{ONE},{END}]")).await;
    let mut follower = server.follow("/v1/runs/r/events?named=1&after=1").await;
    let wire = String::from_utf8(follower.rest().await).unwrap();
    let expected = r#": runcast
retry: 1000

id: 2
event: run.completed
data: {"offset":2,"type":"run.completed","time":"2026-01-02T03:04:05.000000Z","channel":"status","data":{"exit_code":0}}

event: end
data: {"offset":2,"type":"run.completed"}

"#;
    assert_eq!(wire, expected);
}

#[tokio::test]
async fn followers_from_before_during_and_after_see_the_same() {
    let server = TestServer::start().await;
    let mut before = server.follow("/v1/runs/r/events").await;
    before.until("\n\n").await;
    for _ in 0..20 {
        server.post("/v1/runs/r/events", &format!("[{ONE},{ONE},{ONE}]")).await;
    }
    let mut during = server.follow("/v1/runs/r/events").await;
    during.until("\n\n").await;
    server.post("/v1/runs/r/events", &format!("[{ONE},{END}]")).await;
    let mut after = server.follow("/v1/runs/r/events").await;
    let after = frames(&String::from_utf8(after.rest().await).unwrap());
    assert_eq!(after.len(), 63);
    let before = frames(&String::from_utf8(before.rest().await).unwrap());
    assert_eq!(before, after);
    // What came with the opening was read above.
    let during = frames(&String::from_utf8(during.rest().await).unwrap());
    assert!(after.ends_with(&during));
}

#[tokio::test]
async fn many_followers_get_identical_bytes() {
    let server = TestServer::start().await;
    let mut followers = Vec::new();
    for _ in 0..50 {
        let mut follower = server.follow("/v1/runs/r/events").await;
        follower.until("\n\n").await;
        followers.push(follower);
    }
    for _ in 0..10 {
        server.post("/v1/runs/r/events", &format!("[{ONE},{ONE}]")).await;
    }
    server.post("/v1/runs/r/events", END).await;
    let mut wires = Vec::new();
    for follower in &mut followers {
        wires.push(follower.rest().await);
    }
    assert!(wires.iter().all(|wire| *wire == wires[0]));
    assert_eq!(frames(std::str::from_utf8(&wires[0]).unwrap()).len(), 22);
}

#[tokio::test]
async fn a_follower_resumes_after_the_last_event_it_saw() {
    let server = TestServer::start().await;
    server.post("/v1/runs/r/events", &format!("[{ONE},{ONE},{ONE},{END}]")).await;
    let resumed = [
        ("/v1/runs/r/events?after=3", None),
        ("/v1/runs/r/events", Some("3")),
        ("/v1/runs/r/events?after=1", Some("3")),
        ("/v1/runs/r/events?after=3", Some("")),
    ];
    for (target, last_event_id) in resumed {
        let mut headers = vec![LIVE];
        headers.extend(last_event_id.map(|id| ("Last-Event-ID", id)));
        let mut follower = server.open("GET", target, &headers).await;
        let reply = follower.reply().await;
        let ids: Vec<_> = frames(reply.text()).into_iter().map(|(id, _, _)| id).collect();
        assert_eq!(ids, ["4", ""], "{target} {last_event_id:?}");
    }
}

#[tokio::test]
async fn who_has_seen_all_of_an_ended_run_is_told_to_stop() {
    let server = TestServer::start().await;
    server.post("/v1/runs/r/events", &format!("[{ONE},{END}]")).await;
    for (target, headers) in [
        ("/v1/runs/r/events?after=2", &[LIVE][..]),
        ("/v1/runs/r/events", &[LIVE, ("Last-Event-ID", "2")][..]),
    ] {
        let reply = server.send("GET", target, headers, b"").await;
        assert_eq!((reply.status, reply.text()), (204, ""));
    }
}

#[tokio::test]
async fn a_wrong_place_is_refused() {
    let server = TestServer::start().await;
    server.post("/v1/runs/r/events", ONE).await;
    let at = |target: &'static str| server.send("GET", target, &[LIVE], b"");
    let problem = at("/v1/runs/r/events?after=2").await.problem(400, "offset_in_future");
    assert_eq!(problem["last"], 1);
    at("/v1/runs/none/events?after=2").await.problem(400, "offset_in_future");
    let problem = at("/v1/runs/r/events?after=x").await.problem(400, "invalid_parameter");
    assert_eq!(problem["parameter"], "after");
    let problem = at("/v1/runs/r/events?wait=1").await.problem(400, "invalid_parameter");
    assert_eq!(problem["parameter"], "wait");
    let headers = [LIVE, ("Last-Event-ID", "nonsense")];
    let reply = server.send("GET", "/v1/runs/r/events", &headers, b"").await;
    assert_eq!(reply.problem(400, "invalid_header")["header"], "Last-Event-ID");
}

#[tokio::test]
async fn a_deleted_run_says_so_and_stays_gone() {
    let server = TestServer::start().await;
    server.post("/v1/runs/r/events", ONE).await;
    let mut follower = server.follow("/v1/runs/r/events?after=1").await;
    follower.until("\n\n").await;
    assert_eq!(server.send("DELETE", "/v1/runs/r", &[], b"").await.status, 204);
    assert_eq!(follower.rest().await, b"event: deleted\ndata: {}\n\n");
    let reply = server.send("GET", "/v1/runs/r/events", &[LIVE], b"").await;
    reply.problem(410, "run_deleted");
}

#[tokio::test]
async fn a_gap_is_told_before_what_comes_after_it() {
    let server = TestServer::start().await;
    server.post("/v1/runs/r/events", &format!("[{ONE},{ONE}]")).await;
    server.send("DELETE", "/v1/runs/r", &[], b"").await;
    server.post("/v1/runs/r/events", END).await;
    let mut follower = server.follow("/v1/runs/r/events?after=2").await;
    let wire = String::from_utf8(follower.rest().await).unwrap();
    let expected = r#": runcast
retry: 1000

id: 2.0
event: gap
data: {"from":1,"to":2,"reason":"epoch_changed","epoch":2}

id: 2.1
data: {"offset":1,"type":"run.completed","time":"2026-01-02T03:04:05.000000Z","channel":"status","data":{"exit_code":0}}

event: end
data: {"offset":1,"type":"run.completed"}

"#;
    assert_eq!(wire, expected);
    let headers = [LIVE, ("Last-Event-ID", "2.1")];
    assert_eq!(server.send("GET", "/v1/runs/r/events", &headers, b"").await.status, 204);
}

#[tokio::test]
async fn silence_is_filled_with_comments() {
    let beat = Duration::from_millis(20);
    let server =
        TestServer::start_with(|config| config.heartbeat = beat, HubConfig::default()).await;
    let mut follower = server.follow("/v1/runs/r/events").await;
    let wire = follower.until("\n\n:\n\n:\n\n").await;
    assert!(wire.starts_with(": runcast\nretry: 1000\n\n:\n\n"));
}

#[tokio::test]
async fn too_many_followers_are_refused_and_a_place_is_free_again() {
    let bounds = HubConfig { followers_max: 1, ..HubConfig::default() };
    let server = TestServer::start_with(|_| {}, bounds).await;
    server.post("/v1/runs/r/events", ONE).await;
    let first = server.follow("/v1/runs/r/events").await;
    let reply = server.send("GET", "/v1/runs/r/events", &[LIVE], b"").await;
    assert_eq!(reply.problem(503, "too_many_followers")["max"], 1);
    drop(first);
    while server.hub.followers() > 0 {
        tokio::task::yield_now().await;
    }
    server.follow("/v1/runs/r/events").await;
}
