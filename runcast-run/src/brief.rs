//! A run in brief: what its life-cycle events are found by.

use runcast_event::{Offset, Payload};

use crate::definition::Definition;
use crate::state::{RunState, data_of};
use crate::status::Status;

/// What a life-cycle event is found by: the run's definition and status, as of that event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// The kind of run.
    pub workflow: Option<String>,
    /// A name for people.
    pub name: Option<String>,
    /// What it can be found by.
    pub tags: Vec<String>,
    /// Where it stands.
    pub status: Status,
}

impl Default for Brief {
    fn default() -> Self {
        Self { workflow: None, name: None, tags: Vec::new(), status: Status::Queued }
    }
}

impl Brief {
    /// The brief of a run in this state.
    #[must_use]
    pub fn of(state: &RunState) -> Self {
        Self {
            workflow: state.workflow().map(str::to_owned),
            name: state.name().map(str::to_owned),
            tags: state.tags().to_vec(),
            status: state.status(),
        }
    }

    /// Folds in the run's next event, by the rules of [`RunState::apply`].
    pub fn apply(&mut self, payload: &Payload) {
        let event_type = payload.event_type();
        let entered = Status::after(event_type);
        match entered {
            Some(status) => self.status = status,
            None if event_type == "run.updated" => {}
            None => {
                if self.status == Status::Queued {
                    self.status = Status::Running;
                }
                return;
            }
        }
        if entered.is_some_and(Status::is_terminal) {
            return;
        }
        let newer = Definition::from_data(&data_of(Offset::START, payload));
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
    use runcast_event::{Epoch, RunId, Timestamp, parse_event};
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn a_brief_is_what_the_state_says(
            picks in prop::collection::vec((0_usize..8, 0_usize..4), 1..20),
        ) {
            let types = ["run.queued", "run.started", "run.updated", "run.paused", "run.resumed",
                "my.event", "output", "run.failed"];
            let datas = [json!({}), json!({"workflow": "w", "tags": ["a"]}),
                json!({"name": "n", "tags": []}), json!({"tags": ["b", "c"], "workflow": "v"})];
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
            }
        }
    }
}
