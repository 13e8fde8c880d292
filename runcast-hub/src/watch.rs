//! One shard's eye on one stream, for many readers that the shard keeps itself.
//!
//! The same rules as a [`crate::Follower`], without waiting: a shard is woken once for a change,
//! however many of its readers it concerns, and looks for each of them.

use std::fmt;
use std::sync::Arc;

use runcast_event::{Cursor, Epoch, Offset, RunId};

use crate::hub::{FollowError, Seat};
use crate::resume::Resume;
use crate::tail::{Look, TailWaker};

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The stream's epoch.
    pub epoch: Epoch,
    /// What it misses, and after which event it goes on.
    pub resume: Resume,
    /// The newest event; the start if there is none.
    pub last: Offset,
    /// The incarnation that it follows, to be given to every [`Watch::look`].
    pub deletions: u64,
}

/// A watched stream. While it is held, the stream has a tail in memory.
pub struct Watch {
    pub(crate) seat: Seat,
    pub(crate) token: u64,
    pub(crate) waker: Arc<dyn TailWaker>,
}

impl Watch {
    /// The run that is watched.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.seat.run
    }

    /// Finds where a reader with this cursor begins.
    ///
    /// # Errors
    /// As [`crate::Hub::follow`].
    pub async fn position(&self, cursor: Cursor) -> Result<Position, FollowError> {
        self.seat.hub.position(&self.seat, cursor).await
    }

    /// Looks for the event at `next`, for a reader of the incarnation that `deletions` stands for.
    ///
    /// On [`Look::InLog`] the reader goes on with [`crate::Hub::read`]; behind a page of the log it
    /// looks here again, and so on until it is live. An empty page where the log was looked at means
    /// that the event does not exist yet.
    #[must_use]
    pub fn look(&self, next: Offset, deletions: u64) -> Look {
        self.seat.tail.look(next, deletions)
    }

    /// Counts that a reader who wants the event at `next` begins to read the log: once for each
    /// time, not for each page.
    pub fn falls_behind(&self, next: Offset) {
        self.seat.falls_behind(next);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.seat.tail.remove_waker(self.token, &self.waker);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("run", &self.seat.run).finish_non_exhaustive()
    }
}
