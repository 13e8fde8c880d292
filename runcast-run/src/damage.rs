//! Events that cannot be read any more: what a state knows of what it does not know.
//!
//! A hole never stops a state. What it took is not guessed at: the state is that of the other events, and
//! says which are missing. Only that a run has ended is known even if its last event is in a hole.

use runcast_event::{Epoch, Offset};
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::state::{Details, End, RunState};

/// Why a run stands where it does of which the end cannot be read.
const END_DAMAGED: &str = "how it ended is not known: its last event is damaged";

/// Events of a run that cannot be read any more, and so are not in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// The first of them.
    pub from: Offset,
    /// The last of them.
    pub to: Offset,
}

impl Damaged {
    pub(crate) fn events(&self) -> u64 {
        (self.to.get() + 1).saturating_sub(self.from.get())
    }
}

/// What cannot be read of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Damage {
    events: u64,
    /// The first of them.
    pub(crate) ranges: Vec<Damaged>,
}

impl Damage {
    fn add(&mut self, events: Damaged) {
        self.events += events.events();
        let is_told = self.ranges.len() < limits::DAMAGED_MAX;
        match self.ranges.last_mut() {
            Some(before) if before.to.next() == events.from => before.to = events.to,
            _ if is_told => self.ranges.push(events),
            _ => {}
        }
    }
}

impl RunState {
    /// Passes over events that cannot be read any more. `is_end` says that the last of them ended the
    /// run. Those that are folded in already are not missing.
    pub fn miss(&mut self, epoch: Epoch, events: Damaged, is_end: bool) {
        let events = Damaged { from: events.from.max(self.offset.next()), ..events };
        if events.events() == 0 {
            return;
        }
        self.epoch = epoch;
        self.offset = events.to;
        self.events.total += events.events();
        self.damage.get_or_insert_default().add(events);
        if is_end && self.end.is_none() {
            self.end_unknown();
        }
    }

    /// The run has ended, and nobody can say how.
    fn end_unknown(&mut self) {
        let (at, fraction) = (self.updated_at(), self.fraction());
        self.standing.end_unknown();
        self.status_reason = Some(END_DAMAGED.into());
        if let Details::Kept(work) = &mut self.details {
            work.close(at);
        }
        self.end = Some(Box::new(End { at, exit_code: None, signal: None, error: None, fraction }));
    }

    /// How many of its events cannot be read, whatever they said.
    pub(crate) fn damaged_events(&self) -> u64 {
        self.damage.as_ref().map_or(0, |damage| damage.events)
    }

    /// Whether events are missing that may have said anything.
    pub(crate) fn has_holes(&self) -> bool {
        self.damage.is_some()
    }

    /// Takes back what was let go, from a state that was folded anew from the same events. What is known
    /// of the run itself stays, also if the events that said so are damaged by now.
    pub fn take_back(&mut self, anew: Self) {
        self.details = anew.details;
        self.damage = anew.damage;
    }
}

#[cfg(test)]
mod tests {
    use runcast_event::Payload;
    use serde_json::json;

    use super::*;
    use crate::Status;
    use crate::testing::{add, at, event, fold, served};

    fn hole(state: &mut RunState, events: u64) {
        let from = state.offset().next();
        let to = Offset::new(from.get() + events - 1);
        state.miss(Epoch::FIRST, Damaged { from, to }, false);
    }

    fn draft(event_type: &str, data: serde_json::Value) -> Payload {
        event(99, &json!({"type": event_type, "step": "s", "stage": "one", "data": data}))
    }

    #[test]
    fn a_state_says_which_events_are_not_in_it_and_goes_on() {
        let mut state = fold(&[json!({"type": "run.started", "data": {"name": "n"}})]);
        hole(&mut state, 3);
        hole(&mut state, 2);
        add(&mut state, &json!({"type": "output", "data": {"text": "x"}}));
        hole(&mut state, 1);
        let now = served(&state);
        assert_eq!(now["damaged"], json!([{"from": 2, "to": 6}, {"from": 8, "to": 8}]));
        assert_eq!(now["events"], json!({"total": 8, "output": 1, "log": 0, "damaged": 6}));
        assert_eq!(
            (&now["offset"], &now["name"], &now["status"]),
            (&json!(8), &json!("n"), &json!("running"))
        );
        assert_eq!(RunState::decode(&state.encode()).unwrap(), state);
        let whole = String::from_utf8(fold(&[json!({"type": "run.started"})]).encode()).unwrap();
        assert!(!whole.contains("damage"), "a whole state is stored as before: {whole}");
    }

