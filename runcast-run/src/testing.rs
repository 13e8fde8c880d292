//! Runs for tests, written as their events.

use runcast_event::{Epoch, Offset, Payload, RunId, Timestamp, parse_event};
use serde_json::Value;

use crate::RunState;

/// The moment so many seconds after the start of 1970.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

/// An event, which happens at a second.
pub(crate) fn event(second: i64, draft: &Value) -> Payload {
    parse_event(draft.to_string().as_bytes(), at(second)).expect("a test's event is valid").payload
}

/// The state of a run with these events, one each second from the first on.
pub(crate) fn fold(drafts: &[Value]) -> RunState {
    let mut state = RunState::new(RunId::new("r").expect("a test's run has an id"));
    drafts.iter().for_each(|draft| add(&mut state, draft));
    state
}

/// Folds in one more event, a second after the last.
pub(crate) fn add(state: &mut RunState, draft: &Value) {
    let offset = state.offset().next();
    let second = i64::try_from(offset.get()).expect("a test's run is short");
    state.apply(offset, Epoch::FIRST, &event(second, draft));
}

/// The state as readers get it.
pub(crate) fn served(state: &RunState) -> Value {
    serde_json::to_value(state.snapshot(Offset::new(1))).expect("a state is plain JSON")
}
