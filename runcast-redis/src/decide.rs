//! What becomes of the requests of one run that wait: decided together, carried out together.
//!
//! Pure but for the observer, which is asked. Who is refused is refused by the stream that was decided
//! on, so that all answers hold only if the decision is carried out.

use std::collections::VecDeque;

use bytes::Bytes;
use runcast_event::{ProducerId, RunId};
use runcast_log::engine::{Phase, Placement, Plan, Rules, decide};
use runcast_log::{Append, AppendError, Appended, CommitObserver, DeleteError, NewEvents, Record};

use crate::commit::{Decision, Deed};
use crate::queue::{Queued, Request};
use crate::replica::{Replica, first_epoch};

/// The answer to a request.
pub(crate) enum Answer {
    Append(Result<Appended, AppendError>),
    Change(bool),
}

/// Requests that are answered together.
pub(crate) struct Group {
    /// In the order in which they came.
    pub(crate) requests: Vec<(Queued, Answer)>,
    pub(crate) decision: Decision,
}

/// The bounds of a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupLimits {
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) producers_max: usize,
}

impl Group {
    /// Gives the answers; gives the decision back.
    pub(crate) fn answer(self) -> Decision {
        for (queued, answer) in self.requests {
            match (queued.request, answer) {
                (Request::Append { answer, .. }, Answer::Append(result)) => {
                    drop(answer.send(result));
                }
                (
                    Request::Delete { answer, .. } | Request::Trim { answer, .. },
                    Answer::Change(is_done),
                ) => drop(answer.send(Ok(is_done))),
                _ => {}
            }
        }
        self.decision
    }

    /// Answers all that they were not done, or may have been; gives the decision back.
    pub(crate) fn refuse(self, append: &AppendError, change: &DeleteError) -> Decision {
        for (queued, _) in self.requests {
            queued.request.refuse(append.clone(), change.clone());
        }
        self.decision
    }
}

/// Decides what waits at the front of a queue, which is not empty.
pub(crate) fn decide_front(
    run: &RunId,
    replica: &Replica,
    waiting: &mut VecDeque<Queued>,
    limits: GroupLimits,
    observer: &dyn CommitObserver,
) -> Option<Group> {
    match &waiting.front()?.request {
        Request::Append { .. } => Some(decide_appends(run, replica, waiting, limits, observer)),
        Request::Delete { .. } | Request::Trim { .. } => {
            let queued = waiting.pop_front()?;
            Some(decide_change(run, replica, queued, observer))
        }
    }
}

/// What a group of appends adds up to.
struct Appends<'a> {
    run: &'a RunId,
    observer: &'a dyn CommitObserver,
    rules: Rules,
    after: Replica,
    records: Vec<Record>,
    producers: Vec<ProducerId>,
    marks: Vec<(runcast_event::Offset, u64)>,
    entries: Vec<Bytes>,
    begins: bool,
}

fn decide_appends(
    run: &RunId,
    replica: &Replica,
    waiting: &mut VecDeque<Queued>,
    limits: GroupLimits,
    observer: &dyn CommitObserver,
) -> Group {
    let mut appends = Appends {
        run,
        observer,
        rules: Rules {
            producers_max: limits.producers_max,
            first_epoch: first_epoch(replica.history),
        },
        after: Replica { version: replica.version + 1, ..replica.clone() },
        records: Vec::new(),
        producers: Vec::new(),
        marks: Vec::new(),
        entries: Vec::new(),
        begins: false,
    };
    let mut requests = Vec::new();
    let (mut events, mut bytes) = (0, 0);
    while let Some(Queued { request: Request::Append { append, .. }, .. }) = waiting.front() {
        events += append.events.len();
        bytes += append.events.iter().map(Bytes::len).sum::<usize>();
        let is_full = events > limits.events_max || bytes > limits.bytes_max;
        if is_full && !requests.is_empty() {
            break;
        }
        let answer = appends.add(replica, append);
        let Some(queued) = waiting.pop_front() else { break };
        requests.push((queued, Answer::Append(answer)));
    }
    Group { requests, decision: appends.into_decision(replica) }
}

impl Appends<'_> {
    fn add(&mut self, before: &Replica, append: &Append) -> Result<Appended, AppendError> {
        let is_known = before.version > 0 || !self.records.is_empty();
        let standing = is_known.then_some(&self.after.stream);
        let placement = match decide(standing, append, self.rules)? {
            Plan::Acknowledge(appended) => return Ok(appended),
            Plan::Store(placement) => placement,
        };
        let records = placement.records(append);
        let entries = self.observer.admit(NewEvents {
            run: self.run,
            epoch: placement.epoch,
            begins: placement.begins,
            records: &records,
            is_trial: true,
        });
        let entries = entries.map_err(|reason| placement.not_admitted(reason))?;
        self.store(append, &placement, records);
        self.entries.extend(entries);
        Ok(placement.appended(append))
    }

    fn store(&mut self, append: &Append, placement: &Placement, records: Vec<Record>) {
        if placement.begins {
            (self.begins, self.after.bytes) = (true, 0);
        }
        self.after.stream.advance(&placement.advance(append));
        let sizes = records.iter().map(|record| record.payload.len());
        let marks = self.after.grow(placement.first, sizes);
        self.marks.extend(marks);
        self.records.extend(records);
        if let Some(stamp) = &append.producer
            && !self.producers.contains(&stamp.id)
        {
            self.producers.push(stamp.id.clone());
        }
    }

    fn into_decision(self, before: &Replica) -> Decision {
        let Self { run, mut after, records, producers, marks, entries, begins, .. } = self;
        let deed = if records.is_empty() {
            after = before.clone();
            Deed::Check
        } else {
            after.is_ahead = false;
            Deed::Store { records, producers, marks, begins }
        };
        let (run, before) = (run.clone(), before.clone());
        Decision { run, before, after, deed, entries, is_again: false }
    }
}

fn decide_change(
    run: &RunId,
    before: &Replica,
    queued: Queued,
    observer: &dyn CommitObserver,
) -> Group {
    let mut after = Replica { version: before.version + 1, is_ahead: false, ..before.clone() };
    let mut entries = Vec::new();
    let is_there = |epoch| before.version > 0 && before.stream.is_there(epoch);
    let deed = match &queued.request {
        Request::Delete { epoch, .. } if is_there(*epoch) && !run.is_feed() => {
            after.stream.delete();
            entries.extend(observer.feed_deletion(run));
            debug_assert_eq!(after.stream.phase, Phase::Deleted, "it was deleted");
            Some(Deed::Delete)
        }
        Request::Trim { trim, .. }
            if is_there(trim.epoch) && after.stream.trim(trim.before, !trim.base.is_empty()) =>
        {
            Some(Deed::Trim { base: trim.base.clone() })
        }
        _ => None,
    };
    let is_done = deed.is_some();
    let deed = deed.unwrap_or_else(|| {
        after = before.clone();
        Deed::Check
    });
    let (run, before) = (run.clone(), before.clone());
    let decision = Decision { run, before, after, deed, entries, is_again: false };
    Group { requests: vec![(queued, Answer::Change(is_done))], decision }
}
