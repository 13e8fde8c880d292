use serde_json::{Value, json};

use super::*;
use crate::bridge::config;

fn mapping(text: &str) -> In {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bridge.toml");
    std::fs::write(&path, format!("[[in]]\n{text}")).unwrap();
    config::read(Some(&path), &[], &[]).unwrap().ins.remove(0)
}

fn said(text: &str, source: &str, body: &[u8]) -> Result<(String, Value), String> {
    let mapping = mapping(text);
    let caught = mapping.place.name().matches(source).expect("the source fits");
    let message = Message { source, caught, body: Body::Bytes(body), time: None };
    let translated = translate(&mapping, &message)?;
    Ok((translated.run.to_string(), serde_json::from_slice(&translated.line).unwrap()))
}

#[test]
fn workflow_events_become_typed_events_of_a_defined_run() {
    let preset = "preset = 'workflow-events'";
    let channel = "workflow:w:execution:e1";
    let of = |body: Value| said(preset, channel, body.to_string().as_bytes());
    let stage = json!({"workflow_id": "w", "execution_id": "e1", "event_type": "stage_start",
        "data": {"stage": "agent_selection"}});
    let (run, event) = of(stage).unwrap();
    assert_eq!(run, "e1");
    let expected = json!({"type": "stage.started", "stage": "agent_selection",
        "data": {"stage": "agent_selection", "bridged_from": channel}});
    assert_eq!(event, expected);
    let task = json!({"event_type": "task_progress", "data": {"task_id": "t", "progress": 0.5}});
    assert_eq!(of(task).unwrap().1["data"]["task"], "t");
    let other = json!({"event_type": "anything", "data": [1]});
    let (_, event) = of(other).unwrap();
    assert_eq!(
        (&event["type"], &event["data"]["value"]),
        (&json!("workflow.anything"), &json!([1]))
    );
    let mapping = mapping(preset);
    let message = Message {
        source: channel,
        caught: mapping.place.name().matches(channel).unwrap(),
        body: Body::Bytes(b"{\"event_type\":\"x\"}"),
        time: None,
    };
    let definition = translate(&mapping, &message).unwrap().definition.unwrap();
    assert_eq!((definition.workflow.as_deref(), definition.stages.len()), (Some("w"), 9));
}

#[test]
fn output_logs_and_statuses_become_events_of_their_run() {
    let (run, event) =
        said("preset = 'run-output'", "run:r:output:v", "🔸 a\n".as_bytes()).unwrap();
    assert_eq!(
        (run.as_str(), &event["type"], &event["variation"]),
        ("r", &json!("output"), &json!("v"))
    );
    assert_eq!(event["data"]["text"], "🔸 a\n");
    let numbers = said("preset = 'run-output'", "run:r:output:v", b"{\"a\":1}").unwrap().1;
    assert_eq!(numbers["data"]["text"], "{\"a\":1}", "output is never read");
    let log = |body: &[u8]| said("preset = 'run-logs'", "run:r:logs:v", body).unwrap().1;
    assert_eq!(log(b"plain\n")["data"]["message"], "plain");
    let line = log(br#"{"timestamp":"t","level":"error","message":"m"}"#);
    assert_eq!((&line["data"]["level"], &line["data"]["message"]), (&json!("error"), &json!("m")));
    assert_eq!(line["data"]["fields"]["timestamp"], "t");
    let status = |body: &[u8]| said("preset = 'run-status'", "run:r:status", body);
    for (word, event_type) in [("pending", "run.queued"), ("running", "run.started")] {
        assert_eq!(status(word.as_bytes()).unwrap().1["type"], event_type);
    }
    let failed = status(br#"{"status":"failed","error":"boom"}"#).unwrap().1;
    assert_eq!((&failed["type"], &failed["data"]["error"]), (&json!("run.failed"), &json!("boom")));
    assert!(status(b"nonsense").unwrap_err().contains("nonsense"));
}

#[test]
fn entries_of_a_stream_are_objects_unless_a_field_is_the_message() {
    let fields = [
        ("run".to_owned(), b"r1".to_vec()),
        ("type".to_owned(), b"my.event".to_vec()),
        ("count".to_owned(), b"007".to_vec()),
        ("list".to_owned(), b"[1]".to_vec()),
        ("json".to_owned(), br#"{"type":"my.other","x":1}"#.to_vec()),
    ];
    let of = |text: &str| {
        let mapping = mapping(text);
        let body = Body::Fields(&fields);
        let message = Message { source: "s", caught: Caught::new(), body, time: None };
        let translated = translate(&mapping, &message).unwrap();
        let event: Value = serde_json::from_slice(&translated.line).unwrap();
        (translated.run.to_string(), event)
    };
    let (run, event) = of("stream = 's'");
    assert_eq!((run.as_str(), &event["type"]), ("r1", &json!("my.event")));
    assert_eq!((&event["data"]["count"], &event["data"]["list"]), (&json!("007"), &json!([1])));
    let (run, event) = of("stream = 's'\npayload = 'json'");
    assert_eq!(
        (run.as_str(), &event["type"], &event["data"]["x"]),
        ("r1", &json!("my.other"), &json!(1))
    );
}

#[test]
fn a_message_that_is_not_as_the_mapping_has_it_says_what_is_wrong() {
    let of = |text: &str, body: &[u8]| said(text, "c:r", body).unwrap_err();
    let json = "channel = 'c:{run}'";
    assert!(of(json, b"text").contains("not JSON"));
    assert!(of(json, b"{}").contains("\"type\""));
    assert!(of(json, br#"{"type":"word"}"#).contains("\"word\""));
    assert!(of(json, br#"{"type":"step.started"}"#).contains("step"), "the server would refuse it");
    let run = "channel = 'c:{run}'\nrun = '{other}'";
    assert!(of(run, br#"{"type":"my.event"}"#).contains("\"other\""));
}
