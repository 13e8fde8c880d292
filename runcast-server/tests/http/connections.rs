//! Clients that are slow, rude or odd.

use std::time::Duration;

use crate::client::TestServer;

const ONE: &str = r#"{"type":"output","data":{"text":"x"}}"#;

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_is_answered_and_closed() {
    let server = TestServer::start_with(
        |config| config.limits.head_timeout = Duration::from_millis(50),
        Default::default(),
    )
    .await;
    for start in ["", "GET /v1/runs HTTP/1.1\r\nHost: loc"] {
        let mut connection = server.connect().await;
        connection.write(start.as_bytes()).await;
        connection.reply().await.problem(408, "request_timeout");
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_and_closed() {
    let server = TestServer::start().await;
    let mut connection = server.connect().await;
    let large = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(80 << 10));
    connection.write(large.as_bytes()).await;
    let problem = connection.reply().await.problem(431, "head_too_large");
    assert_eq!(problem["max"], 64 << 10);
}

#[tokio::test]
async fn what_is_not_http_is_answered_at_once() {
    let server = TestServer::start().await;
    let requests: [&[u8]; 4] = [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nna me: x\r\n\r\n",
        b"hello\r\n\r\n",
    ];
    for request in requests {
        let mut connection = server.connect().await;
        connection.write(request).await;
        connection.reply().await.problem(400, "invalid_header");
    }
    let many = "x: y\r\n".repeat(101);
    let mut connection = server.connect().await;
    connection.write(format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()).await;
    assert_eq!(connection.reply().await.problem(431, "head_too_large")["max"], 100);
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte_if_it_comes_in_time() {
    let server = TestServer::start().await;
    let mut connection = server.connect().await;
    for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" {
        connection.write(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.reply().await.status, 200);
}

#[tokio::test]
async fn a_connection_carries_many_requests_and_ends_when_it_is_idle() {
    let server = TestServer::start_with(
        |config| config.limits.idle_timeout = Duration::from_millis(200),
        Default::default(),
    )
    .await;
    let mut connection = server.connect().await;
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    connection.write(&request.repeat(3)).await;
    for _ in 0..3 {
        assert_eq!(connection.head().await.status, 200);
        assert_eq!(connection.part_of(15).await, br#"{"status":"ok"}"#);
    }
    connection.write(b"GET /healthz HT").await;
    assert!(connection.is_closed().await);
}

#[tokio::test]
async fn a_body_that_stands_still_is_refused_and_stores_no_half_line() {
    let server = TestServer::start_with(
        |config| config.limits.body_idle_timeout = Duration::from_millis(50),
        Default::default(),
    )
    .await;
    let headers = [("Content-Type", "application/json"), ("Content-Length", "100")];
    let mut connection = server.open("POST", "/v1/runs/r/events", &headers).await;
    connection.write(b"{\"type\":").await;
    connection.reply().await.problem(408, "request_timeout");

    let headers = [("Content-Type", "application/x-ndjson"), ("Transfer-Encoding", "chunked")];
    let mut connection = server.open("POST", "/v1/runs/r/events", &headers).await;
    connection.write_chunk(&format!("{ONE}\n{}", &ONE[..8])).await;
    let answers = connection.reply().await.json_lines();
    assert_eq!(answers[0]["stored"], 1);
    assert_eq!(answers[1]["problem"]["code"], "request_timeout");
    assert_eq!(server.get("/v1/runs/r").await.json()["offset"], 1);
}

#[tokio::test]
async fn a_body_that_trickles_is_refused() {
    let server = TestServer::start_with(
        |config| config.limits.body_timeout = Duration::from_millis(50),
        Default::default(),
    )
    .await;
    let headers = [("Content-Type", "application/json"), ("Content-Length", "4000000")];
    let mut connection = server.open("POST", "/v1/runs/r/events", &headers).await;
    let reply = loop {
        connection.write(b" ").await;
        tokio::select! {
            biased;
            head = connection.head() => break head,
            () = tokio::task::yield_now() => {}
        }
    };
    assert_eq!(reply.status, 408);
}

#[tokio::test]
async fn a_producer_may_be_silent_between_lines() {
    let server = TestServer::start_with(
        |config| config.limits.body_idle_timeout = Duration::from_millis(20),
        Default::default(),
    )
    .await;
    let headers = [("Content-Type", "application/x-ndjson"), ("Transfer-Encoding", "chunked")];
    let mut connection = server.open("POST", "/v1/runs/r/events", &headers).await;
    connection.write_chunk(&format!("{ONE}\n")).await;
    connection.head().await;
    connection.until("\n").await;
    // Longer than a body may stand still, by the server's own clock.
    server.get("/v1/runs/r/events?after=1&wait=60").await;
    connection.write_chunk(&format!("{ONE}\n")).await;
    assert!(connection.until("\n").await.contains("\"first\":2"));
}

#[tokio::test]
async fn a_client_that_sends_on_after_a_refusal_gets_the_answer() {
    let server = TestServer::start().await;
    let headers = [("Content-Type", "application/json"), ("Content-Length", "20000000")];
    let mut connection = server.open("POST", "/v1/runs/r/events", &headers).await;
    connection.write(&vec![b' '; 20_000_000]).await;
    connection.reply().await.problem(413, "body_too_large");
}

#[tokio::test]
async fn a_viewer_that_takes_nothing_is_let_go() {
    let server = TestServer::start_with(
        |config| config.limits.write_stall_timeout = Duration::from_millis(100),
        Default::default(),
    )
    .await;
    let _stuck = server.follow("/v1/runs/r/events").await;
    let event = format!(r#"{{"type":"output","data":{{"text":"{}"}}}}"#, "x".repeat(200 << 10));
    let batch = format!("[{}]", vec![event; 15].join(","));
    while server.hub.followers() > 0 {
        assert_eq!(server.post("/v1/runs/r/events", &batch).await.status, 200);
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let server =
        TestServer::start_with(|config| config.limits.connections_max = 1, Default::default())
            .await;
    let mut first = server.follow("/v1/runs/r/events").await;
    first.until("\n\n").await;
    let second = server.get("/healthz");
    let end_first = async {
        drop(first);
    };
    let (second, ()) = tokio::join!(second, end_first);
    assert_eq!(second.status, 200);
}
