//! One stream's state, and what becomes of an append to it.
//!
//! Pure: every engine decides by [`decide`], makes the decision durable in its own way, and then
//! takes it over with [`Stream::advance`]. Nothing here knows of disks, time or tasks.

use std::sync::Arc;

use bytes::Bytes;
use runcast_event::{Epoch, Offset, ProducerId, RunId};

use crate::contract::{Append, AppendError, Appended, NotAdmitted, Record, StreamStat};

#[cfg(test)]
mod tests;

/// The most epochs whose bases a stream remembers. Past it the two oldest become one, which can
/// only make a gap larger than it was, never hide one.
const EPOCH_BASES_MAX: usize = 32;

/// Whether a stream takes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It does.
    Open,
    /// It has ended.
    Closed,
    /// Kept as a tombstone, so that the name's next stream has a higher epoch.
    Deleted,
}

/// How a stream stands and who has appended to it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// The oldest event that is kept; one past the last when none is.
    pub first: Offset,
    /// Something stands for the events before `first`.
    pub has_base: bool,
    /// The newest event.
    pub last: Offset,
    /// Whether it takes events.
    pub phase: Phase,
    /// The current epoch.
    pub epoch: Epoch,
    /// The epoch that it began in. Of all streams that ever had its name it alone began there.
    pub born: Epoch,
    /// As [`StreamStat::epoch_bases`].
    pub epoch_bases: Arc<[(Epoch, Offset)]>,
    /// Who has appended to it.
    pub producers: Producers,
}

/// What the engine adds to a decision.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The most producers that a stream remembers.
    pub producers_max: usize,
    /// The epoch of a stream whose name was never used.
    pub first_epoch: Epoch,
}

/// What is to be done with an append.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// All of it is stored already, or there is nothing to store.
    Acknowledge(Appended),
    /// The events behind the first `duplicates` are to be stored.
    Store(Placement),
}

/// Where the new events of a batch go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The stream is made by this append.
    pub begins: bool,
    /// The epoch that the events are stored in.
    pub epoch: Epoch,
    /// The offset of the first event that is stored.
    pub first: Offset,
    /// How many events of the batch are stored already and passed over.
    pub duplicates: usize,
}

impl Placement {
    /// What carrying out this decision does to the stream.
    pub fn advance<'a>(&self, append: &'a Append) -> Advance<'a> {
        Advance {
            begins: self.begins,
            epoch: self.epoch,
            first: self.first,
            count: (append.events.len() - self.duplicates) as u64,
            close: append.close,
            producer: append.producer.as_ref().map(|stamp| {
                let sequence = stamp.sequence + self.duplicates as u64;
                (&stamp.id, stamp.epoch, sequence)
            }),
        }
    }

    /// The events that are new.
    pub fn records(&self, append: &Append) -> Vec<Record> {
        let new = append.events[self.duplicates..].iter().zip(self.first.get()..);
        let record =
            |(payload, offset): (&Bytes, u64)| Record::single(Offset::new(offset), payload.clone());
        new.map(record).collect()
    }

    /// The answer if the new events are not admitted; of a refusal, the event was counted among them.
    pub fn not_admitted(&self, reason: NotAdmitted) -> AppendError {
        match reason {
            NotAdmitted::Refused(mut refusal) => {
                refusal.event += self.duplicates;
                AppendError::Refused(refusal)
            }
            NotAdmitted::Unready => AppendError::Unready,
        }
    }

    /// The answer once it is carried out.
    pub fn appended(&self, append: &Append) -> Appended {
        let stored = (append.events.len() - self.duplicates) as u64;
        Appended {
            epoch: self.epoch,
            last: Offset::new(self.first.get() - 1 + stored),
            stored,
            duplicates: self.duplicates as u64,
        }
    }
}

/// Events that came to a stream: a decision carried out, or read back from a log.
#[derive(Debug, Clone, Copy)]
pub struct Advance<'a> {
    /// The stream is made by it.
    pub begins: bool,
    /// The epoch of the events.
    pub epoch: Epoch,
    /// The first event.
    pub first: Offset,
    /// How many events.
    pub count: u64,
    /// The stream is closed behind them.
    pub close: bool,
    /// Who appended, its epoch, and the sequence of the first event.
    pub producer: Option<(&'a ProducerId, u64, u64)>,
}

/// Decides an append to a stream; `standing` is none if the name was never used.
///
/// # Errors
/// When nothing of it may be stored.
pub fn decide(
    standing: Option<&Stream>,
    append: &Append,
    rules: Rules,
) -> Result<Plan, AppendError> {
    if append.run.is_feed() {
        return Err(AppendError::NotFound);
    }
    match standing {
        Some(stream) if stream.phase != Phase::Deleted => stream.decide(append, rules),
        _ => begin(standing, append, rules),
    }
}

