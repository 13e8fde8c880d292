use serde_json::{Value, json};

use crate::process::{Running, Server, ended};

/// The agent of the examples, as the run `a`.
fn agent(server: &Server) -> Running {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/talking_agent.py");
    under_exec(server, &["python3", script])
}

/// A command under exec, as the run `a`.
fn under_exec(server: &Server, command: &[&str]) -> Running {
    let spool = server.directory.path().join("spool");
    let exec = ["exec", "--run", "a", "--spool-dir", spool.to_str().unwrap(), "--url", &server.url];
    Running::start(&[&exec[..], &["--"], command].concat())
}

/// Waits for an event of this type that has the text, and gives its data.
fn event(server: &Server, event_type: &str, text: &str) -> Value {
    let mut tail = server.running(&["tail", "a", "--type", event_type, "--output", "json"]);
    let event: Value = serde_json::from_str(&tail.out.until(text)).unwrap();
    event["data"].clone()
}

/// The status of the run.
fn status(server: &Server) -> Value {
    let shown = server.done(&["runs", "show", "a", "--json"]);
    serde_json::from_str::<Value>(&shown).unwrap()["status"].clone()
}

#[test]
fn an_agent_asks_is_paused_resumed_given_a_parameter_and_stopped() {
    an_agent_is_talked_to(|_| {});
}

#[test]
fn nothing_of_that_is_lost_or_done_twice_when_the_server_is_killed_between_any_two_steps() {
    an_agent_is_talked_to(|server| server.killed_meanwhile(|| {}));
}