    #[test]
    fn what_is_folded_in_already_is_not_missing() {
        let mut state = fold(&[json!({"type": "run.started"}), json!({"type": "run.paused"})]);
        let whole = state.clone();
        state.miss(Epoch::FIRST, Damaged { from: Offset::new(1), to: Offset::new(2) }, false);
        assert_eq!(state, whole);
        state.miss(Epoch::FIRST, Damaged { from: Offset::new(1), to: Offset::new(4) }, false);
        assert_eq!(served(&state)["damaged"], json!([{"from": 3, "to": 4}]));
    }

    #[test]
    fn a_run_begins_with_the_first_event_that_can_be_read() {
        let mut state = fold(&[]);
        hole(&mut state, 4);
        assert_eq!(state.status(), Status::Queued);
        add(&mut state, &json!({"type": "run.updated", "data": {"name": "n"}}));
        assert_eq!((state.created_at(), state.name()), (at(5), Some("n")));
    }

    #[test]
    fn a_run_whose_last_event_is_damaged_has_ended_and_nobody_knows_how() {
        let asked = json!({"type": "input.requested", "data": {"input": "i", "prompt": "?"}});
        let mut state = fold(&[json!({"type": "run.started"}), asked]);
        let to = Offset::new(5);
        state.miss(Epoch::FIRST, Damaged { from: Offset::new(3), to }, true);
        assert_eq!(state.status(), Status::Crashed);
        let now = served(&state);
        assert_eq!((&now["is_terminal"], &now["ended_at"]), (&json!(true), &now["updated_at"]));
        assert_eq!(
            (&now["inputs"][0]["status"], &now["open_inputs"]),
            (&json!("closed"), &json!(0))
        );
        assert_eq!(now["status_reason"], END_DAMAGED);
        assert!(state.due(None).is_none());
    }

    #[test]
    fn what_the_missing_events_may_have_allowed_is_not_refused() {
        let started = json!({"type": "run.started", "data": {"stages": ["other"]}});
        let mut state = fold(&[started]);
        let judged = [
            draft("run.resumed", json!({})),
            draft("stage.started", json!({})),
            draft("step.completed", json!({})),
            draft("input.answered", json!({"input": "i", "answer": "x"})),
            draft("command.done", json!({"command": "c"})),
            draft("command.requested", json!({"command": "d", "name": "resume"})),
        ];
        for payload in &judged {
            assert!(state.check(payload).is_err(), "{}", payload.event_type());
        }
        hole(&mut state, 1);
        for payload in judged {
            assert_eq!(state.check(&payload), Ok(()), "{}", payload.event_type());
            state.apply(state.offset().next(), Epoch::FIRST, &payload);
        }
        let now = served(&state);
        assert_eq!(
            (&now["status"], &now["steps"][0]["status"]),
            (&json!("running"), &json!("completed"))
        );
        let again = draft("command.requested", json!({"command": "d", "name": "x"}));
        assert!(state.check(&again).is_err(), "what is known is not in doubt");
    }

    #[test]
    fn ranges_beyond_the_limit_are_only_counted() {
        let mut state = fold(&[json!({"type": "run.started"})]);
        for _ in 0..limits::DAMAGED_MAX + 3 {
            hole(&mut state, 2);
            add(&mut state, &json!({"type": "output", "data": {"text": "x"}}));
        }
        let now = served(&state);
        assert_eq!(now["damaged"].as_array().unwrap().len(), limits::DAMAGED_MAX);
        assert_eq!(now["events"]["damaged"], 2 * (limits::DAMAGED_MAX + 3));
    }

    #[test]
    fn what_was_let_go_comes_back_and_what_was_known_stays() {
        let step = |kind| json!({"type": format!("step.{kind}"), "step": "s"});
        let mut known =
            fold(&[step("started"), step("completed"), json!({"type": "run.completed"})]);
        known.let_go();
        let mut anew = fold(&[step("started")]);
        anew.miss(Epoch::FIRST, Damaged { from: Offset::new(2), to: Offset::new(3) }, true);
        known.take_back(anew);
        let now = served(&known);
        assert_eq!(
            (&now["status"], &now["steps"][0]["status"]),
            (&json!("completed"), &json!("interrupted"))
        );
        assert_eq!(now["events"], json!({"total": 3, "output": 0, "log": 0, "damaged": 2}));
        assert!(known.is_whole());
    }
}
