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
use super::pages::Pages;
use super::runs::Runs;
use super::viewer::{Stage, Viewer, ViewerKey};
use super::wheel::{Tick, Wheel};
use super::{PlaneConfig, wave::Waves};

/// The longest tick of the clock.
const TICK_MAX: Duration = Duration::from_secs(1);
/// What sockets say in one turn.
const EVENTS_MAX: usize = 1_024;
/// The token of the inbox; no socket ever has it.
const INBOX: Token = Token(usize::MAX);

pub(super) struct Shard {
    pub(super) hub: Hub,
    pub(super) runtime: Handle,
    pub(super) poll: Poll,
    pub(super) inbox: Arc<Inbox>,
    pub(super) viewers: Slab<Viewer>,
    /// Viewers that there ever were.
    pub(super) joined: u64,
    pub(super) runs: Runs,
    pub(super) pages: Pages,
    pub(super) wheel: Wheel,
    pub(super) clock: Clock,
    /// Viewers who have more to read than they got in their turn.
    pub(super) agenda: VecDeque<usize>,
    /// Viewers who follow no more, to be taken out at the end of the turn.
    pub(super) done: Vec<usize>,
    /// What every answer begins with in this tick.
    pub(super) opening: Option<(Tick, Bytes)>,
    pub(super) is_draining: bool,
    pub(super) tally: Tally,
    pub(super) counts: PlaneCounts,
}

/// The lengths of things in ticks.
#[derive(Debug)]
pub(super) struct Clock {
    begun: Instant,
    tick: Duration,
    pub(super) heartbeat: u32,
    pub(super) stalled: u32,
    pub(super) linger: u32,
}

/// How long a client may take to close when everything was sent to it.
const LINGER: Duration = Duration::from_secs(2);

impl Clock {
    fn new(config: &PlaneConfig) -> Self {
        let shortest = config.heartbeat.min(config.stalled).min(TICK_MAX);
        let tick = shortest.max(Duration::from_millis(1));
        let ticks = |time: Duration| {
            u32::try_from(time.as_nanos().div_ceil(tick.as_nanos())).unwrap_or(u32::MAX).max(1)
        };
        let (heartbeat, stalled) = (ticks(config.heartbeat), ticks(config.stalled));
        Self { begun: Instant::now(), tick, heartbeat, stalled, linger: ticks(LINGER) }
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
    pub(super) fn new(hub: Hub, config: &PlaneConfig, counts: PlaneCounts) -> io::Result<Self> {
        let poll = Poll::new()?;
        let inbox = Inbox::new(Waker::new(poll.registry(), INBOX)?);
        Ok(Self {
            runs: Runs::new(hub.clone(), Arc::clone(&inbox)),
            hub,
            runtime: Handle::current(),
            poll,
            inbox,
            viewers: Slab::new(),
            joined: 0,
            pages: Pages::default(),
            wheel: Wheel::new(),
            clock: Clock::new(config),
            agenda: VecDeque::new(),
            done: Vec::new(),
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
        let is_idle = self.viewers.is_empty() && self.runs.is_empty();
        (!is_idle).then(|| self.clock.until_next(self.wheel.now()))
    }

    /// Serves the readers who have more to read, each once.
    fn go_on(&mut self) {
        for _ in 0..self.agenda.len() {
            let Some(at) = self.agenda.pop_front() else { break };
            self.advance(at, &mut Waves::default());
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

    /// Takes those out who follow no more.
    fn sweep(&mut self) {
        for at in std::mem::take(&mut self.done) {
            let Some(viewer) = self.viewers.get_mut(at) else { continue };
            let membership = viewer.membership.take();
            if viewer.stage == Stage::Gone {
                self.viewers.remove(at);
                self.counts.left(1);
            }
            let Some(membership) = membership else { continue };
            if let Some((moved, to)) = self.runs.leave(membership, self.wheel.now())
                && let Some(moved) = self.viewers.get_mut(moved)
            {
                moved.membership = Some(to);
            }
        }
    }

    pub(super) fn key_of(&self, at: usize) -> Option<ViewerKey> {
        self.viewers.get(at).map(|viewer| ViewerKey { at, serial: viewer.serial })
    }

    /// The viewer, if it is still the same.
    pub(super) fn viewer(&mut self, key: ViewerKey) -> Option<&mut Viewer> {
        self.viewers.get_mut(key.at).filter(|viewer| viewer.serial == key.serial)
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.inbox.close();
        self.counts.left(self.viewers.len());
    }
}
