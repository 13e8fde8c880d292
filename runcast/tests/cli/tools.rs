use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Ended, Running, Server, ended, ended_of};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A server that stored some events and stopped, and its data.
fn stopped() -> (tempfile::TempDir, PathBuf) {
    let server = Server::start();
    for run in ["a", "b"] {
        server.publish(run, "{\"type\":\"my.event\",\"data\":{\"secret\":\"s3cr3t\"}}\n");
    }
    let directory = server.stop();
    let data = directory.path().join("data");
    (directory, data)
}

fn doctor(data: &Path, flags: &[&str]) -> Ended {
    ended(&[&["doctor", text(data)], flags].concat())
}

/// Flips a byte of the first event of the run `a` in the one write-ahead log.
fn damage(data: &Path) -> PathBuf {
    let files = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let mut logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    let path = logs.next().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|part| part == b"s3cr3t").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    path
}

/// A server on data that is there.
fn serve(data: &Path) -> (Running, String) {
    serve_with(data, &[])
}

fn serve_with(data: &Path, flags: &[&str]) -> (Running, String) {
    let args = ["serve", "--listen", "127.0.0.1:0", "--data", text(data)];
    let mut process = Running::start(&[&args, flags].concat());
    let Some(line) = process.out.next() else { panic!("{:#?}", process.err.rest()) };
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    (process, url.to_owned())
}

#[test]
fn the_doctor_finds_a_sound_log_sound_served_or_not() {
    let server = Server::start();
    server.done(&["publish", "a", "my.event"]);
    let data = PathBuf::from(server.data());
    let served = doctor(&data, &[]);
    assert_eq!(served.code, Some(0), "{}{}", served.out, served.err);
    assert!(served.out.contains(&format!("process {}", server.pid())), "{}", served.out);
    let refused = doctor(&data, &["--repair"]);
    assert_eq!(refused.code, Some(2), "{}", refused.out);
    assert!(refused.err.contains("is in use by"), "{}", refused.err);
    let directory = server.stop();
    let sound = doctor(&data, &["--json"]);
    let told: Value = serde_json::from_str(&sound.out).unwrap();
    assert_eq!((sound.code, &told["sound"]), (Some(0), &Value::Bool(true)), "{told}");
    assert_eq!(doctor(directory.path(), &[]).code, Some(2), "there is no log");
}

#[test]
fn the_doctor_says_what_is_damaged_and_repairs_what_a_server_refuses() {
    let (_directory, data) = stopped();
    let path = damage(&data);
    let name = path.file_name().unwrap().to_str().unwrap();
    let found = doctor(&data, &[]);
    assert_eq!(found.code, Some(1), "{}{}", found.out, found.err);
    assert!(found.out.contains(name) && found.out.contains("byte"), "{}", found.out);
    assert!(found.out.contains("lost:") && found.out.contains("repair:"), "{}", found.out);
    let json: Value = serde_json::from_str(&doctor(&data, &["--json"]).out).unwrap();
    assert_eq!(json["findings"][0]["file"], name, "{json}");
    let repaired = doctor(&data, &["--repair"]);
    assert!(repaired.err.contains("cp -a"), "{}", repaired.err);
    assert!(repaired.out.contains(&format!("{name}.damaged")), "{}", repaired.out);
    let (mut process, url) = serve(&data);
    let b = ended(&["publish", "b", "my.event", "--url", &url]);
    assert!(b.out.contains("offset 2"), "{}{}", b.out, b.err);
    process.terminate();
    assert!(process.wait().success());
}

