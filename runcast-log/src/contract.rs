//! What every engine promises, whether it keeps streams in memory, on a disk or in Redis.
//!
//! A stream is named by its run's id. Its offsets are 1, 2, 3 … without a hole. Appends to one
//! stream are totally ordered; a batch is stored whole or not at all. An append is answered after
//! its events are as durable as the engine's setting says, and no reader sees them earlier.
//!
//! One stream is not a run's: the feed, [`RunId::feed`]. It is read like any other, in no list, and
//! cannot be appended to or deleted from outside: its entries come from the [`CommitObserver`], and
//! each is stored in one step with the events that it tells of.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use runcast_event::{Epoch, Offset, ProducerId, RunId};

use crate::inbox::Inbox;
use crate::stats::LogStats;

/// Keeps streams. Shared by everything that reads or appends.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Appends a batch to a stream and answers once it is durable.
    ///
    /// An append that has been taken up (at once, unless the log is saturated and the caller has to
    /// wait for a place) happens even if the returned future is dropped. Appends are taken up in the
    /// order in which their futures were polled first, also those that wait for a place.
    async fn append(&self, append: Append) -> Result<Appended, AppendError>;

    /// Reads events after `after`, in order, up to the limit; fewer only at the stream's end or
    /// before events that are damaged. Of events that were stored as one, those that are wanted come
    /// as one: see [`Self::join_by`].
    ///
    /// An `after` at or past the end gives an empty page; the caller compares with
    /// [`StreamStat::last`]. At least one record is given if there is one, however large it is.
    async fn read(&self, run: &RunId, after: Offset, limit: ReadLimit) -> Result<Page, ReadError>;

    /// How a stream stands, or none if it never existed.
    ///
    /// A deleted stream that has not been made again is [`ReadError::Deleted`], as long as the log
    /// remembers it: later it is one that never existed.
    ///
    /// After an append has been answered, its events count in every later call.
    async fn stat(&self, run: &RunId) -> Result<Option<StreamStat>, ReadError>;

    /// Up to `limit` streams in the order of their names, beginning after `after`.
    async fn list(
        &self,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<(RunId, StreamStat)>, ReadError>;

    /// Deletes a stream with all its events, durably. False when there was none.
    ///
    /// A stream made later under the same name has a higher epoch, so that old cursors are known.
    async fn delete(&self, run: &RunId) -> Result<bool, DeleteError> {
        self.delete_in(run, None).await
    }

    /// As [`Self::delete`], if the stream is in that epoch: what was decided of one stream is not
    /// done to another that has its name by now.
    async fn delete_in(&self, run: &RunId, epoch: Option<Epoch>) -> Result<bool, DeleteError>;

    /// Gives up a stream's oldest events, durably. False when there was nothing to give up.
    ///
    /// Offsets stay as they are. A reader that asks for what is gone is answered
    /// [`ReadError::Trimmed`], and finds what stands for it by [`Self::base`]. The feed can be
    /// trimmed too; no observer hears of it.
    async fn trim(&self, run: &RunId, trim: Trim) -> Result<bool, DeleteError>;

    /// What the newest trim of a stream put in the place of the events that are gone; none if there
    /// was no trim, or it put nothing there. What is lost of it is [`ReadError::Damaged`], of the events
    /// that it stands for.
    async fn base(&self, run: &RunId) -> Result<Option<Bytes>, ReadError>;

    /// From which event on a stream keeps at most so many bytes, as far as the log knows without
    /// reading: events that lie together count together, up to 64 KiB. One past the last if even
    /// the newest are more.
    async fn first_within(&self, run: &RunId, bytes_max: u64) -> Result<Offset, ReadError>;

    /// From now on the observer is to be told of every event of this stream, whoever appended it; or no
    /// more. An engine that alone appends to its streams tells of every event anyway.
    fn follow(&self, _run: &RunId, _is_followed: bool) {}

    /// Whether other nodes append to the same streams.
    fn is_shared(&self) -> bool {
        false
    }

    /// Whether it falls to this node, at this moment, to do for a stream what only one node is to do: what
    /// is due, what is to be given up. A node that is gone is followed by another within seconds, and two
    /// may be at it for a moment. An engine of one node always has to.
    fn has_duty(&self, _run: &RunId) -> bool {
        true
    }

    /// What producers leave with the engine itself, if they can.
    fn inbox(&self) -> Option<Arc<dyn Inbox>> {
        None
    }

    /// Whether what is stored cannot be reached now, so that nothing new comes; see [`ReadError::Away`].
    fn is_away(&self) -> bool {
        false
    }

    /// Notes that the producers of these runs have given a sign, for all nodes. An engine of one node does
    /// not need it.
    async fn sign(&self, _runs: &[RunId]) -> Result<(), ReadError> {
        Ok(())
    }

    /// How long ago it was noted on any node that the run's producer had given a sign; none if it is not
    /// known.
    async fn signed(&self, _run: &RunId) -> Result<Option<Duration>, ReadError> {
        Ok(None)
    }

    /// From now on, events of closed streams may be stored as one where `joiner` says so; offsets
    /// stay as they are. An engine need not do it.
    fn join_by(&self, _joiner: Arc<dyn Joiner>) {}

    /// Whether appends are accepted now.
    fn health(&self) -> LogHealth;

    /// How large it is and how it has been doing. Cheap enough to be asked every second.
    fn measure(&self) -> LogStats {
        LogStats::default()
    }

    /// Finishes what is under way, makes it durable and lets go of the data. Later appends are
    /// answered [`AppendError::Unavailable`].
    async fn shut_down(&self);
}

