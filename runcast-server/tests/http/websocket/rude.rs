//! Clients that send too much, read too little, or leave without a word.

use std::time::Duration;

use runcast_hub::HubConfig;
use serde_json::{Value, json};

use super::socket::{Frame, HANDSHAKE, Socket, client_frame};
use crate::client::{TestServer, patiently};
use crate::store;

/// The request for an upgrade, as bytes.
fn handshake(more: &str) -> Vec<u8> {
    let mut request = b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\n".to_vec();
    for (name, value) in HANDSHAKE {
        request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    request.extend_from_slice(format!("{more}\r\n").as_bytes());
    request
}

fn counted(page: &str, sample: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(sample)).expect(sample);
    line.trim().parse().unwrap()
}

async fn figure(server: &TestServer, sample: &str) -> f64 {
    counted(server.get("/metrics").await.text(), sample)
}

#[tokio::test]
async fn a_client_need_not_wait_for_the_handshakes_answer_however_much_it_sends() {
    let server = TestServer::start().await;
    let pings: Vec<_> = (0..8_000_u32).flat_map(|n| client_frame(9, &n.to_be_bytes())).collect();
    let first_request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (is_second, head_kib) in
        [0, 9, 17, 33, 50].into_iter().flat_map(|kib| [(false, kib), (true, kib)])
    {
        let long_header = format!("X-Long: {}\r\n", "x".repeat(head_kib << 10));
        let mut connection = server.connect().await;
        if is_second {
            connection.write(first_request).await;
            assert_eq!(connection.head().await.status, 200);
            connection.part_of(15).await;
        }
        connection.write(&[handshake(&long_header), pings.clone()].concat()).await;
        assert_eq!(connection.head().await.status, 101);
        let mut socket = Socket { connection };
        for n in 0..8_000_u32 {
            assert_eq!(socket.next().await, Frame::Pong(n.to_be_bytes().to_vec()));
        }
        assert_eq!(socket.subscribe("r", "0").await["type"], "subscribed");
    }
}

#[tokio::test]
async fn what_a_client_said_before_it_closed_its_side_counts_and_nothing_comes_after() {
    let server = TestServer::start().await;
    let mut socket = Socket::open(&server).await;
    socket.subscribe("r", "0").await;
    let events = json!([{"type": "a.b"}]);
    socket.send(&json!({"type": "publish", "id": 1, "run": "other", "events": events})).await;
    socket2::SockRef::from(&socket.connection.stream).shutdown(std::net::Shutdown::Write).unwrap();
    while server.hub.followers() > 0 {
        tokio::task::yield_now().await;
    }
    // It is stored, whether or not there was time to say so.
    patiently(async {
        while server.get("/v1/runs/other").await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(server.get("/v1/runs/other").await.json()["offset"], 1);
    // What is in memory is stored at once, and said.
    if store::is_in_memory() || !socket.connection.is_over().await {
        assert_eq!(socket.message().await["type"], "published");
        assert!(socket.connection.is_closed().await);
    }
}

#[tokio::test]
async fn a_client_that_asks_and_never_reads_fills_its_socket_and_no_memory() {
    let server = TestServer::start_with(
        |config| config.limits.write_stall_timeout = Duration::from_millis(200),
        HubConfig::default(),
    )
    .await;
    for asked in [client_frame(9, &[b'x'; 125]), client_frame(1, br#"{"type":"ping","id":1}"#)] {
        let socket = Socket::open(&server).await;
        let before = figure(&server, "process_resident_memory_bytes").await;
        let evicted = "runcast_evictions_total{transport=\"websocket\",reason=\"stalled\"}";
        let evicted_before = figure(&server, evicted).await;
        let flood = asked.repeat(1_000);
        let mut sent = 0;
        // Until the server has cut it off: for as long as it does not read, this waits.
        let mut stream = socket.connection.stream;
        while tokio::io::AsyncWriteExt::write_all(&mut stream, &flood).await.is_ok() {
            sent += flood.len();
        }
        assert!(sent < 64 << 20, "{sent}");
        let after = figure(&server, "process_resident_memory_bytes").await;
        assert!(after - before < f64::from(16 << 20), "{before} {after}");
        assert_eq!(figure(&server, evicted).await, evicted_before + 1.0);
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_of_many_runs_costs_no_memory_and_is_cut_off() {
    const RUNS: usize = 256;
    let server = TestServer::start_with(
        |config| config.limits.write_stall_timeout = Duration::from_millis(300),
        HubConfig::default(),
    )
    .await;
    let event = json!({"type": "a.b", "data": "x".repeat(64 << 10)});
    let batch = Value::from(vec![event; 4]).to_string();
    for n in 0..RUNS {
        assert_eq!(server.post(&format!("/v1/runs/r{n}/events"), &batch).await.status, 200);
    }
    let mut stuck = Socket::open(&server).await;
    let memory = "process_resident_memory_bytes";
    let before = figure(&server, memory).await;
    for n in 0..RUNS {
        stuck.send(&json!({"type": "subscribe", "run": format!("r{n}")})).await;
    }
    let mut most = before;
    let evicted = "runcast_evictions_total{transport=\"websocket\",reason=\"stalled\"}";
    while figure(&server, evicted).await == 0.0 {
        most = most.max(figure(&server, memory).await);
    }
    while server.hub.followers() > 0 {
        tokio::task::yield_now().await;
    }
    let (grown, backlog) = (most - before, (RUNS * 256) << 10);
    // Pages of a log that is not in memory are read for 64 runs at once.
    let pages = if store::is_in_memory() { 0 } else { backlog / 2 };
    assert!(grown < (backlog / 8 + pages) as f64, "{grown} bytes for a backlog of {backlog}");
}
