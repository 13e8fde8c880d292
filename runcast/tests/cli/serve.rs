use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use crate::process::{Running, Server, ended};

#[test]
fn it_says_where_it_serves_and_a_second_one_finds_the_data_in_use() {
    let server = Server::start();
    let second = ended(&["serve", "--listen", "127.0.0.1:0", "--data", &server.data()]);
    assert_eq!(second.code, Some(1));
    assert!(second.err.contains(&format!("process {}", server.pid())), "{}", second.err);
    assert_eq!(second.err.lines().count(), 1, "{}", second.err);
    // The first one is not disturbed.
    server.done(&["publish", "a", "my.event"]);
    server.stop();
}

#[test]
fn what_was_published_is_there_after_a_stop_and_after_a_kill() {
    let mut server = Server::start();
    server.done(&["publish", "a", "my.event"]);
    server.killed_meanwhile(|| {});
    let answer = server.done(&["publish", "a", "my.event"]);
    assert!(answer.contains("offset 2"), "{answer}");
}

#[test]
fn a_follower_does_not_hold_a_stop_back() {
    let server = Server::start();
    server.done(&["publish", "a", "my.event"]);
    let mut tail = server.running(&["tail", "a"]);
    tail.out.until("my.event");
    server.stop();
    tail.err.until("connection lost");
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let refused = ended(&["serve", "--listen", &address, "--data", data.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains(&address) && refused.err.contains("--listen"), "{}", refused.err);
}

#[test]
fn an_address_that_others_could_reach_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7070"] {
        let refused = ended(&["serve", "--listen", address, "--data", data.to_str().unwrap()]);
        assert_eq!(refused.code, Some(1), "{address}");
        assert!(refused.err.contains("authentication"), "{}", refused.err);
    }
    assert!(!data.exists(), "nothing is made before the address is right");
}

/// The one log file of a server that stored some events and stopped.
fn stopped_log() -> (tempfile::TempDir, PathBuf) {
    let server = Server::start();
    for _ in 0..3 {
        server.done(&["publish", "a", "my.event"]);
    }
    let directory = server.stop();
    let files = fs::read_dir(directory.path().join("data")).unwrap();
    let mut paths = files.map(|entry| entry.unwrap().path());
    let log = paths.find(|path| path.extension().is_some_and(|end| end == "log")).unwrap();
    (directory, log)
}

fn refusal(directory: &tempfile::TempDir) -> String {
    let data = directory.path().join("data");
    let refused = ended(&["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    refused.err
}

#[test]
fn data_of_a_newer_format_is_refused_with_both_versions() {
    let (directory, log) = stopped_log();
    let mut bytes = fs::read(&log).unwrap();
    bytes[8] = 99;
    fs::write(&log, bytes).unwrap();
    let said = refusal(&directory);
    assert!(said.contains("format 99") && said.contains("newer"), "{said}");
}

#[test]
fn a_damaged_log_is_refused_with_the_place() {
    let (directory, log) = stopped_log();
    let mut bytes = fs::read(&log).unwrap();
    bytes[150] ^= 0xff;
    fs::write(&log, &bytes).unwrap();
    let said = refusal(&directory);
    assert!(said.contains("damaged at byte"), "{said}");
    assert!(said.contains(log.to_str().unwrap()), "{said}");
    assert_eq!(fs::read(&log).unwrap(), bytes, "nothing was changed");
}

#[test]
fn relaxed_durability_is_a_choice() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let base = ["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let odd = ended(&[&base[..], &["--sync-every-ms", "5"]].concat());
    assert_eq!(odd.code, Some(2), "only relaxed durability has an interval: {}", odd.err);
    let relaxed = ["--durability", "relaxed", "--sync-every-ms", "5"];
    let mut process = Running::start(&[&base[..], &relaxed].concat());
    process.out.until("http://127.0.0.1:");
    process.terminate();
    assert!(process.wait().success());
}
