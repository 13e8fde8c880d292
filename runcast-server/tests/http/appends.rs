//! Appending events.

use std::fmt::Write as _;

use serde_json::json;

use crate::client::TestServer;

const ONE: &str = r#"{"type":"output","data":{"text":"x"}}"#;
const END: &str = r#"{"type":"run.completed","data":{"exit_code":0}}"#;

#[tokio::test]
async fn one_event_and_an_array_are_stored_and_numbered() {
    let server = TestServer::start().await;
    let reply = server.post("/v1/runs/r/events", ONE).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.text(),
        r#"{"run":"r","epoch":1,"first":1,"last":1,"stored":1,"duplicates":0}"#
    );
    let reply = server.post("/v1/runs/r/events", &format!("[{ONE},{ONE}]")).await;
    assert_eq!(
        reply.text(),
        r#"{"run":"r","epoch":1,"first":2,"last":3,"stored":2,"duplicates":0}"#
    );
}

#[tokio::test]
async fn a_batch_is_stored_whole_or_not_at_all() {
    let server = TestServer::start().await;
    let wrong = r#"{"type":"output","data":{"text":1}}"#;
    let reply = server.post("/v1/runs/r/events", &format!("[{ONE},{wrong}]")).await;
    let problem = reply.problem(400, "invalid_event");
    assert_eq!((&problem["field"], &problem["event"]), (&json!("data.text"), &json!(2)));
    server.get("/v1/runs/r/events").await.problem(404, "run_not_found");
}

