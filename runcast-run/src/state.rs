//! The fold: one event after the other into a run's state.

use runcast_event::{Cursor, Epoch, Offset, Payload, RunId, Timestamp};
use serde_json::Value;

use crate::definition::Definition;
use crate::snapshot::{EventCounts, RunSnapshot};
use crate::status::Status;

/// A run's state at an offset.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    run: RunId,
    epoch: Epoch,
    offset: Offset,
    definition: Definition,
    /// The definition of a run made by `run.queued`, if later events changed it.
    created_as: Option<Box<Definition>>,
    status: Status,
    end: Option<Box<End>>,
    status_reason: Option<Box<str>>,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    /// The newest event's time as it is written: parsed when somebody asks.
    updated_at: String,
    events: EventCounts,
}

/// What a terminal event said.
#[derive(Debug, Clone, PartialEq)]
struct End {
    at: Timestamp,
    exit_code: Option<i64>,
    signal: Option<String>,
    error: Option<Value>,
}

impl RunState {
    /// The state of a run that has no events yet.
    #[must_use]
    pub fn new(run: RunId) -> Self {
        Self {
            run,
            epoch: Epoch::FIRST,
            offset: Offset::START,
            definition: Definition::default(),
            created_as: None,
            status: Status::Queued,
            end: None,
            status_reason: None,
            created_at: Timestamp::default(),
            started_at: None,
            updated_at: String::new(),
            events: EventCounts::default(),
        }
    }

    /// Folds in the next event. An event that is folded in already is passed over.
    pub fn apply(&mut self, offset: Offset, epoch: Epoch, payload: &Payload) {
        if offset <= self.offset {
            return;
        }
        let is_first = self.events.total == 0;
        self.offset = offset;
        self.epoch = epoch;
        self.updated_at.clear();
        self.updated_at.push_str(payload.time_text());
        if is_first {
            self.created_at = self.updated_at();
        }
        let event_type = payload.event_type();
        self.events.total += 1;
        match event_type {
            "output" => self.events.output += 1,
            "log" => self.events.log += 1,
            _ => {}
        }
        match Status::after(event_type) {
            Some(status) => self.enter(status, offset, payload),
            None if event_type == "run.updated" => self.redefine(&data_of(offset, payload)),
            // Whoever works is at work, even if nobody said that it started.
            None if self.status == Status::Queued => self.start(),
            None => {}
        }
    }

    fn enter(&mut self, status: Status, offset: Offset, payload: &Payload) {
        let data = data_of(offset, payload);
        let text = |name: &str| data.get(name).and_then(Value::as_str);
        self.status_reason = text("status_reason").map(Into::into);
        if status == Status::Running {
            self.start();
        }
        self.status = status;
        if status.is_terminal() {
            self.end = Some(Box::new(End {
                at: self.updated_at(),
                exit_code: data.get("exit_code").and_then(Value::as_i64),
                signal: text("signal").map(str::to_owned),
                error: data.get("error").filter(|error| !error.is_null()).cloned(),
            }));
        } else {
            self.redefine(&data);
        }
    }

    fn start(&mut self) {
        self.status = Status::Running;
        let now = self.updated_at();
        self.started_at.get_or_insert(now);
    }

    fn redefine(&mut self, data: &Value) {
        let before = self.definition.clone();
        self.definition.update(Definition::from_data(data));
        let is_first = self.events.total == 1;
        if !is_first && self.created_as.is_none() && self.definition != before {
            self.created_as = Some(Box::new(before));
        }
    }

    fn updated_at(&self) -> Timestamp {
        self.updated_at.parse().unwrap_or_default()
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// The newest event that is folded in.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The epoch of that event.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where the run stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// The kind of run.
    #[must_use]
    pub fn workflow(&self) -> Option<&str> {
        self.definition.workflow.as_deref()
    }

    /// Its name for people.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.definition.name.as_deref()
    }

    /// What it can be found by.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        self.definition.tags.as_deref().unwrap_or_default()
    }

    /// When its first event happened.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The definition that the run was made with: what a repeated `POST /v1/runs` is compared to.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        self.created_as.as_deref().unwrap_or(&self.definition)
    }

    /// The state as readers get it. `first_offset` is the oldest event that the log keeps.
    #[must_use]
    pub fn snapshot(&self, first_offset: Offset) -> RunSnapshot {
        let end = self.end.as_deref();
        let updated_at = self.updated_at();
        let definition = self.definition.clone();
        let until = end.map_or(updated_at, |end| end.at);
        RunSnapshot {
            id: self.run.clone(),
            workflow: definition.workflow,
            name: definition.name,
            tags: definition.tags.unwrap_or_default(),
            stages: definition.stages.unwrap_or_default(),
            steps: definition.steps.unwrap_or_default(),
            variations: definition.variations.unwrap_or_default(),
            metadata: definition.metadata.unwrap_or_default(),
            deadline: definition.deadline,
            status: self.status,
            status_reason: self.status_reason.as_deref().map(str::to_owned),
            is_terminal: self.status.is_terminal(),
            exit_code: end.and_then(|end| end.exit_code),
            signal: end.and_then(|end| end.signal.clone()),
            error: end.and_then(|end| end.error.clone()),
            created_at: self.created_at,
            started_at: self.started_at,
            ended_at: end.map(|end| end.at),
            updated_at,
            duration_ms: self.started_at.map(|started| until.millis_since(started)),
            events: self.events,
            epoch: self.epoch,
            offset: self.offset,
            cursor: Cursor::new(self.epoch, self.offset).to_string(),
            first_offset,
        }
    }
}

