//! One connection, from its first byte to its last.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::head::{self, HEADERS_MAX, HeadError};
use super::socket::Socket;
use super::split::{self, Way};
use super::{Acceptor, Handover, KEEPALIVE_AFTER, Phase, Wire};
use crate::front::FrontDoor;
use crate::plane::{Newcomer, Plane, Wish};
use crate::problem::{Code, Problem};

/// How long an HTTP/2 peer may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// How long a closed connection is read on, so that a client that is still sending its refused
/// request gets the answer and not a reset.
const LINGER: Duration = Duration::from_secs(2);
/// How much is read then.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) async fn serve(acceptor: &Acceptor, stream: TcpStream, seat: OwnedSemaphorePermit) {
    let mut phase = acceptor.phase.clone();
    let limits = &acceptor.limits;
    let first_head =
        tokio::time::timeout(limits.head_timeout, head::read(&stream, limits.head_bytes_max));
    let first_head = tokio::select! {
        first_head = first_head => first_head,
        () = phase.reached(Phase::Draining) => return,
    };
    let bytes = match first_head {
        Ok(Ok(bytes)) => bytes.freeze(),
        Ok(Err(HeadError::Gone)) => return,
        Ok(Err(HeadError::Malformed(error))) => {
            return refuse(acceptor, &stream, &not_http(error)).await;
        }
        Ok(Err(HeadError::TooManyHeaders)) => {
            return refuse(acceptor, &stream, &too_many_headers()).await;
        }
        Ok(Err(HeadError::TooLarge)) => {
            return refuse(acceptor, &stream, &head_too_large(limits.head_bytes_max)).await;
        }
        Err(_) => return refuse(acceptor, &stream, &head_too_slow(limits.head_timeout)).await,
    };
    match split::way(&bytes, acceptor.front.guard()) {
        Way::Refused(problem) => refuse(acceptor, &stream, &problem).await,
        // What came behind the request is thrown away, as everything is that will come.
        Way::Plane(request, page) => {
            join(&acceptor.plane, stream, Wish::Follow { request, page }, seat);
        }
        way @ (Way::Http1 | Way::Http2) => {
            let stream = Arc::new(stream);
            let is_http2 = matches!(way, Way::Http2);
            let wire = Wire::new(&acceptor.metrics, is_http2);
            let stall_timeout = limits.write_stall_timeout;
            let socket = Socket::new(Arc::clone(&stream), bytes, stall_timeout, Arc::clone(&wire));
            let handover = Handover::default();
            let front = acceptor.front.clone().for_connection(handover.clone(), wire);
            if is_http2 {
                Box::pin(speak_http2(acceptor, socket, front)).await;
            } else {
                // In a box, so that what HTTP needs is given back when the connection goes on without.
                Box::pin(speak_http1(acceptor, socket, front)).await;
                if let Some(upgrade) = handover.take() {
                    return become_websocket(&acceptor.plane, upgrade, stream, seat).await;
                }
            }
            close(acceptor, &stream).await;
        }
    }
}

fn join(plane: &Plane, stream: TcpStream, wish: Wish, seat: OwnedSemaphorePermit) {
    match stream.into_std() {
        Ok(stream) => plane.join(Newcomer { stream, wish, seat }),
        Err(error) => tracing::warn!(%error, "a connection cannot be served"),
    }
}

/// Gives a connection whose handshake is done to the stream plane, with the bytes that came behind it.
async fn become_websocket(
    plane: &Plane,
    upgrade: OnUpgrade,
    stream: Arc<TcpStream>,
    seat: OwnedSemaphorePermit,
) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => return tracing::debug!(%error, "a connection was gone before its upgrade"),
    };
    let Ok(parts) = upgraded.downcast::<TokioIo<Socket>>() else { return };
    // HTTP read more than the handshake, of which the socket itself may still have some.
    let read_before = [&parts.read_buf[..], parts.io.inner().read_before()].concat();
    drop(parts);
    if let Ok(stream) = Arc::try_unwrap(stream) {
        join(plane, stream, Wish::WebSocket { read_before }, seat);
    }
}

fn head_too_slow(timeout: Duration) -> Problem {
    let detail =
        format!("the head of the request did not arrive within {} ms", timeout.as_millis());
    Problem::new(Code::RequestTimeout, detail)
}

fn not_http(error: httparse::Error) -> Problem {
    let detail = format!("the request is not HTTP/1.1 or HTTP/2 without TLS: {error}");
    Problem::new(Code::InvalidHeader, detail)
}

fn too_many_headers() -> Problem {
    let detail = format!("the request has more than {HEADERS_MAX} headers");
    Problem::new(Code::HeadTooLarge, detail).with("max", HEADERS_MAX)
}

fn head_too_large(max: usize) -> Problem {
    let detail = format!("the head of the request is larger than {max} bytes");
    Problem::new(Code::HeadTooLarge, detail).with("max", max)
}

async fn refuse(acceptor: &Acceptor, stream: &TcpStream, problem: &Problem) {
    // An empty send buffer takes a problem as a whole; a client that is gone needs none.
    let _ = stream.try_write(&problem.to_raw_response());
    close(acceptor, stream).await;
}

async fn close(acceptor: &Acceptor, stream: &TcpStream) {
    let mut phase = acceptor.phase.clone();
    tokio::select! {
        () = linger(stream) => {}
        () = phase.reached(Phase::Draining) => {}
    }
}

/// Serves a connection to its end, which draining brings about gracefully and stopping at once.
macro_rules! serve_to_end {
    ($acceptor:expr, $connection:expr) => {{
        let mut connection = std::pin::pin!($connection);
        let mut phase = $acceptor.phase.clone();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = phase.reached(Phase::Draining) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = phase.reached(Phase::Stopped) => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke off");
        }
    }};
}

async fn speak_http1(acceptor: &Acceptor, socket: Socket, front: FrontDoor) {
    let limits = &acceptor.limits;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_headers(HEADERS_MAX)
        .max_header_size(limits.head_bytes_max)
        .max_buf_size(limits.head_bytes_max.max(MIN_BUFFER_BYTES));
    let connection = builder.serve_connection(TokioIo::new(socket), front).with_upgrades();
    serve_to_end!(acceptor, connection);
}

async fn speak_http2(acceptor: &Acceptor, socket: Socket, front: FrontDoor) {
    let limits = &acceptor.limits;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX));
    let connection = builder.serve_connection(TokioIo::new(socket), front);
    serve_to_end!(acceptor, connection);
}

/// The smallest buffer that hyper takes.
const MIN_BUFFER_BYTES: usize = 8 * 1024;

async fn linger(stream: &TcpStream) {
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
    let discard = async {
        let mut bytes = vec![0; 16 * 1024];
        let mut total = 0;
        while total < LINGER_BYTES_MAX && stream.readable().await.is_ok() {
            match stream.try_read(&mut bytes) {
                Ok(0) => return,
                Ok(length) => total += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, discard).await;
}
