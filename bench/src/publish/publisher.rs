//! The publishing loop.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::answer::Answered;
use super::connection::{Connection, UnderWay};
use super::plan::{Amount, Pace, Plan, Progress};
use crate::clock::Stamp;
use crate::poller::Poller;
use crate::viewers::nanosecond_histogram;

const TIMER: u64 = u64::MAX;

/// How often the end of a plan is looked for when nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long nothing may happen while an answer is awaited.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What was published.
#[derive(Debug)]
pub(crate) struct Published {
    /// Events that were acknowledged.
    pub(crate) events: u64,
    /// Requests that were refused.
    pub(crate) refused: u64,
    /// What the first refusal said.
    pub(crate) problem: Option<String>,
    /// Times from the moment a request was due to its answer, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// How long it took.
    pub(crate) wall: Duration,
}

/// Publishes in a thread of its own.
pub(crate) fn publish_in_background(
    address: SocketAddrV4,
    plan: Plan,
    progress: Arc<Progress>,
) -> JoinHandle<Result<Published>> {
    std::thread::spawn(move || publish(address, &plan, &progress))
}

/// Publishes and answers when everything was acknowledged. Marks the progress as finished in
/// any case.
pub(crate) fn publish(
    address: SocketAddrV4,
    plan: &Plan,
    progress: &Progress,
) -> Result<Published> {
    let result = Publisher::open(address, plan, progress).and_then(Publisher::run);
    progress.finish();
    result
}

struct Publisher<'a> {
    address: SocketAddrV4,
    plan: &'a Plan,
    progress: &'a Progress,
    poller: Poller,
    timer: Option<OwnedFd>,
    connections: Vec<Connection>,
    /// In turn, so that none stays without a request for so long that the server closes it.
    free: VecDeque<usize>,
    due: VecDeque<Stamp>,
    made: u64,
    begin: Instant,
    heard: Instant,
    published: Published,
}

impl<'a> Publisher<'a> {
    fn open(address: SocketAddrV4, plan: &'a Plan, progress: &'a Progress) -> Result<Self> {
        let poller = Poller::new()?;
        let mut connections = Vec::new();
        for at in 0..plan.connections {
            let connection = Connection::open(address)?;
            poller.watch(&connection.socket, at as u64)?;
            connections.push(connection);
        }
        let timer = match plan.pace {
            Pace::AtOnce => None,
            Pace::Every(interval) => Some(ticking(interval)?),
        };
        if let Some(timer) = &timer {
            poller.watch_input(timer, TIMER)?;
        }
        Ok(Self {
            address,
            plan,
            progress,
            poller,
            timer,
            free: (0..connections.len()).collect(),
            connections,
            due: VecDeque::new(),
            made: 0,
            begin: Instant::now(),
            heard: Instant::now(),
            published: Published {
                events: 0,
                refused: 0,
                problem: None,
                latency: nanosecond_histogram(),
                wall: Duration::ZERO,
            },
        })
    }

    fn run(mut self) -> Result<Published> {
        loop {
            let over = self.is_over();
            if !over {
                self.make_requests()?;
            }
            let idle = self.due.is_empty() && self.free.len() == self.connections.len();
            if over && idle {
                self.published.wall = self.begin.elapsed();
                return Ok(self.published);
            }
            if over {
                self.send_due()?;
            }
            self.turn(over)?;
            ensure!(
                idle || self.heard.elapsed() < ANSWER_MAX,
                "an append was not answered within {ANSWER_MAX:?}"
            );
        }
    }

    /// Whether no more requests become due.
    fn is_over(&self) -> bool {
        self.progress.is_stopped()
            || match self.plan.amount {
                Amount::Requests(count) => self.made >= count,
                Amount::For(time) => self.begin.elapsed() >= time,
                Amount::UntilStopped => false,
            }
    }

    fn make_requests(&mut self) -> Result<()> {
        if self.timer.is_none() {
            while self.due.len() < self.free.len() && !self.is_over() {
                self.due.push_back(Stamp::now());
                self.made += 1;
                self.send_due()?;
            }
        }
        self.send_due()
    }

    /// Gives what is due to the connections that are free.
    fn send_due(&mut self) -> Result<()> {
        while let (Some(&due), Some(&at)) = (self.due.front(), self.free.front()) {
            self.due.pop_front();
            self.free.pop_front();
            let number = self.made - self.due.len() as u64 - 1;
            let run = usize::try_from(number % self.plan.runs.len() as u64)?;
            let under_way = UnderWay { run, due };
            let name = &self.plan.runs[run];
            let events = self.plan.events_a_request;
            self.connections[at].begin(self.address, name, events, under_way)?;
        }
        Ok(())
    }

    fn turn(&mut self, over: bool) -> Result<()> {
        self.poller.wait(Some(LOOK_EVERY))?;
        for at in 0..self.poller.ready_count() {
            let ready = self.poller.ready(at);
            if ready.token == TIMER {
                self.tick(over)?;
                continue;
            }
            let at = usize::try_from(ready.token)?;
            if ready.writable {
                self.connections[at].write().context("a publisher cannot send")?;
            }
            if ready.readable
                && let Some((under_way, answered)) = self.connections[at].read()?
            {
                self.note(under_way, answered)?;
                self.free.push_back(at);
            }
        }
        Ok(())
    }

    fn tick(&mut self, over: bool) -> Result<()> {
        let Some(timer) = &self.timer else { return Ok(()) };
        let mut ticks = [0; 8];
        rustix::io::read(timer, &mut ticks)?;
        if over {
            return Ok(());
        }
        let now = Stamp::now();
        for _ in 0..u64::from_ne_bytes(ticks) {
            if let Amount::Requests(count) = self.plan.amount
                && self.made >= count
            {
                break;
            }
            self.due.push_back(now);
            self.made += 1;
        }
        Ok(())
    }

    fn note(&mut self, under_way: UnderWay, answered: Answered) -> Result<()> {
        self.heard = Instant::now();
        match answered {
            Answered::Stored { last } => {
                self.progress.acknowledge(under_way.run, last);
                self.published.events += self.plan.events_a_request as u64;
                let waited = under_way.due.until(Stamp::now());
                let nanoseconds = u64::try_from(waited.as_nanos())?;
                self.published.latency.saturating_record(nanoseconds);
            }
            Answered::Refused { problem } => {
                self.published.refused += 1;
                let first = self.published.problem.get_or_insert(problem);
                if self.published.events == 0 {
                    bail!("the first append was refused: {first}");
                }
            }
        }
        Ok(())
    }
}

/// A timer that becomes readable each time that `interval` has passed.
fn ticking(interval: Duration) -> Result<OwnedFd> {
    let interval = Timespec {
        tv_sec: i64::try_from(interval.as_secs())?,
        tv_nsec: i64::from(interval.subsec_nanos()),
    };
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let spec = Itimerspec { it_interval: interval, it_value: interval };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
    Ok(timer)
}
