//! Reading pages, waiting for one, searching, exporting.

use serde_json::json;

use crate::client::TestServer;

async fn with_outputs(count: usize) -> TestServer {
    let server = TestServer::start().await;
    let lines: String = (1..=count)
        .map(|n| format!("{{\"type\":\"output\",\"data\":{{\"text\":\"line {n}\"}}}}\n"))
        .collect();
    assert_eq!(server.lines("/v1/runs/r/events", &lines).await.status, 200);
    server
}

async fn end(server: &TestServer) {
    server.post("/v1/runs/r/events", r#"{"type":"run.completed"}"#).await;
}

#[tokio::test]
async fn a_page_has_the_events_and_where_the_next_begins() {
    let server = TestServer::start().await;
    let event =
        r#"{"type":"a.b","time":"2026-01-02T03:04:05Z","stage":2,"data":[1.0, {"x":"\u00e9"}]}"#;
    server.post("/v1/runs/r/events", event).await;
    let reply = server.get("/v1/runs/r/events").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(
        reply.text(),
        concat!(
            r#"{"run":"r","epoch":1,"events":[{"offset":1,"type":"a.b","time":"2026-01-02T03:04:05.000000Z","#,
            r#""stage":2,"data":[1.0, {"x":"\u00e9"}]}],"next":"1","first":1,"last":1,"closed":false}"#
        )
    );
}

#[tokio::test]
async fn pages_one_after_the_other_are_all_events() {
    let server = with_outputs(250).await;
    end(&server).await;
    let mut offsets = Vec::new();
    let mut next = "0".to_owned();
    loop {
        let page = server.get(&format!("/v1/runs/r/events?limit=99&after={next}")).await.json();
        assert_eq!(page["closed"], true);
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            break;
        }
        offsets.extend(events.iter().map(|event| event["offset"].as_u64().unwrap()));
        next = page["next"].as_str().unwrap().to_owned();
    }
    assert_eq!(offsets, (1..=251).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_page_is_bounded_in_bytes() {
    let server = TestServer::start().await;
    let event = format!(r#"{{"type":"output","data":{{"text":"{}"}}}}"#, "x".repeat(200 << 10));
    for _ in 0..30 {
        server.post("/v1/runs/r/events", &event).await;
    }
    let reply = server.get("/v1/runs/r/events?limit=1000").await;
    assert!(reply.body.len() <= (4 << 20) + 200, "{}", reply.body.len());
    let page = reply.json();
    let count = page["events"].as_array().unwrap().len();
    assert_eq!((count, &page["next"]), (20, &json!("20")));
}

#[tokio::test]
async fn what_a_page_is_asked_for_must_make_sense() {
    let server = with_outputs(3).await;
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=",
        "wait=60001",
        "wait=-1",
        "after=x",
        "after=1.2.3",
    ] {
        let reply = server.get(&format!("/v1/runs/r/events?{query}")).await;
        let parameter = query.split('=').next().unwrap();
        assert_eq!(reply.problem(400, "invalid_parameter")["parameter"], parameter, "{query}");
    }
    let reply = server.get("/v1/runs/r/events?limitt=1").await;
    assert_eq!(reply.problem(400, "invalid_parameter")["parameter"], "limitt");
    let reply = server.get("/v1/runs/r/events?limit=1&limit=2").await;
    assert_eq!(reply.problem(400, "invalid_parameter")["parameter"], "limit");
    let reply = server.get("/v1/runs/r/events?after=4").await;
    assert_eq!(reply.problem(400, "offset_in_future")["last"], 3);
    let reply = server.get("/v1/runs/r/events?after=2.1").await;
    reply.problem(400, "offset_in_future");
    let headers = [("Accept", "image/png")];
    let reply = server.send("GET", "/v1/runs/r/events", &headers, b"").await;
    reply.problem(406, "not_acceptable");
    server.get("/v1/runs/none/events").await.problem(404, "run_not_found");
    server.get("/v1/runs/none/events?wait=1").await.problem(404, "run_not_found");
    server.get("/v1/runs/none/events?after=1").await.problem(400, "offset_in_future");
}

#[tokio::test]
async fn an_empty_page_waits_for_an_event() {
    let server = with_outputs(1).await;
    let waiting = server.get("/v1/runs/r/events?after=1&wait=60000");
    let append = async {
        // Not a wait: the order does not matter, the page must have the event either way.
        tokio::task::yield_now().await;
        end(&server).await;
    };
    let (reply, ()) = tokio::join!(waiting, append);
    let page = reply.json();
    assert_eq!(page["events"][0]["offset"], 2);
    assert_eq!(page["closed"], true);
    let reply = server.get("/v1/runs/r/events?after=2&wait=60000").await;
    assert_eq!(reply.json()["events"], json!([]));
}

#[tokio::test]
async fn a_page_that_waited_in_vain_is_empty() {
    let server = with_outputs(1).await;
    let page = server.get("/v1/runs/r/events?after=1&wait=20").await.json();
    assert_eq!(page["events"], json!([]));
    assert_eq!((&page["next"], &page["closed"]), (&json!("1"), &json!(false)));
}

#[tokio::test]
async fn a_page_can_wait_for_a_run_that_does_not_exist_yet() {
    let server = TestServer::start().await;
    let waiting = server.get("/v1/runs/r/events?wait=60000");
    let (reply, _) = tokio::join!(waiting, server.post("/v1/runs/r/events", r#"{"type":"a.b"}"#));
    assert_eq!(reply.json()["events"][0]["type"], "a.b");
}

#[tokio::test]
async fn a_search_gives_the_events_with_the_text_and_moves_past_the_others() {
    let server = with_outputs(2_000).await;
    let page = server.get("/v1/runs/r/events?contains=LINE%201999&limit=5").await.json();
    assert_eq!(page["events"].as_array().unwrap().len(), 1);
    assert_eq!(page["events"][0]["offset"], 1_999);
    assert_eq!(page["next"], "2000");
    let page = server.get("/v1/runs/r/events?contains=line%2019&limit=3").await.json();
    assert_eq!(page["next"], "191");
    let offsets: Vec<_> = page["events"].as_array().unwrap().iter().map(|e| &e["offset"]).collect();
    assert_eq!(offsets, [&json!(19), &json!(190), &json!(191)]);
    let long = "x".repeat(300);
    let reply = server.get(&format!("/v1/runs/r/events?contains={long}")).await;
    assert_eq!(reply.problem(400, "invalid_parameter")["parameter"], "contains");
}

#[tokio::test]
async fn a_search_looks_at_so_many_events_and_says_where_to_go_on() {
    let server =
        TestServer::start_with(|config| config.limits.scan_events_max = 1_500, Default::default())
            .await;
    let lines = "{\"type\":\"output\",\"data\":{\"text\":\"x\"}}\n".repeat(2_000);
    server.lines("/v1/runs/r/events", &lines).await;
    let page = server.get("/v1/runs/r/events?contains=nothing&wait=60000").await.json();
    assert_eq!((&page["events"], &page["next"]), (&json!([]), &json!("1500")));
}

#[tokio::test]
async fn an_export_has_all_events_one_a_line() {
    let server = with_outputs(2_500).await;
    let headers = [("Accept", "application/x-ndjson")];
    let reply = server.send("GET", "/v1/runs/r/events?after=10", &headers, b"").await;
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    let offsets: Vec<_> =
        reply.json_lines().iter().map(|event| event["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, (11..=2_500).collect::<Vec<_>>());
    let reply = server.send("GET", "/v1/runs/none/events", &headers, b"").await;
    reply.problem(404, "run_not_found");
    let reply = server.send("GET", "/v1/runs/r/events?limit=1", &headers, b"").await;
    reply.problem(400, "invalid_parameter");
}

#[tokio::test]
async fn a_cursor_from_before_the_run_was_made_again_gets_a_gap() {
    let server = with_outputs(3).await;
    assert_eq!(server.send("DELETE", "/v1/runs/r", &[], b"").await.status, 204);
    server.get("/v1/runs/r/events").await.problem(410, "run_deleted");
    server.post("/v1/runs/r/events", r#"{"type":"a.b"}"#).await;
    let page = server.get("/v1/runs/r/events?after=2").await.json();
    assert_eq!(page["gap"], json!({"from": 1, "to": 2, "reason": "epoch_changed", "epoch": 2}));
    assert_eq!((&page["events"][0]["offset"], &page["next"]), (&json!(1), &json!("2.1")));
    let headers = [("Accept", "application/x-ndjson")];
    let lines = server.send("GET", "/v1/runs/r/events?after=2", &headers, b"").await.json_lines();
    assert_eq!(lines[0]["gap"]["reason"], "epoch_changed");
    assert_eq!(lines[1]["offset"], 1);
}
