//! What is kept of which runs: classes from the configuration, and what a run asks for itself.
//!
//! Pure. The first class that a run is in counts. What the run asks for itself counts too where it
//! keeps less; it can never keep more than its class.

use runcast_event::limits::RETENTION_MAX;
use runcast_run::{RunState, Status};
use serde::Deserialize;

/// The most classes.
const CLASSES_MAX: usize = 100;

/// What is kept of one run. What is none has no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Keep {
    /// Seconds from a run's end to its deletion.
    pub(crate) keep_ended_s: Option<u64>,
    /// Events.
    pub(crate) events_max: Option<u64>,
    /// Bytes of events.
    pub(crate) bytes_max: Option<u64>,
    /// Seconds from an event's time until it is given up.
    pub(crate) age_max_s: Option<u64>,
}

impl Keep {
    /// What both keep.
    fn and(self, other: Self) -> Self {
        let less = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        Self {
            keep_ended_s: less(self.keep_ended_s, other.keep_ended_s),
            events_max: less(self.events_max, other.events_max),
            bytes_max: less(self.bytes_max, other.bytes_max),
            age_max_s: less(self.age_max_s, other.age_max_s),
        }
    }

    /// What a run asks for itself. What older servers took and cannot be meant is passed over.
    fn asked(state: &RunState) -> Self {
        let asked = state.retention().and_then(|json| serde_json::from_str(json.get()).ok());
        let asked: Self = asked.unwrap_or_default();
        let sane = |value: Option<u64>| value.filter(|value| (1..=RETENTION_MAX).contains(value));
        Self {
            keep_ended_s: sane(asked.keep_ended_s),
            events_max: sane(asked.events_max),
            bytes_max: sane(asked.bytes_max),
            age_max_s: sane(asked.age_max_s),
        }
    }
}

/// Runs of a kind, and what is kept of them. A run is in the class if it is all that the class says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionClass {
    /// Runs of this workflow.
    pub workflow: Option<String>,
    /// Runs with this tag.
    pub tag: Option<String>,
    /// Runs that have ended, or that have not.
    pub ended: Option<bool>,
    /// Runs with one of these statuses.
    pub status: Vec<Status>,
    /// So many seconds after its end a run is deleted.
    pub keep_ended_s: Option<u64>,
    /// Of the class's runs that have ended, so many are kept, those that ended last.
    pub keep_runs: Option<u64>,
    /// So many events of a run are kept, the newest.
    pub events_max: Option<u64>,
    /// So many bytes of a run's events are kept, the newest.
    pub bytes_max: Option<u64>,
    /// Events of a run are kept for so many seconds.
    pub age_max_s: Option<u64>,
    /// Whether the log may store adjacent deltas of a run that has ended as one event.
    pub coalesce_ended: bool,
}

/// Classes that make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetentionError {
    /// There are too many.
    #[error("there are {count} classes, {CLASSES_MAX} are allowed")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// One cannot be meant.
    #[error("class {number}: {problem}")]
    Class {
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
}

impl RetentionClass {
    fn has(&self, state: &RunState) -> bool {
        let status = state.status();
        self.workflow.as_deref().is_none_or(|workflow| state.workflow() == Some(workflow))
            && self.tag.as_ref().is_none_or(|tag| state.tags().contains(tag))
            && self.ended.is_none_or(|ended| ended == status.is_terminal())
            && (self.status.is_empty() || self.status.contains(&status))
    }

    fn keep(&self) -> Keep {
        Keep {
            keep_ended_s: self.keep_ended_s,
            events_max: self.events_max,
            bytes_max: self.bytes_max,
            age_max_s: self.age_max_s,
        }
    }

    fn check(&self) -> Result<(), String> {
        let bounds = [
            ("keep_ended_s", self.keep_ended_s),
            ("keep_runs", self.keep_runs),
            ("events_max", self.events_max),
            ("bytes_max", self.bytes_max),
            ("age_max_s", self.age_max_s),
        ];
        let wrong = |value: &u64| !(1..=RETENTION_MAX).contains(value);
        for (name, value) in bounds {
            if let Some(value) = value.filter(wrong) {
                return Err(format!("{name} must be from 1 to {RETENTION_MAX}, not {value}"));
            }
        }
        let of_status = |ended: bool| {
            self.status.is_empty() || self.status.iter().any(|s| s.is_terminal() == ended)
        };
        if self.ended.is_some_and(|ended| !of_status(ended)) {
            return Err("no run has such a status and is, by ended, in the class".to_owned());
        }
        let only_open = self.ended == Some(false) || !of_status(true);
        let is_of_ended =
            self.keep_ended_s.is_some() || self.keep_runs.is_some() || self.coalesce_ended;
        if only_open && is_of_ended {
            let problem = "keep_ended_s, keep_runs and coalesce_ended are about runs that have ended, and no run of \
                           the class has; leave ended and status out";
            return Err(problem.to_owned());
        }
        Ok(())
    }
}

/// All classes, in their order; the first that a run is in counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionPolicy(Vec<RetentionClass>);

impl RetentionPolicy {
    /// The classes in this order.
    ///
    /// # Errors
    /// When one of them cannot be meant, or there are too many.
    pub fn new(classes: Vec<RetentionClass>) -> Result<Self, RetentionError> {
        let count = classes.len();
        if count > CLASSES_MAX {
            return Err(RetentionError::TooMany { count });
        }
        for (number, class) in (1..).zip(&classes) {
            class.check().map_err(|problem| RetentionError::Class { number, problem })?;
        }
        Ok(Self(classes))
    }

