//! Threads that read what the child writes: pass it through first, publish it then.
//!
//! A pump reads for as long as somebody can write. After the child has ended, something in the
//! background may still hold the pipe open: the pump then stays while there is something to read,
//! for a bounded time.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::intake::{Intake, Source};

/// The most bytes of one read: what a pipe holds.
const READ_BYTES_MAX: usize = 64 * 1024;
/// How long a pipe is waited for after the child has ended, while nothing comes.
const DRAIN_IDLE_MAX: Duration = Duration::from_secs(2);
/// How long a pipe is read after the child has ended, whatever comes.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Reads one of the child's pipes.
pub(super) struct Pump {
    /// Closed when the pump ends: nobody else keeps it open.
    pub(super) from: Arc<File>,
    /// Whether something is read and not handed on.
    pub(super) is_busy: Arc<AtomicBool>,
    /// Where it passes through to; none for the events pipe.
    pub(super) to: Option<File>,
    pub(super) source: Source,
    pub(super) intake: Arc<Intake>,
    /// Closed by the other side once the child has ended.
    pub(super) ended: Arc<PipeReader>,
}

/// Sees whether everything that a child has written was handed on.
#[derive(Debug)]
pub(super) struct Calm {
    from: Weak<File>,
    is_busy: Arc<AtomicBool>,
}

impl Calm {
    /// Of what this pump reads.
    pub(super) fn of(pump: &Pump) -> Self {
        Self { from: Arc::downgrade(&pump.from), is_busy: Arc::clone(&pump.is_busy) }
    }

    /// Whether nothing waits, neither in the pipe nor in the pump; in this order, since that is the
    /// way that it takes.
    pub(super) fn is_calm(&self) -> bool {
        let Some(from) = self.from.upgrade() else { return true };
        let is_empty = rustix::io::ioctl_fionread(&from).is_ok_and(|bytes| bytes == 0);
        is_empty && !self.is_busy.load(Ordering::SeqCst)
    }
}

/// What there is to do.
enum Ready {
    Read,
    ChildEnded,
    TimeUp,
}

impl Pump {
    /// Reads until the end of the pipe, or of the time after the child has ended.
    pub(super) fn run(mut self) {
        let mut buffer = vec![0; READ_BYTES_MAX];
        let mut drain_until: Option<Instant> = None;
        loop {
            self.is_busy.store(false, Ordering::SeqCst);
            match self.wait(drain_until) {
                Ready::Read => {}
                Ready::ChildEnded => {
                    drain_until = Some(Instant::now() + DRAIN_MAX);
                    continue;
                }
                Ready::TimeUp => return,
            }
            self.is_busy.store(true, Ordering::SeqCst);
            let bytes = match self.from.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                // A terminal says EIO when its last program has closed it.
                Ok(0) | Err(_) => return,
                Ok(read) => &buffer[..read],
            };
            let passed = self.to.as_mut().map_or(Ok(()), |to| pass_through(to, bytes));
            self.intake.push(self.source, bytes.to_vec());
            if passed.is_err() {
                // Whoever read our output has gone. The child learns it as it would without us: by
                // a pipe that nobody reads.
                return;
            }
        }
    }

    fn wait(&self, drain_until: Option<Instant>) -> Ready {
        let timeout = drain_until.map(|until| {
            let idle_max =
                if self.source == Source::Events { Duration::ZERO } else { DRAIN_IDLE_MAX };
            until.saturating_duration_since(Instant::now()).min(idle_max)
        });
        let is_over = drain_until.is_some_and(|until| Instant::now() >= until);
        if is_over {
            return Ready::TimeUp;
        }
        let mut fds =
            [PollFd::new(&*self.from, PollFlags::IN), PollFd::new(&*self.ended, PollFlags::IN)];
        let watched = if drain_until.is_some() { &mut fds[..1] } else { &mut fds[..] };
        match wait_ready(watched, timeout) {
            Ok(0) => Ready::TimeUp,
            Ok(_) if !fds[0].revents().is_empty() => Ready::Read,
            Ok(_) => Ready::ChildEnded,
            // Reading tells what is wrong.
            Err(_) => Ready::Read,
        }
    }
}

/// Copies the keys that a person types to the child's terminal, until the child has ended.
pub(super) fn pump_keys(from: BorrowedFd<'_>, terminal: OwnedFd, ended: &PipeReader) {
    let mut terminal = File::from(terminal);
    let mut buffer = vec![0; READ_BYTES_MAX];
    loop {
        let mut fds = [PollFd::new(&from, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
        if wait_ready(&mut fds, None).is_err() || !fds[1].revents().is_empty() {
            return;
        }
        match rustix::io::read(from, &mut buffer) {
            Ok(0) => return,
            Ok(read) => {
                if pass_through(&mut terminal, &buffer[..read]).is_err() {
                    return;
                }
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => return,
        }
    }
}

/// Writes everything, also where the other side has set the file to not block.
fn pass_through(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_ready(&mut [PollFd::new(&to.as_fd(), PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits for one of the files, whatever signals arrive. 0 when the time is up.
fn wait_ready(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    loop {
        match poll(fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            answer => return Ok(answer?),
        }
    }
}
