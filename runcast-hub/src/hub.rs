//! The one door to the log: appends and reads pass through, followers are kept here.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use runcast_event::{Cursor, Epoch, Offset, RunId};
use runcast_log::{
    Append, AppendError, Appended, CommitObserver, DeleteError, Inbox, Joiner, Log, LogHealth,
    LogStats, Page, ReadError, ReadLimit, StreamStat, Trim,
};

use crate::changes::Changes;
use crate::fanout::Fanout;
use crate::follower::Follower;
use crate::gate::Gate;
use crate::resume::{Resume, resume};
use crate::stats::{AppendBegun, HubStats};
use crate::tail::{Tail, TailWaker};
use crate::watch::{Position, Watch};

/// How often an append is tried again for which the gate was not ready after all.
const READY_TRIES_MAX: usize = 8;

/// How long to wait before a log that cannot be reached is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Places of the log that are looked at, one after the other, for where damage ends: of a block each,
/// so that it takes a few milliseconds at most.
const DAMAGE_LOOKS_MAX: usize = 64;

/// The hub's bounds.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Bytes of newest events that a followed stream keeps in memory. A follower that falls behind
    /// them reads the log. The encoded frames come on top: about as much again for each format in use.
    pub tail_bytes_max: usize,
    /// Bytes that all followed streams together keep in memory.
    pub tails_bytes_max: usize,
    /// Followers at once.
    pub followers_max: usize,
    /// Events that a follower who catches up reads at a time.
    pub page_events_max: usize,
    /// Bytes that a follower who catches up reads at a time.
    pub page_bytes_max: usize,
    /// How long a follower who comes waits for a log that cannot be reached. One that is there waits as
    /// long as that takes.
    pub away_max: Duration,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            tail_bytes_max: 1024 * 1024,
            tails_bytes_max: 256 * 1024 * 1024,
            followers_max: 100_000,
            page_events_max: 1_000,
            page_bytes_max: 256 * 1024,
            away_max: Duration::from_secs(10),
        }
    }
}

/// Why a stream cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// The cursor is past the stream's end, where nothing ever was.
    #[error("the run's last offset is {last}; the cursor is past it")]
    OffsetInFuture {
        /// The stream's newest event.
        last: Offset,
    },
    /// There are as many followers as may be.
    #[error("there are {max} followers already")]
    TooManyFollowers {
        /// The limit.
        max: usize,
    },
    /// How the stream stands could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Makes a hub in two steps, because the log wants its observer before the hub has its log.
pub struct HubBuilder {
    config: HubConfig,
    fanout: Arc<Fanout>,
}

impl HubBuilder {
    /// Begins a hub with these bounds.
    #[must_use]
    pub fn new(config: HubConfig) -> Self {
        let fanout = Arc::new(Fanout::new(&config));
        Self { config, fanout }
    }

    /// What the log must tell of every commit.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn CommitObserver> {
        Arc::clone(&self.fanout) as Arc<dyn CommitObserver>
    }

    /// Ends with the log that was given the observer.
    #[must_use]
    pub fn build(self, log: Arc<dyn Log>) -> Hub {
        Hub { config: Arc::new(self.config), fanout: self.fanout, log }
    }
}

/// Appends to streams, reads them and follows them. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    config: Arc<HubConfig>,
    fanout: Arc<Fanout>,
    log: Arc<dyn Log>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("followers", &self.followers()).finish_non_exhaustive()
    }
}

impl Hub {
    pub(crate) fn config(&self) -> &HubConfig {
        &self.config
    }

