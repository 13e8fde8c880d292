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
use crate::transport::shape::Shape;
use crate::transport::view::View;

fn services() -> PlaneServices {
    let builder = HubBuilder::new(HubConfig::default());
    let log = MemoryLog::new(builder.observer());
    let hub = builder.build(log);
    let (clock, presence) = (Clock::System, Presence::new(Clock::System));
    let listening =
        Listening { clock, presence: presence.clone(), silent_after: Duration::from_secs(60) };
    let projection = Projection::start(hub.clone(), Duration::from_secs(5), listening, None);
    PlaneServices { presence, publisher: Publisher::new(hub.clone(), projection), hub }
}

#[tokio::test]
async fn a_shard_that_failed_is_followed_by_one_that_serves_until_it_is_told_to_stop() {
    let (services, runtime) = (services(), Handle::current());
    let config = PlaneConfig {
        shards: 1,
        heartbeat: Duration::from_secs(15),
        stalled: Duration::from_secs(30),
        pong_timeout: Duration::from_secs(30),
        reconnect_spread: Duration::ZERO,
    };
    let counts = PlaneCounts::new(&Metrics::new());
    let make = move || Shard::new(&services, &config, counts.clone(), runtime.clone());
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
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut viewer = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let run = RunId::new("r").unwrap();
    let shape = Shape { view: View::default(), format: Format::Sse };
    let request = Box::new(FollowRequest { run, scope: Scope::Events, cursor: None, shape });
    let wish = Wish::Follow { request, page: None };
    let seat = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    door.join(Newcomer { stream, wish, seat });
    let mut begins = [0; 12];
    viewer.read_exact(&mut begins).await.unwrap();
    assert_eq!(&begins, b"HTTP/1.1 200");
    door.stop();
    thread.join().unwrap();
}

#[tokio::test]
async fn a_websocket_that_opens_when_the_server_stops_is_told_when_to_come_back() {
    let config = PlaneConfig {
        shards: 1,
        heartbeat: Duration::from_secs(15),
        stalled: Duration::from_secs(30),
        pong_timeout: Duration::from_secs(30),
        reconnect_spread: Duration::from_secs(5),
    };
    let plane = Plane::start(&services(), &config, &Metrics::new()).unwrap();
    plane.drain();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let seat = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let wish = Wish::WebSocket { read_before: Vec::new() };
    plane.join(Newcomer { stream, wish, seat });
    let mut close = [0; 4];
    client.read_exact(&mut close).unwrap();
    assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, 1012));
    client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).unwrap();
    drop(client);
    plane.stop();
}
