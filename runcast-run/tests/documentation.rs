//! `docs/run-state.md` says what there is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use runcast_event::{Epoch, Offset, RunId, Timestamp, parse_event};
use runcast_run::{BUILT_IN, RunState, Status, WorkStatus, built_in, limits};
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("../../docs/run-state.md");

fn state(drafts: &[Value]) -> Value {
    let mut state = RunState::new(RunId::new("r").unwrap());
    for draft in drafts {
        let payload =
            parse_event(draft.to_string().as_bytes(), Timestamp::from_micros(1)).unwrap().payload;
        state.apply(state.offset().next(), Epoch::FIRST, &payload);
    }
    serde_json::to_value(state.snapshot(Offset::new(1))).unwrap()
}

/// The names of all fields, except in what the producer sent.
fn names(value: &Value, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                all.insert(name.clone());
                let is_sent = matches!(name.as_str(), "metadata" | "omitted");
                if !is_sent {
                    names(value, all);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, all)),
        _ => {}
    }
}

#[test]
fn every_field_of_a_full_state_is_documented() {
    let long = "x".repeat(limits::VALUE_BYTES_MAX);
    let usage = json!({"input_tokens": 1, "output_tokens": 1, "cache_read.input_tokens": 1,
        "cache_creation.input_tokens": 1, "reasoning_tokens": 1, "cost": 1});
    let labelled = |event_type: &str, mut data: Value| {
        data["error"] = json!("e");
        json!({"type": event_type, "variation": "v", "stage": "s", "step": "x", "agent": "a", "data": data})
    };
    let mut drafts = vec![
        labelled(
            "run.started",
            json!({"stages": ["s"], "deadline": "2030-01-01T00:00:00Z", "progress": 0.5}),
        ),
        labelled("agent.spawned", json!({"name": long, "role": "r", "model": "m", "parent": "p"})),
        labelled("stage.started", json!({"error": long})),
        labelled("stage.failed", json!({"duration_ms": 1})),
        labelled("variation.started", json!({"name": "n", "output": long})),
        labelled("variation.failed", json!({"signal": "s", "exit_code": 1, "output": 1})),
        labelled(
            "task.completed",
            json!({"task": "t", "progress": 1, "message": "m", "result": long}),
        ),
        labelled("message.started", json!({"message": "m", "role": "r"})),
        labelled(
            "message.completed",
            json!({"message": "m", "text": long.repeat(3), "usage": usage}),
        ),
        labelled("tool.called", json!({"call": "c", "tool": "t", "args": long})),
        labelled("tool.args", json!({"call": "c", "text": long.repeat(3)})),
        labelled("tool.failed", json!({"call": "c"})),
        labelled("tool.completed", json!({"call": "c", "result": 1})),
        labelled(
            "input.requested",
            json!({"input": "i", "prompt": long, "choices": ["a"], "schema": {},
            "default": "a", "timeout_ms": 1}),
        ),
        labelled("input.answered", json!({"input": "i", "answer": "a", "by": "b"})),
        labelled(
            "command.requested",
            json!({"command": "c", "name": "n", "args": long, "by": "b", "key": "k",
            "reason": "r", "timeout_ms": 1}),
        ),
        labelled("command.delivered", json!({"command": "c"})),
        labelled("command.done", json!({"command": "c"})),
    ];
    for _ in 0..limits::ATTEMPTS_MAX + 2 {
        drafts.push(labelled("step.started", json!({"name": "n", "parent": "p", "input": 1})));
        drafts.push(labelled("step.retrying", json!({"reason": "r"})));
        drafts.push(labelled("step.progress", json!({"current": 1, "total": 2, "message": "m"})));
        drafts.push(labelled("step.failed", json!({"output": 1, "reason": long})));
    }
    drafts.push(labelled("run.failed", json!({"exit_code": 1, "signal": "s", "output": 1})));
    let mut found = BTreeSet::new();
    names(&state(&drafts), &mut found);
    for expected in ["omitted_args_bytes", "omitted_attempts", "reasoning_tokens"] {
        assert!(found.contains(expected), "the state of this test lacks {expected}");
    }
    let documented: BTreeSet<_> = DOCUMENT.split(['`', '"']).collect();
    let missing: Vec<_> = found.iter().filter(|name| !documented.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "docs/run-state.md lacks {missing:?}");
}

#[test]
fn every_status_limit_and_built_in_stage_is_documented() {
    for status in Status::ALL {
        assert!(DOCUMENT.contains(&format!("| `{status}` | ")), "{status}");
    }
    for status in [
        WorkStatus::Pending,
        WorkStatus::Running,
        WorkStatus::Retrying,
        WorkStatus::Completed,
        WorkStatus::Failed,
        WorkStatus::Skipped,
        WorkStatus::Interrupted,
    ] {
        assert!(DOCUMENT.contains(&format!("`{status}`")), "{status}");
    }
    for name in BUILT_IN {
        assert!(DOCUMENT.contains(&format!("\"{name}\"")), "{name}");
        for stage in built_in(name).unwrap() {
            assert!(DOCUMENT.contains(&format!("`{stage}`")), "{stage}");
        }
    }
    let source = include_str!("../src/limits.rs");
    for line in source.lines().filter_map(|line| line.strip_prefix("pub const ")) {
        let name = line.split(':').next().unwrap();
        assert!(DOCUMENT.contains(&format!("| `{name}` ")), "{name}");
    }
    for (name, value) in [
        ("KEPT_BYTES_MAX", limits::KEPT_BYTES_MAX),
        ("VALUE_BYTES_MAX", limits::VALUE_BYTES_MAX),
        ("MESSAGE_TEXT_BYTES_MAX", limits::MESSAGE_TEXT_BYTES_MAX),
        ("STEPS_MAX", limits::STEPS_MAX),
        ("ASKED_BYTES_MAX", limits::ASKED_BYTES_MAX),
    ] {
        let row = DOCUMENT.lines().find(|line| line.contains(&format!("| `{name}` "))).unwrap();
        assert!(row.replace(',', "").contains(&format!("` {value} |")), "{row}");
    }
}

#[test]
fn every_refusal_is_documented() {
    let source = include_str!("../src/check/refusal.rs");
    let codes = source.split("fn code(").nth(1).unwrap().split("/// ").next().unwrap();
    let codes: Vec<_> = codes.split('"').skip(1).step_by(2).collect();
    assert!(codes.len() > 10);
    for code in codes {
        assert!(DOCUMENT.contains(&format!("`{code}`")), "{code}");
    }
}
