//! One open WebSocket, from the upgrade to its close.
//!
//! One task owns everything: it waits for the client, for followers and for publishes, and writes
//! what there is in one go. While the client takes nothing, nothing is read: not from followers, not
//! from the client. Idle, a connection holds no buffer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use runcast_event::{Cursor, Offset, Payload, RunId, Timestamp};
use runcast_hub::{Delivery, Gap, GapReason, Hub, Slice};
use runcast_log::{Append, AppendError, Appended, ReadLimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::follows::Follows;
use super::session::{Action, Session};
use super::{PUBLISH_BYTES_MAX, PUBLISHES_MAX};
use crate::accept::{Carried, Phase, PhaseWatch, Wire};
use crate::api::Shared;
use crate::metrics::Transport;
use crate::problem::{Code, Problem};
use crate::transport::view::View;
use crate::transport::websocket::message::{self, RequestId};
use crate::transport::websocket::{self, Close, FrameReader, MESSAGE_BYTES_MAX, Received};

/// What is read from a socket at a time.
const READ_BYTES: usize = 16 * 1024;
/// What is collected for one write, as long as it is there without waiting.
const WRITE_BYTES: usize = 64 * 1024;
/// Buffers given to the system at once.
const WRITE_BUFFERS_MAX: usize = 64;
/// Runs that the server's log names of one viewer.
const CURSORS_TOLD_MAX: usize = 8;
/// How long a client has for its own close when the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

thread_local! {
    /// Shared by all connections of a thread, so that an idle one holds none.
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Why a connection is over.
enum Over {
    /// It is to be closed, with this reason.
    Close(Close),
    /// The client is gone, or the server is.
    Gone(io::Error),
}

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl From<Close> for Over {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

/// A publish on its way to the disk.
type Publishing = Pin<Box<dyn Future<Output = Published> + Send>>;

struct Published {
    id: RequestId,
    run: RunId,
    bytes: usize,
    result: Result<Appended, AppendError>,
}

/// Serves a WebSocket whose handshake is done, until either side closes it.
pub(crate) async fn serve(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    services: Shared,
    wire: Option<Arc<Wire>>,
) {
    let carried = Carried::begin(&services.metrics, wire, Transport::WebSocket);
    let mut connection = Connection::new(socket, services, carried);
    let ended = match connection.run().await {
        Over::Close(close) => connection.close(close).await,
        Over::Gone(error) => Err(error),
    };
    if let Err(error) = ended {
        match connection.carried.given_up_after() {
            Some(after) => connection.tell_given_up(after),
            None => tracing::debug!(%error, "a WebSocket broke off"),
        }
    }
}

struct Connection<S> {
    socket: S,
    services: Shared,
    carried: Carried,
    phase: PhaseWatch,
    reader: FrameReader,
    /// What came in one read and was not acted on yet.
    received: VecDeque<Result<Received, Close>>,
    session: Session,
    follows: Follows,
    publishes: FuturesUnordered<Publishing>,
    publish_bytes: usize,
    /// What is written next.
    out: VecDeque<Bytes>,
    out_bytes: usize,
    heartbeat: Interval,
    /// Since when a ping is not answered.
    silent_since: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(socket: S, services: Shared, carried: Carried) -> Self {
        let period = services.heartbeat;
        let mut heartbeat = tokio::time::interval_at(Instant::now() + period, period);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            socket,
            phase: services.phase.clone(),
            services,
            carried,
            reader: FrameReader::new(MESSAGE_BYTES_MAX),
            received: VecDeque::new(),
            session: Session::default(),
            follows: Follows::default(),
            publishes: FuturesUnordered::new(),
            publish_bytes: 0,
            out: VecDeque::new(),
            out_bytes: 0,
            heartbeat,
            silent_since: None,
        }
    }

    async fn run(&mut self) -> Over {
        loop {
            if let Err(over) = self.turn().await {
                return over;
            }
        }
    }

    /// Acts on what came, writes what there is, and waits for more.
    async fn turn(&mut self) -> Result<(), Over> {
        while self.may_publish()
            && let Some(received) = self.received.pop_front()
        {
            self.act(received?).await?;
            if self.out_bytes >= WRITE_BYTES {
                self.flush().await?;
            }
        }
        if self.received.is_empty() {
            self.received = VecDeque::new();
        }
        while let Some(Some(published)) = self.publishes.next().now_or_never() {
            self.answer(&published);
        }
        while self.out_bytes < WRITE_BYTES
            && let Some((run, delivery)) = self.follows.try_next()
        {
            self.deliver(&run, delivery).await;
        }
        self.flush().await?;
        if !self.received.is_empty() && self.may_publish() {
            // What came is not read again: nothing would wake this task for it.
            return Ok(());
        }
        let reads = self.received.is_empty();
        tokio::select! {
            biased;
            () = self.phase.reached(Phase::Draining) => return Err(self.restart().into()),
            received = receive(&mut self.socket, &mut self.reader), if reads => {
                self.received = received?;
                self.silent_since = None;
            }
            Some(published) = self.publishes.next(), if !self.publishes.is_empty() => {
                self.answer(&published);
            }
            (run, delivery) = self.follows.next(), if !self.follows.is_empty() => {
                self.deliver(&run, delivery).await;
            }
            _ = self.heartbeat.tick() => self.beat()?,
        }
        Ok(())
    }

    fn may_publish(&self) -> bool {
        self.publishes.len() < PUBLISHES_MAX && self.publish_bytes < PUBLISH_BYTES_MAX
    }

    fn send(&mut self, frame: Bytes) {
        if !frame.is_empty() {
            self.out_bytes += frame.len();
            self.out.push_back(frame);
        }
    }

    /// Where clients spread over when they come back.
    fn restart(&self) -> Close {
        let spread = self.services.limits.reconnect_spread;
        Close::Restart(spread.mul_f64(fastrand::f64()))
    }

    /// Asks a quiet client whether it is there, and tells readers how far they are.
    fn beat(&mut self) -> Result<(), Close> {
        let timeout = self.services.limits.pong_timeout;
        if self.silent_since.is_some_and(|since| since.elapsed() >= timeout) {
            return Err(Close::Silent);
        }
        self.silent_since.get_or_insert_with(Instant::now);
        let mut frames = vec![websocket::ping()];
        for (run, followed) in self.follows.untold() {
            followed.told = followed.seen;
            frames.push(message::cursor(run, followed.seen));
        }
        frames.into_iter().for_each(|frame| self.send(frame));
        Ok(())
    }

    async fn act(&mut self, received: Received) -> Result<(), Close> {
        let text = match received {
            Received::Text(text) => text,
            Received::Ping(payload) => {
                self.send(websocket::pong(&payload));
                return Ok(());
            }
            Received::Pong => return Ok(()),
            Received::Close(code) => return Err(Close::Answer(code)),
        };
        match self.session.take(&text, Timestamp::now()) {
            Action::Subscribe { id, run, cursor, view } => {
                self.subscribe(id.as_ref(), &run, cursor, view).await;
            }
            Action::Unsubscribe { id, run } => {
                self.follows.remove(&run);
                self.send(message::unsubscribed(id.as_ref(), &run));
            }
            Action::Publish { id, append } => self.publish(id, append),
            Action::Pong { id } => self.send(message::pong(id.as_ref())),
            Action::Refuse { id, run, problem } => {
                self.send(message::error(id.as_ref(), run.as_ref(), &problem));
            }
            Action::Close(close) => return Err(close),
        }
        Ok(())
    }

    async fn subscribe(&mut self, id: Option<&RequestId>, run: &RunId, cursor: Cursor, view: View) {
        match self.follow(run, cursor, view).await {
            Ok(last) => self.send(message::subscribed(id, run, cursor, last)),
            Err(problem) => {
                self.session.ended(run);
                self.send(message::error(id, Some(run), &problem));
            }
        }
    }

    /// Begins to follow, and gives the newest event's cursor.
    async fn follow(&mut self, run: &RunId, cursor: Cursor, view: View) -> Result<Cursor, Problem> {
        let hub = &self.services.hub;
        let last = hub.stat(run).await?.map(|stat| Cursor::new(stat.epoch, stat.last));
        let follower = hub.follow(run, cursor).await?;
        self.carried.follows(cursor);
        self.follows.add(follower, view, cursor);
        Ok(last.unwrap_or_default())
    }

    fn publish(&mut self, id: RequestId, append: Append) {
        let run = append.run.clone();
        let bytes = append.events.iter().map(Bytes::len).sum();
        self.services.metrics.append_requested();
        let hub = self.services.hub.clone();
        self.publish_bytes += bytes;
        self.publishes.push(Box::pin(async move {
            let result = hub.append(append).await;
            Published { id, run, bytes, result }
        }));
    }

    fn answer(&mut self, published: &Published) {
        let Published { id, run, bytes, result } = published;
        self.publish_bytes -= bytes;
        let frame = match result {
            Ok(appended) => message::published(id, run, appended),
            Err(error) => {
                let problem = Problem::from(error.clone());
                self.services.metrics.append_refused(problem.code());
                message::error(Some(id), Some(run), &problem)
            }
        };
        self.send(frame);
    }

    async fn deliver(&mut self, run: &RunId, delivery: Delivery) {
        let Some(followed) = self.follows.get(run) else { return };
        let frame = match delivery {
            Delivery::Events(slice) => {
                let frame = message::events(&slice, run, &followed.view);
                followed.seen = behind(&slice);
                if !frame.is_empty() {
                    followed.told = followed.seen;
                }
                self.carried.delivered_since(followed.since, &slice, !frame.is_empty());
                self.send(frame);
                return;
            }
            Delivery::Gap(gap) => {
                let cursor = behind_gap(&gap);
                self.carried.told(&gap);
                (followed.seen, followed.told) = (cursor, cursor);
                self.send(message::gap(run, &gap, cursor));
                return;
            }
            Delivery::End { last } => {
                let cursor = Cursor::new(followed.seen.epoch, last);
                end(&self.services.hub, run, cursor).await
            }
            Delivery::Deleted => message::deleted(run),
            Delivery::Failed { reason } => failed(run, &reason),
        };
        self.session.ended(run);
        self.follows.remove(run);
        self.send(frame);
    }

    fn tell_given_up(&self, after: Duration) {
        let (runs, seconds) = (self.follows.len(), after.as_secs_f64());
        let cursors = self.follows.cursors(CURSORS_TOLD_MAX);
        tracing::warn!(runs, cursors, seconds, "a viewer took nothing and was disconnected");
    }

    /// Writes what there is. Waits as long as the client takes nothing, up to its limit.
    async fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            let (socket, out) = (&mut self.socket, &self.out);
            let mut has_waited = false;
            let write = poll_fn(|cx| {
                let mut slices = [IoSlice::new(&[]); WRITE_BUFFERS_MAX];
                for (slice, bytes) in slices.iter_mut().zip(out) {
                    *slice = IoSlice::new(bytes);
                }
                let count = out.len().min(WRITE_BUFFERS_MAX);
                let polled = Pin::new(&mut *socket).poll_write_vectored(cx, &slices[..count]);
                has_waited |= polled.is_pending();
                polled
            });
            let written = tokio::select! {
                biased;
                written = write => written?,
                () = self.phase.reached(Phase::Stopped) => {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            if has_waited {
                // A client that takes data again is there.
                self.silent_since = None;
            }
            self.written(written);
        }
        self.out = VecDeque::new();
        Ok(())
    }

    fn written(&mut self, mut bytes: usize) {
        self.out_bytes -= bytes;
        while let Some(first) = self.out.front_mut() {
            if bytes < first.len() {
                first.advance(bytes);
                return;
            }
            bytes -= first.len();
            self.out.pop_front();
        }
    }

    /// Says why the connection ends. What was published before is answered first.
    async fn close(&mut self, close: Close) -> io::Result<()> {
        if matches!(close, Close::Restart(_)) {
            while let Some(published) = self.publishes.next().await {
                self.answer(&published);
            }
        }
        self.send(websocket::close(&close));
        self.flush().await?;
        if matches!(close, Close::Restart(_)) {
            let answered = async {
                while !self.received.iter().any(is_last) {
                    self.received = receive(&mut self.socket, &mut self.reader).await?;
                }
                Ok(())
            };
            return tokio::time::timeout(CLOSE_TIMEOUT, answered).await.unwrap_or(Ok(()));
        }
        Ok(())
    }
}

fn is_last(received: &Result<Received, Close>) -> bool {
    matches!(received, Err(_) | Ok(Received::Close(_)))
}

fn behind(slice: &Slice) -> Cursor {
    Cursor::new(slice.epoch(), slice.last())
}

/// Where a reader goes on that has been told of a gap.
fn behind_gap(gap: &Gap) -> Cursor {
    let after = match gap.reason {
        GapReason::Trimmed => gap.to,
        GapReason::EpochChanged => Offset::new(gap.from.get().saturating_sub(1)),
    };
    Cursor::new(gap.epoch, after)
}

/// The end of a run, with the type of its last event.
async fn end(hub: &Hub, run: &RunId, cursor: Cursor) -> Bytes {
    let before = Offset::new(cursor.after.get().saturating_sub(1));
    let limit = ReadLimit { events_max: 1, bytes_max: 1 };
    let read = hub.read(run, before, limit).await;
    match read.map(|page| page.records.into_iter().next()) {
        Ok(Some(record)) => {
            message::end(run, cursor, Payload::from_stored(record.payload).event_type())
        }
        Ok(None) => failed(run, "the run's last event is not there"),
        Err(error) => message::error(None, Some(run), &error.into()),
    }
}

fn failed(run: &RunId, reason: &str) -> Bytes {
    tracing::error!(%run, %reason, "a follower cannot be served");
    let detail = "the run's events cannot be read; subscribe again from the cursor";
    message::error(None, Some(run), &Problem::new(Code::Internal, detail))
}

/// Waits for bytes and gives what is whole; nothing may be. Can be cancelled without losing any.
async fn receive(
    socket: &mut (impl AsyncRead + Unpin),
    reader: &mut FrameReader,
) -> io::Result<VecDeque<Result<Received, Close>>> {
    poll_fn(|cx| {
        READ_BUFFER.with_borrow_mut(|bytes| {
            let mut buffer = ReadBuf::new(bytes);
            ready!(Pin::new(&mut *socket).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return io::Result::Err(io::ErrorKind::UnexpectedEof.into()).into();
            }
            let (mut input, mut all) = (buffer.filled(), VecDeque::new());
            while let Some(received) = reader.next(&mut input).transpose() {
                let ends = is_last(&received);
                all.push_back(received);
                if ends {
                    break;
                }
            }
            Ok(all).into()
        })
    })
    .await
}