/// A batch to append to one stream.
#[derive(Debug, Clone)]
pub struct Append {
    /// The stream.
    pub run: RunId,
    /// The events, opaque; at least one. A batch without events changes nothing.
    pub events: Vec<Bytes>,
    /// Close the stream behind this batch, in the same step.
    pub close: bool,
    /// Only if the stream's last offset is this one (0: the stream is empty or does not exist).
    /// Events of the batch that were stored before count as standing behind it, so that a retry
    /// may say what the first try said.
    pub expected_last: Option<Offset>,
    /// Who appends and the number of the first event, for exactly-once retries.
    pub producer: Option<ProducerStamp>,
    /// Whether to make the stream if it does not exist.
    pub create: bool,
}

/// An idempotent producer's mark on a batch.
///
/// A producer numbers its events 0, 1, 2 … within its epoch. Event `i` of the batch has the number
/// `sequence + i`. Events with numbers that are stored already are acknowledged and not stored
/// again, even if the batch is cut differently than the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerStamp {
    /// Who.
    pub id: ProducerId,
    /// Its incarnation: a higher one fences lower ones off, and begins at sequence 0.
    pub epoch: u64,
    /// The number of the batch's first event.
    pub sequence: u64,
}

/// An acknowledged batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The stream's epoch.
    pub epoch: Epoch,
    /// The stream's last offset behind this batch. For a batch that was stored before in whole,
    /// the last offset of the stream as it is now.
    pub last: Offset,
    /// How many events this call stored: `last - stored + 1 ..= last`.
    pub stored: u64,
    /// How many events of the batch had been stored before.
    pub duplicates: u64,
}

/// Why a batch was not stored. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The stream was closed by its terminal event at `last`.
    #[error("the run has ended at offset {last}")]
    Closed {
        /// The offset of the event that closed it.
        last: Offset,
    },
    /// The stream does not exist and was not to be made.
    #[error("the run does not exist")]
    NotFound,
    /// The stream is at another offset than expected.
    #[error("the run's last offset is {actual}, expected was {expected}")]
    OffsetMismatch {
        /// What was expected.
        expected: Offset,
        /// What it is.
        actual: Offset,
    },
    /// A newer epoch of this producer has appended.
    #[error("producer epoch {epoch} is fenced off by epoch {current}")]
    Fenced {
        /// The epoch that was sent.
        epoch: u64,
        /// The newest epoch seen.
        current: u64,
    },
    /// Events before this batch are missing.
    #[error("producer sequence {sequence} came, {expected} is next")]
    SequenceGap {
        /// The sequence that was sent.
        sequence: u64,
        /// The sequence that is next.
        expected: u64,
    },
    /// The stream has as many producers as it may have.
    #[error("the run has {max} producers already")]
    TooManyProducers {
        /// The limit.
        max: usize,
    },
    /// The [`CommitObserver`] does not admit one of the events.
    #[error("{0}")]
    Refused(Refusal),
    /// The [`CommitObserver`] cannot say yet whether it admits the events: something has to be read
    /// before.
    #[error("the run has to be read before its events can be judged")]
    Unready,
    /// There is no room; the log goes on when there is.
    #[error("no room to store events: {reason}")]
    NoRoom {
        /// What the system said.
        reason: String,
    },
    /// The log cannot append any more until it is restarted, or is shutting down.
    #[error("the log takes no events: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// Why an event may not be stored where it would stand. The log only hands it on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// Which event of the batch, from 0.
    pub event: usize,
    /// A name for programs.
    pub code: &'static str,
    /// What is wrong and what would be right, for people.
    pub detail: String,
    /// The state that forbids it, if it has a name.
    pub state: Option<&'static str>,
    /// What would be allowed instead, if that can be listed.
    pub allowed: Vec<String>,
}

