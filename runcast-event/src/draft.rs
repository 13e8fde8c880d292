//! An event on its way in: parsed, validated, and turned into the bytes that are stored.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::catalogue::{self, Field, Kind, RETENTION_FIELDS};
use crate::error::{EventError, EventProblem};
use crate::label::{Labels, check_label, check_name};
use crate::limits;
use crate::payload::{Payload, Prepared};
use crate::time::Timestamp;

/// An event as a producer makes it, before it has an offset.
#[derive(Debug, Clone, Serialize)]
pub struct Draft {
    /// A typed event or a custom dotted name.
    #[serde(rename = "type")]
    pub event_type: Cow<'static, str>,
    /// When it happened, by the producer's clock; the server's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// What it can be filtered by.
    #[serde(flatten)]
    pub labels: Labels,
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

impl Draft {
    /// An event of this type, without labels, with this data.
    #[must_use]
    pub fn new(event_type: impl Into<Cow<'static, str>>, data: serde_json::Value) -> Self {
        Self {
            event_type: event_type.into(),
            time: None,
            labels: Labels::default(),
            data: Some(data),
        }
    }

    /// The same event, having happened at `time`.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// The event as one line of JSON, without the line's end.
    ///
    /// # Panics
    /// Never: every part of a draft is representable in JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a draft has only string keys and plain values")
    }
}

/// The envelope's fields as they stand in the text.
#[derive(Default)]
pub(crate) struct Envelope<'a> {
    pub(crate) offset: Option<&'a RawValue>,
    pub(crate) merged: Option<&'a RawValue>,
    pub(crate) event_type: Option<&'a RawValue>,
    pub(crate) time: Option<&'a RawValue>,
    pub(crate) channel: Option<&'a RawValue>,
    pub(crate) variation: Option<&'a RawValue>,
    pub(crate) stage: Option<&'a RawValue>,
    pub(crate) step: Option<&'a RawValue>,
    pub(crate) agent: Option<&'a RawValue>,
    pub(crate) data: Option<&'a RawValue>,
    /// The first field that is not the envelope's, or is there twice.
    fault: Option<EventError>,
}

struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvelopeVisitor;
        impl<'de> Visitor<'de> for EnvelopeVisitor {
            type Value = Envelope<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event, which is a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
                let mut envelope = Envelope::default();
                while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
                    let slot = match &*key {
                        "offset" => &mut envelope.offset,
                        "merged" => &mut envelope.merged,
                        "type" => &mut envelope.event_type,
                        "time" => &mut envelope.time,
                        "channel" => &mut envelope.channel,
                        "variation" => &mut envelope.variation,
                        "stage" => &mut envelope.stage,
                        "step" => &mut envelope.step,
                        "agent" => &mut envelope.agent,
                        "data" => &mut envelope.data,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            let name: String = key.chars().take(limits::TYPE_CHARS_MAX).collect();
                            envelope
                                .fault
                                .get_or_insert(EventError::new(name, EventProblem::Unknown));
                            continue;
                        }
                    };
                    if slot.replace(map.next_value()?).is_some() {
                        let fault = EventError::new(key, EventProblem::Repeated);
                        envelope.fault.get_or_insert(fault);
                    }
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

/// Parses and validates one event and makes its stored form.
///
/// `now` is the event's time when it brings none.
///
/// # Errors
/// Names the field and what is wrong with it.
pub fn parse_event(json: &[u8], now: Timestamp) -> Result<Prepared, EventError> {
    let whole = |problem| EventError::new("", problem);
    if json.len() > limits::EVENT_BYTES_MAX {
        let (actual, max) = (json.len(), limits::EVENT_BYTES_MAX);
        return Err(whole(EventProblem::TooLarge { actual, max, unit: "bytes" }));
    }
    let text = std::str::from_utf8(json).map_err(|error| {
        whole(EventProblem::Syntax(format!("not UTF-8 at byte {}", error.valid_up_to() + 1)))
    })?;
    let found = found_in(text.trim_start());
    if found != "an object" && found != "nothing" {
        return Err(whole(EventProblem::WrongType { expected: "a JSON object", found }));
    }
    let envelope: Envelope<'_> = serde_json::from_str(text)
        .map_err(|error| whole(EventProblem::Syntax(error.to_string())))?;
    validate(&envelope, now)
}

