//! `runcast exec` while the server is away, the spool has no room, or exec itself is killed: the
//! child never notices, and every event arrives once, or a gap counts it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod process;
mod server;

use process::{Exec, events, last, output, spool_send, spools, types};
use serde_json::json;
use server::Server;

/// A child that prints each line that it is told.
const ECHO: &str = "echo up; while read line; do echo \"$line\"; done; exit 3";

fn numbers(count: usize) -> String {
    (0..count).map(|number| format!("line {number}\n")).collect()
}

#[test]
fn a_server_that_is_away_at_the_start_gets_everything_when_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    let exec = Exec::new(&server.url(), directory.path());
    let mut running = exec.start_sh(ECHO);
    assert_eq!(running.line(), "up");
    for number in 0..10 {
        running.say(&format!("line {number}"));
        assert_eq!(running.line(), format!("line {number}"));
    }
    server.start();
    let finished = running.finish();
    assert_eq!(finished.code(), 3, "{}", finished.stderr);
    let events = events(&server.url(), exec.run_id());
    assert_eq!(output(&events, "stdout"), format!("up\n{}", numbers(10)));
    assert_eq!(last(&events), ("run.failed", json!({"exit_code":3})));
    assert_eq!(spools(directory.path()), 0);
}

#[test]
fn a_server_that_is_killed_again_and_again_has_every_event_once_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::started(directory.path());
    let exec = Exec::new(&server.url(), directory.path());
    let mut running = exec.start_sh(ECHO);
    assert_eq!(running.line(), "up");
    let mut number = 0;
    for _ in 0..5 {
        for _ in 0..200 {
            running.say(&format!("line {number}"));
            number += 1;
        }
        server.kill();
        for _ in 0..200 {
            running.say(&format!("line {number}"));
            number += 1;
        }
        server.start();
    }
    let finished = running.finish();
    assert_eq!(finished.code(), 3, "{}", finished.stderr);
    let events = events(&server.url(), exec.run_id());
    assert_eq!(output(&events, "stdout"), format!("up\n{}", numbers(number)));
}

#[test]
fn a_server_that_is_away_at_the_end_gets_the_rest_from_the_spool_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::started(directory.path());
    let exec = Exec::new(&server.url(), directory.path()).flags(&["--drain-timeout", "100ms"]);
    let mut running = exec.start_sh(ECHO);
    running.say("line 0");
    assert_eq!((running.line(), running.line()), ("up".to_owned(), "line 0".to_owned()));
    server.kill();
    running.say("line 1");
    let finished = running.finish();
    assert_eq!(finished.code(), 3);
    assert!(finished.stderr.contains("runcast spool send"), "{}", finished.stderr);

    server.start();
    let sent = spool_send(directory.path());
    assert_eq!(sent.code(), 0, "{}", sent.stderr);
    let before = events(&server.url(), exec.run_id());
    assert_eq!(output(&before, "stdout"), format!("up\n{}", numbers(2)));
    assert_eq!(last(&before).0, "run.failed");
    assert_eq!(spools(directory.path()), 0);
    assert_eq!(spool_send(directory.path()).code(), 0);
}

#[test]
fn a_server_that_takes_connections_and_never_answers_holds_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let exec = Exec::new(&url, directory.path()).flags(&["--drain-timeout", "50ms"]);
    let finished = exec.sh("yes | head -c 10000000; exit 6");
    assert_eq!((finished.code(), finished.stdout.len()), (6, 10_000_000));
    assert!(finished.stderr.contains("not delivered yet"), "{}", finished.stderr);
}

#[test]
fn without_waiting_the_events_stay_for_later() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    let exec = Exec::new(&server.url(), directory.path()).flags(&["--no-wait"]);
    let finished = exec.sh("echo hi; exit 9");
    assert_eq!(finished.code(), 9);
    assert!(finished.stderr.contains("3 events are not delivered yet"), "{}", finished.stderr);
    server.start();
    assert_eq!(spool_send(directory.path()).code(), 0);
    let events = events(&server.url(), exec.run_id());
    assert_eq!(types(&events), ["run.started", "output", "run.failed"]);
}

#[test]
fn what_a_killed_exec_has_left_is_delivered_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    let exec = Exec::new(&server.url(), directory.path());
    let mut running = exec.start_sh(ECHO);
    assert_eq!(running.line(), "up");
    let spool = directory.path().join("spool");
    let spooled = || {
        let mut dirs = std::fs::read_dir(&spool).into_iter().flatten();
        let path = dirs.next()?.ok()?.path().join("events-00000000000000000000");
        std::fs::read_to_string(path).ok()
    };
    for number in 0..50 {
        running.say(&format!("line {number}"));
        let text = format!("line {number}\\n");
        while !spooled().is_some_and(|spooled| spooled.contains(&text)) {
            std::thread::yield_now();
        }
    }
    // It is in use: nobody else sends it.
    let busy = spool_send(directory.path());
    assert!(busy.stderr.contains("lives and sends it"), "{}", busy.stderr);
    running.kill();
    server.start();
    for _ in 0..2 {
        assert_eq!(spool_send(directory.path()).code(), 0);
    }
    let run = exec.run_id();
    let all = |events: &[runcast_event::Event]| events.len() == 52;
    let events = process::events_until(&server.url(), run, all);
    assert_eq!(output(&events, "stdout"), format!("up\n{}", numbers(50)));
}

