//! Reading a stored event for what it says: its labels and the fields of its data, each by name.
//!
//! Nothing is read that nobody asks for, and one field that cannot be represented (half a surrogate
//! pair, a number beyond all) takes no other with it.

use std::borrow::Cow;

use serde::de::{Deserializer as _, Visitor};
use serde_json::value::RawValue;

use crate::draft::Fields;
use crate::filter::Head;
use crate::label::Stage;
use crate::payload::Payload;
use crate::time::Timestamp;

/// A stored event, opened.
#[derive(Debug)]
pub struct Reading<'a> {
    head: Head<'a>,
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Reading<'a> {
    /// Opens an event. Data that is not an object has no fields.
    #[must_use]
    pub fn of(payload: &'a Payload) -> Self {
        let (head, data) = Head::split(payload);
        let fields = data.and_then(|data| serde_json::from_slice::<Fields<'_>>(data).ok());
        Self { head, fields: fields.map(|fields| fields.0).unwrap_or_default() }
    }

    /// Its type.
    #[must_use]
    pub fn event_type(&self) -> &'a str {
        self.head.event_type
    }

    /// The fields of its data, in the order in which they are written.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.fields.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// A field of its data. Null says "not given".
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.fields.iter().find(|(known, _)| known == name)?;
        Some(*value).filter(|value| value.get() != "null")
    }

    /// A field that is a string; what cannot be represented in it is replaced.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.field(name).and_then(readable_text)
    }

    /// A field that is a whole number from 0.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<u64> {
        self.field(name)?.get().parse().ok()
    }

    /// A field that is a whole number.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.field(name)?.get().parse().ok()
    }

    /// A field that is a number from 0 to 1.
    #[must_use]
    pub fn fraction(&self, name: &str) -> Option<f64> {
        let number: f64 = self.field(name)?.get().parse().ok()?;
        (0.0..=1.0).contains(&number).then_some(number)
    }

    /// A field that is a time.
    #[must_use]
    pub fn time(&self, name: &str) -> Option<Timestamp> {
        self.text(name)?.parse().ok()
    }

    /// The label `variation`.
    #[must_use]
    pub fn variation(&self) -> Option<Cow<'a, str>> {
        self.head.variation.and_then(label)
    }

    /// The label `step`.
    #[must_use]
    pub fn step(&self) -> Option<Cow<'a, str>> {
        self.head.step.and_then(label)
    }

    /// The label `agent`.
    #[must_use]
    pub fn agent(&self) -> Option<Cow<'a, str>> {
        self.head.agent.and_then(label)
    }

    /// The label `stage`.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        serde_json::from_slice(self.head.stage?).ok()
    }
}

fn label(json: &[u8]) -> Option<Cow<'_, str>> {
    serde_json::from_slice(json).ok().and_then(readable_text)
}

/// The text of a string; none for another value. Halves of surrogate pairs, which JSON can write and
/// a text cannot have, are replaced.
#[must_use]
pub fn readable_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    struct Lossy;
    impl<'de> Visitor<'de> for Lossy {
        type Value = Cow<'de, str>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string")
        }
        fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
            Ok(String::from_utf8_lossy(bytes))
        }
        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            Ok(Cow::Owned(String::from_utf8_lossy(bytes).into_owned()))
        }
    }
    if !raw.get().starts_with('"') {
        return None;
    }
    // As bytes, a string may have what no text has.
    serde_json::Deserializer::from_str(raw.get()).deserialize_bytes(Lossy).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_event;

    fn payload(json: &str) -> Payload {
        parse_event(json.as_bytes(), Timestamp::default()).unwrap().payload
    }

    #[test]
    fn what_an_event_says_is_read_field_by_field() {
        let payload = payload(
            r#"{"type":"my.event","stage":4,"step":"a\"b","variation":"v","data":{"text":"a\n\ud83d","count":7,"none":null,"part":0.5,"big":1e999,"at":"2026-01-02T03:04:05Z"}}"#,
        );
        let reading = Reading::of(&payload);
        assert_eq!(reading.event_type(), "my.event");
        assert_eq!(reading.stage(), Some(Stage::Number(4)));
        assert_eq!(reading.step().as_deref(), Some("a\"b"));
        assert_eq!(reading.variation().as_deref(), Some("v"));
        assert_eq!(reading.agent(), None);
        assert!(reading.text("text").is_some_and(|text| text.starts_with("a\n\u{fffd}")));
        assert_eq!(reading.count("count"), Some(7));
        assert!(reading.field("none").is_none());
        assert_eq!(reading.fraction("part"), Some(0.5));
        assert_eq!(reading.fraction("big"), None);
        assert_eq!(reading.time("at").map(Timestamp::as_micros), Some(1_767_323_045_000_000));
        assert_eq!(reading.fields().count(), 6);
    }

    #[test]
    fn data_that_is_no_object_has_no_fields() {
        for event in [r#"{"type":"my.event"}"#, r#"{"type":"my.event","data":[1]}"#] {
            assert_eq!(Reading::of(&payload(event)).fields().count(), 0);
        }
    }
}