#[test]
fn a_trimmed_run_is_shown_and_comes_back_from_a_backup_with_its_state() {
    let server = Server::start();
    let data = PathBuf::from(server.data());
    let made = r#"{"type":"run.started","data":{"name":"n","retention":{"events_max":5}}}"#;
    let event = "{\"type\":\"my.event\"}\n";
    server.publish("t", &format!("{made}\n{}", event.repeat(20)));
    let trims = |data: &Path| {
        let shown = ended(&["inspect", text(data), "--run", "t", "--json"]).out;
        let pieces = shown.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        pieces.filter(|piece| piece["kind"] == "trim").collect::<Vec<_>>()
    };
    let trim = loop {
        if let Some(trim) = trims(&data).pop() {
            break trim;
        }
    };
    assert!(trim["base_bytes"].as_u64().unwrap() > 0, "{trim}");
    let state = |url: &str| {
        let shown = ended(&["runs", "show", "t", "--json", "--url", url]);
        let mut state: Value = serde_json::from_str(&shown.out).unwrap();
        // It is of another epoch then, and may be trimmed once more.
        state
            .as_object_mut()
            .unwrap()
            .retain(|name, _| !["epoch", "cursor", "first_offset"].contains(&&**name));
        state
    };
    let before = state(&server.url);
    assert_eq!((&before["name"], &before["events"]["total"]), (&"n".into(), &21.into()));
    let (target, back) =
        (server.directory.path().join("backup"), server.directory.path().join("back"));
    for step in [["backup", text(&data), text(&target)], ["restore", text(&target), text(&back)]] {
        let done = ended(&step);
        assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    }
    assert_eq!(doctor(&back, &[]).code, Some(0));
    assert!(!trims(&back).is_empty());
    let (mut process, url) = serve(&back);
    assert_eq!(state(&url), before);
    process.terminate();
    assert!(process.wait().success());
}

#[test]
fn a_backup_of_a_server_at_work_comes_back_event_by_event() {
    let server = Server::start();
    let data = PathBuf::from(server.data());
    let target = server.directory.path().join("backup");
    let mut publish = server.running(&["publish", "busy"]);
    for at in 0..300 {
        publish.write(&format!("{{\"type\":\"my.event\",\"data\":{{\"at\":{at}}}}}\n"));
        if at % 100 == 0 {
            server.done(&["publish", "a", "my.event"]);
            let made = ended(&["backup", text(&data), text(&target)]);
            assert_eq!(made.code, Some(0), "{}{}", made.out, made.err);
        }
    }
    publish.close_stdin();
    assert!(publish.wait().success());
    let made = ended(&["backup", text(&data), text(&target), "--verify"]);
    assert!(made.out.contains("2 runs, 303 events"), "{}{}", made.out, made.err);
    let back = server.directory.path().join("back");
    let restored = ended(&["restore", text(&target), text(&back)]);
    assert_eq!(restored.code, Some(0), "{}{}", restored.out, restored.err);
    assert!(restored.out.contains("2 runs, 303 events"), "{}", restored.out);
    let again = ended(&["restore", text(&target), text(&back)]);
    assert!(again.code == Some(1) && again.err.contains("not empty"), "{}", again.err);
    assert_eq!(doctor(&back, &[]).code, Some(0));
    let events = |data: &Path| ended(&["inspect", text(data), "--events", "--json"]);
    let payloads = |data: &Path| -> Vec<Value> {
        let lines = events(data).out;
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let events = lines.filter(|line| line["kind"] == "event");
        events.map(|mut line| line["event"].take()).collect()
    };
    assert_eq!(payloads(&back), payloads(&data));
    let (mut process, url) = serve(&back);
    let next = ended(&["publish", "a", "my.event", "--url", &url]);
    assert!(next.out.contains("offset 4"), "{}{}", next.out, next.err);
    process.terminate();
    assert!(process.wait().success());
}

