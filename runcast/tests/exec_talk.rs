//! `runcast exec` while its run is talked to, with the real binary and the real server: what is asked
//! is done once, said when it has happened, and never in the child's way.

#![allow(clippy::unwrap_used, reason = "tests")]

mod process;
mod server;

use process::{Exec, Running, events, events_until, last, output, spool_send, spools, types};
use runcast_client::{Client, CommandInfo, CommandRequest, RunDefinition};
use runcast_event::{Event, RunId};
use serde_json::{Value, json};
use server::Server;

/// A child that says what it hears in `RUNCAST_COMMANDS`, and that it has done it.
const LISTENER: &str = r#"
import json, os, sys
print("up", flush=True)
with open(os.environ["RUNCAST_COMMANDS"]) as commands, open(os.environ["RUNCAST_EVENTS"], "w") as events:
    for line in commands:
        data = json.loads(line)["data"]
        print(json.dumps(data.get("args", data.get("answer"))), flush=True)
        if "command" in data:
            events.write(json.dumps({"type": "command.done", "data": {"command": data["command"]}}) + "\n")
            events.flush()
"#;

struct World {
    directory: tempfile::TempDir,
    server: Server,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::started(directory.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { directory, server, runtime }
    }

    fn exec(&self) -> Exec {
        Exec::new(&self.server.url(), self.directory.path())
    }

    fn client(&self) -> Client {
        Client::new(&self.server.url()).unwrap()
    }

    /// Asks, once there is such a run.
    fn request(&self, run: &RunId, request: &CommandRequest) -> CommandInfo {
        events_until(&self.server.url(), run, |events| !events.is_empty());
        self.runtime.block_on(self.client().command(run, request)).unwrap()
    }

    /// Asks for it as ada.
    fn ask(&self, exec: &Exec, name: &str) -> CommandInfo {
        let request = CommandRequest {
            name: name.to_owned(),
            by: Some("ada".to_owned()),
            ..CommandRequest::default()
        };
        self.request(exec.run_id(), &request)
    }

    fn set(&self, exec: &Exec, number: u64) -> CommandInfo {
        let args = Some(json!(number));
        let request = CommandRequest { name: "set".to_owned(), args, ..CommandRequest::default() };
        self.request(exec.run_id(), &request)
    }

    /// The events up to the one of this type for this command.
    fn until(&self, exec: &Exec, event_type: &str, command: &CommandInfo) -> Vec<Event> {
        let is_it = |event: &Event| {
            event.event_type == event_type && event.data_value()["command"] == command.command
        };
        let until = |events: &[Event]| events.last().is_some_and(is_it);
        let events = events_until(&self.server.url(), exec.run_id(), until);
        assert!(events.last().is_some_and(is_it), "{:?}", types(&events));
        events
    }

    /// The events when there is one of this type.
    fn until_type(&self, exec: &Exec, event_type: &str) -> Vec<Event> {
        events_until(&self.server.url(), exec.run_id(), |events| {
            events.last().is_some_and(|event| event.event_type == event_type)
        })
    }

    fn events(&self, exec: &Exec) -> Vec<Event> {
        events(&self.server.url(), exec.run_id())
    }

    /// The server is killed, and another one is there.
    fn restart(&mut self) {
        self.server.kill();
        self.server.start();
    }
}

fn listener(exec: &Exec) -> Running {
    let mut running = exec.start(&["python3", "-c", LISTENER]);
    assert_eq!(running.line(), "up");
    running
}

/// The directory of the only spool.
fn spool_of(world: &World) -> std::path::PathBuf {
    let mut entries = std::fs::read_dir(world.directory.path().join("spool")).unwrap();
    entries.next().unwrap().unwrap().path()
}

/// The state that the system shows of a process; none when it is gone.
fn state_of(pid: &str) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn is_gone(pid: &str) -> bool {
    state_of(pid).is_none_or(|state| state == 'Z')
}

fn of_type<'a>(events: &'a [Event], event_type: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| event.event_type == event_type).collect()
}

fn place(events: &[Event], is_it: impl Fn(&Event) -> bool) -> usize {
    events.iter().position(is_it).unwrap()
}

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
fn a_run_without_commands_hears_none_and_counts_as_alive() {
    let world = World::new();
    let flags = ["--no-commands", "--lost-after", "1s"];
    let exec = world.exec().flags(&flags).env("RUNCAST_COMMANDS", "that of a run around it");
    let script = "echo \"<$RUNCAST_COMMANDS>\"; read line; sleep 2.5; exit 6";
    let mut running = exec.start_sh(script);
    assert_eq!(running.line(), "<>");
    let stop = world.ask(&exec, "stop");
    running.say("");
    assert_eq!(running.finish().code(), 6);
    let events = world.events(&exec);
    assert_eq!(last(&events), ("run.failed", json!({"exit_code":6})));
    assert_eq!(of_type(&events, "command.delivered").len(), 0);
    let run = world.runtime.block_on(world.client().run(exec.run_id())).unwrap();
    assert_eq!(
        (run.commands()[0].command.as_str(), run.commands()[0].status.as_str()),
        (&*stop.command, "closed")
    );
}

#[test]
fn a_silent_child_is_alive_as_long_as_exec_is_and_a_killed_exec_has_crashed() {
    let world = World::new();
    let exec = world.exec().flags(&["--lost-after", "1s"]);
    assert_eq!(exec.sh("sleep 2.5").code(), 0);
    let events = world.events(&exec);
    assert_eq!(types(&events), ["run.started", "run.completed"]);
    assert_eq!(events[0].data_value()["lost_after_ms"], 1_000);

    let exec = world.exec().flags(&["--lost-after", "1s"]);
    let mut running = exec.start_sh("echo $$; read line");
    let _child_ends_with_its_stdin = running.line();
    world.until_type(&exec, "output");
    running.kill();
    assert_eq!(last(&world.events(&exec)).0, "run.crashed");
}

