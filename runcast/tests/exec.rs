//! `runcast exec` as its user and its child see it, with the real binary and the real server.

#![allow(clippy::unwrap_used, reason = "tests")]

mod process;
mod server;

use std::io::Write as _;
use std::path::Path;

use process::{Exec, events, events_until, last, output, types};
use runcast_event::Event;
use serde_json::json;
use server::Server;

struct World {
    directory: tempfile::TempDir,
    server: Server,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::started(directory.path());
        Self { directory, server }
    }

    fn exec(&self) -> Exec {
        Exec::new(&self.server.url(), self.directory.path())
    }

    fn events(&self, exec: &Exec) -> Vec<Event> {
        events(&self.server.url(), exec.run_id())
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

#[test]
fn the_exit_code_and_the_last_event_are_the_childs() {
    let world = World::new();
    let cases = [
        ("exit 0", 0, "run.completed", json!({"exit_code":0})),
        ("exit 3", 3, "run.failed", json!({"exit_code":3})),
        ("kill -TERM $$", 143, "run.failed", json!({"signal":"SIGTERM"})),
        ("kill -KILL $$", 137, "run.failed", json!({"signal":"SIGKILL"})),
    ];
    for (script, code, event_type, data) in cases {
        let exec = world.exec();
        let finished = exec.sh(script);
        assert_eq!(finished.code(), code, "{script}: {}", finished.stderr);
        let events = world.events(&exec);
        assert_eq!(events[0].event_type, "run.started");
        assert_eq!(last(&events), (event_type, data), "{script}");
    }
    assert_eq!(process::spools(world.path()), 0);
}

#[test]
fn the_address_comes_first_and_quiet_says_nothing() {
    let world = World::new();
    let exec = world.exec();
    let expected =
        format!("runcast: {}/runs/{}\nerr\n", world.server.url(), exec.run_id().as_str());
    assert_eq!(exec.sh("echo err >&2").stderr, expected);
    assert_eq!(world.exec().flags(&["--quiet"]).sh("echo err >&2").stderr, "err\n");
}

#[test]
fn a_command_that_is_not_there_or_cannot_be_run_ends_as_in_a_shell() {
    let world = World::new();
    for (command, code) in [("/no/such/command", 127), ("/etc/passwd", 126), ("/", 126)] {
        let exec = world.exec();
        let finished = exec.start(&[command]).finish();
        assert_eq!(finished.code(), code, "{command}");
        assert!(finished.stderr.contains(command), "{}", finished.stderr);
        let events = world.events(&exec);
        assert_eq!(types(&events), ["run.started", "run.failed"]);
        assert_eq!(last(&events).1["exit_code"], code);
        assert!(last(&events).1["error"].as_str().unwrap().contains(command));
    }
}

#[test]
fn a_wrong_flag_is_refused_before_anything_runs() {
    let world = World::new();
    for flags in [["--name", ""], ["--variation", "a\nb"], ["--run", "a/b"], ["--pty", "maybe"]] {
        let finished = world.exec().flags(&flags).sh("echo ran");
        assert_eq!((finished.code(), finished.stdout.len()), (2, 0), "{flags:?}");
    }
}

#[test]
fn the_run_carries_what_the_flags_say_and_knows_its_parent() {
    let world = World::new();
    let exec = world
        .exec()
        .flags(&["--workflow", "w", "--name", "n", "--tag", "a", "--tag", "b", "--variation", "v"])
        .env("RUNCAST_RUN_ID", "outer");
    let finished = exec.sh("echo $RUNCAST_RUN_ID $RUNCAST_URL");
    let events = world.events(&exec);
    let data = events[0].data_value();
    assert_eq!(data["workflow"], "w");
    assert_eq!(data["name"], "n");
    assert_eq!(data["tags"], json!(["a", "b"]));
    assert_eq!(data["command"][0], "sh");
    assert_eq!(data["metadata"], json!({"parent_run":"outer"}));
    assert!(events.iter().all(|event| event.labels.variation.as_deref() == Some("v")));
    let expected = format!("{} {}\n", exec.run_id(), world.server.url());
    assert_eq!(String::from_utf8(finished.stdout).unwrap(), expected);
}

#[test]
fn a_signal_reaches_the_whole_group_and_the_run_is_cancelled() {
    let world = World::new();
    let exec = world.exec();
    let script = "(trap 'echo inner; exit 0' TERM; echo up; while :; do read x < /dev/tty; done) &
        trap 'wait; echo outer; exit 7' TERM; echo up; while :; do wait; done";
    // Reading from a terminal that is not there fails at once: the loops only burn time.
    let mut running = exec.start_sh(script);
    assert_eq!((running.line(), running.line()), ("up".to_owned(), "up".to_owned()));
    running.signal("TERM");
    let finished = running.finish();
    let text = String::from_utf8(finished.stdout).unwrap();
    assert!(text.contains("inner") && text.contains("outer"), "{text}");
    assert_eq!(finished.status.code(), Some(7));
    let expected = json!({"exit_code":7,"status_reason":"stopped by SIGTERM"});
    assert_eq!(last(&world.events(&exec)), ("run.cancelled", expected));
}

#[test]
fn a_child_that_does_not_stop_is_killed_after_the_grace() {
    let world = World::new();
    let exec = world.exec().flags(&["--cancel-grace", "50ms"]);
    let mut running = exec.start_sh("trap '' INT TERM; echo up; while :; do :; done");
    assert_eq!(running.line(), "up");
    running.signal("INT");
    assert_eq!(running.finish().code(), 137);
    let expected = json!({"signal":"SIGKILL","status_reason":"stopped by SIGINT"});
    assert_eq!(last(&world.events(&exec)), ("run.cancelled", expected));
}

#[test]
fn a_signal_that_was_ignored_before_stays_ignored() {
    let world = World::new();
    let exec = world.exec().under("trap '' HUP");
    let mut running = exec.start_sh("echo up; read go; kill -HUP $$; exit 5");
    assert_eq!(running.line(), "up");
    running.signal("HUP");
    running.say("go");
    assert_eq!(running.finish().code(), 5);
}

#[test]
fn a_background_process_that_keeps_the_pipe_open_does_not_hold_exec() {
    let world = World::new();
    let exec = world.exec();
    let finished = exec.sh("sleep 600 & echo $!; exit 4");
    assert_eq!(finished.code(), 4);
    let pid = String::from_utf8(finished.stdout).unwrap();
    // It lives: only a run that is asked to stop takes its group with it.
    let kill = std::process::Command::new("kill").arg(pid.trim()).status().unwrap();
    assert!(kill.success());
    assert_eq!(last(&world.events(&exec)).0, "run.failed");
}

#[test]
fn a_hundred_megabytes_pass_through_and_arrive() {
    const BYTES: usize = 100_000_000;
    let world = World::new();
    let exec = world.exec().flags(&["--drain-timeout", "2m"]);
    let script =
        format!("yes 'a line of output that is as long as such lines are' | head -c {BYTES}");
    let start = std::time::Instant::now();
    let finished = exec.sh(&script);
    eprintln!("100 MB: exec took {:?}", start.elapsed());
    assert_eq!((finished.code(), finished.stdout.len()), (0, BYTES));
    let text = output(&world.events(&exec), "stdout");
    assert!(text.as_bytes() == finished.stdout, "{} bytes arrived", text.len());
}

#[test]
fn bytes_that_are_no_text_pass_through_and_are_replaced_in_the_event() {
    let world = World::new();
    let exec = world.exec();
    let finished = exec.sh(r"printf 'a\377\376b\000\r\033[1mc\n'; printf '\360\237'");
    assert_eq!(finished.stdout, b"a\xff\xfeb\0\r\x1b[1mc\n\xf0\x9f");
    let events = world.events(&exec);
    assert_eq!(output(&events, "stdout"), "a\u{fffd}\u{fffd}b\0\r\u{1b}[1mc\n\u{fffd}");
    let replaced: u64 =
        events.iter().filter_map(|event| event.data_value()["replaced_bytes"].as_u64()).sum();
    assert_eq!(replaced, 4);
}

#[test]
fn every_byte_there_is_passes_through_unchanged() {
    let world = World::new();
    let bytes: Vec<u8> =
        (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut running = world.exec().start(&["cat"]);
    let mut stdin = running.stdin.take().unwrap();
    let input = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    assert!(running.read_exact(bytes.len()) == bytes);
    writer.join().unwrap();
    assert_eq!(running.finish().code(), 0);
}

#[test]
fn a_partial_line_appears_while_the_child_waits() {
    let world = World::new();
    let exec = world.exec();
    let mut running = exec.start_sh("printf '🔸 tok'; read go; printf 'en\\n'");
    let run = exec.run_id();
    let so_far = events_until(&world.server.url(), run, |events| output(events, "stdout") == "tok");
    assert_eq!(types(&so_far), ["run.started", "output"]);
    running.say("go");
    assert_eq!(running.finish().stdout, "🔸 token\n".as_bytes());
    assert_eq!(output(&world.events(&exec), "stdout"), "token\n");
}

#[test]
fn log_lines_become_log_events_in_the_order_of_the_output() {
    let world = World::new();
    let exec = world.exec();
    let log = r#"{"timestamp":"2020-01-01T00:00:00Z","level":"WARNING","message":"m","n":1}"#;
    let finished = exec.sh(&format!("echo a; echo '{log}'; echo b"));
    assert_eq!(String::from_utf8(finished.stdout).unwrap(), format!("a\n{log}\nb\n"));
    let events = world.events(&exec);
    assert_eq!(types(&events), ["run.started", "output", "log", "output", "run.completed"]);
    assert_eq!(events[2].time.to_string(), "2020-01-01T00:00:00.000000Z");
    assert_eq!(events[2].data_value(), json!({"level":"warn","message":"m","fields":{"n":1}}));
    assert_eq!(events[2].labels.channel.as_deref(), Some("logs"));
}

#[test]
fn a_shell_and_python_write_typed_events() {
    let world = World::new();
    let exec = world.exec();
    let python = "import json, os\nwith open(os.environ['RUNCAST_EVENTS'], 'w') as events:\n    \
        events.write(json.dumps({'type': 'step.completed', 'step': 's', 'data': {'duration_ms': 3}}) + '\\n')\n    \
        events.write('{\"type\":\"run.completed\",\"data\":{\"output\":{\"answer\":42}}}\\n')";
    let script = "echo '{\"type\":\"step.started\",\"step\":\"s\"}' > $RUNCAST_EVENTS
        echo '{\"type\":\"step.wrong\"}' > $RUNCAST_EVENTS
        python3 -c \"$0\"";
    let finished = exec.start(&["sh", "-c", script, python]).finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    let events = world.events(&exec);
    let expected = ["run.started", "step.started", "log", "step.completed", "run.completed"];
    assert_eq!(types(&events), expected);
    let warning = events[2].data_value();
    assert_eq!(warning["level"], "warn");
    assert!(warning["message"].as_str().unwrap().contains("step.wrong"), "{warning}");
    assert_eq!(last(&events).1, json!({"exit_code":0,"output":{"answer":42}}));
}

#[test]
fn secrets_of_the_environment_pass_through_and_are_not_published() {
    let world = World::new();
    let script = "printf 'key sk-12'; printf '3456 end\n'
        echo '{\"type\":\"my.event\",\"data\":\"sk-123456\"}' > $RUNCAST_EVENTS";
    let exec = world.exec().env("OPENAI_API_KEY", "sk-123456");
    assert_eq!(exec.sh(script).stdout, b"key sk-123456 end\n");
    let events = world.events(&exec);
    assert_eq!(output(&events, "stdout"), "key [redacted:OPENAI_API_KEY] end\n");
    assert!(events.iter().all(|event| !event.data_value().to_string().contains("sk-123456")));

    let exec = world.exec().env("OPENAI_API_KEY", "sk-123456").flags(&["--no-redact"]);
    exec.sh(script);
    assert_eq!(output(&world.events(&exec), "stdout"), "key sk-123456 end\n");
}

#[test]
fn with_a_terminal_the_child_sees_one_of_its_own() {
    let world = World::new();
    let exec = world.exec().flags(&["--pty", "always"]);
    let finished =
        exec.sh("test -t 1 && test -t 2 && stty size < /dev/tty && echo err >&2; exit 6");
    assert_eq!(finished.code(), 6, "{}", finished.stderr);
    assert_eq!(String::from_utf8(finished.stdout).unwrap(), "24 80\r\nerr\r\n");
    assert_eq!(output(&world.events(&exec), "stdout"), "24 80\r\nerr\r\n");
    let finished = world.exec().sh("test -t 1");
    assert_eq!(finished.code(), 1);
}

#[test]
fn a_signal_stops_a_child_in_a_terminal_too() {
    let world = World::new();
    let exec = world.exec().flags(&["--pty", "always"]);
    let mut running = exec.start_sh("echo up; while :; do :; done");
    assert_eq!(running.line(), "up");
    running.signal("TERM");
    assert_eq!(running.finish().code(), 143);
    assert_eq!(last(&world.events(&exec)).0, "run.cancelled");
}

#[test]
fn a_child_whose_output_nobody_reads_learns_it_as_it_would_alone() {
    let world = World::new();
    let exec = world.exec();
    let mut running = exec.start(&["yes"]);
    assert_eq!(running.line(), "y");
    running.close_stdout();
    assert_eq!(running.finish().code(), 141);
    assert_eq!(last(&world.events(&exec)), ("run.failed", json!({"signal":"SIGPIPE"})));
}
