//! Server-sent events: one frame an event, and a few special frames.
//!
//! An event is one line of JSON without a raw line end ([`Payload`] promises it), so that nothing
//! that a producer sends can end a frame or begin another.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use runcast_event::{Cursor, Epoch, Merged, Offset};
use runcast_hub::{Format, Gap, Slice};
use runcast_log::Record;

use super::page::write_gap;
use super::shape::Shape;
use super::view::Share;
use crate::stored::event_of;

/// What a stream begins with: it makes proxies and browsers show that it is open, and tells a
/// browser to come back after a second.
pub(crate) const OPENING: &[u8] = b": runcast\nretry: 1000\n\n";
/// Says that the stream is open and nothing has happened.
const HEARTBEAT: &[u8] = b":\n\n";
/// Says that the stream is open, and that nothing can come now: the log cannot be reached.
const AWAY: &[u8] = b"event: away\ndata: {}\n\n";
/// Says that the run was deleted.
pub(crate) const DELETED: &[u8] = b"event: deleted\ndata: {}\n\n";

/// The frames of events, made once for all readers of the same format who get all of them. Empty
/// when a reader of this shape gets none.
pub(crate) fn events(slice: &Slice, shape: &Shape) -> Bytes {
    match shape.view.share_of(slice.records()) {
        Share::All => slice.encoded(shape.format, |epoch, records, out| {
            write_plain(epoch, records, shape.format, out);
        }),
        Share::Some => page(slice.epoch(), slice.records(), shape),
        Share::None => Bytes::new(),
    }
}

/// The frames of events that follow on each other in one stream.
pub(crate) fn page(epoch: Epoch, records: &[Record], shape: &Shape) -> Bytes {
    /// What a frame has beside its payload: `id`, `data`, the offset, line ends; about.
    const FRAME_BYTES: usize = 64;
    if !shape.view.is_plain() {
        let mut out = Vec::new();
        for event in shape.view.of(records) {
            write_event(epoch, &event, shape.format, &mut out);
        }
        return out.into();
    }
    let payloads: usize = records.iter().map(|record| record.payload.len()).sum();
    let mut out = Vec::with_capacity(payloads + records.len() * FRAME_BYTES);
    write_plain(epoch, records, shape.format, &mut out);
    out.into()
}

fn write_plain(epoch: Epoch, records: &[Record], format: Format, out: &mut Vec<u8>) {
    for record in records {
        write_event(epoch, &event_of(record), format, out);
    }
}

/// Says that the stream is open.
pub(crate) fn heartbeat(is_away: bool) -> Bytes {
    Bytes::from_static(if is_away { AWAY } else { HEARTBEAT })
}

/// Tells a reader after how long to come back.
pub(crate) fn retry(after: Duration) -> Bytes {
    format!("retry: {}\n\n", after.as_millis()).into()
}

/// Moves a reader's cursor past events that it did not choose, and says that the stream is open. A
/// browser takes the `id` over and dispatches nothing, because there is no data.
pub(crate) fn passed(cursor: Cursor) -> Bytes {
    format!("id: {cursor}\n\n").into()
}

