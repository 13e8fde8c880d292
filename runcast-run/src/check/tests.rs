use runcast_event::parse_event;
use serde_json::{Value, json};

use super::*;
use crate::testing::{at, event, fold};

fn refused(before: &[Value], draft: Value) -> (&'static str, Option<&'static str>, String) {
    let refusal = fold(before).check(&event(99, &draft)).expect_err(&draft.to_string());
    (refusal.code(), refusal.state(), refusal.to_string())
}

fn taken(before: &[Value], draft: Value) {
    assert_eq!(fold(before).check(&event(99, &draft)), Ok(()), "{draft}");
}

fn of_type(event_type: &str) -> Value {
    json!({"type": event_type})
}

fn step(event_type: &str) -> Value {
    json!({"type": event_type, "step": "s"})
}

fn command(event_type: &str, id: &str, name: &str) -> Value {
    json!({"type": event_type, "data": {"command": id, "name": name, "reason": "r"}})
}

fn asked() -> Value {
    json!({"type": "input.requested", "data": {"input": "i", "prompt": "?", "choices": ["yes", "no"]}})
}

fn answer(input: &str, answer: &str) -> Value {
    json!({"type": "input.answered", "data": {"input": input, "answer": answer, "by": "ann"}})
}

#[test]
fn nothing_comes_after_the_end() {
    for draft in
        [of_type("run.completed"), of_type("my.event"), command("command.requested", "c", "stop")]
    {
        let (code, state, text) = refused(&[of_type("run.cancelled")], draft);
        assert_eq!((code, state), ("run_ended", Some("cancelled")));
        assert_eq!(text, "the run is cancelled: nothing can come after its end");
    }
}

#[test]
fn only_what_is_paused_can_be_resumed() {
    let (code, state, text) = refused(&[of_type("run.started")], of_type("run.resumed"));
    assert_eq!((code, state), ("run_not_paused", Some("running")));
    assert_eq!(text, "the run is running: only one that is paused can be resumed");
    let resume = || command("command.requested", "c", "resume");
    assert_eq!(refused(&[of_type("run.started")], resume()).0, "run_not_paused");
    let paused = [of_type("run.started"), of_type("run.paused")];
    taken(&paused, of_type("run.resumed"));
    taken(&paused, resume());
    // A pause on its way can be taken back.
    taken(&[of_type("run.started"), command("command.requested", "p", "pause")], resume());
    // A paused run that also waits is paused.
    taken(&[of_type("run.paused"), asked()], of_type("run.resumed"));
    taken(&paused, of_type("run.paused"));
}

#[test]
fn a_stage_is_one_of_those_declared_if_any_are() {
    let stage = |label: Value| json!({"type": "stage.started", "stage": label});
    let declared = [json!({"type": "run.started", "data": {"stages": ["plan", {"name": "do"}]}})];
    let (code, _, text) = refused(&declared, stage(json!("paln")));
    assert_eq!(code, "stage_not_declared");
    assert_eq!(
        text,
        "stage \"paln\" is not one of the 2 that the run declares: plan, do; run.updated can declare others"
    );
    refused(&declared, stage(json!(3)));
    for label in [json!("plan"), json!(2), json!("2")] {
        taken(&declared, stage(label));
    }
    taken(&[], stage(json!("anything")));
    taken(&[], stage(json!(4)));
    // A label of another event only says where it belongs.
    taken(&declared, json!({"type": "my.event", "stage": "paln"}));
    taken(&[], json!({"type": "run.started", "data": {"stages": "agent_pipeline"}}));
    let unknown = json!({"type": "run.started", "data": {"stages": "pipeline"}});
    assert_eq!(
        refused(&[], unknown).2,
        "\"pipeline\" is not a built-in list of stages; there is agent_pipeline"
    );
}

#[test]
fn a_step_completes_only_after_it_began() {
    let (code, state, text) = refused(&[], step("step.completed"));
    assert_eq!((code, state), ("step_not_started", Some("pending")));
    assert!(
        text.starts_with("step \"s\" is pending: it can be started, skipped or fail"),
        "{text}"
    );
    assert_eq!(refused(&[step("step.skipped")], step("step.completed")).1, Some("skipped"));
    let elsewhere = json!({"type": "step.started", "step": "s", "variation": "v"});
    let other = json!({"type": "step.completed", "step": "s", "variation": "w"});
    assert_eq!(refused(std::slice::from_ref(&elsewhere), other).0, "step_not_started");
    taken(&[elsewhere], step("step.completed"));
    for begun in ["step.started", "step.progress", "step.retrying"] {
        taken(&[step(begun)], step("step.completed"));
    }
    // Said twice, as by who does not know whether it was heard.
    taken(&[step("step.started"), step("step.completed")], step("step.completed"));
    taken(&[], step("step.failed"));
}

