//! States kept for later: what is decoded goes on folding where what was encoded stopped.
//!
//! A state also stands for events that were trimmed, and cannot be folded anew then. So every form
//! that was ever written is read for good: a new form takes a new version, and [`RunState::decode`]
//! goes on reading the older ones.

use runcast_event::Epoch;
use serde::{Deserialize, Serialize};

use crate::declared::Declared;
use crate::state::RunState;

/// The form in which states are stored.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Outgoing<'a> {
    version: u32,
    state: &'a RunState,
}

#[derive(Deserialize)]
struct Incoming {
    version: u32,
    state: RunState,
}

/// What every form has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Why a stored state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoredStateError {
    /// It was stored by a newer version of Runcast.
    #[error("the state is stored in form {found}, {VERSION} is the newest that is known here")]
    Version {
        /// The form in which it is stored.
        found: u32,
    },
    /// It is damaged.
    #[error("the stored state cannot be read: {0}")]
    Damaged(#[from] serde_json::Error),
}

impl RunState {
    /// The state as bytes to store.
    ///
    /// # Panics
    /// Never: every state is representable in JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let outgoing = Outgoing { version: VERSION, state: self };
        serde_json::to_vec(&outgoing).expect("a state has only string keys and plain values")
    }

    /// Reads a state that was stored.
    ///
    /// # Errors
    /// When the bytes are damaged, or a newer version of Runcast wrote them.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredStateError> {
        let mut state = match serde_json::from_slice::<Incoming>(bytes) {
            Ok(Incoming { version: VERSION, state }) => state,
            // What a newer form has in its state may be anything.
            other => {
                let found = serde_json::from_slice::<Versioned>(bytes)?.version;
                return Err(match other {
                    Err(error) if found == VERSION => error.into(),
                    _ => StoredStateError::Version { found },
                });
            }
        };
        state.declared = Declared::of(&state.definition);
        Ok(state)
    }

    /// As [`Self::decode`], of a state that stands for trimmed events of a stream that is in `epoch`
    /// now: what was given up before an epoch began is in all later ones.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_in(epoch: Epoch, bytes: &[u8]) -> Result<Self, StoredStateError> {
        let mut state = Self::decode(bytes)?;
        state.epoch = epoch;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use runcast_event::{Offset, RunId, Timestamp, parse_event};

    use super::*;

    /// A run with parts of most kinds.
    fn state() -> RunState {
        let mut state = RunState::new(RunId::new("r").unwrap());
        let events = [
            r#"{"type":"run.queued","data":{"workflow":"w","tags":["t"],"stages":["one"],"steps":["s"]}}"#,
            r#"{"type":"run.updated","data":{"name":"n","metadata":{"k":[1,null]}}}"#,
            r#"{"type":"stage.started","stage":"one"}"#,
            r#"{"type":"step.started","step":"s"}"#,
            r#"{"type":"step.failed","step":"s","data":{"error":{"code":1}}}"#,
            r#"{"type":"message.delta","data":{"message":"m","text":"a\nb"}}"#,
            r#"{"type":"tool.called","data":{"call":"c","tool":"t","args":{"x":1}}}"#,
            r#"{"type":"agent.spawned","agent":"a","data":{"name":"n"}}"#,
            r#"{"type":"task.progress","data":{"task":"t","progress":0.5}}"#,
            r#"{"type":"input.requested","data":{"input":"i","prompt":"?"}}"#,
            r#"{"type":"command.requested","data":{"command":"c","name":"stop"}}"#,
            r#"{"type":"run.failed","data":{"exit_code":3,"error":"e","output":{"o":1}}}"#,
        ];
        for (at, json) in (1_u32..).zip(events) {
            let time = Timestamp::from_micros(i64::from(at) * 1_000_000);
            let payload = parse_event(json.as_bytes(), time).unwrap().payload;
            state.apply(Offset::new(at.into()), Epoch::FIRST, &payload);
        }
        state
    }

    /// The states of [`state`] in the forms that were ever written. None may ever be taken out.
    const FORMS: [&str; 1] = [include_str!("stored/form-1.json")];

    #[test]
    fn every_form_that_was_ever_written_is_read() {
        for form in FORMS {
            assert_eq!(RunState::decode(form.trim_end().as_bytes()).unwrap(), state(), "{form}");
        }
        let newest = FORMS.last().unwrap().trim_end();
        let written = String::from_utf8(state().encode()).unwrap();
        assert_eq!(written, newest, "another form takes another version, and is added");
    }

    #[test]
    fn a_newer_form_is_named() {
        let error = RunState::decode(br#"{"version":2,"state":{}}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the state is stored in form 2, 1 is the newest that is known here"
        );
    }
}
