//! Whose a connection is, by its first request: the stream plane's if it follows a run over
//! HTTP/1.1, else the HTTP library's.
//!
//! A request that the plane takes is the last on its connection, so it must not be possible to read
//! it in two ways: what is not plain is refused. A request that is wrong in any other way is left to
//! the HTTP library, which answers it like every other wrong request.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use memchr::memchr_iter;
use runcast_event::RunId;

use super::head::{HEADERS_MAX, HTTP2_PREFACE};
use crate::api::{FollowRequest, Representation, Scope, without_body};
use crate::guard::Guard;
use crate::problem::{Code, Problem};

/// Who serves a connection.
#[derive(Debug)]
pub(super) enum Way {
    Http1,
    Http2,
    /// The plane: what is followed, and for which page of another origin.
    Plane(Box<FollowRequest>, Option<HeaderValue>),
    /// Nobody.
    Refused(Problem),
}

/// Finds the way of a connection that began with these bytes, the first request's whole head.
pub(super) fn way(bytes: &[u8], guard: &Guard) -> Way {
    if bytes.starts_with(HTTP2_PREFACE) {
        return Way::Http2;
    }
    follow(bytes, guard).unwrap_or(Way::Http1)
}

fn follow(bytes: &[u8], guard: &Guard) -> Option<Way> {
    if !bytes.starts_with(b"GET /v1/runs/") {
        return None;
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(head_bytes)) = request.parse(bytes) else { return None };
    let target = request.path?;
    let path = target.split('?').next().unwrap_or_default();
    let (run, scope) = match path.strip_prefix("/v1/runs/")?.rsplit_once('/')? {
        (run, "events") => (run, Scope::Events),
        (run, "commands") => (run, Scope::Mailbox),
        _ => return None,
    };
    let headers = header_map(request.headers)?;
    if !matches!(Representation::of(&headers), Ok(Representation::Live)) {
        return None;
    }
    if let Err(problem) = check_plain(&bytes[..head_bytes], &headers) {
        return Some(Way::Refused(problem));
    }
    let uri: Uri = target.parse().ok()?;
    let page = guard.check(&uri, &headers).ok()?;
    let request = FollowRequest::parse(RunId::new(run).ok()?, scope, &uri, &headers).ok()?;
    Some(Way::Plane(Box::new(request), page))
}

fn header_map(headers: &[httparse::Header<'_>]) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        map.append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    Some(map)
}

/// Whether everyone who reads this head finds the same request with the same end.
fn check_plain(head: &[u8], headers: &HeaderMap) -> Result<(), Problem> {
    let is_bare = |at: usize| at == 0 || head[at - 1] != b'\r';
    if memchr_iter(b'\n', head).any(is_bare) {
        let detail = "a line of the request's head ends with a line feed alone";
        return Err(Problem::new(Code::InvalidHeader, detail));
    }
    without_body(headers)
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use runcast_hub::Format;

    use super::*;
    use crate::config::HttpConfig;
    use crate::transport::shape::Shape;
    use crate::transport::view::View;

    const LIVE: &str = "Host: localhost\r\nAccept: text/event-stream\r\n";

    fn way_of(line: &str, headers: &str) -> Way {
        let head = format!("{line} HTTP/1.1\r\n{headers}\r\n");
        way(head.as_bytes(), &Guard::new(&HttpConfig::default()))
    }

    #[test]
    fn a_follow_goes_to_the_plane_with_what_it_asks() {
        let headers = format!("{LIVE}Last-Event-ID: 2.7\r\n");
        let Way::Plane(request, page) = way_of("GET /v1/runs/r/events?named=1&after=3", &headers)
        else {
            panic!("not the plane's");
        };
        let cursor = Some("2.7".parse().unwrap());
        let run = RunId::new("r").unwrap();
        let shape = Shape { view: View::default(), format: Format::SseNamed };
        assert_eq!(*request, FollowRequest { run, scope: Scope::Events, cursor, shape });
        assert_eq!(page, None);
    }

    #[test]
    fn what_is_not_a_follow_or_is_wrong_goes_to_the_http_library() {
        let json = "Host: localhost\r\nAccept: application/json\r\n";
        let elsewhere = "Host: evil.example\r\nAccept: text/event-stream\r\n";
        for (line, headers) in [
            ("GET /v1/runs/r/events", json),
            ("GET /v1/runs/r/events", "Host: localhost\r\n"),
            ("GET /v1/runs/r/events", elsewhere),
            ("GET /v1/runs/r/events?aftr=1", LIVE),
            ("GET /v1/runs/r%2f/events", LIVE),
            ("GET /v1/runs/r", LIVE),
            ("GET /v1/runs//events", LIVE),
            ("GET /v1/runs/a/b/events", LIVE),
            ("HEAD /v1/runs/r/events", LIVE),
            ("POST /v1/runs/r/events", LIVE),
            ("GET http://localhost/v1/runs/r/events", LIVE),
        ] {
            assert!(matches!(way_of(line, headers), Way::Http1), "{line} {headers}");
        }
        let guard = Guard::new(&HttpConfig::default());
        assert!(matches!(way(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &guard), Way::Http2));
    }

    #[test]
    fn a_follow_that_can_be_read_in_two_ways_is_refused() {
        for odd in [
            "Content-Length: 5\r\n",
            "Content-Length: 0\r\nContent-Length: 5\r\n",
            "Content-Length: +0\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\nContent-Length: 0\r\n",
            "X: y\n",
        ] {
            let way = way_of("GET /v1/runs/r/events", &format!("{LIVE}{odd}"));
            assert!(matches!(way, Way::Refused(_)), "{odd:?}");
        }
        let nothing = format!("{LIVE}Content-Length: 0\r\n");
        assert!(matches!(way_of("GET /v1/runs/r/events", &nothing), Way::Plane(..)));
        let two_hosts = format!("{LIVE}Host: localhost\r\n");
        assert!(matches!(way_of("GET /v1/runs/r/events", &two_hosts), Way::Http1));
    }
}