#[test]
fn a_question_is_answered_once() {
    let (code, _, text) = refused(&[asked()], answer("x", "yes"));
    assert_eq!((code, text.as_str()), ("input_unknown", "there is no input \"x\"; open are i"));
    let (code, state, text) = refused(&[asked(), answer("i", "yes")], answer("i", "no"));
    assert_eq!((code, state), ("input_closed", Some("answered")));
    let since = at(2);
    assert_eq!(
        text,
        format!("input \"i\" is answered by \"ann\" since {since} and takes no answer any more")
    );
    let late = json!({"type": "input.timed_out", "data": {"input": "i"}});
    assert_eq!(refused(&[asked(), late.clone()], answer("i", "no")).1, Some("timed_out"));
    assert_eq!(refused(&[asked(), answer("i", "no")], late).0, "input_closed");
    assert_eq!(refused(&[asked()], asked()).0, "input_exists");
    taken(&[asked()], answer("i", "no"));
}

#[test]
fn an_answer_is_one_of_the_choices() {
    let (code, _, text) = refused(&[asked()], answer("i", "maybe"));
    assert_eq!(code, "not_a_choice");
    assert_eq!(text, "the answer to input \"i\" must be one of its choices: yes, no");
    let object = json!({"type": "input.answered", "data": {"input": "i", "answer": {"a": 1}}});
    assert_eq!(refused(&[asked()], object).0, "not_a_choice");
}

#[test]
fn a_question_that_is_enormous_and_one_too_many_are_refused() {
    let large = json!({"type": "object", "description": "x".repeat(limits::ASKED_BYTES_MAX)});
    let draft =
        json!({"type": "input.requested", "data": {"input": "i", "prompt": "?", "schema": large}});
    let (code, _, text) = refused(&[], draft);
    assert_eq!(code, "value_too_large");
    assert!(text.starts_with("data.schema has 16"), "{text}");
    let ask = |n: usize| json!({"type": "input.requested", "data": {"input": n.to_string(), "prompt": "?"}});
    let open: Vec<_> = (0..limits::INPUTS_MAX).map(ask).collect();
    assert_eq!(refused(&open, ask(99)).0, "too_many_inputs");
    taken(&open[1..], ask(99));
    let ask = |n: usize| command("command.requested", &n.to_string(), "set");
    let open: Vec<_> = (0..limits::COMMANDS_MAX).map(ask).collect();
    assert_eq!(refused(&open, ask(99)).0, "too_many_commands");
}

#[test]
fn two_stops_are_one_and_so_are_two_commands_with_one_key() {
    let stop = |id| command("command.requested", id, "stop");
    let (code, _, text) = refused(&[stop("1")], stop("2"));
    assert_eq!(code, "command_already_requested");
    assert_eq!(text, "this stop was asked for already: it is command \"1\"");
    let state = fold(&[stop("1")]);
    assert_eq!(state.same_command("stop", None).map(|same| &*same.command), Some("1"));
    taken(&[stop("1"), command("command.refused", "1", "stop")], stop("2"));
    let keyed = |id: &str| json!({"type": "command.requested", "data": {"command": id, "name": "set", "key": "k"}});
    assert_eq!(
        refused(&[keyed("1"), command("command.done", "1", "set")], keyed("2")).0,
        "command_already_requested"
    );
    assert_eq!(refused(&[keyed("1")], keyed("1")).0, "command_exists");
    taken(&[command("command.requested", "1", "set")], command("command.requested", "2", "set"));
}

#[test]
fn a_command_has_one_outcome() {
    let asked = [command("command.requested", "1", "set")];
    assert_eq!(refused(&asked, command("command.done", "2", "set")).0, "command_unknown");
    for outcome in ["command.delivered", "command.done", "command.refused", "command.expired"] {
        taken(&asked, command(outcome, "1", "set"));
    }
    let done = [asked[0].clone(), command("command.done", "1", "set")];
    let (code, state, text) = refused(&done, command("command.refused", "1", "set"));
    assert_eq!((code, state), ("command_closed", Some("done")));
    assert_eq!(text, "command \"1\" (set) is done already: that does not change");
}

#[test]
fn a_batch_is_judged_as_a_whole() {
    let state = fold(&[of_type("run.started")]);
    let batch =
        |drafts: &[Value]| -> Vec<Payload> { drafts.iter().map(|draft| event(9, draft)).collect() };
    assert_eq!(state.check_all(&batch(&[step("step.started"), step("step.completed")])), Ok(()));
    let refused = state.check_all(&batch(&[
        step("step.started"),
        of_type("my.event"),
        of_type("run.resumed"),
    ]));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "event 3: the run is running: only one that is paused can be resumed"
    );
    let after_end =
        state.check_all(&batch(&[of_type("my.event"), of_type("run.failed"), of_type("my.event")]));
    assert_eq!(after_end.unwrap_err().index, 2);
}

#[test]
fn a_step_with_control_characters_in_its_name_is_no_event() {
    let draft = json!({"type": "step.started", "step": "a\u{1b}[2J"});
    let error = parse_event(draft.to_string().as_bytes(), at(1)).unwrap_err();
    assert_eq!(error.to_string(), "step has the control character '\\u{1b}'");
}