#[test]
fn a_run_whose_time_is_up_is_stopped() {
    let world = World::new();
    let exec = world.exec();
    let deadline = runcast_event::Timestamp::from_micros(
        runcast_event::Timestamp::now().as_micros() + 1_500_000,
    );
    let definition = RunDefinition {
        id: Some(exec.run_id().clone()),
        deadline: Some(deadline),
        ..RunDefinition::default()
    };
    world.runtime.block_on(world.client().create_run(&definition)).unwrap();
    let finished = exec.sh("sleep 1000");
    assert_eq!(finished.code(), 143, "{}", finished.stderr);
    assert_eq!(last(&world.events(&exec)).0, "run.timed_out");
}

#[test]
fn what_was_asked_before_exec_began_is_heard_then() {
    let world = World::new();
    let exec = world.exec();
    let definition = RunDefinition { id: Some(exec.run_id().clone()), ..RunDefinition::default() };
    world.runtime.block_on(world.client().create_run(&definition)).unwrap();
    let set = world.set(&exec, 7);
    let mut running = listener(&exec);
    assert_eq!(running.line(), "7");
    world.until(&exec, "command.done", &set);
    world.ask(&exec, "stop");
    running.finish();
}

#[test]
fn an_exec_that_goes_on_with_a_run_hears_what_was_asked_meanwhile_and_nothing_again() {
    let world = World::new();
    let exec = world.exec();
    let mut running = listener(&exec);
    let before = world.set(&exec, 1);
    assert_eq!(running.line(), "1");
    world.until(&exec, "command.done", &before);
    running.kill();
    world.set(&exec, 2);

    let mut running = listener(&exec);
    assert_eq!(running.line(), "2");
    let after = world.set(&exec, 3);
    assert_eq!(running.line(), "3");
    let events = world.until(&exec, "command.done", &after);
    assert_eq!(of_type(&events, "command.delivered").len(), 3);
    world.ask(&exec, "stop");
    running.finish();
}

#[test]
fn what_a_killed_exec_has_handed_over_is_not_handed_over_again_although_no_server_knows() {
    let mut world = World::new();
    let exec = world.exec();
    let mut running = exec.start(&["python3", "-c", &format!("input()\n{LISTENER}")]);
    let taken = world.set(&exec, 1);
    // It waits for the child, which does not read yet.
    let place = spool_of(&world).join("mailbox.json");
    while !std::fs::read_to_string(&place).is_ok_and(|place| !place.contains("[]")) {
        std::thread::yield_now();
    }
    world.server.kill();
    running.say("");
    assert_eq!((running.line(), running.line()), ("up".to_owned(), "1".to_owned()));
    while !std::fs::read_to_string(&place).is_ok_and(|place| place.contains("[]")) {
        std::thread::yield_now();
    }
    running.kill();
    world.server.start();

    let mut running = listener(&exec);
    let next = world.set(&exec, 2);
    assert_eq!(running.line(), "2");
    let events = world.until(&exec, "command.done", &next);
    let delivered = of_type(&events, "command.delivered");
    assert!(delivered.iter().all(|event| event.data_value()["command"] != taken.command));
    assert_eq!(spool_send(world.directory.path()).code(), 0);
    world.until(&exec, "command.delivered", &taken);
    world.ask(&exec, "stop");
    running.finish();
    assert_eq!(spools(world.directory.path()), 0);
}

#[test]
fn a_stop_that_a_killed_exec_was_in_the_middle_of_is_done_by_the_next() {
    let world = World::new();
    let exec = world.exec().flags(&["--cancel-grace", "1h"]);
    let mut running = exec.start_sh("trap '' TERM; echo up; read line");
    assert_eq!(running.line(), "up");
    let stop = world.ask(&exec, "stop");
    world.until(&exec, "command.delivered", &stop);
    running.kill();
    drop(running);
    assert_eq!(exec.sh("sleep 1000").code(), 143);
    let events = world.events(&exec);
    assert_eq!(of_type(&events, "command.done").len(), 1);
    let end = json!({"signal":"SIGTERM","status_reason":"stopped by ada"});
    assert_eq!(last(&events), ("run.cancelled", end));
}

#[test]
fn a_server_that_is_killed_between_all_steps_loses_nothing_and_repeats_nothing() {
    let mut world = World::new();
    let exec = world.exec();
    let mut running = listener(&exec);
    world.restart();
    let set = world.set(&exec, 1);
    world.restart();
    assert_eq!(running.line(), "1");
    world.restart();
    world.until(&exec, "command.done", &set);
    let pause = world.ask(&exec, "pause");
    world.restart();
    world.until(&exec, "command.done", &pause);
    world.restart();
    let resume = world.ask(&exec, "resume");
    world.restart();
    world.until(&exec, "command.done", &resume);
    world.restart();
    world.ask(&exec, "stop");
    world.restart();
    let finished = running.finish();
    assert_eq!((finished.code(), finished.stdout.len()), (143, 0), "{}", finished.stderr);
    let events = world.events(&exec);
    for event_type in ["command.requested", "command.delivered", "command.done"] {
        assert_eq!(of_type(&events, event_type).len(), 4, "{event_type}: {:?}", types(&events));
    }
    for event_type in ["run.paused", "run.resumed", "run.cancelled"] {
        assert_eq!(of_type(&events, event_type).len(), 1, "{event_type}");
    }
    assert!(of_type(&events, "producer.gap").is_empty());
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
