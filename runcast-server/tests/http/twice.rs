//! One request, as the first on a connection, whose head the listener reads, and behind another, when
//! the HTTP library does: it must mean the same, or the table says why it does not.

use crate::client::{Connection, TestServer};

const ONE: &str = r#"{"type":"output","data":{"text":"x"}}"#;
const END: &str = r#"{"type":"run.completed"}"#;

/// What a request is answered, and what the next one on the connection; none if it is closed.
type Answers = (u16, Option<u16>);

/// The connection goes on.
const fn stays(status: u16) -> Answers {
    (status, Some(200))
}

/// The connection is closed behind the answer.
const fn closes(status: u16) -> Answers {
    (status, None)
}

#[derive(Debug, Clone, Copy)]
enum Expected {
    Same(Answers),
    /// As the first, as the second, and why that is right.
    Differs(Answers, Answers, &'static str),
}

use Expected::{Differs, Same};

/// A follow that is answered with events.
const FOLLOWED: Expected = Differs(
    closes(200),
    stays(200),
    "the stream plane reads no request behind a follow, and says so; the HTTP library can",
);
/// A follow with a body.
const BODY_OF_A_FOLLOW: Expected = Differs(
    closes(400),
    stays(400),
    "the listener does not look for the end of the body; the HTTP library has read it",
);
const WRONG: Expected = Same(closes(400));
const FINE: Expected = Same(stays(200));

/// The body of an answer, to its end.
async fn pass_body(connection: &mut Connection, head: &crate::client::Reply) {
    match head.header("content-length") {
        Some(length) => drop(connection.part_of(length.parse().unwrap()).await),
        None if matches!(head.status, 100 | 101 | 204) => {}
        None => drop(connection.rest().await),
    }
}

async fn answers(server: &TestServer, request: &[u8], is_second: bool) -> Answers {
    let probe = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut connection = server.connect().await;
    if is_second {
        connection.write(probe).await;
        let head = connection.head().await;
        pass_body(&mut connection, &head).await;
    }
    connection.write(request).await;
    let mut head = connection.head().await;
    while head.status == 100 {
        head = connection.head().await;
    }
    pass_body(&mut connection, &head).await;
    if head.status == 101 {
        return (101, None);
    }
    connection.write(probe).await;
    let next = match connection.is_over().await {
        true => None,
        false => Some(connection.head().await.status),
    };
    (head.status, next)
}

/// A request by its start line, its headers and its body.
fn request(line: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut head = format!("{line}\r\n");
    headers.iter().for_each(|header| head.push_str(header));
    format!("{head}\r\n{body}").into_bytes()
}

const HOST: &str = "Host: localhost\r\n";
const LIVE: &str = "Accept: text/event-stream\r\n";
const JSON: &str = "Content-Type: application/json\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const FOLLOW: &str = "GET /v1/runs/done/events HTTP/1.1";
const READ: &str = "GET /v1/runs/done HTTP/1.1";

/// Compares what the row's request is answered with what is expected.
async fn check(server: &TestServer, name: &str, request: &[u8], expected: Expected) {
    let (first, second, why) = match expected {
        Same(answers) => (answers, answers, "it means the same"),
        Differs(first, second, why) => (first, second, why),
    };
    let shown = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
    assert_eq!(
        answers(server, request, false).await,
        first,
        "{name} as the first ({why}): {shown}"
    );
    assert_eq!(
        answers(server, request, true).await,
        second,
        "{name} as the second ({why}): {shown}"
    );
}

async fn server() -> TestServer {
    let server = TestServer::start().await;
    server.post("/v1/runs/done/events", &format!("[{ONE},{END}]")).await;
    server
}

#[tokio::test]
async fn a_header_that_could_be_read_in_two_ways_is_read_in_one() {
    let server = server().await;
    let bare_line_feed = Differs(
        closes(400),
        stays(200),
        "the HTTP library takes a line feed for the end of a line, as RFC 9112 allows",
    );
    for (header, follow, read) in [
        ("Content-Length: 0\r\nContent-Length: 3\r\n", WRONG, WRONG),
        ("Content-Length: 0\r\nContent-Length: 0\r\n", FOLLOWED, FINE),
        ("Content-Length: 0, 0\r\n", WRONG, WRONG),
        ("Content-Length: +0\r\n", WRONG, WRONG),
        ("Content-Length: 0x0\r\n", WRONG, WRONG),
        ("Content-Length: \r\n", WRONG, WRONG),
        ("Content-Length : 0\r\n", WRONG, WRONG),
        ("Transfer-Encoding : chunked\r\n", WRONG, WRONG),
        ("Transfer-Encoding: cow\r\n", WRONG, WRONG),
        ("Transfer-Encoding: chunked, gzip\r\n", WRONG, WRONG),
        ("Transfer-Encoding: \u{b}chunked\r\n", WRONG, WRONG),
        ("X: y\n", bare_line_feed, FINE),
        ("X: y\r\n z\r\n", WRONG, WRONG),
        ("X: y\r\n\tz\r\n", WRONG, WRONG),
        ("X: a\0b\r\n", WRONG, WRONG),
        ("X\0: a\r\n", WRONG, WRONG),
        ("X: a\rb\r\n", WRONG, WRONG),
        (": x\r\n", WRONG, WRONG),
        ("Host: localhost\r\n", Same(stays(400)), Same(stays(400))),
        ("Host: evil.example\r\n", Same(stays(400)), Same(stays(400))),
        ("Expect: 100-continue\r\n", FOLLOWED, FINE),
        ("Connection: close\r\n", Same(closes(200)), Same(closes(200))),
    ] {
        let live = request(FOLLOW, &[HOST, LIVE, header], "");
        check(&server, "a follow", &live, follow).await;
        check(&server, "a read", &request(READ, &[HOST, header], ""), read).await;
    }
}

#[tokio::test]
async fn a_start_line_means_the_same_wherever_it_stands() {
    let server = server().await;
    let (refused, refused_old) = (Same(stays(403)), Same(closes(403)));
    let old = Same(closes(200));
    for (line, host, follow, read) in [
        ("GET {} HTTP/1.1", HOST, FOLLOWED, FINE),
        ("GET {} HTTP/1.1", "HOST: LOCALHOST\r\n", FOLLOWED, FINE),
        ("GET {} HTTP/1.1", "", refused, refused),
        ("GET {} HTTP/1.1", "Host: evil.example\r\n", refused, refused),
        ("GET {} HTTP/1.1", "Host: localhost@evil.example\r\n", refused, refused),
        ("GET http://localhost{} HTTP/1.1", HOST, FINE, FINE),
        ("GET http://evil.example{} HTTP/1.1", HOST, refused, refused),
        ("GET http://localhost{} HTTP/1.1", "Host: evil.example\r\n", refused, refused),
        ("get {} HTTP/1.1", HOST, Same(stays(405)), Same(stays(405))),
        ("GET {} HTTP/1.0", HOST, old, old),
        ("GET {} HTTP/1.0", "", refused_old, refused_old),
        ("GET {} HTTP/1.2", HOST, WRONG, WRONG),
        ("GET {} http/1.1", HOST, WRONG, WRONG),
        ("GET  {} HTTP/1.1", HOST, WRONG, WRONG),
        ("GET\t{}\tHTTP/1.1", HOST, WRONG, WRONG),
        ("GET {}\0 HTTP/1.1", HOST, WRONG, WRONG),
        ("GET {}#x HTTP/1.1", HOST, FINE, FINE),
        ("GET /.{} HTTP/1.1", HOST, Same(stays(404)), Same(stays(404))),
        ("GET /{} HTTP/1.1", HOST, Same(stays(404)), Same(stays(404))),
        ("\r\n\r\nGET {} HTTP/1.1", HOST, FINE, FINE),
    ] {
        let live = line.replace("{}", "/v1/runs/done/events");
        check(&server, "a follow", &request(&live, &[host, LIVE], ""), follow).await;
        let read_line = line.replace("{}", "/v1/runs/done");
        check(&server, "a read", &request(&read_line, &[host], ""), read).await;
    }
    for path in ["/v1/runs/d%6fne/events", "/v1/r%75ns/done/events", "/V1/RUNS/DONE/EVENTS"] {
        let live = request(&format!("GET {path} HTTP/1.1"), &[HOST, LIVE], "");
        let expected = if path.starts_with("/v1/runs") { FINE } else { Same(stays(404)) };
        check(&server, "a follow", &live, expected).await;
    }
}

#[tokio::test]
async fn a_body_ends_where_it_ends_and_is_never_a_request() {
    let server = server().await;
    let append = "POST /v1/runs/w/events HTTP/1.1";
    let length = format!("Content-Length: {}\r\n", ONE.len());
    let chunks = format!("{:x}\r\n{ONE}\r\n0\r\n\r\n", ONE.len());
    let smuggled = "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let smuggled_length = format!("Content-Length: {}\r\n", smuggled.len());
    let chunked_smuggled = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    let both = Same(closes(200));
    let pipelined = Differs(
        closes(200),
        (200, Some(404)),
        "what comes behind a follow on the plane is never read; the HTTP library answers it",
    );
    let expects = "Expect: 100-continue\r\n";
    for (line, headers, body, expected) in [
        (append, &[JSON, &length][..], ONE, FINE),
        (append, &[JSON, CHUNKED], &chunks, FINE),
        (append, &[JSON, &length, expects], ONE, FINE),
        (append, &[JSON, &length, &length], ONE, FINE),
        (append, &[JSON, &length, "Content-Length: 3\r\n"], ONE, WRONG),
        (append, &[JSON, "Content-Length: 5\r\n", CHUNKED], &chunks, both),
        (append, &[JSON, CHUNKED, "Content-Length: 5\r\n"], &chunks, both),
        (append, &[JSON, CHUNKED], "zz\r\n", WRONG),
        (READ, &[&smuggled_length], smuggled, FINE),
        (READ, &[CHUNKED], &chunked_smuggled, FINE),
        (READ, &[], smuggled, Same((200, Some(404)))),
        (FOLLOW, &[LIVE, &smuggled_length], smuggled, BODY_OF_A_FOLLOW),
        (FOLLOW, &[LIVE, CHUNKED], &chunked_smuggled, BODY_OF_A_FOLLOW),
        (FOLLOW, &[LIVE, "Content-Length: 5\r\n", CHUNKED], "0\r\n\r\n", WRONG),
        (FOLLOW, &[LIVE], smuggled, pipelined),
    ] {
        let headers = [&[HOST], headers].concat();
        check(&server, "a body", &request(line, &headers, body), expected).await;
    }
}

#[tokio::test]
async fn a_websocket_begins_the_same_wherever_its_request_stands() {
    let server = server().await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: runcast.v1\r\n";
    let line = "GET /v1/ws HTTP/1.1";
    let five = "Content-Length: 5\r\n";
    for (line, headers, body, expected) in [
        (line, &[upgrade][..], "", Same((101, None))),
        (line, &[upgrade, five], "hello", Same(stays(400))),
        (line, &[upgrade, CHUNKED], "5\r\nhello\r\n0\r\n\r\n", Same(stays(400))),
        (line, &[upgrade, "X: y\r\n z\r\n"], "", WRONG),
        (line, &[upgrade, HOST], "", Same(stays(400))),
        (line, &[], "", Same(stays(426))),
        ("GET /v1/ws HTTP/1.0", &[upgrade], "", Same(closes(426))),
        ("POST /v1/ws HTTP/1.1", &[upgrade], "", Same(stays(405))),
        (FOLLOW, &[upgrade, LIVE], "", FOLLOWED),
    ] {
        let headers = [&[HOST], headers].concat();
        check(&server, "an upgrade", &request(line, &headers, body), expected).await;
    }
}

#[tokio::test]
async fn a_head_has_the_same_limits_wherever_it_stands() {
    let server = server().await;
    let too_large = Same(closes(431));
    for (line, kind, fine) in [(FOLLOW, LIVE, FOLLOWED), (READ, "", FINE)] {
        let without = request(line, &[HOST, kind, "X: \r\n"], "").len();
        for (bytes, expected) in [
            (64 << 10, fine),
            ((64 << 10) + 1, too_large),
            (70 << 10, too_large),
            (100 << 10, too_large),
        ] {
            let long = format!("X: {}\r\n", "x".repeat(bytes - without));
            let large = request(line, &[HOST, kind, &long], "");
            assert_eq!(large.len(), bytes);
            check(&server, &format!("{bytes} bytes"), &large, expected).await;
        }
        for (others, expected) in [(98, fine), (101, too_large)] {
            let many = "x: y\r\n".repeat(others);
            check(&server, "many headers", &request(line, &[HOST, kind, &many], ""), expected)
                .await;
        }
    }
}
