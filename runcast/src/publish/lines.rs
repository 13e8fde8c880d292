//! Reads events from stdin, checks each line and cuts what has come into pieces.
//!
//! A thread of its own, since stdin cannot be waited for otherwise. A wrong line ends the reading:
//! what stood before it is good, and the fault names the line.

use std::io::{self, BufRead, BufReader, Read};

use bytes::{Bytes, BytesMut};
use runcast_event::{EventError, Timestamp, limits, parse_event};
use tokio::sync::mpsc;

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// Good lines, and what is wrong behind them.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The events as they are stored, one a line: with the time at which they were read.
    pub(super) json: Bytes,
    /// Where each stood, counted from 1. Blank lines count and are passed over.
    pub(super) numbers: Vec<u64>,
    /// Why there is no more.
    pub(super) fault: Option<ReadFault>,
}

/// Why reading ended before the end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadFault {
    /// A line that is not an event.
    #[error("line {number}: {error}")]
    Line {
        /// Where it stood.
        number: u64,
        /// What is wrong with it.
        error: EventError,
    },
    /// A line longer than an event can be.
    #[error("line {number}: is longer than {max} bytes", max = limits::EVENT_BYTES_MAX)]
    TooLong {
        /// Where it stood.
        number: u64,
    },
    /// Stdin cannot be read.
    #[error("stdin: {0}")]
    Stdin(#[from] io::Error),
}

/// Reads stdin to its end, or to the first fault.
pub(super) fn read_stdin(give: &mpsc::Sender<Lines>) {
    read_all(BufReader::with_capacity(READ_BYTES, io::stdin().lock()), give);
}

fn read_all<R: Read>(mut input: BufReader<R>, give: &mpsc::Sender<Lines>) {
    let mut number = 0;
    loop {
        let (lines, is_end) = match read_piece(&mut input, &mut number) {
            Ok(piece) => piece,
            Err(error) => (Lines { fault: Some(error.into()), ..Lines::default() }, true),
        };
        let is_last = is_end || lines.fault.is_some();
        // With the receiver gone, the events have nowhere to go.
        let is_given = give.blocking_send(lines).is_ok();
        if is_last || !is_given {
            return;
        }
    }
}

/// Reads one line, waiting for it, and all further whole lines that have come with it.
fn read_piece<R: Read>(input: &mut BufReader<R>, number: &mut u64) -> io::Result<(Lines, bool)> {
    let mut json = BytesMut::new();
    let mut lines = Lines::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let max = limits::EVENT_BYTES_MAX as u64 + 2;
        let read = input.by_ref().take(max).read_until(b'\n', &mut line)?;
        if read == 0 {
            lines.json = json.freeze();
            return Ok((lines, true));
        }
        *number += 1;
        match check(&line, *number) {
            Ok(Some(event)) => {
                json.extend_from_slice(&event);
                json.extend_from_slice(b"\n");
                lines.numbers.push(*number);
            }
            Ok(None) => {}
            Err(fault) => lines.fault = Some(fault),
        }
        if lines.fault.is_some() || !input.buffer().contains(&b'\n') {
            lines.json = json.freeze();
            return Ok((lines, false));
        }
    }
}

fn check(line: &[u8], number: u64) -> Result<Option<Bytes>, ReadFault> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    if line.len() > limits::EVENT_BYTES_MAX {
        return Err(ReadFault::TooLong { number });
    }
    let checked = parse_event(line, Timestamp::now());
    let event = checked.map_err(|error| ReadFault::Line { number, error })?;
    Ok(Some(event.payload.bytes().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces_of(text: &str) -> Vec<Lines> {
        let (give, mut take) = mpsc::channel(1_000);
        read_all(BufReader::with_capacity(64, text.as_bytes()), &give);
        drop(give);
        std::iter::from_fn(|| take.blocking_recv()).collect()
    }

    fn numbers(pieces: &[Lines]) -> Vec<u64> {
        pieces.iter().flat_map(|piece| piece.numbers.iter().copied()).collect()
    }

    #[test]
    fn lines_are_checked_and_counted_with_the_blank_ones() {
        let long = "x".repeat(200);
        let text = format!(
            "{{\"type\":\"a.b\"}}\n\n \r\n{{\"type\":\"a.c\",\"data\":\"{long}\"}}\r\n{{\"type\":\"a.d\"}}"
        );
        let pieces = pieces_of(&text);
        assert_eq!(numbers(&pieces), [1, 4, 5]);
        assert!(pieces.iter().all(|piece| piece.fault.is_none()));
        let json: Vec<u8> = pieces.iter().flat_map(|piece| piece.json.to_vec()).collect();
        assert_eq!(json.iter().filter(|byte| **byte == b'\n').count(), 3);
    }

    #[test]
    fn the_first_wrong_line_is_named_and_those_before_it_are_good() {
        let text = "{\"type\":\"a.b\"}\n".repeat(40) + "{\"type\":\n" + "{\"type\":\"a.b\"}\n";
        let pieces = pieces_of(&text);
        assert_eq!(numbers(&pieces), (1..=40).collect::<Vec<_>>());
        let fault = pieces.last().unwrap().fault.as_ref().unwrap().to_string();
        assert!(fault.starts_with("line 41: the event is not JSON"), "{fault}");
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_is_read_whole() {
        let text = "x".repeat(limits::EVENT_BYTES_MAX * 3);
        let pieces = pieces_of(&text);
        assert!(matches!(pieces[0].fault, Some(ReadFault::TooLong { number: 1 })));
    }
}
