//! The bridge between a real Redis and a real server.

#![allow(clippy::unwrap_used, reason = "tests")]

mod server;

use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use runcast_client::Client;
use runcast_contract::redis_server::Server as Redis;
use runcast_event::{Draft, RunId};
use serde_json::{Value, json};
use server::Server;
use tempfile::TempDir;

/// Only so that what hangs fails too.
const PATIENCE: Duration = Duration::from_secs(90);

struct World {
    redis: Redis,
    server: Server,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let redis = Redis::start_with(&["--appendonly", "yes"]);
        let server = Server::started(folder.path());
        Self { redis, server, folder }
    }

    /// A bridge that works, with this in its file.
    fn bridge(&self, mappings: &str) -> Bridge {
        Bridge::start(&self.redis.url(), &self.server.url(), self.folder.path(), mappings)
    }

    /// Sends commands, one a line, all in one go.
    fn pipe(&self, commands: &str) {
        let mut child = Command::new("redis-cli")
            .args(["-p", &self.redis.port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn publish(&self, channel: &str, message: &str) {
        assert_ne!(self.redis.command(&["PUBLISH", channel, message]).trim(), "0", "nobody hears");
    }

    /// The events of a run once there are so many.
    fn events(&self, run: &str, count: usize) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        let mut events = Vec::new();
        loop {
            let after = events.last().map_or(0, |event: &Value| event["offset"].as_u64().unwrap());
            let path = format!("/v1/runs/{run}/events?after={after}&limit=1000&wait=1000");
            if let Some(page) = get(&self.server.url(), &path) {
                events.extend(page["events"].as_array().unwrap().iter().cloned());
            }
            if events.len() >= count {
                return events;
            }
            assert!(Instant::now() < until, "{} of {count} events came", events.len());
        }
    }
}

/// The answer's JSON; none if it is no success.
fn get(url: &str, path: &str) -> Option<Value> {
    use std::io::Read as _;
    let address = url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    head.starts_with("HTTP/1.1 200 ").then(|| serde_json::from_str(body).unwrap())
}

struct Bridge {
    child: Child,
    errors: Option<std::thread::JoinHandle<String>>,
}

impl Bridge {
    fn start(redis: &str, url: &str, folder: &Path, mappings: &str) -> Self {
        let mut bridge = Self::begin(redis, url, folder, mappings);
        let mut line = String::new();
        let stdout = bridge.child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert!(line.contains("Runcast bridges"), "{line:?}");
        bridge
    }

    fn begin(redis: &str, url: &str, folder: &Path, mappings: &str) -> Self {
        let file = folder.join("bridge.toml");
        std::fs::write(&file, mappings).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_runcast"))
            .args(["bridge", "--redis", redis, "--url", url, "--config"])
            .arg(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || std::io::read_to_string(stderr).unwrap());
        Self { child, errors: Some(errors) }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it in good order; what it said.
    fn stop(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        let said = self.errors.take().unwrap().join().unwrap();
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_bridge_that_is_killed_in_the_middle_of_a_stream_brings_each_entry_once_and_in_order() {
    const ENTRIES: usize = 10_000;
    let mut world = World::new();
    let mappings = "[[in]]\nstream = 'events:{run}'\n";
    let add = |number: usize| format!("XADD events:r * type my.tick number {number}\n");
    world.pipe(&(0..ENTRIES / 2).map(add).collect::<String>());
    // The first may not say to Redis what is done: all that it stores, the next is given again.
    let user = ["ACL", "SETUSER", "half", "on", ">pw", "~*", "&*", "+@all", "-xack"];
    assert_eq!(world.redis.command(&user).trim(), "OK");
    let half = world.redis.url().replace("://", "://half:pw@");
    let folder = world.folder.path().to_owned();
    let mut bridge = Bridge::begin(&half, &world.server.url(), &folder, mappings);
    let mut seen = 0;
    for kill in 0..4 {
        // In the middle: some are stored, many are not.
        seen = world.events("r", seen + 300).len();
        bridge.kill();
        if kill == 0 {
            let stored = world.events("r", seen).len();
            assert!(stored < ENTRIES / 2, "it was not in the middle: {stored}");
        }
        if kill == 1 {
            world.pipe(&(ENTRIES / 2..ENTRIES).map(add).collect::<String>());
        }
        bridge = world.bridge(mappings);
        if kill == 2 {
            // So is Redis, under a bridge that stays, and the server.
            world.redis.kill();
            world.server.kill();
            world.redis.restart();
            world.server.start();
        }
    }
    let events = world.events("r", ENTRIES);
    let numbers: Vec<&str> =
        events.iter().map(|event| event["data"]["number"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..ENTRIES).map(|number| number.to_string()).collect();
    assert!(numbers == expected, "each once, and in order");
    assert_eq!(events[0]["data"]["bridged_from"], "events:r");
    let said = bridge.stop();
    assert!(said.contains("0 left out, 0 lost"), "{said}");
    let pending = world.redis.command(&["XPENDING", "events:r", "runcast-bridge"]);
    assert!(pending.starts_with('0'), "all is acknowledged: {pending}");
    let notes = world.redis.command(&["HKEYS", "runcast-bridge:in:events:r"]);
    assert_eq!(notes.trim(), "next r", "no note is left");
}

#[test]
fn a_stream_of_many_runs_goes_to_each_and_what_is_no_event_is_left_out_and_told() {
    let mut world = World::new();
    let bridge = world.bridge("[[in]]\nstream = 'bus'\npayload = 'json'\nrun = '{id}'\n");
    let add = |id: &str, json: &str| format!("XADD bus * id {id} json '{json}'\n");
    let mut commands = String::new();
    for number in 0..50 {
        for id in ["a", "b"] {
            commands += &add(id, &format!(r#"{{"type":"my.tick","n":{number}}}"#));
        }
        if number == 20 {
            commands += &add("a", "no JSON");
            commands += &add("a", r#"{"type":"step.started"}"#);
            // Only the server knows that this cannot be.
            commands += &add("a", r#"{"type":"run.resumed"}"#);
        }
        if number == 30 {
            world.server.kill();
            world.pipe(&std::mem::take(&mut commands));
            world.server.start();
        }
    }
    commands += &add("a", r#"{"type":"run.completed"}"#);
    world.pipe(&commands);
    let ticks = |run: &str, count| {
        let events = world.events(run, count);
        let ticks = events.iter().filter(|event| event["type"] == "my.tick");
        let numbers: Vec<u64> = ticks.map(|event| event["data"]["n"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>(), "{run}");
        events
    };
    let a = ticks("a", 52);
    ticks("b", 50);
    let gap = a.iter().find(|event| event["type"] == "producer.gap").unwrap();
    assert_eq!(gap["data"]["lost_events"], 1, "{gap}");
    assert_eq!(a.last().unwrap()["type"], "run.completed");
    let said = bridge.stop();
    assert!(said.contains("not JSON") && said.contains("3 left out, 0 lost"), "{said}");
    let notes = world.redis.command(&["HKEYS", "runcast-bridge:in:bus"]);
    assert_eq!(notes.trim(), "next b", "a has ended");
}

#[test]
fn channels_by_pattern_become_runs_and_a_cut_connection_is_told_in_them() {
    let world = World::new();
    let presets = ["workflow-events", "run-output", "run-logs", "run-status"];
    let ins = presets.map(|preset| format!("[[in]]\npreset = '{preset}'\n")).concat();
    let bridge = world.bridge(&ins);
    world.publish("run:r:status", "running");
    for number in 0..100 {
        world.publish("run:r:output:v1", &format!("{number} "));
    }
    world.publish("run:r:logs:v1", r#"{"level":"warning","message":"careful"}"#);
    let events = world.events("r", 102);
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!((types[0], types[101]), ("run.started", "log"));
    let text = |event: &Value| event["data"]["text"].as_str().unwrap_or_default().to_owned();
    let output: String = events.iter().map(text).collect();
    assert_eq!(output, (0..100).map(|number| format!("{number} ")).collect::<String>());
    assert_eq!((&events[1]["variation"], &events[1]["channel"]), (&json!("v1"), &json!("output")));
    // Stages, in a run that is defined by its first message.
    let stage = |event_type: &str| {
        json!({"workflow_id": "w", "execution_id": "e", "event_type": event_type,
            "data": {"stage": "task_decomposition"}})
    };
    for event_type in ["stage_start", "stage_complete"] {
        world.publish("workflow:w:execution:e", &stage(event_type).to_string());
    }
    let e = world.events("e", 3);
    assert_eq!((&e[0]["type"], &e[0]["data"]["workflow"]), (&json!("run.queued"), &json!("w")));
    assert_eq!(e[2]["type"], "stage.completed");
    // Whoever is cut off comes back, and says so in the runs that were under way.
    world.redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let until = Instant::now() + PATIENCE;
    while world.redis.command(&["PUBLISH", "run:r:output:v1", "back"]).trim() == "0" {
        assert!(Instant::now() < until, "it does not come back");
    }
    world.publish("run:r:status", "completed");
    let events = world.events("r", 105);
    let told = events.iter().find(|event| event["type"] == "producer.gap").unwrap();
    assert!(told["data"]["reason"].as_str().unwrap().contains("without Redis"), "{told}");
    assert_eq!(events.last().unwrap()["type"], "run.completed");
    let said = bridge.stop();
    assert!(said.contains("0 left out, 0 lost"), "{said}");
}

#[tokio::test]
async fn runs_go_out_to_channels_and_streams_once_and_never_come_back() {
    let world = World::new();
    // Both ways on the same channels: what goes out must not come in again, nor the other way round.
    let mappings = "
        [[in]]
        preset = 'run-output'
        [[out]]
        preset = 'run-output'
        [[out]]
        preset = 'run-status'
        [[in]]
        stream = 'copy:{run}'
        [[out]]
        stream = 'copy:{run}'
        prefix = 'own'
    ";
    let mut bridge = world.bridge(mappings);
    let mut subscriber = Command::new("redis-cli")
        .args(["-p", &world.redis.port.to_string(), "PSUBSCRIBE", "run:*"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut heard = BufReader::new(subscriber.stdout.take().unwrap()).lines();
    let mut next = || heard.next().unwrap().unwrap();
    assert_eq!([next(), next(), next()], ["psubscribe", "run:*", "1"]);
    let mut message = || {
        let [kind, _, channel, text] = [next(), next(), next(), next()];
        assert_eq!(kind, "pmessage");
        format!("{channel} {text}")
    };
    let client = Client::new(&world.server.url()).unwrap();
    let own = RunId::new("own-1").unwrap();
    let output = |text: &str| {
        let mut draft = Draft::new("output", json!({ "text": text }));
        draft.labels.variation = Some("v".to_owned());
        draft
    };
    client.append(&own, &[Draft::new("run.started", json!({})), output("one")]).await.unwrap();
    let mut said = [message(), message()];
    said.sort();
    assert_eq!(said, ["run:own-1:output:v one", "run:own-1:status running"]);
    // An existing system says something: it comes in, and does not go out again.
    world.publish("run:other:output:v", "from outside");
    assert_eq!(message(), "run:other:output:v from outside");
    assert_eq!(world.events("other", 1)[0]["data"]["text"], "from outside");
    // Another bridge goes on where this one was.
    bridge.kill();
    client.append(&own, &[output("two")]).await.unwrap();
    let bridge = world.bridge(mappings);
    assert_eq!(message(), "run:own-1:output:v two");
    client.append(&own, &[Draft::new("run.completed", json!({}))]).await.unwrap();
    assert_eq!(message(), "run:own-1:status completed");
    let until = Instant::now() + PATIENCE;
    while world.redis.command(&["XLEN", "copy:own-1"]).trim() != "4" {
        assert!(Instant::now() < until, "it is not copied");
    }
    // It is forgotten when the feed has told of its end, and not published again.
    for target in ["run:{run}:status", "copy:{run}"] {
        let key = format!("runcast-bridge:out:{target}");
        while world.redis.command(&["HKEYS", &key]).contains("own-1") {
            assert!(Instant::now() < until, "{}", world.redis.command(&["HGETALL", &key]));
        }
    }
    assert_eq!(world.redis.command(&["XLEN", "copy:own-1"]).trim(), "4");
    let said = bridge.stop();
    assert!(said.contains("0 left out, 0 lost"), "{said}");
    assert_eq!(world.events("own-1", 4).len(), 4, "nothing came back");
    assert_eq!(world.events("other", 1).len(), 1);
    let copied = world.redis.command(&["XRANGE", "copy:own-1", "-", "+"]);
    assert!(copied.contains(r#""type":"run.completed""#), "{copied}");
    subscriber.kill().unwrap();
    subscriber.wait().unwrap();
}

#[test]
fn of_two_bridges_with_one_name_one_works_and_the_other_takes_over() {
    let world = World::new();
    let mappings = "[[in]]\nstream = 's:{run}'\n";
    let mut first = world.bridge(mappings);
    let (redis, url) = (world.redis.url(), world.server.url());
    let mut second = Bridge::begin(&redis, &url, world.folder.path(), mappings);
    world.pipe("XADD s:r * type my.one\n");
    world.events("r", 1);
    first.kill();
    world.pipe("XADD s:r * type my.two\n");
    assert_eq!(world.events("r", 2)[1]["type"], "my.two");
    let said = {
        second.child.stdout.take();
        second.stop()
    };
    assert!(said.contains("waits to take over"), "{said}");
    assert!(said.contains(" 1 stored"), "what the first has stored is stored once: {said}");
}
