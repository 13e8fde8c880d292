//! Edge-triggered epoll: tells which sockets may be read or written, by a number the owner gives.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

/// How many sockets one wait can report.
const READY_MAX: usize = 1024;

/// Waits for sockets.
pub(crate) struct Poller {
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
}

/// A socket that something happened to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    /// The owner's number for it.
    pub(crate) token: u64,
    /// It may be read, or is at its end.
    pub(crate) readable: bool,
    /// It may be written.
    pub(crate) writable: bool,
}

impl Poller {
    /// Makes one that watches nothing.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, ready: Vec::with_capacity(READY_MAX) })
    }

    /// Watches a socket for all that can happen to it, until it is closed.
    pub(crate) fn watch(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let all = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(token), all)?)
    }

    /// Watches a socket or a timer for reading only, again and again until it is read.
    pub(crate) fn watch_input(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        let input = epoll::EventFlags::IN;
        Ok(epoll::add(&self.epoll, source, epoll::EventData::new_u64(token), input)?)
    }

    /// Waits until something happens or the time is over; for ever without a time.
    pub(crate) fn wait(&mut self, time: Option<Duration>) -> io::Result<()> {
        let time = time.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        self.ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), time.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How many sockets the last wait reported.
    pub(crate) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// One of the sockets that the last wait reported.
    pub(crate) fn ready(&self, at: usize) -> Ready {
        let epoll::Event { flags, data } = self.ready[at];
        let ended = epoll::EventFlags::HUP | epoll::EventFlags::ERR | epoll::EventFlags::RDHUP;
        Ready {
            token: data.u64(),
            readable: flags.intersects(epoll::EventFlags::IN | ended),
            writable: flags.contains(epoll::EventFlags::OUT),
        }
    }
}