#[test]
fn a_backup_and_a_restore_that_are_killed_leave_what_was_and_are_done_again() {
    let server = Server::start();
    let line =
        format!("{{\"type\":\"my.event\",\"data\":{{\"text\":\"{}\"}}}}\n", "x".repeat(5_000));
    server.publish("a", &line.repeat(2_000));
    let data = PathBuf::from(server.data());
    let target = server.directory.path().join("backup");
    let made = ended(&["backup", text(&data), text(&target)]);
    assert_eq!(made.code, Some(0), "{}", made.err);
    let sets = || fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().path());
    let whole = || sets().filter(|path| path.join("backup.txt").exists()).count();
    for _ in 0..10 {
        let mut backup = Running::start(&["backup", text(&data), text(&target)]);
        // As soon as it has begun.
        while sets().count() < 3 && whole() == 1 && backup.is_running() {
            std::thread::yield_now();
        }
        backup.kill();
        assert!(whole() >= 1, "the set before is there until the new one is");
        let back = tempfile::tempdir().unwrap();
        let into = back.path().join("data");
        let mut restore = Running::start(&["restore", text(&target), text(&into)]);
        while !into.join("restoring").exists() && restore.is_running() {
            std::thread::yield_now();
        }
        restore.kill();
        if into.join("restoring").exists() {
            let refused = ended(&["serve", "--listen", "127.0.0.1:0", "--data", text(&into)]);
            assert!(refused.err.contains("not finished"), "{}", refused.err);
            let again = ended(&["restore", text(&target), text(&into)]);
            assert_eq!(again.code, Some(0), "{}", again.err);
        }
        assert_eq!(doctor(&into, &[]).code, Some(0));
    }
    let made = ended(&["backup", text(&data), text(&target)]);
    assert_eq!(made.code, Some(0), "{}", made.err);
    assert_eq!((sets().count(), whole()), (2, 1), "a set and the lock");
}

/// Ends a command that finds no more room than a block for any file: as far as it can tell, the
/// disk is full.
fn without_room(args: &[&str]) -> Ended {
    let limited = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", limited, env!("CARGO_BIN_EXE_runcast")]).args(args);
    ended_of(command)
}

#[test]
fn without_room_the_tools_say_so_and_leave_what_was() {
    let (directory, data) = stopped();
    let target = directory.path().join("backup");
    let refused = without_room(&["backup", text(&data), text(&target)]);
    assert_eq!(refused.code, Some(1), "{}{}", refused.out, refused.err);
    assert!(refused.err.contains("too large"), "{}", refused.err);
    let sets =
        || fs::read_dir(&target).unwrap().filter(|set| set.as_ref().unwrap().path().is_dir());
    assert_eq!(sets().count(), 0, "what was begun is gone, and its room with it");
    let made = ended(&["backup", text(&data), text(&target)]);
    assert_eq!(made.code, Some(0), "{}", made.err);

    let back = directory.path().join("back");
    let refused = without_room(&["restore", text(&target), text(&back)]);
    assert_eq!(refused.code, Some(1), "{}{}", refused.out, refused.err);
    assert!(refused.err.contains("too large"), "{}", refused.err);
    let restored = ended(&["restore", text(&target), text(&back)]);
    assert_eq!(restored.code, Some(0), "{}", restored.err);
    assert!(restored.out.contains("2 runs, 2 events"), "{}", restored.out);

    damage(&data);
    let found = doctor(&data, &["--json"]).out;
    let refused = without_room(&["doctor", text(&data), "--repair"]);
    assert_eq!(refused.code, Some(2), "{}{}", refused.out, refused.err);
    assert!(refused.err.contains("too large"), "{}", refused.err);
    assert_eq!(doctor(&data, &["--json"]).out, found, "a repair is done whole or not at all");
    assert_eq!(doctor(&data, &["--repair"]).code, Some(0));
    assert_eq!(doctor(&data, &[]).code, Some(0));
}

#[test]
fn a_viewer_that_saw_more_than_the_backup_has_is_told_so() {
    let server = Server::start();
    server.done(&["publish", "a", "my.event"]);
    let data = PathBuf::from(server.data());
    let target = server.directory.path().join("backup");
    assert_eq!(ended(&["backup", text(&data), text(&target)]).code, Some(0));
    for _ in 0..3 {
        server.done(&["publish", "a", "my.event"]);
    }
    let back = server.directory.path().join("back");
    assert_eq!(ended(&["restore", text(&target), text(&back)]).code, Some(0));
    let (mut process, url) = serve(&back);
    for _ in 0..5 {
        let added = ended(&["publish", "a", "my.other", "--url", &url]);
        assert_eq!(added.code, Some(0), "{}", added.err);
    }
    // It has seen the event at offset 4, which is another one now.
    let mut tail = Running::start(&["tail", "a", "--since", "4", "--url", &url]);
    let mut said = Vec::new();
    while said.iter().filter(|line: &&String| line.contains("my.other")).count() < 5 {
        said.push(tail.out.next().unwrap());
    }
    tail.kill();
    process.terminate();
    assert!(process.wait().success());
}

