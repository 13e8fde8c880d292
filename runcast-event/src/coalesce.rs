//! Merging adjacent deltas: many tokens of one message become one event.
//!
//! A merged event has the newest one's offset and time and the text of all; `merged` says of how
//! many. Only events that stand directly behind each other merge, so that a reader who resumes after
//! any event that it was given misses no text and gets none twice. Readers may ask for it, and a log
//! may store ended runs so.

use std::ops::Range;

use bytes::Bytes;

use crate::limits;
use crate::offset::Offset;
use crate::payload::Payload;

/// The typed events that merge, with what their data may have beside `text`.
const DELTAS: [(&str, &str); 3] =
    [("message.delta", "message"), ("tool.args", "call"), ("output", "stream")];

/// An event for a reader: one of the log's, or several that have merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The offset of the newest event in it.
    pub offset: Offset,
    /// How many events it stands for.
    pub count: u64,
    /// The event, with the text of all.
    pub payload: Payload,
}

impl Merged {
    /// An event as it was appended.
    #[must_use]
    pub fn single(offset: Offset, payload: Payload) -> Self {
        Self { offset, count: 1, payload }
    }

    /// Writes the event as a reader gets it: with its offset in front, and `merged` if it stands for
    /// more than one.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        use std::io::Write as _;
        if self.count == 1 {
            self.payload.write_json(self.offset, out);
            return;
        }
        let (offset, count) = (self.offset, self.count);
        write!(out, "{{\"offset\":{offset},\"merged\":{count},").expect("a Vec takes every write");
        out.extend_from_slice(&self.payload.bytes()[1..]);
    }
}

/// Merges events of one stream, given in order, for a reader that wants all of them. Those that are
/// merged already merge on.
pub fn coalesce(events: impl IntoIterator<Item = Merged>) -> Vec<Merged> {
    let mut merged = Vec::new();
    let mut open: Option<Open> = None;
    for event in events {
        let delta = Delta::of(&event.payload);
        if let (Some(open), Some(delta)) = (&mut open, &delta)
            && open.takes(delta)
        {
            open.text.extend_from_slice(delta.text);
            open.count += event.count;
            open.is_one = false;
            open.newest = (event.offset, event.payload);
            continue;
        }
        merged.extend(open.take().map(Open::close));
        match delta {
            Some(delta) => {
                let (text, count) = (delta.text.to_vec(), event.count);
                open =
                    Some(Open { newest: (event.offset, event.payload), text, count, is_one: true });
            }
            None => merged.push(event),
        }
    }
    merged.extend(open.map(Open::close));
    merged
}

/// Says which deltas of one run may be stored as one event, going through it from the front.
///
/// The first of those that are alike stays by itself: when something began is known by its time, so
/// that the state that is made of what is stored is the same.
#[derive(Debug, Default)]
pub struct StoredDeltas {
    /// Whether the two events before were alike.
    goes_on: bool,
}

impl StoredDeltas {
    /// Where the texts of two events are that follow on each other, if one may stand for both: the
    /// later one, with the text of the earlier one in front of its own. To be called for any two
    /// neighbours, in order.
    pub fn join(
        &mut self,
        earlier: &Payload,
        later: &Payload,
    ) -> Option<(Range<usize>, Range<usize>)> {
        let went_on = std::mem::replace(&mut self.goes_on, false);
        let deltas = (Delta::of(earlier)?, Delta::of(later)?);
        if !deltas.0.is_like(&deltas.1) {
            return None;
        }
        self.goes_on = true;
        went_on.then(|| (deltas.0.place(), deltas.1.place()))
    }
}

/// Deltas that have merged so far.
struct Open {
    newest: (Offset, Payload),
    text: Vec<u8>,
    count: u64,
    /// It is still the one event that it began with.
    is_one: bool,
}

impl Open {
    fn takes(&self, delta: &Delta<'_>) -> bool {
        let newest = Delta::of(&self.newest.1).expect("what is open is a delta");
        let bytes = self.newest.1.bytes().len() + self.text.len() + delta.text.len();
        newest.is_like(delta) && bytes <= limits::EVENT_BYTES_MAX
    }

    fn close(self) -> Merged {
        let Self { newest: (offset, payload), text, count, is_one } = self;
        if is_one {
            return Merged { offset, count, payload };
        }
        let delta = Delta::of(&payload).expect("what is open is a delta");
        let (before, after) = (delta.before_text, delta.after_text);
        let mut bytes = Vec::with_capacity(before.len() + text.len() + after.len());
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(&text);
        bytes.extend_from_slice(after);
        Merged { offset, count, payload: Payload::from_stored(Bytes::from(bytes)) }
    }
}