#[tokio::test]
async fn a_wrong_event_is_refused_by_field() {
    let server = TestServer::start().await;
    let cases = [
        (r#"{"type":"output","data":{"text":"x"},"txt":1}"#, "txt"),
        (r#"{"type":"output","offset":3,"data":{"text":"x"}}"#, "offset"),
        (r#"{"type":"run.complete"}"#, "type"),
        (r#"{"type":7}"#, "type"),
        (r#"{"data":{}}"#, "type"),
        (r#"{"type":"a.b","time":"yesterday"}"#, "time"),
        (r#"{"type":"a.b","step":["x"]}"#, "step"),
        (r#"{"type":"run.completed","data":{"exit_code":"0"}}"#, "data.exit_code"),
    ];
    for (body, field) in cases {
        let reply = server.post("/v1/runs/r/events", body).await;
        assert_eq!(reply.problem(400, "invalid_event")["field"], field, "{body}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_events_is_refused() {
    let server = TestServer::start().await;
    for body in ["", "{", "[", "[]", r#"{"type":"#, "[1"] {
        let reply = server.post("/v1/runs/r/events", body).await;
        reply.problem(400, "invalid_body");
    }
    let reply = server.post("/v1/runs/r/events", "7").await;
    reply.problem(400, "invalid_event");
    let json = [("Content-Type", "application/json")];
    let reply = server.send("POST", "/v1/runs/r/events", &json, b"{\"type\":\"\xff\"}").await;
    reply.problem(400, "invalid_body");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_the_limit() {
    let server = TestServer::start().await;
    let large = format!(r#"{{"type":"output","data":{{"text":"{}"}}}}"#, "x".repeat(5 << 20));
    let reply = server.post("/v1/runs/r/events", &large).await;
    assert_eq!(reply.problem(413, "body_too_large")["max"], 4 << 20);

    let headers = [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")];
    let mut connection = server.open("POST", "/v1/runs/r/events", &headers).await;
    connection.write_chunk(&large).await;
    connection.head().await;

    let many = format!("[{ONE}{}]", format!(",{ONE}").repeat(1_000));
    let reply = server.post("/v1/runs/r/events", &many).await;
    assert_eq!(reply.problem(413, "body_too_large")["max"], 1_000);

    let event = format!(r#"{{"type":"output","data":{{"text":"{}"}}}}"#, "x".repeat(256 << 10));
    let reply = server.post("/v1/runs/r/events", &event).await;
    assert_eq!(reply.problem(400, "invalid_event")["max"], 256 << 10);
}

#[tokio::test]
async fn a_body_without_its_type_is_refused_with_what_to_do() {
    let server = TestServer::start().await;
    for headers in [&[][..], &[("Content-Type", "application/x-www-form-urlencoded")]] {
        let reply = server.send("POST", "/v1/runs/r/events", headers, ONE.as_bytes()).await;
        let problem = reply.problem(415, "unsupported_media_type");
        assert!(problem["detail"].as_str().unwrap().contains("curl --json"));
    }
    let headers = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    let reply = server.send("POST", "/v1/runs/r/events", &headers, b"\x1f\x8b").await;
    reply.problem(415, "unsupported_media_type");
    let headers = [("Content-Type", "Application/JSON; charset=utf-8")];
    assert_eq!(
        server.send("POST", "/v1/runs/r/events", &headers, ONE.as_bytes()).await.status,
        200
    );
}

#[tokio::test]
async fn what_is_asked_of_an_append_must_be_true() {
    let server = TestServer::start().await;
    server.post("/v1/runs/r/events?create=false", ONE).await.problem(404, "run_not_found");
    let reply = server.post("/v1/runs/r/events?expected_offset=2", ONE).await;
    assert_eq!(reply.problem(409, "offset_mismatch")["actual"], 0);
    assert_eq!(server.post("/v1/runs/r/events?expected_offset=0", ONE).await.status, 200);
    assert_eq!(
        server.post("/v1/runs/r/events?create=false&expected_offset=1", ONE).await.status,
        200
    );
    let reply = server.post("/v1/runs/r/events?expected=1", ONE).await;
    assert_eq!(reply.problem(400, "invalid_parameter")["parameter"], "expected");
    let reply = server.post("/v1/runs/r/events?create=maybe", ONE).await;
    assert_eq!(reply.problem(400, "invalid_parameter")["parameter"], "create");
    let reply = server.post("/v1/runs/a%20b/events", ONE).await;
    reply.problem(400, "invalid_run_id");
    let reply = server.post("/v1/runs/a%ffb/events", ONE).await;
    reply.problem(400, "invalid_run_id");
}

#[tokio::test]
async fn a_terminal_event_ends_the_run() {
    let server = TestServer::start().await;
    let reply = server.post("/v1/runs/r/events", &format!("[{ONE},{END},{ONE}]")).await;
    assert_eq!(reply.problem(400, "event_after_end")["event"], 2);
    let reply = server.post("/v1/runs/r/events", &format!("[{ONE},{END}]")).await;
    assert_eq!(reply.json()["last"], 2);
    let reply = server.post("/v1/runs/r/events", ONE).await;
    assert_eq!(reply.problem(409, "run_ended")["last"], 2);
}

async fn produce(
    server: &TestServer,
    epoch: &str,
    sequence: &str,
    body: &str,
) -> crate::client::Reply {
    let media_type =
        if body.starts_with('[') { "application/json" } else { "application/x-ndjson" };
    let headers = [
        ("Content-Type", media_type),
        ("Producer-Id", "p"),
        ("Producer-Epoch", epoch),
        ("Producer-Seq", sequence),
    ];
    server.send("POST", "/v1/runs/r/events", &headers, body.as_bytes()).await
}

#[tokio::test]
async fn a_retry_is_acknowledged_and_stored_once() {
    let server = TestServer::start().await;
    let two = format!("[{ONE},{ONE}]");
    assert_eq!(produce(&server, "1", "0", &two).await.json()["stored"], 2);
    let repeated = produce(&server, "1", "0", &two).await.json();
    assert_eq!(repeated["stored"], 0);
    assert_eq!(repeated["duplicates"], 2);
    assert!(repeated["first"].is_null() && repeated["last"].is_null());
    let overlapping = produce(&server, "1", "1", &format!("{ONE}\n{ONE}\n{ONE}")).await;
    let done = overlapping.json_lines().pop().unwrap();
    assert_eq!(done, json!({"done": true, "stored": 2, "duplicates": 1, "lines": 3}));
    let gap = produce(&server, "1", "9", &two).await;
    assert_eq!(gap.problem(409, "sequence_gap")["expected"], 4);
    assert_eq!(produce(&server, "2", "0", &two).await.json()["stored"], 2);
    let fenced = produce(&server, "1", "4", &two).await;
    assert_eq!(fenced.problem(403, "producer_fenced")["current"], 2);
}

#[tokio::test]
async fn a_producer_names_itself_fully_or_not_at_all() {
    let server = TestServer::start().await;
    let all = [("Producer-Id", "p"), ("Producer-Epoch", "1"), ("Producer-Seq", "0")];
    for left_out in 0..3 {
        let mut headers = all.to_vec();
        let (missing, _) = headers.remove(left_out);
        headers.push(("Content-Type", "application/json"));
        let reply = server.send("POST", "/v1/runs/r/events", &headers, ONE.as_bytes()).await;
        assert_eq!(reply.problem(400, "invalid_header")["header"], missing);
    }
    for (at, value) in [(0, "p q"), (1, "-1"), (1, "+1"), (2, "x"), (2, "99999999999999999999")] {
        let mut headers = all.to_vec();
        headers[at].1 = value;
        headers.push(("Content-Type", "application/json"));
        let reply = server.send("POST", "/v1/runs/r/events", &headers, ONE.as_bytes()).await;
        assert_eq!(reply.problem(400, "invalid_header")["header"], all[at].0);
    }
}

#[tokio::test]
async fn lines_are_stored_as_they_arrive_and_answered_batch_by_batch() {
    let server = TestServer::start().await;
    let headers = [("Content-Type", "application/x-ndjson"), ("Transfer-Encoding", "chunked")];
    let mut connection = server.open("POST", "/v1/runs/r/events", &headers).await;
    connection.write_chunk(&format!("{ONE}\n\n{ONE}\n{}", &ONE[..9])).await;
    assert_eq!(connection.head().await.status, 200);
    let first = connection.until("\n").await;
    assert_eq!(
        first,
        "{\"run\":\"r\",\"epoch\":1,\"first\":1,\"last\":2,\"stored\":2,\"duplicates\":0,\"lines\":3}\n"
    );
    connection.write_chunk(&ONE[9..]).await;
    connection.write(b"0\r\n\r\n").await;
    let rest = String::from_utf8(connection.rest().await).unwrap();
    assert_eq!(
        rest,
        "{\"run\":\"r\",\"epoch\":1,\"first\":3,\"last\":3,\"stored\":1,\"duplicates\":0,\"lines\":4}\n\
         {\"done\":true,\"stored\":3,\"duplicates\":0,\"lines\":4}\n"
    );
}

#[tokio::test]
async fn no_lines_are_answered_with_nothing_stored() {
    let server = TestServer::start().await;
    for body in ["", "\n", "  \r\n\n"] {
        let reply = server.lines("/v1/runs/r/events", body).await;
        let last = reply.json_lines().pop().unwrap();
        assert_eq!((&last["done"], &last["stored"]), (&json!(true), &json!(0)), "{body:?}");
    }
    server.get("/v1/runs/r").await.problem(404, "run_not_found");
}

#[tokio::test]
async fn line_4711_of_10000_is_wrong_and_says_so() {
    let server = TestServer::start().await;
    let mut body = String::new();
    for line in 1..=10_000 {
        let text = if line == 4_711 { "1".into() } else { format!("\"{line}\"") };
        writeln!(body, r#"{{"type":"output","data":{{"text":{text}}}}}"#).unwrap();
    }
    let reply = server.lines("/v1/runs/r/events", &body).await;
    assert_eq!(reply.status, 200);
    let answers = reply.json_lines();
    let (problem, batches) = answers.split_last().unwrap();
    assert_eq!(problem["problem"]["code"], "invalid_event");
    assert_eq!(problem["problem"]["line"], 4_711);
    assert_eq!(problem["problem"]["field"], "data.text");
    let lines = batches.last().unwrap()["lines"].as_u64().unwrap();
    assert!(lines < 4_711 && batches.len() <= 50, "{lines} {}", batches.len());
    let page = server.get("/v1/runs/r/events?limit=1").await.json();
    assert_eq!(page["last"].as_u64(), Some(lines));
}

#[tokio::test]
async fn a_line_that_the_runs_state_does_not_allow_is_named_and_nothing_of_its_batch_is_stored() {
    let server = TestServer::start().await;
    let step = r#"{"type":"step.completed","step":"never began"}"#;
    let lines = format!("{ONE}\n\n\n{step}\n{ONE}\n");
    let reply = server.lines("/v1/runs/r/events", &lines).await;
    let problem = reply.problem(409, "not_possible");
    assert_eq!(problem["line"], 4);
    server.get("/v1/runs/r").await.problem(404, "run_not_found");
}

#[tokio::test]
async fn a_wrong_first_line_is_the_response() {
    let server = TestServer::start().await;
    let reply = server.lines("/v1/runs/r/events", &format!("\n{{\"typo\":1}}\n{ONE}\n")).await;
    assert_eq!(reply.problem(400, "invalid_event")["line"], 2);
    let half = server.lines("/v1/runs/r/events", "{\"type\":\"outp").await;
    assert_eq!(half.problem(400, "invalid_event")["line"], 1);
    let after_end = server.lines("/v1/runs/r/events", &format!("\n{END}\n\n{ONE}\n")).await;
    assert_eq!(after_end.problem(400, "event_after_end")["line"], 2);
    let long = format!(r#"{{"type":"output","data":{{"text":"{}"#, "x".repeat(300 << 10));
    let reply = server.lines("/v1/runs/r/events", &format!("{long}\"}}}}\n")).await;
    let problem = reply.problem(400, "invalid_event");
    assert_eq!((&problem["line"], &problem["max"]), (&json!(1), &json!(256 << 10)));
    server.get("/v1/runs/r").await.problem(404, "run_not_found");
}

#[tokio::test]
async fn a_line_that_never_ends_is_refused_while_it_arrives() {
    let server = TestServer::start().await;
    let headers = [("Content-Type", "application/x-ndjson"), ("Transfer-Encoding", "chunked")];
    let mut connection = server.open("POST", "/v1/runs/r/events", &headers).await;
    connection.write_chunk(&format!("{ONE}\n")).await;
    connection.head().await;
    connection.until("\n").await;
    connection.write_chunk(&"x".repeat(300 << 10)).await;
    let answer: serde_json::Value = serde_json::from_str(&connection.until("\n").await).unwrap();
    assert_eq!(answer["problem"]["code"], "invalid_event");
    assert_eq!(answer["problem"]["line"], 2);
}

#[tokio::test]
async fn lines_after_the_end_are_refused() {
    let server = TestServer::start().await;
    server.post("/v1/runs/r/events", END).await;
    let reply = server.lines("/v1/runs/r/events", ONE).await;
    let problem = reply.problem(409, "run_ended");
    assert_eq!((&problem["line"], &problem["last"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_request_that_breaks_off_leaves_its_complete_lines() {
    let server = TestServer::start().await;
    let follower = server.follow("/v1/runs/r/events");
    let headers = [("Content-Type", "application/x-ndjson"), ("Transfer-Encoding", "chunked")];
    let mut connection = server.open("POST", "/v1/runs/r/events", &headers).await;
    connection.write_chunk(&format!("{ONE}\n{ONE}\n{}", &ONE[..20])).await;
    drop(connection);
    let mut follower = follower.await;
    // Both lines arrive, in one piece or in two.
    let mut seen = follower.until("}\n\n").await;
    if !seen.contains("id: 2\n") {
        seen += &follower.until("}\n\n").await;
    }
    assert_eq!(crate::client::frames(&seen).last().unwrap().0, "2");
    let reply = server.post("/v1/runs/r/events", END).await;
    assert_eq!(reply.json()["first"], 3, "the half line was stored");
}

#[tokio::test]
async fn lines_keep_to_the_expected_offset_over_their_batches() {
    let server = TestServer::start().await;
    let body = format!("{ONE}\n").repeat(2_500);
    let reply = server.lines("/v1/runs/r/events?expected_offset=0", &body).await;
    let answers = reply.json_lines();
    assert_eq!(answers.last().unwrap()["stored"], 2_500);
    assert!(answers.len() >= 4, "batches are of at most 1,000 events");
}
