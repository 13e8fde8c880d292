//! The run states, and their order: newest first.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use runcast_event::{Epoch, Offset, RunId, Timestamp};
use runcast_log::{Record, StreamStat};
use runcast_run::{RunState, RunSummary, Status, WorkStatus};
use tokio::sync::Notify;

use super::agenda::{Agenda, Retained};
use super::due::Listening;
use super::hole::Hole;
use super::questions::{QuestionPlace, concerns_inputs};
use crate::retention::RetentionPolicy;
use crate::stored::event_of;

/// Ended runs whose states are kept whole: somebody may look at those that ended just now, or were
/// looked at just now. What older ones did is read from the log again.
const WHOLE_MAX: usize = 1_000;

/// Where a run stands among all: by the time of its creation, then by its id.
///
/// As a list's cursor it is written `<microseconds>_<id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    created_at: Timestamp,
    pub(super) run: RunId,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.created_at.as_micros(), self.run)
    }
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let parse = || {
            let (micros, run) = text.split_once('_')?;
            let created_at = Timestamp::from_micros(micros.parse().ok()?);
            Some(Self { created_at, run: RunId::new(run).ok()? })
        };
        parse().ok_or("it is not the next of a list; take it from an answer as it is")
    }
}

/// Which runs are wanted.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// Any of these, or any at all if there are none.
    pub(crate) statuses: Vec<Status>,
    pub(crate) workflow: Option<String>,
    /// All of these.
    pub(crate) tags: Vec<String>,
    /// A step that stands at any of these, or any steps at all.
    pub(crate) step_statuses: Vec<WorkStatus>,
    /// Only those that wait for an answer.
    pub(crate) is_asking: bool,
    /// A text in the name or the id, in lower case.
    pub(crate) text: Option<String>,
    /// Created after the one and before the other.
    pub(crate) created: (Option<Timestamp>, Option<Timestamp>),
}

impl Filter {
    /// Whether every run with a status that it wants passes.
    fn is_open_but_for_status(&self) -> bool {
        let Self { statuses: _, workflow, tags, step_statuses, is_asking, text, created } = self;
        workflow.is_none()
            && tags.is_empty()
            && step_statuses.is_empty()
            && !is_asking
            && text.is_none()
            && *created == (None, None)
    }

    pub(super) fn passes(&self, entry: &Entry) -> bool {
        let status = entry.state.status();
        (self.statuses.is_empty() || self.statuses.contains(&status))
            && self.passes_but_for_status(entry)
    }

    fn passes_but_for_status(&self, entry: &Entry) -> bool {
        let state = &entry.state;
        let steps = self.step_statuses.iter().fold(0, |bits, status| bits | bit(*status));
        let has_text = |wanted: &str| {
            let texts = [Some(state.run().as_str()), state.name()];
            texts.into_iter().flatten().any(|text| text.to_lowercase().contains(wanted))
        };
        let (after, before) = self.created;
        self.workflow.as_deref().is_none_or(|wanted| state.workflow() == Some(wanted))
            && self.tags.iter().all(|tag| state.tags().contains(tag))
            && (steps == 0 || entry.steps & steps != 0)
            && (!self.is_asking || !entry.asks.is_empty())
            && after.is_none_or(|after| state.created_at() > after)
            && before.is_none_or(|before| state.created_at() < before)
            && self.text.as_deref().is_none_or(has_text)
    }
}

const fn bit(status: WorkStatus) -> u8 {
    1 << status as u8
}

/// Where the steps of a run stand, as bits.
fn steps_of(state: &RunState) -> u8 {
    state.step_statuses().fold(0, |bits, status| bits | bit(status))
}

/// Runs by their status, in the order of [`Status::ALL`].
pub(crate) type Statuses = [usize; Status::ALL.len()];

/// A count as it goes on.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) statuses: Statuses,
    reached: Option<Place>,
}

/// A list as it grows.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) runs: Vec<RunSummary>,
    /// Where the next list begins, if there is more.
    pub(crate) next: Option<Place>,
    /// The oldest place that was looked at.
    reached: Option<Place>,
}

impl Listed {
    /// A list that begins with the run after `from`.
    pub(crate) fn begin(from: Option<Place>) -> Self {
        Self { runs: Vec::new(), next: None, reached: from }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) state: RunState,
    pub(super) first: Offset,
    /// What retention knows of it.
    pub(super) retained: Retained,
    /// Why the state does not go on, if it cannot.
    pub(super) failure: Option<String>,
    /// When an event of it was folded in last.
    pub(super) heard_at: Timestamp,
    /// Where it is in [`Index::due`].
    pub(super) due_at: Option<Timestamp>,
    /// Its open inputs, where they are in [`Index::questions`].
    pub(super) asks: Vec<QuestionPlace>,
    /// Where its steps stand, as bits; also when the steps themselves were let go.
    pub(super) steps: u8,
    /// It was saved, and nobody has looked yet whether the log has such a run.
    pub(super) is_doubtful: AtomicBool,
}

