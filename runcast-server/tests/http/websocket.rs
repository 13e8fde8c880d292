//! The WebSocket, over a raw socket, and the cases of `protocol/cases`.

use std::time::Duration;

use runcast_hub::HubConfig;
use serde_json::{Value, json};

use self::socket::{Frame, HANDSHAKE, Socket};
use crate::client::{TestServer, patiently};
use crate::damaged;

mod rude;
pub(crate) mod socket;
mod stops;

/// Whether a message has everything that is expected; a problem may have more.
fn has(expected: &Value, actual: &Value) -> bool {
    let Value::Object(members) = expected else { return expected == actual };
    let is_exact = actual.as_object().is_some_and(|actual| actual.len() == members.len());
    members.iter().all(|(name, value)| match name.as_str() {
        "problem" => {
            value.as_object().unwrap().iter().all(|(name, value)| actual["problem"][name] == *value)
        }
        _ => actual[name] == *value,
    }) && is_exact
}

fn cases(json: &str) -> Vec<Value> {
    serde_json::from_str(json).unwrap()
}

async fn play(case: &Value) {
    let name = &case["name"];
    let steps = case["steps"].as_array().unwrap();
    let directory = tempfile::tempdir().unwrap();
    // What is to be damaged is first on a disk.
    let is_stored = steps.iter().any(|step| step.get("damage").is_some());
    let server = match is_stored {
        true => damaged::on(directory.path()).await,
        false => TestServer::start().await,
    };
    let mut socket = Socket::open(&server).await;
    for step in steps {
        if let Some(append) = step.get("append") {
            let target = format!("/v1/runs/{}/events", append["run"].as_str().unwrap());
            let reply = server.post(&target, &append["events"].to_string()).await;
            assert_eq!(reply.status, 200, "{name}: {}", reply.text());
            if is_stored {
                damaged::seal(&server).await;
            }
        } else if let Some(events) = step.get("damage") {
            let data: Vec<_> = events.as_array().unwrap().iter().map(Value::to_string).collect();
            damaged::rot(directory.path(), &data.iter().map(String::as_str).collect::<Vec<_>>());
        } else if let Some(run) = step.get("delete") {
            let target = format!("/v1/runs/{}", run.as_str().unwrap());
            assert_eq!(server.send("DELETE", &target, &[], b"").await.status, 204, "{name}");
        } else if let Some(message) = step.get("client") {
            socket.send(message).await;
        } else if let Some(expected) = step.get("server") {
            let message = socket.message().await;
            assert!(has(expected, &message), "{name}: {message} instead of {expected}");
        } else {
            assert_eq!(step["connection"], "breaks", "{name}: {step}");
            socket = Socket::open(&server).await;
        }
    }
}

#[tokio::test]
async fn the_server_speaks_its_part_of_every_dialogue() {
    for case in cases(include_str!("../../../protocol/cases/dialogues.json")) {
        play(&case).await;
    }
}

#[tokio::test]
async fn a_wrong_message_is_refused_by_name_and_the_connection_goes_on() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server).await;
    for case in cases(include_str!("../../../protocol/cases/refusals.json")) {
        socket.text(case["message"].as_str().unwrap()).await;
        if let Some(code) = case.get("close") {
            assert_eq!(socket.close_code().await.map(Value::from).as_ref(), Some(code), "{case}");
            socket = Socket::open(&server).await;
            continue;
        }
        let message = socket.message().await;
        let mut expected = json!({"type": "error", "problem": case["problem"]});
        for member in ["id", "run"] {
            if let Some(value) = case.get(member) {
                expected[member] = value.clone();
            }
        }
        assert!(has(&expected, &message), "{message} instead of {expected}");
        assert_eq!(
            message["problem"]["type"],
            format!("urn:runcast:problem:{}", message["problem"]["code"].as_str().unwrap())
        );
    }
    server.get("/v1/runs/r/events").await.problem(404, "run_not_found");
}

