//! The head of an HTTP/1.1 answer.

use anyhow::{Context as _, Result};

use super::body::Body;

/// An answer's head may be this long, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// An answer's head may have this many fields.
const FIELDS_MAX: usize = 64;

/// What the head of an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The status.
    pub(crate) status: u16,
    /// What follows.
    pub(crate) body: Body,
}

/// Reads a head from the front of `bytes` and answers it with its length; none while it is not
/// there in whole.
pub(crate) fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(bytes).context("an answer's head is not HTTP/1.1")? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => {
            anyhow::ensure!(bytes.len() < HEAD_BYTES_MAX, "an answer's head does not end");
            return Ok(None);
        }
    };
    let status = response.code.context("an answer has no status")?;
    let mut body = if matches!(status, 204 | 304) { Body::Length(0) } else { Body::UntilClose };
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            body = Body::CHUNKED;
        } else if field.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(field.value)?;
            body = Body::Length(text.trim().parse().context("an answer's length is no number")?);
        }
    }
    Ok(Some((Head { status, body }, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_its_body_is_framed() {
        for (fields, body) in [
            ("content-length: 12\r\n", Body::Length(12)),
            ("Transfer-Encoding: chunked\r\n", Body::CHUNKED),
            ("connection: close\r\n", Body::UntilClose),
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            let parsed = parse_head(head.as_bytes()).unwrap().unwrap();
            assert_eq!(parsed, (Head { status: 200, body }, head.len()));
        }
    }

    #[test]
    fn an_empty_answer_needs_no_length() {
        let (head, _) = parse_head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert!(head.body.is_done());
    }

    #[test]
    fn a_head_is_awaited_to_its_last_byte() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(parse_head(&head[..cut]).unwrap(), None, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_not_http_is_refused() {
        assert!(parse_head(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
        assert!(parse_head(&[b'a'; HEAD_BYTES_MAX]).is_err());
    }
}
