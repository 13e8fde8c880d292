//! One shard: a thread, its connections, and the loop that serves them.
//!
//! A turn is: the clock, what the sockets say, what others have left in the inbox, the runs that have
//! changed, the readers who have more to read. What is done for one connection in a turn is
//! bounded, so that none waits for another.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Events, Poll, Token, Waker};
use runcast_hub::Hub;
use slab::Slab;
use tokio::runtime::Handle;

use super::counts::{PlaneCounts, Tally};
use super::inbox::{Inbox, Message};
use super::link::{Link, Phase};
use super::pages::Pages;
use super::reader::Reader;
use super::runs::Runs;
use super::wheel::{Tick, Wheel};
use super::{PlaneConfig, PlaneServices, wave::Waves};
use crate::config::somewhere_in;
use crate::presence::Presence;
use crate::publisher::Publisher;

/// The longest tick of the clock.
const TICK_MAX: Duration = Duration::from_secs(1);
/// What sockets say in one turn.
const EVENTS_MAX: usize = 1_024;
/// What is read from a client at a time.
const READ_BYTES: usize = 16 * 1024;
/// The token of the inbox; no socket ever has it.
const INBOX: Token = Token(usize::MAX);

pub(super) struct Shard {
    pub(super) hub: Hub,
    pub(super) presence: Presence,
    pub(super) publisher: Publisher,
    pub(super) runtime: Handle,
    pub(super) poll: Poll,
    pub(super) inbox: Arc<Inbox>,
    pub(super) links: Slab<Link>,
    pub(super) readers: Slab<Reader>,
    /// Connections and readers that there ever were.
    pub(super) joined: u64,
    pub(super) runs: Runs,
    pub(super) pages: Pages,
    pub(super) wheel: Wheel,
    pub(super) clock: Clock,
    /// What is to be gone on with when all have had their turn.
    pub(super) agenda: VecDeque<Chore>,
    /// Readers who follow no more, to be taken out at the end of the turn.
    pub(super) over: Vec<usize>,
    /// Connections to be closed then.
    pub(super) gone: Vec<usize>,
    /// What clients send is read into this; an idle connection has no buffer.
    pub(super) read_buffer: Vec<u8>,
    /// What every answer begins with in this tick.
    pub(super) opening: Option<(Tick, Bytes)>,
    pub(super) is_draining: bool,
    pub(super) tally: Tally,
    pub(super) counts: PlaneCounts,
}

/// What did not fit into a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chore {
    /// A reader has more to read.
    Advance(usize),
    /// A WebSocket's client has sent more, or has answers waiting.
    Listen(usize),
    /// A connection whose socket was full took everything.
    GoOn(usize),
}

/// The lengths of things in ticks.
#[derive(Debug)]
pub(super) struct Clock {
    begun: Instant,
    tick: Duration,
    pub(super) heartbeat: u32,
    pub(super) stalled: u32,
    pub(super) pong_timeout: u32,
    pub(super) linger: u32,
    /// Over how long clients spread that are sent away.
    reconnect_spread: Duration,
}

/// How long a client may take to close when everything was sent to it.
const LINGER: Duration = Duration::from_secs(2);

impl Clock {
    fn new(config: &PlaneConfig) -> Self {
        let shortest = config.heartbeat.min(config.stalled).min(config.pong_timeout).min(TICK_MAX);
        let tick = shortest.max(Duration::from_millis(1));
        let ticks = |time: Duration| {
            u32::try_from(time.as_nanos().div_ceil(tick.as_nanos())).unwrap_or(u32::MAX).max(1)
        };
        Self {
            begun: Instant::now(),
            tick,
            heartbeat: ticks(config.heartbeat),
            stalled: ticks(config.stalled),
            pong_timeout: ticks(config.pong_timeout),
            linger: ticks(LINGER),
            reconnect_spread: config.reconnect_spread,
        }
    }

    /// How long so many ticks are.
    pub(super) fn length(&self, ticks: u32) -> Duration {
        self.tick.saturating_mul(ticks)
    }

    /// How long it is until the tick after `now`.
    fn until_next(&self, now: Tick) -> Duration {
        let next = self.tick.saturating_mul(now.plus(1).0);
        next.saturating_sub(self.begun.elapsed())
    }
}