#[tokio::test]
async fn a_request_that_is_no_handshake_is_refused() {
    let server = TestServer::start().await;
    let reply = server.get("/v1/ws").await;
    reply.problem(426, "upgrade_required");
    assert_eq!(reply.header("upgrade"), Some("websocket"));
    assert_eq!(reply.header("sec-websocket-version"), Some("13"));

    let without =
        |name: &str| HANDSHAKE.into_iter().filter(|(n, _)| *n != name).collect::<Vec<_>>();
    let mut without_protocol = without("Sec-WebSocket-Protocol");
    without_protocol.push(("Connection", "close"));
    let reply = server.send("GET", "/v1/ws", &without_protocol, b"").await;
    assert_eq!(reply.problem(400, "invalid_header")["header"], "Sec-WebSocket-Protocol");
    let reply = server.send("GET", "/v1/ws", &HANDSHAKE, b"a body").await;
    reply.problem(400, "invalid_header");
    let evil = [&HANDSHAKE[..], &[("Origin", "https://evil.example.com")]].concat();
    server.send("GET", "/v1/ws", &evil, b"").await.problem(403, "forbidden_origin");
    let rebound = [&HANDSHAKE[..], &[("Host", "rebound.example.com")]].concat();
    server.send("GET", "/v1/ws", &rebound, b"").await.problem(403, "forbidden_host");
}

#[tokio::test]
async fn frames_may_come_in_the_same_packet_as_the_handshake() {
    let server = TestServer::start().await;
    let mut request = b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\n".to_vec();
    for (name, value) in HANDSHAKE {
        request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    request.extend_from_slice(b"\r\n\x89\x82\0\0\0\0hi");
    let mut connection = server.connect().await;
    connection.write(&request).await;
    assert_eq!(connection.head().await.status, 101);
    let mut socket = Socket { connection };
    assert_eq!(socket.next().await, Frame::Pong(b"hi".to_vec()));
    socket.send(&json!({"type": "ping", "id": "x"})).await;
    assert_eq!(socket.message().await, json!({"type": "pong", "id": "x"}));
}

#[tokio::test]
async fn a_close_is_given_back_and_ends_the_connection() {
    let server = TestServer::start().await;
    for (payload, code) in
        [(&b"\x03\xe8bye"[..], Some(1000)), (b"", None), (b"\x0f\xa0", Some(4000))]
    {
        let mut socket = Socket::open(&server).await;
        socket.frame(8, payload).await;
        assert_eq!(socket.close_code().await, code);
    }
    for (opcode, payload, code) in [(2, &b"x"[..], 1003), (3, b"", 1002), (1, b"\xff", 1007)] {
        let mut socket = Socket::open(&server).await;
        socket.frame(opcode, payload).await;
        assert_eq!(socket.close_code().await, Some(code));
    }
    let mut socket = Socket::open(&server).await;
    socket.text(&" ".repeat((1 << 20) + 1)).await;
    assert_eq!(socket.close_code().await, Some(1009));
}

#[tokio::test]
async fn a_connection_has_256_subscriptions_and_gives_their_places_back() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server).await;
    for n in 1..=1_000 {
        socket.send(&json!({"type": "subscribe", "id": n, "run": format!("r{n}")})).await;
    }
    let mut messages = Vec::new();
    for _ in 1..=1_000 {
        messages.push(socket.message().await);
    }
    // One that is refused need not wait for others.
    messages.sort_by_key(|message| message["id"].as_u64());
    for (n, message) in (1..).zip(messages) {
        assert_eq!(message["id"], n);
        if n <= 256 {
            assert_eq!(message["type"], "subscribed", "{message}");
        } else {
            assert_eq!(message["problem"]["code"], "too_many_subscriptions", "{message}");
            assert_eq!(message["problem"]["max"], 256);
        }
    }
    assert_eq!(socket.subscribe("r7", "0").await["problem"]["code"], "already_subscribed");
    socket.send(&json!({"type": "unsubscribe", "run": "r7"})).await;
    assert_eq!(socket.message().await, json!({"type": "unsubscribed", "run": "r7"}));
    assert_eq!(socket.subscribe("r7", "0").await["type"], "subscribed");
    server.post("/v1/runs/r256/events", r#"{"type":"run.completed"}"#).await;
    assert_eq!(socket.message().await["run"], "r256");
    assert_eq!(socket.message().await["type"], "end");
    assert_eq!(socket.subscribe("r257", "0").await["type"], "subscribed");
    // The place of the ended run's follower is given back a moment after its end is told.
    while server.hub.followers() > 256 {
        tokio::task::yield_now().await;
    }
    drop(socket);
    while server.hub.followers() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn there_are_as_many_followers_as_may_be_whatever_they_come_over() {
    let hub = HubConfig { followers_max: 1, ..HubConfig::default() };
    let server = TestServer::start_with(|_| {}, hub).await;
    let mut socket = Socket::open(&server).await;
    assert_eq!(socket.subscribe("a", "0").await["type"], "subscribed");
    assert_eq!(socket.subscribe("b", "0").await["problem"]["code"], "too_many_followers");
    socket.send(&json!({"type": "unsubscribe", "run": "a"})).await;
    socket.message().await;
    while server.hub.followers() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(socket.subscribe("b", "0").await["type"], "subscribed");
}

#[tokio::test]
async fn publishes_without_waiting_are_stored_in_order_and_all_answered() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server).await;
    for n in 0..500 {
        let producer = json!({"id": "p", "epoch": 0, "sequence": n});
        let events = json!([{"type": "a.b", "data": n}]);
        let publish =
            json!({"type": "publish", "id": n, "run": "r", "events": events, "producer": producer});
        socket.send(&publish).await;
    }
    let mut answered: Vec<_> = Vec::new();
    for _ in 0..500 {
        let message = socket.message().await;
        assert_eq!(message["type"], "published", "{message}");
        answered.push((message["id"].as_u64().unwrap(), message["first"].as_u64().unwrap()));
    }
    answered.sort_unstable();
    assert!(answered.iter().enumerate().all(|(n, pair)| *pair == (n as u64, n as u64 + 1)));
}

