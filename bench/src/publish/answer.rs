//! Reads the answer to an append.

use anyhow::{Result, bail};

use crate::event::leading_decimal;
use crate::wire::head::{Head, parse_head};

/// How much of a refusal is kept for the report, in bytes.
const PROBLEM_BYTES_MAX: usize = 300;

/// An answer of which a part may have come.
#[derive(Debug, Default)]
pub(super) struct AnswerReader {
    bytes: Vec<u8>,
    head: Option<Head>,
}

/// What an append was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answered {
    /// It is stored, up to this offset.
    Stored { last: u64 },
    /// It is not.
    Refused { problem: String },
}

impl AnswerReader {
    /// Takes what was read; gives the answer once it is there in whole.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<Option<Answered>> {
        let Self { bytes, head } = self;
        let mut rest = Vec::new();
        let input = if head.is_some() {
            input
        } else {
            bytes.extend_from_slice(input);
            let Some((parsed, length)) = parse_head(bytes)? else { return Ok(None) };
            *head = Some(parsed);
            rest.extend_from_slice(&bytes[length..]);
            bytes.clear();
            &rest
        };
        let Some(parsed) = head else { return Ok(None) };
        let taken = parsed.body.take(input, |piece| bytes.extend_from_slice(piece))?;
        if taken < input.len() {
            bail!("an answer goes on behind its end");
        }
        if !parsed.body.is_done() {
            return Ok(None);
        }
        let answered = answered(parsed.status, bytes);
        bytes.clear();
        *head = None;
        Ok(Some(answered))
    }
}

/// What an answer's status and body mean. A streamed answer has a line for each batch.
fn answered(status: u16, body: &[u8]) -> Answered {
    let mark = br#""last":"#;
    let last = memchr::memmem::rfind(body, mark)
        .and_then(|at| leading_decimal(body[at + mark.len()..].trim_ascii_start()));
    let problem = memchr::memmem::find(body, br#""problem""#);
    match (status, problem, last) {
        (200 | 201, None, Some(last)) => Answered::Stored { last },
        _ => {
            let text = String::from_utf8_lossy(&body[..body.len().min(PROBLEM_BYTES_MAX)]);
            Answered::Refused { problem: format!("{status} {text}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINGLE: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-length: 31\r\n\r\n{\"epoch\":1,\"first\":7,\"last\":7}  ";
    const STREAMED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
d\r\n{\"last\":100}\n\r\nd\r\n{\"last\":256}\n\r\ne\r\n{\"done\":true}\n\r\n0\r\n\r\n";

    fn read(input: &[u8], cut: usize) -> Option<Answered> {
        let mut reader = AnswerReader::default();
        match reader.take(&input[..cut]).unwrap() {
            Some(answered) => Some(answered),
            None => reader.take(&input[cut..]).unwrap(),
        }
    }

    #[test]
    fn an_answer_may_be_cut_anywhere() {
        let single = &SINGLE[..SINGLE.len() - 1];
        for cut in 0..single.len() {
            assert_eq!(read(single, cut), Some(Answered::Stored { last: 7 }), "cut at {cut}");
        }
        for cut in 0..STREAMED.len() {
            assert_eq!(read(STREAMED, cut), Some(Answered::Stored { last: 256 }), "cut at {cut}");
        }
    }

    #[test]
    fn a_reader_reads_one_answer_after_the_other() {
        let mut reader = AnswerReader::default();
        for _ in 0..3 {
            assert!(reader.take(STREAMED).unwrap().is_some());
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let refused = b"HTTP/1.1 409 Conflict\r\ncontent-length: 4\r\n\r\ngone";
        let problem = "409 gone".to_owned();
        assert_eq!(read(refused, 10), Some(Answered::Refused { problem }));
    }

    #[test]
    fn a_problem_in_a_streamed_answer_is_a_refusal() {
        let body = b"{\"last\":3}\n{\"problem\":{\"line\":4}}\n";
        assert!(matches!(answered(200, body), Answered::Refused { .. }));
    }
}
