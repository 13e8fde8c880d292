//! Reads thousands of followed runs in one thread and keeps each viewer's account.
//!
//! Owns the sockets. Does nothing by itself: [`Fleet::drive`] reads until a condition holds.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;

use super::ledger::{Faults, Ledger};
use crate::clock::Stamp;
use crate::event::events_in;
use crate::poller::Poller;
use crate::wire::body::Body;
use crate::wire::head::parse_head;
use crate::wire::socket::{Received, connect, receive, send};
use crate::wire::sse::{Frame, Scanner};
use crate::wire::websocket::{self, Message, Messages};

/// How much is read at once, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// How many connections may be under way at once when they are not meant to be a storm.
const CONNECTING_MAX: usize = 128;

/// How many connections of a storm are begun before the sockets are looked at again.
const CONNECTS_A_TURN: usize = 64;

/// How often a condition is looked at when nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The longest delivery that a histogram can hold.
const LATENCY_MAX: Duration = Duration::from_secs(120);

/// All viewers. They begin at one server and may go to others.
pub(crate) struct Fleet {
    poller: Poller,
    viewers: Vec<Viewer>,
    seen: Seen,
    record_from: Option<Stamp>,
    goals_set: Option<Stamp>,
    buffer: Vec<u8>,
}

/// What all viewers together have seen.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Viewers that have been answered and follow.
    pub(crate) following: usize,
    /// Events, each time that one was read.
    pub(crate) events: u64,
    /// Bytes off the sockets.
    pub(crate) bytes: u64,
    /// Special frames.
    pub(crate) special: u64,
    /// Viewers that have not reached their goal.
    pub(crate) short_of_goal: usize,
    /// Times from publishing to reading, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Times from setting the goals to reaching them, in nanoseconds.
    pub(crate) catch_up: Histogram<u64>,
    /// What went wrong.
    pub(crate) faults: Faults,
}

struct Viewer {
    address: SocketAddrV4,
    path: String,
    run: usize,
    phase: Phase,
    ledger: Ledger,
    reader: Reader,
    goal: u64,
}

/// How events come out of bytes.
enum Reader {
    Sse(Scanner),
    WebSocket { messages: Messages, run: String },
}

impl Reader {
    /// The same for a new connection.
    fn anew(&self) -> Self {
        match self {
            Self::Sse(_) => Self::Sse(Scanner::default()),
            Self::WebSocket { run, .. } => {
                Self::WebSocket { messages: Messages::default(), run: run.clone() }
            }
        }
    }
}

enum Phase {
    /// Not connected.
    Away,
    /// Connecting, then writing its request.
    Asking { socket: OwnedFd },
    /// Waiting for the head of the answer.
    Answered { socket: OwnedFd, head: Vec<u8> },
    /// Reading.
    Following { socket: OwnedFd, body: Body },
}

/// An empty histogram of nanoseconds.
pub(crate) fn nanosecond_histogram() -> Histogram<u64> {
    let max = u64::try_from(LATENCY_MAX.as_nanos()).unwrap_or(u64::MAX);
    Histogram::new_with_bounds(1, max, 3).expect("the bounds of a histogram are right")
}

impl Seen {
    fn nothing() -> Self {
        Self {
            following: 0,
            events: 0,
            bytes: 0,
            special: 0,
            short_of_goal: 0,
            latency: nanosecond_histogram(),
            catch_up: nanosecond_histogram(),
            faults: Faults::default(),
        }
    }
}

