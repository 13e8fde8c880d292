//! What others have for a shard: messages, and which of its runs have changed.
//!
//! A shard is woken only while it sleeps, and a run that changes often before the shard looks is in
//! here once; so a commit costs at most one system call a shard.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::Waker;
use runcast_hub::{FollowError, Position, TailWaker};
use runcast_log::{Page, ReadError};

use super::Newcomer;
use super::dialogue::Published;
use super::joins::Arrival;
use super::pages::PageKey;
use super::reader::ReaderKey;

pub(super) enum Message {
    /// A connection that wants to follow.
    Joins(Box<Newcomer>),
    /// Where a reader begins.
    Placed(ReaderKey, Arrival, Result<Position, FollowError>),
    /// A page of the log.
    Page(PageKey, Result<Page, ReadError>),
    /// A WebSocket's publish was stored, or was not.
    Published(Box<Published>),
    /// Send everyone away.
    Drain,
    /// Let go of everything.
    Stop,
}

pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    waker: Waker,
}

#[derive(Default)]
struct Waiting {
    messages: Vec<Message>,
    /// Runs that have changed, by their number in the shard.
    changed: Vec<usize>,
    /// The same as bits.
    is_changed: Vec<u64>,
    is_asleep: bool,
    is_closed: bool,
}

impl Inbox {
    pub(super) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), waker })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a message. One for a shard that has ended is dropped, with the connection in it.
    pub(super) fn send(&self, message: Message) {
        let mut waiting = self.waiting();
        if !waiting.is_closed {
            waiting.messages.push(message);
            self.ring(waiting);
        }
    }

    /// Says that nobody will look here any more.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting();
        waiting.is_closed = true;
        let messages = std::mem::take(&mut waiting.messages);
        drop(waiting);
        drop(messages);
    }

    fn ring(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let is_asleep = std::mem::take(&mut waiting.is_asleep);
        drop(waiting);
        if is_asleep && let Err(error) = self.waker.wake() {
            tracing::error!(%error, "a shard cannot be woken");
        }
    }

    /// Takes all there is; what is taken goes behind what is in the lists.
    pub(super) fn take(&self, messages: &mut Vec<Message>, changed: &mut Vec<usize>) {
        let mut waiting = self.waiting();
        waiting.is_asleep = false;
        messages.append(&mut waiting.messages);
        let Waiting { changed: runs, is_changed, .. } = &mut *waiting;
        for &run in runs.iter() {
            is_changed[run / 64] &= !(1 << (run % 64));
        }
        changed.append(runs);
    }

    /// Says that the shard goes to sleep and must be woken; false if there is something for it.
    pub(super) fn may_sleep(&self) -> bool {
        let mut waiting = self.waiting();
        waiting.is_asleep = waiting.messages.is_empty() && waiting.changed.is_empty();
        waiting.is_asleep
    }
}

impl TailWaker for Inbox {
    fn wake(&self, token: u64) {
        let run = token as usize;
        let mut waiting = self.waiting();
        if waiting.is_changed.len() <= run / 64 {
            waiting.is_changed.resize(run / 64 + 1, 0);
        }
        let (word, bit) = (run / 64, 1 << (run % 64));
        if waiting.is_changed[word] & bit != 0 {
            return;
        }
        waiting.is_changed[word] |= bit;
        waiting.changed.push(run);
        self.ring(waiting);
    }
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::*;

    #[test]
    fn a_run_that_changes_often_is_told_once_and_a_shard_awake_is_not_woken() {
        let mut poll = Poll::new().unwrap();
        let inbox = Inbox::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut events = mio::Events::with_capacity(8);
        let now = Some(std::time::Duration::ZERO);
        for _ in 0..3 {
            inbox.wake(70);
            inbox.wake(1);
        }
        poll.poll(&mut events, now).unwrap();
        assert!(events.is_empty(), "nobody sleeps");
        assert!(!inbox.may_sleep());
        let (mut messages, mut changed) = (Vec::new(), Vec::new());
        inbox.take(&mut messages, &mut changed);
        assert_eq!(changed, [70, 1]);
        assert!(inbox.may_sleep());
        inbox.wake(70);
        poll.poll(&mut events, now).unwrap();
        assert_eq!(events.iter().count(), 1);
        inbox.take(&mut messages, &mut changed);
        assert_eq!(changed, [70, 1, 70]);
    }
}