#[tokio::test]
async fn no_data_can_forge_a_message() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server).await;
    socket.subscribe("r", "0").await;
    let controls: String = (0_u8..=0x1f).chain([0x7f]).map(char::from).collect();
    let text = format!("{controls}\u{85}\u{2028}\u{2029}\"}}]}}\u{0}\u{81}\u{5}hello\\u0000");
    let mut object = serde_json::Map::new();
    object.insert(text.clone(), json!(text));
    let event = json!({"type": "output", "agent": "a\"\\", "data": {"text": text, "more": object}});
    let publish = json!({"type": "publish", "id": text.chars().take(5).collect::<String>(), "run": "r", "events": [event]});
    socket.send(&publish).await;
    let mut messages = [socket.message().await, socket.message().await];
    messages.sort_by_key(|message| message["type"].to_string());
    assert_eq!(messages[0]["events"][0]["data"], event["data"]);
    assert_eq!(messages[0]["events"][0]["agent"], event["agent"]);
    assert_eq!(messages[1]["id"], publish["id"]);
    let raw = "{\"type\":\"publish\",\"id\":1,\"run\":\"r\",\"events\":[{\"type\":\"a.b\",\"data\":\"\u{1}\"}]}";
    socket.text(raw).await;
    assert_eq!(socket.close_code().await, Some(1007));
}

#[tokio::test]
async fn a_silent_client_is_pinged_and_then_closed() {
    let server = TestServer::start_with(
        |config| {
            config.heartbeat = Duration::from_millis(20);
            config.limits.pong_timeout = Duration::from_millis(200);
        },
        HubConfig::default(),
    )
    .await;
    let mut answering = Socket::open(&server).await;
    let mut silent = Socket::open(&server).await;
    let closed = tokio::spawn(async move {
        assert_eq!(silent.next().await, Frame::Ping);
        silent.close_code().await
    });
    for _ in 0..30 {
        assert_eq!(answering.next().await, Frame::Ping);
        answering.frame(10, b"").await;
    }
    assert_eq!(closed.await.unwrap(), Some(4100));
    answering.send(&json!({"type": "ping"})).await;
    assert_eq!(answering.message().await, json!({"type": "pong"}));
    let evicted = "runcast_evictions_total{transport=\"websocket\",reason=\"silent\"} 1\n";
    assert!(server.get("/metrics").await.text().contains(evicted));
}