impl Entry {
    pub(super) fn new(state: RunState, heard_at: Timestamp) -> Self {
        Self {
            state,
            first: Offset::START.next(),
            retained: Retained::default(),
            failure: None,
            heard_at,
            due_at: None,
            asks: Vec::new(),
            steps: 0,
            is_doubtful: AtomicBool::new(false),
        }
    }

    /// Whether the state is that of a stream that stands so.
    pub(super) fn is_at(&self, stat: &StreamStat) -> bool {
        self.failure.is_none()
            && self.state.epoch() == stat.epoch
            && self.state.offset() == stat.last
    }
}

#[derive(Debug)]
pub(super) struct Index {
    /// In boxes: a map has up to half of its places free.
    pub(super) entries: HashMap<RunId, Box<Entry>>,
    pub(super) order: BTreeSet<Place>,
    /// Runs by their status, in the order of [`Status::ALL`].
    pub(super) statuses: Statuses,
    /// The ended runs whose states are kept whole, the oldest first.
    whole: VecDeque<RunId>,
    pub(super) due: BTreeSet<(Timestamp, RunId)>,
    pub(super) questions: BTreeSet<QuestionPlace>,
    pub(super) listening: Listening,
    pub(super) due_changed: Arc<Notify>,
    pub(super) agenda: Agenda,
    /// How often runs have changed that are saved otherwise.
    pub(super) changed_since_saved: usize,
}

