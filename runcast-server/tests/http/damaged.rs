//! Bit rot: every way to read tells once which events are damaged, and gives all others.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use runcast_hub::HubConfig;
use runcast_log::EmbeddedOptions;
use runcast_server::{HttpConfig, ServerConfig, Store, start};
use serde_json::{Value, json};

use crate::client::{TestServer, frames, patiently};
use crate::logged::Logged;
use crate::websocket::socket::Socket;

const LINES: (&str, &str) = ("Accept", "application/x-ndjson");
const LIVE: (&str, &str) = ("Accept", "text/event-stream");

/// A server on a directory, whose log seals often and never scrubs.
pub(crate) async fn on(directory: &Path) -> TestServer {
    let log = EmbeddedOptions {
        wal_bytes_max: 100_000,
        room_bytes_max: 0,
        scrub_every: Duration::ZERO,
        ..EmbeddedOptions::default()
    };
    let http = HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), ..HttpConfig::default() };
    // So that readers of older events read the log.
    let hub = HubConfig { tail_bytes_max: 30_000, ..HubConfig::default() };
    let store = Store::Directory { path: directory.to_path_buf(), options: log };
    let config = ServerConfig { store, hub, http };
    TestServer::running(start(config).await.unwrap())
}

async fn stop(mut server: TestServer) {
    server.begin_to_stop();
    server.stopped().await;
}

/// An event that fills a third of a block of a segment.
fn large(event_type: &str, data: &Value) -> String {
    let mut data = data.clone();
    data["filling"] = "x".repeat(20_000).into();
    json!({"type": event_type, "time": "2026-01-02T03:04:05Z", "data": data}).to_string()
}

/// So many events; each says which it is.
fn numbered(count: u64) -> Vec<String> {
    (1..=count).map(|at| large("my.event", &json!({"mark": format!("mark-{at}-")}))).collect()
}

/// Appends events to the run `r`, and waits until they are sealed.
async fn store(server: &TestServer, events: &[String]) {
    store_in(server, "r", events).await;
}

