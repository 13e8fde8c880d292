//! Hostile events, cursors and filters: what is taken is canonical, the rest is refused by name.

use runcast_fuzz::fuzz;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{
    Cursor, EventFilter, FILTER_FIELDS, Head, Merged, Offset, Payload, Prepared, Reading,
    StoredDeltas, TextFilter, Timestamp, coalesce, parse_batch, parse_lines,
};

const EVENTS: &[&[u8]] = &[
    br#"{"type":"message.delta","data":{"message":"m","text":"one \ud83d\udd38 \"two\"\n"}}"#,
    br#"{"type":"output","step":"s","data":{"text":"x","stream":"stdout"}}
{"type":"output","step":"s","data":{"stream" : "stdout" ,"text":"\\"}}"#,
    br#"[{"type":"step.failed","stage":4,"step":"fetch","data":{"error":{"message":"no"},"duration_ms":812}},{"type":"run.completed"}]"#,
    br#"{"type":"my.event","time":"2026-11-20T21:16:00.123456Z","channel":"c","variation":"v","stage":"build","agent":"a","data":[1e400,-0,null,true,{"a":[]}]}"#,
    br#"{"type":"tool.args","data":{"call":"c","text":"{\"a\":"}}
{"type":"tool.args","data":{"call":"c","text":"1}"}}
"#,
    br#"{"type":"run.queued","data":{"workflow":"demo","tags":["a","b"],"stages":[{"name":"x"}],"metadata":{}}}"#,
];

const WORDS: &[&[u8]] = &[
    b"\"type\":\"message.delta\"",
    b"\"data\":",
    b",\"text\":\"",
    b"\"offset\":1,",
    b"\"merged\":9,",
    b",\"data\":{\"text\":\"\"}",
    b"\\u0000",
    b"\\ud800",
    b"\\\"",
    b"\\",
    b"\"",
    b"\r\n",
    b"\n",
    b"\xe2\x80\xa8",
    b"\xff",
    b"{\"a\":",
    b"[[[[[[[[[[[[[[[[",
    b"1e999",
    b"\"step\":\"\\u0061\"",
];

fn taken(input: &[u8]) -> Vec<Prepared> {
    let now = Timestamp::default();
    parse_batch(input, now).or_else(|_| parse_lines(input, 1, now)).unwrap_or_default()
}

/// An event as a reader gets it; null when it has numbers or letters that this parser cannot hold.
fn json(payload: &Payload, offset: u64) -> Value {
    let mut json = Vec::new();
    payload.write_json(Offset::new(offset), &mut json);
    assert!(!json.iter().any(|byte| matches!(byte, b'\n' | b'\r')), "a line end in an event");
    let valid: &RawValue = serde_json::from_slice(&json).expect("what was taken is JSON");
    serde_json::from_str(valid.get()).unwrap_or_default()
}

#[test]
fn an_event_that_is_taken_is_one_line_of_json_that_reads_back() {
    fuzz(EVENTS, WORDS, |input| {
        for event in taken(input) {
            let value = json(&event.payload, 7);
            let read = event.payload.parse(Offset::new(7)).expect("what was taken reads back");
            if !value.is_null() {
                assert_eq!(value["offset"], 7);
                assert_eq!(value["type"], read.event_type.as_str());
            }
            assert_eq!(event.payload.event_type(), read.event_type);
            assert_eq!(event.payload.time_text().parse(), Ok(read.time));
            assert_eq!(event.terminal, crate::is_terminal(&read.event_type));
            assert!(TextFilter::new("").matches(&event.payload));
            let reading = Reading::of(&event.payload);
            assert_eq!(reading.stage(), read.labels.stage);
            assert_eq!(reading.step().as_deref(), read.labels.step.as_deref());
            if let Some(fields) = value["data"].as_object() {
                assert!(reading.fields().all(|(name, _)| fields.contains_key(name)));
                assert!(fields.keys().all(|name| reading.fields().any(|(known, _)| known == name)));
            }
        }
    });
}

