//! The newest events of one followed stream, in memory, shared by its followers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runcast_event::Offset;
use runcast_log::{Record, StreamStat};
use tokio::sync::watch;

use crate::batch::{Batch, Slice};

/// One followed stream. Exists while it has followers.
pub(crate) struct Tail {
    budget: Arc<TailBudget>,
    state: Mutex<TailState>,
    /// Told after every change; followers wait on it.
    changed: watch::Sender<()>,
    /// Followers; changed only under the lock of the map that the tail is in.
    pub(crate) followers: AtomicUsize,
}

#[derive(Default)]
struct TailState {
    /// Consecutive batches, the newest last.
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    last: Offset,
    closed: bool,
    /// How often the stream was deleted, or lost events, while it was followed.
    deletions: u64,
    /// The newest of them that was a loss.
    newest_loss: u64,
    /// Whom to wake after a change, beside the followers that wait.
    wakers: Vec<(u64, Arc<dyn TailWaker>)>,
}

/// Is woken when a stream that it watches has changed.
///
/// Called from the log's own writer: it must be quick and must never block.
pub trait TailWaker: Send + Sync + 'static {
    /// The stream that was given this token has something new.
    fn wake(&self, token: u64);
}

/// What the tail has for a reader that wants the event at `next`.
#[derive(Debug)]
pub enum Look {
    /// The event and those that became durable with it.
    Events(Slice),
    /// The event is older than the tail: it is in the log.
    InLog,
    /// The event does not exist yet.
    NotYet,
    /// The event will never be: the stream is closed.
    End,
    /// The stream that the follower followed was deleted.
    Deleted,
    /// Events that the follower may have got are lost: it has to find its place again by its cursor.
    Lost,
}

/// Bytes that all tails together hold.
#[derive(Debug)]
pub(crate) struct TailBudget {
    pub(crate) stream_bytes_max: usize,
    pub(crate) total_bytes_max: usize,
    pub(crate) total_bytes: AtomicUsize,
}

impl Tail {
    pub(crate) fn new(budget: Arc<TailBudget>) -> Arc<Self> {
        let (changed, followers) = (watch::Sender::new(()), AtomicUsize::new(0));
        Arc::new(Self { budget, state: Mutex::default(), changed, followers })
    }

    fn state(&self) -> MutexGuard<'_, TailState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(crate) fn deletions(&self) -> u64 {
        self.state().deletions
    }

    /// How many events the event at `next` and those behind it are.
    pub(crate) fn behind(&self, next: Offset) -> u64 {
        (self.state().last.get() + 1).saturating_sub(next.get())
    }

    /// Takes in how the log stood after the tail was made. False when the stream was deleted since
    /// `deletions` was read, so that `stat` may be of another incarnation.
    pub(crate) fn catch_up_with(&self, stat: &StreamStat, deletions: u64) -> bool {
        let mut state = self.state();
        if state.deletions != deletions {
            return false;
        }
        if stat.last >= state.last {
            state.last = stat.last;
            state.closed = stat.closed;
        }
        true
    }

    /// Takes in a commit: the stream's next events.
    pub(crate) fn push(&self, records: Vec<Record>, stat: &StreamStat) {
        let budget = &self.budget;
        let batch = Batch::committed(stat.epoch, records);
        let mut state = self.state();
        state.last = batch.last();
        state.closed = stat.closed;
        state.bytes += batch.bytes;
        budget.total_bytes.fetch_add(batch.bytes, Ordering::Relaxed);
        state.batches.push_back(batch);
        while state.bytes > budget.stream_bytes_max
            || budget.total_bytes.load(Ordering::Relaxed) > budget.total_bytes_max
        {
            let Some(oldest) = state.batches.pop_front() else { break };
            state.bytes -= oldest.bytes;
            budget.total_bytes.fetch_sub(oldest.bytes, Ordering::Relaxed);
        }
        self.tell(state);
    }

    fn tell(&self, state: MutexGuard<'_, TailState>) {
        for (token, waker) in &state.wakers {
            waker.wake(*token);
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Wakes `waker` with `token` after every change.
    pub(crate) fn add_waker(&self, token: u64, waker: Arc<dyn TailWaker>) {
        self.state().wakers.push((token, waker));
    }

    pub(crate) fn remove_waker(&self, token: u64, waker: &Arc<dyn TailWaker>) {
        self.state().wakers.retain(|(of, other)| *of != token || !Arc::ptr_eq(other, waker));
    }

    /// Takes in that the stream was deleted.
    pub(crate) fn delete(&self) {
        let mut state = self.state();
        let newest_loss = state.newest_loss;
        self.begin_again(&mut state, newest_loss);
        self.tell(state);
    }

    /// Takes in that events of the stream are lost.
    pub(crate) fn lose(&self) {
        let mut state = self.state();
        let newest_loss = state.deletions + 1;
        self.begin_again(&mut state, newest_loss);
        self.tell(state);
    }

    fn begin_again(&self, state: &mut TailState, newest_loss: u64) {
        self.budget.total_bytes.fetch_sub(state.bytes, Ordering::Relaxed);
        let deletions = state.deletions + 1;
        let wakers = std::mem::take(&mut state.wakers);
        *state = TailState { deletions, newest_loss, wakers, ..TailState::default() };
    }

    /// Looks for the event at `next`, for a follower that joined when the stream had been deleted
    /// `deletions` times.
    pub(crate) fn look(&self, next: Offset, deletions: u64) -> Look {
        let state = self.state();
        if state.deletions != deletions {
            return if deletions < state.newest_loss { Look::Lost } else { Look::Deleted };
        }
        if next > state.last {
            return if state.closed { Look::End } else { Look::NotYet };
        }
        let at = state.batches.partition_point(|batch| batch.last() < next);
        match state.batches.get(at) {
            Some(batch) if batch.first() <= next => {
                Look::Events(Slice::from_offset(Arc::clone(batch), next))
            }
            _ => Look::InLog,
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let bytes = self.state().bytes;
        self.budget.total_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
