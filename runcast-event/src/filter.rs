//! Choosing events by type and labels, without parsing their data.
//!
//! A payload has its labels in front, in one order and one way of writing ([`crate::Payload`]), so
//! that a filter compares bytes: the labels are found once an event, for all filters.

use crate::error::{EventError, EventProblem};
use crate::label::check_label;
use crate::limits;
use crate::payload::Payload;

/// The fields that events can be chosen by.
pub const FILTER_FIELDS: [&str; 6] = ["channel", "variation", "stage", "step", "agent", "type"];

/// What an event is chosen by, found in its payload. Label values are as they are written: in
/// quotes and escaped, or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head<'a> {
    /// The type.
    pub event_type: &'a str,
    channel: Option<&'a [u8]>,
    pub(crate) variation: Option<&'a [u8]>,
    pub(crate) stage: Option<&'a [u8]>,
    pub(crate) step: Option<&'a [u8]>,
    pub(crate) agent: Option<&'a [u8]>,
}

impl<'a> Head<'a> {
    /// Finds the labels of an event.
    #[must_use]
    pub fn of(payload: &'a Payload) -> Self {
        Self::split(payload).0
    }

    /// Finds the labels, and the data as it is written behind them.
    pub(crate) fn split(payload: &'a Payload) -> (Self, Option<&'a [u8]>) {
        let mut head = Self { event_type: payload.event_type(), ..Self::default() };
        let json: &[u8] = payload.bytes();
        let mut rest = &json[payload.labels_start().min(json.len())..];
        while let Some((name, value, after)) = member(rest) {
            match name {
                b"channel" => head.channel = Some(value),
                b"variation" => head.variation = Some(value),
                b"stage" => head.stage = Some(value),
                b"step" => head.step = Some(value),
                b"agent" => head.agent = Some(value),
                _ => break,
            }
            rest = after;
        }
        let data = rest.strip_prefix(b",\"data\":").and_then(|data| data.strip_suffix(b"}"));
        (head, data)
    }
}

/// Splits `,"name":value…` into the name, the value and what follows; none behind the labels.
fn member(json: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let rest = json.strip_prefix(b",\"")?;
    let name_end = memchr::memchr(b'"', rest)?;
    let name = &rest[..name_end];
    if name == b"data" {
        return None;
    }
    let value = rest.get(name_end + 2..)?;
    let length = match value.first()? {
        b'"' => string_length(value)?,
        _ => value.iter().position(|byte| !byte.is_ascii_digit())?,
    };
    Some((name, &value[..length], &value[length..]))
}

/// The length of a string with both its quotes.
fn string_length(json: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', json.get(at..)?)?;
        if json[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Which events a reader wants: of each field that it names, any of the values; of all fields that
/// it names, each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct EventFilter {
    types: Vec<TypePattern>,
    channels: Vec<Vec<u8>>,
    variations: Vec<Vec<u8>>,
    stages: Vec<Vec<u8>>,
    steps: Vec<Vec<u8>>,
    agents: Vec<Vec<u8>>,
}

/// A type, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum TypePattern {
    Is(String),
    BeginsWith(String),
}

impl EventFilter {
    /// Adds a value that `field` may have: a label's value, or a type with an optional `*` at its
    /// end. A stage is meant by name and, if the value is a number, by number too.
    ///
    /// # Errors
    /// When there is no such field, the value cannot be one, or there are more values than
    /// [`limits::FILTER_VALUES_MAX`].
    pub fn allow(&mut self, field: &str, value: &str) -> Result<(), EventError> {
        let actual = self.values() + 1;
        if actual > limits::FILTER_VALUES_MAX {
            let max = limits::FILTER_VALUES_MAX;
            return Err(EventError::new(
                field,
                EventProblem::TooLarge { actual, max, unit: "values" },
            ));
        }
        let values = match field {
            "type" => {
                self.types.push(type_pattern(value)?);
                return Ok(());
            }
            "channel" => &mut self.channels,
            "variation" => &mut self.variations,
            "stage" => &mut self.stages,
            "step" => &mut self.steps,
            "agent" => &mut self.agents,
            _ => {
                let names = FILTER_FIELDS.join(", ");
                let message = format!("is not what events can be chosen by; that is {names}");
                return Err(EventError::new(field, EventProblem::Invalid(message)));
            }
        };
        check_label(field, value)?;
        if field == "stage" && value.parse::<u32>().is_ok_and(|n| n.to_string() == value) {
            values.push(value.as_bytes().to_vec());
        }
        // As the labels of payloads are written.
        values.push(serde_json::to_vec(value).expect("a string is JSON"));
        Ok(())
    }

