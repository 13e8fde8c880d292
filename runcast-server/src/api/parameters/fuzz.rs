//! Hostile queries and headers.

use axum::http::{HeaderMap, HeaderValue, header};
use runcast_fuzz::fuzz;

use super::{MediaType, Query, Representation, cursor};

#[test]
fn a_query_is_taken_or_refused_by_name() {
    let corpus: &[&[u8]] = &[
        b"after=42&limit=10&wait=500",
        b"type=step.*&type=run.completed&step=a%20b&stage=4&coalesce=1",
        b"after=2.42&named=true&contains=%F0%9F%94%B8",
    ];
    let words: &[&[u8]] =
        &[b"&", b"=", b"%", b"%00", b"%zz", b"+", b"after=", b"type=", b"&&", b";"];
    fuzz(corpus, words, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let known = ["after", "limit", "wait", "named", "coalesce", "contains"];
        let Ok(query) = Query::parse(Some(text), &known, &["type", "step", "stage"]) else {
            return;
        };
        for name in known {
            assert!(query.all(name).count() <= 1, "{name} is there twice");
        }
        if let Ok(Some(limit)) = query.number("limit", 1..=1_000) {
            assert!((1..=1_000).contains(&limit));
        }
        let _ = query.switch("named");
        let _ = cursor(&HeaderMap::new(), &query);
    });
}

#[test]
fn any_header_says_something_or_is_refused() {
    let corpus: &[&[u8]] = &[
        b"text/event-stream, */*;q=0.1",
        b"application/x-ndjson; charset=utf-8",
        b"4711",
        b"2.17",
    ];
    let words: &[&[u8]] = &[b";q=", b",", b"*/*", b"nan", b"inf", b"-1", b"1e9", b"\t", b"\xff"];
    fuzz(corpus, words, |input| {
        let Ok(value) = HeaderValue::from_bytes(input) else { return };
        let mut headers = HeaderMap::new();
        for name in
            [header::ACCEPT, header::CONTENT_TYPE, header::HeaderName::from_static("last-event-id")]
        {
            headers.insert(name, value.clone());
        }
        let _ = Representation::of(&headers);
        let _ = MediaType::of(&headers);
        if let Ok(Some(cursor)) = cursor(&headers, &Query::default()) {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    });
}
