//! Finds events in a server-sent event stream that arrives in pieces.
//!
//! Reads only `id:` lines, the stamp in `data:` lines, and the name of special frames. Keeps
//! nothing between whole lines, so that a waiting viewer costs no memory.

use super::lines::{LineTooLong, Lines};
use crate::clock::Stamp;
use crate::event::{find_stamp, leading_decimal};

/// What a frame was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    /// An event of the run.
    Event {
        /// Its offset.
        offset: u64,
        /// When it was published, if it says so.
        stamp: Option<Stamp>,
    },
    /// A special frame: `gap`, `end`, `deleted`, `expired`.
    Special,
}

/// Reads a stream of frames.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    lines: Lines,
    fields: Fields,
}

/// What the lines of a frame have said so far.
#[derive(Debug, Default)]
struct Fields {
    offset: Option<u64>,
    stamp: Option<Stamp>,
    has_data: bool,
    special: bool,
}

impl Scanner {
    /// Takes the next bytes of the stream and gives each frame that they complete.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        mut frame: impl FnMut(Frame),
    ) -> Result<(), LineTooLong> {
        self.lines.take(bytes, |line| self.fields.read_line(line, &mut frame))
    }
}

impl Fields {
    fn read_line(&mut self, line: &[u8], frame: &mut impl FnMut(Frame)) {
        if line.is_empty() {
            self.finish_frame(frame);
        } else if let Some(id) = line.strip_prefix(b"id:") {
            self.offset = offset_of(id.trim_ascii());
        } else if let Some(data) = line.strip_prefix(b"data:") {
            self.has_data = true;
            self.stamp = find_stamp(data);
        } else if let Some(name) = line.strip_prefix(b"event:") {
            self.special = matches!(name.trim_ascii(), b"gap" | b"end" | b"deleted" | b"expired");
        }
    }

    fn finish_frame(&mut self, frame: &mut impl FnMut(Frame)) {
        let Self { offset, stamp, has_data, special } = std::mem::take(self);
        match (special, offset) {
            (true, _) => frame(Frame::Special),
            // An id without data moves the cursor past what a filter left out.
            (false, Some(offset)) if has_data => frame(Frame::Event { offset, stamp }),
            (false, _) => {}
        }
    }
}

/// The offset in a cursor, `42` or `2.42`.
pub(crate) fn offset_of(cursor: &[u8]) -> Option<u64> {
    let offset = memchr::memchr(b'.', cursor).map_or(cursor, |dot| &cursor[dot + 1..]);
    leading_decimal(offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &[u8] = b"retry: 1000\n\n: heartbeat\n\nid: 7\ndata: {\"offset\":7,\"data\":{\"t\":1234567890123456,\"pad\":\"x\"}}\n\n\
id:2.8\r\ndata: {}\r\n\r\nevent: gap\ndata: {\"from\":9}\n\nevent: output\nid: 9\ndata: {\"t\":42}\n\n: \n\nevent: end\ndata: {}\n\n";

    fn frames() -> Vec<Frame> {
        vec![
            Frame::Event { offset: 7, stamp: Some(Stamp(1_234_567_890_123_456)) },
            Frame::Event { offset: 8, stamp: None },
            Frame::Special,
            Frame::Event { offset: 9, stamp: Some(Stamp(42)) },
            Frame::Special,
        ]
    }

    fn scan<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
        let mut scanner = Scanner::default();
        let mut found = Vec::new();
        for piece in pieces {
            scanner.take(piece, |frame| found.push(frame)).unwrap();
        }
        found
    }

    #[test]
    fn events_and_special_frames_are_found() {
        assert_eq!(scan([STREAM]), frames());
    }

    #[test]
    fn a_cut_at_any_byte_changes_nothing() {
        for cut in 0..=STREAM.len() {
            assert_eq!(scan([&STREAM[..cut], &STREAM[cut..]]), frames(), "cut at {cut}");
        }
    }

    #[test]
    fn single_bytes_are_enough() {
        assert_eq!(scan(STREAM.chunks(1)), frames());
    }

    #[test]
    fn a_frame_without_an_end_is_not_an_event() {
        assert_eq!(scan([b"id: 1\ndata: {}\n".as_slice()]), []);
    }

    #[test]
    fn an_id_without_data_is_not_an_event() {
        assert_eq!(scan([b"id: 8\n\nid: 9\ndata: {}\n\n".as_slice()]).len(), 1);
    }

    proptest! {
        #[test]
        fn many_cuts_change_nothing(mut cuts in prop::collection::vec(0..STREAM.len(), 0..20)) {
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &STREAM[pair[0]..pair[1]]);
            prop_assert_eq!(scan(pieces), frames());
        }
    }
}
