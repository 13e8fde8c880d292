//! Which runs retention has to look at, and when: so that nobody looks through all runs for those that
//! are due.

use std::collections::BTreeSet;

use runcast_event::{Epoch, Offset, RunId, Timestamp};
use runcast_log::StreamStat;
use runcast_run::RunState;

use super::index::{Entry, Index};
use crate::retention::{Keep, RetentionPolicy};

/// A run is trimmed when it has one part in so many more than it may have: not for each event.
pub(crate) const SLACK_PART: u64 = 10;

/// What is over, with the slack that it has.
pub(crate) fn with_slack(bound: u64) -> u64 {
    bound.saturating_add(bound / SLACK_PART)
}

/// What retention knows of a run.
#[derive(Debug, Default)]
pub(super) struct Retained {
    /// Where it is in [`Agenda::looks`].
    look_at: Option<Timestamp>,
    /// Where it is in [`Agenda::ended`].
    ended_in: Option<(usize, Timestamp)>,
    /// Bytes of its events, at most; none if nobody has asked the log.
    bytes: Option<u64>,
    /// When the oldest event that it keeps happened; none if nobody has looked.
    oldest_at: Option<Timestamp>,
}

impl Retained {
    /// Of a run of which all events are folded in as they come.
    pub(super) fn from_its_first_event() -> Self {
        Self { bytes: Some(0), ..Self::default() }
    }

    /// More events came; the first of all that can be read happened at that time.
    pub(super) fn grow(&mut self, bytes: u64, created_at: Timestamp) {
        self.bytes = self.bytes.map(|before| before + bytes);
        let is_known = created_at > Timestamp::default();
        self.oldest_at = self.oldest_at.or(is_known.then_some(created_at));
    }
}

/// The runs to look at.
#[derive(Debug)]
pub(super) struct Agenda {
    policy: RetentionPolicy,
    looks: BTreeSet<(Timestamp, RunId)>,
    /// For each class, its ended runs by their end, if their number is bounded.
    ended: Vec<BTreeSet<(Timestamp, RunId)>>,
    /// All runs are known: before, those that are surplus may only seem so.
    is_complete: bool,
}

impl Agenda {
    pub(super) fn new(policy: RetentionPolicy) -> Self {
        let ended = vec![BTreeSet::new(); policy.len()];
        Self { policy, looks: BTreeSet::new(), ended, is_complete: false }
    }

    /// When the first run is to be looked at.
    fn next(&self) -> Option<Timestamp> {
        if !self.is_complete {
            return None;
        }
        let is_over =
            |(class, runs): (usize, &BTreeSet<_>)| runs.len() > self.policy.keep_runs(class);
        let has_surplus = self.ended.iter().enumerate().any(is_over);
        let first = self.looks.first().map(|(at, _)| *at);
        if has_surplus { Some(long_ago()) } else { first }
    }

    /// One run more than a class keeps.
    fn surplus(&self) -> Option<RunId> {
        let mut classes = self.ended.iter().enumerate();
        let is_over =
            |(class, runs): &(usize, &BTreeSet<_>)| runs.len() > self.policy.keep_runs(*class);
        let (_, runs) = classes.find(is_over)?;
        runs.first().map(|(_, run)| run.clone())
    }
}

/// Of what is due already.
fn long_ago() -> Timestamp {
    Timestamp::default()
}

/// A run that is to be looked at.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) run: RunId,
    pub(crate) epoch: Epoch,
    pub(crate) act: Act,
}

/// What there was to be seen when a run was looked at.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The first event that it keeps.
    pub(crate) first: Offset,
    /// Bytes of its events, at most.
    pub(crate) bytes: Option<u64>,
    /// When the oldest of them happened.
    pub(crate) oldest_at: Option<Timestamp>,
}

/// What may have to be done.
#[derive(Debug)]
pub(crate) enum Act {
    Delete,
    Trim(Keep),
}

impl Index {
    /// Whether a run that stands like this has ended, and its class asks for merged deltas.
    pub(super) fn merges(&self, run: &RunId, stat: &StreamStat) -> bool {
        let state = self.state_at(run, stat).filter(|state| state.status().is_terminal());
        state.is_some_and(|state| self.agenda.policy.merges(state))
    }

