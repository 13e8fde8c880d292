//! Followers on the stream plane: many, slow, rude, and sent away.

use std::time::Duration;

use runcast_hub::HubConfig;

use crate::client::{Connection, TestServer, frames, patiently};

const ONE: &str = r#"{"type":"output","data":{"text":"x"}}"#;
const END: &str = r#"{"type":"run.completed"}"#;
const LIVE: (&str, &str) = ("Accept", "text/event-stream");

/// A batch of events that are as long as many small ones.
fn long_batch(events: usize, bytes: usize) -> String {
    let event = format!(r#"{{"type":"output","data":{{"text":"{}"}}}}"#, "x".repeat(bytes));
    format!("[{}]", vec![event; events].join(","))
}

fn offsets(wire: &[u8]) -> Vec<u64> {
    let frames = frames(std::str::from_utf8(wire).unwrap());
    let events = frames.into_iter().filter(|(id, ..)| !id.is_empty());
    events.map(|(_, _, data)| data["offset"].as_u64().unwrap()).collect()
}

/// Opens followers that have all begun.
async fn followers(server: &TestServer, target: &str, count: usize) -> Vec<Connection> {
    let mut followers = Vec::new();
    for _ in 0..count {
        let mut follower = server.follow(target).await;
        follower.until("\n\n").await;
        followers.push(follower);
    }
    followers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_follower_holds_nobody_up_and_loses_nothing() {
    let server = TestServer::start().await;
    let mut stuck = server.follow("/v1/runs/r/events").await;
    socket2::SockRef::from(&stuck.stream).set_recv_buffer_size(64 << 10).unwrap();
    let flowing = followers(&server, "/v1/runs/r/events", 150).await;
    let readers: Vec<_> = flowing
        .into_iter()
        .map(|mut follower| tokio::spawn(async move { follower.rest().await }))
        .collect();
    // More than such a socket holds, so that the stuck one has to wait in the middle.
    for _ in 0..8 {
        let batch = long_batch(10, 32 << 10);
        assert_eq!(server.post("/v1/runs/r/events", &batch).await.status, 200);
    }
    server.post("/v1/runs/r/events", END).await;
    let all: Vec<_> = (1..=81).collect();
    for reader in readers {
        assert_eq!(offsets(&patiently(reader).await.unwrap()), all);
    }
    // A window as small as that would take a minute.
    socket2::SockRef::from(&stuck.stream).set_recv_buffer_size(1 << 20).unwrap();
    assert_eq!(offsets(&stuck.rest().await), all);
}

#[tokio::test]
async fn a_slow_follower_reads_on_from_the_log_when_the_memory_has_moved_on() {
    let bounds = HubConfig { tail_bytes_max: 1 << 10, ..HubConfig::default() };
    let server = TestServer::start_with(|_| {}, bounds).await;
    let mut slow = server.follow("/v1/runs/r/events").await;
    let mut merging = server.follow("/v1/runs/r/events?coalesce=1").await;
    for _ in 0..12 {
        let batch = long_batch(10, 100 << 10);
        assert_eq!(server.post("/v1/runs/r/events", &batch).await.status, 200);
    }
    for _ in 0..200 {
        server.post("/v1/runs/r/events", ONE).await;
    }
    server.post("/v1/runs/r/events", END).await;
    assert_eq!(offsets(&slow.rest().await), (1..=321).collect::<Vec<_>>());
    assert_eq!(offsets(&merging.rest().await).last(), Some(&321));
}

#[tokio::test]
async fn every_follower_gets_its_own_run() {
    let server = TestServer::start().await;
    let mut all = Vec::new();
    for run in 0..60 {
        let target = format!("/v1/runs/run-{run}/events");
        all.push((run, followers(&server, &target, 2).await));
    }
    for run in 0..60 {
        let event = format!(r#"{{"type":"a.b","data":{{"run":{run}}}}}"#);
        server.post(&format!("/v1/runs/run-{run}/events"), &format!("[{event},{END}]")).await;
    }
    for (run, followers) in &mut all {
        for follower in followers {
            let wire = follower.rest().await;
            let frames = frames(std::str::from_utf8(&wire).unwrap());
            assert_eq!(frames[0].2["data"]["run"], *run);
            assert_eq!(frames.len(), 3);
        }
    }
}

#[tokio::test]
async fn followers_of_one_run_with_other_wishes_get_what_each_asked_for() {
    let server = TestServer::start().await;
    let mut wishes = Vec::new();
    for number in 0..20 {
        let target = format!("/v1/runs/r/events?step=s{number}&type=a.*");
        wishes.push((number, server.follow(&target).await));
    }
    for number in 0..20 {
        let event = format!(r#"{{"type":"a.b","step":"s{number}"}}"#);
        server.post("/v1/runs/r/events", &event).await;
    }
    server.post("/v1/runs/r/events", END).await;
    for (number, follower) in &mut wishes {
        let wire = follower.rest().await;
        assert_eq!(offsets(&wire), [*number + 1]);
        let text = String::from_utf8(wire).unwrap();
        // The last cursor is the tail, so that a reconnect gets a 204.
        assert!(text.contains("id: 21\n\nevent: end\n"), "{text}");
    }
}

#[tokio::test]
async fn a_heartbeat_moves_the_cursor_of_a_follower_that_chooses() {
    let beat = Duration::from_millis(20);
    let server =
        TestServer::start_with(|config| config.heartbeat = beat, HubConfig::default()).await;
    let mut follower = server.follow("/v1/runs/r/events?type=run.*").await;
    follower.until("\n\n").await;
    server.post("/v1/runs/r/events", &format!("[{ONE},{ONE}]")).await;
    let wire = follower.until("id: 2\n\n").await;
    assert!(!wire.contains("data: "), "{wire}");
}

#[tokio::test]
async fn what_comes_behind_a_follow_is_never_a_request() {
    let server = TestServer::start().await;
    let follow =
        "GET /v1/runs/r/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    let append = format!(
        "POST /v1/runs/smuggled/events HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{ONE}",
        ONE.len()
    );
    let mut follower = server.connect().await;
    follower.write(format!("{follow}{append}").as_bytes()).await;
    assert_eq!(follower.head().await.header("connection"), Some("close"));
    follower.write(append.as_bytes()).await;
    server.post("/v1/runs/r/events", END).await;
    let wire = String::from_utf8(follower.rest().await).unwrap();
    assert!(wire.ends_with("event: end\ndata: {\"offset\":1,\"type\":\"run.completed\"}\n\n"));
    assert!(!wire.contains("HTTP/1.1"), "{wire}");
    server.get("/v1/runs/smuggled").await.problem(404, "run_not_found");
}

#[tokio::test]
async fn a_client_that_talks_on_without_end_is_let_go() {
    let server = TestServer::start().await;
    let mut follower = server.follow("/v1/runs/r/events").await;
    while server.hub.followers() > 0 {
        follower.write(&[b'x'; 16 << 10]).await;
    }
}

#[tokio::test]
async fn a_follow_that_two_readers_could_read_differently_is_refused() {
    let server = TestServer::start().await;
    let start =
        "GET /v1/runs/r/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n";
    for odd in [
        "Content-Length: 5\r\n\r\nhello",
        "Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "X: folded\r\n over lines\r\n\r\n",
        "X: bare\n\r\n",
        "X: bare\n\n",
        "X: nul\0\r\n\r\n",
    ] {
        let mut connection = server.connect().await;
        connection.write(format!("{start}{odd}").as_bytes()).await;
        let reply = connection.reply().await;
        reply.problem(400, "invalid_header");
        assert_eq!(reply.header("connection"), Some("close"), "{odd:?}");
    }
    assert_eq!(server.hub.followers(), 0);
}

#[tokio::test]
async fn an_allowed_page_may_read_every_answer_to_a_follow() {
    let server = TestServer::start().await;
    let page = [LIVE, ("Origin", "http://localhost:5173")];
    server.post("/v1/runs/r/events", END).await;
    server.post("/v1/runs/gone/events", END).await;
    server.send("DELETE", "/v1/runs/gone", &[], b"").await;
    for (target, status) in [
        ("/v1/runs/r/events", 200),
        ("/v1/runs/r/events?after=1", 204),
        ("/v1/runs/r/events?after=7", 400),
        ("/v1/runs/r/events?nonsense=7", 400),
        ("/v1/runs/gone/events", 410),
    ] {
        let reply = server.send("GET", target, &page, b"").await;
        assert_eq!(reply.status, status, "{target}");
        assert_eq!(reply.header("access-control-allow-origin"), Some("http://localhost:5173"));
        assert_eq!(reply.header("vary"), Some("Origin"), "{target}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{target}");
    }
}

#[tokio::test]
async fn a_server_that_stops_tells_its_followers_when_to_come_back_each_another_time() {
    let mut server = TestServer::start().await;
    let mut all = followers(&server, "/v1/runs/r/events", 30).await;
    server.begin_to_stop();
    let mut times = Vec::new();
    for follower in &mut all {
        let wire = String::from_utf8(follower.rest().await).unwrap();
        let time = wire.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix("\n\n"));
        times.push(time.unwrap().parse::<u64>().unwrap());
    }
    server.stopped().await;
    assert!(times.iter().all(|time| *time < 5_000), "{times:?}");
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 10, "{times:?}");
}

/// Follows until the end, leaving at random places, and gives the offsets it kept.
async fn follow_with_breaks(
    address: std::net::SocketAddr,
    target: &str,
    mut random: fastrand::Rng,
) -> Vec<u64> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut seen = Vec::new();
    loop {
        let last = seen.last().copied().unwrap_or(0);
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
             Last-Event-ID: {last}\r\n\r\n"
        );
        let mut stream = patiently(tokio::net::TcpStream::connect(address)).await.unwrap();
        patiently(stream.write_all(request.as_bytes())).await.unwrap();
        let mut wire = Vec::new();
        let budget = random.usize(1..60_000);
        while wire.len() < budget {
            let mut bytes = vec![0; random.usize(1..5_000)];
            match patiently(stream.read(&mut bytes)).await {
                Ok(0) | Err(_) => break,
                Ok(length) => wire.extend_from_slice(&bytes[..length]),
            }
        }
        if wire.starts_with(b"HTTP/1.1 204") {
            return seen;
        }
        // Only whole frames count; what was cut off comes again.
        let whole = wire.windows(2).rposition(|two| two == b"\n\n").map_or(0, |at| at + 2);
        let text = std::str::from_utf8(&wire[..whole]).unwrap();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        seen.extend(offsets(body.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_that_break_off_anywhere_miss_nothing_and_get_nothing_twice() {
    const BATCHES: u64 = 150;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let bounds = HubConfig { tail_bytes_max: 16 << 10, ..HubConfig::default() };
    let server = TestServer::start_with(|config| config.plane_shards = 2, bounds).await;
    let address = server.address;
    let followers: Vec<_> = (0..24)
        .map(|number| {
            let random = fastrand::Rng::with_seed(seed ^ number);
            let named = if number % 2 == 0 { "" } else { "?named=1" };
            let target = format!("/v1/runs/r/events{named}");
            tokio::spawn(async move { follow_with_breaks(address, &target, random).await })
        })
        .collect();
    let mut last = 0;
    for _ in 0..BATCHES {
        let events = random.usize(1..8);
        last += events as u64;
        let size = random.usize(1..2_000);
        let batch = long_batch(events, size);
        assert_eq!(server.post("/v1/runs/r/events", &batch).await.status, 200);
    }
    server.post("/v1/runs/r/events", END).await;
    for follower in followers {
        let seen = patiently(follower).await.unwrap();
        assert_eq!(seen, (1..=last + 1).collect::<Vec<_>>(), "seed {seed}");
    }
}
