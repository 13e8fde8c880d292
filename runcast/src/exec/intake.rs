//! What was read and waits to be sorted, and what exec itself says: between the threads that read the
//! child and the one that publishes.
//!
//! Bounded. A reader waits for room while the publishing thread is only busy, as any reader of a
//! pipe would be; it never waits for a disk: once a write to the spool takes long, what has no room
//! is dropped and counted, and the child goes on.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use memchr::memchr_iter;
use runcast_client::spool::MailboxPlace;
use runcast_event::Timestamp;

/// The most bytes that wait to be sorted.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most bytes that are taken to be sorted at once.
const TAKEN_BYTES_MAX: usize = 512 * 1024;
/// A write to the spool that takes longer holds no reader up.
const DISK_WAIT_MAX: Duration = Duration::from_secs(2);

/// Where bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The child's stdout, or its terminal.
    Stdout,
    /// The child's stderr.
    Stderr,
    /// The pipe named in `RUNCAST_EVENTS`.
    Events,
}

/// Something that was read, or could not be kept.
#[derive(Debug)]
pub(super) enum Taken {
    /// Bytes that were read at once.
    Read { source: Source, bytes: Vec<u8>, at: Instant, time: Timestamp },
    /// Bytes for which there was no room: about so many events.
    Lost { events: u64, bytes: u64, time: Timestamp },
    /// What exec itself has to say here.
    Said(Said),
}

/// Events of exec's own, and how far the run's mailbox is dealt with by them.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) events: Vec<Bytes>,
    pub(super) place: MailboxPlace,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Intake {
    state: Mutex<State>,
    readable: Condvar,
    writable: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Taken>,
    bytes: usize,
    closed: bool,
    /// Since when the publishing thread is writing to the spool.
    writing_since: Option<Instant>,
}

impl Intake {
    /// Adds bytes, or counts them as lost.
    pub(super) fn push(&self, source: Source, bytes: Vec<u8>) {
        let (at, time) = (Instant::now(), Timestamp::now());
        let mut state = self.lock();
        while state.bytes + bytes.len() > WAITING_BYTES_MAX {
            let stalled = state.writing_since.map_or(Duration::ZERO, |since| since.elapsed());
            let Some(wait) = DISK_WAIT_MAX.checked_sub(stalled).filter(|wait| !wait.is_zero())
            else {
                state.lose(&bytes, time);
                return;
            };
            let woken = self.writable.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.bytes += bytes.len();
        state.queue.push_back(Taken::Read { source, bytes, at, time });
        drop(state);
        self.readable.notify_one();
    }

    /// Does something, and adds what there is to say of it: behind everything that was read before,
    /// and in front of whatever the child answers. Never waits, and what is done must not either.
    pub(super) fn say(&self, act: impl FnOnce() -> Said) {
        let mut state = self.lock();
        let said = act();
        state.queue.push_back(Taken::Said(said));
        drop(state);
        self.readable.notify_one();
    }

    /// Nothing will be added any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.readable.notify_one();
    }

    /// Waits for something, until `due` at the latest. None when nothing will ever come.
    pub(super) fn take(&self, due: Option<Instant>) -> Option<Vec<Taken>> {
        let mut state = self.lock();
        while state.queue.is_empty() {
            if state.closed {
                return None;
            }
            state = match due.map(|due| due.saturating_duration_since(Instant::now())) {
                None => self.readable.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) if wait.is_zero() => return Some(Vec::new()),
                Some(wait) => {
                    let woken = self.readable.wait_timeout(state, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        let mut taken = Vec::new();
        let mut taken_bytes = 0;
        while taken_bytes < TAKEN_BYTES_MAX
            && let Some(next) = state.queue.pop_front()
        {
            if let Taken::Read { bytes, .. } = &next {
                taken_bytes += bytes.len();
            }
            taken.push(next);
        }
        state.bytes -= taken_bytes;
        drop(state);
        self.writable.notify_all();
        Some(taken)
    }

    /// Says for how long the publishing thread writes to the spool.
    pub(super) fn while_writing<T>(&self, write: impl FnOnce() -> T) -> T {
        self.lock().writing_since = Some(Instant::now());
        let answer = write();
        self.lock().writing_since = None;
        answer
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lose(&mut self, dropped: &[u8], dropped_at: Timestamp) {
        let lines = memchr_iter(b'\n', dropped).count().max(1) as u64;
        let length = dropped.len() as u64;
        if let Some(Taken::Lost { events, bytes, .. }) = self.queue.back_mut() {
            *events += lines;
            *bytes += length;
        } else {
            self.queue.push_back(Taken::Lost { events: lines, bytes: length, time: dropped_at });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_reader_is_not_held_up_by_a_disk_that_stalls() {
        let intake = Arc::new(Intake::default());
        intake.push(Source::Stdout, vec![b'x'; WAITING_BYTES_MAX]);
        let reader = Arc::clone(&intake);
        intake.while_writing(|| {
            // Answers although nothing is taken: with the disk at work it does not wait for long.
            reader.push(Source::Stdout, b"a\nb\n".to_vec());
            reader.push(Source::Stderr, b"c".to_vec());
        });
        let taken = intake.take(None).unwrap();
        assert!(matches!(&taken[..], [Taken::Read { .. }]));
        let taken = intake.take(None).unwrap();
        assert!(matches!(&taken[..], [Taken::Lost { events: 3, bytes: 5, .. }]), "{taken:?}");
    }

    #[test]
    fn a_reader_waits_while_the_publishing_thread_is_only_busy() {
        let intake = Arc::new(Intake::default());
        intake.push(Source::Stdout, vec![b'x'; WAITING_BYTES_MAX]);
        let reader = Arc::clone(&intake);
        let waits = std::thread::spawn(move || reader.push(Source::Stdout, b"y".to_vec()));
        let mut bytes = 0;
        while bytes <= WAITING_BYTES_MAX {
            for taken in intake.take(None).unwrap() {
                let Taken::Read { bytes: read, .. } = taken else { panic!("lost") };
                bytes += read.len();
            }
        }
        waits.join().unwrap();
        intake.close();
        assert!(intake.take(None).is_none());
    }
}