impl Index {
    pub(super) fn new(
        listening: Listening,
        due_changed: Arc<Notify>,
        policy: RetentionPolicy,
    ) -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeSet::new(),
            statuses: [0; Status::ALL.len()],
            whole: VecDeque::new(),
            due: BTreeSet::new(),
            questions: BTreeSet::new(),
            listening,
            due_changed,
            agenda: Agenda::new(policy),
            changed_since_saved: 0,
        }
    }

    pub(super) fn statuses(&self) -> Statuses {
        self.statuses
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn state(&self, run: &RunId) -> Option<&RunState> {
        self.entries.get(run).map(|entry| &entry.state)
    }

    /// The state if it is as new as the stream.
    pub(super) fn state_at(&self, run: &RunId, stat: &StreamStat) -> Option<&RunState> {
        self.state(run).filter(|state| state.epoch() == stat.epoch && state.offset() >= stat.last)
    }

    pub(super) fn failure(&self, run: &RunId) -> Option<&str> {
        self.entries.get(run).and_then(|entry| entry.failure.as_deref())
    }

    /// How far a run is folded.
    pub(super) fn folded(&self, run: &RunId) -> (Epoch, Offset) {
        self.state(run).map_or_else(Default::default, |state| (state.epoch(), state.offset()))
    }

    /// Folds in events of one stream, at least one, that follow on what is folded in.
    pub(super) fn fold(&mut self, run: &RunId, records: &[Record], stat: &StreamStat) {
        self.go_on(run, records, stat, None);
    }

    /// Passes over events of one stream that cannot be read and follow on what is folded in.
    pub(super) fn miss(&mut self, run: &RunId, hole: &Hole) {
        self.go_on(run, &[], &hole.stat, Some(hole));
    }

    fn go_on(&mut self, run: &RunId, records: &[Record], stat: &StreamStat, hole: Option<&Hole>) {
        let now = self.listening.clock.now();
        self.changed_since_saved += 1;
        let entry = self.entry(run);
        entry.first = stat.first;
        entry.failure = None;
        entry.heard_at = now;
        let is_new = entry.state.offset() == Offset::START;
        let (before, created_at) = (entry.state.status(), entry.state.created_at());
        for record in records {
            entry.state.apply_merged(stat.epoch, &event_of(record));
        }
        // The end may be in a hole.
        if let Some(hole) = hole {
            hole.fold_into(&mut entry.state);
        }
        if hole.is_some() || records.iter().any(|record| changes_steps(&record.payload)) {
            entry.steps = steps_of(&entry.state);
        }
        let now = entry.state.status();
        if is_new && stat.first.get() == 1 {
            entry.retained = Retained::from_its_first_event();
        }
        let bytes = records.iter().map(|record| record.payload.len() as u64).sum();
        entry.retained.grow(bytes, entry.state.created_at());
        if is_new {
            let place = place_of(&entry.state);
            self.order.insert(place);
        } else {
            let is_moved = entry.state.created_at() != created_at;
            let place = is_moved.then(|| place_of(&entry.state));
            self.statuses[before as usize] -= 1;
            // A run begins with the first of its events that can be read.
            if let Some(place) = place {
                self.order.remove(&Place { created_at, run: run.clone() });
                self.order.insert(place);
            }
        }
        self.statuses[now as usize] += 1;
        if now.is_terminal() && (is_new || !before.is_terminal()) {
            self.keep_whole(run.clone());
            self.listening.presence.forget(run);
        }
        if hole.is_some() || records.iter().any(|record| concerns_inputs(&record.payload)) {
            self.note_questions(run);
        }
        self.note_due(run);
        self.note_retention(run);
    }

    /// Goes on from the state that stands for the events before `first`, which are gone.
    pub(super) fn begin_with(&mut self, state: RunState, first: Offset) {
        self.remove(state.run());
        let steps = steps_of(&state);
        let entry = Entry::new(state, self.listening.clock.now());
        self.put(Entry { steps, first, ..entry });
    }

    /// Puts in a run that is not in it.
    pub(super) fn put(&mut self, entry: Entry) {
        let state = &entry.state;
        let (run, place) = (state.run().clone(), place_of(state));
        let (status, is_whole) = (state.status(), state.is_whole());
        self.entries.insert(run.clone(), Box::new(entry));
        self.statuses[status as usize] += 1;
        self.order.insert(place);
        if status.is_terminal() && is_whole {
            self.keep_whole(run.clone());
        }
        self.note_questions(&run);
        self.note_due(&run);
        self.note_retention(&run);
    }

    /// Keeps all of an ended run's state, until enough others have ended.
    pub(super) fn keep_whole(&mut self, run: RunId) {
        self.whole.push_back(run);
        if self.whole.len() > WHOLE_MAX
            && let Some(oldest) = self.whole.pop_front()
            && let Some(entry) = self.entries.get_mut(&oldest)
        {
            entry.state.let_go();
        }
    }

    /// Takes back the whole state of an ended run, which was folded anew, if it is the state that was
    /// let go. Gives the state to look at.
    pub(super) fn restore(&mut self, anew: RunState) -> Cow<'_, RunState> {
        let run = anew.run().clone();
        let is_same = |entry: &&mut Box<Entry>| {
            (entry.state.epoch(), entry.state.offset()) == (anew.epoch(), anew.offset())
        };
        let Some(entry) = self.entries.get_mut(&run).filter(is_same) else {
            return Cow::Owned(anew);
        };
        if !entry.state.is_whole() {
            entry.state.take_back(anew);
            self.keep_whole(run.clone());
        }
        Cow::Borrowed(&self.entries[&run].state)
    }

    fn entry(&mut self, run: &RunId) -> &mut Entry {
        let now = self.listening.clock.now();
        let new = || Box::new(Entry::new(RunState::new(run.clone()), now));
        self.entries.entry(run.clone()).or_insert_with(new)
    }

    pub(super) fn fail(&mut self, run: &RunId, reason: String) {
        self.entry(run).failure = Some(reason);
    }

    pub(super) fn remove(&mut self, run: &RunId) {
        let Some(entry) = self.entries.remove(run) else { return };
        self.changed_since_saved += 1;
        if self.order.remove(&place_of(&entry.state)) {
            self.statuses[entry.state.status() as usize] -= 1;
        }
        if let Some(at) = entry.due_at {
            self.due.remove(&(at, run.clone()));
        }
        for place in &entry.asks {
            self.questions.remove(place);
        }
        self.forget_retained(run, &entry.retained);
        self.listening.presence.forget(run);
    }

    /// Goes on with a list, looking at no more than `step_max` runs. True when it is complete.
    pub(super) fn list_more(
        &self,
        filter: &Filter,
        limit: usize,
        step_max: usize,
        listed: &mut Listed,
    ) -> bool {
        let before = listed.reached.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut places = self.order.range((Bound::Unbounded, before)).rev();
        for place in places.by_ref().take(step_max) {
            let entry = self.entries.get(&place.run).expect("a place in the order has an entry");
            if filter.passes(entry) {
                if listed.runs.len() == limit {
                    listed.next = listed
                        .runs
                        .last()
                        .map(|run| Place { created_at: run.created_at, run: run.id.clone() });
                    return true;
                }
                listed.runs.push(entry.state.summary(entry.first));
            }
            listed.reached = Some(place.clone());
        }
        places.next().is_none()
    }

    /// Goes on with counting, as [`Self::list_more`]. The filter's statuses do not matter.
    pub(super) fn count_more(
        &self,
        filter: &Filter,
        step_max: usize,
        counted: &mut Counted,
    ) -> bool {
        if filter.is_open_but_for_status() {
            counted.statuses = self.statuses;
            return true;
        }
        let before = counted.reached.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut places = self.order.range((Bound::Unbounded, before)).rev();
        for place in places.by_ref().take(step_max) {
            let entry = self.entries.get(&place.run).expect("a place in the order has an entry");
            if filter.passes_but_for_status(entry) {
                counted.statuses[entry.state.status() as usize] += 1;
            }
            counted.reached = Some(place.clone());
        }
        places.next().is_none()
    }
}

/// Whether an event can change where steps stand: a step's, one that declares steps, or an end.
fn changes_steps(payload: &[u8]) -> bool {
    [&b"{\"type\":\"step."[..], b"{\"type\":\"run."].iter().any(|start| payload.starts_with(start))
}

fn place_of(state: &RunState) -> Place {
    Place { created_at: state.created_at(), run: state.run().clone() }
}

#[cfg(test)]
pub(super) mod tests;
