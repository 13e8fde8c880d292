//! `runcast exec` while its run is talked to, with the real binary and the real server: what is asked
//! is done once, said when it has happened, and never in the child's way.

#![allow(clippy::unwrap_used, reason = "tests")]

mod process;
mod server;
mod talk;

use process::{last, output, types};
use runcast_client::{CommandInfo, CommandRequest};
use runcast_event::Event;
use serde_json::{Value, json};
use talk::{World, is_gone, listener, of_type, place, state_of};

#[test]
fn a_stop_ends_the_whole_group_and_then_the_run_is_cancelled() {
    let world = World::new();
    let exec = world.exec();
    let script = "sleep 1000 & echo $!; trap 'echo bye; exit 3' TERM; while :; do wait; done";
    let mut running = exec.start_sh(script);
    let sleeper = running.line();
    world.until_type(&exec, "output");
    let request = CommandRequest {
        name: "stop".to_owned(),
        by: Some("ada".to_owned()),
        reason: Some("too wild".to_owned()),
        ..CommandRequest::default()
    };
    world.request(exec.run_id(), &request);
    let finished = running.finish();
    assert_eq!((finished.code(), finished.stdout.as_slice()), (3, b"bye\n".as_slice()));
    assert!(is_gone(&sleeper));
    let events = world.events(&exec);
    let expected = [
        "run.started",
        "output",
        "command.requested",
        "command.delivered",
        "output",
        "command.done",
        "run.cancelled",
    ];
    assert_eq!(types(&events), expected);
    let end = json!({"exit_code":3,"status_reason":"stopped by ada: too wild"});
    assert_eq!(last(&events), ("run.cancelled", end));
}

#[test]
fn a_child_that_does_not_stop_is_killed_after_the_grace_and_a_second_stop_is_the_first() {
    let world = World::new();
    let exec = world.exec().flags(&["--cancel-grace", "300ms"]);
    let mut running = exec.start_sh("trap '' TERM; echo up; while :; do sleep 0.01; done");
    assert_eq!(running.line(), "up");
    let first = world.ask(&exec, "stop");
    world.until(&exec, "command.delivered", &first);
    assert_eq!(world.ask(&exec, "stop").command, first.command);
    assert_eq!(running.finish().code(), 137);
    let events = world.events(&exec);
    assert_eq!(of_type(&events, "command.requested").len(), 1);
    assert_eq!(of_type(&events, "command.done").len(), 1);
    let end = json!({"signal":"SIGKILL","status_reason":"stopped by ada"});
    assert_eq!(last(&events), ("run.cancelled", end));
}

#[test]
fn a_pause_holds_the_group_still_behind_what_it_has_printed_and_a_resume_lets_it_go_on() {
    let world = World::new();
    let exec = world.exec();
    let script = "echo $$; printf half; while read line; do echo $line; done; exit 5";
    let mut running = exec.start_sh(script);
    let child = running.line();
    assert_eq!(running.read_exact(4), b"half");
    let pause = world.ask(&exec, "pause");
    let paused = world.until(&exec, "command.done", &pause);
    assert_eq!(state_of(&child), Some('T'));
    assert_eq!(output(&paused, "stdout"), format!("{child}\nhalf"));
    let tail = ["command.delivered", "run.paused", "command.done"];
    assert_eq!(types(&paused)[paused.len() - 3..], tail);
    running.say("while it holds still");

    let resume = world.ask(&exec, "resume");
    let resumed = world.until(&exec, "command.done", &resume);
    assert_ne!(state_of(&child), Some('T'));
    assert_eq!(running.line(), "while it holds still");
    let data = resumed[place(&resumed, |event| event.event_type == "run.resumed")].data_value();
    assert_eq!(data["status_reason"], "resumed by ada");
    assert_eq!(running.finish().code(), 5);
    let events = world.events(&exec);
    let text = |event: &Event| event.data_value()["text"].as_str().unwrap_or_default().to_owned();
    let resumed_at = place(&events, |event| event.event_type == "run.resumed");
    assert!(resumed_at < place(&events, |event| text(event).contains("holds still")));
    assert_eq!(last(&events), ("run.failed", json!({"exit_code":5})));
}

#[test]
fn nothing_stands_between_a_pause_and_its_resume_however_much_is_printed() {
    let world = World::new();
    let exec = world.exec();
    let mut running = exec.start_sh("while :; do echo tick; done");
    let printed = running.read_in_background();
    for _ in 0..3 {
        for name in ["pause", "resume"] {
            let asked = world.ask(&exec, name);
            world.until(&exec, "command.done", &asked);
        }
    }
    world.ask(&exec, "stop");
    running.finish();
    let printed = printed.join().unwrap();
    let events = world.events(&exec);
    assert_eq!(output(&events, "stdout").as_bytes(), printed);
    let paused = events.iter().enumerate().filter(|(_, event)| event.event_type == "run.paused");
    let mut pauses = 0;
    for (at, _) in paused {
        let resumed = place(&events[at..], |event| event.event_type == "run.resumed");
        assert!(of_type(&events[at..at + resumed], "output").is_empty());
        pauses += 1;
    }
    assert_eq!(pauses, 3);
}