/// Entries for the feed as an append to it, which nothing can refuse.
pub(crate) fn feed(
    standing: Option<&Stream>,
    entries: Vec<Bytes>,
    first_epoch: Epoch,
) -> (Append, Placement) {
    let placement = Placement {
        begins: standing.is_none(),
        epoch: standing.map_or(first_epoch, |stream| stream.epoch),
        first: standing.map_or(Offset::START, |stream| stream.last).next(),
        duplicates: 0,
    };
    let append = Append {
        run: RunId::feed(),
        events: entries,
        close: false,
        expected_last: None,
        producer: None,
        create: true,
    };
    (append, placement)
}

/// Decides an append that makes its stream.
fn begin(tombstone: Option<&Stream>, append: &Append, rules: Rules) -> Result<Plan, AppendError> {
    if !append.create || append.events.is_empty() {
        return Err(AppendError::NotFound);
    }
    if let Some(stamp) = &append.producer
        && stamp.sequence != 0
    {
        return Err(AppendError::SequenceGap { sequence: stamp.sequence, expected: 0 });
    }
    check_expected(append, Offset::START, 0)?;
    let epoch = tombstone.map_or(rules.first_epoch, |stream| stream.epoch.next());
    Ok(Plan::Store(Placement { begins: true, epoch, first: Offset::new(1), duplicates: 0 }))
}

/// The duplicates of a retry stand behind the offset that the first try expected.
fn check_expected(append: &Append, actual: Offset, duplicates: u64) -> Result<(), AppendError> {
    match append.expected_last {
        Some(expected) if expected.get().saturating_add(duplicates) != actual.get() => {
            Err(AppendError::OffsetMismatch { expected, actual })
        }
        _ => Ok(()),
    }
}

impl Stream {
    /// An empty stream in its epoch. An epoch that is not the first shares nothing with earlier
    /// ones.
    pub fn new(epoch: Epoch) -> Self {
        let epoch_bases = if epoch == Epoch::FIRST {
            Arc::default()
        } else {
            Arc::from([(epoch, Offset::START)])
        };
        Self {
            first: Offset::new(1),
            has_base: false,
            last: Offset::START,
            phase: Phase::Open,
            epoch,
            born: epoch,
            epoch_bases,
            producers: Producers::default(),
        }
    }

    /// The stream as the contract shows it.
    pub fn stat(&self) -> StreamStat {
        StreamStat {
            first: self.first,
            last: self.last,
            closed: self.phase == Phase::Closed,
            epoch: self.epoch,
            epoch_bases: Arc::clone(&self.epoch_bases),
        }
    }

    fn decide(&self, append: &Append, rules: Rules) -> Result<Plan, AppendError> {
        let numbered = self.producers.check(append)?;
        let duplicates = numbered.duplicates();
        let all_stored = duplicates == append.events.len();
        if all_stored {
            return Ok(Plan::Acknowledge(Appended {
                epoch: self.epoch,
                last: self.last,
                stored: 0,
                duplicates: duplicates as u64,
            }));
        }
        if self.phase == Phase::Closed {
            return Err(AppendError::Closed { last: self.last });
        }
        if let Numbering::Gap { sequence, expected } = numbered {
            return Err(AppendError::SequenceGap { sequence, expected });
        }
        if numbered == Numbering::NewProducer && self.producers.len() >= rules.producers_max {
            return Err(AppendError::TooManyProducers { max: rules.producers_max });
        }
        check_expected(append, self.last, duplicates as u64)?;
        let first = self.last.next();
        Ok(Plan::Store(Placement { begins: false, epoch: self.epoch, first, duplicates }))
    }

    /// Takes over events that were decided on. They follow the stream's last one.
    pub fn advance(&mut self, advance: &Advance<'_>) {
        if advance.begins {
            *self = Self::new(advance.epoch);
        }
        debug_assert_eq!(self.last.next(), advance.first, "offsets have no hole");
        self.last = self.last.plus(advance.count);
        if advance.close {
            self.phase = Phase::Closed;
        }
        if let Some((id, epoch, sequence)) = advance.producer {
            self.producers.set(id, Mark { epoch, next: sequence + advance.count });
        }
    }

    /// Whether it is not deleted, and in that epoch if one is meant.
    pub fn is_there(&self, epoch: Option<Epoch>) -> bool {
        self.phase != Phase::Deleted && epoch.is_none_or(|epoch| epoch == self.epoch)
    }

