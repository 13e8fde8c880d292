//! Server-sent events of many runs on one connection.
//!
//! Each frame says which run it is of, and its `id` is a cursor for every run of the connection:
//! `a:3,b:2.9`. A run id has no comma, and a cursor no colon: the last colon ends the run's id.

use std::io::Write as _;

use bytes::Bytes;
use runcast_event::{Cursor, Epoch, Merged, Offset, RunId};
use runcast_hub::Gap;

use super::page::write_gap;

/// Longer than the cursor of any run with its colon and its comma.
pub(crate) const CURSOR_BYTES_MAX: usize = 29;

/// The id while one run's cursor moves: those before it, that run, those behind it.
pub(crate) struct Id {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Id {
    /// The id of runs with these cursors, of which that at `moving` is left open. Runs of which
    /// nothing was seen are not in it.
    pub(crate) fn around<'a>(
        cursors: impl IntoIterator<Item = (&'a RunId, Cursor)>,
        moving: usize,
    ) -> Self {
        let mut id = Self { before: Vec::new(), after: Vec::new() };
        for (at, (run, cursor)) in cursors.into_iter().enumerate() {
            if at < moving && cursor.after > Offset::START {
                write!(id.before, "{run}:{cursor},").expect(VEC);
            } else if at > moving && cursor.after > Offset::START {
                write!(id.after, ",{run}:{cursor}").expect(VEC);
            }
        }
        id
    }

    fn write(&self, run: &RunId, cursor: Cursor, out: &mut Vec<u8>) {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(&self.before);
        write!(out, "{run}:{cursor}").expect(VEC);
        out.extend_from_slice(&self.after);
        out.push(b'\n');
    }
}

/// Writes an event's frame.
pub(crate) fn write_event(
    id: &Id,
    run: &RunId,
    epoch: Epoch,
    event: &Merged,
    is_named: bool,
    out: &mut Vec<u8>,
) {
    id.write(run, Cursor::new(epoch, event.offset), out);
    if is_named {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.payload.event_type().as_bytes());
        out.push(b'\n');
    }
    // An id's characters need no escape.
    write!(out, "data: {{\"run\":\"{run}\",").expect(VEC);
    let brace = out.len();
    event.write_json(out);
    out.remove(brace);
    out.extend_from_slice(b"\n\n");
}

/// Moves the reader's cursors past events that it did not choose, and says that the connection is
/// open.
pub(crate) fn passed<'a>(cursors: impl IntoIterator<Item = (&'a RunId, Cursor)>) -> Bytes {
    let seen = cursors.into_iter().filter(|(_, cursor)| cursor.after > Offset::START);
    let id: Vec<_> = seen.map(|(run, cursor)| format!("{run}:{cursor}")).collect();
    format!("id: {}\n\n", id.join(",")).into()
}

/// Says which events of a run the reader cannot have, and moves it behind them.
pub(crate) fn gap(id: &Id, run: &RunId, gap: &Gap) -> Bytes {
    let mut out = Vec::new();
    id.write(run, gap.behind(), &mut out);
    write!(out, "event: gap\ndata: {{\"run\":\"{run}\",").expect(VEC);
    let brace = out.len();
    write_gap(gap, &mut out);
    out.remove(brace);
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// How a run of the connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By its terminal event, of this type if that is still known.
    Run { last: Offset, event_type: Option<String> },
    /// It was deleted.
    Deleted,
}

/// Says that a run has ended; the connection goes on.
pub(crate) fn end(run: &RunId, ended: &Ended) -> Bytes {
    let name = if *ended == Ended::Deleted { "deleted" } else { "end" };
    format!("event: {name}\ndata: {}\n\n", ended_json(run, ended, false)).into()
}

/// Says that all runs have ended, and the connection with them.
pub(crate) fn end_of_all<'a>(runs: impl IntoIterator<Item = (&'a RunId, &'a Ended)>) -> Bytes {
    let runs: Vec<_> = runs.into_iter().map(|(run, ended)| ended_json(run, ended, true)).collect();
    let data = serde_json::json!({ "runs": runs });
    format!("event: end\ndata: {data}\n\n").into()
}

fn ended_json(run: &RunId, ended: &Ended, says_deleted: bool) -> serde_json::Value {
    match ended {
        Ended::Run { last, event_type } => {
            serde_json::json!({"run": run, "offset": last, "type": event_type})
        }
        Ended::Deleted if says_deleted => serde_json::json!({"run": run, "deleted": true}),
        Ended::Deleted => serde_json::json!({ "run": run }),
    }
}

const VEC: &str = "a Vec takes every write";

#[cfg(test)]
mod tests {
    use runcast_event::{Timestamp, parse_event};

    use super::*;

    #[test]
    fn a_frame_names_its_run_and_has_a_cursor_for_every_run() {
        let runs: Vec<_> = ["a", "x:1", "c", "d"].map(|run| RunId::new(run).unwrap()).into();
        let cursors = ["3", "0", "2.9", "0"].map(|cursor| cursor.parse::<Cursor>().unwrap());
        let id = Id::around(runs.iter().zip(cursors), 1);
        let json = r#"{"type":"my.event","data":"x\n\nid: 1\n\n"}"#;
        let payload = parse_event(json.as_bytes(), Timestamp::from_micros(0)).unwrap().payload;
        let mut out = Vec::new();
        let event = Merged { offset: Offset::new(7), count: 2, payload };
        write_event(&id, &runs[1], Epoch::FIRST, &event, true, &mut out);
        let expected = "id: a:3,x:1:7,c:2.9\nevent: my.event\ndata: {\"run\":\"x:1\",\"offset\":7,\"merged\":2,\
             \"type\":\"my.event\",\"time\":\"1970-01-01T00:00:00.000000Z\",\
             \"data\":\"x\\n\\nid: 1\\n\\n\"}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(passed(runs.iter().zip(cursors)), "id: a:3,c:2.9\n\n");
    }

    #[test]
    fn special_frames_name_their_run() {
        let run = RunId::new("a").unwrap();
        let ended = Ended::Run { last: Offset::new(9), event_type: Some("run.failed".to_owned()) };
        let frame = end(&run, &ended);
        assert_eq!(
            frame,
            "event: end\ndata: {\"offset\":9,\"run\":\"a\",\"type\":\"run.failed\"}\n\n"
        );
        assert_eq!(end(&run, &Ended::Deleted), "event: deleted\ndata: {\"run\":\"a\"}\n\n");
        assert_eq!(
            end_of_all([(&run, &ended), (&run, &Ended::Deleted)]),
            "event: end\ndata: {\"runs\":[{\"offset\":9,\"run\":\"a\",\"type\":\"run.failed\"},\
             {\"deleted\":true,\"run\":\"a\"}]}\n\n"
        );
    }
}
