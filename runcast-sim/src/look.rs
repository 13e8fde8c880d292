//! Readers: what they see must be what the model says, at some moment while they look.

use bytes::Bytes;
use runcast_event::{Offset, RunId};
use runcast_log::{Log as _, Page, ReadError, ReadLimit, StreamStat};

use crate::joined::{apart, is_beginning};
use crate::model::Model;
use crate::wait::wait;
use crate::world::{Process, World};

const ALL: ReadLimit = ReadLimit { events_max: usize::MAX, bytes_max: usize::MAX };

/// A page as it can be compared.
type Read = Result<(Vec<(u64, Bytes)>, StreamStat), ReadError>;

/// How a stream stands.
type Stat = Result<Option<StreamStat>, ReadError>;
/// What stands for trimmed events.
type Base = Result<Option<Bytes>, ReadError>;

/// Everything that readers can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    list: Vec<(RunId, StreamStat)>,
    runs: Vec<(RunId, Stat, Read, Base)>,
}

fn comparable(read: Result<Page, ReadError>) -> Read {
    read.map(|page| {
        let records = page.records.into_iter();
        (records.flat_map(apart).collect(), page.stat)
    })
}

/// Before the oldest event that is kept.
fn begin(stat: &Stat) -> Offset {
    let first = stat.as_ref().ok().and_then(|stat| stat.as_ref());
    Offset::new(first.map_or(0, |stat| stat.first.get() - 1))
}

impl Model {
    pub(crate) fn seen(&self, names: &[RunId]) -> Seen {
        let run = |run: &RunId| {
            let stat = self.stat(run);
            let read = comparable(self.read(run, begin(&stat), ALL));
            (run.clone(), stat, read, self.base(run))
        };
        Seen { list: self.list(), runs: names.iter().map(run).collect() }
    }

    /// The fronts of the events that a run keeps, and of what stands for those that it does not, as far
    /// as they can be told from anything else.
    pub(crate) fn marks(&self, run: &RunId) -> Vec<Bytes> {
        let Ok((events, _)) = comparable(self.read(run, begin(&self.stat(run)), ALL)) else {
            return Vec::new();
        };
        let events = events.into_iter().map(|(_, event)| event);
        events.filter_map(mark).chain(self.base_mark(run)).collect()
    }

    /// The front of what stands for a run's trimmed events.
    pub(crate) fn base_mark(&self, run: &RunId) -> Option<Bytes> {
        self.base(run).ok().flatten().and_then(mark)
    }
}

/// The front of something, if it can be told from anything else.
fn mark(bytes: Bytes) -> Option<Bytes> {
    const MARK_BYTES: std::ops::Range<usize> = 8..64;
    (bytes.len() >= MARK_BYTES.start).then(|| bytes.slice(..bytes.len().min(MARK_BYTES.end)))
}

impl Seen {
    /// The first thing that differs.
    pub(crate) fn difference(&self, expected: &Self) -> String {
        if self.list != expected.list {
            return format!("the list is\n{:?}\nand not\n{:?}", self.list, expected.list);
        }
        let differing = self.runs.iter().zip(&expected.runs).find(|(seen, wanted)| seen != wanted);
        match differing {
            Some((seen, wanted)) => format!("there is\n{seen:?}\nand not\n{wanted:?}"),
            None => "nothing differs".to_owned(),
        }
    }
}

impl World {
    /// Everything, as the log shows it.
    pub(crate) fn seen(&self, process: &Process, names: &[RunId]) -> Seen {
        let log = &process.log;
        let run = |run: &RunId| {
            let stat = wait(log.stat(run));
            let read = comparable(wait(log.read(run, begin(&stat), ALL)));
            (run.clone(), stat, read, wait(log.base(run)))
        };
        let list = wait(log.list(None, usize::MAX)).unwrap_or_default();
        Seen { list, runs: names.iter().map(run).collect() }
    }

    /// A reader looks at something.
    pub(crate) fn look(&self) {
        let is_base = self.work().rng.u8(..5) == 0;
        if is_base {
            self.look_at_base();
        } else {
            self.look_at_events();
        }
    }

