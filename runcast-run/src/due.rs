//! What must be said for a run when nobody says it, and when: so that every run comes to an end,
//! every input to an answer, and every command to an outcome.

use runcast_event::{Draft, Timestamp};
use serde_json::{Value, json};

use crate::state::RunState;
use crate::status::Status;

/// When a run's producer was last heard of, by the server's clock, and for how long it may be silent.
/// A producer that comes back before its time is up is heard of again, and the run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    /// When it was last heard of: an event, a heartbeat, or now while its connection is held.
    pub heard_at: Timestamp,
    /// Milliseconds of silence after which it is lost.
    pub lost_after_ms: u64,
}

/// The next events to append for a run, if nothing happens before.
#[derive(Debug, Clone)]
pub struct Due {
    /// From when on they are true.
    pub at: Timestamp,
    /// The events, in order. One that ends the run is the last.
    pub events: Vec<Draft>,
}

/// Gathers what is due first.
#[derive(Default)]
struct Earliest(Option<Due>);

impl Earliest {
    fn add(&mut self, at: Timestamp, event: impl FnOnce() -> Draft) {
        match &mut self.0 {
            Some(due) if due.at < at => {}
            Some(due) if due.at == at => due.events.push(event()),
            _ => self.0 = Some(Due { at, events: vec![event()] }),
        }
    }
}

impl RunState {
    /// What is due next. Nothing is for a run that has ended, and nothing of what only its producer
    /// can do. `liveness` is given for a run whose producer is listened for; one that nobody has
    /// begun to work on cannot be lost.
    ///
    /// The events are to be appended once the clock shows [`Due::at`]; what is due then is the
    /// answer of the next call.
    #[must_use]
    pub fn due(&self, liveness: Option<Liveness>) -> Option<Due> {
        let status = self.status();
        if status.is_terminal() {
            return None;
        }
        let mut earliest = Earliest::default();
        if let Some(work) = self.kept() {
            for input in work.inputs.iter().filter(|input| input.is_open()) {
                let Some(at) = input.expires_at else { continue };
                earliest.add(at, || {
                    let mut data = json!({ "input": input.input });
                    if let Some(default) = &input.default {
                        data["answer"] = default.value();
                    }
                    Draft::new("input.timed_out", data)
                });
            }
            for command in work.commands.iter().filter(|command| command.is_open()) {
                let Some(at) = command.expires_at else { continue };
                earliest.add(at, || {
                    let reason = "the run did not carry it out in time";
                    let data = json!({ "command": command.command, "reason": reason });
                    Draft::new("command.expired", data)
                });
            }
        }
        let lost_at = liveness
            .filter(|_| status != Status::Queued)
            .map(|known| known.heard_at.plus_millis(known.lost_after_ms));
        let is_lost_first =
            lost_at.is_some_and(|lost| self.definition.deadline.is_none_or(|end| lost < end));
        if let (Some(at), Some(known), true) = (lost_at, liveness, is_lost_first) {
            let silence_ms = known.lost_after_ms;
            let reason = format!("nothing was heard of its producer for {silence_ms} ms");
            earliest.add(at, || ended("run.crashed", reason));
        } else if let Some(deadline) = self.definition.deadline {
            let reason = format!("it had not ended at its deadline, {deadline}");
            earliest.add(deadline, || ended("run.timed_out", reason));
        }
        earliest.0
    }
}

fn ended(event_type: &'static str, reason: String) -> Draft {
    Draft::new(event_type, json!({ "status_reason": Value::String(reason) }))
}

#[cfg(test)]
mod tests {
    use runcast_event::{Epoch, RunId, parse_event};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn fold(state: &mut RunState, second: i64, draft: &str) {
        let payload = parse_event(draft.as_bytes(), at(second)).unwrap().payload;
        state.apply(state.offset().next(), Epoch::FIRST, &payload);
    }

    fn state(events: &[(i64, &str)]) -> RunState {
        let mut state = RunState::new(RunId::new("r").unwrap());
        events.iter().for_each(|(second, draft)| fold(&mut state, *second, draft));
        state
    }

    /// Appends what is due, as a server does, and says when it was and what.
    fn append(state: &mut RunState, liveness: Option<Liveness>) -> Vec<(Timestamp, String)> {
        let Some(due) = state.due(liveness) else { return Vec::new() };
        let told = due.events.iter().map(|draft| (due.at, draft.event_type.to_string())).collect();
        for draft in due.events {
            let payload = parse_event(draft.to_json().as_bytes(), due.at).unwrap().payload;
            state.check(&payload).unwrap();
            state.apply(state.offset().next(), Epoch::FIRST, &payload);
        }
        told
    }

    #[test]
    fn a_lost_producer_crashes_its_run_and_one_that_was_heard_of_again_does_not() {
        let mut run = state(&[(1, r#"{"type":"run.started"}"#)]);
        let heard = |second| Some(Liveness { heard_at: at(second), lost_after_ms: 30_000 });
        assert!(run.due(None).is_none());
        assert_eq!(run.due(heard(1)).unwrap().at, at(31));
        assert_eq!(run.due(heard(20)).unwrap().at, at(50));
        assert_eq!(append(&mut run, heard(20)), [(at(50), "run.crashed".to_owned())]);
        assert_eq!(run.status(), Status::Crashed);
        assert!(run.due(heard(20)).is_none());
        assert!(state(&[(1, r#"{"type":"run.queued"}"#)]).due(heard(1)).is_none());
    }

    #[test]
    fn what_is_due_comes_in_its_order_and_the_end_last() {
        let mut run = state(&[
            (0, r#"{"type":"run.started","data":{"deadline":"1970-01-01T00:01:00Z"}}"#),
            (
                1,
                r#"{"type":"input.requested","data":{"input":"a","prompt":"?","timeout_ms":9000,"default":"no"}}"#,
            ),
            (1, r#"{"type":"input.requested","data":{"input":"b","prompt":"?"}}"#),
            (
                2,
                r#"{"type":"command.requested","data":{"command":"c","name":"set","timeout_ms":8000}}"#,
            ),
            (
                2,
                r#"{"type":"input.requested","data":{"input":"d","prompt":"?","timeout_ms":58000}}"#,
            ),
        ]);
        assert_eq!(run.status(), Status::InputRequired);
        let due = run.due(None).unwrap();
        assert_eq!(due.events[0].data, Some(json!({"input": "a", "answer": "no"})));
        let told = append(&mut run, None);
        let both = [(at(10), "input.timed_out".to_owned()), (at(10), "command.expired".to_owned())];
        assert_eq!(told, both);
        let told = append(&mut run, None);
        let both = [(at(60), "input.timed_out".to_owned()), (at(60), "run.timed_out".to_owned())];
        assert_eq!(told, both);
        assert_eq!(run.status(), Status::TimedOut);
        assert!(run.due(None).is_none());
    }

    #[test]
    fn an_answer_in_time_and_a_carried_out_command_are_not_due() {
        let run = state(&[
            (
                1,
                r#"{"type":"input.requested","data":{"input":"a","prompt":"?","timeout_ms":9000}}"#,
            ),
            (
                1,
                r#"{"type":"command.requested","data":{"command":"c","name":"set","timeout_ms":9000}}"#,
            ),
            (2, r#"{"type":"input.answered","data":{"input":"a","answer":1}}"#),
            (2, r#"{"type":"command.done","data":{"command":"c"}}"#),
        ]);
        assert!(run.due(None).is_none());
    }
}