/// Why a batch is not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAdmitted {
    /// One of its events may not stand where it would.
    Refused(Refusal),
    /// It cannot be said now: [`AppendError::Unready`].
    Unready,
}

impl From<Refusal> for NotAdmitted {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The most bytes of a trim's base.
pub const BASE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Which events of a stream to give up, and what stands for them from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trim {
    /// The first event that is kept; of a stream that ends earlier, none is.
    pub before: Offset,
    /// Only if the stream is in this epoch: see [`Log::delete_in`].
    pub epoch: Option<Epoch>,
    /// What readers find by [`Log::base`] in the place of all that was ever given up: opaque, at
    /// most [`BASE_BYTES_MAX`], and kept until the next trim or the stream's deletion. Empty for
    /// nothing.
    pub base: Bytes,
}

impl Trim {
    /// Gives up the events before an offset, for nothing.
    #[must_use]
    pub fn before(before: Offset) -> Self {
        Self { before, epoch: None, base: Bytes::new() }
    }

    /// Refuses a base that is too large.
    ///
    /// # Errors
    /// [`DeleteError::BaseTooLarge`].
    pub fn check(&self) -> Result<(), DeleteError> {
        let bytes = self.base.len();
        if bytes > BASE_BYTES_MAX { Err(DeleteError::BaseTooLarge { bytes }) } else { Ok(()) }
    }
}

/// Why a stream could not be deleted or trimmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// There is no room to note the deletion.
    #[error("no room to note the deletion: {reason}")]
    NoRoom {
        /// What the system said.
        reason: String,
    },
    /// What is to stand for the events is larger than it may be.
    #[error("what stands for trimmed events has {bytes} bytes; {BASE_BYTES_MAX} is the most")]
    BaseTooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// The log takes no changes.
    #[error("the log takes no changes: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// How much to read at most.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// Events. One that stands for several counts as those, and is given in part if not all fit.
    pub events_max: usize,
    /// Bytes of events; the first event is given even if it is larger.
    pub bytes_max: usize,
}

/// One event of a stream, or several that are stored as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place; of several, the newest one's.
    pub offset: Offset,
    /// How many events it stands for: it and those right before it.
    pub count: u64,
    /// Its bytes, as they were appended; of several, as [`Join::join`] says.
    pub payload: Bytes,
}

impl Record {
    /// An event as it was appended.
    #[must_use]
    pub fn single(offset: Offset, payload: Bytes) -> Self {
        Self { offset, count: 1, payload }
    }

    /// The offset of the oldest event that it stands for.
    #[must_use]
    pub fn first(&self) -> Offset {
        Offset::new(self.offset.get() + 1 - self.count)
    }
}

/// Says of which closed streams events may be stored as one.
pub trait Joiner: Send + Sync + 'static {
    /// What joins the events of a stream that stands like this; none if they stay as they are.
    ///
    /// Called while the log works on the stream's file: it must be quick and must not call the log.
    fn of(&self, run: &RunId, stat: &StreamStat) -> Option<Box<dyn Join>>;
}

/// Says which events of one stream may be stored as one.
pub trait Join: Send {
    /// Where in two events, one right behind the other, the parts are that they differ by, if one event
    /// may stand for both: the later one, with the earlier one's part right before its own.
    ///
    /// A reader may begin or end between two events that were joined: what it gets is the newest one, or
    /// the newest of all, without the parts that it does not want. Called once for any two neighbours, in
    /// order.
    fn join(&mut self, earlier: &Bytes, later: &Bytes) -> Option<(Range<usize>, Range<usize>)>;
}

/// Events read from a stream, and how the stream stood then.
#[derive(Debug, Clone)]
pub struct Page {
    /// The events, in order, without a hole.
    pub records: Vec<Record>,
    /// The stream, at the moment of the read.
    pub stat: StreamStat,
}