#[test]
fn inspect_shows_what_is_in_files_and_no_events_unless_asked() {
    let (_directory, data) = stopped();
    let all = ended(&["inspect", text(&data)]);
    assert_eq!(all.code, Some(0), "{}", all.err);
    assert!(all.out.contains("group") && all.out.contains("append"), "{}", all.out);
    assert!(!all.out.contains("s3cr3t"), "{}", all.out);
    let of_run = ended(&["inspect", text(&data), "--run", "b", "--events", "--json"]);
    let lines: Vec<Value> =
        of_run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["run"] == "b"), "{}", of_run.out);
    let event = lines.iter().find(|line| line["kind"] == "event").unwrap();
    assert_eq!(
        (&event["offset"], &event["event"]["data"]["secret"]),
        (&1.into(), &"s3cr3t".into())
    );
    let path = damage(&data);
    let damaged = ended(&["inspect", text(&path)]);
    assert_eq!(damaged.code, Some(1), "{}", damaged.err);
    assert!(damaged.out.contains("damaged") && damaged.out.contains(" b "), "{}", damaged.out);
    fs::write(data.join("notes.txt"), "no log").unwrap();
    assert_eq!(ended(&["inspect", text(&data.join("notes.txt"))]).code, Some(1));
}

/// Flips a byte of a text that is sealed.
fn rot(data: &Path, mark: &str) {
    let files = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let sealed = files.filter(|path| path.extension().is_some_and(|end| end == "seg"));
    for path in sealed {
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(mark.len()).position(|part| part == mark.as_bytes());
        if let Some(at) = at {
            bytes[at] ^= 1;
            return fs::write(&path, bytes).unwrap();
        }
    }
    panic!("{mark} is not sealed");
}

#[test]
fn damaged_events_are_told_and_the_others_shown() {
    let directory = tempfile::tempdir().unwrap();
    let small = ["--set", "wal_bytes_max=100000"];
    let (mut process, url) = serve_with(directory.path(), &small);
    let filling = "x".repeat(30_000);
    let event = |mark: &str| {
        let data = format!("{{\"mark\":\"{mark}\",\"filling\":\"{filling}\"}}");
        let published = ended(&["publish", "a", "my.event", "--data", &data, "--url", &url]);
        assert_eq!(published.code, Some(0), "{}", published.err);
    };
    event("whole");
    event("whole");
    event("s3cr3t");
    // Until the write-ahead log that has it is sealed and gone.
    while directory.path().join("wal-0000000001.log").exists() {
        event("whole");
    }
    rot(directory.path(), "s3cr3t");
    process.terminate();
    assert!(process.wait().success());
    let (_process, url) = serve(directory.path());
    let published = ended(&["publish", "a", "run.completed", "--url", &url]);
    assert_eq!(published.code, Some(0), "{}", published.err);
    let seen = ended(&["tail", "a", "--url", &url]);
    assert_eq!(seen.code, Some(0), "{}", seen.err);
    assert!(seen.err.contains("damaged on the server's disk and cannot be read"), "{}", seen.err);
    let events: Vec<Value> =
        seen.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| event["offset"] != 3), "{:?}", seen.err);
    assert_eq!((&events[0]["offset"], &events[0]["data"]["mark"]), (&1.into(), &"whole".into()));
    assert_eq!(events.last().unwrap()["type"], "run.completed");
    let shown = ended(&["runs", "show", "a", "--url", &url]).out;
    assert!(shown.contains("cannot be read any more"), "{shown}");
    let found = doctor(directory.path(), &[]);
    assert!(found.code == Some(1) && found.out.contains("events"), "{}", found.out);
}
