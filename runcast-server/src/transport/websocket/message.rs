//! The server's messages, each as the frame that carries it.
//!
//! Everything in them is a number, an id, a cursor, or JSON that was made or checked by a JSON
//! writer, so that nothing that a client or a producer sends can end a message or begin another.

use std::io::Write as _;

use bytes::Bytes;
use runcast_event::{Cursor, Epoch, Merged, Offset, RunId};
use runcast_hub::{Format, Gap, Slice};
use runcast_log::{Appended, Record};
use serde_json::value::RawValue;

use super::{MESSAGE_BYTES_MAX, text};
use crate::problem::Problem;
use crate::stored::event_of;
use crate::transport::answer;
use crate::transport::page::write_gap;
use crate::transport::view::{Share, View};

/// The longest id of a request, in bytes as it is written.
const REQUEST_ID_BYTES_MAX: usize = 66;
/// More than an event's offset and its count add to it, and than what is behind a message's events.
const BESIDE_EVENT_BYTES: usize = 128;
const VEC: &str = "a Vec takes every write";

/// What a client calls its request, to know the answer: a text or a whole number, given back to the
/// letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(Box<str>);

impl RequestId {
    /// Takes an id, or none if the JSON is none.
    pub(crate) fn new(json: &RawValue) -> Option<Self> {
        let json = json.get();
        let is_number = json.parse::<u64>().is_ok_and(|number| number <= Offset::MAX.get());
        let is_id = json.len() <= REQUEST_ID_BYTES_MAX && (json.starts_with('"') || is_number);
        is_id.then(|| Self(json.into()))
    }
}

fn message(kind: &str, id: Option<&RequestId>, rest: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::with_capacity(128);
    text(&mut out, |out| {
        write!(out, "{{\"type\":\"{kind}\"").expect(VEC);
        if let Some(RequestId(id)) = id {
            write!(out, ",\"id\":{id}").expect(VEC);
        }
        rest(out);
        out.push(b'}');
    });
    out.into()
}

/// Says that events of the run come from the cursor on, and which is the newest.
pub(crate) fn subscribed(
    id: Option<&RequestId>,
    run: &RunId,
    cursor: Cursor,
    last: Cursor,
) -> Bytes {
    message("subscribed", id, |out| {
        write!(out, ",\"run\":\"{run}\",\"cursor\":\"{cursor}\",\"last\":\"{last}\"").expect(VEC);
    })
}

/// Says that nothing more of the run comes.
pub(crate) fn unsubscribed(id: Option<&RequestId>, run: &RunId) -> Bytes {
    message("unsubscribed", id, |out| write!(out, ",\"run\":\"{run}\"").expect(VEC))
}

/// The events of a batch, made once for all readers of the run who get all of them. Several messages
/// where one would be too large; empty when a reader of this view gets none.
pub(crate) fn events(slice: &Slice, run: &RunId, view: &View) -> Bytes {
    match view.share_of(slice.records()) {
        Share::All => slice.encoded(Format::WebSocket, |epoch, records, out| {
            write_events(run, epoch, as_they_are(records), slice.last(), out);
        }),
        Share::Some => page(run, slice.epoch(), slice.records(), view),
        Share::None => Bytes::new(),
    }
}

/// Events that follow on each other, as [`events`].
pub(crate) fn page(run: &RunId, epoch: Epoch, records: &[Record], view: &View) -> Bytes {
    let Some(last) = records.last().map(|record| record.offset) else { return Bytes::new() };
    let mut out = Vec::new();
    if view.is_plain() {
        write_events(run, epoch, as_they_are(records), last, &mut out);
    } else {
        write_events(run, epoch, view.of(records).into_iter(), last, &mut out);
    }
    out.into()
}

fn as_they_are(records: &[Record]) -> impl Iterator<Item = Merged> {
    records.iter().map(event_of)
}

fn write_events(
    run: &RunId,
    epoch: Epoch,
    events: impl Iterator<Item = Merged>,
    last: Offset,
    out: &mut Vec<u8>,
) {
    let mut events = events.peekable();
    while events.peek().is_some() {
        text(out, |out| {
            let start = out.len();
            write!(out, "{{\"type\":\"events\",\"run\":\"{run}\",\"events\":[").expect(VEC);
            let mut after = Offset::START;
            let fits = |event: &Merged, bytes: usize| {
                bytes + event.payload.bytes().len() + 2 * BESIDE_EVENT_BYTES <= MESSAGE_BYTES_MAX
            };
            while let Some(event) = events.next_if(|event| fits(event, out.len() - start)) {
                if after > Offset::START {
                    out.push(b',');
                }
                after = event.offset;
                event.write_json(out);
            }
            // Behind the last event the cursor passes over those that were not chosen.
            let after = if events.peek().is_some() { after } else { last };
            write!(out, "],\"cursor\":\"{}\"}}", Cursor::new(epoch, after)).expect(VEC);
        });
    }
}

/// Moves a reader past events that it did not choose.
pub(crate) fn cursor(run: &RunId, cursor: Cursor) -> Bytes {
    message("cursor", None, |out| {
        write!(out, ",\"run\":\"{run}\",\"cursor\":\"{cursor}\"").expect(VEC);
    })
}

/// Says which events the reader cannot have, and where it goes on.
pub(crate) fn gap(run: &RunId, gap: &Gap) -> Bytes {
    let cursor = gap.behind();
    message("gap", None, |out| {
        write!(out, ",\"run\":\"{run}\",\"gap\":").expect(VEC);
        write_gap(gap, out);
        write!(out, ",\"cursor\":\"{cursor}\"").expect(VEC);
    })
}

