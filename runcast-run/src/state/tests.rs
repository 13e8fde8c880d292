use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::limits;
use crate::testing::{add, at, event, fold, served};

fn of_type(event_type: &str) -> Value {
    json!({"type": event_type})
}

fn life(event_type: &str, data: Value) -> Value {
    json!({"type": event_type, "data": data})
}

fn step(event_type: &str, step: &str, data: Value) -> Value {
    json!({"type": event_type, "step": step, "data": data})
}

fn stage(event_type: &str, stage: Value) -> Value {
    json!({"type": event_type, "stage": stage})
}

#[test]
fn a_run_goes_from_queued_to_its_end() {
    let state = fold(&[
        life("run.queued", json!({"workflow": "w", "tags": ["a"], "metadata": {"k": 1.50}})),
        life("run.started", json!({"name": "n"})),
        life("output", json!({"text": "x"})),
        life(
            "run.failed",
            json!({"exit_code": 3, "status_reason": "why", "error": {"m": 1}, "output": [1]}),
        ),
    ]);
    let json = served(&state);
    let expected = json!({
        "id": "r", "workflow": "w", "name": "n", "tags": ["a"], "metadata": {"k": 1.5},
        "status": "failed", "status_reason": "why", "is_terminal": true, "exit_code": 3,
        "signal": null, "error": {"m": 1}, "progress": null, "open_inputs": 0,
        "created_at": at(1), "started_at": at(2), "ended_at": at(4), "updated_at": at(4),
        "duration_ms": 2_000, "events": {"total": 4, "output": 1, "log": 0, "damaged": 0},
        "epoch": 1, "offset": 4, "cursor": "4", "first_offset": 1,
        "current_stage": null, "current_step": null, "step_results": [], "output_data": [1],
        "stages": [], "steps": [], "variations": [], "agents": [], "tasks": [], "messages": [],
        "tool_calls": [], "inputs": [], "commands": [],
        "usage": {"input_tokens": 0, "output_tokens": 0}, "omitted": {}, "damaged": [],
    });
    assert_eq!(json, expected);
}

#[test]
fn a_run_that_nobody_queued_is_running_from_its_first_event() {
    let state = fold(&[of_type("my.event")]);
    assert_eq!(state.status(), Status::Running);
    assert_eq!(state.summary(Offset::new(1)).started_at, Some(at(1)));
}

#[test]
fn a_queued_run_starts_with_its_first_work() {
    let events = [of_type("run.queued"), life("output", json!({"text": ""}))];
    assert_eq!(fold(&events[..1]).status(), Status::Queued);
    assert_eq!(fold(&events).status(), Status::Running);
}

#[test]
fn the_definition_it_was_made_with_survives_updates() {
    let state = fold(&[
        life("run.queued", json!({"name": "first"})),
        life("run.updated", json!({"name": "second"})),
        life("run.updated", json!({"name": "third"})),
    ]);
    assert_eq!(state.definition().name.as_deref(), Some("first"));
    assert_eq!(state.name(), Some("third"));
}

#[test]
fn a_paused_run_is_resumed() {
    let mut state =
        fold(&[of_type("run.started"), life("run.paused", json!({"status_reason": "lunch"}))]);
    assert_eq!(served(&state)["status"], "paused");
    assert_eq!(served(&state)["status_reason"], "lunch");
    add(&mut state, &of_type("run.resumed"));
    assert_eq!(served(&state)["status"], "running");
    assert_eq!(served(&state)["status_reason"], Value::Null);
}

#[test]
fn half_a_surrogate_pair_in_one_field_takes_no_other_with_it() {
    let raw = br#"{"type":"run.failed","data":{"status_reason":"a\ud83d","exit_code":3,"error":"\ud83d!"}}"#;
    let payload = runcast_event::parse_event(raw, at(1)).unwrap().payload;
    let mut state = fold(&[]);
    state.apply(Offset::new(1), Epoch::FIRST, &payload);
    let json = served(&state);
    assert_eq!(json["exit_code"], 3);
    assert!(json["status_reason"].as_str().unwrap().starts_with("a\u{fffd}"));
    assert!(json["error"].as_str().unwrap().ends_with('!'));
}

