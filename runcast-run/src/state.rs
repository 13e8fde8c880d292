//! The fold: one event after the other into a run's state.

use runcast_event::{Epoch, Merged, Offset, Payload, Reading, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::damage::Damage;
use crate::declared::Declared;
use crate::definition::Definition;
use crate::json::Json;
use crate::standing::Standing;
use crate::status::Status;
use crate::usage::Usage;
use crate::work::{self, Work};

/// A run's state at an offset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    pub(crate) run: RunId,
    pub(crate) epoch: Epoch,
    pub(crate) offset: Offset,
    pub(crate) definition: Box<Definition>,
    /// The definition of a run made by `run.queued`, if later events changed it.
    created_as: Option<Box<Definition>>,
    /// What the definition declares, read once.
    #[serde(skip)]
    pub(crate) declared: Declared,
    pub(crate) standing: Standing,
    pub(crate) end: Option<Box<End>>,
    pub(crate) status_reason: Option<Box<str>>,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    /// The newest event's time as it is written: parsed when somebody asks.
    updated_at: String,
    pub(crate) events: Counts,
    /// What cannot be read of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) damage: Option<Box<Damage>>,
    pub(crate) details: Details,
}

/// How many events a run has, those that cannot be read among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) total: u64,
    pub(crate) output: u64,
    pub(crate) log: u64,
}

/// What a terminal event said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) at: Timestamp,
    pub(crate) exit_code: Option<i64>,
    pub(crate) signal: Option<Box<str>>,
    pub(crate) error: Option<Json>,
    /// How much was done by then.
    pub(crate) fraction: Option<f64>,
}

/// What is known of what a run does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Details {
    /// It has done nothing that the state tells.
    Nothing,
    /// This.
    Kept(Box<Work>),
    /// It has ended, and this was let go: the log still has it.
    LetGo,
}

impl RunState {
    /// The state of a run that has no events yet.
    #[must_use]
    pub fn new(run: RunId) -> Self {
        Self {
            run,
            epoch: Epoch::FIRST,
            offset: Offset::START,
            definition: Box::default(),
            created_as: None,
            declared: Declared::default(),
            standing: Standing::default(),
            end: None,
            status_reason: None,
            created_at: Timestamp::default(),
            started_at: None,
            updated_at: String::new(),
            events: Counts::default(),
            damage: None,
            details: Details::Nothing,
        }
    }

    /// Folds in the next event. An event that is folded in already is passed over.
    pub fn apply(&mut self, offset: Offset, epoch: Epoch, payload: &Payload) {
        self.fold(offset, epoch, payload, 1);
    }

    /// Folds in the next event of those that a reader gets, which may be several merged into one:
    /// the state is that of the events themselves.
    pub fn apply_merged(&mut self, epoch: Epoch, merged: &Merged) {
        self.fold(merged.offset, epoch, &merged.payload, merged.count);
    }

    fn fold(&mut self, offset: Offset, epoch: Epoch, payload: &Payload, count: u64) {
        if offset <= self.offset {
            return;
        }
        let is_first = self.events.total == self.damaged_events();
        self.offset = offset;
        self.epoch = epoch;
        self.updated_at.clear();
        self.updated_at.push_str(payload.time_text());
        if is_first {
            self.created_at = self.updated_at();
        }
        let event_type = payload.event_type();
        self.events.total += count;
        match event_type {
            "output" => self.events.output += count,
            "log" => self.events.log += count,
            _ => {}
        }
        if self.end.is_some() {
            // No log has this. An end stays the end.
            return;
        }
        let is_life = event_type.starts_with("run.");
        let tells = work::is_told_by(event_type, payload.bytes()) || self.awaits_variations();
        if !is_life && !tells {
            self.begin();
            return;
        }
        let event = Reading::of(payload);
        if is_life {
            self.live(&event, is_first);
        } else {
            self.begin();
            if Standing::is_changed_by(event_type) {
                self.standing.apply(&event);
            }
            self.work(&event);
        }
    }

    /// An event of the run's life.
    fn live(&mut self, event: &Reading<'_>, is_first: bool) {
        let at = self.updated_at();
        if let Some(usage) = Usage::of(event) {
            self.work_mut().usage.add(&usage);
        }
        let Some(status) = Status::after(event.event_type()) else {
            self.redefine(event, is_first);
            return;
        };
        self.standing.apply(event);
        self.give_reason(event);
        if status == Status::Running {
            self.started_at.get_or_insert(at);
        }
        if status.is_terminal() {
            self.finish(event, at);
            return;
        }
        match (status, &mut self.details) {
            (Status::Paused, _) => self.work_mut().pace.paused(at),
            (_, Details::Kept(work)) => work.pace.resumed(at),
            _ => {}
        }
        self.redefine(event, is_first);
    }