#[tokio::test]
async fn a_filtered_reader_is_told_with_the_heartbeat_how_far_it_is() {
    let server = TestServer::start_with(
        |config| config.heartbeat = Duration::from_millis(20),
        HubConfig::default(),
    )
    .await;
    let mut socket = Socket::open(&server).await;
    let filter = json!({"type": ["x.*"], "stage": [4, "build"]});
    socket.send(&json!({"type": "subscribe", "run": "r", "filter": filter})).await;
    socket.message().await;
    server.post("/v1/runs/r/events", r#"[{"type":"a.b"},{"type":"x.y"},{"type":"a.b"}]"#).await;
    assert_eq!(socket.message().await, json!({"type": "cursor", "run": "r", "cursor": "3"}));
    server.post("/v1/runs/r/events", r#"{"type":"x.y","stage":4}"#).await;
    let message = socket.message().await;
    assert_eq!((&message["events"][0]["offset"], &message["cursor"]), (&json!(4), &json!("4")));
}

#[tokio::test]
async fn a_viewer_that_reads_late_lags_on_the_log_and_gets_every_event_once() {
    let server = TestServer::start().await;
    let mut slow = Socket::open(&server).await;
    slow.subscribe("r", "0").await;
    let events: Vec<_> =
        (0..50).map(|n| json!({"type": "a.b", "data": [n, "x".repeat(50_000)]})).collect();
    let batch = Value::from(events).to_string();
    for _ in 0..12 {
        assert_eq!(server.post("/v1/runs/r/events", &batch).await.status, 200);
    }
    let mut last = 0;
    while last < 600 {
        let message = slow.message().await;
        for event in message["events"].as_array().unwrap() {
            last += 1;
            assert_eq!(event["offset"], last);
        }
        assert_eq!(message["cursor"], last.to_string());
    }
}

#[tokio::test]
async fn a_viewer_that_takes_nothing_is_cut_off_and_can_go_on() {
    let server = TestServer::start_with(
        |config| config.limits.write_stall_timeout = Duration::from_millis(100),
        HubConfig::default(),
    )
    .await;
    let mut stuck = Socket::open(&server).await;
    stuck.subscribe("r", "0").await;
    let events: Vec<_> =
        (0..50).map(|n| json!({"type": "a.b", "data": [n, "x".repeat(50_000)]})).collect();
    let batch = Value::from(events).to_string();
    let mut offset = 0;
    while server.hub.followers() > 0 {
        if offset < 1_000 {
            server.post("/v1/runs/r/events", &batch).await;
            offset += 50;
        }
        tokio::task::yield_now().await;
    }
    let mut again = Socket::open(&server).await;
    let after = (offset - 1).to_string();
    assert_eq!(again.subscribe("r", &after).await["type"], "subscribed");
    assert_eq!(again.message().await["cursor"], offset.to_string());
}

#[tokio::test]
async fn what_goes_over_a_websocket_is_counted() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server).await;
    socket.subscribe("r", "0").await;
    for (id, kind) in [(1, "run.completed"), (2, "a.b")] {
        let events = json!([{"type": kind}]);
        socket.send(&json!({"type": "publish", "id": id, "run": "r", "events": events})).await;
    }
    let mut kinds = Vec::new();
    while kinds.len() < 4 {
        kinds.push(socket.message().await["type"].as_str().unwrap().to_owned());
    }
    kinds.sort();
    assert_eq!(kinds, ["end", "error", "events", "published"]);
    let counted = [
        "runcast_connections{transport=\"websocket\"} 1",
        "runcast_delivered_events_total{transport=\"websocket\"} 1",
        "runcast_delivered_frames_total{transport=\"websocket\"} 2",
        "runcast_append_requests_total 2",
        "runcast_append_refusals_total{code=\"run_ended\"} 1",
    ];
    // A delivery is counted a moment after it was written.
    let page = patiently(async {
        loop {
            let page = server.get("/metrics").await;
            if counted.iter().all(|line| page.text().contains(&format!("\n{line}\n"))) {
                return page;
            }
        }
    })
    .await;
    assert!(!page.text().contains("runcast_sent_bytes_total{transport=\"websocket\"} 0\n"));
}