    /// Whether it lets every event through.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.values() == 0
    }

    fn values(&self) -> usize {
        let labels = [&self.channels, &self.variations, &self.stages, &self.steps, &self.agents];
        self.types.len() + labels.iter().map(|values| values.len()).sum::<usize>()
    }

    /// Whether an event with this head is wanted.
    #[must_use]
    pub fn matches(&self, head: &Head<'_>) -> bool {
        fn one_of(wanted: &[Vec<u8>], value: Option<&[u8]>) -> bool {
            wanted.is_empty()
                || value.is_some_and(|value| wanted.iter().any(|wanted| wanted == value))
        }
        let of_type = |pattern: &TypePattern| match pattern {
            TypePattern::Is(name) => head.event_type == name,
            TypePattern::BeginsWith(prefix) => head.event_type.starts_with(prefix.as_str()),
        };
        (self.types.is_empty() || self.types.iter().any(of_type))
            && one_of(&self.channels, head.channel)
            && one_of(&self.variations, head.variation)
            && one_of(&self.stages, head.stage)
            && one_of(&self.steps, head.step)
            && one_of(&self.agents, head.agent)
    }
}

fn type_pattern(value: &str) -> Result<TypePattern, EventError> {
    let (name, is_prefix) = value.strip_suffix('*').map_or((value, false), |name| (name, true));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.chars().all(allowed) || (name.is_empty() && !is_prefix) {
        let message = "must be a type, such as step.failed, or the beginning of types with a * at \
                       its end, such as step.*";
        return Err(EventError::new("type", EventProblem::Invalid(message.to_owned())));
    }
    if name.len() > limits::TYPE_CHARS_MAX {
        let (actual, max) = (name.len(), limits::TYPE_CHARS_MAX);
        return Err(EventError::new(
            "type",
            EventProblem::TooLarge { actual, max, unit: "characters" },
        ));
    }
    let name = name.to_owned();
    Ok(if is_prefix { TypePattern::BeginsWith(name) } else { TypePattern::Is(name) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{Offset, Stage, Timestamp, parse_event};

    fn payload(json: &serde_json::Value) -> Payload {
        parse_event(json.to_string().as_bytes(), Timestamp::default()).unwrap().payload
    }

    fn filter(values: &[(&str, &str)]) -> EventFilter {
        let mut filter = EventFilter::default();
        for (field, value) in values {
            filter.allow(field, value).unwrap();
        }
        filter
    }

    #[test]
    fn a_filter_is_any_value_of_every_field() {
        let event = payload(&json!({"type": "step.failed", "step": "a\"b\n".trim(), "stage": 4,
            "variation": "v1", "data": {"agent": "x"}}));
        let head = Head::of(&event);
        for wanted in [
            &[][..],
            &[("type", "step.failed")],
            &[("type", "step.*"), ("channel", "status")],
            &[("type", "run.*"), ("type", "*")],
            &[("step", "other"), ("step", "a\"b"), ("stage", "4"), ("variation", "v1")],
        ] {
            assert!(filter(wanted).matches(&head), "{wanted:?}");
        }
        for refused in [
            &[("type", "step.faile")][..],
            &[("type", "step.*"), ("channel", "logs")],
            &[("agent", "x")],
            &[("stage", "04")],
            &[("variation", "v")],
        ] {
            assert!(!filter(refused).matches(&head), "{refused:?}");
        }
    }

    #[test]
    fn a_filter_that_cannot_be_is_refused_by_name() {
        let mut filter = EventFilter::default();
        assert_eq!(filter.allow("type", "a b").unwrap_err().field, "type");
        assert_eq!(filter.allow("step", "").unwrap_err().field, "step");
        assert!(filter.allow("color", "red").unwrap_err().to_string().starts_with("color is not"));
        for n in 0..limits::FILTER_VALUES_MAX {
            filter.allow("step", &n.to_string()).unwrap();
        }
        assert!(filter.allow("step", "more").is_err());
    }

    proptest! {
        #[test]
        fn what_a_filter_compares_is_what_a_reader_sees(
            step in any::<String>(), agent in any::<String>(), stage in any::<u32>(),
        ) {
            let draft = json!({"type": "my.event", "step": step, "agent": agent, "stage": stage,
                "data": {"step": "other"}}).to_string();
            if let Ok(event) = parse_event(draft.as_bytes(), Timestamp::default()) {
                let head = Head::of(&event.payload);
                let seen = event.payload.parse(Offset::new(1)).unwrap().labels;
                prop_assert_eq!(seen.stage, Some(Stage::Number(stage)));
                let stage = stage.to_string();
                let all = [("step", step.as_str()), ("agent", &agent), ("stage", &stage)];
                prop_assert!(filter(&all).matches(&head));
                let other = step.clone() + "x";
                if let Ok(()) = EventFilter::default().allow("step", &other) {
                    prop_assert!(!filter(&[("step", &other)]).matches(&head));
                }
            }
        }
    }
}
