//! What is true of every fold, tried with any events.

use proptest::prelude::*;
use runcast_event::{Epoch, Merged, Offset, Payload, RunId, StoredDeltas, coalesce};
use serde_json::{Value, json};

use crate::testing::{event, served};
use crate::{Liveness, RunState, Status};

/// Any draft of an event: of few stages, steps and ids, so that they meet.
fn draft() -> impl Strategy<Value = Value> {
    let types = [
        "run.queued",
        "run.started",
        "run.updated",
        "run.paused",
        "run.resumed",
        "stage.started",
        "stage.completed",
        "stage.failed",
        "step.started",
        "step.progress",
        "step.completed",
        "step.failed",
        "step.retrying",
        "step.skipped",
        "agent.spawned",
        "task.progress",
        "task.completed",
        "task.failed",
        "message.started",
        "message.delta",
        "message.delta",
        "message.delta",
        "message.completed",
        "tool.called",
        "tool.args",
        "tool.args",
        "tool.completed",
        "tool.failed",
        "output",
        "output",
        "log",
        "input.requested",
        "input.answered",
        "input.timed_out",
        "command.requested",
        "command.delivered",
        "command.done",
        "command.refused",
        "command.expired",
        "variation.started",
        "variation.completed",
        "variation.failed",
        "document.processing",
        "producer.gap",
        "my.event",
        "run.completed",
    ];
    let names = || prop::sample::select(vec!["a", "b", "stop", "pause", "resume", "2"]);
    let label = || prop::option::weighted(0.3, names());
    let value = prop_oneof![
        Just(json!(null)),
        Just(json!({"n": 1.5, "b": [true]})),
        Just(json!(0.25)),
        any::<String>().prop_map(|s| json!(s)),
    ];
    let stages = prop_oneof![
        8 => Just(json!(null)), 1 => Just(json!(["a", {"name": "b"}, 3])), 1 => Just(json!("agent_pipeline")),
    ];
    let numbers = (0_u64..5, 0_u64..3_000);
    (prop::sample::select(types.to_vec()), names(), (label(), label(), label()), value, stages, numbers)
        .prop_map(|(event_type, name, (variation, stage, agent), value, stages, (n, ms))| {
            let text = value.as_str().map_or_else(|| format!("{n}\n\u{1F538}"), str::to_owned);
            let is_delta = matches!(event_type, "message.delta" | "tool.args" | "output");
            let data = if is_delta {
                match event_type {
                    "message.delta" => json!({"message": name, "text": text}),
                    "tool.args" => json!({"call": name, "text": text}),
                    _ => json!({"text": text}),
                }
            } else {
                json!({
                    "task": name, "message": name, "call": name, "tool": "t", "input": name,
                    "command": name, "name": name, "document": name, "level": "info", "reason": "r",
                    "lost_events": 1, "prompt": "?", "answer": value, "output": value, "result": value,
                    "args": value, "default": value, "attempt": (n > 2).then_some(n), "text": text,
                    "progress": 0.1 * n as f64, "current": n, "total": 4, "timeout_ms": ms,
                    "error": text, "usage": {"input_tokens": n, "cost_usd": 0.1 * n as f64},
                    "choices": (n == 1).then(|| json!(["a", "b"])), "stages": stages,
                    "steps": (n == 2).then(|| json!(["a", {"id": "b", "stage": 1}])),
                    "variations": (n == 3).then(|| json!(["a", "c"])), "by": "ann",
                    "key": (n == 4).then_some("k"),
                })
            };
            let mut draft = json!({"type": event_type, "step": name, "data": data});
            for (label, value) in [("variation", variation), ("stage", stage), ("agent", agent)] {
                if let Some(value) = value {
                    draft[label] = json!(value);
                }
            }
            let labels = [("stage.", "stage", name), ("variation.", "variation", name), ("agent.", "agent", name)];
            for (kind, label, value) in labels {
                if event_type.starts_with(kind) && draft[label].is_null() {
                    draft[label] = json!(value);
                }
            }
            if is_delta {
                draft.as_object_mut().expect("a draft is an object").remove("step");
            }
            draft
        })
}

/// Events that a parser took, each a second after the one before.
fn events(drafts: &[Value]) -> Vec<Payload> {
    let numbered = drafts.iter().enumerate();
    numbered
        .filter_map(|(at, draft)| {
            let now = crate::testing::at(at as i64 + 1);
            runcast_event::parse_event(draft.to_string().as_bytes(), now).ok()
        })
        .map(|event| event.payload)
        .collect()
}

fn new() -> RunState {
    let mut state = RunState::new(RunId::new("r").unwrap());
    // A beginning of its own, so that no merged event is the first.
    state.apply(Offset::new(1), Epoch::FIRST, &event(0, &json!({"type": "run.started"})));
    state
}

fn fold(state: &mut RunState, events: &[Payload]) {
    for payload in events {
        state.apply(state.offset().next(), Epoch::FIRST, payload);
    }
}

fn numbered(events: &[Payload]) -> Vec<Merged> {
    let numbered = (1..).map(Offset::new).zip(events);
    numbered.map(|(at, event)| Merged::single(at, event.clone())).collect()
}