    /// Appends a batch; see [`Log::append`].
    ///
    /// # Errors
    /// As [`Log::append`].
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let begun = AppendBegun::now(&append);
        let gate = self.fanout.gate.get();
        let must_wait = |gate: &Arc<dyn Gate>| {
            self.fanout.turns.has_line(&append.run) || !gate.is_ready(&append.run)
        };
        let answer = match (gate, gate.is_some_and(must_wait)) {
            (None, _) => self.log.append(append).await,
            (Some(gate), true) => self.append_in_turn(gate, &append).await,
            (Some(gate), false) => match self.log.append(append.clone()).await {
                Err(AppendError::Unready) => self.append_in_turn(gate, &append).await,
                answer => answer,
            },
        };
        self.fanout.counts.appended(&begun, &answer);
        answer
    }

    /// Appends when the gate knows the run, and when all have who began before.
    async fn append_in_turn(
        &self,
        gate: &Arc<dyn Gate>,
        append: &Append,
    ) -> Result<Appended, AppendError> {
        let run = &append.run;
        for _ in 0..READY_TRIES_MAX {
            let turn = self.fanout.turns.wait(run).await;
            if !gate.is_ready(run) {
                gate.make_ready(self, run).await;
            }
            let mut appended = pin!(self.log.append(append.clone()));
            // Begun in turn: from here on the log keeps the order.
            let at_once = poll_fn(|context| Poll::Ready(appended.as_mut().poll(context))).await;
            drop(turn);
            let answer = match at_once {
                Poll::Ready(answer) => answer,
                Poll::Pending => appended.await,
            };
            if answer != Err(AppendError::Unready) {
                return answer;
            }
        }
        let reason = "the run cannot be read, so that its events cannot be judged".to_owned();
        Err(AppendError::Unavailable { reason })
    }

    /// Reads a page; see [`Log::read`].
    ///
    /// # Errors
    /// As [`Log::read`]. Damaged events that follow on each other are one error, however many places
    /// of the log they are in, up to a limit; behind it the next error follows on. Each place is named
    /// in the server's log, once.
    pub async fn read(
        &self,
        run: &RunId,
        after: Offset,
        limit: ReadLimit,
    ) -> Result<Page, ReadError> {
        let mut read = self.read_log(run, after, limit).await;
        let next = ReadLimit { events_max: 1, bytes_max: 1 };
        for _ in 0..DAMAGE_LOOKS_MAX {
            let Err(ReadError::Damaged { last, .. }) = &mut read else { break };
            match self.read_log(run, *last, next).await {
                Err(ReadError::Damaged { last: further, .. }) if further > *last => *last = further,
                _ => break,
            }
        }
        read
    }

    async fn read_log(
        &self,
        run: &RunId,
        after: Offset,
        limit: ReadLimit,
    ) -> Result<Page, ReadError> {
        let read = self.log.read(run, after, limit).await;
        read.inspect_err(|error| self.fanout.damage.note(run, error))
    }

    /// How a stream stands; see [`Log::stat`].
    ///
    /// # Errors
    /// As [`Log::stat`].
    pub async fn stat(&self, run: &RunId) -> Result<Option<StreamStat>, ReadError> {
        self.log.stat(run).await
    }

    /// Lists streams; see [`Log::list`].
    ///
    /// # Errors
    /// As [`Log::list`].
    pub async fn list(
        &self,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<(RunId, StreamStat)>, ReadError> {
        self.log.list(after, limit).await
    }

    /// Deletes a stream; see [`Log::delete`].
    ///
    /// # Errors
    /// As [`Log::delete`].
    pub async fn delete(&self, run: &RunId) -> Result<bool, DeleteError> {
        if let Some(gate) = self.fanout.gate.get() {
            gate.make_ready(self, run).await;
        }
        self.log.delete(run).await
    }

    /// Deletes a stream if it is in that epoch; see [`Log::delete_in`].
    ///
    /// # Errors
    /// As [`Log::delete_in`].
    pub async fn delete_in(&self, run: &RunId, epoch: Epoch) -> Result<bool, DeleteError> {
        if let Some(gate) = self.fanout.gate.get() {
            gate.make_ready(self, run).await;
        }
        self.log.delete_in(run, Some(epoch)).await
    }

    /// Gives up a stream's oldest events; see [`Log::trim`].
    ///
    /// # Errors
    /// As [`Log::trim`].
    pub async fn trim(&self, run: &RunId, trim: Trim) -> Result<bool, DeleteError> {
        self.log.trim(run, trim).await
    }

    /// What stands for a stream's trimmed events; see [`Log::base`].
    ///
    /// # Errors
    /// As [`Log::base`].
    pub async fn base(&self, run: &RunId) -> Result<Option<Bytes>, ReadError> {
        let base = self.log.base(run).await;
        base.inspect_err(|error| self.fanout.damage.note(run, error))
    }

    /// From which event on a stream keeps at most so many bytes; see [`Log::first_within`].
    ///
    /// # Errors
    /// As [`Log::first_within`].
    pub async fn first_within(&self, run: &RunId, bytes_max: u64) -> Result<Offset, ReadError> {
        self.log.first_within(run, bytes_max).await
    }

    /// Takes what judges events and makes the feed's entries from now on. A hub has one: the first.
    ///
    /// # Errors
    /// When it cannot be read where the feed stands.
    pub async fn set_gate(&self, gate: Arc<dyn Gate>) -> Result<(), ReadError> {
        if self.fanout.gate.set(gate).is_ok()
            && let Some(stat) = self.log.stat(&RunId::feed()).await?
        {
            self.fanout.set_feed_cursor(Cursor::new(stat.epoch, stat.last));
        }
        Ok(())
    }

    /// Behind the newest entry of the feed: [`Self::changes`] has told of everything up to it.
    #[must_use]
    pub fn feed_cursor(&self) -> Cursor {
        *self.fanout.feed_cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether other nodes append to the same streams; see [`Log::is_shared`].
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.log.is_shared()
    }

    /// Whether it falls to this node to do what only one is to do for a stream; see [`Log::has_duty`].
    #[must_use]
    pub fn has_duty(&self, run: &RunId) -> bool {
        self.log.has_duty(run)
    }

    /// What producers leave with the log itself; see [`Log::inbox`].
    #[must_use]
    pub fn inbox(&self) -> Option<Arc<dyn Inbox>> {
        self.log.inbox()
    }

    /// Notes that producers have given a sign; see [`Log::sign`].
    ///
    /// # Errors
    /// When it cannot be noted.
    pub async fn sign(&self, runs: &[RunId]) -> Result<(), ReadError> {
        self.log.sign(runs).await
    }

    /// When a producer gave a sign on any node; see [`Log::signed`].
    ///
    /// # Errors
    /// When it cannot be said.
    pub async fn signed(&self, run: &RunId) -> Result<Option<Duration>, ReadError> {
        self.log.signed(run).await
    }

    /// Says what joins events of closed streams; see [`Log::join_by`].
    pub fn join_by(&self, joiner: Arc<dyn Joiner>) {
        self.log.join_by(joiner);
    }

    /// As [`Self::read`], and waits for a log that cannot be reached until it can.
    ///
    /// # Errors
    /// As [`Log::read`], never [`ReadError::Away`].
    pub async fn read_patiently(
        &self,
        run: &RunId,
        after: Offset,
        limit: ReadLimit,
    ) -> Result<Page, ReadError> {
        patiently(|| self.read(run, after, limit), || true).await
    }

    /// As [`Self::list`], and waits for a log that cannot be reached until it can.
    ///
    /// # Errors
    /// As [`Log::list`], never [`ReadError::Away`].
    pub async fn list_patiently(
        &self,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<(RunId, StreamStat)>, ReadError> {
        patiently(|| self.list(after, limit), || true).await
    }

    /// Whether the log cannot be reached now; see [`Log::is_away`].
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.log.is_away()
    }

    /// Whether appends are accepted now.
    #[must_use]
    pub fn health(&self) -> LogHealth {
        self.log.health()
    }

    /// Ends the log; see [`Log::shut_down`].
    pub async fn shut_down(&self) {
        self.log.shut_down().await;
    }

    /// How large the log is and how it has been doing; see [`Log::measure`].
    #[must_use]
    pub fn measure_log(&self) -> LogStats {
        self.log.measure()
    }

    /// What there is now, and what has been done since the start.
    #[must_use]
    pub fn measure(&self) -> HubStats {
        let fanout = &*self.fanout;
        HubStats {
            followers: self.followers() as u64,
            tails: fanout.tails() as u64,
            tails_bytes: fanout.budget.total_bytes.load(Ordering::Relaxed) as u64,
            ..fanout.counts.stats()
        }
    }

    /// Followers at this moment.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.fanout.followers.load(Ordering::Relaxed)
    }

    /// A reader of which runs change, from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        self.fanout.changes()
    }

    /// Has those who read which runs change look at a run that may have changed.
    pub fn notice(&self, run: &RunId) {
        self.fanout.notice(run);
    }

    /// Follows a run from a cursor. A run that does not exist yet is waited for.
    ///
    /// # Errors
    /// When the cursor is past the run's end, the run was deleted, or there are too many followers.
    pub async fn follow(&self, run: &RunId, cursor: Cursor) -> Result<Follower, FollowError> {
        let place = self.admit()?;
        let seat = self.take_seat(run);
        let position = self.position(&seat, cursor).await?;
        Ok(Follower::new(place, seat, position))
    }

    /// Takes one of the places for followers, for a reader that is not a [`Follower`].
    ///
    /// # Errors
    /// When all are taken.
    pub fn admit(&self) -> Result<FollowerPlace, FollowError> {
        let max = self.config.followers_max;
        let place = FollowerPlace(Arc::clone(&self.fanout));
        if self.fanout.followers.fetch_add(1, Ordering::Relaxed) >= max {
            return Err(FollowError::TooManyFollowers { max });
        }
        Ok(place)
    }

    /// Watches a run, which need not exist: `waker` is woken with `token` whenever it changes.
    #[must_use]
    pub fn watch(&self, run: &RunId, token: u64, waker: Arc<dyn TailWaker>) -> Watch {
        let seat = self.take_seat(run);
        seat.tail.add_waker(token, Arc::clone(&waker));
        Watch { seat, token, waker }
    }

    /// Finds where a reader with this cursor begins, and brings the tail up to the log's end.
    pub(crate) async fn position(
        &self,
        seat: &Seat,
        cursor: Cursor,
    ) -> Result<Position, FollowError> {
        loop {
            let deletions = seat.tail.deletions();
            let Some(stat) = self.stat_patiently(&seat.run).await? else {
                if cursor.after > Offset::START {
                    return Err(FollowError::OffsetInFuture { last: Offset::START });
                }
                let resume = Resume { gap: None, after: Offset::START };
                let last = Offset::START;
                return Ok(Position { epoch: Epoch::FIRST, resume, last, deletions });
            };
            let resume = resume(cursor, &stat)?;
            if seat.tail.catch_up_with(&stat, deletions) {
                return Ok(Position { epoch: stat.epoch, resume, last: stat.last, deletions });
            }
        }
    }

    async fn stat_patiently(&self, run: &RunId) -> Result<Option<StreamStat>, ReadError> {
        let asked = Instant::now();
        patiently(|| self.log.stat(run), || asked.elapsed() < self.config.away_max).await
    }

    fn take_seat(&self, run: &RunId) -> Seat {
        let mut shard = self.fanout.shard(run);
        let tail = Arc::clone(shard.entry(run.clone()).or_insert_with(|| {
            self.log.follow(run, true);
            Tail::new(Arc::clone(&self.fanout.budget))
        }));
        tail.followers.fetch_add(1, Ordering::Relaxed);
        drop(shard);
        Seat { hub: self.clone(), run: run.clone(), tail }
    }
}