/// A payload with a text that can go on in the next one.
#[derive(Debug)]
struct Delta<'a> {
    event_type: &'a str,
    /// Labels and data up to the text, behind the time.
    head: &'a [u8],
    before_text: &'a [u8],
    /// The text as it is written in JSON, without its quotes. Two of them behind each other are the
    /// text of both.
    text: &'a [u8],
    after_text: &'a [u8],
}

impl<'a> Delta<'a> {
    fn of(payload: &'a Payload) -> Option<Self> {
        let event_type = payload.event_type();
        let (_, beside) = DELTAS.iter().find(|(name, _)| *name == event_type)?;
        let json: &[u8] = payload.bytes();
        let labels = payload.labels_start();
        let data = labels + memchr::memmem::find(json.get(labels..)?, b",\"data\":")? + 8;
        let text = text_in(json, data, beside.as_bytes())?;
        Some(Self {
            event_type,
            head: &json[labels..text.start],
            before_text: &json[..text.start],
            text: &json[text.clone()],
            after_text: &json[text.end..],
        })
    }

    /// Where the text is in the payload.
    fn place(&self) -> Range<usize> {
        let start = self.before_text.len();
        start..start + self.text.len()
    }

    /// Whether both are deltas of one thing: all but time and text is the same.
    fn is_like(&self, other: &Self) -> bool {
        self.event_type == other.event_type
            && self.head == other.head
            && self.after_text == other.after_text
    }
}

