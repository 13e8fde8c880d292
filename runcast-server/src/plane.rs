//! The stream plane: everyone who follows a run over HTTP/1.1, as server-sent events or on a
//! WebSocket, at little more than the price of a socket and a write.
//!
//! Owns those connections from the end of their request on, in shards: threads with a loop of their
//! own, each with its part of the connections. A connection (`link`) has one reader, or, as a
//! WebSocket, any number. A shard is woken once for a commit and writes the same shared bytes to
//! every socket; a reader who lags is a cursor that reads the log in pages. Never makes wire bytes,
//! which `transport` does, and never decides what a message means, which `socket` does.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::http::HeaderValue;
use runcast_hub::Hub;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use self::counts::PlaneCounts;
use self::inbox::{Inbox, Message};
use self::shard::Shard;
use crate::api::FollowRequest;
use crate::metrics::Metrics;
use crate::presence::Presence;
use crate::publisher::Publisher;

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

/// What the plane works with.
#[derive(Clone)]
pub(crate) struct PlaneServices {
    pub(crate) hub: Hub,
    pub(crate) presence: Presence,
    pub(crate) publisher: Publisher,
}

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
    doors: Vec<Arc<Door>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    joined: AtomicUsize,
}

/// Where a shard is reached. One that failed is followed by another behind the same door.
struct Door(Mutex<Behind>);

struct Behind {
    inbox: Arc<Inbox>,
    is_draining: bool,
    is_stopping: bool,
}

impl Door {
    fn new(shard: &Shard) -> Arc<Self> {
        let inbox = Arc::clone(shard.inbox());
        Arc::new(Self(Mutex::new(Behind { inbox, is_draining: false, is_stopping: false })))
    }

    fn open(&self) -> MutexGuard<'_, Behind> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, newcomer: Newcomer) {
        self.open().inbox.send(Message::Joins(Box::new(newcomer)));
    }

    fn drain(&self) {
        let mut behind = self.open();
        behind.is_draining = true;
        behind.inbox.send(Message::Drain);
    }

    fn stop(&self) {
        let mut behind = self.open();
        behind.is_stopping = true;
        behind.inbox.send(Message::Stop);
    }

    /// Puts another shard here; false if none is wanted any more.
    fn replace(&self, shard: &Shard) -> bool {
        let mut behind = self.open();
        behind.inbox = Arc::clone(shard.inbox());
        if behind.is_draining {
            behind.inbox.send(Message::Drain);
        }
        !behind.is_stopping
    }
}

/// Runs a shard, and another after one that failed: the viewers of that one lose their connections,
/// come back, and go on at their cursors.
fn run_shards(
    door: &Door,
    mut shard: Shard,
    run: impl Fn(Shard),
    make: impl Fn() -> io::Result<Shard>,
) {
    while panic::catch_unwind(AssertUnwindSafe(|| run(shard))).is_err() {
        tracing::error!("a shard of the stream plane failed; its viewers come back to a new one");
        shard = match make() {
            Ok(shard) => shard,
            Err(error) => return tracing::error!(%error, "the stream plane has a shard less"),
        };
        if !door.replace(&shard) {
            return;
        }
    }
}

impl Plane {
    /// Starts the shards, in a runtime that they can hand slow reads of the log to.
    pub(crate) fn start(
        services: &PlaneServices,
        config: &PlaneConfig,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Self> {
        let (doors, threads) = (Vec::new(), Mutex::default());
        let mut plane = Self { doors, threads, joined: AtomicUsize::new(0) };
        let runtime = Handle::current();
        for number in 0..config.shards.max(1) {
            let (services, config, runtime) = (services.clone(), config.clone(), runtime.clone());
            let counts = PlaneCounts::new(metrics);
            let make = move || Shard::new(&services, &config, counts.clone(), runtime.clone());
            let shard = make()?;
            let door = Door::new(&shard);
            plane.doors.push(Arc::clone(&door));
            let thread = std::thread::Builder::new().name(format!("plane-{number}"));
            let serve = move || run_shards(&door, shard, Shard::run, make);
            plane.threads().push(thread.spawn(serve)?);
        }
        Ok(plane)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection: the shards in turn.
    pub(crate) fn join(&self, newcomer: Newcomer) {
        let at = self.joined.fetch_add(1, Ordering::Relaxed) % self.doors.len();
        self.doors[at].join(newcomer);
    }

    /// Sends everyone away, to come back when the server is there again.
    pub(crate) fn drain(&self) {
        self.doors.iter().for_each(|door| door.drain());
    }

    /// Lets go of every connection, and blocks until the shards have ended, which is soon.
    pub(crate) fn stop(&self) {
        self.tell_to_stop();
        for thread in self.threads().drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }

    fn tell_to_stop(&self) {
        self.doors.iter().for_each(|door| door.stop());
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.tell_to_stop();
    }
}

#[cfg(test)]
mod tests;