    /// A reader looks at what stands for trimmed events.
    fn look_at_base(&self) {
        let Some(process) = self.process() else { return };
        let run = self.work().name();
        let from = self.known().history.len() - 1;
        let faults = self.disk.faults_made();
        let is_shown = self.is_shown(&process);
        self.note(format_args!("look at the base of {run}"));
        let base = wait(process.log.base(&run));
        if process.disk.is_dead() {
            return;
        }
        let known = self.known();
        let in_flight = known.in_flight.iter().filter(|_| is_shown);
        let expected: Vec<Base> =
            known.history[from..].iter().chain(in_flight).map(|model| model.base(&run)).collect();
        let may_fail = known.is_rotten || self.disk.faults_made() > faults;
        drop(known);
        let has_failed =
            matches!(base, Err(ReadError::Damaged { .. } | ReadError::Failed { .. })) && may_fail;
        let is_there = expected.iter().any(|base| matches!(base, Ok(Some(_))));
        let is_right = expected.contains(&base) || has_failed && is_there;
        if !is_right {
            self.fail(format!("the base of {run} is\n{base:?}\nand not\n{:?}", expected[0]));
        }
        self.note(format_args!("  {}", base_in_short(&base)));
    }

    fn look_at_events(&self) {
        let Some(process) = self.process() else { return };
        let (run, limit) = {
            let mut work = self.work();
            (work.name(), work.limit())
        };
        let last = self.known().now().last(&run);
        let after = Offset::new(self.work().rng.u64(..last + 2));
        let from = self.known().history.len() - 1;
        let faults = self.disk.faults_made();
        let is_shown = self.is_shown(&process);
        self.note(format_args!("look at {run} after {after}"));
        let read = comparable(wait(process.log.read(&run, after, limit)));
        if process.disk.is_dead() {
            return;
        }
        let known = self.known();
        let mut states: Vec<&Model> = known.history[from..].iter().collect();
        if is_shown {
            states.extend(&known.in_flight);
        }
        let expected: Vec<Read> =
            states.iter().map(|model| comparable(model.read(&run, after, limit))).collect();
        let may_fail = known.is_rotten || self.disk.faults_made() > faults;
        // How many fit goes by bytes, and events that are stored as one come as one.
        let all = ReadLimit { bytes_max: usize::MAX, ..limit };
        let is_right = expected.contains(&read)
            || states
                .iter()
                .any(|model| has_page(&read, &comparable(model.read(&run, after, all))))
            || (may_fail && expected.iter().any(|expected| is_cut_short(&read, expected)));
        self.disk.note(format_args!("  {}", in_short(&read)));
        drop(known);
        if !is_right {
            let expected = &expected[0];
            self.fail(format!(
                "{run} after {after}, {limit:?}: read\n{read:?}\nand not\n{expected:?}"
            ));
        }
    }

    /// Holds everything that readers can see against the model.
    pub(crate) fn look_at_all(&self) {
        let Some(process) = self.process() else { return };
        let names = self.names();
        let from = self.known().history.len() - 1;
        let faults = self.disk.faults_made();
        let seen = self.seen(&process, &names);
        if process.disk.is_dead() || self.disk.faults_made() > faults {
            return;
        }
        let known = self.known();
        let states = &known.history[from..];
        // Something came in between: each part was seen as it stood at another moment.
        if states.len() > 1 || known.is_rotten {
            return;
        }
        let expected = states[0].seen(&names);
        drop(known);
        if seen != expected {
            self.fail(seen.difference(&expected));
        }
    }
}

/// Whether what is read is a page of a closed stream, which begins as all of its events do.
fn has_page(read: &Read, all: &Read) -> bool {
    match (read, all) {
        (Ok((page, stat)), Ok((all, expected))) => {
            stat == expected && stat.closed && is_beginning(page, all)
        }
        _ => false,
    }
}

/// Whether a reader was given less because it could not be read, and nothing that is wrong.
fn is_cut_short(read: &Read, expected: &Read) -> bool {
    match (read, expected) {
        (Err(ReadError::Damaged { .. } | ReadError::Failed { .. }), Ok(_)) => true,
        (Ok((records, stat)), Ok((all, expected))) => {
            !records.is_empty() && all.starts_with(records) && stat == expected
        }
        _ => false,
    }
}

fn base_in_short(base: &Base) -> String {
    match base {
        Ok(base) => format!("{:?} bytes", base.as_ref().map(Bytes::len)),
        Err(ReadError::Failed { .. }) => "failed".to_owned(),
        Err(ReadError::Damaged { first, last, .. }) => format!("damaged {first} to {last}"),
        Err(error) => error.to_string(),
    }
}

fn in_short(read: &Read) -> String {
    match read {
        Ok((records, _)) => format!("{} events", records.len()),
        Err(ReadError::Failed { .. }) => "failed".to_owned(),
        Err(ReadError::Damaged { first, last, .. }) => format!("damaged {first} to {last}"),
        Err(error) => error.to_string(),
    }
}