pub(super) fn write_event(epoch: Epoch, event: &Merged, format: Format, out: &mut Vec<u8>) {
    let cursor = Cursor::new(epoch, event.offset);
    writeln!(out, "id: {cursor}").expect("a Vec takes every write");
    if format == Format::SseNamed {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.payload.event_type().as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    event.write_json(out);
    out.extend_from_slice(b"\n\n");
}

/// Says which events the reader cannot have, and moves it behind them.
pub(crate) fn gap(gap: &Gap) -> Bytes {
    let mut out = format!("id: {}\nevent: gap\ndata: ", gap.behind()).into_bytes();
    write_gap(gap, &mut out);
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// Says that the run has ended, and with which type of event, if that is still known.
pub(crate) fn end(offset: Offset, event_type: Option<&str>) -> Bytes {
    let data = serde_json::json!({"offset": offset, "type": event_type});
    format!("event: end\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use runcast_event::{Timestamp, parse_event};
    use runcast_hub::GapReason;

    use super::*;

    fn event(json: &str) -> Merged {
        let payload = parse_event(json.as_bytes(), Timestamp::from_micros(0)).unwrap().payload;
        Merged { offset: Offset::new(7), count: 1, payload }
    }

    fn frame(json: &str, epoch: u32, format: Format) -> String {
        let mut out = Vec::new();
        write_event(Epoch::new(epoch).unwrap(), &event(json), format, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_is_one_frame() {
        let json = r#"{"type":"output","data":{"text":"hi"}}"#;
        let data = r#"data: {"offset":7,"type":"output","time":"1970-01-01T00:00:00.000000Z","channel":"output","data":{"text":"hi"}}"#;
        assert_eq!(frame(json, 1, Format::Sse), format!("id: 7\n{data}\n\n"));
        assert_eq!(frame(json, 2, Format::SseNamed), format!("id: 2.7\nevent: output\n{data}\n\n"));
    }

    #[test]
    fn no_data_can_forge_a_frame() {
        let forgeries = [
            r#"{"type":"a.b","data":"x\n\nid: 9\ndata: {}\n\n"}"#,
            "{\"type\":\"a.b\",\"data\":{\r\n\r\n\"id: 9\":\n\n1}}",
            "{\"type\":\"a.b\",\"step\":\"a\u{2028}b\",\"data\":\"\u{85}\u{2029}\"}",
        ];
        for forgery in forgeries {
            let frame = frame(forgery, 1, Format::SseNamed);
            let lines: Vec<_> = frame.split(['\n', '\r']).collect();
            assert_eq!(lines.len(), 5, "{frame:?}");
            assert_eq!(lines[0], "id: 7");
            assert_eq!(lines[1], "event: a.b");
            assert!(lines[2].starts_with("data: {\"offset\":7,"));
            assert_eq!(lines[3..], ["", ""]);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_sent_comes_back_in_one_frame(text in any::<String>(), step in "\\PC{1,20}") {
            let event = serde_json::json!({"type": "output", "step": step, "data": {"text": text}});
            let frame = frame(&serde_json::to_string_pretty(&event).unwrap(), 1, Format::Sse);
            let lines: Vec<_> = frame.split(['\n', '\r']).collect();
            prop_assert_eq!(lines.len(), 4);
            prop_assert_eq!(lines[0], "id: 7");
            let data = lines[1].strip_prefix("data: ").unwrap();
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            prop_assert_eq!((&data["step"], &data["data"]), (&event["step"], &event["data"]));
        }
    }

    #[test]
    fn special_frames_have_a_name_and_a_gap_says_where_it_goes_on() {
        let trimmed = Gap {
            from: Offset::new(10),
            to: Offset::new(20),
            reason: GapReason::Trimmed,
            epoch: Epoch::FIRST,
        };
        assert_eq!(
            gap(&trimmed),
            "id: 20\nevent: gap\ndata: {\"from\":10,\"to\":20,\"reason\":\"trimmed\"}\n\n"
        );
        let damaged = Gap { reason: GapReason::Damaged, ..trimmed };
        assert_eq!(
            gap(&damaged),
            "id: 20\nevent: gap\ndata: {\"from\":10,\"to\":20,\"reason\":\"damaged\"}\n\n"
        );
        let changed =
            Gap { reason: GapReason::EpochChanged, epoch: Epoch::new(2).unwrap(), ..trimmed };
        assert_eq!(
            gap(&changed),
            "id: 2.9\nevent: gap\ndata: {\"from\":10,\"to\":20,\"reason\":\"epoch_changed\",\"epoch\":2}\n\n"
        );
        assert_eq!(
            end(Offset::new(99), Some("run.completed")),
            "event: end\ndata: {\"offset\":99,\"type\":\"run.completed\"}\n\n"
        );
    }
}