async fn store_in(server: &TestServer, run: &str, events: &[String]) {
    for event in events {
        let reply = server.post(&format!("/v1/runs/{run}/events"), event).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    seal(server).await;
}

/// Waits until all that was appended is sealed.
pub(crate) async fn seal(server: &TestServer) {
    let before = server.hub.measure_log().segments;
    let sealed = |server: &TestServer| {
        let stats = server.hub.measure_log();
        stats.segments > before && stats.wals_waiting == 0
    };
    // The last of them go with what fills their write-ahead log.
    for _ in 0..8 {
        server.post("/v1/runs/filler/events", &large("my.event", &json!({}))).await;
    }
    patiently(async {
        while !sealed(server) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect()
}

/// Flips a bit of each of these texts, wherever it is sealed.
pub(crate) fn rot(directory: &Path, marks: &[&str]) {
    for mark in marks {
        let mut found = 0;
        for path in segments(directory) {
            let mut bytes = std::fs::read(&path).unwrap();
            let at = bytes.windows(mark.len()).position(|part| part == mark.as_bytes());
            let Some(at) = at else { continue };
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            found += 1;
        }
        assert_eq!(found, 1, "{mark} is sealed");
    }
}

/// A run of so many sealed events of which some are damaged, on a server that was started since.
async fn damaged(count: u64, marks: &[&str]) -> (tempfile::TempDir, TestServer) {
    let directory = tempfile::tempdir().unwrap();
    let server = on(directory.path()).await;
    store(&server, &numbered(count)).await;
    stop(server).await;
    rot(directory.path(), marks);
    let server = on(directory.path()).await;
    (directory, server)
}

/// What a reader was told: offsets of events that are as they were appended, and gaps.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Event(u64),
    Gap(u64, u64),
}

fn gap(value: &Value) -> Told {
    assert_eq!(value["reason"], "damaged");
    Told::Gap(value["from"].as_u64().unwrap(), value["to"].as_u64().unwrap())
}

fn event(value: &Value) -> Told {
    let offset = value["offset"].as_u64().unwrap();
    assert_eq!(value["data"]["mark"], format!("mark-{offset}-"), "never wrong bytes");
    assert_eq!(value["data"]["filling"].as_str().unwrap(), "x".repeat(20_000));
    Told::Event(offset)
}

async fn by_lines(server: &TestServer) -> Vec<Told> {
    let lines = server.send("GET", "/v1/runs/r/events", &[LINES], b"").await.json_lines();
    lines.iter().map(|line| line.get("gap").map_or_else(|| event(line), gap)).collect()
}

async fn by_pages(server: &TestServer, query: &str) -> Vec<Told> {
    let (mut told, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let page = server.get(&format!("/v1/runs/r/events?after={after}{query}")).await.json();
        told.extend(page.get("gap").map(gap));
        told.extend(page["events"].as_array().unwrap().iter().map(event));
        after = page["next"].as_str().unwrap().to_owned();
        if after.parse().ok() == page["last"].as_u64() {
            return told;
        }
    }
}

/// What frames of server-sent events tell, up to the last event of the run.
fn of_frames(text: &str) -> Vec<Told> {
    let mut told = Vec::new();
    for (id, name, data) in frames(text) {
        match name.as_str() {
            "gap" => {
                assert!(id.ends_with(&data["to"].to_string()), "a gap moves its reader on: {id}");
                told.push(gap(&data));
            }
            "" => told.push(event(&data)),
            _ => {}
        }
    }
    told
}

async fn by_events(server: &TestServer, target: &str, last: u64) -> Vec<Told> {
    let mut follower = server.follow(target).await;
    let end = format!("mark-{last}-\"}}}}\n\n");
    of_frames(&follower.until(&end).await)
}

async fn by_http2(server: &TestServer, last: u64) -> Vec<Told> {
    let stream = server.connect().await.stream;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let target = format!("http://{}/v1/runs/r/events", server.address);
    let request = hyper::Request::get(&target).header("accept", "text/event-stream");
    let request = request.body(Full::new(bytes::Bytes::new())).unwrap();
    let mut body = patiently(sender.send_request(request)).await.unwrap().into_body();
    let mut text = String::new();
    while !text.ends_with(&format!("mark-{last}-\"}}}}\n\n")) {
        let frame = patiently(body.frame()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    of_frames(&text)
}

async fn by_websocket(server: &TestServer, last: u64) -> Vec<Told> {
    let mut socket = Socket::open(server).await;
    socket.send(&json!({"type": "subscribe", "run": "r", "after": "0"})).await;
    let mut told = Vec::new();
    while told.last() != Some(&Told::Event(last)) {
        let message = socket.message().await;
        match message["type"].as_str().unwrap() {
            "events" => told.extend(message["events"].as_array().unwrap().iter().map(event)),
            "gap" => {
                assert_eq!(message["cursor"], message["gap"]["to"].to_string());
                told.push(gap(&message["gap"]));
            }
            _ => {}
        }
    }
    told
}

/// Each event once and in order, but for one gap, in which these are.
fn check(told: &[Told], count: u64, lost: &[u64]) -> (u64, u64) {
    let gaps: Vec<_> = told.iter().filter(|item| matches!(item, Told::Gap(..))).collect();
    let [Told::Gap(from, to)] = gaps[..] else { panic!("one gap, not {gaps:?}") };
    let mut expected: Vec<_> = (1..*from).map(Told::Event).collect();
    expected.push(Told::Gap(*from, *to));
    expected.extend((to + 1..=count).map(Told::Event));
    assert_eq!(told, expected);
    assert!(lost.iter().all(|at| (*from..=*to).contains(at)), "{lost:?} in {from} to {to}");
    assert!(to - from < 4 * lost.len() as u64, "{from} to {to} are more than the blocks have");
    (*from, *to)
}

#[tokio::test]
async fn every_way_to_read_tells_one_gap_and_gives_all_other_events() {
    let (_directory, server) = damaged(16, &["mark-6-"]).await;
    let told = by_lines(&server).await;
    let (from, to) = check(&told, 16, &[6]);
    assert!(from > 1 && to < 16, "there is something before and behind it");
    assert_eq!(by_pages(&server, "").await, told);
    assert_eq!(by_pages(&server, "&limit=2&wait=5").await, told);
    assert_eq!(by_pages(&server, "&type=my.event&contains=mark").await, told);
    assert_eq!(by_events(&server, "/v1/runs/r/events", 16).await, told);
    assert_eq!(by_events(&server, "/v1/runs/r/events?type=my.event", 16).await, told);
    assert_eq!(by_events(&server, "/v1/streams?run=r&run=filler2", 16).await, told);
    assert_eq!(by_http2(&server, 16).await, told);
    assert_eq!(by_websocket(&server, 16).await, told);
    let page = server.get("/metrics").await;
    let count = format!("runcast_gaps_total{{reason=\"damaged\"}} {}", 9);
    assert!(page.text().contains(&count), "{}", page.text());
}

#[tokio::test]
async fn damage_that_many_readers_meet_is_named_once_in_the_servers_log() {
    let logged = Logged::begin();
    let directory = tempfile::tempdir().unwrap();
    let server = on(directory.path()).await;
    store_in(&server, "met", &numbered(9)).await;
    rot(directory.path(), &["mark-5-"]);
    for _ in 0..3 {
        for after in 0..5 {
            let target = format!("/v1/runs/met/events?after={after}");
            let lines = server.send("GET", &target, &[LINES], b"").await.json_lines();
            assert!(lines.iter().any(|line| line["gap"]["reason"] == "damaged"), "{lines:?}");
            let mut follower = server.follow(&target).await;
            assert!(follower.until("mark-9-\"}}\n\n").await.contains("event: gap"));
        }
    }
    let met = logged.lines(&["a reader met damaged events", "run=met "]);
    assert_eq!(met.len(), 1, "{met:?}");
    assert!(met[0].contains(".seg, byte "), "{met:?}");
}

#[tokio::test]
async fn damage_in_several_blocks_that_follow_on_each_other_is_one_gap() {
    let (_directory, server) = damaged(16, &["mark-5-", "mark-6-", "mark-7-", "mark-8-"]).await;
    let told = by_lines(&server).await;
    check(&told, 16, &[5, 6, 7, 8]);
    assert_eq!(by_events(&server, "/v1/runs/r/events", 16).await, told);
    assert_eq!(by_pages(&server, "").await, told);
}

#[tokio::test]
async fn wherever_it_rots_each_event_is_given_or_in_a_gap_and_the_state_knows_the_gaps() {
    for pattern in 1..=6_u64 {
        let lost: Vec<_> = (1..=30).filter(|at| at * pattern % 11 < 2).collect();
        let marks: Vec<_> = lost.iter().map(|at| format!("mark-{at}-")).collect();
        let marks: Vec<_> = marks.iter().map(String::as_str).collect();
        let (_directory, server) = damaged(30, &marks).await;
        let told = by_lines(&server).await;
        let mut next = 1;
        for item in &told {
            let (from, to) = match *item {
                Told::Event(at) => (at, at),
                Told::Gap(from, to) => (from, to),
            };
            assert_eq!(from, next, "pattern {pattern}: {told:?}");
            let is_lost = lost.iter().any(|at| (from..=to).contains(at));
            assert_eq!(is_lost, matches!(item, Told::Gap(..)), "pattern {pattern}: {told:?}");
            next = to + 1;
        }
        assert_eq!(next, 31);
        assert_eq!(by_pages(&server, "&limit=4").await, told);
        let wire = server.follow("/v1/runs/r/events").await.until(&last_part(&told)).await;
        assert_eq!(of_frames(&wire), told);
        let gaps: Vec<_> = told.iter().filter(|item| matches!(item, Told::Gap(..))).collect();
        let state = server.get("/v1/runs/r").await.json();
        let known = state["damaged"].as_array().unwrap().iter();
        let known: Vec<_> = known
            .map(|range| Told::Gap(range["from"].as_u64().unwrap(), range["to"].as_u64().unwrap()))
            .collect();
        assert_eq!(known.iter().collect::<Vec<_>>(), gaps);
    }
}

/// How the frames of all that was told end.
fn last_part(told: &[Told]) -> String {
    match told.last().unwrap() {
        Told::Event(at) => format!("mark-{at}-\"}}}}\n\n"),
        Told::Gap(_, to) => format!("\"to\":{to},\"reason\":\"damaged\"}}\n\n"),
    }
}

#[tokio::test]
async fn a_run_with_damage_is_listed_appended_to_and_stopped_and_says_what_is_missing() {
    let (directory, server) = damaged(16, &["mark-6-"]).await;
    let (from, to) = check(&by_lines(&server).await, 16, &[6]);
    assert_eq!(server.get("/readyz").await.status, 200);
    let said = |state: &Value| (state["damaged"].clone(), state["events"].clone());
    let state = server.get("/v1/runs/r").await.json();
    let missing = json!([{"from": from, "to": to}]);
    let events = json!({"total": 16, "output": 0, "log": 0, "damaged": to - from + 1});
    assert_eq!(said(&state), (missing.clone(), events));
    assert_eq!((&state["status"], &state["offset"]), (&json!("running"), &json!(16)));
    let list = server.get("/v1/runs").await.json();
    let runs = list["runs"].as_array().unwrap();
    let listed = runs.iter().find(|run| run["id"] == "r").unwrap();
    assert_eq!(listed["events"]["damaged"], to - from + 1);

    // Whatever a missing event may have begun can be ended.
    for event in [
        r#"{"type":"step.completed","step":"s"}"#,
        r#"{"type":"input.answered","data":{"input":"i","answer":"yes"}}"#,
        r#"{"type":"run.resumed"}"#,
    ] {
        let reply = server.post("/v1/runs/r/events", event).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let asked = server.post("/v1/runs/r/commands", r#"{"name":"stop"}"#).await;
    assert_eq!(asked.status, 201, "{}", asked.text());
    assert_eq!(server.get("/v1/runs/r").await.json()["status"], "cancelling");
    let mut mailbox = server.follow("/v1/runs/r/commands").await;
    let mail = frames(&mailbox.until("}}\n\n").await);
    assert!(mail.iter().any(|(_, name, _)| name == "gap"), "{mail:?}");
    let ended = server.post("/v1/runs/r/events", r#"{"type":"run.cancelled"}"#).await;
    assert_eq!(ended.status, 200, "{}", ended.text());

    let state = server.get("/v1/runs/r").await.json();
    assert_eq!((&state["status"], &state["damaged"]), (&json!("cancelled"), &missing));
    stop(server).await;
    let _gone = std::fs::remove_file(directory.path().join("states.saved"));
    let server = on(directory.path()).await;
    assert_eq!(server.get("/v1/runs/r").await.json(), state);
}

#[tokio::test]
async fn damage_up_to_the_newest_event_is_a_gap_and_what_comes_is_followed() {
    let (_directory, server) = damaged(3, &["mark-2-", "mark-3-"]).await;
    let mut follower = server.follow("/v1/runs/r/events").await;
    let wire = follower.until("\"damaged\"}\n\n").await;
    let told = of_frames(&wire);
    assert_eq!(told.last(), Some(&Told::Gap(told.len() as u64, 3)), "{told:?}");
    assert_eq!(by_pages(&server, "").await, told);
    assert_eq!(by_lines(&server).await, told);
    let next = numbered(4).pop().unwrap();
    assert_eq!(server.post("/v1/runs/r/events", &next).await.json()["last"], 4);
    let wire = follower.until("mark-4-\"}}\n\n").await;
    assert_eq!(of_frames(&wire), [Told::Event(4)]);
    let back = [LIVE, ("Last-Event-ID", "3")];
    let mut back = server.open("GET", "/v1/runs/r/events", &back).await;
    back.head().await;
    assert_eq!(of_frames(&back.until("mark-4-\"}}\n\n").await), [Told::Event(4)]);
}

/// The names and data of a body's last frames, without ids.
fn last_frame(text: &str) -> (String, Value) {
    let (_, name, data) = frames(text).pop().unwrap();
    (name, data)
}

#[tokio::test]
async fn a_run_whose_end_is_damaged_has_ended_for_every_reader_and_nobody_knows_how() {
    let directory = tempfile::tempdir().unwrap();
    let server = on(directory.path()).await;
    let mut events = numbered(2);
    events.push(large("run.completed", &json!({"mark": "mark-end-"})));
    store(&server, &events).await;
    stop(server).await;
    rot(directory.path(), &["mark-end-"]);
    let _gone = std::fs::remove_file(directory.path().join("states.saved"));
    let server = on(directory.path()).await;

    let end = ("end".to_owned(), json!({"offset": 3, "type": null}));
    for target in ["/v1/runs/r/events", "/v1/runs/r/events?type=my.event"] {
        let wire = server.follow(target).await.rest().await;
        assert_eq!(last_frame(std::str::from_utf8(&wire).unwrap()), end);
    }
    let wire = server.follow("/v1/streams?run=r").await.rest().await;
    let all = json!({"runs": [{"run": "r", "offset": 3, "type": null}]});
    assert_eq!(last_frame(std::str::from_utf8(&wire).unwrap()), ("end".to_owned(), all));
    let back = [LIVE, ("Last-Event-ID", "3")];
    assert_eq!(server.send("GET", "/v1/runs/r/events", &back, b"").await.status, 204);
    let mut socket = Socket::open(&server).await;
    socket.send(&json!({"type": "subscribe", "run": "r", "after": "0"})).await;
    let message = loop {
        let message = socket.message().await;
        if message["type"] == "end" {
            break message;
        }
    };
    assert_eq!(
        message,
        json!({"type": "end", "run": "r", "offset": 3, "event_type": null, "cursor": "3"})
    );

    let state = server.get("/v1/runs/r").await.json();
    assert_eq!((&state["status"], &state["is_terminal"]), (&json!("crashed"), &json!(true)));
    assert_eq!(state["status_reason"], "how it ended is not known: its last event is damaged");
    server.post("/v1/runs/r/events", &events[0]).await.problem(409, "run_ended");
    server.post("/v1/runs/r/commands", r#"{"name":"stop"}"#).await.problem(409, "run_ended");
    assert_eq!(server.send("DELETE", "/v1/runs/r", &[], b"").await.status, 204);
}

#[tokio::test]
async fn damage_under_a_server_at_work_costs_its_events_and_no_connection() {
    let directory = tempfile::tempdir().unwrap();
    let server = on(directory.path()).await;
    let mut before = server.follow("/v1/runs/r/events").await;
    store(&server, &numbered(9)).await;
    assert_eq!(of_frames(&before.until("mark-9-\"}}\n\n").await).len(), 9);
    let known = server.get("/v1/runs/r").await.json()["events"].clone();
    rot(directory.path(), &["mark-5-"]);
    // Of another view: readers of one view share pages that were read a moment ago.
    let mut since = server.follow("/v1/runs/r/events?type=my.event").await;
    check(&of_frames(&since.until("mark-9-\"}}\n\n").await), 9, &[5]);
    server.post("/v1/runs/r/events", &numbered(10)[9]).await;
    for follower in [&mut before, &mut since] {
        assert_eq!(of_frames(&follower.until("mark-10-\"}}\n\n").await), [Told::Event(10)]);
    }
    // What was folded in before is known.
    assert_eq!(known, json!({"total": 9, "output": 0, "log": 0, "damaged": 0}));
    let state = server.get("/v1/runs/r").await.json();
    assert_eq!((&state["damaged"], &state["events"]["total"]), (&json!([]), &json!(10)));
}

#[tokio::test]
async fn a_run_of_which_no_event_can_be_read_is_still_there() {
    let (_directory, server) = damaged(2, &["mark-1-", "mark-2-"]).await;
    let state = server.get("/v1/runs/r").await.json();
    assert_eq!((&state["events"]["damaged"], &state["status"]), (&json!(2), &json!("queued")));
    assert_eq!(server.get("/v1/runs").await.json()["runs"].as_array().unwrap().len(), 2);
    assert_eq!(by_pages(&server, "").await, [Told::Gap(1, 2)]);
    server.post("/v1/runs/r/events", &numbered(3)[2]).await;
    let state = server.get("/v1/runs/r").await.json();
    assert_eq!(
        (&state["status"], &state["created_at"]),
        (&json!("running"), &json!("2026-01-02T03:04:05.000000Z"))
    );
    let list = server.get("/v1/runs").await.json();
    assert_eq!(list["runs"].as_array().unwrap().len(), 2, "it stands in the list once");
    let counts = server.get("/v1/runs?counts=1").await.json()["counts"].clone();
    assert_eq!(counts, json!({"running": 2}));
}

#[tokio::test]
async fn the_feed_goes_on_behind_its_damaged_entries() {
    let directory = tempfile::tempdir().unwrap();
    let server = on(directory.path()).await;
    let named = large("run.started", &json!({"name": "mark-feed-"}));
    store(&server, &[named]).await;
    stop(server).await;
    // Both in the run and in the feed.
    for path in segments(directory.path()) {
        let mut bytes = std::fs::read(&path).unwrap();
        let marks = bytes.windows(10).enumerate().filter(|(_, part)| *part == b"mark-feed-");
        let marks: Vec<_> = marks.map(|(at, _)| at).collect();
        marks.into_iter().for_each(|at| bytes[at] ^= 1);
        std::fs::write(&path, bytes).unwrap();
    }
    let server = on(directory.path()).await;
    server.post("/v1/runs/new/events", r#"{"type":"run.started"}"#).await;
    let page = server.get("/v1/feed").await.json();
    assert_eq!(page["gap"]["reason"], "damaged", "{page}");
    let newest = page["events"].as_array().unwrap().last().unwrap();
    assert_eq!(newest["run"], "new");
    let lines = server.send("GET", "/v1/feed", &[LINES], b"").await.json_lines();
    assert_eq!(lines[0]["gap"], page["gap"]);
    assert_eq!(lines.last().unwrap()["run"], "new");
    let mut follower = server.follow("/v1/feed").await;
    let wire = follower.until("\"offset\":1}}\n\n").await;
    assert!(wire.contains("event: gap\n"), "{wire}");
}
