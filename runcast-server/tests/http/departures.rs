//! A server that stops, as those see it whom the HTTP library serves: each is told to come back, at
//! another time, and gets every event once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use runcast_hub::HubConfig;
use runcast_log::EmbeddedOptions;
use runcast_server::{HttpConfig, ServerConfig, Store};
use tokio::net::TcpStream;

use crate::client::{TestServer, frames, patiently};

async fn on_disk(directory: &Path) -> TestServer {
    let config = ServerConfig {
        store: Store::Directory {
            path: directory.to_path_buf(),
            options: EmbeddedOptions::default(),
        },
        hub: HubConfig::default(),
        http: HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), ..HttpConfig::default() },
    };
    TestServer::running(runcast_server::start(config).await.unwrap())
}

/// What somebody follows.
#[derive(Clone, Copy)]
struct Wish {
    target: &'static str,
    over_http2: bool,
    /// How many of the events below it gets.
    events: usize,
    /// What the last frame has in it, where the answer does not end by itself.
    last: &'static str,
}

const WISHES: [Wish; 5] = [
    Wish { target: "/v1/runs/r/events", over_http2: true, events: 8, last: "event: end" },
    Wish { target: "/v1/runs/r/events?type=x.*", over_http2: true, events: 2, last: "event: end" },
    Wish { target: "/v1/streams?run=r&run=s", over_http2: false, events: 9, last: "{\"runs\":" },
    Wish { target: "/v1/streams?run=r&type=x.*", over_http2: true, events: 2, last: "{\"runs\":" },
    Wish { target: "/v1/feed", over_http2: false, events: 3, last: "{\"offset\":3," },
];

/// Follows behind a cursor up to what is last, or until the server ends it.
async fn follow(address: SocketAddr, wish: Wish, last_id: Option<String>) -> String {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let mut request = Request::get(format!("http://{address}{}", wish.target))
        .header("host", address.to_string())
        .header("accept", "text/event-stream");
    if let Some(id) = last_id {
        request = request.header("last-event-id", id);
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answer = if wish.over_http2 {
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    assert_eq!(answer.status(), 200, "{}", wish.target);
    let mut body = answer.into_body();
    let mut wire = String::new();
    while let Some(frame) = body.frame().await {
        wire.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        if wire.contains(wish.last) && wire.ends_with("\n\n") {
            break;
        }
    }
    wire
}

/// The last cursor of a wire.
fn last_id(wire: &str) -> Option<String> {
    wire.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().map(str::to_owned)
}

/// The events of a wire, each by its run and its offset.
fn events(wire: &str) -> Vec<String> {
    let events = frames(wire).into_iter().filter(|(id, ..)| !id.is_empty());
    events.map(|(_, _, data)| format!("{} {}", data["run"], data["offset"])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_of_a_server_that_stops_come_back_each_at_another_time_and_miss_nothing() {
    const VIEWERS: usize = 8;
    let directory = tempfile::tempdir().unwrap();
    let mut server = on_disk(directory.path()).await;
    let address = server.address;
    let begin = r#"[{"type":"run.started"},{"type":"a.b"},{"type":"x.y"},{"type":"a.b"}]"#;
    server.post("/v1/runs/r/events", begin).await;
    let viewers: Vec<_> = WISHES
        .iter()
        .flat_map(|wish| [*wish; VIEWERS])
        .map(|wish| (wish, tokio::spawn(follow(address, wish, None))))
        .collect();
    let followers = VIEWERS * (4 + 2);
    while server.hub.followers() < followers {
        tokio::task::yield_now().await;
    }
    server.post("/v1/runs/r/events", r#"[{"type":"a.b"},{"type":"a.b"}]"#).await;
    server.begin_to_stop();
    let mut gone = Vec::new();
    let mut times = BTreeSet::new();
    for (wish, viewer) in viewers {
        let wire = patiently(viewer).await.unwrap();
        let (_, time) = wire.rsplit_once("retry: ").unwrap();
        let time: u64 = time.strip_suffix("\n\n").unwrap().parse().unwrap();
        assert!(time < 5_000, "{wire}");
        times.insert(time);
        gone.push((wish, wire));
    }
    assert!(times.len() > gone.len() / 2, "{times:?}");
    patiently(server.stopped()).await;

    let server = on_disk(directory.path()).await;
    server.post("/v1/runs/s/events", r#"[{"type":"run.completed"}]"#).await;
    server.post("/v1/runs/r/events", r#"[{"type":"x.z"},{"type":"run.completed"}]"#).await;
    for (wish, before) in gone {
        let behind = patiently(follow(server.address, wish, last_id(&before))).await;
        let mut seen = events(&before);
        seen.extend(events(&behind));
        let different: BTreeSet<_> = seen.iter().collect();
        assert_eq!(different.len(), seen.len(), "{}: {before}{behind}", wish.target);
        assert_eq!(seen.len(), wish.events, "{}: {before}{behind}", wish.target);
    }
}

#[tokio::test]
async fn a_viewer_that_chose_is_told_how_far_it_is_before_it_is_sent_away() {
    let mut server = TestServer::start().await;
    let mut viewers = Vec::new();
    for (target, id) in
        [("/v1/streams?run=r&type=x.*", "id: r:2\n\n"), ("/v1/feed?type=run.paused", "id: 1\n\n")]
    {
        let mut viewer = server.follow(target).await;
        viewer.until("\n\n").await;
        viewers.push((viewer, id));
    }
    server.post("/v1/runs/r/events", r#"[{"type":"run.started"},{"type":"a.b"}]"#).await;
    let taken_in = "\nruncast_delivered_events_total{transport=\"sse\"} 3\n";
    while !server.get("/metrics").await.text().contains(taken_in) {
        tokio::task::yield_now().await;
    }
    server.begin_to_stop();
    for (viewer, id) in &mut viewers {
        let wire = String::from_utf8(viewer.rest().await).unwrap();
        let (passed, retry) = wire.split_once("retry: ").unwrap();
        assert_eq!(passed, *id);
        assert!(retry.ends_with("\n\n"));
    }
    server.stopped().await;
}