#[test]
fn a_paused_run_that_is_stopped_goes_on_so_that_it_can_act() {
    let world = World::new();
    let exec = world.exec();
    let script = "trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.01; done";
    let mut running = exec.start_sh(script);
    assert_eq!(running.line(), "up");
    let pause = world.ask(&exec, "pause");
    world.until(&exec, "command.done", &pause);
    world.ask(&exec, "stop");
    let finished = running.finish();
    assert_eq!((finished.code(), finished.stdout.as_slice()), (4, b"bye\n".as_slice()));
    assert_eq!(last(&world.events(&exec)).0, "run.cancelled");
}

#[test]
fn a_signal_stops_a_paused_run_too() {
    let world = World::new();
    let exec = world.exec();
    let mut running = exec.start_sh("echo up; while :; do sleep 0.01; done");
    assert_eq!(running.line(), "up");
    let pause = world.ask(&exec, "pause");
    world.until(&exec, "command.done", &pause);
    running.signal("TERM");
    assert_eq!(running.finish().code(), 143);
    let end = json!({"signal":"SIGTERM","status_reason":"stopped by SIGTERM"});
    assert_eq!(last(&world.events(&exec)), ("run.cancelled", end));
}

#[test]
fn what_exec_does_not_know_is_a_line_for_the_child_which_says_itself_that_it_is_done() {
    let world = World::new();
    let exec = world.exec();
    let mut running = listener(&exec);
    let set = world.set(&exec, 1);
    assert_eq!(running.line(), "1");
    let done = world.until(&exec, "command.done", &set);
    let places = ["command.requested", "command.delivered", "command.done"]
        .map(|event_type| place(&done, |event| event.event_type == event_type));
    assert!(places.is_sorted(), "{places:?}");
    world.ask(&exec, "stop");
    running.finish();
}

#[test]
fn an_answer_is_a_line_for_the_child() {
    let world = World::new();
    let exec = world.exec();
    let ask = r#"echo '{"type":"input.requested","data":{"input":"q","prompt":"?"}}' > "$RUNCAST_EVENTS""#;
    let script = format!(r#"{ask}; read line < "$RUNCAST_COMMANDS"; echo "$line""#);
    let mut running = exec.start_sh(&script);
    world.until_type(&exec, "input.requested");
    let answer = json!({"deploy": true});
    let client = world.client();
    world.runtime.block_on(client.answer(exec.run_id(), "q", &answer, Some("ada"))).unwrap();
    let event: Value = serde_json::from_str(&running.line()).unwrap();
    assert_eq!(event["type"], "input.answered");
    assert_eq!(event["data"], json!({"input":"q","answer":answer,"by":"ada"}));
    assert_eq!(running.finish().code(), 0);
}

#[test]
fn commands_for_a_child_that_does_not_read_wait_up_to_a_bound_and_are_then_refused() {
    let world = World::new();
    let exec = world.exec();
    let mut running = exec.start_sh("echo up; read line");
    assert_eq!(running.line(), "up");
    let asked: Vec<CommandInfo> = (0..17).map(|number| world.set(&exec, number)).collect();
    let events = world.until(&exec, "command.refused", &asked[16]);
    let refused = of_type(&events, "command.refused");
    assert_eq!(refused.len(), 1);
    let reason = refused[0].data_value()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("does not read RUNCAST_COMMANDS"), "{reason}");
    assert!(of_type(&events, "command.delivered").is_empty());
    running.say("");
    assert_eq!(running.finish().code(), 0);
}

#[test]
fn an_event_of_the_child_that_cannot_be_true_is_left_out_told_of_once_and_the_run_goes_on() {
    let world = World::new();
    let exec = world.exec();
    let stages = r#"{"type":"run.updated","data":{"stages":["plan","ship"]}}"#;
    let good = r#"{"type":"stage.started","stage":"plan"}"#;
    let bad = r#"{"type":"stage.started","stage":"plam"}"#;
    let script = format!(
        "for line in '{stages}' '{bad}' '{good}' '{bad}' '{bad}'; do echo \"$line\" > \"$RUNCAST_EVENTS\"; done; exit 2"
    );
    let finished = exec.sh(&script);
    assert_eq!(finished.code(), 2);
    let told = finished.stderr.lines().filter(|line| line.contains("plam")).count();
    assert_eq!(told, 1, "{}", finished.stderr);
    assert!(finished.stderr.contains("refused 3 events"), "{}", finished.stderr);
    let events = world.events(&exec);
    let expected = [
        "run.started",
        "run.updated",
        "producer.gap",
        "stage.started",
        "producer.gap",
        "producer.gap",
        "run.failed",
    ];
    assert_eq!(types(&events), expected);
}
