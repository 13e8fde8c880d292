//! Reads the head of a connection's first request, so that a client that never finishes one gets an
//! answer and costs a buffer and no more.

use std::io;

use bytes::BytesMut;
use memchr::memmem;
use tokio::net::TcpStream;

/// Why there is no request on a connection.
#[derive(Debug)]
pub(super) enum HeadError {
    /// What came is not HTTP.
    Malformed(httparse::Error),
    /// The head does not end within the limit.
    TooLarge,
    /// The head has more than [`HEADERS_MAX`] headers.
    TooManyHeaders,
    /// The client left before it had sent a head.
    Gone,
}

impl From<io::Error> for HeadError {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Headers of a request, which is what the HTTP library takes.
pub(super) const HEADERS_MAX: usize = 100;
/// How a connection of HTTP/2 begins.
pub(super) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// How much of a head is expected at once.
const READ_BYTES: usize = 4 * 1024;

/// Reads until the head ends. What is read behind its end is given too.
pub(super) async fn read(stream: &TcpStream, bytes_max: usize) -> Result<BytesMut, HeadError> {
    let mut bytes = BytesMut::new();
    loop {
        stream.readable().await?;
        let seen = bytes.len();
        bytes.reserve(READ_BYTES);
        match stream.try_read_buf(&mut bytes) {
            Ok(0) => return Err(HeadError::Gone),
            Ok(_) if ends(&bytes, seen) => return check(&bytes, bytes_max).map(|()| bytes),
            // Whoever speaks TLS here, say, learns at once that it should not.
            Ok(_) if seen == 0 => check(&bytes, bytes_max)?,
            Ok(_) if bytes.len() >= bytes_max => return Err(HeadError::TooLarge),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether this is a request, or could become one. HTTP/2 is left to the HTTP library.
fn check(bytes: &[u8], bytes_max: usize) -> Result<(), HeadError> {
    if bytes.starts_with(HTTP2_PREFACE) || HTTP2_PREFACE.starts_with(bytes) {
        return Ok(());
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    match httparse::Request::new(&mut headers).parse(bytes) {
        // It came in one piece that is larger than what may be.
        Ok(httparse::Status::Complete(length)) if length > bytes_max => Err(HeadError::TooLarge),
        Ok(_) => Ok(()),
        Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooManyHeaders),
        Err(error) => Err(HeadError::Malformed(error)),
    }
}

/// Whether there is an empty line, the first `seen` bytes having been searched before. The preface
/// of HTTP/2 has one too.
fn ends(bytes: &[u8], seen: usize) -> bool {
    let fresh = &bytes[seen.saturating_sub(2)..];
    memmem::find(fresh, b"\n\r\n").is_some() || memmem::find(fresh, b"\n\n").is_some()
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_its_first_empty_line_however_it_is_cut() {
        let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 0..head.len() {
            assert!(!ends(&head[..cut], 0));
            assert!(ends(head, cut), "{cut}");
        }
        assert!(ends(b"GET / HTTP/1.1\n\n", 0));
        assert!(ends(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0));
    }
}
