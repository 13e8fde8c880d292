use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Event, Offset, Stage, parse_batch, parse_lines};

fn parse(json: &str) -> Result<Prepared, EventError> {
    parse_event(json.as_bytes(), Timestamp::default())
}

fn refused(json: &str) -> String {
    parse(json).expect_err(json).to_string()
}

#[test]
fn the_stored_form_is_one_line_with_the_type_first() {
    let event =
        parse("{\n \"data\": {\"b\": 1.0,\r\n\"text\":\"a\\nb\"},\"stage\":4,\"type\":\"output\"}")
            .unwrap();
    assert_eq!(
        event.payload.bytes(),
        r#"{"type":"output","time":"1970-01-01T00:00:00.000000Z","channel":"output","stage":4,"data":{"b": 1.0,"text":"a\nb"}}"#
    );
    assert_eq!(event.payload.event_type(), "output");
    assert_eq!(event.payload.time_text(), "1970-01-01T00:00:00.000000Z");
    assert!(!event.terminal);
    let mut wire = Vec::new();
    event.payload.write_json(Offset::new(7), &mut wire);
    assert!(wire.starts_with(br#"{"offset":7,"type":"output","#));
    let read = Event::from_json(&wire).unwrap();
    assert_eq!(read.offset.get(), 7);
    assert_eq!(read.labels.stage, Some(Stage::Number(4)));
    assert_eq!(serde_json::to_string(&read).unwrap().as_bytes(), wire);
}

#[test]
fn custom_data_passes_through_unchanged() {
    for data in
        [r#"{"n":1.10,"big":123456789012345678901234567890}"#, "null", "[1, 2]", r#""\ud800""#]
    {
        let event = parse(&format!(r#"{{"type":"my.event","data":{data}}}"#)).unwrap();
        let stored = std::str::from_utf8(event.payload.bytes()).unwrap();
        assert!(stored.ends_with(&format!(",\"data\":{data}}}")), "{stored}");
    }
}

#[test]
fn a_refusal_names_the_field_and_what_it_should_be() {
    let cases = [
        (r#"{"type":"output"}"#, "data.text is missing: this type of event needs the field"),
        (r#"{"type":"output","data":{"text":1}}"#, "data.text must be a string, is a number"),
        (r#"{"type":"output","data":[]}"#, "data must be an object, is an array"),
        (
            r#"{"type":"output","data":{"text":"a","text":"b"}}"#,
            "data.text is there more than once",
        ),
        (r#"{"type":"step.started"}"#, "step is missing: this type of event needs the label"),
        (
            r#"{"type":"step.progress","step":"a","data":{"progress":2}}"#,
            "data.progress must be a number from 0 to 1",
        ),
        (r#"{"type":"my.event","step":"a\u0007"}"#, "step has the control character '\\u{7}'"),
        (r#"{"type":"my.event","stage":0}"#, "stage must be a stage's name, or its number from 1"),
        (
            r#"{"type":"my.event","time":"now"}"#,
            "time must be a time as RFC 3339 writes it, such as 2026-11-20T21:16:00.123456Z",
        ),
        (r#"{"type":"my.event","type":"my.event"}"#, "type is there more than once"),
        (r#"{"type":"my.event","offset":3}"#, "offset is given by the server and cannot be sent"),
        (r#"{"data":{}}"#, "type is missing: every event has a type"),
        (
            r#"{"type":"run.completed","data":{"exit_code":1.5}}"#,
            "data.exit_code must be a whole number",
        ),
        ("[]", "the event must be a JSON object, is an array"),
    ];
    for (event, message) in cases {
        assert_eq!(refused(event), message);
    }
    assert!(
        refused(r#"{"type":"my.event","dta":{}}"#).starts_with("dta is not a field of an event")
    );
    assert!(refused(r#"{"type":"my.event""#).starts_with("the event is not JSON"));
    assert!(refused(r#"{"type":"my.event"} x"#).contains("trailing characters"));
    assert!(refused("").starts_with("the event is not JSON"));
}

#[test]
fn what_is_too_large_is_refused() {
    let deep = format!(r#"{{"type":"my.event","data":{}{}}}"#, "[".repeat(65), "]".repeat(65));
    assert_eq!(refused(&deep), "data has 65 levels, 64 are allowed");
    let large = json!({"type": "my.event", "data": "x".repeat(limits::EVENT_BYTES_MAX)});
    assert!(refused(&large.to_string()).contains("262144 are allowed"));
    let tags: Vec<_> = (0..33).map(|n| n.to_string()).collect();
    let tags = json!({"type": "run.started", "data": {"tags": tags}});
    assert_eq!(refused(&tags.to_string()), "data.tags has 33 tags, 32 are allowed");
}

#[test]
fn a_batch_names_the_event_that_is_wrong() {
    let now = Timestamp::default();
    let array = br#"[{"type":"my.event"},{"type":"output"}]"#;
    assert_eq!(parse_batch(array, now).unwrap_err().index, 2);
    assert_eq!(parse_batch(br#"{"type":"my.event"}"#, now).unwrap().len(), 1);
    let lines = b"{\"type\":\"my.event\"}\n\n{\"type\":\"my.event\"\n";
    assert_eq!(parse_lines(lines, 4_709, now).unwrap_err().index, 4_711);
    let many = "{\"type\":\"a.b\"}\n".repeat(1_001);
    let error = parse_lines(many.as_bytes(), 1, now).unwrap_err();
    assert_eq!(error.error.to_string(), "batch has 1001 events, 1000 are allowed");
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_event(&bytes, Timestamp::default());
    }

    #[test]
    fn whatever_is_accepted_reads_back_and_stays_on_one_line(
        text in any::<String>(), step in any::<String>(), stage in any::<u32>(),
    ) {
        let draft = json!({"type": "output", "step": step, "stage": stage, "data": {"text": text}});
        let pretty = serde_json::to_vec_pretty(&draft).unwrap();
        if let Ok(event) = parse_event(&pretty, Timestamp::default()) {
            let stored = event.payload.bytes();
            prop_assert!(!stored.contains(&b'\n') && !stored.contains(&b'\r'));
            let read = event.payload.parse(Offset::new(1)).unwrap();
            prop_assert_eq!(read.labels.step.as_deref(), Some(step.as_str()));
            let data = read.data_value();
            prop_assert_eq!(data["text"].as_str(), Some(text.as_str()));
        }
    }
}