#[test]
fn a_filter_of_an_events_own_labels_lets_it_through() {
    fuzz(EVENTS, WORDS, |input| {
        for event in taken(input) {
            let value = json(&event.payload, 1);
            let mut filter = EventFilter::default();
            for field in FILTER_FIELDS {
                let text = match &value[field] {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    _ => continue,
                };
                filter.allow(field, &text).expect("a label's value can be chosen by");
            }
            assert!(filter.matches(&Head::of(&event.payload)), "{value}");
        }
    });
}

#[test]
fn merging_keeps_every_text_to_the_letter() {
    fuzz(EVENTS, WORDS, |input| {
        let events = taken(input);
        let numbered = (1..).map(Offset::new).zip(&events);
        let numbered = numbered.map(|(at, event)| Merged::single(at, event.payload.clone()));
        let merged = coalesce(numbered);
        let before: Vec<Value> = events.iter().map(|event| json(&event.payload, 1)).collect();
        let after: Vec<Value> = merged.iter().map(|event| json(&event.payload, 1)).collect();
        // Half a surrogate pair is text to a browser, which writes it so, and not to this parser.
        if before.iter().any(Value::is_null) {
            return;
        }
        let texts = |values: &[Value]| -> String {
            values.iter().filter_map(|value| value["data"]["text"].as_str()).collect()
        };
        assert_eq!(texts(&before), texts(&after));
        assert_eq!(merged.iter().map(|event| event.count).sum::<u64>(), events.len() as u64);
        let last = merged.last().map(|event| event.offset.get());
        assert_eq!(last.unwrap_or_default(), events.len() as u64);
    });
}

#[test]
fn what_is_stored_as_one_is_an_event_wherever_it_is_cut() {
    fuzz(EVENTS, WORDS, |input| {
        for event in taken(input) {
            let stored = &event.payload;
            let mut deltas = StoredDeltas::default();
            assert_eq!(deltas.join(stored, stored), None, "the first stays by itself");
            let Some((earlier, later)) = deltas.join(stored, stored) else { continue };
            assert_eq!(earlier, later);
            let bytes = stored.bytes();
            let (part, around) =
                (&bytes[later.clone()], (&bytes[..later.start], &bytes[later.end..]));
            for parts in [0, 1, 2] {
                let joined = [around.0, &part.repeat(parts), around.1].concat();
                let joined = Payload::from_stored(joined.into());
                let one = json(stored, 1);
                if one.is_null() {
                    continue;
                }
                let text = one["data"]["text"].as_str().unwrap_or_default().repeat(parts);
                assert_eq!(json(&joined, 1)["data"]["text"], text);
            }
        }
    });
}

#[test]
fn a_cursor_that_is_taken_is_written_as_one_that_means_the_same() {
    let corpus: &[&[u8]] = &[b"0", b"42", b"2.42", b"9007199254740991", b"4294967295.1"];
    fuzz(corpus, &[b".", b"-", b"+", b"0", b"\xd9\xa3", b" ", b"e"], |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Ok(cursor) = text.parse::<Cursor>() {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
            assert!(text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
        }
    });
}

#[test]
fn a_filter_takes_or_refuses_any_value() {
    let corpus: &[&[u8]] = &[b"step.*", b"*", b"run.completed", b"4", b"fetch", b"\"a\""];
    fuzz(corpus, &[b"*", b"\0", b"\\", b"\"", b"00", b"\xe2\x80\xa8"], |input| {
        let text = String::from_utf8_lossy(input);
        for field in FILTER_FIELDS.iter().chain(&["color"]) {
            let mut filter = EventFilter::default();
            match filter.allow(field, &text) {
                Ok(()) => assert!(!filter.is_open() && *field != "color"),
                Err(error) => assert_eq!((error.field.as_ref(), filter.is_open()), (*field, true)),
            }
        }
    });
}
