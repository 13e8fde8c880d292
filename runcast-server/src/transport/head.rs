//! Heads of answers on connections that no HTTP library serves. Each of these connections ends with
//! its answer, so that a body needs no frame of its own.

use std::fmt::Write as _;

use axum::http::HeaderValue;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::guard::allow_origin;
use crate::problem::Problem;

/// What every answer has. The last is for pages of other origins.
struct Common<'a> {
    status: &'a str,
    page: Option<&'a HeaderValue>,
}

impl Common<'_> {
    fn write(&self) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {}\r\nconnection: close\r\nx-content-type-options: nosniff\r\n",
            self.status
        );
        if let Ok(date) = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now()) {
            write!(head, "date: {date}\r\n").expect("a String takes every write");
        }
        let mut head = head.into_bytes();
        if let Some(origin) = self.page {
            let mut headers = axum::http::HeaderMap::new();
            allow_origin(&mut headers, origin.clone());
            for (name, value) in &headers {
                head.extend_from_slice(name.as_str().as_bytes());
                head.extend_from_slice(b": ");
                head.extend_from_slice(value.as_bytes());
                head.extend_from_slice(b"\r\n");
            }
        }
        head
    }
}

/// The head of a stream of events; the stream ends with the connection.
pub(crate) fn events(page: Option<&HeaderValue>) -> Vec<u8> {
    let mut head = Common { status: "200 OK", page }.write();
    // nginx would keep frames back until they fill a buffer.
    head.extend_from_slice(
        b"content-type: text/event-stream\r\ncache-control: no-cache, no-transform\r\n\
          x-accel-buffering: no\r\n\r\n",
    );
    head
}

/// Says that there is nothing more to come, ever.
pub(crate) fn no_content(page: Option<&HeaderValue>) -> Vec<u8> {
    let mut head = Common { status: "204 No Content", page }.write();
    head.extend_from_slice(b"\r\n");
    head
}

/// A problem, the whole answer.
pub(crate) fn problem(problem: &Problem, page: Option<&HeaderValue>) -> Vec<u8> {
    let body = problem.to_json();
    let status = problem.status().to_string();
    let mut answer = Common { status: &status, page }.write();
    let length = body.len();
    if let Some(seconds) = problem.retry_after_s() {
        answer.extend_from_slice(format!("retry-after: {seconds}\r\n").as_bytes());
    }
    let rest = format!(
        "content-type: {}\r\ncache-control: no-store\r\ncontent-length: {length}\r\n\r\n",
        crate::problem::PROBLEM_JSON
    );
    answer.extend_from_slice(rest.as_bytes());
    answer.extend_from_slice(&body);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_delimited_by_its_connection() {
        let head = String::from_utf8(events(None)).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nconnection: close\r\n"), "{head}");
        assert!(head.contains("\r\ndate: ") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(!head.contains("content-length") && !head.contains("chunked"), "{head}");
    }

    #[test]
    fn a_page_of_another_origin_may_read_every_answer() {
        let page = HeaderValue::from_static("https://app.example.com");
        for head in [events(Some(&page)), no_content(Some(&page))] {
            let head = String::from_utf8(head).unwrap();
            let allowed = "\r\naccess-control-allow-origin: https://app.example.com\r\n";
            assert!(head.contains(allowed) && head.contains("\r\nvary: Origin\r\n"), "{head}");
        }
    }
}
