//! Finds lines in a text that arrives in pieces.
//!
//! Keeps nothing between whole lines, so that a waiting viewer costs no memory.

/// One line of a stream may be this long, in bytes.
const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A line that is longer than any event can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineTooLong;

impl std::fmt::Display for LineTooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a line of a stream is longer than {LINE_BYTES_MAX} bytes")
    }
}

impl std::error::Error for LineTooLong {}

/// The beginning of a line whose end has not come.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes and gives each line that they complete, without its end.
    pub(crate) fn take(
        &mut self,
        mut bytes: &[u8],
        mut line: impl FnMut(&[u8]),
    ) -> Result<(), LineTooLong> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            if self.begun.is_empty() {
                line(without_return(&bytes[..end]));
            } else {
                let mut begun = std::mem::take(&mut self.begun);
                begun.extend_from_slice(&bytes[..end]);
                line(without_return(&begun));
            }
            bytes = &bytes[end + 1..];
        }
        if self.begun.len() + bytes.len() > LINE_BYTES_MAX {
            return Err(LineTooLong);
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_wherever_the_text_is_cut() {
        let text = b"one\r\n\ntwo\nthree";
        for cut in 0..=text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in [&text[..cut], &text[cut..]] {
                lines.take(piece, |line| found.push(line.to_vec())).unwrap();
            }
            assert_eq!(found, [&b"one"[..], b"", b"two"], "cut at {cut}");
        }
    }

    #[test]
    fn nothing_is_kept_between_lines() {
        let mut lines = Lines::default();
        lines.take(b"beg", |_| {}).unwrap();
        lines.take(b"in\n", |_| {}).unwrap();
        assert_eq!(lines.begun.capacity(), 0);
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(&vec![b'x'; LINE_BYTES_MAX + 1], |_| {}), Err(LineTooLong));
    }
}
