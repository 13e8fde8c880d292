//! A group in the making: what was decided for it, none of which counts before it is committed.
//!
//! Decisions see the committed streams and, before them, what earlier appends of the same group
//! change. A group that cannot be written is simply dropped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;

use bytes::Bytes;
use runcast_event::{Epoch, RunId};
use tokio::sync::oneshot;

use crate::contract::{
    Append, AppendError, Appended, CommitObserver, Committed, DeleteError, NewEvents, Record, Trim,
};
use crate::embedded::base::BasePlace;
use crate::embedded::extent::Extent;
use crate::embedded::index::Index;
use crate::embedded::queue::Request;
use crate::embedded::wal::group::GroupBuffer;
use crate::embedded::wal::record::{NewAppend, Note};
use crate::stream::{self, Placement, Plan, Rules, Stream};

/// A larger append is cut into several records, so that a reader of its middle need not read it
/// all.
const RECORD_BYTES_TARGET: usize = 48 * 1024;

/// What a group does to one stream.
pub(crate) struct Touched {
    pub(crate) stream: Stream,
    /// The events that it had are deleted.
    pub(crate) emptied: bool,
    /// Places of new events; positions count from the start of the group.
    pub(crate) extents: Vec<Extent>,
    /// What a trim of this group put in the place of events, with its position as theirs.
    pub(crate) base: Option<BasePlace>,
}

/// An answer that waits for the group to be committed.
pub(crate) enum Answer {
    Append(oneshot::Sender<Result<Appended, AppendError>>, Result<Appended, AppendError>),
    Delete(oneshot::Sender<Result<bool, DeleteError>>, bool),
}

impl Answer {
    /// Tells the caller, who may have gone.
    pub(crate) fn give(self) {
        match self {
            Self::Append(to, answer) => drop(to.send(answer)),
            Self::Delete(to, answer) => drop(to.send(Ok(answer))),
        }
    }

    /// Tells the caller that nothing came of it.
    pub(crate) fn refuse(self, error: &AppendError) {
        match self {
            Self::Append(to, _) => drop(to.send(Err(error.clone()))),
            Self::Delete(to, _) => drop(to.send(Err(match error {
                AppendError::NoRoom { reason } => DeleteError::NoRoom { reason: reason.clone() },
                other => DeleteError::Unavailable { reason: other.to_string() },
            }))),
        }
    }
}

/// A group in the making.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) touched: HashMap<RunId, Touched>,
    pub(crate) changes: Vec<Committed>,
    pub(crate) answers: Vec<Answer>,
    /// Something of the group gives events up. It is synced even when durability is relaxed: a stream
    /// that is made again after a deletion must not have an epoch that was used before, and what is
    /// given up is soon erased.
    pub(crate) gives_up: bool,
    /// Bytes of new events.
    pub(crate) events_bytes: u64,
}

impl Pending {
    /// Decides a request and puts its records into the group.
    pub(crate) fn add(&mut self, request: Request, group: &mut InGroup<'_>) {
        match request {
            Request::Append { append, answer } => {
                let result = self.append(append, group);
                self.answers.push(Answer::Append(answer, result));
            }
            Request::Delete { run, epoch, answer } => {
                let deleted = self.delete(run, epoch, group);
                self.answers.push(Answer::Delete(answer, deleted));
            }
            Request::Trim { run, trim, answer } => {
                let trimmed = self.trim(run, &trim, group);
                self.answers.push(Answer::Delete(answer, trimmed));
            }
        }
    }

    fn append(&mut self, append: Append, group: &mut InGroup<'_>) -> Result<Appended, AppendError> {
        let standing = self.standing(&append.run, group.index);
        let rules =
            Rules { producers_max: group.producers_max, first_epoch: group.index.first_epoch };
        let placement = match stream::decide(standing.as_deref(), &append, rules)? {
            Plan::Acknowledge(appended) => return Ok(appended),
            Plan::Store(placement) => placement,
        };
        let records = placement.records(&append);
        let entries = group.observer.admit(NewEvents {
            run: &append.run,
            epoch: placement.epoch,
            begins: placement.begins,
            records: &records,
            is_trial: false,
        });
        let entries = entries.map_err(|reason| placement.not_admitted(reason))?;
        let appended = placement.appended(&append);
        self.store(&append, &placement, records, group);
        self.feed(entries, group);
        Ok(appended)
    }

    fn standing<'a>(&'a self, run: &RunId, index: &'a Index) -> Option<Cow<'a, Stream>> {
        match self.touched.get(run) {
            Some(touched) => Some(Cow::Borrowed(&touched.stream)),
            None => index.stream(run),
        }
    }

