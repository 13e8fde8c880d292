//! Creating, listing, showing and deleting runs.

use serde_json::{Value, json};

use crate::client::TestServer;

#[tokio::test]
async fn a_run_is_created_once() {
    let server = TestServer::start().await;
    let body = r#"{"id":"r","workflow":"demo","tags":["a"],"metadata":{"k":[1]}}"#;
    let created = server.post("/v1/runs", body).await;
    assert_eq!(created.status, 201, "{}", created.text());
    assert_eq!(created.header("location"), Some("/v1/runs/r"));
    let run = created.json();
    assert_eq!(
        (&run["status"], &run["offset"], &run["cursor"]),
        (&json!("queued"), &json!(1), &json!("1"))
    );
    assert_eq!(run["metadata"], json!({"k": [1]}));

    let again = server.post("/v1/runs", body).await;
    assert_eq!((again.status, again.json()), (200, run));
    server.post("/v1/runs/r/events", r#"{"type":"run.completed"}"#).await;
    let again = server.post("/v1/runs", body).await;
    assert_eq!((again.status, &again.json()["status"]), (200, &json!("completed")));
    server.post("/v1/runs", r#"{"id":"r","workflow":"other"}"#).await.problem(409, "run_exists");
}

#[tokio::test]
async fn a_run_without_a_body_gets_an_id() {
    let server = TestServer::start().await;
    let reply = server.send("POST", "/v1/runs", &[], b"").await;
    assert_eq!(reply.status, 201);
    assert!(reply.json()["id"].as_str().unwrap().starts_with("run_"));
}

#[tokio::test]
async fn a_wrong_definition_is_refused() {
    let server = TestServer::start().await;
    let problem = server.post("/v1/runs", r#"{"workfow":"x"}"#).await.problem(400, "invalid_body");
    assert_eq!(problem["field"], "workfow");
    let problem = server.post("/v1/runs", r#"{"workflow":""}"#).await.problem(400, "invalid_body");
    assert_eq!(problem["field"], "workflow");
    let problem = server.post("/v1/runs", r#"{"tags":"a"}"#).await.problem(400, "invalid_body");
    assert_eq!(problem["field"], "tags");
    let tags = json!({"tags": vec!["t"; 33]}).to_string();
    assert_eq!(server.post("/v1/runs", &tags).await.problem(400, "invalid_body")["field"], "tags");
    server.post("/v1/runs", r#"{"id":"a/b"}"#).await.problem(400, "invalid_run_id");
    server.post("/v1/runs", "{").await.problem(400, "invalid_body");
    let large = json!({"metadata": {"x": "x".repeat(300 << 10)}}).to_string();
    server.post("/v1/runs", &large).await.problem(413, "body_too_large");
    server.lines("/v1/runs", "{}").await.problem(415, "unsupported_media_type");
    let none = server.send("POST", "/v1/runs", &[], b"{}").await;
    none.problem(415, "unsupported_media_type");
    let problem = server.post("/v1/runs?id=x", "{}").await.problem(400, "invalid_parameter");
    assert_eq!(problem["parameter"], "id");
    assert_eq!(server.get("/v1/runs").await.json()["runs"], json!([]));
}

#[tokio::test]
async fn a_run_declares_its_stages_or_names_a_built_in_list() {
    let server = TestServer::start().await;
    let run = server.post("/v1/runs", r#"{"id":"a","stages":["plan",{"name":"do"}]}"#).await.json();
    assert_eq!(run["stages"][1]["name"], "do");
    let body = r#"{"id":"b","stages":"agent_pipeline"}"#;
    let run = server.post("/v1/runs", body).await.json();
    assert_eq!(run["stages"][3]["name"], "agent_execution");
    assert_eq!(server.post("/v1/runs", body).await.status, 200);
    for stages in [r#""pipeline""#, "3", r#""""#] {
        let body = format!(r#"{{"id":"c","stages":{stages}}}"#);
        let problem = server.post("/v1/runs", &body).await.problem(400, "invalid_body");
        assert_eq!(problem["field"], "stages");
    }
}

#[tokio::test]
async fn the_state_says_what_the_run_does() {
    let server = TestServer::start().await;
    let events = r#"[
        {"type":"step.started","step":"s","data":{"input":{"n":1.50}}},
        {"type":"message.delta","data":{"message":"m","text":"Hel"}},
        {"type":"message.delta","data":{"message":"m","text":"lo"}},
        {"type":"input.requested","data":{"input":"i","prompt":"Deploy?"}},
        {"type":"step.completed","step":"s","data":{"output":"done","usage":{"input_tokens":3}}}]"#;
    assert_eq!(server.post("/v1/runs/r/events", events).await.status, 200);
    let reply = server.get("/v1/runs/r").await;
    assert!(reply.text().contains(r#""input":{"n":1.50}"#), "values are as they were sent");
    let run = reply.json();
    assert_eq!((&run["status"], &run["open_inputs"]), (&json!("input_required"), &json!(1)));
    assert_eq!((&run["messages"][0]["text"], &run["current_step"]), (&json!("Hello"), &json!(0)));
    assert_eq!(run["step_results"][0]["output"], "done");
    assert_eq!(run["usage"]["input_tokens"], 3);
    assert_eq!(server.get("/v1/runs?status=input_required").await.json()["runs"][0]["id"], "r");
}

#[tokio::test]
async fn what_a_run_did_that_ended_long_ago_is_told_all_the_same() {
    let server = TestServer::start().await;
    let events = r#"[{"type":"step.started","step":"s"},{"type":"step.completed","step":"s"},
        {"type":"run.completed","data":{"output":[1]}}]"#;
    server.post("/v1/runs/old/events", events).await;
    let before = server.get("/v1/runs/old").await.json();
    assert_eq!(before["steps"][0]["status"], "completed");
    // More than the server keeps whole.
    for number in 0..1_001 {
        let target = format!("/v1/runs/new-{number}/events");
        server.post(&target, r#"{"type":"run.completed"}"#).await;
    }
    assert_eq!(server.get("/v1/runs/old").await.json(), before);
    assert_eq!(server.get("/v1/runs/old").await.json(), before);
}

#[tokio::test]
async fn every_acknowledged_event_counts_in_the_state() {
    let server = TestServer::start().await;
    for count in 1..=30 {
        server.post("/v1/runs/r/events", r#"{"type":"output","data":{"text":"x"}}"#).await;
        let run = server.get("/v1/runs/r").await.json();
        assert_eq!((&run["offset"], &run["events"]["output"]), (&json!(count), &json!(count)));
        // A list says less of it, and the same.
        let listed = server.get("/v1/runs").await.json();
        let listed = listed["runs"][0].as_object().unwrap();
        assert!(listed.len() > 20 && listed.iter().all(|(field, value)| run[field] == *value));
    }
    let run = server.get("/v1/runs/r").await.json();
    assert_eq!(run["status"], "running", "a run that nobody created exists all the same");
}

#[tokio::test]
async fn what_was_stored_before_the_start_is_known_after_it() {
    let first = TestServer::start().await;
    let lines = "{\"type\":\"output\",\"data\":{\"text\":\"x\"}}\n".repeat(2_500);
    first.lines("/v1/runs/a/events", &lines).await;
    first.post("/v1/runs", r#"{"id":"b"}"#).await;
    let second = TestServer::start_on(|_| {}, first.hub.clone()).await;
    let runs = second.get("/v1/runs").await.json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2);
    assert_eq!(second.get("/v1/runs/a").await.json()["events"]["total"], 2_500);
}

fn ids(list: &Value) -> Vec<&str> {
    list["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_filtered() {
    let server = TestServer::start().await;
    for (id, workflow, tags) in
        [("r1", "a", "[]"), ("r2", "b", r#"["x"]"#), ("r3", "a", r#"["x","y"]"#)]
    {
        let body = format!(r#"{{"id":"{id}","workflow":"{workflow}","tags":{tags}}}"#);
        assert_eq!(server.post("/v1/runs", &body).await.status, 201);
    }
    server.post("/v1/runs/r1/events", r#"{"type":"run.failed"}"#).await;
    let cases: [(&str, &[&str]); 8] = [
        ("", &["r3", "r2", "r1"]),
        ("?workflow=a", &["r3", "r1"]),
        ("?tag=x", &["r3", "r2"]),
        ("?tag=x&tag=y", &["r3"]),
        ("?status=failed", &["r1"]),
        ("?status=failed&status=queued&workflow=b", &["r2"]),
        ("?workflow=none", &[]),
        ("?limit=2", &["r3", "r2"]),
    ];
    for (query, expected) in cases {
        let list = server.get(&format!("/v1/runs{query}")).await.json();
        assert_eq!(ids(&list), expected, "{query}");
        assert_eq!(list["next"].is_null(), query != "?limit=2");
    }
    let next = server.get("/v1/runs?limit=2").await.json()["next"].as_str().unwrap().to_owned();
    server.post("/v1/runs", r#"{"id":"r4"}"#).await;
    let rest = server.get(&format!("/v1/runs?limit=2&cursor={next}")).await.json();
    assert_eq!((ids(&rest), &rest["next"]), (vec!["r1"], &Value::Null));
    for (query, parameter) in [
        ("status=done", "status"),
        ("cursor=x", "cursor"),
        ("limit=1001", "limit"),
        ("stat=x", "stat"),
        ("workflow=a&workflow=b", "workflow"),
    ] {
        let reply = server.get(&format!("/v1/runs?{query}")).await;
        assert_eq!(reply.problem(400, "invalid_parameter")["parameter"], parameter);
    }
}

#[tokio::test]
async fn an_unchanged_list_is_not_sent_again() {
    let server = TestServer::start().await;
    server.post("/v1/runs", r#"{"id":"r"}"#).await;
    let first = server.get("/v1/runs").await;
    let etag = first.header("etag").unwrap().to_owned();
    let headers = [("If-None-Match", etag.as_str())];
    let same = server.send("GET", "/v1/runs", &headers, b"").await;
    assert_eq!((same.status, same.text(), same.header("etag")), (304, "", Some(etag.as_str())));
    server.post("/v1/runs/r/events", r#"{"type":"a.b"}"#).await;
    let changed = server.send("GET", "/v1/runs", &headers, b"").await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(etag.as_str()));
}

#[tokio::test]
async fn a_deleted_run_is_gone_until_it_is_made_again() {
    let server = TestServer::start().await;
    server.post("/v1/runs", r#"{"id":"r"}"#).await;
    let delete = || server.send("DELETE", "/v1/runs/r", &[], b"");
    let deleted = delete().await;
    assert_eq!((deleted.status, deleted.text()), (204, ""));
    server.get("/v1/runs/r").await.problem(410, "run_deleted");
    delete().await.problem(410, "run_deleted");
    assert_eq!(server.get("/v1/runs").await.json()["runs"], json!([]));
    let made = server.post("/v1/runs", r#"{"id":"r","workflow":"other"}"#).await;
    assert_eq!((made.status, &made.json()["epoch"]), (201, &json!(2)));
    assert_eq!(server.get("/v1/runs/r").await.json()["cursor"], "2.1");
    server.send("DELETE", "/v1/runs/none", &[], b"").await.problem(404, "run_not_found");
    server.get("/v1/runs/none").await.problem(404, "run_not_found");
    server.get("/v1/runs/a%2Fb").await.problem(400, "invalid_run_id");
}

#[tokio::test]
async fn a_list_is_narrowed_by_steps_questions_text_and_time_and_counted_by_status() {
    let server = TestServer::start().await;
    for (run, name, day, events) in [
        ("a", "Nightly Build", 1, vec![json!({"type": "step.started", "step": "s"})]),
        (
            "b",
            "deploy",
            2,
            vec![
                json!({"type": "step.started", "step": "s"}),
                json!({"type": "step.failed", "step": "s"}),
                json!({"type": "run.failed"}),
            ],
        ),
        (
            "c",
            "deploy",
            3,
            vec![json!({"type": "input.requested", "data": {"input": "q", "prompt": "?"}})],
        ),
    ] {
        let time = format!("2026-01-0{day}T00:00:00Z");
        let data = json!({"name": name, "workflow": "w"});
        let mut all = vec![json!({"type": "run.started", "time": time, "data": data})];
        all.extend(events);
        let reply = server.post(&format!("/v1/runs/{run}/events"), &json!(all).to_string()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    for (query, expected) in [
        ("", "cba"),
        ("step_status=failed", "b"),
        ("step_status=running&step_status=failed", "ba"),
        ("input=open", "c"),
        ("text=BUILD", "a"),
        ("text=B", "ba"),
        ("created_after=2026-01-01T00:00:00Z", "cb"),
        ("created_after=2026-01-01T00:00:00Z&created_before=2026-01-03T00:00:00Z", "b"),
        ("status=failed&step_status=running", ""),
    ] {
        let list = server.get(&format!("/v1/runs?{query}")).await.json();
        let ids: String = list["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["id"].as_str().unwrap())
            .collect();
        assert_eq!((ids.as_str(), &list["counts"]), (expected, &Value::Null), "{query}");
    }
    for (query, expected) in [
        ("", json!({"running": 1, "failed": 1, "input_required": 1})),
        ("&status=failed", json!({"running": 1, "failed": 1, "input_required": 1})),
        ("&text=deploy", json!({"failed": 1, "input_required": 1})),
        ("&workflow=v", json!({})),
    ] {
        let list = server.get(&format!("/v1/runs?counts=1{query}")).await.json();
        assert_eq!(list["counts"], expected, "{query}");
    }
    for query in ["step_status=done", "input=closed", "created_after=today", "counts=2"] {
        let reply = server.get(&format!("/v1/runs?{query}")).await;
        let parameter = query.split('=').next().unwrap();
        assert_eq!(reply.problem(400, "invalid_parameter")["parameter"], parameter);
    }
}