fn validate(envelope: &Envelope<'_>, now: Timestamp) -> Result<Prepared, EventError> {
    if let Some(fault) = &envelope.fault {
        return Err(fault.clone());
    }
    if envelope.merged.is_some() {
        return Err(EventError::new("merged", EventProblem::Unknown));
    }
    if envelope.offset.is_some() {
        return Err(EventError::new("offset", EventProblem::OffsetSent));
    }
    let Some(name) = envelope.event_type else {
        return Err(EventError::new("type", EventProblem::Missing("every event has a type")));
    };
    let name = text_of("type", name)?;
    let rules = catalogue::resolve(&name)?;
    let time = match envelope.time {
        None => now,
        Some(raw) => time_of("time", raw)?,
    };

    let mut line = Line::start(&name, time);
    let default_channel = rules.map(|rules| rules.channel);
    match (envelope.channel, default_channel) {
        (Some(raw), _) => line.label("channel", raw)?,
        (None, Some(channel)) => line.plain("channel", channel),
        (None, None) => {}
    }
    let labels = [
        ("variation", envelope.variation),
        ("stage", envelope.stage),
        ("step", envelope.step),
        ("agent", envelope.agent),
    ];
    for (field, raw) in labels {
        match raw {
            Some(raw) => line.label(field, raw)?,
            None if rules.is_some_and(|rules| rules.labels.contains(&field)) => {
                let problem = EventProblem::Missing("this type of event needs the label");
                return Err(EventError::new(field, problem));
            }
            None => {}
        }
    }

    if let Some(rules) = rules {
        check_data(rules.fields, envelope.data)?;
    }
    if let Some(raw) = envelope.data {
        line.data(raw.get())?;
    }
    let payload = line.finish()?;
    Ok(Prepared { payload, terminal: rules.is_some_and(|rules| rules.terminal) })
}

/// The stored form, as it grows.
struct Line(Vec<u8>);

impl Line {
    fn start(name: &str, time: Timestamp) -> Self {
        use std::io::Write as _;
        let mut bytes = Vec::with_capacity(256);
        // Nothing in a type's or a time's characters needs an escape.
        write!(bytes, r#"{{"type":"{name}","time":"{time}""#).expect("a Vec takes every write");
        Self(bytes)
    }

    fn plain(&mut self, field: &str, value: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(field.as_bytes());
        self.0.extend_from_slice(b"\":\"");
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
    }

    fn label(&mut self, field: &'static str, raw: &RawValue) -> Result<(), EventError> {
        let is_number = raw.get().starts_with(|c: char| c.is_ascii_digit() || c == '-');
        if field == "stage" && is_number {
            let number: u32 = raw.get().parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                let message = "must be a stage's name, or its number from 1".to_owned();
                EventError::new(field, EventProblem::Invalid(message))
            })?;
            self.0.extend_from_slice(format!(",\"stage\":{number}").as_bytes());
            return Ok(());
        }
        let value = text_of(field, raw)?;
        check_label(field, &value)?;
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(field.as_bytes());
        self.0.extend_from_slice(b"\":");
        serde_json::to_writer(&mut self.0, &*value).expect("a Vec takes every write");
        Ok(())
    }

    /// Adds the data as it was sent, on one line.
    fn data(&mut self, json: &str) -> Result<(), EventError> {
        self.0.extend_from_slice(b",\"data\":");
        let has_line_ends = memchr::memchr2(b'\n', b'\r', json.as_bytes()).is_some();
        let mut depth = 0_usize;
        let mut in_string = false;
        let mut escaped = false;
        for &byte in json.as_bytes() {
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                if depth > limits::DATA_DEPTH_MAX {
                    let max = limits::DATA_DEPTH_MAX;
                    let problem = EventProblem::TooLarge { actual: depth, max, unit: "levels" };
                    return Err(EventError::new("data", problem));
                }
            }
            // In valid JSON a raw line end is only ever white space between tokens.
            if has_line_ends && matches!(byte, b'\n' | b'\r') {
                continue;
            }
            if has_line_ends {
                self.0.push(byte);
            }
        }
        if !has_line_ends {
            self.0.extend_from_slice(json.as_bytes());
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Payload, EventError> {
        self.0.push(b'}');
        if self.0.len() > limits::EVENT_BYTES_MAX {
            let (actual, max) = (self.0.len(), limits::EVENT_BYTES_MAX);
            return Err(EventError::new("", EventProblem::TooLarge { actual, max, unit: "bytes" }));
        }
        Ok(Payload::from_stored(Bytes::from(self.0)))
    }
}