    /// Notes when a run whose state has changed is to be looked at.
    pub(super) fn note_retention(&mut self, run: &RunId) {
        let Some(entry) = self.entries.get_mut(run) else { return };
        let (keep, class) = self.agenda.policy.of(&entry.state);
        let ended_in = class.zip(entry.state.ended_at());
        let before = std::mem::replace(&mut entry.retained.ended_in, ended_in);
        if before != ended_in {
            if let Some((class, at)) = before {
                self.agenda.ended[class].remove(&(at, run.clone()));
            }
            if let Some((class, at)) = ended_in {
                self.agenda.ended[class].insert((at, run.clone()));
            }
        }
        let at = look_at(entry, keep);
        self.set_look(run, at);
    }

    /// Looks at a run at that time and not before. One that is taken and comes back so is counted among
    /// its class's ended runs only then, and not surplus before.
    pub(super) fn set_look(&mut self, run: &RunId, at: Option<Timestamp>) {
        let Some(entry) = self.entries.get_mut(run) else { return };
        let before = std::mem::replace(&mut entry.retained.look_at, at);
        if before != at {
            if let Some(before) = before {
                self.agenda.looks.remove(&(before, run.clone()));
            }
            self.agenda.looks.extend(at.map(|at| (at, run.clone())));
        }
    }

    /// Forgets a run that is removed.
    pub(super) fn forget_retained(&mut self, run: &RunId, retained: &Retained) {
        if let Some(at) = retained.look_at {
            self.agenda.looks.remove(&(at, run.clone()));
        }
        if let Some((class, at)) = retained.ended_in {
            self.agenda.ended[class].remove(&(at, run.clone()));
        }
    }

    pub(super) fn next_look(&self) -> Option<Timestamp> {
        self.agenda.next()
    }

    /// All runs are known.
    pub(super) fn complete_agenda(&mut self) {
        self.agenda.is_complete = true;
    }

    /// Takes at most `max` runs from those that are to be looked at by now.
    pub(super) fn take_looks(&mut self, now: Timestamp, max: usize) -> Vec<Look> {
        let mut looks = Vec::new();
        while looks.len() < max && self.agenda.is_complete {
            let due = self.agenda.looks.first().filter(|(at, _)| *at <= now);
            let (run, is_surplus) = match (due.map(|(_, run)| run.clone()), self.agenda.surplus()) {
                (Some(run), _) => (run, false),
                (None, Some(run)) => (run, true),
                (None, None) => break,
            };
            self.set_look(&run, None);
            let Some(entry) = self.entries.get_mut(&run) else { continue };
            let (keep, _) = self.agenda.policy.of(&entry.state);
            let is_over = expiry(&entry.state, keep).is_some_and(|at| at <= now);
            let act = if is_surplus || is_over { Act::Delete } else { Act::Trim(keep) };
            if let Act::Delete = act
                && let Some((class, at)) = entry.retained.ended_in.take()
            {
                self.agenda.ended[class].remove(&(at, run.clone()));
            }
            looks.push(Look { epoch: entry.state.epoch(), run, act });
        }
        looks
    }

    /// A run was looked at, and is not to be again before that time.
    pub(super) fn looked_at(&mut self, run: &RunId, seen: Seen, not_before: Timestamp) {
        let Some(entry) = self.entries.get_mut(run) else { return };
        entry.first = entry.first.max(seen.first);
        entry.retained.bytes = seen.bytes.or(entry.retained.bytes);
        entry.retained.oldest_at = seen.oldest_at.or(entry.retained.oldest_at);
        self.note_retention(run);
        let at = self.entries.get(run).and_then(|entry| entry.retained.look_at);
        self.set_look(run, at.map(|at| at.max(not_before)));
    }
}

/// When a run is deleted.
fn expiry(state: &RunState, keep: Keep) -> Option<Timestamp> {
    Some(state.ended_at()?.plus_millis(keep.keep_ended_s?.saturating_mul(1_000)))
}

/// When a run is to be looked at: to be deleted, or to be trimmed.
fn look_at(entry: &Entry, keep: Keep) -> Option<Timestamp> {
    let (last, first) = (entry.state.offset(), entry.first);
    let mut trim_at = None;
    // Its newest event stays.
    if last > first {
        let events = last.get() + 1 - first.get();
        let events_over = keep.events_max.is_some_and(|max| events > with_slack(max));
        let bytes_over = keep
            .bytes_max
            .is_some_and(|max| entry.retained.bytes.is_none_or(|bytes| bytes > with_slack(max)));
        let too_old = keep.age_max_s.map(|max| {
            let age = with_slack(max.saturating_mul(1_000));
            entry.retained.oldest_at.map_or(long_ago(), |oldest| oldest.plus_millis(age))
        });
        trim_at = if events_over || bytes_over { Some(long_ago()) } else { too_old };
    }
    trim_at.into_iter().chain(expiry(&entry.state, keep)).min()
}
