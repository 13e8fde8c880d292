//! `runcast exec` whose run is talked to while the server or exec itself is away, is killed, and comes
//! back: nothing that is asked is lost or done twice, and every run comes to its end.

#![allow(clippy::unwrap_used, reason = "tests")]

mod process;
mod server;
mod talk;

use process::{events_until, last, output, spools, types};
use runcast_client::RunDefinition;
use runcast_event::{Event, Timestamp};
use serde_json::json;
use talk::{LISTENER, World, listener, of_type, spool_of};

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
    let deadline = Timestamp::from_micros(Timestamp::now().as_micros() + 1_500_000);
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
    // What the killed one did is told by the next, which has taken its spool over.
    let events = world.until(&exec, "command.done", &next);
    let delivered = of_type(&events, "command.delivered");
    let told = |event: &&&Event| event.data_value()["command"] == taken.command;
    assert_eq!(delivered.iter().filter(told).count(), 1);
    world.ask(&exec, "stop");
    running.finish();
    assert_eq!(spools(world.directory.path()), 0);
}

#[test]
fn what_a_killed_exec_could_not_send_comes_before_what_the_next_one_does() {
    let mut world = World::new();
    let exec = world.exec();
    let mut running = exec.start_sh("echo one; read line; echo two; read line");
    assert_eq!(running.line(), "one");
    events_until(&world.server.url(), exec.run_id(), |events| output(events, "stdout") == "one\n");
    world.server.kill();
    running.say("");
    assert_eq!(running.line(), "two");
    let segment = || std::fs::read_dir(spool_of(&world)).unwrap().flatten();
    let has_two = |entry: std::fs::DirEntry| {
        std::fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("\"two\\n"))
    };
    while !segment().any(has_two) {
        std::thread::yield_now();
    }
    running.kill();
    world.server.start();
    assert_eq!(exec.sh("echo three").code(), 0);
    let events = world.events(&exec);
    assert_eq!(output(&events, "stdout"), "one\ntwo\nthree\n");
    assert_eq!(last(&events).0, "run.completed");
    assert_eq!(spools(world.directory.path()), 0);
}

#[test]
fn of_two_execs_of_a_run_the_later_has_it_and_the_earlier_is_fenced_off() {
    let world = World::new();
    let exec = world.exec();
    let mut earlier = listener(&exec);
    let first = world.set(&exec, 1);
    assert_eq!(earlier.line(), "1");
    world.until(&exec, "command.done", &first);

    let elsewhere = tempfile::tempdir().unwrap();
    let other = exec.elsewhere(elsewhere.path());
    let mut later = listener(&other);
    let second = world.set(&exec, 2);
    assert_eq!(later.line(), "2");
    // The earlier may have heard that one too, as it was not told yet: its word of it is refused.
    world.until(&exec, "command.done", &second);
    world.ask(&exec, "stop");
    later.finish();
    let events = world.events(&exec);
    assert_eq!(last(&events).0, "run.cancelled");
    assert_eq!(of_type(&events, "command.done").len(), 3);
    earlier.signal("TERM");
    let earlier = earlier.finish();
    assert!(
        earlier.stderr.contains("another process publishes this run now"),
        "{}",
        earlier.stderr
    );
    assert_eq!(world.events(&exec).len(), events.len());
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