    /// How many classes there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What is kept of a run, and the number of its class if that bounds how many runs there are.
    pub(crate) fn of(&self, state: &RunState) -> (Keep, Option<usize>) {
        let asked = Keep::asked(state);
        match self.0.iter().enumerate().find(|(_, class)| class.has(state)) {
            None => (asked, None),
            Some((at, class)) => (class.keep().and(asked), class.keep_runs.map(|_| at)),
        }
    }

    /// Whether any class asks for merged deltas.
    pub(crate) fn merges_any(&self) -> bool {
        self.0.iter().any(|class| class.coalesce_ended)
    }

    /// Whether the class of a run asks for merged deltas when the run has ended.
    pub(crate) fn merges(&self, state: &RunState) -> bool {
        self.0.iter().find(|class| class.has(state)).is_some_and(|class| class.coalesce_ended)
    }

    /// How many ended runs of a class are kept.
    pub(crate) fn keep_runs(&self, class: usize) -> usize {
        let keep = self.0[class].keep_runs.unwrap_or(u64::MAX);
        usize::try_from(keep).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use runcast_event::{Epoch, Offset, RunId, Timestamp, parse_event};

    use super::*;

    fn state(events: &[&str]) -> RunState {
        let mut state = RunState::new(RunId::new("r").unwrap());
        for (at, json) in (1..).zip(events) {
            let payload = parse_event(json.as_bytes(), Timestamp::default()).unwrap().payload;
            state.apply(Offset::new(at), Epoch::FIRST, &payload);
        }
        state
    }

    #[test]
    fn the_first_class_that_a_run_is_in_counts() {
        let named = |workflow: &str, events_max| RetentionClass {
            workflow: Some(workflow.to_owned()),
            events_max: Some(events_max),
            ..RetentionClass::default()
        };
        let tagged = RetentionClass { tag: Some("t".into()), ..named("w", 2) };
        let ended = RetentionClass { ended: Some(true), keep_runs: Some(5), ..named("w", 3) };
        let failed = RetentionClass { status: vec![Status::Failed], ..named("w", 1) };
        let policy =
            RetentionPolicy::new(vec![failed, tagged, ended, named("w", 4), named("v", 5)]);
        let policy = policy.unwrap();
        let of = |events: &[&str]| {
            let (keep, class) = policy.of(&state(events));
            (keep.events_max, class)
        };
        let w = r#"{"type":"run.started","data":{"workflow":"w"}}"#;
        assert_eq!(of(&[w]), (Some(4), None));
        assert_eq!(of(&[w, r#"{"type":"run.completed"}"#]), (Some(3), Some(2)));
        assert_eq!(of(&[w, r#"{"type":"run.failed"}"#]), (Some(1), None));
        assert_eq!(of(&[w, r#"{"type":"run.updated","data":{"tags":["t"]}}"#]), (Some(2), None));
        assert_eq!(of(&[r#"{"type":"run.started","data":{"workflow":"v"}}"#]), (Some(5), None));
        assert_eq!(of(&[r#"{"type":"run.started"}"#]), (None, None), "everything is kept");
    }

    #[test]
    fn a_run_can_ask_for_less_than_its_class_keeps_and_not_for_more() {
        let bounds = RetentionClass {
            keep_ended_s: Some(100),
            events_max: Some(10),
            ..RetentionClass::default()
        };
        let policy = RetentionPolicy::new(vec![bounds]).unwrap();
        let asks = r#"{"type":"run.started","data":{"retention":{"keep_ended_s":200,"events_max":5,"age_max_s":7}}}"#;
        let expected = Keep {
            keep_ended_s: Some(100),
            events_max: Some(5),
            age_max_s: Some(7),
            bytes_max: None,
        };
        assert_eq!(policy.of(&state(&[asks])), (expected, None));
    }

    #[test]
    fn a_runs_first_class_says_whether_its_deltas_are_merged() {
        let merged = RetentionClass { coalesce_ended: true, ..RetentionClass::default() };
        let other = RetentionClass { workflow: Some("w".into()), ..RetentionClass::default() };
        let policy = RetentionPolicy::new(vec![other, merged]).unwrap();
        let merges = |event: &str| policy.merges(&state(&[event]));
        assert!(merges(r#"{"type":"run.started"}"#));
        assert!(!merges(r#"{"type":"run.started","data":{"workflow":"w"}}"#));
        assert!(!RetentionPolicy::default().merges(&state(&[r#"{"type":"run.started"}"#])));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let error = |class: RetentionClass| {
            RetentionPolicy::new(vec![RetentionClass::default(), class]).unwrap_err().to_string()
        };
        let zero = RetentionClass { keep_runs: Some(0), ..RetentionClass::default() };
        assert!(error(zero).starts_with("class 2: keep_runs must be from 1 to "));
        let open = RetentionClass {
            ended: Some(false),
            keep_ended_s: Some(1),
            ..RetentionClass::default()
        };
        assert!(error(open).contains("no run of the class has"));
        let running = RetentionClass {
            status: vec![Status::Running],
            coalesce_ended: true,
            ..RetentionClass::default()
        };
        assert!(error(running).contains("no run of the class has"));
        let nobody = RetentionClass {
            ended: Some(true),
            status: vec![Status::Running],
            ..RetentionClass::default()
        };
        assert!(error(nobody).contains("no run has such a status"));
        let many = vec![RetentionClass::default(); CLASSES_MAX + 1];
        assert!(RetentionPolicy::new(many).unwrap_err().to_string().contains("101 classes"));
    }
}
