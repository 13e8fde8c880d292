//! Someone who follows one run: a cursor on it, and the connection that it is read over.

use runcast_event::{Cursor, Offset};
use runcast_hub::FollowerPlace;

use super::outbox::Place;
use super::runs::Membership;
use crate::presence::Held;

/// A reader's place in the shard, and which of those who sat there it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReaderKey {
    pub(super) at: usize,
    pub(super) serial: u64,
}

/// What a reader waits for, beside its connection's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// To learn where it begins.
    Placing,
    /// For events.
    Flowing,
    /// For a page of the log.
    Reading,
    /// For nothing: it is taken away at the end of the turn.
    Over,
}

pub(super) struct Reader {
    pub(super) serial: u64,
    /// The connection, by its place in the shard.
    pub(super) link: usize,
    pub(super) stage: Stage,
    pub(super) membership: Option<Membership>,
    /// Behind what its connection was given for it.
    pub(super) place: Place,
    /// The cursor that it knows to have passed.
    pub(super) told: Cursor,
    /// The incarnation of the run that it follows.
    pub(super) deletions: u64,
    /// It reads the log, and has not come back to the newest event since it began to.
    pub(super) is_behind: bool,
    /// The run's producer is there while it has this.
    pub(super) there: Option<Box<Held>>,
    /// It counts as a follower while it has this.
    _place: FollowerPlace,
}

impl Reader {
    pub(super) fn new(serial: u64, link: usize, place: FollowerPlace) -> Self {
        Self {
            serial,
            link,
            stage: Stage::Placing,
            membership: None,
            place: Place::START,
            told: Cursor::START,
            deletions: 0,
            is_behind: false,
            there: None,
            _place: place,
        }
    }

    /// Puts it where it begins.
    pub(super) fn begin(&mut self, position: &runcast_hub::Position) {
        let after: Offset = position.resume.after;
        self.stage = Stage::Flowing;
        self.place = Place { epoch: position.epoch, next: after.next() };
        self.told = self.place.cursor();
        self.deletions = position.deletions;
    }
}
