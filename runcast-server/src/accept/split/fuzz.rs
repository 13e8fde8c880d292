//! Hostile heads of requests that the stream plane may take.

use runcast_fuzz::fuzz;

use super::{Way, way};
use crate::accept::head::HEADERS_MAX;
use crate::config::HttpConfig;
use crate::guard::Guard;

const HEADS: &[&[u8]] = &[
    b"GET /v1/runs/a/events?after=4&type=step.*&coalesce=1 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
    b"GET /v1/runs/a/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nLast-Event-ID: 2.7\r\nContent-Length: 0\r\n\r\n",
];

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n ",
    b"\r\n\t",
    b"Content-Length: 5\r\n",
    b"Content-Length : 5\r\n",
    b"Content-Length: +0\r\n",
    b"content-length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Host: evil\r\n",
    b"Host: localhost\r\n",
    b"HTTP/1.0",
    b"GET /v1/runs/b/events HTTP/1.1\r\n\r\n",
    b"%0d%0a",
    b"\0",
    b"..",
];

#[test]
fn the_plane_takes_only_what_can_be_read_in_one_way() {
    let guard = Guard::new(&HttpConfig::default());
    fuzz(HEADS, WORDS, |input| {
        if !matches!(way(input, &guard), Way::Plane(..)) {
            return;
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(input).expect("the plane took no request");
        let httparse::Status::Complete(length) = parsed else { panic!("it is not whole") };
        let head = std::str::from_utf8(&input[..length]).unwrap_or_default().to_ascii_lowercase();
        assert_eq!(request.method, Some("GET"));
        // No reader may find the end elsewhere, or a body.
        assert!(!head.replace("\r\n", "").contains(['\n', '\r', '\0']), "{head:?}");
        assert!(!head.contains("\r\ntransfer-encoding:"), "{head:?}");
        assert!(head.matches("\r\nhost:").count() <= 1, "{head:?}");
        for line in head.lines().filter(|line| line.starts_with("content-length:")) {
            assert_eq!(line["content-length:".len()..].trim_matches([' ', '\t']), "0");
        }
    });
}
