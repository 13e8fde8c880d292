//! What can go wrong with a request, sorted by what there is to do about it.

use std::error::Error as StdError;
use std::io;

use serde::Deserialize;

/// Why a request has no answer, or a refusal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The base address cannot be used. To be mended by a person.
    #[error("{url:?} is not a server's address: {reason}; use one such as http://127.0.0.1:7070")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection, or it broke before the answer: the request may or may not have been taken.
    /// Worth a retry.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The server's base address.
        url: String,
        /// What the network said.
        reason: String,
        /// Whether the request may have reached the server.
        may_be_sent: bool,
    },
    /// The server refused. [`Problem::is_retryable`] says whether for now or for good.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The answer is not one of Runcast's: another kind of server, or another version.
    #[error("{url} does not answer as Runcast does: {reason}")]
    Protocol {
        /// The server's base address.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl ClientError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Problem(problem) => problem.is_retryable(),
            Self::BadUrl { .. } | Self::Protocol { .. } => false,
        }
    }

    /// Whether nobody listens at the address: no server runs there.
    #[must_use]
    pub fn is_refused_connection(&self) -> bool {
        matches!(self, Self::Unreachable { reason, .. } if reason == CONNECTION_REFUSED)
    }

    /// The stable code of a refusal, such as `run_not_found`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            _ => None,
        }
    }
}

/// A refusal (`application/problem+json`, RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// The stable code; empty when the answer had none, as a proxy's has not.
    #[serde(default)]
    pub code: String,
    /// What kind of problem it is.
    #[serde(default)]
    pub title: String,
    /// What is wrong here.
    #[serde(default)]
    pub detail: String,
    /// Everything else: `field`, `line`, `event`, `actual`, `expected`, `current`, `max` …
    #[serde(flatten)]
    pub members: serde_json::Map<String, serde_json::Value>,
}

/// The longest piece of an answer that is quoted in an error, in characters.
const QUOTE_CHARS_MAX: usize = 80;

impl Problem {
    /// Whether the same request may succeed later: the server was busy, full or restarting.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.status {
            408 | 425 | 429 => true,
            // What a server does not know, it will not know later.
            501 | 505 => false,
            status => status >= 500,
        }
    }

    /// A member that is a whole number, such as `line` or `expected`.
    #[must_use]
    pub fn number(&self, member: &str) -> Option<u64> {
        self.members.get(member).and_then(serde_json::Value::as_u64)
    }

    /// Names the line of the event that is refused, where only its place in a batch is named, in
    /// front of which `lines` were answered.
    pub(crate) fn placed_behind(mut self, lines: u64) -> Self {
        if let Some(event) = self.number("event")
            && !self.members.contains_key("line")
        {
            self.members.insert("line".to_owned(), (lines + event).into());
        }
        self
    }

    /// Reads the body of an answer with an error status.
    pub(crate) fn from_answer(status: u16, body: &[u8]) -> Self {
        if let Ok(mut problem) = serde_json::from_slice::<Self>(body) {
            problem.status = status;
            return problem;
        }
        let text = String::from_utf8_lossy(body);
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let quote: String = words.chars().take(QUOTE_CHARS_MAX).collect();
        Self {
            status,
            code: String::new(),
            title: String::new(),
            detail: format!("the answer is not one of Runcast's: {quote:?}"),
            members: serde_json::Map::new(),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = if self.detail.is_empty() { &self.title } else { &self.detail };
        let code = if self.code.is_empty() { "http" } else { &self.code };
        if said.is_empty() {
            write!(f, "the server refused ({code} {})", self.status)
        } else {
            write!(f, "{said} ({code} {})", self.status)
        }
    }
}

/// What the network says where nobody listens.
const CONNECTION_REFUSED: &str = "connection refused";

/// What broke a request, in the words of a person who looks at the network.
pub(crate) fn network_reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn StdError = error;
    let mut cause: Option<&dyn StdError> = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>()
            && let Some(words) = io_words(io.kind())
        {
            return words.to_owned();
        }
        innermost = current;
        cause = current.source();
    }
    if error.is_timeout() {
        return if error.is_connect() {
            "no connection in time".to_owned()
        } else {
            "no answer in time".to_owned()
        };
    }
    innermost.to_string()
}

fn io_words(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::ConnectionRefused => CONNECTION_REFUSED,
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::ConnectionAborted => "connection aborted",
        io::ErrorKind::BrokenPipe => "connection closed",
        io::ErrorKind::UnexpectedEof => "connection closed before the answer",
        io::ErrorKind::HostUnreachable => "no route to the host",
        io::ErrorKind::NetworkUnreachable => "the network is unreachable",
        io::ErrorKind::AddrNotAvailable => "the address is not available",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_keeps_its_members_and_says_whether_to_retry() {
        let body = br#"{"type":"urn:runcast:problem:sequence_gap","title":"Sequence gap","status":409,"detail":"5 came, 3 is next","code":"sequence_gap","expected":3}"#;
        let problem = Problem::from_answer(409, body);
        assert_eq!(problem.code, "sequence_gap");
        assert_eq!(problem.number("expected"), Some(3));
        assert!(!problem.is_retryable());
        assert_eq!(problem.to_string(), "5 came, 3 is next (sequence_gap 409)");
        for status in [408, 425, 429, 500, 502, 503, 507] {
            assert!(Problem::from_answer(status, b"").is_retryable(), "{status}");
        }
    }

    #[test]
    fn an_error_page_of_a_proxy_becomes_a_problem_that_quotes_it() {
        let problem = Problem::from_answer(502, b"<html>Bad\n  gateway</html>\n");
        let expected =
            "the answer is not one of Runcast's: \"<html>Bad gateway</html>\" (http 502)";
        assert_eq!(problem.to_string(), expected);
        assert!(problem.is_retryable());
        assert!(!Problem::from_answer(501, b"").is_retryable());
    }
}