/// Where the text is in a data object that begins at `at` and has only strings: `text`, and
/// `beside` or not. None for any other data, which does not merge.
fn text_in(json: &[u8], mut at: usize, beside: &[u8]) -> Option<Range<usize>> {
    let mut text = None;
    let space = |mut at: usize| {
        while matches!(json.get(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        at
    };
    let string = |at: usize| -> Option<Range<usize>> {
        (json.get(at) == Some(&b'"')).then_some(())?;
        let mut end = at + 1;
        loop {
            end += memchr::memchr2(b'"', b'\\', json.get(end..)?)?;
            if json[end] == b'"' {
                return Some(at + 1..end);
            }
            end += 2;
        }
    };
    at = space(at);
    (json.get(at) == Some(&b'{')).then_some(())?;
    loop {
        let key = string(space(at + 1))?;
        at = space(key.end + 1);
        (json.get(at) == Some(&b':')).then_some(())?;
        let value = string(space(at + 1))?;
        at = space(value.end + 1);
        match &json[key] {
            b"text" => text = Some(value),
            key if key == beside => {}
            _ => return None,
        }
        match json.get(at)? {
            b',' => {}
            b'}' => return text,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{Timestamp, parse_event};

    fn events(drafts: &[Value]) -> Vec<Payload> {
        let parse = |(at, draft): (usize, &Value)| {
            let now = Timestamp::from_micros(at as i64);
            parse_event(draft.to_string().as_bytes(), now).unwrap().payload
        };
        drafts.iter().enumerate().map(parse).collect()
    }

    fn numbered(payloads: &[Payload], after: u64) -> impl Iterator<Item = Merged> {
        let numbers = (after + 1..).map(Offset::new);
        let numbered = numbers.zip(&payloads[after as usize..]);
        numbered.map(|(offset, payload)| Merged::single(offset, payload.clone()))
    }

    fn delta(message: &str, text: &str) -> Value {
        json!({"type": "message.delta", "data": {"message": message, "text": text}})
    }

    #[test]
    fn adjacent_deltas_of_one_message_are_one_event_with_the_newest_offset() {
        let payloads = events(&[
            delta("a", "Hel\n"),
            delta("a", "lo \"x\""),
            delta("b", "1"),
            delta("a", "2"),
        ]);
        let merged = coalesce(numbered(&payloads, 0));
        let offsets: Vec<_> =
            merged.iter().map(|event| (event.offset.get(), event.count)).collect();
        assert_eq!(offsets, [(2, 2), (3, 1), (4, 1)]);
        let mut json = Vec::new();
        merged[0].write_json(&mut json);
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"offset":2,"merged":2,"type":"message.delta","time":"1970-01-01T00:00:00.000001Z","channel":"output","data":{"message":"a","text":"Hel\nlo \"x\""}}"#
        );
    }

    #[test]
    fn what_says_more_than_a_text_does_not_merge() {
        let counted = json!({"type": "output", "data": {"text": "x", "replaced_bytes": 1}});
        let labelled = json!({"type": "output", "step": "s", "data": {"text": "x"}});
        let plain = json!({"type": "output", "data": {"text": "x"}});
        let payloads = events(&[counted.clone(), counted, labelled, plain.clone(), plain]);
        let merged = coalesce(numbered(&payloads, 0));
        assert_eq!(merged.iter().map(|event| event.count).collect::<Vec<_>>(), [1, 1, 1, 2]);
    }

    #[test]
    fn a_merged_event_is_not_larger_than_an_event_may_be() {
        let large = "x".repeat(limits::EVENT_BYTES_MAX / 3);
        let payloads = events(&vec![delta("a", &large); 5]);
        let merged = coalesce(numbered(&payloads, 0));
        assert!(merged.len() > 1);
        assert!(merged.iter().all(|m| m.payload.bytes().len() <= limits::EVENT_BYTES_MAX));
        assert_eq!(merged.iter().map(|event| event.count).sum::<u64>(), 5);
    }

    #[test]
    fn what_is_merged_already_merges_on() {
        let payloads = events(&[delta("a", "1"), delta("a", "2"), delta("a", "3")]);
        let mut merged = coalesce(numbered(&payloads[..2], 0));
        assert_eq!(coalesce(merged.clone()), merged, "nothing is added");
        merged.extend(numbered(&payloads, 2));
        assert_eq!(coalesce(merged), coalesce(numbered(&payloads, 0)));
    }

    #[test]
    fn the_first_of_adjacent_deltas_is_stored_by_itself() {
        let other = json!({"type": "my.event"});
        let payloads = events(&[
            delta("a", "1"),
            delta("a", "2"),
            delta("a", "3"),
            delta("b", "1"),
            delta("b", "2"),
            other,
            delta("b", "3"),
            delta("b", "4"),
            delta("b", "5"),
        ]);
        let mut deltas = StoredDeltas::default();
        let pairs = payloads.windows(2);
        let joined: Vec<bool> =
            pairs.map(|pair| deltas.join(&pair[0], &pair[1]).is_some()).collect();
        assert_eq!(joined, [false, true, false, false, false, false, false, true]);
    }

    fn draft() -> impl Strategy<Value = Value> {
        let text = prop_oneof![any::<String>(), Just("\u{1F538}\"\\\n".to_owned())];
        (0_u8..8, text).prop_map(|(pick, text)| match pick {
            0..=3 => delta("a", &text),
            4 => delta("b", &text),
            5 => json!({"type": "output", "data": {"stream": "stdout", "text": text}}),
            6 => json!({"type": "output", "data": {"text": text, "stream": "stderr"}}),
            _ => json!({"type": "my.event", "data": {"text": text}}),
        })
    }

    /// The text of each message and stream, as a reader puts it together.
    fn read(events: &[Merged], texts: &mut std::collections::BTreeMap<String, String>) {
        for event in events {
            let event = event.payload.parse(event.offset).unwrap();
            let data = event.data_value();
            let key = format!("{} {} {}", event.event_type, data["message"], data["stream"]);
            texts.entry(key).or_default().push_str(data["text"].as_str().unwrap());
        }
    }

    proptest! {
        #[test]
        fn the_text_is_the_same_to_the_letter_wherever_a_reader_drops_and_resumes(
            drafts in prop::collection::vec(draft(), 1..60),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..60), 0..6),
        ) {
            let payloads = events(&drafts);
            let mut whole = std::collections::BTreeMap::new();
            read(&numbered(&payloads, 0).collect::<Vec<_>>(), &mut whole);

            let mut texts = std::collections::BTreeMap::new();
            let mut after = 0;
            for (stop, page) in cuts {
                // A page of the log, of which the reader sees a part before it drops.
                let merged = coalesce(numbered(&payloads, after).take(page));
                let seen = &merged[..stop.index(merged.len() + 1).min(merged.len())];
                read(seen, &mut texts);
                after = seen.last().map_or(after, |event| event.offset.get());
            }
            read(&coalesce(numbered(&payloads, after)), &mut texts);
            prop_assert_eq!(texts, whole);
        }
    }
}