    /// Puts the new events of an append that was decided on into the group.
    fn store(
        &mut self,
        append: &Append,
        placement: &Placement,
        records: Vec<Record>,
        group: &mut InGroup<'_>,
    ) {
        self.events_bytes += records.iter().map(|record| record.payload.len() as u64).sum::<u64>();
        let touched = self.touched.entry(append.run.clone()).or_insert_with(|| {
            let standing = group.index.stream(&append.run).map(Cow::into_owned);
            let stream = standing.unwrap_or_else(|| Stream::new(placement.epoch));
            Touched { stream, emptied: false, extents: Vec::new(), base: None }
        });
        touched.stream.advance(&placement.advance(append));
        write(append, placement, group.buffer, &mut touched.extents);
        let stat = touched.stream.stat();
        self.changes.push(Committed::Appended { run: append.run.clone(), records, stat });
    }

    /// Puts entries of the feed into the group that has what they tell of.
    fn feed(&mut self, entries: Vec<Bytes>, group: &mut InGroup<'_>) {
        if entries.is_empty() {
            return;
        }
        let standing = self.standing(&RunId::feed(), group.index);
        let (append, placement) =
            stream::feed(standing.as_deref(), entries, group.index.first_epoch);
        let records = placement.records(&append);
        self.store(&append, &placement, records, group);
    }

    fn delete(&mut self, run: RunId, epoch: Option<Epoch>, group: &mut InGroup<'_>) -> bool {
        let standing = self.standing(&run, group.index);
        let alive = |stream: &Cow<'_, Stream>| stream.is_there(epoch) && !run.is_feed();
        let Some(stream) = standing.filter(alive) else {
            return false;
        };
        let mut stream = stream.into_owned();
        stream.delete();
        group.buffer.push_note(&Note::Delete { run: run.as_str() });
        let emptied = Touched { stream, emptied: true, extents: Vec::new(), base: None };
        self.touched.insert(run.clone(), emptied);
        self.gives_up = true;
        let entry = group.observer.feed_deletion(&run);
        self.changes.push(Committed::Deleted { run });
        self.feed(entry.into_iter().collect(), group);
        true
    }

    fn trim(&mut self, run: RunId, trim: &Trim, group: &mut InGroup<'_>) -> bool {
        let Some(standing) = self.standing(&run, group.index) else { return false };
        let mut stream = standing.into_owned();
        let base = &trim.base[..];
        if !stream.is_there(trim.epoch) || !stream.trim(trim.before, !base.is_empty()) {
            return false;
        }
        let before = stream.first;
        let place = group.buffer.push_note(&Note::Trim { run: run.as_str(), before, base });
        let base = (!base.is_empty()).then(|| BasePlace::new(place));
        match self.touched.entry(run) {
            // Places of events of this group stay: some of them may be kept.
            MapEntry::Occupied(mut touched) => {
                let touched = touched.get_mut();
                (touched.stream, touched.base) = (stream, base);
            }
            MapEntry::Vacant(place) => {
                place.insert(Touched { stream, emptied: false, extents: Vec::new(), base });
            }
        }
        self.gives_up = true;
        true
    }
}

/// What requests are decided by and written to.
pub(crate) struct InGroup<'a> {
    pub(crate) index: &'a Index,
    pub(crate) producers_max: usize,
    pub(crate) buffer: &'a mut GroupBuffer,
    /// Says what goes into the feed.
    pub(crate) observer: &'a dyn CommitObserver,
}

/// Writes the new events of an append as records.
fn write(
    append: &Append,
    placement: &Placement,
    buffer: &mut GroupBuffer,
    extents: &mut Vec<Extent>,
) {
    let mut events = &append.events[placement.duplicates..];
    let mut first = placement.first;
    let mut begins = placement.begins;
    let mut sequence = placement.advance(append).producer.map(|(_, epoch, next)| (epoch, next));
    while !events.is_empty() {
        let (piece, rest) = events.split_at(piece_length(events));
        let producer = append.producer.as_ref().zip(sequence);
        let (position, length) = buffer.push_append(&NewAppend {
            run: append.run.as_str(),
            epoch: placement.epoch,
            begins,
            close: append.close && rest.is_empty(),
            first,
            producer: producer.map(|(stamp, (epoch, next))| (stamp.id.as_str(), epoch, next)),
            events: piece,
        });
        let narrow = |number: usize| {
            u32::try_from(number).expect("a record's bytes are bounded far below 4 GiB")
        };
        extents.push(Extent {
            first: first.get(),
            position: position as u64,
            count: narrow(piece.len()),
            file: 0,
            length: narrow(length),
            events_bytes: narrow(piece.iter().map(Bytes::len).sum()),
        });
        first = first.plus(piece.len() as u64);
        sequence = sequence.map(|(epoch, next)| (epoch, next + piece.len() as u64));
        begins = false;
        events = rest;
    }
}

/// How many events go into the next record: at least one.
fn piece_length(events: &[Bytes]) -> usize {
    let mut bytes = 0;
    let fits = events.iter().take_while(|event| {
        bytes += event.len();
        bytes <= RECORD_BYTES_TARGET
    });
    fits.count().max(1)
}