#[test]
fn a_definition_and_a_reason_that_are_left_out_are_counted() {
    let raw = br#"{"type":"run.started","data":{"metadata":{"n":1e999},"name":"n"}}"#;
    let payload = runcast_event::parse_event(raw, at(1)).unwrap().payload;
    let mut state = fold(&[]);
    state.apply(Offset::new(1), Epoch::FIRST, &payload);
    let json = served(&state);
    assert_eq!((&json["name"], &json["metadata"]), (&json!("n"), &json!({})));
    assert_eq!(json["omitted"], json!({"bytes": 11}));
    let reason = "r".repeat(limits::VALUE_BYTES_MAX);
    add(&mut state, &life("run.paused", json!({"status_reason": reason})));
    let json = served(&state);
    assert_eq!(json["status_reason"].as_str().unwrap().len(), limits::VALUE_BYTES_MAX - 2);
    assert_eq!(json["omitted"], json!({"bytes": 13}));
}

#[test]
fn what_any_event_took_of_models_is_counted_once() {
    let used = |event_type: &str| life(event_type, json!({"usage": {"input_tokens": 1}}));
    let flat = |event_type: &str| life(event_type, json!({"gen_ai.usage.output_tokens": 1}));
    let state =
        fold(&[flat("run.started"), flat("my.event"), used("my.event"), used("run.completed")]);
    assert_eq!(served(&state)["usage"], json!({"input_tokens": 1, "output_tokens": 2}));
}

#[test]
fn stages_are_meant_by_name_and_by_number() {
    let state = fold(&[
        life(
            "run.started",
            json!({"stages": ["plan", {"name": "do"}, {"title": "no name"}, "end"]}),
        ),
        stage("stage.started", json!("plan")),
        stage("stage.completed", json!(1)),
        stage("stage.started", json!("2")),
        json!({"type": "stage.failed", "stage": "do", "data": {"error": "no", "duration_ms": 7}}),
        stage("stage.started", json!(3)),
        stage("stage.started", json!("other")),
    ]);
    let json = served(&state);
    let expected = json!([
        {"number": 1, "name": "plan", "status": "completed", "progress": 1.0, "attempt": 1,
         "started_at": at(2), "ended_at": at(3), "duration_ms": 1_000},
        {"number": 2, "name": "do", "status": "failed", "attempt": 1,
         "started_at": at(4), "ended_at": at(5), "duration_ms": 7, "error": "no"},
        {"number": 3, "status": "running", "attempt": 1, "started_at": at(6)},
        {"number": 4, "name": "end", "status": "pending", "progress": 0.0, "attempt": 0},
        {"name": "other", "status": "running", "attempt": 1, "started_at": at(7)},
    ]);
    assert_eq!(json["stages"], expected);
    assert_eq!(json["current_stage"], "other");
    assert_eq!(json["progress"]["fraction"], 0.25);
}

