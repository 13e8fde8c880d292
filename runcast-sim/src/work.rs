//! What is asked of the log, by chance: appends with and without producers, retries, batches that
//! are refused, deletions, trims.

use bytes::Bytes;
use fastrand::Rng;
use runcast_event::{Offset, ProducerId, RunId};
use runcast_log::{Append, AppendError, Appended, DeleteError, ProducerStamp, ReadLimit, Trim};

use crate::model::Model;
use crate::observer::{LIFE, REFUSED};

const RUNS: [&str; 6] = ["a", "b", "c", "told-d", "told-e", "a-run-whose-name-is-a-little-longer"];
const PRODUCERS: [&str; 5] = ["p0", "p1", "p2", "p3", "another-producer"];
const EVENTS_MAX: usize = 6;
const FILLER: &[u8] = &[b'.'; 2_000];

/// Something that is asked of the writer.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Append(Append),
    Delete(RunId),
    Trim(RunId, Trim),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Append(Result<Appended, AppendError>),
    Delete(Result<bool, DeleteError>),
}

impl Answer {
    /// The log did not take the request; nothing is said about the request itself.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Append(answer) => {
                matches!(answer, Err(AppendError::NoRoom { .. } | AppendError::Unavailable { .. }))
            }
            Self::Delete(answer) => answer.is_err(),
        }
    }

    /// For the trace: without what the system said, which has paths in it.
    pub(crate) fn in_short(&self) -> String {
        match self {
            Self::Append(Err(AppendError::NoRoom { .. }))
            | Self::Delete(Err(DeleteError::NoRoom { .. })) => "no room".to_owned(),
            Self::Append(Err(AppendError::Unavailable { .. }))
            | Self::Delete(Err(DeleteError::Unavailable { .. })) => "unavailable".to_owned(),
            Self::Append(Ok(appended)) => format!("{appended:?}"),
            Self::Append(Err(error)) => error.to_string(),
            Self::Delete(Ok(done)) => done.to_string(),
            Self::Delete(Err(error @ DeleteError::BaseTooLarge { .. })) => error.to_string(),
        }
    }
}

impl Request {
    /// Does it to the model.
    pub(crate) fn apply(&self, model: &mut Model) -> Answer {
        match self {
            Self::Append(append) => Answer::Append(model.append(append)),
            Self::Delete(run) => Answer::Delete(Ok(model.delete(run))),
            Self::Trim(run, trim) => Answer::Delete(Ok(model.trim(run, trim.before, &trim.base))),
        }
    }

    /// For the trace.
    pub(crate) fn in_short(&self) -> String {
        match self {
            Self::Append(Append { run, events, close, expected_last, producer, create }) => {
                let stamp = producer.as_ref();
                let stamp = stamp.map(|p| format!("{} {}.{}", p.id, p.epoch, p.sequence));
                let lengths: Vec<usize> = events.iter().map(Bytes::len).collect();
                format!("append {run} {lengths:?} {close} {expected_last:?} {stamp:?} {create}")
            }
            Self::Delete(run) => format!("delete {run}"),
            Self::Trim(run, Trim { before, base, .. }) => {
                format!("trim {run} {before} [{}]", base.len())
            }
        }
    }
}

/// Makes work.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) rng: Rng,
    /// Events that were made; each has its number in it.
    events: u64,
}

impl Work {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng, events: 0 }
    }

    /// A name that there never was before.
    pub(crate) fn new_name(boot: u32, operations: u64) -> RunId {
        RunId::new(&format!("probe-{boot}-{operations}")).expect("it is a good name")
    }

    /// The beginning of a run.
    pub(crate) fn probe(run: RunId) -> Request {
        let (events, producer, expected_last) = (vec![Bytes::from_static(b"probe")], None, None);
        Request::Append(Append { run, events, close: false, expected_last, producer, create: true })
    }

    pub(crate) fn run(&mut self) -> RunId {
        let name = RUNS[self.rng.usize(..RUNS.len())];
        RunId::new(name).expect("the names are good ones")
    }

    /// A name to read: a run's, the feed's, or one that there never was.
    pub(crate) fn name(&mut self) -> RunId {
        match self.rng.u8(..12) {
            0 => RunId::new("never").expect("it is a good name"),
            1 | 2 => RunId::feed(),
            _ => self.run(),
        }
    }

    pub(crate) fn limit(&mut self) -> ReadLimit {
        let events_max = if self.rng.bool() { usize::MAX } else { self.rng.usize(1..6) };
        let bytes_max = if self.rng.bool() { usize::MAX } else { self.rng.usize(..3_000) };
        ReadLimit { events_max, bytes_max }
    }

    pub(crate) fn request(&mut self, model: &Model) -> Request {
        match self.rng.u8(..20) {
            0 | 1 => Request::Delete(self.run()),
            2 | 3 => {
                let run = if self.rng.u8(..5) == 0 { RunId::feed() } else { self.run() };
                let before = Offset::new(self.rng.u64(..model.last(&run) + 3));
                let base = if self.rng.u8(..4) == 0 { Bytes::new() } else { self.bytes(b"base") };
                Request::Trim(run, Trim { base, ..Trim::before(before) })
            }
            _ => Request::Append(self.append(model)),
        }
    }

    fn append(&mut self, model: &Model) -> Append {
        let run = if self.rng.u8(..60) == 0 { RunId::feed() } else { self.run() };
        let count = if self.rng.u8(..20) == 0 { 0 } else { self.rng.usize(1..EVENTS_MAX) };
        let events = (0..count).map(|_| self.event()).collect();
        let expected_last = (self.rng.u8(..6) == 0).then(|| {
            let last = model.last(&run);
            Offset::new(if self.rng.u8(..4) == 0 { last + 1 } else { last })
        });
        let producer = (self.rng.u8(..10) < 6).then(|| self.stamp(model, &run));
        let close = self.rng.u8(..40) == 0;
        let create = self.rng.u8(..12) > 0;
        Append { run, events, close, expected_last, producer, create }
    }

    fn event(&mut self) -> Bytes {
        let begin = match self.rng.u8(..80) {
            0 => REFUSED,
            1..14 => LIFE,
            _ => b"",
        };
        self.bytes(begin)
    }

    /// Bytes that there never were before.
    fn bytes(&mut self, begin: &[u8]) -> Bytes {
        let mark = format!("#{}~", self.events);
        self.events += 1;
        let length = match self.rng.u8(..12) {
            0 => self.rng.usize(..FILLER.len()),
            1..5 => self.rng.usize(..300),
            _ => self.rng.usize(..40),
        };
        Bytes::from([begin, mark.as_bytes(), &FILLER[..length]].concat())
    }

    /// Nearly always what a good producer would send next, or sends again.
    fn stamp(&mut self, model: &Model, run: &RunId) -> ProducerStamp {
        let id = PRODUCERS[self.rng.usize(..PRODUCERS.len())];
        let (epoch, next) = model.producer(run, id);
        let (epoch, sequence) = match self.rng.u8(..20) {
            0 => (epoch, next + 1),
            1 => (epoch + 1, 0),
            2 => (epoch.saturating_sub(1), next),
            3..7 => (epoch, next.saturating_sub(self.rng.u64(..4))),
            _ => (epoch, next),
        };
        ProducerStamp { id: ProducerId::new(id).expect("the ids are good ones"), epoch, sequence }
    }
}
