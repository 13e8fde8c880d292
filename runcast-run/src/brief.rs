//! A run in brief: what its life-cycle events are found by.

use runcast_event::{Payload, Reading};

use crate::definition::Definition;
use crate::standing::Standing;
use crate::state::RunState;
use crate::status::Status;

/// What a life-cycle event is found by: the run's definition and status, as of that event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Brief {
    /// The kind of run.
    pub workflow: Option<String>,
    /// A name for people.
    pub name: Option<String>,
    /// What it can be found by.
    pub tags: Vec<String>,
    standing: Standing,
}

impl Brief {
    /// The brief of a run in this state.
    #[must_use]
    pub fn of(state: &RunState) -> Self {
        Self {
            workflow: state.workflow().map(str::to_owned),
            name: state.name().map(str::to_owned),
            tags: state.tags().to_vec(),
            standing: state.standing.clone(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.standing.status()
    }

    /// Folds in the run's next event, by the rules of [`RunState::apply`].
    pub fn apply(&mut self, payload: &Payload) {
        if self.status().is_terminal() {
            return;
        }
        let event_type = payload.event_type();
        if !Standing::is_changed_by(event_type) {
            self.standing.begin();
            return;
        }
        let event = Reading::of(payload);
        self.standing.apply(&event);
        if !event_type.starts_with("run.") || self.status().is_terminal() {
            return;
        }
        let newer = Definition::of(&event);
        if newer.workflow.is_some() {
            self.workflow = newer.workflow;
        }
        if newer.name.is_some() {
            self.name = newer.name;
        }
        if let Some(tags) = newer.tags {
            self.tags = tags;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use runcast_event::{Epoch, Offset, RunId, Timestamp, parse_event};
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn a_brief_is_what_the_state_says(
            picks in prop::collection::vec((0_usize..14, 0_usize..5), 1..30),
        ) {
            let types = ["run.queued", "run.started", "run.updated", "run.paused", "run.resumed",
                "my.event", "output", "run.failed", "input.requested", "input.answered",
                "input.timed_out", "command.requested", "command.refused", "command.done"];
            let datas = [json!({}), json!({"workflow": "w", "tags": ["a"]}),
                json!({"name": "n", "tags": []}), json!({"tags": ["b", "c"], "workflow": "v"}),
                json!({"name": "stop", "input": "i", "command": "c", "prompt": "?", "answer": 1,
                    "reason": "r"})];
            let mut state = RunState::new(RunId::new("r").unwrap());
            let mut brief = Brief::of(&state);
            prop_assert_eq!(&brief, &Brief::default());
            for (at, (event_type, data)) in picks.iter().enumerate() {
                let draft = json!({"type": types[*event_type], "data": datas[*data]}).to_string();
                let parsed = parse_event(draft.as_bytes(), Timestamp::default());
                let Ok(event) = parsed else { continue };
                state.apply(Offset::new(at as u64 + 1), Epoch::FIRST, &event.payload);
                brief.apply(&event.payload);
                prop_assert_eq!(&brief, &Brief::of(&state));
                prop_assert_eq!(brief.status(), state.status());
            }
        }
    }
}
