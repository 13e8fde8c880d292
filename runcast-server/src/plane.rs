//! The stream plane: everyone who follows a run over HTTP/1.1, as server-sent events or on a
//! WebSocket, at little more than the price of a socket and a write.
//!
//! Owns those connections from the end of their request on, in shards: threads with a loop of their
//! own, each with its part of the connections. A connection (`link`) has one reader, or, as a
//! WebSocket, any number. A shard is woken once for a commit and writes the same shared bytes to
//! every socket; a reader who lags is a cursor that reads the log in pages. Never makes wire bytes,
//! which `transport` does, and never decides what a message means, which `socket` does.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::http::HeaderValue;
use runcast_hub::Hub;
use tokio::sync::OwnedSemaphorePermit;

use self::counts::PlaneCounts;
use self::inbox::{Inbox, Message};
use self::shard::Shard;
use crate::api::FollowRequest;
use crate::metrics::Metrics;

mod counts;
mod dialogue;
mod inbox;
mod joins;
mod link;
mod outbox;
mod pages;
mod reader;
mod readers;
mod runs;
mod shard;
mod talk;
mod turn;
mod wave;
mod wheel;

/// How the plane treats its connections.
#[derive(Debug, Clone)]
pub(crate) struct PlaneConfig {
    pub(crate) shards: usize,
    /// After how much silence a viewer gets a comment.
    pub(crate) heartbeat: Duration,
    /// How long a viewer may take nothing while there is something to send to it.
    pub(crate) stalled: Duration,
    /// How long a WebSocket's client may leave pings unanswered.
    pub(crate) pong_timeout: Duration,
    /// Over how long clients spread that are sent away because the server stops.
    pub(crate) reconnect_spread: Duration,
}

/// A connection that was let in.
pub(crate) struct Newcomer {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) wish: Wish,
    /// Its place among the connections.
    pub(crate) seat: OwnedSemaphorePermit,
}

/// What a connection came for.
pub(crate) enum Wish {
    /// To follow a run, for a browser page of another origin if there is one.
    Follow { request: Box<FollowRequest>, page: Option<HeaderValue> },
    /// To be a WebSocket: the handshake is done, and these bytes came behind it.
    WebSocket { read_before: Vec<u8> },
}

/// The running shards. They are told to end when this is dropped.
pub(crate) struct Plane {
    inboxes: Vec<Arc<Inbox>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    joined: AtomicUsize,
}

impl Plane {
    /// Starts the shards, in a runtime that they can hand slow reads of the log to.
    pub(crate) fn start(
        hub: &Hub,
        config: &PlaneConfig,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Self> {
        let (inboxes, threads) = (Vec::new(), Mutex::default());
        let mut plane = Self { inboxes, threads, joined: AtomicUsize::new(0) };
        for number in 0..config.shards.max(1) {
            let shard = Shard::new(hub.clone(), config, PlaneCounts::new(metrics))?;
            plane.inboxes.push(Arc::clone(shard.inbox()));
            let thread = std::thread::Builder::new().name(format!("plane-{number}"));
            plane.threads().push(thread.spawn(|| shard.run())?);
        }
        Ok(plane)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection: the shards in turn.
    pub(crate) fn join(&self, newcomer: Newcomer) {
        let at = self.joined.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
        self.inboxes[at].send(Message::Joins(Box::new(newcomer)));
    }

    /// Sends everyone away, to come back when the server is there again.
    pub(crate) fn drain(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.send(Message::Drain));
    }

    /// Lets go of every connection, and blocks until the shards have ended, which is soon.
    pub(crate) fn stop(&self) {
        self.tell_to_stop();
        for thread in self.threads().drain(..) {
            // A shard that panicked has said so.
            let _ = thread.join();
        }
    }

    fn tell_to_stop(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.send(Message::Stop));
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.tell_to_stop();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use runcast_hub::{HubBuilder, HubConfig};
    use runcast_log::MemoryLog;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_websocket_that_opens_when_the_server_stops_is_told_when_to_come_back() {
        let builder = HubBuilder::new(HubConfig::default());
        let log = MemoryLog::new(builder.observer());
        let config = PlaneConfig {
            shards: 1,
            heartbeat: Duration::from_secs(15),
            stalled: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(30),
            reconnect_spread: Duration::from_secs(5),
        };
        let plane = Plane::start(&builder.build(log), &config, &Metrics::new()).unwrap();
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
}
