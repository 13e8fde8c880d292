//! Takes connections and gives their requests to the front door.
//!
//! Owns the listener, how many connections there are, and how long a client may take to say what it
//! wants and to take its answer. Looks at a request only to find out who serves it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::Limits;
use crate::front::FrontDoor;
use crate::metrics::Metrics;
use crate::plane::Plane;

mod connection;
mod handover;
mod head;
mod socket;
mod split;
mod wire;

pub(crate) use handover::Handover;
pub(crate) use wire::{Carried, Wire};

/// How long to wait after the system refused a connection, which it does for want of files.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// After how much silence a peer is asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// How long it has for each answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Sets a listener up; its connections take over what it is set to.
pub(crate) fn prepare(listener: &TcpSocket) -> io::Result<()> {
    listener.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(listener).set_tcp_keepalive(&keepalive)
}

/// What the server is about to do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Answer requests.
    Serving,
    /// Finish what is under way and take nothing new.
    Draining,
    /// Let go of everything.
    Stopped,
}

/// Tells in which phase the server is.
#[derive(Debug, Clone)]
pub(crate) struct PhaseWatch(pub(crate) watch::Receiver<Phase>);

impl PhaseWatch {
    /// Waits until the server is in this phase or past it.
    pub(crate) async fn reached(&mut self, phase: Phase) {
        // The sender gone means that the server is gone.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}

/// Everything that a connection needs.
pub(crate) struct Acceptor {
    pub(crate) limits: Limits,
    pub(crate) front: FrontDoor,
    /// Serves those who follow.
    pub(crate) plane: Arc<Plane>,
    pub(crate) phase: PhaseWatch,
    pub(crate) metrics: Arc<Metrics>,
    /// One for each connection that there may be.
    pub(crate) seats: Arc<Semaphore>,
}

impl Acceptor {
    /// Accepts connections until the server drains.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut phase = self.phase.clone();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&listener) => accepted,
                () = phase.reached(Phase::Draining) => return,
            };
            match accepted {
                Ok((stream, seat)) => {
                    let acceptor = Arc::clone(&self);
                    tokio::spawn(async move { connection::serve(&acceptor, stream, seat).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let seats = Arc::clone(&self.seats);
        let seat = seats.acquire_owned().await.expect("the seats are never closed");
        let (stream, _) = listener.accept().await?;
        Ok((stream, seat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_takes_over_what_its_listener_is_set_to() {
        let socket = TcpSocket::new_v4().unwrap();
        prepare(&socket).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(8).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(SockRef::from(&stream).keepalive().unwrap());
    }
}
