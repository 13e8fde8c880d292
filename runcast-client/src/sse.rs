//! Reads server-sent events out of bytes as they arrive.
//!
//! Pure: no I/O, no clock. Bytes may be cut anywhere. What is kept between two calls is bounded
//! by [`FRAME_BYTES_MAX`].

/// The largest frame: more than a merged event can be.
pub(crate) const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One frame: what a blank line ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Frame {
    /// The kind; empty for a plain message.
    pub(crate) event: String,
    /// The id, where the frame has one.
    pub(crate) id: Option<String>,
    /// The data, its lines joined by line feeds; none in a frame that only moves the cursor.
    pub(crate) data: Option<String>,
}

/// A frame larger than [`FRAME_BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a frame is larger than {FRAME_BYTES_MAX} bytes")]
pub(crate) struct FrameTooLarge;

/// Bytes that came and are not yet a frame.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    bytes: Vec<u8>,
    /// Where the unread bytes begin.
    start: usize,
    /// Up to where no line end was found.
    searched: usize,
    /// Whether a line feed that comes first belongs to the carriage return before it.
    after_return: bool,
    /// Whether the first line has been read: a byte order mark may be in front of it.
    begun: bool,
    frame: Frame,
}

impl FrameReader {
    /// Takes bytes as they came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, or none until more bytes come.
    ///
    /// # Errors
    /// When the frame under way is too large. There is no going on from that.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, FrameTooLarge> {
        while let Some((from, to)) = self.next_line() {
            if from == to {
                let frame = std::mem::take(&mut self.frame);
                if frame.data.is_some() || frame.id.is_some() {
                    return Ok(Some(frame));
                }
                continue;
            }
            let line = String::from_utf8_lossy(&self.bytes[from..to]).into_owned();
            self.field(&line);
            if self.frame.data.as_ref().is_some_and(|data| data.len() > FRAME_BYTES_MAX) {
                return Err(FrameTooLarge);
            }
        }
        if self.bytes.len() - self.start > FRAME_BYTES_MAX {
            return Err(FrameTooLarge);
        }
        Ok(None)
    }

    /// Where the next whole line is, without its end.
    fn next_line(&mut self) -> Option<(usize, usize)> {
        if self.after_return && self.start < self.bytes.len() {
            self.after_return = false;
            if self.bytes[self.start] == b'\n' {
                self.start += 1;
                self.searched = self.searched.max(self.start);
            }
        }
        let Some(found) = memchr::memchr2(b'\n', b'\r', &self.bytes[self.searched..]) else {
            self.searched = self.bytes.len();
            return None;
        };
        let end = self.searched + found;
        let mut from = self.start;
        if !std::mem::replace(&mut self.begun, true)
            && self.bytes[from..end].starts_with(b"\xef\xbb\xbf")
        {
            from += 3;
        }
        self.after_return = self.bytes[end] == b'\r';
        self.start = end + 1;
        self.searched = self.start;
        Some((from, end))
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => match &mut self.frame.data {
                None => self.frame.data = Some(value.to_owned()),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            },
            "event" => value.clone_into(&mut self.frame.event),
            "id" if !value.contains('\0') => self.frame.id = Some(value.to_owned()),
            // Comments (no name) and fields of other versions.
            _ => {}
        }
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: hello\n\nid: 1\ndata: {\"a\":1}\n\n\
        event: gap\r\ndata:x\r\ndata: y\r\n\r\n: heartbeat\n\nid\rdata\rretry: 5\r\rid: 9\n\ndata: ü\n\n";

    fn frame(event: &str, id: Option<&str>, data: &str) -> Frame {
        let data = Some(data.to_owned());
        Frame { event: event.to_owned(), id: id.map(ToOwned::to_owned), data }
    }

    fn read_all(reader: &mut FrameReader) -> Vec<Frame> {
        std::iter::from_fn(|| reader.next_frame().unwrap()).collect()
    }

    #[test]
    fn frames_are_the_same_wherever_the_bytes_are_cut() {
        let expected = vec![
            frame("", Some("1"), "{\"a\":1}"),
            frame("gap", None, "x\ny"),
            frame("", Some(""), ""),
            Frame { event: String::new(), id: Some("9".to_owned()), data: None },
            frame("", None, "ü"),
        ];
        for size in 1..=STREAM.len() {
            let mut reader = FrameReader::default();
            let mut frames = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                reader.push(piece);
                frames.extend(read_all(&mut reader));
            }
            assert_eq!(frames, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_frame_that_is_not_finished_is_not_given() {
        let mut reader = FrameReader::default();
        reader.push(b"data: 1\n");
        assert_eq!(reader.next_frame(), Ok(None));
    }

    #[test]
    fn a_frame_without_end_is_refused_in_one_line_and_in_many() {
        let mut one_line = FrameReader::default();
        let mut many_lines = FrameReader::default();
        let kibibyte = [b'x'; 1024];
        let line = [b"data:", kibibyte.as_slice(), b"\n"].concat();
        let mut refused = (false, false);
        for _ in 0..=FRAME_BYTES_MAX / 1024 {
            one_line.push(&kibibyte);
            many_lines.push(&line);
            refused.0 |= one_line.next_frame().is_err();
            refused.1 |= many_lines.next_frame().is_err();
        }
        assert_eq!(refused, (true, true));
    }
}