pub(crate) fn data_of(offset: Offset, payload: &Payload) -> Value {
    payload.parse(offset).map_or(Value::Null, |event| event.data_value())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use runcast_event::parse_event;
    use serde_json::json;

    use super::*;

    fn event(second: i64, event_type: &str, data: Value) -> Payload {
        let draft = json!({"type": event_type, "data": data}).to_string();
        parse_event(draft.as_bytes(), Timestamp::from_micros(second * 1_000_000)).unwrap().payload
    }

    fn fold(events: &[Payload]) -> RunState {
        let mut state = RunState::new(RunId::new("r").unwrap());
        for (at, payload) in events.iter().enumerate() {
            state.apply(Offset::new(at as u64 + 1), Epoch::FIRST, payload);
        }
        state
    }

    #[test]
    fn a_run_goes_from_queued_to_its_end() {
        let events = [
            event(1, "run.queued", json!({"workflow": "w", "tags": ["a"]})),
            event(2, "run.started", json!({"name": "n"})),
            event(3, "output", json!({"text": "x"})),
            event(5, "run.failed", json!({"exit_code": 3, "status_reason": "why"})),
        ];
        let snapshot = fold(&events).snapshot(Offset::new(1));
        assert_eq!(snapshot.status, Status::Failed);
        assert!(snapshot.is_terminal);
        assert_eq!(snapshot.exit_code, Some(3));
        assert_eq!(snapshot.status_reason.as_deref(), Some("why"));
        assert_eq!(snapshot.duration_ms, Some(3_000));
        assert_eq!(snapshot.events, EventCounts { total: 4, output: 1, log: 0 });
        assert_eq!(snapshot.workflow.as_deref(), Some("w"));
        assert_eq!(snapshot.name.as_deref(), Some("n"));
        let json = serde_json::to_value(&snapshot).unwrap();
        assert_eq!(json["tags"], json!(["a"]));
        assert_eq!(json["cursor"], json!("4"));
        assert_eq!(serde_json::from_value::<RunSnapshot>(json).unwrap(), snapshot);
    }

    #[test]
    fn a_run_that_nobody_queued_is_running_from_its_first_event() {
        let state = fold(&[event(1, "my.event", Value::Null)]);
        assert_eq!(state.status(), Status::Running);
        assert_eq!(
            state.snapshot(Offset::new(1)).started_at,
            Some(Timestamp::from_micros(1_000_000))
        );
    }

    #[test]
    fn a_queued_run_starts_with_its_first_work() {
        let events = [event(1, "run.queued", json!({})), event(2, "output", json!({"text": ""}))];
        assert_eq!(fold(&events[..1]).status(), Status::Queued);
        assert_eq!(fold(&events).status(), Status::Running);
    }

    #[test]
    fn the_definition_it_was_made_with_survives_updates() {
        let events = [
            event(1, "run.queued", json!({"name": "first"})),
            event(2, "run.updated", json!({"name": "second"})),
            event(3, "run.updated", json!({"name": "third"})),
        ];
        let state = fold(&events);
        assert_eq!(state.definition().name.as_deref(), Some("first"));
        assert_eq!(state.snapshot(Offset::new(1)).name.as_deref(), Some("third"));
    }

    #[test]
    fn a_paused_run_is_resumed() {
        let events = [
            event(1, "run.started", json!({})),
            event(2, "run.paused", json!({"status_reason": "lunch"})),
        ];
        let paused = fold(&events);
        assert_eq!(paused.status(), Status::Paused);
        let mut resumed = paused;
        resumed.apply(Offset::new(3), Epoch::FIRST, &event(3, "run.resumed", json!({})));
        assert_eq!(resumed.status(), Status::Running);
        assert_eq!(resumed.snapshot(Offset::new(1)).status_reason, None);
    }

    proptest! {
        #[test]
        fn an_event_that_comes_again_changes_nothing(
            picks in prop::collection::vec(0_usize..6, 1..20), again in any::<prop::sample::Index>(),
        ) {
            let types = ["run.queued", "run.started", "run.updated", "run.paused", "my.event", "run.completed"];
            let events: Vec<_> = picks.iter().enumerate()
                .map(|(at, pick)| event(at as i64, types[*pick], json!({"name": format!("n{at}")})))
                .collect();
            let whole = fold(&events);
            let mut repeated = whole.clone();
            let at = again.index(events.len());
            repeated.apply(Offset::new(at as u64 + 1), Epoch::FIRST, &events[at]);
            prop_assert_eq!(repeated, whole);
        }
    }
}
