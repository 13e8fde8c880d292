//! The way to the writer: everything that waits for it, bounded.
//!
//! Who finds no place waits outside, in turn, and holds nothing here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use runcast_event::{Epoch, RunId};
use tokio::sync::{Mutex as Turn, Semaphore, SemaphorePermit, oneshot};

use crate::contract::{Append, AppendError, Appended, DeleteError, Trim};
use crate::embedded::options::EmbeddedOptions;

/// The queue has at most this many bytes whatever the options say, so that the lengths in a group
/// fit their 32 bits.
const QUEUE_BYTES_CEILING: u32 = 1024 * 1024 * 1024;

/// Something for the writer to do, and where the answer goes. The answer may be unwanted.
#[derive(Debug)]
pub(crate) enum Request {
    Append { append: Append, answer: oneshot::Sender<Result<Appended, AppendError>> },
    Delete { run: RunId, epoch: Option<Epoch>, answer: oneshot::Sender<Result<bool, DeleteError>> },
    Trim { run: RunId, trim: Trim, answer: oneshot::Sender<Result<bool, DeleteError>> },
}

/// A request and the bytes that it has in the queue.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) request: Request,
    bytes: u32,
}

/// What woke the writer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Requests,
    /// The time to sync has come.
    Due,
    /// The log is shutting down and nothing waits any more.
    Closing,
}

#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    places: Semaphore,
    bytes: Semaphore,
    /// Those who found no place. While there are any, nobody goes past them.
    in_line: AtomicUsize,
    /// The first of them has it.
    turn: Turn<()>,
    bytes_max: u32,
    group_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Queued>,
    closed: bool,
}

/// The queue takes nothing any more.
#[derive(Debug)]
pub(crate) struct Closed;

impl Queue {
    pub(crate) fn new(options: &EmbeddedOptions) -> Self {
        let bytes_max = options.queue_bytes_max.min(QUEUE_BYTES_CEILING as usize) as u32;
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            places: Semaphore::new(options.queue_appends_max.clamp(1, Semaphore::MAX_PERMITS)),
            bytes: Semaphore::new(bytes_max as usize),
            in_line: AtomicUsize::new(0),
            turn: Turn::new(()),
            bytes_max,
            group_bytes_max: options.group_bytes_max,
        }
    }

    /// The most bytes that one append can have.
    pub(crate) fn append_bytes_max(&self) -> usize {
        self.bytes_max as usize
    }

    /// Puts a request in, when there is a place for it: requests in the order in which they were
    /// begun to be put in. `bytes` is at most [`Self::append_bytes_max`].
    pub(crate) async fn push(&self, request: Request, bytes: usize) -> Result<(), Closed> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        if self.in_line.load(Ordering::Acquire) == 0
            && let Ok(place) = self.places.try_acquire()
            && let Ok(room) = self.bytes.try_acquire_many(bytes)
        {
            return self.put(request, bytes, place, room);
        }
        let _in_line = InLine::join(&self.in_line);
        // With a permit alone the one behind could be scheduled before.
        let _turn = self.turn.lock().await;
        let place = self.places.acquire().await.map_err(|_| Closed)?;
        let room = self.bytes.acquire_many(bytes).await.map_err(|_| Closed)?;
        self.put(request, bytes, place, room)
    }

    fn put(
        &self,
        request: Request,
        bytes: u32,
        place: SemaphorePermit<'_>,
        room: SemaphorePermit<'_>,
    ) -> Result<(), Closed> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return Err(Closed);
        }
        waiting.requests.push_back(Queued { request, bytes });
        drop(waiting);
        // The writer gives both back when the request is answered.
        place.forget();
        room.forget();
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits and moves what waits, up to a group's size, into `group`.
    pub(crate) fn take(&self, group: &mut Vec<Queued>, due: Option<Instant>) -> Woken {
        let mut waiting = self.waiting();
        while waiting.requests.is_empty() {
            if waiting.closed {
                return Woken::Closing;
            }
            let Some(due) = due else {
                waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let Some(left) = due.checked_duration_since(Instant::now()).filter(|d| !d.is_zero())
            else {
                return Woken::Due;
            };
            let woken = self.arrived.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut bytes = 0;
        while let Some(next) = waiting.requests.front() {
            bytes += next.bytes as usize;
            if bytes > self.group_bytes_max && !group.is_empty() {
                break;
            }
            group.extend(waiting.requests.pop_front());
        }
        Woken::Requests
    }

    /// Makes room for others. Called when requests have been answered.
    pub(crate) fn release(&self, requests: usize, bytes: u64) {
        self.places.add_permits(requests);
        self.bytes.add_permits(usize::try_from(bytes).unwrap_or(0));
    }

    /// Takes nothing more. What waits is still given to the writer.
    pub(crate) fn close(&self) {
        self.waiting().closed = true;
        self.places.close();
        self.bytes.close();
        self.arrived.notify_all();
    }

    /// Drops what waits: there is no writer any more. Those who wait for answers notice.
    pub(crate) fn abandon(&self) {
        self.close();
        let dropped = std::mem::take(&mut self.waiting().requests);
        drop(dropped);
    }

    /// Requests that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting().requests.len()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for a place.
struct InLine<'a>(&'a AtomicUsize);

impl<'a> InLine<'a> {
    fn join(line: &'a AtomicUsize) -> Self {
        line.fetch_add(1, Ordering::AcqRel);
        Self(line)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Queued {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn deletion(run: &str) -> Request {
        let (run, answer) = (RunId::new(run).unwrap(), oneshot::channel().0);
        Request::Delete { run, epoch: None, answer }
    }

    fn is_done(push: Pin<&mut impl Future<Output = Result<(), Closed>>>) -> bool {
        let poll = push.poll(&mut Context::from_waker(Waker::noop()));
        matches!(poll, Poll::Ready(result) if result.is_ok())
    }

    #[test]
    fn who_waits_for_a_place_is_not_overtaken_whoever_is_woken_first() {
        let options = EmbeddedOptions { queue_appends_max: 1, ..EmbeddedOptions::default() };
        let queue = Queue::new(&options);
        assert!(is_done(pin!(queue.push(deletion("first"), 1))));
        let mut second = pin!(queue.push(deletion("second"), 1));
        let mut third = pin!(queue.push(deletion("third"), 1));
        assert!(!is_done(second.as_mut()) && !is_done(third.as_mut()));
        queue.release(3, 3);
        assert!(!is_done(pin!(queue.push(deletion("late"), 1))));
        assert!(!is_done(third.as_mut()));
        assert!(is_done(second) && is_done(third));
        assert!(is_done(pin!(queue.push(deletion("last"), 1))));
        let mut group = Vec::new();
        queue.take(&mut group, None);
        let runs = group.iter().map(|queued| match &queued.request {
            Request::Delete { run, .. } => run.as_str(),
            Request::Append { .. } | Request::Trim { .. } => "another",
        });
        assert_eq!(runs.collect::<Vec<_>>(), ["first", "second", "third", "last"]);
    }

    #[test]
    fn who_waits_no_more_holds_nobody_up() {
        let options = EmbeddedOptions { queue_appends_max: 1, ..EmbeddedOptions::default() };
        let queue = Queue::new(&options);
        assert!(is_done(pin!(queue.push(deletion("first"), 1))));
        let mut second = Box::pin(queue.push(deletion("second"), 1));
        assert!(!is_done(second.as_mut()));
        drop(second);
        queue.release(1, 1);
        assert!(is_done(pin!(queue.push(deletion("third"), 1))));
    }
}
