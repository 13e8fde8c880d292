//! Sorts one stream of output into text and log lines.
//!
//! Text keeps its line ends, so that all texts of a stream joined give the stream back, but for a
//! 🔸 at a line's beginning. One piece a line when lines come one by one; many lines in one piece
//! when they come in bulk. A line that is not finished is given after a short wait.

use std::time::{Duration, Instant};

use memchr::memchr;

use super::log_line::{LogLine, may_be_log};
use super::text::{decode, incomplete_bytes, whole_characters};

/// How long an unfinished line waits for its rest.
const PARTIAL_WAIT: Duration = Duration::from_millis(50);
/// How long an unfinished line waits that begins as a log line does.
const PARTIAL_LOG_WAIT: Duration = Duration::from_secs(1);
/// A read of this many bytes is bulk: its lines share pieces.
const BULK_BYTES: usize = 4 * 1024;
/// The most bytes of output in one piece; longer lines are cut between two characters.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// The longest line that is read as a log line.
const LOG_LINE_BYTES_MAX: usize = 64 * 1024;
/// What marks a line as a model's output, for systems that read the terminal.
const MARK: &str = "🔸";

/// A part of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// Plain output.
    Text {
        /// What was printed.
        text: String,
        /// How many bytes of it were not UTF-8.
        replaced_bytes: u64,
    },
    /// A line of a structured log, and the line itself.
    Log(LogLine, String),
}

/// Sorts one stream.
#[derive(Debug, Default)]
pub(super) struct Sorter {
    /// The line that is not finished.
    pending: Vec<u8>,
    /// Since when it waits; none when there is nothing that could be given.
    waiting_since: Option<Instant>,
    /// Whether a part of that line has been given already.
    line_begun: bool,
    /// Whole lines that are about to be given together.
    merged: Vec<u8>,
}

impl Sorter {
    /// Takes what was read at once.
    pub(super) fn push(&mut self, bytes: &[u8], at: Instant, out: &mut Vec<Piece>) {
        let is_bulk = bytes.len() >= BULK_BYTES;
        let mut rest = bytes;
        while let Some(end) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end + 1);
            rest = after;
            if self.pending.is_empty() {
                self.line(line, out);
            } else {
                let mut whole = std::mem::take(&mut self.pending);
                whole.extend_from_slice(line);
                self.line(&whole, out);
            }
            self.waiting_since = None;
            if !is_bulk {
                self.give_merged(out);
            }
        }
        if !rest.is_empty() {
            self.pending.extend_from_slice(rest);
            self.waiting_since.get_or_insert(at);
            self.cut_overlong(out);
        }
        self.give_merged(out);
    }

    /// When [`Self::give_partial`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let is_log = !self.line_begun && may_be_log(&self.pending);
        let wait = if is_log { PARTIAL_LOG_WAIT } else { PARTIAL_WAIT };
        self.waiting_since.map(|since| since + wait)
    }

    /// Gives the unfinished line, but for a character that is not complete.
    pub(super) fn give_partial(&mut self, out: &mut Vec<Piece>) {
        self.waiting_since = None;
        let is_mark = !self.line_begun && self.pending == MARK.as_bytes();
        let ready = self.pending.len() - incomplete_bytes(&self.pending);
        if ready > 0 && !is_mark {
            self.give_beginning(ready, out);
        }
        self.give_merged(out);
    }

    /// Gives the unfinished line now, unless it may become a log line.
    pub(super) fn give_text(&mut self, out: &mut Vec<Piece>) {
        if self.line_begun || !may_be_log(&self.pending) {
            self.give_partial(out);
        }
    }

    /// Gives all that is left: the stream has ended.
    pub(super) fn finish(&mut self, out: &mut Vec<Piece>) {
        self.waiting_since = None;
        if !self.pending.is_empty() {
            let line = std::mem::take(&mut self.pending);
            self.line(&line, out);
        }
        self.give_merged(out);
    }

    /// A line that is finished, or its rest.
    fn line(&mut self, line: &[u8], out: &mut Vec<Piece>) {
        let is_begun = std::mem::take(&mut self.line_begun);
        if !is_begun && line.len() <= LOG_LINE_BYTES_MAX && may_be_log(line) {
            let (text, replaced_bytes) = decode(line);
            if let Some(log) = LogLine::read(&text)
                && replaced_bytes == 0
            {
                self.give_merged(out);
                out.push(Piece::Log(log, text.into_owned()));
                return;
            }
        }
        self.text(if is_begun { line } else { without_mark(line) }, out);
    }

    /// Gives the first `length` bytes of the unfinished line.
    fn give_beginning(&mut self, length: usize, out: &mut Vec<Piece>) {
        let pending = std::mem::take(&mut self.pending);
        let (beginning, rest) = pending.split_at(length);
        let is_begun = std::mem::replace(&mut self.line_begun, true);
        self.text(if is_begun { beginning } else { without_mark(beginning) }, out);
        self.pending = rest.to_vec();
    }

    fn cut_overlong(&mut self, out: &mut Vec<Piece>) {
        let is_log = !self.line_begun && may_be_log(&self.pending);
        let bytes_max = if is_log { LOG_LINE_BYTES_MAX } else { TEXT_BYTES_MAX };
        if self.pending.len() > bytes_max {
            let ready = self.pending.len() - incomplete_bytes(&self.pending);
            self.give_beginning(ready, out);
        }
    }

    fn text(&mut self, mut bytes: &[u8], out: &mut Vec<Piece>) {
        if self.merged.len() + bytes.len() > TEXT_BYTES_MAX {
            self.give_merged(out);
        }
        while bytes.len() > TEXT_BYTES_MAX {
            let (piece, rest) = bytes.split_at(whole_characters(bytes, TEXT_BYTES_MAX));
            give(piece, out);
            bytes = rest;
        }
        self.merged.extend_from_slice(bytes);
    }

    fn give_merged(&mut self, out: &mut Vec<Piece>) {
        if !self.merged.is_empty() {
            give(&self.merged, out);
            self.merged.clear();
        }
    }
}

fn give(bytes: &[u8], out: &mut Vec<Piece>) {
    let (text, replaced_bytes) = decode(bytes);
    out.push(Piece::Text { text: text.into_owned(), replaced_bytes });
}

fn without_mark(line: &[u8]) -> &[u8] {
    match line.strip_prefix(MARK.as_bytes()) {
        Some(rest) => rest.strip_prefix(b" ").unwrap_or(rest),
        None => line,
    }
}

#[cfg(test)]
mod tests;
