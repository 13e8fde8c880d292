//! Hostile heads.

use runcast_fuzz::fuzz;

use super::{HEADERS_MAX, check, ends};

const HEADS: &[&[u8]] = &[
    b"GET /v1/runs/a/events?after=4 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n",
    b"POST /v1/runs/a/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    b"GET / HTTP/1.1\n\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\n\n",
    b"\r\n\r\n",
    b"\r\n ",
    b"Content-Length: 5\r\n",
    b"Content-Length : 5\r\n",
    b"Content-Length: +5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: y\r\n",
    b"HTTP/1.0",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\0",
    b"\x80",
    b":",
];

#[test]
fn where_a_head_ends_is_where_the_http_library_has_it_end() {
    fuzz(HEADS, WORDS, |input| {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let parsed = httparse::Request::new(&mut headers).parse(input);
        if let Ok(httparse::Status::Complete(length)) = parsed {
            assert!(ends(&input[..length], 0), "a whole head is waited for");
            check(&input[..length], usize::MAX).expect("a whole head is taken");
        }
        // Bytes that come one by one are found to end at the same place.
        let first = (1..=input.len()).find(|end| ends(&input[..*end], end - 1));
        let at_once = (1..=input.len()).find(|end| ends(&input[..*end], 0));
        assert_eq!(first, at_once);
    });
}

#[test]
fn what_is_refused_early_is_refused_in_whole() {
    fuzz(HEADS, WORDS, |input| {
        let refused = (0..input.len()).find(|end| check(&input[..*end], usize::MAX).is_err());
        if refused.is_some() {
            check(input, usize::MAX).expect_err("more bytes made a refused head right");
        }
    });
}
