//! Finding events by a text in them, as a person would search a log.

use std::borrow::Cow;

use crate::payload::Payload;

/// A search for a text in an event's type and in the string values of its data, ignoring the case
/// of ASCII letters. Names of fields do not count, so that "output" does not find every event.
#[derive(Debug, Clone)]
pub struct TextFilter {
    needle: String,
}

impl TextFilter {
    /// A search for `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { needle: text.to_ascii_lowercase() }
    }

    /// Whether the event has the text.
    #[must_use]
    pub fn matches(&self, payload: &Payload) -> bool {
        let json = payload.bytes();
        if self.found_in(payload.event_type()) {
            return true;
        }
        let data_start = memchr::memmem::find(json, b",\"data\":");
        let Some(start) = data_start else { return false };
        let mut rest = &json[start + b",\"data\":".len()..];
        while let Some(open) = memchr::memchr(b'"', rest) {
            rest = &rest[open + 1..];
            let Some(length) = string_length(rest) else { return false };
            let (raw, after) = (&rest[..length], &rest[length + 1..]);
            rest = after;
            let is_key = after.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':');
            if !is_key && self.found_in(&unescape(raw)) {
                return true;
            }
        }
        false
    }

    fn found_in(&self, text: &str) -> bool {
        let (text, needle) = (text.as_bytes(), self.needle.as_bytes());
        let Some(&first) = needle.first() else { return true };
        let starts = memchr::memchr2_iter(first, first.to_ascii_uppercase(), text);
        starts
            .take_while(|at| at + needle.len() <= text.len())
            .any(|at| text[at..at + needle.len()].eq_ignore_ascii_case(needle))
    }
}

/// Bytes up to the quote that closes the string, which has been opened.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

fn unescape(raw: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw).is_none() {
        return String::from_utf8_lossy(raw);
    }
    let mut quoted = Vec::with_capacity(raw.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    match serde_json::from_slice::<String>(&quoted) {
        Ok(text) => Cow::Owned(text),
        // A lone surrogate: search it as it is written.
        Err(_) => String::from_utf8_lossy(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Timestamp, parse_event};

    fn event(json: &str) -> Payload {
        parse_event(json.as_bytes(), Timestamp::default()).unwrap().payload
    }

    #[test]
    fn a_text_is_found_in_values_and_in_the_type_but_not_in_names() {
        let event = event(
            r#"{"type":"my.event","step":"fetch","data":{"key":["a Tést\n\"x\"",{"b" : "needle"}]}}"#,
        );
        for text in ["NEEDLE", "tést\n\"X", "my.ev", ""] {
            assert!(TextFilter::new(text).matches(&event), "{text}");
        }
        for text in ["key", "b", "type", "needles", "fetch"] {
            assert!(!TextFilter::new(text).matches(&event), "{text}");
        }
    }
}
