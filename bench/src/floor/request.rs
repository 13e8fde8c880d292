//! The requests that the floor understands.

use anyhow::{Context as _, Result, bail};

use crate::event::leading_decimal;
use crate::wire::websocket;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask<'a> {
    /// Append the body: one event, or one a line.
    Append { run: &'a str, body: &'a [u8], lines: bool },
    /// Follow from behind an offset.
    Follow { run: &'a str, after: u64 },
    /// Become a WebSocket.
    Upgrade,
    /// One page from behind an offset.
    Page { run: &'a str, after: u64, limit: u64 },
    /// Anything else that is read: an empty list of runs, health.
    Other,
}

const FIELDS_MAX: usize = 32;

/// Reads the request at the front of `bytes` and answers it with its length; none while it is not
/// there in whole.
pub(crate) fn parse_request(bytes: &[u8]) -> Result<Option<(Ask<'_>, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(head_bytes) = request.parse(bytes)? else {
        return Ok(None);
    };
    let target = request.path.context("a request has no target")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut body_bytes = 0;
    let mut after = parameter(query, "after").unwrap_or(0);
    let mut follows = false;
    let mut lines = false;
    for field in request.headers.iter() {
        match field.name.to_ascii_lowercase().as_str() {
            "content-length" => body_bytes = number(field.value)?,
            "last-event-id" => after = number(field.value)?,
            "accept" => follows = field.value == b"text/event-stream",
            "content-type" => lines = field.value == b"application/x-ndjson",
            _ => {}
        }
    }
    let length = head_bytes + usize::try_from(body_bytes)?;
    if bytes.len() < length {
        return Ok(None);
    }
    let run = path.strip_prefix("/v1/runs/").and_then(|rest| rest.strip_suffix("/events"));
    let ask = match (request.method, run) {
        (Some("POST"), Some(run)) => Ask::Append { run, body: &bytes[head_bytes..length], lines },
        (Some("GET"), Some(run)) if follows => Ask::Follow { run, after },
        (Some("GET"), Some(run)) => {
            Ask::Page { run, after, limit: parameter(query, "limit").unwrap_or(100) }
        }
        (Some("GET"), None) if path == websocket::PATH => Ask::Upgrade,
        (Some("GET"), None) => Ask::Other,
        (method, _) => bail!("the floor does not know {method:?} {path}"),
    };
    Ok(Some((ask, length)))
}

/// Reads the frame that subscribes at the front of `bytes`, and answers it with its length. It is
/// short, and masked with 0.
pub(crate) fn parse_subscribe(bytes: &[u8]) -> Result<Option<(Ask<'_>, usize)>> {
    const HEAD: usize = 6;
    let Some(second) = bytes.get(1) else { return Ok(None) };
    let length = HEAD + usize::from(second & 0x7f);
    let Some(frame) = bytes.get(HEAD..length) else { return Ok(None) };
    let text = std::str::from_utf8(frame)?;
    let field = |mark: &str| {
        let (_, rest) = text.split_once(mark)?;
        rest.split('"').next()
    };
    let run = field("\"run\":\"").context("nobody said which run to follow")?;
    let after = field("\"after\":\"").and_then(|after| after.parse().ok());
    Ok(Some((Ask::Follow { run, after: after.unwrap_or(0) }, length)))
}

fn parameter(query: &str, name: &str) -> Option<u64> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| value.parse().ok())?
    })
}

fn number(text: &[u8]) -> Result<u64> {
    leading_decimal(text.trim_ascii()).context("a header is not a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_append_is_awaited_to_its_last_byte() {
        let request = b"POST /v1/runs/a/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 6\r\n\r\n{}\n{}\nGET";
        let whole = request.len() - 3;
        for cut in 0..whole {
            assert_eq!(parse_request(&request[..cut]).unwrap(), None, "cut at {cut}");
        }
        let (ask, length) = parse_request(request).unwrap().unwrap();
        assert_eq!(ask, Ask::Append { run: "a", body: b"{}\n{}\n", lines: true });
        assert_eq!(length, whole);
    }

    #[test]
    fn a_follower_begins_behind_its_last_event() {
        let request = b"GET /v1/runs/a/events HTTP/1.1\r\nAccept: text/event-stream\r\nLast-Event-ID: 41\r\n\r\n";
        let (ask, _) = parse_request(request).unwrap().unwrap();
        assert_eq!(ask, Ask::Follow { run: "a", after: 41 });
    }

    #[test]
    fn a_page_has_a_place_and_a_limit() {
        let request = b"GET /v1/runs/a/events?after=7&limit=1000 HTTP/1.1\r\n\r\n";
        let (ask, _) = parse_request(request).unwrap().unwrap();
        assert_eq!(ask, Ask::Page { run: "a", after: 7, limit: 1000 });
    }

    #[test]
    fn a_socket_subscribes_behind_its_last_event() {
        let frame = websocket::client_text(r#"{"type":"subscribe","run":"a","after":"41"}"#);
        for cut in 0..frame.len() {
            assert_eq!(parse_subscribe(&frame[..cut]).unwrap(), None, "cut at {cut}");
        }
        let (ask, length) = parse_subscribe(&frame).unwrap().unwrap();
        assert_eq!((ask, length), (Ask::Follow { run: "a", after: 41 }, frame.len()));
    }

    #[test]
    fn another_call_is_refused() {
        assert!(parse_request(b"DELETE /v1/runs/a HTTP/1.1\r\n\r\n").is_err());
    }
}