    fn give_reason(&mut self, event: &Reading<'_>) {
        let (mut reason, mut omitted) = (None, 0);
        work::keep_apart(&mut reason, event.field("status_reason"), &mut omitted);
        self.status_reason = reason.and_then(|reason| reason.as_text()).map(Into::into);
        self.leave_out(omitted);
    }

    /// Counts bytes of the run's own texts and values that are left out.
    fn leave_out(&mut self, bytes: u64) {
        if bytes > 0 {
            self.work_mut().omitted_bytes += bytes;
        }
    }

    fn finish(&mut self, event: &Reading<'_>, at: Timestamp) {
        let mut omitted = 0;
        let mut error = None;
        work::keep_apart(&mut error, event.field("error"), &mut omitted);
        self.leave_out(omitted);
        if event.field("output").is_some() || self.kept().is_some() {
            self.work_mut().end(event, at);
        }
        let fraction = self.fraction();
        self.end = Some(Box::new(End {
            at,
            exit_code: event.integer("exit_code"),
            signal: event.text("signal").map(Into::into),
            error,
            fraction,
        }));
    }

    /// Whoever works is at work, even if nobody said that it started.
    fn begin(&mut self) {
        if self.standing.begin() {
            let now = self.updated_at();
            self.started_at.get_or_insert(now);
        }
    }

    fn work(&mut self, event: &Reading<'_>) {
        let at = self.updated_at();
        let declared = std::mem::take(&mut self.declared);
        self.work_mut().apply(event, &declared, at);
        self.declared = declared;
    }

    fn work_mut(&mut self) -> &mut Work {
        if !matches!(self.details, Details::Kept(_)) {
            self.details = Details::Kept(Box::default());
        }
        match &mut self.details {
            Details::Kept(work) => work,
            Details::Nothing | Details::LetGo => unreachable!("it was made above"),
        }
    }

    fn redefine(&mut self, event: &Reading<'_>, is_first: bool) {
        if let Some(fraction) = event.fraction("progress") {
            let at = self.updated_at();
            self.work_mut().pace.say(fraction, at);
        }
        let newer = Definition::of(event);
        self.leave_out(newer.left_out(event));
        if newer.is_empty() {
            return;
        }
        let before = self.definition.clone();
        self.definition.update(newer);
        if *self.definition == *before {
            return;
        }
        self.declared = Declared::of(&self.definition);
        if !is_first && self.created_as.is_none() {
            self.created_as = Some(before);
        }
    }

    /// Whether there are declared variations of which nothing was heard: any event can be the first.
    fn awaits_variations(&self) -> bool {
        let known = self.kept().map_or(0, |work| work.variations.iter().len());
        self.declared.variations.len() > known
    }

    pub(crate) fn kept(&self) -> Option<&Work> {
        match &self.details {
            Details::Kept(work) => Some(work),
            Details::Nothing | Details::LetGo => None,
        }
    }

    /// Lets go of what an ended run did, which the log still has: what it is, how it ended and how
    /// much was done stays. A run that has not ended keeps all.
    pub fn let_go(&mut self) {
        if self.end.is_some() && self.kept().is_some() {
            self.details = Details::LetGo;
        }
    }

    /// Whether nothing was let go.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.details != Details::LetGo
    }

    pub(crate) fn updated_at(&self) -> Timestamp {
        self.updated_at.parse().unwrap_or_default()
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// The newest event that is folded in.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The epoch of that event.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where the run stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.standing.status()
    }

    /// The kind of run.
    #[must_use]
    pub fn workflow(&self) -> Option<&str> {
        self.definition.workflow.as_deref()
    }

    /// Its name for people.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.definition.name.as_deref()
    }

    /// What it can be found by.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        self.definition.tags.as_deref().unwrap_or_default()
    }

    /// When it ended, if it has.
    #[must_use]
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.end.as_ref().map(|end| end.at)
    }

    /// What it asks to be kept of itself.
    #[must_use]
    pub fn retention(&self) -> Option<&Json> {
        self.definition.retention.as_ref()
    }

    /// When its first event happened.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The definition that the run was made with: what a repeated `POST /v1/runs` is compared to.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        self.created_as.as_deref().unwrap_or(&self.definition)
    }
}

#[cfg(test)]
mod tests;
