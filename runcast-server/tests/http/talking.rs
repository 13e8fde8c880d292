//! Runs that are talked back to: commands, the mailbox, answers.

use runcast_event::limits;
use serde_json::{Value, json};

use crate::client::{TestServer, frames};

const LIVE: (&str, &str) = ("Accept", "text/event-stream");

async fn started(run: &str) -> TestServer {
    let server = TestServer::start().await;
    say(&server, run, json!({"type": "run.started"})).await;
    server
}

async fn say(server: &TestServer, run: &str, event: Value) {
    let reply = server.post(&format!("/v1/runs/{run}/events"), &event.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

async fn ask(server: &TestServer, run: &str, command: Value) -> (u16, Value) {
    let reply = server.post(&format!("/v1/runs/{run}/commands"), &command.to_string()).await;
    (reply.status, reply.json())
}

async fn types(server: &TestServer, run: &str) -> Vec<String> {
    let page = server.get(&format!("/v1/runs/{run}/events?limit=1000")).await.json();
    let events = page["events"].as_array().unwrap().iter();
    events.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_command_is_asked_heard_and_carried_out() {
    let server = started("r").await;
    let wanted = json!({"name": "set", "args": {"temperature": 0.2}, "key": "k", "by": "ada",
        "reason": "too wild", "timeout_ms": 60_000});
    let (status, asked) = ask(&server, "r", wanted.clone()).await;
    assert_eq!((status, &asked["status"]), (201, &json!("requested")), "{asked}");
    assert!(asked["expires_at"].is_string());
    assert_eq!((&asked["args"], &asked["by"]), (&wanted["args"], &wanted["by"]));
    // The same again is the same command.
    assert_eq!(ask(&server, "r", wanted).await, (200, asked.clone()));
    let id = asked["command"].as_str().unwrap();
    let mail = server.get("/v1/runs/r/commands").await.json();
    assert_eq!(mail["events"].as_array().unwrap().len(), 1, "{mail}");
    assert_eq!(mail["events"][0]["data"]["command"], id);
    for (said, and_then) in
        [("delivered", "delivered"), ("delivered", "delivered"), ("done", "done")]
    {
        let target = format!("/v1/runs/r/commands/{id}");
        let reply = server.post(&target, &json!({"status": said}).to_string()).await;
        assert_eq!((reply.status, reply.json()["status"].clone()), (200, json!(and_then)));
    }
    let expected = ["run.started", "command.requested", "command.delivered", "command.done"];
    assert_eq!(types(&server, "r").await, expected);
    let state = server.get("/v1/runs/r").await.json();
    assert_eq!(state["commands"][0]["status"], "done");
    // What is over stays as it was.
    let target = format!("/v1/runs/r/commands/{id}");
    let late = server.post(&target, r#"{"status":"refused","reason":"too late"}"#).await;
    assert_eq!(late.problem(409, "not_possible")["reason"], "command_closed");
}

#[tokio::test]
async fn two_stops_are_one_also_at_the_same_moment() {
    let server = started("r").await;
    let stops = (0..20).map(|n| ask(&server, "r", json!({"name": "stop", "key": format!("k{n}")})));
    let mut ids: Vec<_> = Vec::new();
    for (status, command) in futures_util::future::join_all(stops).await {
        assert!(status == 200 || status == 201, "{command}");
        ids.push(command["command"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(types(&server, "r").await, ["run.started", "command.requested"]);
    assert_eq!(server.get("/v1/runs/r").await.json()["status"], "cancelling");
    // A dropped connection asks nothing.
    drop(server.follow("/v1/runs/r/commands").await);
    assert_eq!(types(&server, "r").await.len(), 2);
}

#[tokio::test]
async fn a_mailbox_is_followed_and_resumed_as_any_stream() {
    let server = started("r").await;
    let mut mailbox = server.follow("/v1/runs/r/commands").await;
    ask(&server, "r", json!({"name": "pause"})).await;
    say(&server, "r", json!({"type": "output", "data": {"text": "not for it"}})).await;
    say(&server, "r", json!({"type": "input.requested", "data": {"input": "q", "prompt": "?"}}))
        .await;
    server.post("/v1/runs/r/inputs/q", r#"{"answer":7}"#).await;
    let heard = frames(&mailbox.until("\"input\":\"q\"}}\n\n").await);
    let heard: Vec<_> =
        heard.iter().map(|(id, _, data)| (id.as_str(), data["type"].as_str().unwrap())).collect();
    assert_eq!(heard, [("2", "command.requested"), ("5", "input.answered")]);
    drop(mailbox);
    // Away meanwhile, it gets what it missed, over any representation.
    ask(&server, "r", json!({"name": "set", "args": 1})).await;
    let mut again = server.follow("/v1/runs/r/commands?after=5").await;
    assert!(again.until("\"name\":\"set\"}}\n\n").await.contains("id: 6\n"));
    let waited = server.get("/v1/runs/r/commands?after=5&wait=10000").await.json();
    assert_eq!((&waited["next"], &waited["events"][0]["offset"]), (&json!("6"), &json!(6)));
    let lines =
        server.send("GET", "/v1/runs/r/commands", &[("Accept", "application/x-ndjson")], b"").await;
    assert_eq!(lines.json_lines().len(), 3);
    server.get("/v1/runs/r/commands?type=output").await.problem(400, "invalid_parameter");
    server
        .send("GET", "/v1/runs/r/commands?coalesce=1", &[LIVE], b"")
        .await
        .problem(400, "invalid_parameter");
    say(&server, "r", json!({"type": "run.completed"})).await;
    assert!(String::from_utf8(again.rest().await).unwrap().contains("event: end"));
}

#[tokio::test]
async fn a_command_that_cannot_be_is_refused_and_changes_nothing() {
    let server = started("r").await;
    let (status, problem) = ask(&server, "r", json!({"name": "resume"})).await;
    assert_eq!((status, &problem["reason"]), (409, &json!("run_not_paused")), "{problem}");
    assert_eq!(
        (&problem["state"], &problem["allowed"]),
        (&json!("running"), &json!(["run.paused"]))
    );
    for (body, status, code) in [
        (r#"{"name":""}"#, 400, "invalid_body"),
        (r#"{"name":"a\u0007b"}"#, 400, "invalid_body"),
        (r#"{"nam":"stop"}"#, 400, "invalid_body"),
        (r#"{"name":1}"#, 400, "invalid_body"),
        (r#"{"name":"stop"} x"#, 400, "invalid_body"),
        ("[]", 400, "invalid_body"),
    ] {
        server.post("/v1/runs/r/commands", body).await.problem(status, code);
    }
    let too_large = json!({"name": "set", "args": "x".repeat(20_000)});
    assert_eq!(ask(&server, "r", too_large).await.1["reason"], "value_too_large");
    let huge = json!({"name": "set", "args": "x".repeat(limits::EVENT_BYTES_MAX)});
    assert_eq!(ask(&server, "r", huge).await.0, 413);
    server.post("/v1/runs/none/commands", r#"{"name":"stop"}"#).await.problem(404, "run_not_found");
    let reply = server.post("/v1/runs/r/commands/cmd_x", r#"{"status":"done"}"#).await;
    reply.problem(404, "command_not_found");
    server
        .post("/v1/runs/r/commands/cmd_x", r#"{"status":"asked"}"#)
        .await
        .problem(400, "invalid_body");
    assert_eq!(types(&server, "r").await, ["run.started"]);
    say(&server, "r", json!({"type": "run.completed"})).await;
    assert_eq!(ask(&server, "r", json!({"name": "stop"})).await.1["code"], "run_ended");
    let text = ("Content-Type", "text/plain");
    let reply = server.send("POST", "/v1/runs/r/commands", &[text], b"stop").await;
    reply.problem(415, "unsupported_media_type");
}

async fn question(server: &TestServer, input: &str, more: Value) {
    let mut data = json!({"input": input, "prompt": "**Deploy?**"});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    say(server, "r", json!({"type": "input.requested", "step": "ask", "data": data})).await;
}

#[tokio::test]
async fn the_first_of_many_answers_counts_and_the_others_hear_whose_it_was() {
    let server = started("r").await;
    question(&server, "q", json!({"choices": ["yes", "no"]})).await;
    assert_eq!(server.get("/v1/runs/r").await.json()["status"], "input_required");
    let open = server.get("/v1/inputs").await.json();
    assert_eq!(
        (&open["inputs"][0]["run"], &open["inputs"][0]["input"]),
        (&json!("r"), &json!("q"))
    );
    let answers = (0..10).map(|n| {
        let body = json!({"answer": "yes", "by": format!("p{n}")}).to_string();
        let server = &server;
        async move { server.post("/v1/runs/r/inputs/q", &body).await }
    });
    let replies = futures_util::future::join_all(answers).await;
    let (won, lost): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert_eq!(won.len(), 1);
    let by = won[0].json()["answered_by"].clone();
    for reply in lost {
        let problem = reply.problem(409, "input_closed");
        assert_eq!((&problem["by"], &problem["input_status"]), (&by, &json!("answered")));
        assert!(problem["at"].is_string());
    }
    let answered = types(&server, "r").await;
    assert_eq!(answered, ["run.started", "input.requested", "input.answered"]);
    assert_eq!(server.get("/v1/inputs").await.json()["inputs"], json!([]));
    assert_eq!(server.get("/v1/runs/r").await.json()["status"], "running");
}

#[tokio::test]
async fn an_answer_that_is_not_what_was_asked_for_is_refused_with_the_place() {
    let server = started("r").await;
    let schema =
        json!({"type": "object", "required": ["env"], "properties": {"env": {"enum": ["a", "b"]}}});
    question(&server, "s", json!({"schema": schema})).await;
    question(&server, "c", json!({"choices": ["yes", "no"]})).await;
    question(&server, "any", json!({})).await;
    let wrong = server.post("/v1/runs/r/inputs/s", r#"{"answer":{"env":"c"}}"#).await;
    assert_eq!(wrong.problem(400, "invalid_answer")["violations"][0]["at"], "/env");
    let wrong = server.post("/v1/runs/r/inputs/c", r#"{"answer":"maybe"}"#).await;
    assert_eq!(wrong.problem(400, "invalid_answer")["allowed"], json!(["yes", "no"]));
    server.post("/v1/runs/r/inputs/any", r#"{"by":"ada"}"#).await.problem(400, "invalid_body");
    server.post("/v1/runs/r/inputs/none", r#"{"answer":1}"#).await.problem(404, "input_not_found");
    // Nor is it taken the long way, as an event.
    let event = json!({"type": "input.answered", "data": {"input": "s", "answer": {"env": "c"}}});
    let reply = server.post("/v1/runs/r/events", &event.to_string()).await;
    reply.problem(400, "invalid_answer");
    assert_eq!(types(&server, "r").await.len(), 4);
    for (input, answer) in [("s", json!({"env": "a"})), ("c", json!("no")), ("any", Value::Null)] {
        let body = json!({"answer": answer}).to_string();
        let reply = server.post(&format!("/v1/runs/r/inputs/{input}"), &body).await;
        assert_eq!((reply.status, &reply.json()["answer"]), (200, &answer), "{}", reply.text());
    }
}

#[tokio::test]
async fn what_waits_for_people_is_one_list_the_oldest_first() {
    let server = TestServer::start().await;
    for n in 0..5 {
        let started = json!({"type": "run.started", "data": {"workflow": format!("w{}", n % 2), "tags": ["t"]}});
        say(&server, &format!("r{n}"), started).await;
        let time = format!("2026-01-0{}T00:00:00Z", 5 - n);
        let asked =
            json!({"type": "input.requested", "time": time, "data": {"input": "q", "prompt": "?"}});
        say(&server, &format!("r{n}"), asked).await;
    }
    let runs = |page: &Value| -> Vec<String> {
        let inputs = page["inputs"].as_array().unwrap().iter();
        inputs.map(|input| input["run"].as_str().unwrap().to_owned()).collect()
    };
    let all = server.get("/v1/inputs").await.json();
    assert_eq!(runs(&all), ["r4", "r3", "r2", "r1", "r0"]);
    assert_eq!(runs(&server.get("/v1/inputs?workflow=w1").await.json()), ["r3", "r1"]);
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("/v1/inputs?limit=2&tag=t{cursor}")).await.json();
        paged.extend(runs(&page));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, runs(&all));
    say(&server, "r4", json!({"type": "run.completed"})).await;
    server.send("DELETE", "/v1/runs/r3", &[], b"").await;
    assert_eq!(runs(&server.get("/v1/inputs").await.json()), ["r2", "r1", "r0"]);
    server.get("/v1/inputs?cursor=x").await.problem(400, "invalid_parameter");
}

#[tokio::test]
async fn what_cannot_be_true_of_a_run_is_refused_and_the_log_stays_as_it_was() {
    let server = started("r").await;
    say(&server, "r", json!({"type": "run.updated", "data": {"stages": ["plan", "do"]}})).await;
    let before = types(&server, "r").await;
    for (events, reason, event) in [
        (json!([{"type": "stage.started", "stage": "dream"}]), "stage_not_declared", 1),
        (
            json!([{"type": "step.started", "step": "a"}, {"type": "step.completed", "step": "b"}]),
            "step_not_started",
            2,
        ),
        (json!([{"type": "run.resumed"}]), "run_not_paused", 1),
        (
            json!([{"type": "input.answered", "data": {"input": "q", "answer": 1}}]),
            "input_unknown",
            1,
        ),
        (json!([{"type": "command.done", "data": {"command": "c"}}]), "command_unknown", 1),
    ] {
        let reply = server.post("/v1/runs/r/events", &events.to_string()).await;
        let problem = reply.problem(409, "not_possible");
        assert_eq!((&problem["reason"], &problem["event"]), (&json!(reason), &json!(event)));
    }
    let enormous = json!({"enum": (0..30_000).collect::<Vec<_>>()});
    for schema in [json!({"type": "strin"}), json!({"$ref": "https://x"}), enormous] {
        let data = json!({"input": "q", "prompt": "?", "schema": schema});
        let asked = json!({"type": "input.requested", "data": data});
        let reply = server.post("/v1/runs/r/events", &asked.to_string()).await;
        assert_eq!(reply.problem(400, "invalid_event")["field"], "data.schema");
    }
    for (event, field) in [
        (json!({"type": "step.started", "step": "a\u{1b}[2J"}), "step"),
        (json!({"type": "step.started", "step": "a", "data": {"name": "a\u{0}b"}}), "data.name"),
    ] {
        let reply = server.post("/v1/runs/r/events", &event.to_string()).await;
        assert_eq!(reply.problem(400, "invalid_event")["field"], field);
    }
    assert_eq!(types(&server, "r").await, before);
    // What was refused left no trace: the step of the refused batch has not begun.
    let late = server.post("/v1/runs/r/events", r#"{"type":"step.completed","step":"a"}"#).await;
    assert_eq!(late.problem(409, "not_possible")["state"], "pending");
}
