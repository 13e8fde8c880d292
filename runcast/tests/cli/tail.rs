use crate::process::{Server, ended};

#[test]
fn it_ends_with_the_exit_code_of_the_run() {
    let server = Server::start();
    let ends = [
        ("run.completed", r#"{"exit_code":0}"#, 0),
        ("run.failed", r#"{"exit_code":3}"#, 3),
        ("run.failed", r#"{"error":"broken"}"#, 1),
        ("run.cancelled", r#"{"signal":"SIGTERM"}"#, 143),
        ("run.crashed", r#"{"exit_code":137,"signal":"SIGKILL"}"#, 137),
    ];
    for (at, (event_type, data, code)) in ends.into_iter().enumerate() {
        let run = format!("run-{at}");
        server.done(&["publish", &run, event_type, "--data", data]);
        assert_eq!(server.ended(&["tail", &run]).code, Some(code), "{event_type} {data}");
        // From behind the end there is nothing to see, and the end is the same.
        let behind = server.ended(&["tail", &run, "--since", "1"]);
        assert_eq!((behind.code, behind.out.as_str()), (Some(code), ""), "{}", behind.err);
    }
}

#[test]
fn it_waits_for_a_run_that_does_not_exist_yet_and_sees_all_of_it() {
    let server = Server::start();
    let mut tail = server.running(&["tail", "later"]);
    tail.err.until("waiting for run later");
    let lines: String =
        (1..=5).map(|number| format!("{{\"type\":\"my.event\",\"data\":{number}}}\n")).collect();
    server.publish("later", &(lines + "{\"type\":\"run.completed\"}\n"));
    let seen = tail.out.rest();
    assert_eq!(seen.len(), 6);
    assert!(tail.wait().success());
}

#[test]
fn since_gives_only_what_came_after() {
    let server = Server::start();
    let lines: String = "{\"type\":\"my.event\"}\n".repeat(9) + "{\"type\":\"run.completed\"}\n";
    server.publish("a", &lines);
    let seen = server.done(&["tail", "a", "--since", "8"]);
    let offsets: Vec<_> = seen.lines().map(|line| line.split([':', ',']).nth(1).unwrap()).collect();
    assert_eq!(offsets, ["9", "10"]);
}

#[test]
fn for_people_there_are_times_and_the_output_as_it_was_printed() {
    let server = Server::start();
    let lines = r#"{"type":"output","data":{"text":"one\ntw"}}
{"type":"output","data":{"text":"o \u001b[31mred\u001b[0m\n"}}
{"type":"log","data":{"level":"error","message":"it broke"}}
{"type":"run.completed"}
"#;
    server.publish("a", lines);
    let seen = server.done(&["tail", "a", "--output", "pretty"]);
    let texts: Vec<_> = seen.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let expected = ["one", "two \u{1b}[31mred\u{1b}[0m", "ERROR it broke", "run.completed"];
    assert_eq!(texts.iter().map(|(_, text)| *text).collect::<Vec<_>>(), expected);
    for (time, _) in texts {
        let shape: String =
            time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "00:00:00.000", "{time}");
    }
}

#[test]
fn it_ends_quietly_when_nobody_reads_its_output_any_more() {
    let server = Server::start();
    server.done(&["demo", "--run", "long", "--speed", "0", "--events", "5000"]);
    let command =
        format!("{} tail long --url {} | head -n 1", env!("CARGO_BIN_EXE_runcast"), server.url);
    let script = format!("set -o pipefail; {command}");
    let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(output.stdout.starts_with(b"{\"offset\":1,"));
}

#[test]
fn a_deletion_ends_it_with_a_note() {
    let server = Server::start();
    server.done(&["publish", "a", "my.event"]);
    let mut tail = server.running(&["tail", "a"]);
    tail.out.until("my.event");
    server.done(&["runs", "delete", "a", "--yes"]);
    tail.err.until("run a was deleted");
    assert_eq!(tail.wait().code(), Some(1));
    let again = server.ended(&["tail", "a"]);
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("deleted"), "{}", again.err);
}

#[test]
fn what_cannot_be_followed_is_refused_with_the_reason() {
    let server = Server::start();
    server.done(&["publish", "a", "my.event"]);
    let future = server.ended(&["tail", "a", "--since", "7"]);
    assert_eq!(future.code, Some(1));
    assert!(future.err.contains("offset_in_future"), "{}", future.err);
    let cases = [
        (&["tail", "a", "--since", "x"][..], 2, "is not a cursor"),
        (&["tail", ".."], 2, "must not be"),
        (&["tail", "a", "--url", "localhost:1"], 1, "is not a server's address"),
        (&["tail", "a", "--url", "http://127.0.0.1:1"], 1, "connection refused"),
    ];
    for (args, code, said) in cases {
        let refused = ended(args);
        assert_eq!(refused.code, Some(code), "{args:?}");
        assert!(refused.err.contains(said), "{args:?}: {}", refused.err);
    }
}
