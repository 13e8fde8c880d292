//! What an entry of the feed says.

use runcast_event::{Epoch, Offset, Payload, Reading, RunId, Timestamp};
use runcast_run::{RunState, Status};
use serde::Serialize;

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
    fn of(state: Option<&'a RunState>) -> Self {
        Self {
            workflow: state.and_then(RunState::workflow),
            name: state.and_then(RunState::name),
            tags: state.map_or(&[], RunState::tags),
            status: state.map(RunState::status),
            epoch: None,
            offset: None,
            exit_code: None,
            signal: None,
        }
    }
}

/// The entry of an event, as what the feed calls it; `state` is the run behind it.
pub(crate) fn of_event(
    run: &RunId,
    (epoch, offset): (Epoch, Offset),
    called: &str,
    payload: &Payload,
    state: &RunState,
) -> Payload {
    let mut data = Data { epoch: Some(epoch), offset: Some(offset), ..Data::of(Some(state)) };
    if runcast_event::is_terminal(payload.event_type()) {
        let event = Reading::of(payload);
        data.exit_code = event.integer("exit_code");
        let signal = event.text("signal").map(std::borrow::Cow::into_owned);
        data.signal = signal.filter(|signal| signal.len() <= SIGNAL_BYTES_MAX);
    }
    Payload::feed_entry(called, payload.time_text(), run, &data)
}

/// The entry of a deletion; `state` is the run before it, if that is known.
pub(crate) fn of_deletion(run: &RunId, now: Timestamp, state: Option<&RunState>) -> Payload {
    Payload::feed_entry("run.deleted", &now.to_string(), run, &Data::of(state))
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
        let mut state = RunState::new(run.clone());
        let at = Timestamp::from_micros(0);
        let mut payload = None;
        for (offset, event) in [
            (1, r#"{"type":"run.started","data":{"workflow":"w\"","tags":["a"]}}"#),
            (7, r#"{"type":"run.failed","data":{"exit_code":3,"error":"long"}}"#),
        ] {
            let event = parse_event(event.as_bytes(), at).unwrap().payload;
            state.apply(Offset::new(offset), Epoch::FIRST, &event);
            payload = Some(event);
        }
        let payload = payload.unwrap();
        let place = (Epoch::FIRST, Offset::new(7));
        let entry = of_event(&run, place, payload.event_type(), &payload, &state);
        assert_eq!(
            text(&entry),
            r#"{"type":"run.failed","time":"1970-01-01T00:00:00.000000Z","run":"r","data":{"workflow":"w\"","name":null,"tags":["a"],"status":"failed","epoch":1,"offset":7,"exit_code":3}}"#
        );
        assert_eq!(
            text(&of_deletion(&run, at, None)),
            r#"{"type":"run.deleted","time":"1970-01-01T00:00:00.000000Z","run":"r","data":{"workflow":null,"name":null,"tags":[],"status":null}}"#
        );
    }
}