    /// Becomes a tombstone.
    pub fn delete(&mut self) {
        self.phase = Phase::Deleted;
        self.first = self.last.next();
        self.has_base = false;
        self.epoch_bases = Arc::default();
        self.producers = Producers::default();
    }

    /// Keeps no event before `before`; of a stream that ends earlier, none. `has_base` says whether
    /// something stands for what is gone. False when there was nothing to give up.
    pub fn trim(&mut self, before: Offset, has_base: bool) -> bool {
        let first = before.min(self.last.next());
        let trims = self.phase != Phase::Deleted && first > self.first;
        if trims {
            (self.first, self.has_base) = (first, has_base);
        }
        trims
    }

    /// How many events it keeps.
    pub fn kept(&self) -> u64 {
        (self.last.get() + 1).saturating_sub(self.first.get())
    }

    /// Goes `by` epochs on because acknowledged events may have been lost behind `last`. A closed
    /// stream has lost nothing: its end is there.
    pub fn begin_epoch(&mut self, by: u32) {
        if by == 0 || self.phase == Phase::Closed {
            return;
        }
        let before = self.epoch;
        self.epoch = before.plus(by);
        if self.phase == Phase::Deleted {
            return;
        }
        // Of more epochs than are remembered, the last stands for all.
        let first = if by as usize <= EPOCH_BASES_MAX { 1 } else { by };
        let mut bases = self.epoch_bases.to_vec();
        for step in first..=by {
            bases.push((before.plus(step), self.last));
            if bases.len() > EPOCH_BASES_MAX {
                let (_, oldest) = bases.remove(0);
                let (_, base) = &mut bases[0];
                *base = oldest.min(*base);
            }
        }
        self.epoch_bases = Arc::from(bases);
    }
}

/// How a batch's sequence numbers stand to those that are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbering {
    /// No producer, or the next numbers of a known one, or a known one's higher epoch.
    Next,
    NewProducer,
    /// So many events at the front of the batch are stored already.
    Repeats(usize),
    Gap {
        sequence: u64,
        expected: u64,
    },
}

impl Numbering {
    fn duplicates(self) -> usize {
        match self {
            Self::Repeats(count) => count,
            Self::Next | Self::NewProducer | Self::Gap { .. } => 0,
        }
    }
}

/// How far a producer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its epoch.
    pub epoch: u64,
    /// The sequence of the event after its last.
    pub next: u64,
}

/// A stream's producers, sorted by id. Shared until it changes, so that a stream is cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producers(Option<Arc<Vec<(ProducerId, Mark)>>>);

impl Producers {
    /// Those of a stream that was stored, sorted by id.
    pub fn stored(all: Vec<(ProducerId, Mark)>) -> Self {
        Self((!all.is_empty()).then(|| Arc::new(all)))
    }

    /// All of them, sorted by id.
    pub fn all(&self) -> &[(ProducerId, Mark)] {
        self.0.as_ref().map_or(&[][..], |all| all.as_slice())
    }

    fn len(&self) -> usize {
        self.all().len()
    }

    fn find(&self, id: &str) -> Result<usize, usize> {
        let all = self.all();
        all.binary_search_by(|(other, _)| other.as_str().cmp(id))
    }

    /// How far a producer has come.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Mark> {
        let at = self.find(id).ok()?;
        self.0.as_ref().map(|all| all[at].1)
    }

    fn set(&mut self, id: &ProducerId, mark: Mark) {
        let place = self.find(id.as_str());
        let all = Arc::make_mut(self.0.get_or_insert_default());
        match place {
            Ok(at) => all[at].1 = mark,
            Err(at) => all.insert(at, (id.clone(), mark)),
        }
    }

    fn check(&self, append: &Append) -> Result<Numbering, AppendError> {
        let Some(stamp) = &append.producer else { return Ok(Numbering::Next) };
        let (known, expected) = match self.get(stamp.id.as_str()) {
            None => (false, 0),
            Some(mark) if stamp.epoch < mark.epoch => {
                return Err(AppendError::Fenced { epoch: stamp.epoch, current: mark.epoch });
            }
            Some(mark) if stamp.epoch > mark.epoch => (true, 0),
            Some(mark) => (true, mark.next),
        };
        let sequence = stamp.sequence;
        Ok(match expected.checked_sub(sequence) {
            None => Numbering::Gap { sequence, expected },
            Some(0) if known => Numbering::Next,
            Some(0) => Numbering::NewProducer,
            Some(stored) => {
                let count = usize::try_from(stored).unwrap_or(usize::MAX);
                Numbering::Repeats(count.min(append.events.len()))
            }
        })
    }
}
