//! Values that a state keeps as they were sent, and texts that grow.

use std::fmt;

use runcast_event::readable_text;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// A value, as its producer wrote it. Two are the same if they say the same.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// The value's text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// The value, read.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_str(self.get()).unwrap_or_default()
    }

    /// A text as a value.
    ///
    /// # Panics
    /// Never: every text is representable in JSON.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self(serde_json::value::to_raw_value(text).expect("a text is JSON"))
    }

    /// An object without fields.
    ///
    /// # Panics
    /// Never: it is JSON.
    #[must_use]
    pub fn empty_object() -> Self {
        Self(RawValue::from_string("{}".to_owned()).expect("an empty object is JSON"))
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<String> {
        readable_text(&self.0).map(std::borrow::Cow::into_owned)
    }

    /// As much of a value as `max` bytes hold, and how many bytes that leaves out. A text can be
    /// cut; any other value is kept whole or not at all, and so is one that no reader could read.
    pub(crate) fn fitting(raw: &RawValue, max: usize) -> (Option<Self>, u64) {
        let json = raw.get();
        if let Some(inner) = inner_of(json) {
            let kept = cut(inner, max.saturating_sub(2));
            let omitted = (inner.len() - kept.len()) as u64;
            return (Some(Self(mended(kept))), omitted);
        }
        if json.len() <= max && serde_json::from_str::<Value>(json).is_ok() {
            return (Some(Self(raw.to_owned())), 0);
        }
        (None, json.len() as u64)
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get() || self.value() == other.value()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

/// A text that grows by deltas. It is held as it is written in JSON, where what stands in two deltas
/// behind each other is what would stand in one, halves of a surrogate pair too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrowingText(String);

impl GrowingText {
    /// Bytes of it, as JSON.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds as much of a text as `max` bytes hold, and says how many bytes that leaves out.
    pub(crate) fn push(&mut self, raw: &RawValue, max: usize) -> u64 {
        let Some(inner) = inner_of(raw.get()) else { return 0 };
        let kept = cut(inner, max);
        self.0.push_str(kept);
        (inner.len() - kept.len()) as u64
    }

    /// The same without what no reader could read.
    pub(crate) fn mend(&mut self) {
        if self.0.contains("\\u") {
            let mended = mended(&self.0);
            self.0 = inner_of(mended.get()).unwrap_or_default().to_owned();
        }
    }
}

impl Serialize for GrowingText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        quoted(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for GrowingText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let inner = inner_of(raw.get()).ok_or_else(|| {
            serde::de::Error::invalid_type(serde::de::Unexpected::Other("a value"), &"a string")
        })?;
        Ok(Self(inner.to_owned()))
    }
}

/// What stands between the quotes of a string; none for another value.
fn inner_of(json: &str) -> Option<&str> {
    json.strip_prefix('"')?.strip_suffix('"')
}

fn quoted(inner: &str) -> Box<RawValue> {
    RawValue::from_string(format!("\"{inner}\"")).expect("whole characters of a string are one")
}

/// A string of these characters, with halves of surrogate pairs replaced.
fn mended(inner: &str) -> Box<RawValue> {
    let raw = quoted(inner);
    if !inner.contains("\\u") {
        return raw;
    }
    let text = readable_text(&raw).unwrap_or_default();
    serde_json::value::to_raw_value(&text).expect("a text is JSON")
}

/// The first of the characters between a string's quotes, as many as `max` bytes hold. An escape is
/// one character.
fn cut(inner: &str, max: usize) -> &str {
    if inner.len() <= max {
        return inner;
    }
    let bytes = inner.as_bytes();
    let mut at = 0;
    loop {
        let length = match (bytes[at], bytes.get(at + 1)) {
            (b'\\', Some(b'u')) => 6,
            (b'\\', _) => 2,
            (0..0x80, _) => 1,
            (0x80..0xe0, _) => 2,
            (0xe0..0xf0, _) => 3,
            (0xf0.., _) => 4,
        };
        if at + length > max {
            return &inner[..at];
        }
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn a_value_over_the_limit_is_left_out_and_a_text_is_cut() {
        let fitting = |json: &str, max| {
            let (kept, omitted) = Json::fitting(&raw(json), max);
            (kept.map(|kept| kept.get().to_owned()), omitted)
        };
        assert_eq!(fitting(r#"{"a": 1.10}"#, 11), (Some(r#"{"a": 1.10}"#.to_owned()), 0));
        assert_eq!(fitting(r#"{"a": 1.10}"#, 10), (None, 11));
        assert_eq!(fitting(r#""abcdé""#, 7), (Some(r#""abcd""#.to_owned()), 2));
        assert_eq!(fitting(r#""ab\ncd""#, 5), (Some(r#""ab""#.to_owned()), 4));
        // No reader could take these.
        assert_eq!(fitting("[1e999]", 100), (None, 7));
        assert_eq!(fitting(r#"["\ud83d"]"#, 100), (None, 10));
        let half = Json::fitting(&raw(r#""a\ud83d""#), 99).0.unwrap().as_text().unwrap();
        assert!(half.starts_with("a\u{fffd}"), "{half}");
    }

    #[test]
    fn values_that_say_the_same_are_the_same() {
        let json = |text: &str| Json::fitting(&raw(text), 100).0.unwrap();
        assert_eq!(json(r#"{"a":1,"b":[2]}"#), json(r#"{ "b": [2], "a": 1 }"#));
        assert_ne!(json(r#"{"a":1}"#), json(r#"{"a":2}"#));
        assert_eq!(Json::text("a\n\"").as_text().as_deref(), Some("a\n\""));
    }

    proptest! {
        #[test]
        fn a_text_is_the_same_however_it_is_cut_into_deltas(
            pieces in prop::collection::vec(
                prop_oneof![Just("\\ud83d"), Just("\\udd38"), Just("\\n"), Just("é"), Just("abc"), Just("\\u00e9")],
                0..40,
            ),
            max in 0_usize..80,
        ) {
            let (mut whole, mut grown) = (GrowingText::default(), GrowingText::default());
            let omitted = whole.push(&raw(&format!("\"{}\"", pieces.concat())), max);
            let mut grown_omitted = 0;
            for piece in &pieces {
                let room = if grown_omitted > 0 { 0 } else { max - grown.bytes() };
                grown_omitted += grown.push(&raw(&format!("\"{piece}\"")), room);
            }
            prop_assert_eq!((&whole, omitted), (&grown, grown_omitted));
            let stored = serde_json::to_string(&whole).unwrap();
            let read: GrowingText = serde_json::from_str(&stored).unwrap();
            prop_assert_eq!(&read, &whole);
            whole.mend();
            let served = serde_json::to_string(&whole).unwrap();
            prop_assert!(serde_json::from_str::<String>(&served).is_ok());
        }
    }
}
