//! States kept for later: what is decoded goes on folding where what was encoded stopped.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::declared::Declared;
use crate::state::RunState;

/// The form in which states are stored. A state in another form is folded anew from the log.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Outgoing<'a> {
    version: u32,
    state: &'a RunState,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    version: u32,
    #[serde(borrow)]
    state: &'a RawValue,
}

/// Why a stored state cannot be used. It can always be folded anew from the log.
#[derive(Debug, thiserror::Error)]
pub enum StoredStateError {
    /// It was stored by another version of Runcast.
    #[error("the state is stored in form {found}, this is form {VERSION}")]
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
    /// When the bytes are damaged, or another version of Runcast wrote them.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredStateError> {
        let incoming: Incoming<'_> = serde_json::from_slice(bytes)?;
        if incoming.version != VERSION {
            return Err(StoredStateError::Version { found: incoming.version });
        }
        let mut state: Self = serde_json::from_str(incoming.state.get())?;
        state.declared = Declared::of(&state.definition);
        Ok(state)
    }
}
