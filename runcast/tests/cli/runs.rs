use serde_json::Value;

use crate::process::Server;

fn ids(json_lines: &str) -> Vec<String> {
    let runs = json_lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    runs.map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn runs_are_listed_newest_first_and_by_what_they_are() {
    let server = Server::start();
    let started = |run: &str, data: &str| {
        server.done(&["publish", run, "run.started", "--data", data]);
    };
    started("one", r#"{"workflow":"nightly","tags":["prod","eu"]}"#);
    started("two", r#"{"workflow":"nightly","tags":["prod"]}"#);
    started("three", r#"{"workflow":"hourly"}"#);
    server.done(&["publish", "two", "run.completed"]);
    let list = |args: &[&str]| ids(&server.done(&[&["runs", "list", "--json"], args].concat()));
    assert_eq!(list(&[]), ["three", "two", "one"]);
    assert_eq!(list(&["--limit", "2"]), ["three", "two"]);
    assert_eq!(list(&["--workflow", "nightly"]), ["two", "one"]);
    assert_eq!(list(&["--tag", "prod", "--tag", "eu"]), ["one"]);
    assert_eq!(list(&["--status", "completed"]), ["two"]);
    assert_eq!(list(&["--status", "completed", "--status", "running"]).len(), 3);

    let table = server.done(&["runs", "list"]);
    let rows: Vec<_> =
        table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(rows[0][..3], ["RUN", "STATUS", "WORKFLOW"]);
    assert_eq!(rows[2][..3], ["two", "completed", "nightly"]);

    let refused = server.ended(&["runs", "list", "--status", "done"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("status"), "{}", refused.err);
}

#[test]
fn a_run_is_shown_with_its_state() {
    let server = Server::start();
    server.done(&["publish", "a", "run.started", "--data", r#"{"name":"A name"}"#]);
    server.done(&["publish", "a", "run.failed", "--data", r#"{"exit_code":3,"error":"no disk"}"#]);
    let shown = server.done(&["runs", "show", "a"]);
    for line in
        ["run       a", "status    failed", "name      A name", "exit code 3", "error     no disk"]
    {
        assert!(shown.lines().any(|shown| shown == line), "{line:?} in\n{shown}");
    }
    let json: Value = serde_json::from_str(&server.done(&["runs", "show", "a", "--json"])).unwrap();
    assert_eq!((&json["status"], &json["offset"]), (&"failed".into(), &2.into()));
    assert_eq!(json["events"]["total"], 2, "everything that the server says is there");

    let unknown = server.ended(&["runs", "show", "b"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.err.contains("run_not_found"), "{}", unknown.err);
}

#[test]
fn runs_are_deleted_only_when_that_is_meant() {
    let server = Server::start();
    server.done(&["publish", "a", "my.event"]);
    server.done(&["publish", "b", "my.event"]);
    let unsure = server.ended(&["runs", "delete", "a", "b"]);
    assert_eq!(unsure.code, Some(2));
    assert!(unsure.err.contains("--yes"), "{}", unsure.err);
    // One that does not exist does not keep the others.
    let some = server.ended(&["runs", "delete", "a", "missing", "b", "--yes"]);
    assert_eq!((some.code, some.out.as_str()), (Some(1), "deleted a\ndeleted b\n"));
    assert!(some.err.contains("missing"), "{}", some.err);
    assert_eq!(server.done(&["runs", "list", "--json"]), "");
}
