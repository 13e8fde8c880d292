//! The plane's life: a shard that fails, a server that stops.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;

use runcast_event::RunId;
use runcast_hub::{Format, HubBuilder, HubConfig};
use runcast_log::MemoryLog;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;

use super::*;
use crate::api::Scope;
use crate::clock::Clock;
use crate::projection::{Listening, Projection};
use crate::retention::RetentionPolicy;
use crate::transport::shape::Shape;
use crate::transport::view::View;

const CONFIG: PlaneConfig = PlaneConfig {
    shards: 1,
    heartbeat: Duration::from_secs(15),
    stalled: Duration::from_secs(30),
    pong_timeout: Duration::from_secs(30),
    reconnect_spread: Duration::ZERO,
};

fn services() -> PlaneServices {
    let builder = HubBuilder::new(HubConfig::default());
    let log = MemoryLog::new(builder.observer());
    let hub = builder.build(log);
    let (clock, presence) = (Clock::System, Presence::new(Clock::System));
    let listening =
        Listening { clock, presence: presence.clone(), silent_after: Duration::from_secs(60) };
    let projection = Projection::start(
        hub.clone(),
        Duration::from_secs(5),
        listening,
        RetentionPolicy::default(),
        None,
    );
    PlaneServices { presence, publisher: Publisher::new(hub.clone(), projection), hub }
}

/// A client's end of a connection, and the other.
fn visit(wish: Wish) -> (TcpStream, Newcomer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let seat = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    (client, Newcomer { stream, wish, seat })
}

#[tokio::test]
async fn a_shard_that_failed_is_followed_by_one_that_serves_until_it_is_told_to_stop() {
    let (services, runtime) = (services(), Handle::current());
    let counts = PlaneCounts::new(&Metrics::new());
    let make = move || Shard::new(&services, &CONFIG, counts.clone(), runtime.clone());
    let shard = make().unwrap();
    let door = Door::new(&shard);
    let (first, behind) = (Arc::clone(shard.inbox()), Arc::clone(&door));
    let has_failed = AtomicBool::new(false);
    let run = move |shard: Shard| {
        assert!(has_failed.swap(true, Ordering::Relaxed), "the first shard fails");
        shard.run();
    };
    let thread = std::thread::spawn(move || run_shards(&behind, shard, run, make));
    while Arc::ptr_eq(&door.open().inbox, &first) {
        tokio::task::yield_now().await;
    }
    let run = RunId::new("r").unwrap();
    let shape = Shape { view: View::default(), format: Format::Sse };
    let request = Box::new(FollowRequest { run, scope: Scope::Events, cursor: None, shape });
    let (viewer, newcomer) = visit(Wish::Follow { request, page: None });
    viewer.set_nonblocking(true).unwrap();
    let mut viewer = tokio::net::TcpStream::from_std(viewer).unwrap();
    door.join(newcomer);
    let mut begins = [0; 12];
    viewer.read_exact(&mut begins).await.unwrap();
    assert_eq!(&begins, b"HTTP/1.1 200");
    door.stop();
    thread.join().unwrap();
}

/// What a client sends over a WebSocket.
fn client_text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

#[tokio::test]
async fn whoever_finds_that_a_full_socket_has_room_all_that_waited_go_on() {
    let services = services();
    for number in 0..100 {
        let filler = "x".repeat(240_000);
        let event = format!(r#"{{"type":"my.event","data":{{"n":{number},"x":"{filler}"}}}}"#);
        let event = runcast_event::parse_event(event.as_bytes(), Default::default()).unwrap();
        let append = runcast_log::Append {
            run: RunId::new("r").unwrap(),
            events: vec![event.payload.into_bytes()],
            close: number == 99,
            expected_last: None,
            producer: None,
            create: true,
        };
        services.hub.append(append).await.unwrap();
    }
    let counts = PlaneCounts::new(&Metrics::new());
    let mut shard = Shard::new(&services, &CONFIG, counts, Handle::current()).unwrap();
    let read_before = client_text(r#"{"type":"subscribe","run":"r","after":"0"}"#);
    let (mut client, newcomer) = visit(Wish::WebSocket { read_before });
    client.set_nonblocking(true).unwrap();
    shard.join(newcomer);
    for _ in 0..100 {
        shard.go_on();
    }
    assert!(shard.links[0].is_full);
    let mut got = 0;
    let mut buffer = vec![0; 1024 * 1024];
    // Nobody tells the shard that there is room: it finds out when it says something.
    for _ in 0..100_000 {
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            got += length;
        }
        shard.flush(0);
        shard.go_on();
        if got > 100 * 240_000 {
            break;
        }
    }
    assert!(got > 100 * 240_000, "{got} bytes came");
}

#[tokio::test]
async fn a_websocket_that_opens_when_the_server_stops_is_told_when_to_come_back() {
    let config = PlaneConfig { reconnect_spread: Duration::from_secs(5), ..CONFIG };
    let plane = Plane::start(&services(), &config, &Metrics::new()).unwrap();
    plane.drain();
    let (mut client, newcomer) = visit(Wish::WebSocket { read_before: Vec::new() });
    plane.join(newcomer);
    let mut close = [0; 4];
    client.read_exact(&mut close).unwrap();
    assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, 1012));
    client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).unwrap();
    drop(client);
    plane.stop();
}
