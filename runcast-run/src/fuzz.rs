//! Hostile events: whatever a parser takes can be judged, folded, served and stored.

use runcast_event::{Epoch, RunId, Timestamp, parse_batch, parse_lines};
use runcast_fuzz::fuzz;

use crate::RunState;
use crate::testing::served;

const EVENTS: &[&[u8]] = &[
    br#"{"type":"run.queued","data":{"workflow":"w","tags":["a"],"stages":["a",{"name":"b"},3],"steps":[{"id":"x","stage":1}],"variations":["v"],"metadata":{"k":1e999}}}
{"type":"run.updated","data":{"stages":"agent_pipeline","progress":0.5}}"#,
    br#"{"type":"stage.started","stage":2,"variation":"v"}
{"type":"stage.completed","stage":"b","data":{"duration_ms":18446744073709551615}}"#,
    br#"{"type":"step.started","step":"x","data":{"input":{"a":[1e400]}}}
{"type":"step.progress","step":"x","data":{"current":3,"total":0}}
{"type":"step.retrying","step":"x","data":{"attempt":4294967295}}
{"type":"step.completed","step":"x","data":{"output":"\ud83d","usage":{"input_tokens":18446744073709551615,"cost":1e308}}}"#,
    br#"{"type":"message.delta","data":{"message":"m","text":"one \ud83d"}}
{"type":"message.delta","data":{"message":"m","text":"\udd38 \"two\"\n"}}
{"type":"tool.args","data":{"call":"c","text":"{\"a\":"}}"#,
    br#"{"type":"input.requested","data":{"input":"i","prompt":"?","choices":["a"],"default":"\udfff","timeout_ms":18446744073709551615}}
{"type":"input.answered","data":{"input":"i","answer":"a","by":"\ud83d"}}"#,
    br#"{"type":"command.requested","data":{"command":"c","name":"stop","key":"k","timeout_ms":1}}
{"type":"command.done","data":{"command":"c"}}
{"type":"run.cancelled","time":"9999-12-30T00:00:00Z","data":{"exit_code":-1,"output":[]}}"#,
    br#"{"type":"my.event","data":{"gen_ai.usage.input_tokens":7}}"#,
];

const WORDS: &[&[u8]] = &[
    b"\"variation\":\"v\",",
    b"\"stage\":4294967295,",
    b"\"time\":\"0000-01-01T00:00:00Z\",",
    b"\\ud800",
    b"\\udfff",
    b"null",
    b"1e999",
    b"-0",
    b"{}",
    b"[]",
    b"\"usage\":",
    b"\"error\":",
    b"\n",
];

#[test]
fn whatever_is_taken_can_be_judged_folded_served_and_stored() {
    fuzz(EVENTS, WORDS, |input| {
        let now = Timestamp::default();
        let events = parse_lines(input, 1, now).or_else(|_| parse_batch(input, now));
        let mut state = RunState::new(RunId::new("r").expect("it is an id"));
        for event in events.unwrap_or_default() {
            if let Err(refusal) = state.check(&event.payload) {
                assert!(!refusal.to_string().is_empty());
            }
            state.apply(state.offset().next(), Epoch::FIRST, &event.payload);
        }
        // Every reader can read what is served, whatever was sent.
        let text = serde_json::to_string(&state.snapshot(state.offset())).expect("it is JSON");
        let read: serde_json::Value = serde_json::from_str(&text).expect("it is readable JSON");
        assert_eq!(read["offset"], served(&state)["offset"]);
        let stored = RunState::decode(&state.encode()).expect("what was stored is read back");
        assert_eq!(stored, state);
        assert!(state.due(None).is_none_or(|due| !due.events.is_empty()));
    });
}
