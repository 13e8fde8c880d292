//! What is left in Redis by a function there becomes events of runs, with the real binary.

#![allow(clippy::unwrap_used, reason = "tests")]

mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use runcast_client::{Client, FollowItem};
use runcast_contract::redis_server::Server as Redis;
use runcast_event::{Cursor, Event, RunId};
use serde_json::json;
use server::Server;

/// Only so that what hangs fails too.
const PATIENCE: Duration = Duration::from_secs(90);
const INBOX: &str = "rc:{inbox}:events";

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what} does not happen");
        std::thread::yield_now();
    }
}

/// A Redis that has the function, and servers on it.
fn started(servers: usize, settings: &[&'static str]) -> (Redis, Vec<Server>) {
    let redis = Redis::start_with(&["--appendonly", "yes"]);
    let servers = (0..servers).map(|_| Server::started_on_redis(&redis.url(), settings)).collect();
    wait_for("the function", || redis.command(&["FUNCTION", "LIST"]).contains("runcast_publish"));
    (redis, servers)
}

fn publish(redis: &Redis, run: &str, stamp: [&str; 3], events: &[&str]) -> String {
    let words = [&["FCALL", "runcast_publish", "1", INBOX, run][..], &stamp, events].concat();
    redis.command(&words).trim().to_owned()
}

/// The events of a run until so many are there.
async fn events(server: &Server, run: &str, count: usize) -> Vec<Event> {
    let following = async {
        let mut follower =
            Client::new(&server.url()).unwrap().follow(&RunId::new(run).unwrap(), Cursor::START);
        let mut events = Vec::new();
        while events.len() < count {
            match follower.next().await.unwrap().unwrap() {
                FollowItem::Event(event) => events.push(event),
                FollowItem::State(_) => {}
                other => panic!("{other:?} behind {} events", events.len()),
            }
        }
        events
    };
    tokio::time::timeout(PATIENCE, following).await.unwrap()
}

fn types(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.event_type.as_str()).collect()
}

