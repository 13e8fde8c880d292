//! The open inputs of all runs: what waits for a person.

use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use runcast_event::{RunId, Timestamp};
use runcast_run::Input;
use serde::Serialize;

use super::index::{Filter, Index};

/// Where an open input stands among all: by the time at which it was asked.
///
/// As a list's cursor it is written `<microseconds>_<run>/<input>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QuestionPlace {
    asked_at: Timestamp,
    run: RunId,
    input: String,
}

impl fmt::Display for QuestionPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}/{}", self.asked_at.as_micros(), self.run, self.input)
    }
}

impl FromStr for QuestionPlace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let parse = || {
            let (micros, rest) = text.split_once('_')?;
            let (run, input) = rest.split_once('/')?;
            let asked_at = Timestamp::from_micros(micros.parse().ok()?);
            Some(Self { asked_at, run: RunId::new(run).ok()?, input: input.to_owned() })
        };
        parse().ok_or("it is not the next of a list; take it from an answer as it is")
    }
}

/// An open input, and whose it is.
#[derive(Debug, Serialize)]
pub(crate) struct Question {
    run: RunId,
    run_name: Option<String>,
    workflow: Option<String>,
    #[serde(flatten)]
    input: Input,
}

/// Whether an event can open or close inputs.
pub(super) fn concerns_inputs(payload: &[u8]) -> bool {
    [&b"{\"type\":\"input."[..], b"{\"type\":\"run."].iter().any(|start| payload.starts_with(start))
}

impl Index {
    /// Notes what a run asks.
    pub(super) fn note_questions(&mut self, run: &RunId) {
        let Some(entry) = self.entries.get_mut(run) else { return };
        let place = |input: &Input| QuestionPlace {
            asked_at: input.requested_at,
            run: run.clone(),
            input: input.input.to_string(),
        };
        let asks: Vec<_> = entry.state.open_inputs().map(place).collect();
        for over in std::mem::replace(&mut entry.asks, asks.clone()) {
            self.questions.remove(&over);
        }
        self.questions.extend(asks);
    }

    pub(super) fn questions(
        &self,
        filter: &Filter,
        from: Option<&QuestionPlace>,
        limit: usize,
    ) -> (Vec<Question>, Option<QuestionPlace>) {
        let behind = from.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = Vec::new();
        let mut last = None;
        for place in self.questions.range((behind, Bound::Unbounded)) {
            let Some(entry) = self.entries.get(&place.run).filter(|entry| filter.passes(entry))
            else {
                continue;
            };
            let state = &entry.state;
            let Some(input) = state.input(&place.input) else { continue };
            if found.len() == limit {
                return (found, last);
            }
            found.push(Question {
                run: place.run.clone(),
                run_name: state.name().map(str::to_owned),
                workflow: state.workflow().map(str::to_owned),
                input: input.clone(),
            });
            last = Some(place.clone());
        }
        (found, None)
    }
}
