//! Hostile answers, so that a broken server is told from a broken generator.

use runcast_fuzz::fuzz;

use super::body::{Body, BrokenFraming};
use super::head::parse_head;
use super::sse::Scanner;
use super::websocket::{Message, Messages};

const ANSWERS: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nx: y\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\nid: 1\ndata: {\"t\":12}\n\n",
    b"retry: 1000\n\nid: 2.9\ndata: {\"t\":1234567890123456}\n\nevent: end\ndata: {}\n\n",
];

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"10000000000000000\r\n",
    b"id:",
    b"data:",
    b"Content-Length: 99999999999999999999\r\n",
    b"\"t\":",
];

fn content(input: &[u8], size: usize) -> Result<(Vec<u8>, usize), BrokenFraming> {
    let (mut body, mut content, mut total) = (Body::CHUNKED, Vec::new(), 0);
    for piece in input.chunks(size) {
        total += body.take(piece, |bytes| content.extend_from_slice(bytes))?;
    }
    Ok((content, total))
}

#[test]
fn chunks_are_the_same_however_they_are_cut() {
    fuzz(ANSWERS, WORDS, |input| {
        let whole = content(input, input.len().max(1));
        for size in [1, 2, 5] {
            assert_eq!(content(input, size), whole, "in pieces of {size}");
        }
    });
}

#[test]
fn a_head_is_read_or_refused() {
    fuzz(ANSWERS, WORDS, |input| {
        if let Ok(Some((_, length))) = parse_head(input) {
            assert!(length <= input.len());
        }
    });
}

#[test]
fn frames_are_the_same_however_they_are_cut() {
    fuzz(ANSWERS, WORDS, |input| {
        let read = |size: usize| {
            let (mut scanner, mut frames) = (Scanner::default(), Vec::new());
            for piece in input.chunks(size) {
                scanner.take(piece, |frame| frames.push(frame)).expect("no line here is too long");
            }
            frames
        };
        let whole = read(input.len().max(1));
        for size in [1, 2, 5] {
            assert_eq!(read(size), whole, "in pieces of {size}");
        }
    });
}

#[test]
fn messages_are_the_same_however_they_are_cut() {
    let mut close = vec![0x81, 126, 0, 200];
    close.resize(204, b'x');
    close.extend_from_slice(&[0x89, 2, b'h', b'i', 0x88, 2, 3, 0xf4]);
    let heads: &[&[u8]] =
        &[&[0x81], &[0x88, 0], &[127, 0, 0], &[126], &[0xff], &[0x80, 0x80], &[0]];
    fuzz(&[&close, b"\x81\x02hi\x8a\x00"], heads, |input| {
        let read = |size: usize| {
            let (mut messages, mut found) = (Messages::default(), Vec::new());
            let mut take = |message: Message<'_>| found.push(format!("{message:?}"));
            let is_broken =
                input.chunks(size).any(|piece| messages.take(piece, &mut take).is_err());
            (found, is_broken)
        };
        let whole = read(input.len().max(1));
        for size in [1, 2, 5] {
            assert_eq!(read(size), whole, "in pieces of {size}");
        }
    });
}