#[tokio::test]
async fn what_is_left_in_redis_is_followed_on_every_server() {
    let (redis, servers) = started(2, &[]);
    let none = ["", "", ""];
    let place = publish(&redis, "r", none, &[r#"{"type":"run.started","data":{"workflow":"w"}}"#]);
    assert!(place.contains('-'), "{place}");
    publish(&redis, "r", none, &[r#"{"type":"my.one"}"#, r#"{"type":"my.two","data":{"ü":1}}"#]);
    publish(&redis, "r", none, &[r#"{"type":"run.completed"}"#]);
    for server in &servers {
        let events = events(server, "r", 4).await;
        assert_eq!(types(&events), ["run.started", "my.one", "my.two", "run.completed"]);
        assert_eq!(events[2].data_value(), json!({"ü": 1}));
    }
    wait_for("an empty inbox", || redis.command(&["XLEN", INBOX]).trim() == "0");
    let left = redis.command(&["HKEYS", "rc:{inbox}:numbers"]);
    let mut left: Vec<&str> = left.lines().collect();
    left.sort_unstable();
    assert_eq!(left, ["$calls", "$epoch"], "no numbers of runs are left");
}

#[tokio::test]
async fn what_can_be_seen_to_be_wrong_is_refused_at_once() {
    let (redis, _servers) = started(1, &[]);
    let event = r#"{"type":"my.event"}"#;
    let none = ["", "", ""];
    let refused = [
        (publish(&redis, "a b", none, &[event]), "invalid_run_id"),
        (publish(&redis, "r", ["p", "x", "0"], &[event]), "invalid_producer"),
        (publish(&redis, "r", none, &["text"]), "event 1 is not a JSON object"),
        (publish(&redis, "r", none, &[event, "{\"type\""]), "event 2 is not JSON"),
        (publish(&redis, "r", none, &["{}"]), "event 1 has no type"),
        (publish(&redis, "r", none, &[]), "usage"),
        (publish(&redis, "r", none, &[event; 1_001]), "1000 are the most"),
        (redis.command(&["FCALL", "runcast_publish", "1", "k", "r", "", "", "", event]), "usage"),
    ];
    for (answer, part) in refused {
        assert!(answer.starts_with("RUNCAST ") && answer.contains(part), "{part}: {answer}");
    }
    assert_eq!(redis.command(&["XLEN", INBOX]).trim(), "0");
}

#[tokio::test]
async fn what_no_run_takes_is_kept_with_its_reason_and_what_comes_behind_goes_on() {
    let (redis, servers) = started(1, &[]);
    let stamp = |sequence| ["p", "1", sequence];
    publish(&redis, "r", stamp("0"), &[r#"{"type":"run.started"}"#]);
    publish(&redis, "r", stamp("1"), &[r#"{"type":"run.resumed"}"#]);
    publish(&redis, "r", stamp("2"), &[r#"{"type":"my.event"}"#]);
    // The same once more, as after an answer that was lost.
    publish(&redis, "r", stamp("2"), &[r#"{"type":"my.event"}"#]);
    publish(&redis, "r", ["", "", ""], &[r#"{"type":"step.started"}"#]);
    publish(&redis, "r", ["", "", ""], &[r#"{"type":"run.completed"}"#]);
    let events = events(&servers[0], "r", 5).await;
    let expected = ["run.started", "producer.gap", "my.event", "producer.gap", "run.completed"];
    assert_eq!(types(&events), expected);
    wait_for("an empty inbox", || redis.command(&["XLEN", INBOX]).trim() == "0");
    let refused = redis.command(&["XRANGE", "rc:{inbox}:refused", "-", "+"]);
    assert!(refused.contains("not_possible") && refused.contains("run.resumed"), "{refused}");
    assert!(refused.contains("invalid_event"), "{refused}");
    assert_eq!(redis.command(&["XLEN", "rc:{inbox}:refused"]).trim(), "2");
    let metrics = servers[0].get("/metrics");
    assert!(metrics.contains(r#"runcast_append_refusals_total{code="not_possible"} 1"#));
}

#[tokio::test]
async fn a_full_inbox_refuses_and_is_emptied_by_the_next_server() {
    let (redis, mut servers) = started(1, &["redis_inbox_entries_max=5"]);
    servers[0].kill();
    let publish = |number: usize| {
        let event = json!({"type": "my.tick", "data": number}).to_string();
        publish(&redis, "r", ["", "", ""], &[&event])
    };
    let answers: Vec<String> = (0..6).map(publish).collect();
    assert!(answers[..5].iter().all(|answer| answer.contains('-')), "{answers:?}");
    assert!(answers[5].contains("redis_inbox_entries_max (5)"), "{answers:?}");
    servers[0].start();
    let events = events(&servers[0], "r", 5).await;
    let numbers: Vec<_> = events.iter().map(|event| event.data_value()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4].map(|number| json!(number)));
    wait_for("room", || publish(6).contains('-'));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_stored_once_and_in_order_whichever_server_is_killed() {
    const CALLS: usize = 10_000;
    let (redis, mut servers) = started(2, &["redis_lease_s=1"]);
    let redis = Arc::new(redis);
    let is_done = Arc::new(AtomicBool::new(false));
    let publishing = {
        let (redis, is_done) = (Arc::clone(&redis), Arc::clone(&is_done));
        std::thread::spawn(move || {
            for step in 0..CALLS / 50 {
                let event = |number: usize| json!({"type": "my.tick", "data": number}).to_string();
                let calls: Vec<String> = (step * 50..(step + 1) * 50).map(event).collect();
                let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
                // With numbers of the inbox, and with its own.
                publish(&redis, "counted", ["", "", ""], &calls);
                let sequence = (step * 50).to_string();
                publish(&redis, "own", ["p", "1", &sequence], &calls);
            }
            is_done.store(true, Ordering::Relaxed);
        })
    };
    let mut turn = 0;
    while !is_done.load(Ordering::Relaxed) || turn < 4 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        servers[turn % 2].kill();
        servers[turn % 2].start();
        turn += 1;
    }
    publishing.join().unwrap();
    for run in ["counted", "own"] {
        let events = events(&servers[0], run, CALLS).await;
        let numbers: Vec<usize> =
            events.iter().map(|event| event.data_value().as_u64().unwrap() as usize).collect();
        assert!(numbers == (0..CALLS).collect::<Vec<_>>(), "{run}: each once, in order");
    }
    wait_for("an empty inbox", || redis.command(&["XLEN", INBOX]).trim() == "0");
    assert_eq!(redis.command(&["EXISTS", "rc:{inbox}:refused"]).trim(), "0");
}

#[tokio::test]
async fn what_is_appended_and_cannot_be_taken_out_is_not_appended_again() {
    let (redis, mut servers) = started(2, &["redis_lease_s=1"]);
    let none = ["", "", ""];
    let may = |right: &str| redis.command(&["ACL", "SETUSER", "default", right]);
    may("-xdel");
    publish(&redis, "r", none, &[r#"{"type":"my.one"}"#, r#"{"type":"my.two"}"#]);
    publish(&redis, "r", ["p", "1", "0"], &[r#"{"type":"my.three"}"#]);
    events(&servers[0], "r", 3).await;
    for server in &mut servers {
        server.kill();
    }
    assert_eq!(redis.command(&["XLEN", INBOX]).trim(), "2", "they are still there");
    may("+xdel");
    publish(&redis, "r", none, &[r#"{"type":"run.completed"}"#]);
    servers[0].start();
    let events = events(&servers[0], "r", 4).await;
    assert_eq!(types(&events), ["my.one", "my.two", "my.three", "run.completed"]);
    wait_for("an empty inbox", || redis.command(&["XLEN", INBOX]).trim() == "0");
}

#[tokio::test]
async fn numbers_that_redis_may_have_lost_are_not_given_again() {
    let (redis, mut servers) = started(1, &[]);
    servers[0].kill();
    let none = ["", "", ""];
    let tick = r#"{"type":"my.tick"}"#;
    publish(&redis, "r", none, &[tick]);
    let numbers = "rc:{inbox}:numbers";
    let calls = redis.command(&["HGET", numbers, "$calls"]);
    publish(&redis, "r", none, &[tick, tick]);
    // As it was before the second call, which a Redis that takes over may not have had.
    redis.command(&["HSET", numbers, "$calls", calls.trim(), "r", "1"]);
    publish(&redis, "r", none, &[tick]);
    servers[0].start();
    assert_eq!(events(&servers[0], "r", 4).await.len(), 4, "none is taken for another");
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[tokio::test]
async fn the_example_in_python_publishes_a_run() {
    let (redis, servers) = started(1, &[]);
    let python = project().join(".venv/bin/python");
    assert!(python.exists(), "make tools installs what the examples need");
    let ended = Command::new(python)
        .arg(project().join("examples/redis_agent.py"))
        .args([&redis.url(), "py"])
        .output()
        .unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let events = events(&servers[0], "py", 17).await;
    assert_eq!(types(&events)[16], "run.completed");
    let state = servers[0].get("/v1/runs/py");
    assert!(state.contains(r#""workflow":"example""#), "{state}");
}

#[tokio::test]
async fn the_lines_of_the_documentation_publish_a_run() {
    let (redis, servers) = started(1, &[]);
    let text = std::fs::read_to_string(project().join("docs/redis.md")).unwrap();
    let (_, behind) = text.split_once("## Straight into Redis").unwrap();
    let lines = behind.split("```").nth(1).unwrap().trim_start_matches("sh\n");
    assert!(lines.contains("runcast_publish"), "{lines}");
    // The user that it is said for may do all of it.
    let (_, acl) = behind.split_once("`ACL SETUSER agent").unwrap();
    let acl = format!("ACL SETUSER agent{}", acl.split('`').next().unwrap());
    assert_eq!(redis.command(&acl.split(' ').collect::<Vec<_>>()).trim(), "OK");
    let lines =
        lines.replace("redis-cli", "redis-cli --user agent --pass secret --no-auth-warning");
    let lines = lines.replace("redis-cli", &format!("redis-cli -p {}", redis.port));
    let ended = Command::new("sh").args(["-ec", &lines]).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success() && !said.contains("RUNCAST "), "{said}");
    let events = events(&servers[0], "my-run", 4).await;
    assert_eq!(types(&events), ["run.started", "output", "my.event", "run.completed"]);
}