/// Runs a child that prints more than the spool can have while the server is away; the answer is
/// how many bytes of output arrived and how many were told to be lost.
fn overflow(exec: &Exec, server: &mut Server) -> (usize, u64) {
    const BYTES: usize = 30_000_000;
    let script =
        format!("yes 'a line of output' | head -c {BYTES}; echo; echo full; read go; exit 3");
    let mut running = exec.start_sh(&script);
    running.read_exact(BYTES + 1);
    assert_eq!(running.line(), "full");
    server.start();
    running.say("go");
    let finished = running.finish();
    assert_eq!(finished.code(), 3, "{}", finished.stderr);
    assert!(finished.stderr.contains("lost"), "{}", finished.stderr);
    let events = events(&server.url(), exec.run_id());
    assert_eq!(events[0].event_type, "run.started");
    assert_eq!(last(&events), ("run.failed", json!({"exit_code":3})));
    let gaps = events.iter().filter(|event| event.event_type == "producer.gap");
    let lost = gaps.map(|gap| gap.data_value()["lost_bytes"].as_u64().unwrap()).sum();
    let arrived = output(&events, "stdout").len();
    assert!(arrived < BYTES && lost > 0, "{arrived} arrived, {lost} lost");
    // What was lost is counted as events, which are larger than their text.
    assert!(arrived as u64 + lost > BYTES as u64, "{arrived} arrived, {lost} lost");
    assert_eq!(spools(exec.directory()), 0);
    (arrived, lost)
}

#[test]
fn a_spool_at_its_bound_drops_counts_and_tells() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    let exec = Exec::new(&server.url(), directory.path()).flags(&["--spool-bytes-max", "4MiB"]);
    overflow(&exec, &mut server);
}

#[test]
fn a_spool_whose_disk_is_full_drops_counts_and_tells() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    // A file cannot be larger than 1 MiB: the system refuses the write as it does on a full disk.
    let exec = Exec::new(&server.url(), directory.path()).under("ulimit -f 2048");
    overflow(&exec, &mut server);
}

#[test]
fn on_a_full_disk_with_the_server_away_the_end_of_the_run_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path());
    let exec = Exec::new(&server.url(), directory.path())
        .under("ulimit -f 2048")
        .flags(&["--drain-timeout", "50ms"]);
    let finished = exec.sh("yes 'a line of output' | head -c 20000000; exit 3");
    assert_eq!((finished.code(), finished.stdout.len()), (3, 20_000_000));
    assert!(finished.stderr.contains("lost"), "{}", finished.stderr);

    server.start();
    let sent = spool_send(directory.path());
    assert_eq!(sent.code(), 0, "{}", sent.stderr);
    let events = events(&server.url(), exec.run_id());
    assert_eq!(last(&events), ("run.failed", json!({"exit_code":3})));
    let gaps = events.iter().filter(|event| event.event_type == "producer.gap");
    let lost: u64 = gaps.map(|gap| gap.data_value()["lost_events"].as_u64().unwrap()).sum();
    let told = format!("runcast: {lost} events are lost\n");
    assert!(finished.stderr.contains(&told), "{lost}: {}", finished.stderr);
    assert_eq!(spools(directory.path()), 0);
}

#[test]
fn without_a_spool_directory_events_wait_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("spool"), "a file").unwrap();
    let server = Server::started(directory.path());
    let exec = Exec::new(&server.url(), directory.path());
    let finished = exec.sh("echo hi; exit 2");
    assert_eq!(finished.code(), 2);
    assert!(finished.stderr.contains("memory only"), "{}", finished.stderr);
    let events = events(&server.url(), exec.run_id());
    assert_eq!(types(&events), ["run.started", "output", "run.failed"]);
}

#[test]
fn a_run_that_has_ended_is_told_of_once_and_the_child_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::started(directory.path());
    let exec = Exec::new(&server.url(), directory.path());
    assert_eq!(exec.sh("exit 0").code(), 0);
    let before = events(&server.url(), exec.run_id()).len();
    let finished = exec.sh("for i in 1 2 3 4 5; do echo $i; done; exit 8");
    assert_eq!((finished.code(), finished.stdout.as_slice()), (8, b"1\n2\n3\n4\n5\n".as_slice()));
    assert_eq!(finished.stderr.matches("takes no more events").count(), 1, "{}", finished.stderr);
    assert_eq!(events(&server.url(), exec.run_id()).len(), before);
    assert_eq!(spools(directory.path()), 0);
}
