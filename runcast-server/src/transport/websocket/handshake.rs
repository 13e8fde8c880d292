//! The upgrade of a request to a WebSocket.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use crate::problem::{Code, Problem};

/// The protocol that is spoken, and its version.
pub(crate) const SUBPROTOCOL: &str = "runcast.v1";
/// What RFC 6455 has a server put behind a client's key.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The bytes of a client's key.
const KEY_BYTES: usize = 16;

/// A request that may become a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// `Sec-WebSocket-Accept`.
    pub(crate) accept: HeaderValue,
}

/// Checks a request for an upgrade.
pub(crate) fn handshake(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
) -> Result<Handshake, Problem> {
    if method != Method::GET || version != Version::HTTP_11 {
        return Err(upgrade_required("a WebSocket is opened by a GET over HTTP/1.1"));
    }
    if !names(headers, &header::UPGRADE, "websocket") {
        return Err(upgrade_required("this is a WebSocket: send Upgrade: websocket"));
    }
    if !names(headers, &header::CONNECTION, "upgrade") {
        return Err(Problem::header("Connection", "must name upgrade"));
    }
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_body {
        return Err(Problem::header("Content-Length", "is of no use: an upgrade has no body"));
    }
    if single(headers, &header::SEC_WEBSOCKET_VERSION)? != "13" {
        return Err(upgrade_required("Sec-WebSocket-Version must be 13"));
    }
    let key = single(headers, &header::SEC_WEBSOCKET_KEY)?;
    if !STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES) {
        return Err(Problem::header("Sec-WebSocket-Key", "must be 16 bytes in base64"));
    }
    if !names(headers, &header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        let detail = format!("must name {SUBPROTOCOL}, which is what is spoken here");
        return Err(Problem::header("Sec-WebSocket-Protocol", detail));
    }
    Ok(Handshake { accept: accept(key) })
}

/// What a server answers to a client's key.
fn accept(key: &str) -> HeaderValue {
    let digest = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    HeaderValue::from_str(&STANDARD.encode(digest)).expect("base64 is printable ASCII")
}

fn upgrade_required(detail: &str) -> Problem {
    Problem::new(Code::UpgradeRequired, detail)
}

/// Whether a list in a header has this word. Words of subprotocols are compared to the letter.
fn names(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let is_word = |listed: &str| match *name {
        header::SEC_WEBSOCKET_PROTOCOL => listed == word,
        _ => listed.eq_ignore_ascii_case(word),
    };
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|text| text.split(',')).any(|listed| is_word(listed.trim()))
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(text), None) => Ok(text.trim()),
        _ => Err(Problem::header(name.as_str(), "must be there once")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(changes: &[(&'static str, Option<&'static str>)]) -> HeaderMap {
        let mut all = vec![
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "other, runcast.v1"),
        ];
        for (name, value) in changes {
            all.retain(|(known, _)| known != name);
            all.extend(value.map(|value| (*name, value)));
        }
        let parsed = all
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        parsed.collect()
    }

    fn refused(changes: &[(&'static str, Option<&'static str>)]) -> Code {
        let headers = headers(changes);
        handshake(&Method::GET, Version::HTTP_11, &headers).unwrap_err().code()
    }

    #[test]
    fn a_key_is_answered_as_the_standard_says() {
        let accepted = handshake(&Method::GET, Version::HTTP_11, &headers(&[])).unwrap();
        assert_eq!(accepted.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_request_that_is_no_handshake_is_refused_with_what_is_missing() {
        assert_eq!(refused(&[("upgrade", None)]), Code::UpgradeRequired);
        assert_eq!(refused(&[("sec-websocket-version", Some("8"))]), Code::UpgradeRequired);
        for changes in [
            ("connection", Some("keep-alive")),
            ("content-length", Some("5")),
            ("transfer-encoding", Some("chunked")),
            ("sec-websocket-version", None),
            ("sec-websocket-key", None),
            ("sec-websocket-key", Some("c2hvcnQ=")),
            ("sec-websocket-protocol", None),
            ("sec-websocket-protocol", Some("runcast.v2")),
        ] {
            assert_eq!(refused(&[changes]), Code::InvalidHeader, "{changes:?}");
        }
        let over_http2 = handshake(&Method::GET, Version::HTTP_2, &headers(&[]));
        assert_eq!(over_http2.unwrap_err().code(), Code::UpgradeRequired);
    }
}