impl Shard {
    /// A shard that hands slow reads of the log to the runtime.
    pub(super) fn new(
        services: &PlaneServices,
        config: &PlaneConfig,
        counts: PlaneCounts,
        runtime: Handle,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let PlaneServices { hub, presence, publisher } = services.clone();
        let inbox = Inbox::new(Waker::new(poll.registry(), INBOX)?);
        Ok(Self {
            runs: Runs::new(hub.clone(), Arc::clone(&inbox)),
            hub,
            presence,
            publisher,
            runtime,
            poll,
            inbox,
            links: Slab::new(),
            readers: Slab::new(),
            joined: 0,
            pages: Pages::default(),
            wheel: Wheel::new(),
            clock: Clock::new(config),
            agenda: VecDeque::new(),
            over: Vec::new(),
            gone: Vec::new(),
            read_buffer: vec![0; READ_BYTES],
            opening: None,
            is_draining: false,
            tally: Tally::default(),
            counts,
        })
    }

    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Serves until it is told to stop.
    pub(super) fn run(mut self) {
        let runtime = self.runtime.clone();
        // Reads of the log are begun here.
        let _in_runtime = runtime.enter();
        let mut events = Events::with_capacity(EVENTS_MAX);
        let (mut messages, mut changed) = (Vec::new(), Vec::new());
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    tracing::error!(%error, "a shard cannot wait for its sockets and ends");
                    return;
                }
                _ => {}
            }
            // Before anything else: what happens in this turn happens now, not when the shard went to
            // sleep.
            self.on_clock();
            for event in &events {
                if event.token() != INBOX {
                    self.on_socket(event);
                }
            }
            self.inbox.take(&mut messages, &mut changed);
            for message in messages.drain(..) {
                if matches!(message, Message::Stop) {
                    return;
                }
                self.on_message(message);
            }
            for run in changed.drain(..) {
                self.on_change(run);
            }
            self.go_on();
            self.sweep();
            self.counts.add(&mut self.tally);
        }
    }

    /// How long to wait for something to happen.
    fn timeout(&self) -> Option<Duration> {
        if !self.agenda.is_empty() || !self.inbox.may_sleep() {
            return Some(Duration::ZERO);
        }
        let is_idle = self.links.is_empty() && self.runs.is_empty();
        (!is_idle).then(|| self.clock.until_next(self.wheel.now()))
    }

    /// Does what did not fit into the turn, each thing once.
    pub(super) fn go_on(&mut self) {
        for _ in 0..self.agenda.len() {
            match self.agenda.pop_front() {
                Some(Chore::Advance(at)) => self.advance(at, &mut Waves::default()),
                Some(Chore::Listen(at)) => self.listen(at),
                Some(Chore::GoOn(at)) => self.go_on_with(at),
                None => break,
            }
        }
    }

    fn on_clock(&mut self) {
        let mut has_ticked = false;
        while self.clock.until_next(self.wheel.now()).is_zero() {
            has_ticked = true;
            for at in self.wheel.advance() {
                self.look_after(at);
            }
        }
        if has_ticked {
            self.runs.tick(self.wheel.now());
            self.pages.forget_recent();
            self.opening = None;
        }
    }

    /// Takes those out who follow no more, and closes connections.
    fn sweep(&mut self) {
        for at in std::mem::take(&mut self.over) {
            let Some(membership) = self.readers.remove(at).membership else { continue };
            if let Some((moved, to)) = self.runs.leave(membership, self.wheel.now())
                && let Some(moved) = self.readers.get_mut(moved)
            {
                moved.membership = Some(to);
            }
        }
        for at in std::mem::take(&mut self.gone) {
            self.counts.left(self.links.remove(at).transport(), 1);
        }
        debug_assert!(self.links.iter().all(|(_, link)| link.phase != Phase::Gone));
    }

    /// After how long a client should come back when the server stops.
    pub(super) fn reconnect_after(&self) -> Duration {
        somewhere_in(self.clock.reconnect_spread)
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.inbox.close();
        for (_, link) in &self.links {
            self.counts.left(link.transport(), 1);
        }
    }
}