fn check_data(fields: &'static [Field], data: Option<&RawValue>) -> Result<(), EventError> {
    let Some(data) = data else {
        return match fields.iter().find(|field| field.required) {
            None => Ok(()),
            Some(field) => Err(missing(field)),
        };
    };
    let found = found_in(data.get());
    if found != "an object" {
        let problem = EventProblem::WrongType { expected: "an object", found };
        return Err(EventError::new("data", problem));
    }
    let seen: Fields<'_> = serde_json::from_str(data.get())
        .map_err(|error| EventError::new("data", EventProblem::Syntax(error.to_string())))?;
    for field in fields {
        let mut values = seen.0.iter().filter(|(name, _)| name == field.name);
        match (values.next(), values.next()) {
            (None, _) if field.required => return Err(missing(field)),
            (None, _) => {}
            (Some((_, value)), None) => check_field(field, value)?,
            (Some(_), Some(_)) => {
                return Err(EventError::new(
                    format!("data.{}", field.name),
                    EventProblem::Repeated,
                ));
            }
        }
    }
    Ok(())
}

fn missing(field: &Field) -> EventError {
    let problem = EventProblem::Missing("this type of event needs the field");
    EventError::new(format!("data.{}", field.name), problem)
}

/// An object's fields, not read any further.
pub(crate) struct Fields<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
                    fields.push((key, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

fn check_field(field: &Field, raw: &RawValue) -> Result<(), EventError> {
    let path = || format!("data.{}", field.name);
    let json = raw.get();
    let found = found_in(json);
    let wrong = |expected| EventError::new(path(), EventProblem::WrongType { expected, found });
    let invalid = |message: &str| EventError::new(path(), EventProblem::Invalid(message.into()));
    match field.kind {
        Kind::Any => Ok(()),
        // Null says "not given" for what may be absent, as many serializers write it.
        _ if found == "null" && !field.required => Ok(()),
        Kind::Text if found == "a string" => Ok(()),
        Kind::Text => Err(wrong("a string")),
        Kind::Name => {
            let max = match field.name {
                "name" => limits::NAME_BYTES_MAX,
                "workflow" => limits::WORKFLOW_BYTES_MAX,
                _ => limits::LABEL_BYTES_MAX,
            };
            check_name(&path(), &text_of(&path(), raw)?, max)
        }
        Kind::Count => match json.parse::<u64>() {
            Ok(_) => Ok(()),
            Err(_) if found == "a number" => Err(invalid("must be a whole number from 0")),
            Err(_) => Err(wrong("a number")),
        },
        Kind::Integer => match json.parse::<i64>() {
            Ok(_) => Ok(()),
            Err(_) if found == "a number" => Err(invalid("must be a whole number")),
            Err(_) => Err(wrong("a number")),
        },
        Kind::Fraction => match json.parse::<f64>() {
            Ok(number) if (0.0..=1.0).contains(&number) => Ok(()),
            Ok(_) => Err(invalid("must be a number from 0 to 1")),
            Err(_) => Err(wrong("a number")),
        },
        Kind::Object if found == "an object" => Ok(()),
        Kind::Object => Err(wrong("an object")),
        Kind::TextOrObject if found == "a string" || found == "an object" => Ok(()),
        Kind::TextOrObject => Err(wrong("a string or an object")),
        Kind::Retention if found == "an object" => check_retention(&path(), json),
        Kind::Retention => Err(wrong("an object")),
        Kind::Time => time_of(&path(), raw).map(|_| ()),
        Kind::Texts => texts_of(&path(), raw).map(|_| ()),
        Kind::Tags => {
            let tags = texts_of(&path(), raw)?;
            at_most(&path(), tags.len(), limits::TAGS_MAX, "tags")?;
            tags.iter().try_for_each(|tag| check_name(&path(), tag, limits::TAG_BYTES_MAX))
        }
        Kind::Stages if found == "a string" => {
            check_name(&path(), &text_of(&path(), raw)?, limits::LABEL_BYTES_MAX)
        }
        Kind::Array | Kind::Stages => {
            let items: Vec<&RawValue> =
                serde_json::from_str(json).map_err(|_| wrong("an array"))?;
            at_most(&path(), items.len(), limits::DECLARED_MAX, "items")
        }
    }
}

/// What a run asks to be kept of itself: whole numbers, each of a field that there is.
fn check_retention(path: &str, json: &str) -> Result<(), EventError> {
    let fields: Fields<'_> = serde_json::from_str(json)
        .map_err(|error| EventError::new(path, EventProblem::Syntax(error.to_string())))?;
    for (name, raw) in fields.0 {
        let max = limits::RETENTION_MAX;
        let problem = if !RETENTION_FIELDS.contains(&&*name) {
            format!("is not a field of retention; the fields are {}", RETENTION_FIELDS.join(", "))
        } else if raw.get() == "null"
            || raw.get().parse().is_ok_and(|number: u64| (1..=max).contains(&number))
        {
            continue;
        } else {
            format!("must be a whole number from 1 to {max}")
        };
        return Err(EventError::new(format!("{path}.{name}"), EventProblem::Invalid(problem)));
    }
    Ok(())
}

fn at_most(path: &str, actual: usize, max: usize, unit: &'static str) -> Result<(), EventError> {
    if actual > max {
        return Err(EventError::new(path, EventProblem::TooLarge { actual, max, unit }));
    }
    Ok(())
}

/// What a JSON text is, from its first character.
pub(crate) fn found_in(json: &str) -> &'static str {
    match json.bytes().next() {
        None => "nothing",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(_) => "a number",
    }
}

pub(crate) fn text_of<'a>(field: &str, raw: &'a RawValue) -> Result<Cow<'a, str>, EventError> {
    let json = raw.get();
    if !json.starts_with('"') {
        let problem = EventProblem::WrongType { expected: "a string", found: found_in(json) };
        return Err(EventError::new(field, problem));
    }
    if !json.contains('\\') {
        return Ok(Cow::Borrowed(&json[1..json.len() - 1]));
    }
    let text: String = serde_json::from_str(json)
        .map_err(|error| EventError::new(field, EventProblem::Syntax(error.to_string())))?;
    Ok(Cow::Owned(text))
}

fn texts_of<'a>(field: &str, raw: &'a RawValue) -> Result<Vec<Cow<'a, str>>, EventError> {
    let items: Vec<&'a RawValue> = serde_json::from_str(raw.get()).map_err(|_| {
        let found = found_in(raw.get());
        EventError::new(field, EventProblem::WrongType { expected: "an array of strings", found })
    })?;
    items.into_iter().map(|item| text_of(field, item)).collect()
}

fn time_of(field: &str, raw: &RawValue) -> Result<Timestamp, EventError> {
    text_of(field, raw)?
        .parse()
        .map_err(|message| EventError::new(field, EventProblem::Invalid(message)))
}

#[cfg(test)]
mod tests;