/// Drives the agent of the examples through all that it can be asked, with `between` two steps.
fn an_agent_is_talked_to(between: impl Fn(&mut Server)) {
    let mut server = Server::start();
    let mut agent = agent(&server);
    let asked = event(&server, "input.requested", "Which report");
    let input = asked["input"].as_str().unwrap();
    between(&mut server);
    let listed: Value = serde_json::from_str(&server.done(&["inputs", "--json"])).unwrap();
    assert_eq!((&listed["run"], &listed["input"]), (&json!("a"), &json!(input)));
    let table = server.done(&["inputs"]);
    let row = table.lines().nth(1).unwrap();
    assert!(
        row.starts_with("a ") && row.ends_with("Which report shall I write? [short, long]"),
        "{table}"
    );

    between(&mut server);
    let wrong = server.ended(&["answer", "a", input, "huge"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("short") && wrong.err.contains("invalid_answer"), "{}", wrong.err);
    between(&mut server);
    assert_eq!(
        server.done(&["answer", "a", input, "long", "--by", "ada"]),
        format!("a: {input} answered\n")
    );
    between(&mut server);
    agent.out.until("A long report it is.");
    let late = server.ended(&["answer", "a", input, "short"]);
    assert_eq!(late.code, Some(1));
    assert!(late.err.contains("ada") && late.err.contains("input_closed"), "{}", late.err);

    between(&mut server);
    assert_eq!(server.done(&["pause", "a", "--wait"]), "a: pause done\n");
    between(&mut server);
    assert_eq!(status(&server), "paused");
    between(&mut server);
    assert_eq!(server.done(&["set", "a", "rounds=1000", "pace_s=0.001"]), "a: set requested\n");
    between(&mut server);
    assert_eq!(server.done(&["resume", "a", "--wait"]), "a: resume done\n");
    between(&mut server);
    event(&server, "command.done", "\"command\"");
    between(&mut server);
    assert_eq!(server.done(&["set", "a", "--json", r#"{"rounds":2000}"#, "-w"]), "a: set done\n");
    between(&mut server);
    let refused = server.ended(&["set", "a", "colour=red", "--wait"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.out.starts_with("a: set refused: there is no parameter 'colour'"),
        "{}",
        refused.out
    );

    between(&mut server);
    assert_eq!(
        server.done(&["stop", "a", "--wait", "--by", "ada", "--reason", "enough"]),
        "a: stop done\n"
    );
    between(&mut server);
    let said = agent.out.rest();
    let parameters = r#"parameters at the end: {"pace_s": 0.001, "rounds": 2000}"#;
    assert_eq!(said.last().unwrap(), parameters);
    assert_eq!(agent.wait().code(), Some(0));
    between(&mut server);
    let end = event(&server, "run.cancelled", "cancelled");
    assert_eq!(end, json!({"exit_code":0,"status_reason":"stopped by ada: enough"}));
    let control = server.ended(&["tail", "a", "--channel", "control", "--output", "json"]).out;
    let count = |event_type: &str| control.matches(&format!("\"type\":\"{event_type}\"")).count();
    let counts = ["input.requested", "input.answered", "command.requested", "command.delivered"];
    assert_eq!(counts.map(count), [1, 1, 6, 6], "{control}");
    assert_eq!(["command.done", "command.refused"].map(count), [5, 1], "{control}");
}

#[test]
fn a_script_asks_and_prints_the_answer() {
    let server = Server::start();
    let runcast = env!("CARGO_BIN_EXE_runcast");
    let script = format!(
        "answer=$({runcast} ask 'Deploy?' --choices yes,no --timeout 10m); echo \"$? $answer\";
         answer=$({runcast} ask 'How many?' --id count --step ship); echo \"$? $answer\""
    );
    let mut running = under_exec(&server, &["sh", "-c", &script]);
    let asked = event(&server, "input.requested", "Deploy?");
    assert_eq!((&asked["choices"], &asked["timeout_ms"]), (&json!(["yes", "no"]), &json!(600_000)));
    server.done(&["answer", "a", asked["input"].as_str().unwrap(), "yes"]);
    assert_eq!(running.out.next().unwrap(), "0 yes");
    event(&server, "input.requested", "How many?");
    server.done(&["answer", "a", "count", "--json", r#"{"n":3}"#]);
    assert_eq!(running.out.next().unwrap(), r#"0 {"n":3}"#);
    assert!(running.wait().success());
}

#[test]
fn a_question_that_nobody_answers_in_time_ends_with_the_default_or_with_a_code_of_its_own() {
    let server = Server::start();
    server.done(&["publish", "a", "run.started"]);
    let ask = ["ask", "Deploy?", "--run", "a", "--choices", "yes,no", "--timeout", "50ms"];
    assert_eq!(server.done(&[&ask[..], &["--default", "no"]].concat()), "no\n");
    let late = server.ended(&ask);
    assert_eq!((late.code, late.out.as_str()), (Some(124), ""));
    assert_eq!(late.err, "runcast: nobody answered in time\n");
}

#[test]
fn an_answer_keeps_to_the_schema_of_the_question() {
    let server = Server::start();
    server.done(&["publish", "a", "run.started"]);
    let schema = server.directory.path().join("schema.json");
    std::fs::write(&schema, r#"{"type":"integer","minimum":1}"#).unwrap();
    let schema = schema.to_str().unwrap();
    let ask = ["ask", "How many?", "--run", "a", "--schema", schema, "--id", "n"];
    let mut asking = server.running(&ask);
    event(&server, "input.requested", "How many?");
    let wrong = server.ended(&["answer", "a", "n", "three"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("invalid_answer"), "{}", wrong.err);
    server.done(&["answer", "a", "n", "--json", "3"]);
    assert_eq!(asking.out.rest(), ["3"]);
    assert!(asking.wait().success());
    // The same question, of a script that begins again: it was answered.
    assert_eq!(server.done(&ask), "3\n");
}

#[test]
fn who_asks_waits_for_a_server_that_is_away_and_is_asked_once() {
    let mut server = Server::start();
    server.done(&["publish", "a", "run.started"]);
    let mut asking = server.running(&["ask", "Deploy?", "--run", "a", "--id", "deploy"]);
    event(&server, "input.requested", "Deploy?");
    server.killed_meanwhile(|| drop(asking.err.until("until it is back")));
    server.done(&["answer", "a", "deploy", "yes"]);
    assert_eq!(asking.out.rest(), ["yes"]);
    assert!(asking.wait().success());
    server.done(&["publish", "a", "run.completed"]);
    let asked = server.done(&["tail", "a", "--type", "input.*", "--output", "json"]);
    assert_eq!(asked.lines().count(), 2, "{asked}");
}

#[test]
fn a_run_that_ends_answers_nobody_and_a_command_to_it_is_refused() {
    let server = Server::start();
    server.done(&["publish", "a", "run.started"]);
    let mut asking = server.running(&["ask", "Deploy?", "--run", "a"]);
    event(&server, "input.requested", "Deploy?");
    let mut pausing = server.running(&["pause", "a", "--wait"]);
    event(&server, "command.requested", "pause");
    server.done(&["publish", "a", "run.completed"]);
    assert_eq!(asking.wait().code(), Some(1));
    asking.err.until("the run ended before anybody answered");
    assert_eq!(pausing.out.next().unwrap(), "a: pause closed: the run ended first");
    assert_eq!(pausing.wait().code(), Some(1));
    for (args, said) in [
        (&["stop", "a"][..], "run_ended"),
        (&["pause", "missing"], "run_not_found"),
        (&["ask", "?", "--run", "a"], "has ended"),
    ] {
        let refused = server.ended(args);
        assert_eq!(refused.code, Some(1), "{args:?}");
        assert!(refused.err.contains(said), "{args:?}: {}", refused.err);
    }
    let empty = server.ended(&["inputs"]);
    assert_eq!((empty.code, empty.out.as_str()), (Some(0), ""));
    assert_eq!(empty.err, "runcast: nothing waits for a person\n");
}

#[test]
fn a_command_that_nobody_carries_out_expires() {
    let server = Server::start();
    server.done(&["publish", "a", "run.started"]);
    let expired = server.ended(&["set", "a", "n=1", "--timeout", "50ms", "--wait"]);
    assert_eq!(expired.code, Some(1));
    assert!(expired.out.starts_with("a: set expired"), "{}", expired.out);
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    for args in [
        &["set", "a"][..],
        &["set", "a", "n"],
        &["set", "a", "n=1", "--json", "{}"],
        &["set", "a", "--json", "[1]"],
        &["answer", "a", "i"],
        &["answer", "a", "i", "x", "--json", "1"],
        &["ask", "?", "--run", "a", "--default", "x"],
        &["ask", "?", "--run", "a", "--choices", "a,b", "--schema", "x.json"],
        &["ask", "?"],
        &["stop", "a/b"],
    ] {
        assert_eq!(ended(args).code, Some(2), "{args:?}");
    }
}