/// One of the places for followers, given back when it is dropped.
pub struct FollowerPlace(Arc<Fanout>);

impl Drop for FollowerPlace {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for FollowerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FollowerPlace")
    }
}

/// A place among a stream's followers. While it is held, the stream has a tail.
pub(crate) struct Seat {
    pub(crate) hub: Hub,
    pub(crate) run: RunId,
    pub(crate) tail: Arc<Tail>,
}

impl Seat {
    /// Counts that a reader who wants the event at `next` begins to read the log.
    pub(crate) fn falls_behind(&self, next: Offset) {
        self.hub.fanout.counts.falls_behind(self.tail.behind(next));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut shard = self.hub.fanout.shard(&self.run);
        if self.tail.followers.fetch_sub(1, Ordering::Relaxed) == 1 {
            shard.remove(&self.run);
            self.hub.log.follow(&self.run, false);
        }
    }
}

#[cfg(test)]
mod tests;

/// Asks a log again as long as it cannot be reached.
async fn patiently<T, F>(ask: impl Fn() -> F, may_go_on: impl Fn() -> bool) -> Result<T, ReadError>
where
    F: Future<Output = Result<T, ReadError>>,
{
    loop {
        match ask().await {
            Err(ReadError::Away { .. }) if may_go_on() => tokio::time::sleep(ASK_AGAIN).await,
            answer => return answer,
        }
    }
}