#[test]
fn the_built_in_list_has_nine_stages_known_by_name_and_number() {
    let mut state = fold(&[life("run.started", json!({"stages": crate::AGENT_PIPELINE}))]);
    let json = served(&state);
    let names: Vec<_> = json["stages"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
    assert_eq!(names.len(), 9);
    assert_eq!((names[0], names[8]), (&json!("task_decomposition"), &json!("response_generation")));
    assert_eq!(json["current_stage"], Value::Null);
    add(&mut state, &stage("stage.started", json!(4)));
    assert_eq!(served(&state)["current_stage"], "agent_execution");
    add(&mut state, &stage("stage.completed", json!("Agent Execution")));
    assert_eq!(served(&state)["stages"][3]["status"], "completed");
    assert_eq!(served(&state)["progress"]["fraction"], 0.111_111);
}

#[test]
fn a_stage_that_begins_again_is_another_attempt() {
    let state = fold(&[
        stage("stage.started", json!("a")),
        stage("stage.failed", json!("a")),
        stage("stage.started", json!("a")),
        stage("stage.started", json!("a")),
    ]);
    let expected = json!([{"name": "a", "status": "running", "attempt": 2, "started_at": at(3)}]);
    assert_eq!(served(&state)["stages"], expected);
}

#[test]
fn a_step_is_told_with_its_attempts() {
    let state = fold(&[
        step("step.started", "s", json!({"name": "S", "input": {"q": 1}, "parent": "p"})),
        step("step.retrying", "s", json!({"error": "once", "attempt": 2, "delay_ms": 5})),
        step("step.started", "s", json!({"attempt": 2})),
        step("step.progress", "s", json!({"current": 1, "total": 3, "message": "m"})),
        step("step.failed", "s", json!({"error": "twice"})),
        step("step.started", "s", json!({})),
        step("step.completed", "s", json!({"output": null, "duration_ms": 9})),
    ]);
    let expected = json!({
        "step": "s", "name": "S", "parent": "p", "status": "completed", "attempt": 3,
        "started_at": at(6), "ended_at": at(7), "duration_ms": 9, "input": {"q": 1},
        "earlier_attempts": [
            {"attempt": 1, "status": "failed", "started_at": at(1), "ended_at": at(2),
             "duration_ms": 1_000, "error": "once"},
            {"attempt": 2, "status": "failed", "started_at": at(3), "ended_at": at(5),
             "duration_ms": 2_000, "error": "twice"},
        ],
    });
    assert_eq!(served(&state)["steps"], json!([expected]));
}

#[test]
fn a_step_is_as_far_as_it_says() {
    let mut state = fold(&[step("step.progress", "s", json!({"current": 1, "total": 3}))]);
    let progress = json!({"fraction": 0.333_333, "current": 1, "total": 3});
    assert_eq!(served(&state)["steps"][0]["progress"], progress);
    assert_eq!(served(&state)["steps"][0]["status"], "running");
    add(&mut state, &step("step.progress", "s", json!({"progress": 0.5, "message": "m"})));
    let progress = json!({"fraction": 0.5, "current": 1, "total": 3, "message": "m"});
    assert_eq!(served(&state)["steps"][0]["progress"], progress);
}

#[test]
fn pollers_find_the_current_step_and_the_flat_results() {
    let mut state =
        fold(&[life("run.started", json!({"steps": ["a", {"id": "b", "name": "B"}, "c"]}))]);
    assert_eq!(served(&state)["current_step"], 0);
    for draft in [
        step("step.started", "a", json!({})),
        step("step.completed", "a", json!({"output": {"n": 1}})),
        step("step.started", "b", json!({})),
    ] {
        add(&mut state, &draft);
    }
    assert_eq!(served(&state)["current_step"], 1);
    add(&mut state, &step("step.failed", "b", json!({"error": "no"})));
    add(&mut state, &step("step.skipped", "c", json!({"reason": "b failed"})));
    add(&mut state, &life("run.completed", json!({"output": "all"})));
    let json = served(&state);
    let results = json!([
        {"step": "a", "status": "completed", "output": {"n": 1}, "error": null, "duration_ms": 1_000, "attempts": 1},
        {"step": "b", "status": "failed", "output": null, "error": "no", "duration_ms": 1_000, "attempts": 1},
        {"step": "c", "status": "skipped", "output": null, "error": null, "duration_ms": null, "attempts": 0},
    ]);
    assert_eq!(json["step_results"], results);
    assert_eq!(json["current_step"], 2);
    assert_eq!(json["output_data"], "all");
    assert_eq!(json["steps"][1]["name"], "B");
    assert_eq!(json["steps"][2]["reason"], "b failed");
    assert_eq!(json["progress"], json!({"fraction": 1.0}));
}

#[test]
fn a_stage_is_as_far_as_its_steps_and_a_run_as_its_stages() {
    let state = fold(&[
        life("run.started", json!({"stages": ["a", "b"], "steps": [{"id": "x", "stage": 2}]})),
        stage("stage.started", json!("b")),
        json!({"type": "step.started", "stage": "b", "step": "y"}),
        json!({"type": "step.completed", "stage": 2, "step": "y"}),
    ]);
    let json = served(&state);
    assert_eq!(json["stages"][1]["progress"], 0.5);
    assert_eq!(json["steps"][0]["stage"], "b");
    // A quarter took three seconds, from the start to the last move.
    assert_eq!(json["progress"], json!({"fraction": 0.25, "eta_at": at(13)}));
}

#[test]
fn pauses_do_not_count_for_when_a_run_will_be_done() {
    let state = fold(&[
        of_type("run.started"),
        of_type("run.paused"),
        of_type("my.event"),
        of_type("run.resumed"),
        life("run.updated", json!({"progress": 0.5})),
    ]);
    // Two of four seconds it held still.
    assert_eq!(served(&state)["progress"], json!({"fraction": 0.5, "eta_at": at(7)}));
}

#[test]
fn variations_go_side_by_side() {
    let of = |variation: &str, mut draft: Value| {
        draft["variation"] = json!(variation);
        draft
    };
    let state = fold(&[
        life("run.started", json!({"variations": ["a", {"name": "b"}, "c"], "stages": ["s"]})),
        of("a", of_type("variation.started")),
        of("b", life("output", json!({"text": "x"}))),
        of("a", stage("stage.started", json!(1))),
        of("b", stage("stage.started", json!(1))),
        of("a", stage("stage.completed", json!(1))),
        of("a", step("step.started", "x", json!({}))),
        of("b", step("step.started", "x", json!({}))),
        step("step.completed", "x", json!({})),
        of(
            "a",
            life("variation.failed", json!({"exit_code": 2, "signal": "SIGTERM", "error": "no"})),
        ),
    ]);
    let json = served(&state);
    let expected = json!([
        {"variation": "a", "status": "failed", "started_at": at(2), "ended_at": at(10),
         "duration_ms": 8_000, "exit_code": 2, "signal": "SIGTERM", "error": "no"},
        {"variation": "b", "status": "running", "started_at": at(3)},
        {"variation": "c", "status": "pending"},
    ]);
    assert_eq!(json["variations"], expected);
    let statuses = |of: &str| -> Vec<_> {
        let all = json[of].as_array().unwrap().iter();
        all.map(|one| (one["variation"].as_str().unwrap(), one["status"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(statuses("stages"), [("a", "completed"), ("b", "running")]);
    // Who does not say which means the newest that is open.
    assert_eq!(statuses("steps"), [("a", "running"), ("b", "completed")]);
    assert_eq!(json["progress"]["fraction"], 0.5);
}

#[test]
fn agents_and_tasks_are_told() {
    let state = fold(&[
        json!({"type": "agent.spawned", "agent": "a", "data": {"role": "writer", "model": "m"}}),
        json!({"type": "task.progress", "agent": "a", "data": {"task": "t", "progress": 0.5, "message": "half"}}),
        json!({"type": "task.completed", "data": {"task": "t", "result": {"n": 1}}}),
        json!({"type": "task.failed", "data": {"task": "u", "error": "no"}}),
    ]);
    let json = served(&state);
    let agents = json!([{"agent": "a", "role": "writer", "model": "m", "spawned_at": at(1)}]);
    assert_eq!(json["agents"], agents);
    let tasks = json!([
        {"task": "t", "agent": "a", "status": "completed", "started_at": at(2), "ended_at": at(3),
         "duration_ms": 1_000, "progress": 0.5, "message": "half", "result": {"n": 1}},
        {"task": "u", "status": "failed", "started_at": at(4), "ended_at": at(4), "duration_ms": 0,
         "error": "no"},
    ]);
    assert_eq!(json["tasks"], tasks);
}

#[test]
fn messages_and_tool_calls_are_put_together() {
    let delta =
        |text: &str| json!({"type": "message.delta", "data": {"message": "m", "text": text}});
    let state = fold(&[
        json!({"type": "message.started", "step": "s", "agent": "a", "data": {"message": "m", "role": "assistant"}}),
        delta("Hel\n"),
        delta("lo \"x\""),
        json!({"type": "tool.called", "data": {"call": "c", "tool": "search"}}),
        json!({"type": "tool.args", "data": {"call": "c", "text": "{\"q\":"}}),
        json!({"type": "tool.args", "data": {"call": "c", "text": "1}"}}),
        json!({"type": "tool.completed", "data": {"call": "c", "result": [1]}}),
        json!({"type": "message.completed", "data": {"message": "m",
            "usage": {"gen_ai.usage.input_tokens": 10, "output_tokens": 2, "cost_usd": 0.1}}}),
        json!({"type": "my.call", "data": {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.cost": 0.2}}),
        delta("..."),
    ]);
    let json = served(&state);
    let usage = json!({"input_tokens": 10, "output_tokens": 2, "cost_usd": 0.1});
    let expected = json!({"message": "m", "role": "assistant", "status": "completed",
        "text": "Hel\nlo \"x\"...", "started_at": at(1), "completed_at": at(8), "step": "s",
        "agent": "a", "usage": usage});
    assert_eq!(json["messages"], json!([expected]));
    let call = json!({"call": "c", "tool": "search", "status": "completed", "args_text": "{\"q\":1}",
        "result": [1], "started_at": at(4), "ended_at": at(7), "duration_ms": 3_000});
    assert_eq!(json["tool_calls"], json!([call]));
    // Billionths add up exactly.
    assert_eq!(json["usage"], json!({"input_tokens": 15, "output_tokens": 2, "cost_usd": 0.3}));
}

#[test]
fn a_run_that_asks_waits_for_the_first_answer() {
    let mut state = fold(&[
        json!({"type": "input.requested", "step": "s", "data": {"input": "i", "prompt": "Deploy?",
            "choices": ["yes", "no"], "default": "no", "timeout_ms": 60_000}}),
    ]);
    let json = served(&state);
    assert_eq!((&json["status"], &json["open_inputs"]), (&json!("input_required"), &json!(1)));
    let asked = json!({"input": "i", "status": "open", "prompt": "Deploy?", "choices": ["yes", "no"],
        "default": "no", "requested_at": at(1), "expires_at": at(61), "step": "s"});
    assert_eq!(json["inputs"], json!([asked]));
    for (answer, by) in [("yes", "ann"), ("no", "bob")] {
        let data = json!({"input": "i", "answer": answer, "by": by});
        add(&mut state, &json!({"type": "input.answered", "data": data}));
    }
    let json = served(&state);
    assert_eq!((&json["status"], &json["open_inputs"]), (&json!("running"), &json!(0)));
    let input = &json["inputs"][0];
    assert_eq!(input["status"], "answered");
    assert_eq!((&input["answer"], &input["answered_by"]), (&json!("yes"), &json!("ann")));
    assert_eq!(input["ended_at"], json!(at(2)));
}

#[test]
fn a_run_that_is_asked_to_stop_is_cancelling_until_it_refuses_or_ends() {
    let ask = |id: &str, name: &str| json!({"type": "command.requested", "data": {"command": id, "name": name, "by": "ann", "key": "k"}});
    let mut state = fold(&[of_type("run.started"), ask("1", "set"), ask("2", "stop")]);
    assert_eq!(state.status(), Status::Cancelling);
    add(&mut state, &life("command.delivered", json!({"command": "2"})));
    add(&mut state, &life("command.refused", json!({"command": "2", "reason": "busy"})));
    assert_eq!(state.status(), Status::Running);
    add(&mut state, &ask("3", "stop"));
    add(&mut state, &life("command.done", json!({"command": "3"})));
    assert_eq!(state.status(), Status::Cancelling);
    add(&mut state, &of_type("run.cancelled"));
    let json = served(&state);
    assert_eq!(json["status"], "cancelled");
    let commands = json["commands"].as_array().unwrap();
    let refused = json!({"command": "2", "name": "stop", "status": "refused", "key": "k", "by": "ann",
        "reason": "busy", "requested_at": at(3), "delivered_at": at(4), "ended_at": at(5)});
    assert_eq!(commands[1], refused);
    let statuses: Vec<_> = commands.iter().map(|command| &command["status"]).collect();
    assert_eq!(statuses, ["closed", "refused", "done"]);
}

#[test]
fn an_ended_run_has_nothing_that_is_still_at_work() {
    let state = fold(&[
        stage("stage.started", json!("a")),
        step("step.started", "s", json!({})),
        step("step.started", "t", json!({})),
        step("step.retrying", "t", json!({})),
        life("message.delta", json!({"message": "m", "text": "x"})),
        life("tool.called", json!({"call": "c", "tool": "t"})),
        life("task.progress", json!({"task": "t"})),
        life("input.requested", json!({"input": "i", "prompt": "?"})),
        life("command.requested", json!({"command": "c", "name": "set"})),
        of_type("run.crashed"),
    ]);
    let json = served(&state);
    for (kind, at) in [
        ("stages", 0),
        ("steps", 0),
        ("steps", 1),
        ("messages", 0),
        ("tool_calls", 0),
        ("tasks", 0),
    ] {
        assert_eq!(json[kind][at]["status"], "interrupted", "{kind} {at}");
    }
    assert_eq!(json["steps"][0]["duration_ms"], 8_000);
    assert_eq!(
        (&json["inputs"][0]["status"], &json["commands"][0]["status"]),
        (&json!("closed"), &json!("closed"))
    );
    assert_eq!(json["open_inputs"], 0);
}

#[test]
fn what_an_ended_run_did_can_be_let_go_and_how_far_it_was_stays() {
    let mut state = fold(&[
        life("run.started", json!({"stages": ["a", "b"]})),
        stage("stage.started", json!("a")),
        stage("stage.completed", json!("a")),
    ]);
    state.let_go();
    assert!(state.is_whole(), "a run that goes on keeps all");
    add(&mut state, &of_type("run.failed"));
    let before = state.summary(Offset::new(1));
    state.let_go();
    assert!(!state.is_whole());
    assert_eq!(state.summary(Offset::new(1)), before);
    assert_eq!(before.progress.map(|progress| progress.fraction), Some(0.5));
    let stored = RunState::decode(&state.encode()).unwrap();
    assert_eq!(stored, state);
}

#[test]
fn more_steps_than_the_limit_are_counted_and_the_newest_kept() {
    let mut state = fold(&[step("step.started", "open", json!({}))]);
    let more = limits::STEPS_MAX + 5;
    for number in 0..more {
        let name = format!("s{number}");
        add(&mut state, &step("step.started", &name, json!({})));
        add(&mut state, &step("step.completed", &name, json!({"output": number})));
    }
    let json = served(&state);
    let steps = json["steps"].as_array().unwrap();
    assert_eq!(steps.len(), limits::STEPS_MAX);
    assert_eq!(json["omitted"], json!({"steps": 6}));
    assert_eq!((&steps[0]["step"], &steps[1]["step"]), (&json!("open"), &json!("s6")));
    assert_eq!(json["current_step"], 6);
    assert_eq!(json["step_results"].as_array().unwrap().len(), limits::STEPS_MAX - 1);
}

#[test]
fn texts_and_values_over_their_limits_are_left_out_and_counted() {
    let long = "x".repeat(limits::MESSAGE_TEXT_BYTES_MAX - 1);
    let delta = |text: &str| life("message.delta", json!({"message": "m", "text": text}));
    let value = vec![1; limits::VALUE_BYTES_MAX];
    let mut state = fold(&[
        delta(&long),
        delta("\"b"),
        delta("c"),
        step("step.started", "s", json!({"input": value})),
        step("step.failed", "s", json!({"error": "e".repeat(limits::VALUE_BYTES_MAX)})),
    ]);
    let json = served(&state);
    assert_eq!(json["messages"][0]["text"].as_str().unwrap(), long);
    assert_eq!(json["messages"][0]["omitted_bytes"], 4);
    assert_eq!(json["steps"][0]["input"], Value::Null);
    let omitted = value.len() * 2 + 1 + 2;
    assert_eq!(json["steps"][0]["omitted_bytes"], omitted);
    // What is kept together has a limit too, and what goes makes room.
    for number in 0..40 {
        let data = json!({"output": "o".repeat(10_000)});
        add(&mut state, &step("step.completed", &format!("t{number}"), data));
    }
    let json = served(&state);
    let kept: usize = json["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["output"].as_str().map_or(0, str::len))
        .sum();
    assert!(kept < limits::KEPT_BYTES_MAX && kept > limits::KEPT_BYTES_MAX * 2 / 3, "{kept}");
    let left_out: u64 = json["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|step| step["omitted_bytes"].as_u64())
        .sum();
    assert_eq!(left_out as usize, omitted + 40 * 10_000 - kept);
}

proptest! {
    #[test]
    fn an_event_that_comes_again_changes_nothing(
        picks in prop::collection::vec(0_usize..6, 1..20), again in any::<prop::sample::Index>(),
    ) {
        let types = ["run.queued", "run.started", "run.updated", "run.paused", "my.event", "run.completed"];
        let drafts: Vec<_> = picks.iter().enumerate()
            .map(|(at, pick)| life(types[*pick], json!({"name": format!("n{at}")})))
            .collect();
        let whole = fold(&drafts);
        let mut repeated = whole.clone();
        let at = again.index(drafts.len());
        repeated.apply(Offset::new(at as u64 + 1), Epoch::FIRST, &event(at as i64, &drafts[at]));
        prop_assert_eq!(repeated, whole);
    }
}