/// How a stream stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamStat {
    /// The oldest event that is kept. One past `last` when none is.
    pub first: Offset,
    /// The newest event; 0 before the first.
    pub last: Offset,
    /// Whether a terminal event has closed it.
    pub closed: bool,
    /// The current epoch.
    pub epoch: Epoch,
    /// For each epoch that acknowledged events were lost before: the epoch, and the last offset
    /// that it shares with the one before (0 for a stream that was deleted and made again). A
    /// cursor of an earlier epoch is true up to the smallest offset among all later epochs here.
    /// Nearly always empty.
    pub epoch_bases: Arc<[(Epoch, Offset)]>,
}

/// Why a stream could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The stream never existed.
    #[error("the run does not exist")]
    NotFound,
    /// The stream was deleted, and not made again.
    #[error("the run was deleted")]
    Deleted,
    /// Events before `first` are not kept any more.
    #[error("events before offset {first} are no longer kept")]
    Trimmed {
        /// The oldest event that is kept.
        first: Offset,
    },
    /// What is stored of a few events is not what was appended. All others can be read: those
    /// behind are after `last`.
    #[error("events {first} to {last} are damaged: {reason}")]
    Damaged {
        /// The first event that cannot be read; those before it can.
        first: Offset,
        /// The last one.
        last: Offset,
        /// What is wrong, and in which file where.
        reason: String,
    },
    /// What is stored cannot be read.
    #[error("events cannot be read: {reason}")]
    Failed {
        /// What, where.
        reason: String,
    },
    /// Where events are stored cannot be reached; it may be in a moment. Only engines whose data is
    /// elsewhere say it.
    #[error("the log cannot be reached now: {reason}")]
    Away {
        /// What, where.
        reason: String,
    },
}

/// Whether the log takes events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogHealth {
    /// It does.
    Healthy,
    /// It does not until there is room; it reads on.
    Full {
        /// What the system said.
        reason: String,
    },
    /// It does not until it is restarted; it reads on.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Something that became durable, in the order in which it did.
#[derive(Debug, Clone)]
pub enum Committed {
    /// Events were appended to a stream.
    Appended {
        /// The stream.
        run: RunId,
        /// The events, in order, without a hole; at least one.
        records: Vec<Record>,
        /// The stream behind them.
        stat: StreamStat,
    },
    /// A stream was deleted.
    Deleted {
        /// The stream.
        run: RunId,
    },
    /// Another node changed a stream that nobody follows here, or may have: what has become of it is to
    /// be read. Only engines of several nodes say it.
    Changed {
        /// The stream.
        run: RunId,
    },
    /// Events that were told are lost, and the stream goes on without them in another epoch: who follows
    /// it has to find its place again. Only engines of several nodes say it.
    Lost {
        /// The stream.
        run: RunId,
    },
}

/// Told of every commit, before the append is acknowledged and after reads can see it; and asked,
/// before the commit, whether events may be stored and what of them goes into the feed.
///
/// Called from the log's own writer, in commit order: it must be quick, must never block and must
/// not call the log.
pub trait CommitObserver: Send + Sync + 'static {
    /// One group commit's changes.
    fn committed(&self, changes: Vec<Committed>);

    /// Whether these events, which were not stored before, may be stored, and what goes into the feed
    /// ([`RunId::feed`]) with them. The entries are stored in one step with the events: both are kept
    /// or neither.
    ///
    /// # Errors
    /// When one of the events may not stand where it would, or that cannot be said now. Nothing of the
    /// batch is stored then.
    fn admit(&self, _events: NewEvents<'_>) -> Result<Vec<Bytes>, NotAdmitted> {
        Ok(Vec::new())
    }

    /// What goes into the feed with the deletion of this run, in one step with it.
    fn feed_deletion(&self, _run: &RunId) -> Option<Bytes> {
        None
    }

    /// Nothing of what was admitted of this run since its last commit was stored; or another node has
    /// changed it. Who judges the run by what is known of it has to read it again.
    fn discarded(&self, _run: &RunId) {}
}

/// Events that are about to be stored.
#[derive(Debug, Clone, Copy)]
pub struct NewEvents<'a> {
    /// Their stream.
    pub run: &'a RunId,
    /// The epoch that they are stored in.
    pub epoch: Epoch,
    /// Whether the stream begins with them.
    pub begins: bool,
    /// The events, in order; at least one.
    pub records: &'a [Record],
    /// Whether another node may be faster, so that they are not stored: then [`CommitObserver::discarded`]
    /// is told, what was stored instead, and they are asked for again. Otherwise that is rare.
    pub is_trial: bool,
}

/// Observes nothing.
impl CommitObserver for () {
    fn committed(&self, _changes: Vec<Committed>) {}
}