/// What a log may store in the place of these events.
fn as_stored(events: Vec<Merged>) -> Vec<Merged> {
    let mut deltas = StoredDeltas::default();
    let mut parts: Vec<Vec<Merged>> = Vec::new();
    for event in events {
        let before = parts.last().and_then(|part| part.last());
        let joins =
            before.is_some_and(|before| deltas.join(&before.payload, &event.payload).is_some());
        match parts.last_mut().filter(|_| joins) {
            Some(part) => part.push(event),
            None => parts.push(vec![event]),
        }
    }
    parts.into_iter().flat_map(coalesce).collect()
}

proptest! {
    #[test]
    fn most_drafts_of_these_laws_are_events(drafts in prop::collection::vec(draft(), 20)) {
        prop_assert!(events(&drafts).len() > 12);
    }

    #[test]
    fn a_stored_state_and_the_rest_are_the_whole(
        drafts in prop::collection::vec(draft(), 0..60), cut in any::<prop::sample::Index>(),
    ) {
        let events = events(&drafts);
        let (mut whole, mut state) = (new(), new());
        fold(&mut whole, &events);
        let cut = cut.index(events.len() + 1);
        fold(&mut state, &events[..cut]);
        let mut decoded = RunState::decode(&state.encode()).unwrap();
        prop_assert_eq!(&decoded, &state);
        fold(&mut decoded, &events[cut..]);
        prop_assert_eq!(served(&decoded), served(&whole));
        prop_assert_eq!(decoded, whole);
    }

    #[test]
    fn a_run_whose_deltas_are_stored_as_one_has_the_state_of_the_events_themselves(
        drafts in prop::collection::vec((draft(), 1_usize..4), 0..40),
        cuts in prop::collection::vec(1_usize..30, 0..4),
    ) {
        let repeated = drafts.into_iter().flat_map(|(draft, times)| vec![draft; times]);
        let events = events(&repeated.collect::<Vec<_>>());
        let mut whole = RunState::new(RunId::new("r").unwrap());
        fold(&mut whole, &events);
        let mut rest = numbered(&events);
        let mut cuts = cuts.into_iter();
        let mut stored = Vec::new();
        // Each part is stored by itself first, and then all of them together.
        while !rest.is_empty() {
            let more = rest.split_off(cuts.next().unwrap_or(usize::MAX).min(rest.len()));
            stored.extend(as_stored(rest));
            rest = more;
        }
        for stored in [stored.clone(), as_stored(stored)] {
            let mut state = RunState::new(RunId::new("r").unwrap());
            stored.iter().for_each(|event| state.apply_merged(Epoch::FIRST, event));
            prop_assert_eq!(&state, &whole);
        }
    }

    #[test]
    fn what_is_refused_changes_nothing_and_what_is_taken_can_be_judged_in_batches(
        drafts in prop::collection::vec(draft(), 0..60),
    ) {
        let mut state = new();
        let mut taken = Vec::new();
        for payload in events(&drafts) {
            let before = state.clone();
            match state.check(&payload) {
                Ok(()) => {
                    prop_assert!(!before.status().is_terminal());
                    state.apply(state.offset().next(), Epoch::FIRST, &payload);
                    taken.push(payload);
                }
                Err(refusal) => {
                    prop_assert_eq!(&state, &before);
                    prop_assert!(!refusal.to_string().is_empty() && !refusal.code().is_empty());
                    let mut batch = taken.clone();
                    batch.push(payload);
                    let refused = new().check_all(&batch).unwrap_err();
                    prop_assert_eq!((refused.index, &refused.refusal), (taken.len(), &refusal));
                }
            }
        }
        prop_assert_eq!(new().check_all(&taken), Ok(()));
    }

    #[test]
    fn an_end_stays_the_end(drafts in prop::collection::vec(draft(), 0..60)) {
        let mut state = new();
        let mut end = None;
        for payload in events(&drafts) {
            state.apply(state.offset().next(), Epoch::FIRST, &payload);
            let now = served(&state);
            let told = ["status", "ended_at", "exit_code", "steps", "inputs", "open_inputs"].map(|field| now[field].clone());
            if let Some(end) = &end {
                prop_assert_eq!(&told, end);
                prop_assert!(state.due(None).is_none());
            } else if state.status().is_terminal() {
                end = Some(told);
            }
        }
    }

    #[test]
    fn whatever_is_due_is_allowed_and_brings_the_run_to_rest(
        drafts in prop::collection::vec(draft(), 0..60),
    ) {
        let mut state = new();
        for payload in events(&drafts) {
            if state.check(&payload).is_ok() {
                state.apply(state.offset().next(), Epoch::FIRST, &payload);
            }
        }
        let liveness = Liveness { heard_at: crate::testing::at(60), lost_after_ms: 30_000 };
        let mut before = None;
        for _ in 0..=crate::limits::INPUTS_MAX + crate::limits::COMMANDS_MAX {
            let Some(due) = state.due(Some(liveness)) else { break };
            prop_assert!(before.is_none_or(|before| before < due.at));
            before = Some(due.at);
            for draft in due.events {
                let json = draft.at(due.at).to_json();
                let payload = runcast_event::parse_event(json.as_bytes(), due.at).unwrap().payload;
                prop_assert_eq!(state.check(&payload), Ok(()));
                state.apply(state.offset().next(), Epoch::FIRST, &payload);
            }
        }
        // What nobody works on waits for somebody who does.
        prop_assert!(state.status().is_terminal() || state.status() == Status::Queued);
    }
}
