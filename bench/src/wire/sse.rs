//! Finds events in a server-sent event stream that arrives in pieces.
//!
//! Reads only `id:` lines, the stamp in `data:` lines, and the name of special frames. Keeps
//! nothing between whole lines, so that a waiting viewer costs no memory.

use crate::clock::Stamp;
use crate::event::{find_stamp, leading_decimal};

/// One line of a stream may be this long, in bytes.
const LINE_BYTES_MAX: usize = 1024 * 1024;

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

/// A line that is longer than any event can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineTooLong;

impl std::fmt::Display for LineTooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a line of a stream is longer than {LINE_BYTES_MAX} bytes")
    }
}

impl std::error::Error for LineTooLong {}

/// Reads a stream of frames.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    line: Vec<u8>,
    offset: Option<u64>,
    stamp: Option<Stamp>,
    special: bool,
}

impl Scanner {
    /// Takes the next bytes of the stream and gives each frame that they complete.
    pub(crate) fn take(
        &mut self,
        mut bytes: &[u8],
        mut frame: impl FnMut(Frame),
    ) -> Result<(), LineTooLong> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            if self.line.is_empty() {
                self.read_line(&bytes[..end], &mut frame);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&bytes[..end]);
                self.read_line(&line, &mut frame);
            }
            bytes = &bytes[end + 1..];
        }
        if self.line.len() + bytes.len() > LINE_BYTES_MAX {
            return Err(LineTooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn read_line(&mut self, line: &[u8], frame: &mut impl FnMut(Frame)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            self.finish_frame(frame);
        } else if let Some(id) = line.strip_prefix(b"id:") {
            self.offset = offset_of(id.trim_ascii());
        } else if let Some(data) = line.strip_prefix(b"data:") {
            self.stamp = find_stamp(data);
        } else if let Some(name) = line.strip_prefix(b"event:") {
            self.special = matches!(name.trim_ascii(), b"gap" | b"end" | b"deleted" | b"expired");
        }
    }

    fn finish_frame(&mut self, frame: &mut impl FnMut(Frame)) {
        let special = std::mem::take(&mut self.special);
        let stamp = self.stamp.take();
        match (special, self.offset.take()) {
            (true, _) => frame(Frame::Special),
            (false, Some(offset)) => frame(Frame::Event { offset, stamp }),
            (false, None) => {}
        }
    }
}

/// The offset in a cursor, `42` or `2.42`.
fn offset_of(cursor: &[u8]) -> Option<u64> {
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
    fn nothing_is_kept_between_frames() {
        let mut scanner = Scanner::default();
        scanner.take(STREAM, |_| {}).unwrap();
        scanner.take(b"id: 1", |_| {}).unwrap();
        scanner.take(b"0\ndata: {}\n\n", |_| {}).unwrap();
        assert_eq!(scanner.line.capacity(), 0);
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let mut scanner = Scanner::default();
        assert_eq!(scanner.take(&vec![b'x'; LINE_BYTES_MAX + 1], |_| {}), Err(LineTooLong));
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