/// Says that the run has ended, and with which type of event, if that is still known.
pub(crate) fn end(run: &RunId, cursor: Cursor, event_type: Option<&str>) -> Bytes {
    message("end", None, |out| {
        let offset = cursor.after;
        write!(out, ",\"run\":\"{run}\",\"offset\":{offset},\"event_type\":").expect(VEC);
        match event_type {
            Some(event_type) => write!(out, "\"{event_type}\"").expect(VEC),
            None => out.extend_from_slice(b"null"),
        }
        write!(out, ",\"cursor\":\"{cursor}\"").expect(VEC);
    })
}

/// Says that the run was deleted.
pub(crate) fn deleted(run: &RunId) -> Bytes {
    message("deleted", None, |out| write!(out, ",\"run\":\"{run}\"").expect(VEC))
}

/// Says what was stored.
pub(crate) fn published(id: &RequestId, run: &RunId, appended: &Appended) -> Bytes {
    message("published", Some(id), |out| {
        let answer = answer::appended(run, appended, None);
        out.push(b',');
        out.extend_from_slice(&answer[1..answer.len() - 1]);
    })
}

/// Says what is wrong with a request, or why a subscription does not go on.
pub(crate) fn error(id: Option<&RequestId>, run: Option<&RunId>, problem: &Problem) -> Bytes {
    message("error", id, |out| {
        if let Some(run) = run {
            write!(out, ",\"run\":\"{run}\"").expect(VEC);
        }
        out.extend_from_slice(b",\"problem\":");
        out.extend_from_slice(&problem.to_json());
    })
}

/// Says that nothing can come now: the log cannot be reached.
pub(crate) fn away() -> Bytes {
    message("away", None, |_| {})
}

/// Answers a client's ping.
pub(crate) fn pong(id: Option<&RequestId>) -> Bytes {
    message("pong", id, |_| {})
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use runcast_event::{EventFilter, Timestamp, parse_event};
    use serde_json::{Value, json};

    use super::*;
    use crate::transport::websocket::tests::payloads;

    fn merged(offset: u64, draft: &Value) -> Merged {
        let now = Timestamp::from_micros(0);
        let payload = parse_event(draft.to_string().as_bytes(), now).unwrap().payload;
        Merged { offset: Offset::new(offset), count: 1, payload }
    }

    fn written(events: Vec<Merged>, last: u64) -> Vec<Value> {
        let run = RunId::new("r").unwrap();
        let mut out = Vec::new();
        write_events(&run, Epoch::FIRST, events.into_iter(), Offset::new(last), &mut out);
        let messages = payloads(&out).into_iter().map(|(head, payload)| {
            assert!(head == 0x81 && payload.len() <= MESSAGE_BYTES_MAX);
            serde_json::from_slice(&payload).unwrap()
        });
        messages.collect()
    }

    #[test]
    fn a_batch_is_one_message_with_the_cursor_behind_it() {
        let events = vec![merged(7, &json!({"type": "a.b"})), merged(9, &json!({"type": "c.d"}))];
        let time = "1970-01-01T00:00:00.000000Z";
        let expected = json!({"type": "events", "run": "r", "events": [
            {"offset": 7, "type": "a.b", "time": time}, {"offset": 9, "type": "c.d", "time": time},
        ], "cursor": "12"});
        assert_eq!(written(events, 12), [expected]);
        assert!(written(Vec::new(), 12).is_empty());
    }

    #[test]
    fn a_batch_that_is_too_large_is_several_messages_each_with_its_cursor() {
        let large = json!({"type": "a.b", "data": "x".repeat(250 * 1024)});
        let messages = written((1..=9).map(|offset| merged(offset, &large)).collect(), 10);
        let cursors: Vec<_> = messages.iter().map(|message| message["cursor"].clone()).collect();
        assert_eq!(cursors, ["4", "8", "10"]);
        let offsets = messages.iter().flat_map(|message| message["events"].as_array().unwrap());
        assert_eq!(offsets.map(|event| event["offset"].as_u64().unwrap()).sum::<u64>(), 45);
    }

    #[test]
    fn an_id_is_a_short_text_or_a_whole_number() {
        let id = |json: &str| RequestId::new(&serde_json::from_str::<Box<RawValue>>(json).unwrap());
        for json in ["0", "9007199254740991", "\"\"", "\"a\\u0000\\\"\"", "\"x\""] {
            assert_eq!(&*id(json).unwrap().0, json);
        }
        for json in ["-1", "1.5", "1e3", "9007199254740992", "null", "[]", "{}", "true"] {
            assert_eq!(id(json), None, "{json}");
        }
        assert_eq!(id(&format!("\"{}\"", "x".repeat(65))), None);
    }

    proptest! {
        #[test]
        fn no_data_can_forge_a_message(text in any::<String>(), step in any::<String>()) {
            let controls: String = (0_u8..=0x1f).map(char::from).chain("\u{7f}\u{85}\u{2028}\u{2029}".chars()).collect();
            let draft = json!({"type": "a.b", "data": {"text": format!("{text}{controls}"), &step: [controls]}});
            let messages = written(vec![merged(1, &draft)], 1);
            prop_assert_eq!(messages.len(), 1);
            prop_assert_eq!(&messages[0]["events"][0]["data"], &draft["data"]);
        }
    }

    #[test]
    fn a_view_without_events_in_a_batch_gives_nothing() {
        let mut filter = EventFilter::default();
        filter.allow("type", "x.*").unwrap();
        let view = View { filter, coalesce: false };
        let payload = merged(1, &json!({"type": "a.b"})).payload.into_bytes();
        let record = runcast_log::Record::single(Offset::new(1), payload);
        assert_eq!(view.of(&[record]), Vec::new());
    }
}