impl Fleet {
    /// Makes viewers that are not connected yet; `runs` names the run of each.
    pub(crate) fn new<'a>(
        address: SocketAddrV4,
        runs: impl IntoIterator<Item = (usize, &'a str)>,
    ) -> Result<Self> {
        let viewer = |(run, name): (usize, &str)| Viewer {
            address,
            path: format!("/v1/runs/{name}/events"),
            run,
            phase: Phase::Away,
            ledger: Ledger::default(),
            reader: Reader::Sse(Scanner::default()),
            goal: 0,
        };
        Ok(Self {
            poller: Poller::new()?,
            viewers: runs.into_iter().map(viewer).collect(),
            seen: Seen::nothing(),
            record_from: None,
            goals_set: None,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// How many viewers there are.
    pub(crate) fn len(&self) -> usize {
        self.viewers.len()
    }

    /// What they have seen.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// From now on counts anew and records how long each event took that is published from now on.
    pub(crate) fn begin_record(&mut self) {
        let Seen { following, short_of_goal, .. } = self.seen;
        self.seen = Seen { following, short_of_goal, ..Seen::nothing() };
        self.record_from = Some(Stamp::now());
    }

    /// Lets each viewer begin behind this offset of its run. For viewers that are not connected.
    pub(crate) fn begin_after(&mut self, offset_of: impl Fn(usize) -> u64) {
        for viewer in &mut self.viewers {
            viewer.ledger = Ledger::after(offset_of(viewer.run));
        }
    }

    /// Lets viewers come over WebSocket. For viewers that are not connected.
    pub(crate) fn over_websocket(mut self) -> Self {
        for viewer in &mut self.viewers {
            let run = viewer.path.trim_start_matches("/v1/runs/").trim_end_matches("/events");
            viewer.reader =
                Reader::WebSocket { messages: Messages::default(), run: run.to_owned() };
        }
        self
    }

    /// Adds a query to what each viewer asks for. For viewers that are not connected.
    pub(crate) fn ask_with(&mut self, query_of: impl Fn(usize) -> String) {
        for (at, viewer) in self.viewers.iter_mut().enumerate() {
            viewer.path.push_str(&query_of(at));
        }
    }

    /// Sets the offset that each viewer shall reach.
    pub(crate) fn set_goals(&mut self, goal_of: impl Fn(usize) -> u64) {
        self.goals_set = Some(Stamp::now());
        self.seen.short_of_goal = 0;
        for viewer in &mut self.viewers {
            viewer.goal = goal_of(viewer.run);
            if viewer.ledger.last() < viewer.goal {
                self.seen.short_of_goal += 1;
            }
        }
    }

    /// Counts as lost what viewers have not been given up to their goals.
    pub(crate) fn count_missing(&mut self) {
        let missing = |viewer: &Viewer| viewer.goal.saturating_sub(viewer.ledger.last());
        self.seen.faults.lost += self.viewers.iter().map(missing).sum::<u64>();
    }

    /// Connects all viewers, a few at a time, and waits until all follow.
    pub(crate) fn connect_gently(&mut self, time: Duration) -> Result<()> {
        let deadline = Instant::now() + time;
        let mut next = 0;
        while self.seen.following < self.viewers.len() {
            while next < self.viewers.len() && next < self.seen.following + CONNECTING_MAX {
                self.connect_one(next)?;
                next += 1;
            }
            self.turn(LOOK_EVERY)?;
            ensure!(
                Instant::now() < deadline && self.seen.faults.refused == 0,
                "{} of {} viewers follow after {time:?}, {} were refused",
                self.seen.following,
                self.viewers.len(),
                self.seen.faults.refused
            );
        }
        Ok(())
    }

    /// Connects all viewers at once, reading in between what there is to read.
    pub(crate) fn connect_at_once(&mut self) -> Result<()> {
        for at in 0..self.viewers.len() {
            self.connect_one(at)?;
            if at % CONNECTS_A_TURN == 0 {
                self.turn(Duration::ZERO)?;
            }
        }
        Ok(())
    }

    /// Has a viewer leave where it is and come back at a server, with its cursor.
    pub(crate) fn move_to(&mut self, at: usize, address: SocketAddrV4) -> Result<()> {
        let viewer = &mut self.viewers[at];
        if let Phase::Following { .. } = viewer.phase {
            self.seen.following -= 1;
        }
        viewer.phase = Phase::Away;
        viewer.reader = viewer.reader.anew();
        viewer.address = address;
        self.connect_one(at)
    }

    /// Cuts all connections.
    pub(crate) fn disconnect(&mut self) {
        for viewer in &mut self.viewers {
            viewer.phase = Phase::Away;
            viewer.reader = viewer.reader.anew();
        }
        self.seen.following = 0;
    }

    /// Reads until the condition holds (true) or the time is over (false).
    pub(crate) fn drive(
        &mut self,
        time: Duration,
        mut until: impl FnMut(&mut Self) -> bool,
    ) -> Result<bool> {
        let deadline = Instant::now() + time;
        loop {
            if until(self) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            self.turn(LOOK_EVERY)?;
        }
    }

    fn connect_one(&mut self, at: usize) -> Result<()> {
        let address = self.viewers[at].address;
        let socket =
            connect(address).with_context(|| format!("viewer {at} cannot connect to {address}"))?;
        self.poller.watch(&socket, at as u64)?;
        self.viewers[at].phase = Phase::Asking { socket };
        Ok(())
    }

    fn turn(&mut self, wait: Duration) -> Result<()> {
        self.poller.wait(Some(wait))?;
        for at in 0..self.poller.ready_count() {
            let ready = self.poller.ready(at);
            let at = usize::try_from(ready.token)?;
            if ready.writable
                && let Phase::Asking { .. } = self.viewers[at].phase
            {
                self.viewers[at].ask()?;
            }
            if ready.readable {
                self.read(at)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, at: usize) -> Result<()> {
        let viewer = &mut self.viewers[at];
        loop {
            let (Phase::Asking { socket }
            | Phase::Answered { socket, .. }
            | Phase::Following { socket, .. }) = &viewer.phase
            else {
                return Ok(());
            };
            let received = receive(socket, &mut self.buffer);
            match received {
                Ok(Received::Bytes(count)) => {
                    self.seen.bytes += count as u64;
                    let mut account = Account {
                        seen: &mut self.seen,
                        record_from: self.record_from,
                        goals_set: self.goals_set,
                    };
                    viewer.take(&self.buffer[..count], &mut account)?;
                    if count < self.buffer.len() {
                        return Ok(());
                    }
                }
                Ok(Received::Nothing) => return Ok(()),
                Ok(Received::End) | Err(_) => {
                    if let Phase::Following { .. } = viewer.phase {
                        self.seen.following -= 1;
                    }
                    self.seen.faults.refused += 1;
                    viewer.phase = Phase::Away;
                    return Ok(());
                }
            }
        }
    }
}

/// Where a viewer writes down what it sees.
struct Account<'a> {
    seen: &'a mut Seen,
    record_from: Option<Stamp>,
    goals_set: Option<Stamp>,
}

impl Viewer {
    fn ask(&mut self) -> Result<()> {
        let address = self.address;
        let Phase::Asking { socket } = std::mem::replace(&mut self.phase, Phase::Away) else {
            return Ok(());
        };
        let request = match self.reader {
            Reader::Sse(_) => format!(
                "GET {} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\nLast-Event-ID: {}\r\n\r\n",
                self.path,
                self.ledger.last()
            ),
            Reader::WebSocket { .. } => {
                let (path, upgrade) = (websocket::PATH, websocket::UPGRADE);
                format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{upgrade}\r\n")
            }
        };
        let sent = send(&socket, request.as_bytes()).context("a viewer cannot send its request")?;
        ensure!(sent == request.len(), "a new socket takes only {sent} bytes");
        self.phase = Phase::Answered { socket, head: Vec::new() };
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], account: &mut Account<'_>) -> Result<()> {
        let Phase::Answered { head, .. } = &mut self.phase else {
            return self.follow(bytes, account);
        };
        head.extend_from_slice(bytes);
        let Some((parsed, length)) = parse_head(head)? else { return Ok(()) };
        let rest = head.split_off(length);
        if !matches!(parsed.status, 101 | 200) {
            bail!(
                "GET {} was answered {}: {}",
                self.path,
                parsed.status,
                String::from_utf8_lossy(&rest)
            );
        }
        if let Phase::Answered { socket, .. } = std::mem::replace(&mut self.phase, Phase::Away) {
            if let Reader::WebSocket { run, .. } = &self.reader {
                let after = self.ledger.last();
                let text = format!(r#"{{"type":"subscribe","run":"{run}","after":"{after}"}}"#);
                send(&socket, &websocket::client_text(&text))
                    .context("a viewer cannot subscribe")?;
            }
            self.phase = Phase::Following { socket, body: parsed.body };
        }
        account.seen.following += 1;
        self.follow(&rest, account)
    }

    fn follow(&mut self, bytes: &[u8], account: &mut Account<'_>) -> Result<()> {
        let Phase::Following { body, socket } = &mut self.phase else { return Ok(()) };
        let now = Stamp::now();
        let (reader, ledger, goal) = (&mut self.reader, &mut self.ledger, self.goal);
        let mut read = Ok(());
        body.take(bytes, |piece| {
            let result = match reader {
                Reader::Sse(scanner) => scanner
                    .take(piece, |frame| account.note(frame, now, ledger, goal))
                    .map_err(Into::into),
                Reader::WebSocket { messages, .. } => {
                    messages.take(piece, |message| match message {
                        Message::Text(text) => {
                            for (offset, stamp) in events_in(text) {
                                account.note(Frame::Event { offset, stamp }, now, ledger, goal);
                            }
                        }
                        // What does not fit is not missed: the next ping is answered.
                        Message::Ping(ping) => drop(send(&*socket, &websocket::client_pong(ping))),
                        Message::Pong | Message::Close(_) => account.seen.special += 1,
                    })
                }
            };
            if result.is_err() {
                read = result;
            }
        })?;
        read
    }
}

impl Account<'_> {
    fn note(&mut self, frame: Frame, now: Stamp, ledger: &mut Ledger, goal: u64) {
        let Frame::Event { offset, stamp } = frame else {
            self.seen.special += 1;
            return;
        };
        let before = ledger.last();
        ledger.see(offset, &mut self.seen.faults);
        self.seen.events += 1;
        if let (Some(from), Some(stamp)) = (self.record_from, stamp)
            && stamp >= from
        {
            self.seen.latency.saturating_record(nanoseconds(stamp.until(now)));
        }
        if before < goal && ledger.last() >= goal {
            self.seen.short_of_goal -= 1;
            if let Some(from) = self.goals_set {
                self.seen.catch_up.saturating_record(nanoseconds(from.until(now)));
            }
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
