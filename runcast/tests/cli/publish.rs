use crate::process::{Server, ended};

#[test]
fn one_event_from_arguments_is_stored_as_it_was_said() {
    let server = Server::start();
    let event = [
        "publish",
        "a",
        "step.started",
        "--step",
        "fetch",
        "--stage",
        "2",
        "--time",
        "2026-11-20T21:16:00Z",
        "--data",
        r#"{"duration_ms":812}"#,
    ];
    assert_eq!(server.done(&event), "a: 1 event stored, the last at offset 1\n");
    server.done(&["publish", "a", "output", "--text", "hi\n"]);
    server.done(&["publish", "a", "run.completed"]);
    let tail = server.done(&["tail", "a", "--output", "json"]);
    let lines: Vec<_> = tail.lines().collect();
    let expected = r#"{"offset":1,"type":"step.started","time":"2026-11-20T21:16:00.000000Z","channel":"status","stage":2,"step":"fetch","data":{"duration_ms":812}}"#;
    assert_eq!(lines[0], expected);
    assert!(lines[1].ends_with(r#""channel":"output","data":{"text":"hi\n"}}"#), "{}", lines[1]);
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_wrong_event_is_refused_with_its_field_and_a_server_is_not_even_asked() {
    let cases = [
        (&["publish", "a", "log", "--data", r#"{"level":"info"}"#][..], 1, "data.message"),
        (&["publish", "a", "outptu"], 1, "not a typed event"),
        (&["publish", "a", "my.event", "--data", "{"], 2, "not JSON"),
        (&["publish", "a", "my.event", "--data", "1", "--text", "x"], 2, "an object"),
        (&["publish", "a", "my.event", "--time", "noon"], 2, "RFC 3339"),
        (&["publish", "a/b", "my.event"], 2, "'/' at position 2"),
        (&["publish", "a", "-", "--step", "x"], 2, "need a TYPE"),
    ];
    for (args, code, said) in cases {
        let refused = ended(args);
        assert_eq!(refused.code, Some(code), "{args:?}");
        assert!(refused.err.contains(said), "{args:?}: {}", refused.err);
    }
}

#[test]
fn without_a_server_one_event_fails_with_what_to_do() {
    let refused = ended(&["publish", "a", "my.event", "--url", "http://127.0.0.1:1"]);
    assert_eq!(refused.code, Some(1));
    let expected = "runcast: cannot reach http://127.0.0.1:1: connection refused; \
                    start a server with \"runcast serve\"\n";
    assert_eq!(refused.err, expected);
}

#[test]
fn lines_are_published_as_they_come() {
    let server = Server::start();
    let mut tail = server.running(&["tail", "a", "--output", "json"]);
    let mut publish = server.running(&["publish", "a", "-"]);
    for number in 1..=3 {
        publish.write(&format!("{{\"type\":\"my.event\",\"data\":{number}}}\n"));
        let line = tail.out.next().unwrap();
        assert!(line.ends_with(&format!("\"data\":{number}}}")), "{line}");
    }
    publish.write("{\"type\":\"run.completed\"}");
    publish.close_stdin();
    assert_eq!(publish.out.next().unwrap(), "a: 4 events stored, the last at offset 4");
    assert!(publish.wait().success());
    assert!(tail.wait().success());
}

#[test]
fn of_10_000_lines_the_wrong_one_is_named_and_those_before_it_are_stored() {
    let server = Server::start();
    let mut publish = server.running(&["publish", "a"]);
    let line = |number: u32| format!("{{\"type\":\"my.event\",\"data\":{number}}}\n");
    let good: String = (1..4_711).map(line).collect();
    publish.write(&good);
    publish.write("{\"type\":\"log\",\"data\":{\"level\":\"info\"}}\n");
    // Behind the wrong line nothing is read any more.
    let rest: String = (4_712..=10_000).map(line).collect();
    drop(publish.try_write(&rest));
    let said = publish.err.until("line 4711");
    assert!(said.contains("data.message is missing"), "{said}");
    assert!(said.contains("4710 events before it are stored"), "{said}");
    assert_eq!(publish.wait().code(), Some(1));
    let run: serde_json::Value =
        serde_json::from_str(&server.done(&["runs", "show", "a", "--json"])).unwrap();
    assert_eq!(run["offset"], 4_710);
}

#[test]
fn half_a_line_at_the_end_is_an_error_and_not_an_event() {
    let server = Server::start();
    let mut publish = server.running(&["publish", "a"]);
    publish.write("{\"type\":\"my.event\"}\n\n{\"type\":\"my.ev");
    publish.close_stdin();
    let said = publish.err.next().unwrap();
    assert!(said.starts_with("runcast: line 3: the event is not JSON"), "{said}");
    assert_eq!(publish.wait().code(), Some(1));
}

#[test]
fn an_ended_run_takes_no_more() {
    let server = Server::start();
    server.done(&["publish", "a", "run.completed"]);
    let refused = server.ended(&["publish", "a", "my.event"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("ended") && refused.err.contains("run_ended"), "{}", refused.err);
}

#[test]
fn lines_wait_for_a_server_that_is_away_and_are_stored_once() {
    let mut server = Server::start();
    let mut publish = server.running(&["publish", "a"]);
    let mut tail = server.running(&["tail", "a", "--output", "json"]);
    publish.write("{\"type\":\"my.event\",\"data\":1}\n");
    assert!(tail.out.next().unwrap().ends_with("\"data\":1}"));
    server.killed_meanwhile(|| {
        publish.write("{\"type\":\"my.event\",\"data\":2}\n");
        publish.err.until("trying again");
        tail.err.until("connection lost");
    });
    publish.write("{\"type\":\"run.completed\"}\n");
    publish.close_stdin();
    assert!(publish.wait().success());
    let rest = tail.out.rest();
    assert_eq!(rest.len(), 2, "{rest:#?}");
    assert!(rest[0].starts_with("{\"offset\":2,") && rest[0].ends_with("\"data\":2}"), "{rest:#?}");
    assert!(rest[1].starts_with("{\"offset\":3,\"type\":\"run.completed\""), "{rest:#?}");
    assert!(tail.wait().success());
    tail.err.until("connected again");
}

#[test]
fn lines_that_the_runs_state_does_not_allow_are_left_out_and_the_rest_is_stored() {
    let server = Server::start();
    let mut publish = server.running(&["publish", "a"]);
    publish.write("{\"type\":\"run.started\",\"data\":{\"stages\":[\"plan\",\"ship\"]}}\n");
    for number in 0..20 {
        let stage = if number % 5 == 3 { "shipp" } else { "ship" };
        publish.write(&format!("{{\"type\":\"stage.started\",\"stage\":\"{stage}\"}}\n"));
        publish.write(&format!("{{\"type\":\"my.event\",\"data\":{number}}}\n"));
    }
    publish.close_stdin();
    assert_eq!(publish.out.next().unwrap(), "a: 37 events stored, the last at offset 37");
    assert_eq!(publish.wait().code(), Some(1));
    let said = publish.err.rest();
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].contains("shipp") && said[0].contains("left out"), "{said:#?}");
    assert!(said[1].contains("4 events are not stored"), "{said:#?}");
    server.done(&["publish", "a", "run.completed"]);
    let tail = server.done(&["tail", "a", "--type", "my.event", "--output", "json"]);
    let numbers: Vec<u64> = tail
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["data"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
}
