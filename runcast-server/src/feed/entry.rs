//! What an entry of the feed says.

use runcast_event::{Epoch, Offset, Payload, RunId, Timestamp};
use runcast_run::{Brief, Status};
use serde::Serialize;
use serde_json::Value;

/// The longest name of a signal that an entry repeats, in bytes.
const SIGNAL_BYTES_MAX: usize = 64;

#[derive(Serialize)]
struct Data<'a> {
    workflow: Option<&'a str>,
    name: Option<&'a str>,
    tags: &'a [String],
    status: Option<Status>,
    /// Where the event is in its run.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<Offset>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
}

impl<'a> Data<'a> {
    fn of(brief: Option<&'a Brief>) -> Self {
        Self {
            workflow: brief.and_then(|brief| brief.workflow.as_deref()),
            name: brief.and_then(|brief| brief.name.as_deref()),
            tags: brief.map_or(&[], |brief| &brief.tags),
            status: brief.map(|brief| brief.status),
            epoch: None,
            offset: None,
            exit_code: None,
            signal: None,
        }
    }
}

/// The entry of an event; `brief` is the run behind it. An event that is not one of the run's life
/// creates the run, as its first, or starts it.
pub(super) fn of_event(
    run: &RunId,
    epoch: Epoch,
    offset: Offset,
    payload: &Payload,
    brief: &Brief,
) -> Payload {
    let mut data = Data { epoch: Some(epoch), offset: Some(offset), ..Data::of(Some(brief)) };
    let event_type = payload.event_type();
    if runcast_event::is_terminal(event_type) {
        let said = payload.parse(offset).map_or(Value::Null, |event| event.data_value());
        data.exit_code = said.get("exit_code").and_then(Value::as_i64);
        let signal = said.get("signal").and_then(Value::as_str).map(str::to_owned);
        data.signal = signal.filter(|signal| signal.len() <= SIGNAL_BYTES_MAX);
    }
    let event_type = match event_type {
        life if life.starts_with("run.") => life,
        _ if offset == Offset::START.next() => "run.created",
        _ => "run.started",
    };
    Payload::feed_entry(event_type, payload.time_text(), run, &data)
}

/// The entry of a deletion; `brief` is the run before it, if that is known.
pub(super) fn of_deletion(run: &RunId, now: Timestamp, brief: Option<&Brief>) -> Payload {
    Payload::feed_entry("run.deleted", &now.to_string(), run, &Data::of(brief))
}

#[cfg(test)]
mod tests {
    use runcast_event::parse_event;

    use super::*;

    fn text(payload: &Payload) -> &str {
        std::str::from_utf8(payload.bytes()).unwrap()
    }

    #[test]
    fn an_entry_says_which_run_and_what_it_is_now() {
        let run = RunId::new("r").unwrap();
        let brief = Brief {
            workflow: Some("w\n\"".to_owned()),
            name: None,
            tags: vec!["a".to_owned()],
            status: Status::Failed,
        };
        let at = Timestamp::from_micros(0);
        let event = r#"{"type":"run.failed","data":{"exit_code":3,"error":"long"}}"#;
        let payload = parse_event(event.as_bytes(), at).unwrap().payload;
        let entry = of_event(&run, Epoch::FIRST, Offset::new(7), &payload, &brief);
        assert_eq!(
            text(&entry),
            r#"{"type":"run.failed","time":"1970-01-01T00:00:00.000000Z","run":"r","data":{"workflow":"w\n\"","name":null,"tags":["a"],"status":"failed","epoch":1,"offset":7,"exit_code":3}}"#
        );
        assert_eq!(
            text(&of_deletion(&run, at, None)),
            r#"{"type":"run.deleted","time":"1970-01-01T00:00:00.000000Z","run":"r","data":{"workflow":null,"name":null,"tags":[],"status":null}}"#
        );
        let output = parse_event(br#"{"type":"output","data":{"text":""}}"#, at).unwrap().payload;
        let entry = of_event(&run, Epoch::FIRST, Offset::new(1), &output, &Brief::default());
        assert_eq!(entry.event_type(), "run.created");
        let entry = of_event(&run, Epoch::FIRST, Offset::new(2), &output, &Brief::default());
        assert_eq!(entry.event_type(), "run.started");
    }
}
