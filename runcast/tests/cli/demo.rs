use serde_json::Value;

use crate::process::Server;

#[test]
fn it_prints_the_address_first_and_the_run_is_whole() {
    let server = Server::start();
    let out = server.done(&["demo", "--run", "shown", "--speed", "0", "--events", "500"]);
    assert_eq!(out.lines().next().unwrap(), format!("{}/runs/shown", server.url));
    let run: Value =
        serde_json::from_str(&server.done(&["runs", "show", "shown", "--json"])).unwrap();
    assert_eq!((&run["status"], &run["offset"]), (&"completed".into(), &500.into()));
    assert_eq!(run["workflow"], "demo");
    // It has a page's worth to look at for a person too.
    let seen = server.done(&["tail", "shown", "--output", "pretty"]);
    assert!(seen.contains("# The tides") && seen.contains("tides-1"), "{seen}");

    let again = server.ended(&["demo", "--run", "shown"]);
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("ended already"), "{}", again.err);
}

#[test]
fn it_goes_on_where_it_was_when_the_server_is_killed() {
    let mut server = Server::start();
    let mut demo = server.running(&["demo", "--run", "a", "--speed", "40", "--events", "600"]);
    let mut tail = server.running(&["tail", "a", "--output", "json"]);
    tail.out.until("message.delta");
    server.killed_meanwhile(|| {
        demo.err.until("trying again");
    });
    assert!(demo.wait().success());
    assert!(tail.wait().success());
    let seen = server.done(&["tail", "a"]);
    let offsets = seen.lines().map(|line| line.split([':', ',']).nth(1).unwrap().parse().unwrap());
    assert_eq!(offsets.collect::<Vec<u64>>(), (1..=600).collect::<Vec<_>>());
}
