//! A cursor on a stream: catching up from the log, or live from the shared tail.

use std::fmt;

use runcast_event::{Cursor, Epoch, Offset, RunId};
use runcast_log::{ReadError, ReadLimit};
use tokio::sync::watch;

use crate::batch::{Batch, Slice};
use crate::hub::{FollowerPlace, Seat};
use crate::resume::{Gap, GapReason};
use crate::tail::Look;
use crate::watch::Position;

/// What a follower gets next.
#[derive(Debug)]
pub enum Delivery {
    /// Events, the first of which is the one after the last delivered.
    Events(Slice),
    /// Events that it asked for and cannot get; what comes next is after them.
    Gap(Gap),
    /// The run has ended and everything was delivered. Nothing comes after it.
    End {
        /// The offset of the terminal event.
        last: Offset,
    },
    /// The run was deleted. Nothing comes after it.
    Deleted,
    /// The log could not be read. Nothing comes after it; a new follower may go on from the cursor.
    Failed {
        /// What the log said.
        reason: String,
    },
}

/// Where the next event is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// From the log, in pages.
    CatchingUp { next: Offset },
    /// From the shared tail in memory.
    Live { next: Offset },
}

/// One reader of one stream. Holds a cursor and no events.
///
/// Counts as a follower of its stream until it is dropped.
pub struct Follower {
    _place: FollowerPlace,
    seat: Seat,
    changed: watch::Receiver<()>,
    /// How often the stream had been deleted when the follower joined.
    deletions: u64,
    epoch: Epoch,
    reading: Reading,
    /// To be told before anything else.
    gap: Option<Gap>,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (run, cursor) = (self.run(), self.cursor());
        f.debug_struct("Follower")
            .field("run", run)
            .field("cursor", &cursor)
            .finish_non_exhaustive()
    }
}

impl Follower {
    pub(crate) fn new(place: FollowerPlace, seat: Seat, position: Position) -> Self {
        let Position { epoch, resume, deletions, .. } = position;
        let changed = seat.tail.watch();
        let reading = Reading::Live { next: resume.after.next() };
        Self { _place: place, seat, changed, deletions, epoch, reading, gap: resume.gap }
    }

    /// The run that is followed.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.seat.run
    }

    /// Behind the last event that was delivered.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        let (Reading::CatchingUp { next } | Reading::Live { next }) = self.reading;
        Cursor::new(self.epoch, Offset::new(next.get() - 1))
    }

    /// Whether nothing can come now, because the log cannot be reached.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.seat.hub.is_away()
    }

    /// Waits for what comes next.
    ///
    /// Can be cancelled without losing anything.
    pub async fn next(&mut self) -> Delivery {
        loop {
            if let Some(gap) = self.gap.take() {
                return Delivery::Gap(gap);
            }
            let delivery = match self.reading {
                Reading::CatchingUp { next } => self.read_log(next).await,
                Reading::Live { next } => self.read_tail(next).await,
            };
            if let Some(delivery) = delivery {
                return delivery;
            }
        }
    }

    fn advance(&mut self, slice: Slice) -> Slice {
        self.epoch = slice.epoch();
        let next = slice.last().next();
        self.reading = match self.reading {
            Reading::CatchingUp { .. } => Reading::CatchingUp { next },
            Reading::Live { .. } => Reading::Live { next },
        };
        slice
    }

    async fn read_tail(&mut self, next: Offset) -> Option<Delivery> {
        // Marked as seen before the look: a change behind the look ends the wait at once.
        self.changed.borrow_and_update();
        match self.seat.tail.look(next, self.deletions) {
            Look::Events(slice) => Some(Delivery::Events(self.advance(slice))),
            Look::InLog => {
                self.seat.falls_behind(next);
                self.reading = Reading::CatchingUp { next };
                None
            }
            Look::End => Some(Delivery::End { last: Offset::new(next.get() - 1) }),
            Look::Deleted => Some(Delivery::Deleted),
            Look::Lost => Some(lost()),
            Look::NotYet => {
                // The sender lives in the tail that this follower holds.
                let _ = self.changed.changed().await;
                None
            }
        }
    }

    async fn read_log(&mut self, next: Offset) -> Option<Delivery> {
        // The tail first: it may have the event in memory by now, shared with other followers.
        if let Look::Events(slice) = self.seat.tail.look(next, self.deletions) {
            self.reading = Reading::Live { next };
            return Some(Delivery::Events(self.advance(slice)));
        }
        let config = self.seat.hub.config();
        let limit =
            ReadLimit { events_max: config.page_events_max, bytes_max: config.page_bytes_max };
        match self.seat.hub.read_patiently(&self.seat.run, Offset::new(next.get() - 1), limit).await
        {
            Ok(_) if self.seat.tail.deletions() != self.deletions => {
                let is_lost = matches!(self.seat.tail.look(next, self.deletions), Look::Lost);
                Some(if is_lost { lost() } else { Delivery::Deleted })
            }
            Ok(page) if page.records.is_empty() => {
                self.reading = Reading::Live { next };
                None
            }
            Ok(page) => {
                let batch = Batch::read(page.stat.epoch, page.records);
                let slice = Slice::from_offset(batch, next);
                Some(Delivery::Events(self.advance(slice)))
            }
            Err(ReadError::Trimmed { first }) => {
                let to = Offset::new(first.get() - 1);
                self.reading = Reading::CatchingUp { next: first };
                let reason = GapReason::Trimmed;
                Some(Delivery::Gap(Gap { from: next, to, reason, epoch: self.epoch }))
            }
            Err(ReadError::Deleted) => Some(Delivery::Deleted),
            // It was there, and nobody has said that it was deleted.
            Err(ReadError::NotFound) => Some(match self.seat.tail.look(next, self.deletions) {
                Look::Deleted => Delivery::Deleted,
                _ => lost(),
            }),
            Err(ReadError::Damaged { last, .. }) => {
                self.reading = Reading::CatchingUp { next: last.next() };
                let reason = GapReason::Damaged;
                Some(Delivery::Gap(Gap { from: next, to: last, reason, epoch: self.epoch }))
            }
            Err(ReadError::Failed { reason } | ReadError::Away { reason }) => {
                Some(Delivery::Failed { reason })
            }
        }
    }
}

/// Only a new follower can tell by its cursor what of the events that it got is lost.
fn lost() -> Delivery {
    let reason = "events of the run were lost, and it goes on in another epoch; follow again from the \
                  last cursor to be told which";
    Delivery::Failed { reason: reason.to_owned() }
}
