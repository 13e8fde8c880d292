//! Every answer that is not a success: RFC 9457 problems with stable codes.
//!
//! Owns the codes, and is the one place that maps an error to a status and a code. The table is in
//! `docs/http-api.md`. Never decides what is an error.

use std::fmt::Write as _;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

mod from_errors;

pub(crate) use from_errors::Place;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $text:literal $status:ident $title:literal,)*) => {
        /// What is wrong, as a name that does not change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as it is written in an answer.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The status that goes with it.
            const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// A run id with a character or a length that ids do not have.
    InvalidRunId "invalid_run_id" BAD_REQUEST "The run id is not valid",
    /// An event that breaks the rules of its type.
    InvalidEvent "invalid_event" BAD_REQUEST "An event is not valid",
    /// A body that is not what the call takes.
    InvalidBody "invalid_body" BAD_REQUEST "The body is not valid",
    /// A query parameter that the call does not have, or with a wrong value.
    InvalidParameter "invalid_parameter" BAD_REQUEST "A query parameter is not valid",
    /// A header with a wrong value.
    InvalidHeader "invalid_header" BAD_REQUEST "A header is not valid",
    /// A WebSocket message that is not what the protocol has.
    InvalidMessage "invalid_message" BAD_REQUEST "The message is not valid",
    /// A cursor behind the run's end.
    OffsetInFuture "offset_in_future" BAD_REQUEST "The run is not that far",
    /// A terminal event with events behind it.
    EventAfterEnd "event_after_end" BAD_REQUEST "A terminal event is not the last of its batch",
    /// A producer that a newer incarnation has replaced.
    ProducerFenced "producer_fenced" FORBIDDEN "A newer epoch of this producer has appended",
    /// A browser page of another site.
    ForbiddenOrigin "forbidden_origin" FORBIDDEN "This origin may not use this server",
    /// A name that is not this server's.
    ForbiddenHost "forbidden_host" FORBIDDEN "This host name is not this server's",
    /// No such path.
    NotFound "not_found" NOT_FOUND "There is nothing at this path",
    /// No such run.
    RunNotFound "run_not_found" NOT_FOUND "The run does not exist",
    /// A path that does not take this method.
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "The path does not take this method",
    /// None of the representations that the client takes.
    NotAcceptable "not_acceptable" NOT_ACCEPTABLE "There is no representation that the client accepts",
    /// A request that did not arrive in time.
    RequestTimeout "request_timeout" REQUEST_TIMEOUT "The request did not arrive in time",
    /// The run exists with another definition.
    RunExists "run_exists" CONFLICT "The run exists with another definition",
    /// The run is closed.
    RunEnded "run_ended" CONFLICT "The run has ended",
    NotPossible "not_possible" CONFLICT "The run's state does not allow it",
    InputClosed "input_closed" CONFLICT "The input takes no answer any more",
    InvalidAnswer "invalid_answer" BAD_REQUEST "The answer is not what was asked for",
    CommandNotFound "command_not_found" NOT_FOUND "There is no such command",
    InputNotFound "input_not_found" NOT_FOUND "There is no such input",
    /// The run is at another offset.
    OffsetMismatch "offset_mismatch" CONFLICT "The run is at another offset",
    /// The connection is subscribed to the run.
    AlreadySubscribed "already_subscribed" CONFLICT "The connection is subscribed to the run already",
    /// The connection has as many subscriptions as it may have.
    TooManySubscriptions "too_many_subscriptions" CONFLICT "The connection has too many subscriptions",
    /// A producer left events out.
    SequenceGap "sequence_gap" CONFLICT "Events of this producer are missing before this one",
    /// The run has all the producers it may have.
    TooManyProducers "too_many_producers" CONFLICT "The run has too many producers",
    /// The run was deleted.
    RunDeleted "run_deleted" GONE "The run was deleted",
    /// A body or a batch over its limit.
    BodyTooLarge "body_too_large" PAYLOAD_TOO_LARGE "The body is too large",
    /// A body of a type that the call does not take.
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "The call does not take this type of body",
    /// A call that is a WebSocket.
    UpgradeRequired "upgrade_required" UPGRADE_REQUIRED "The call is a WebSocket",
    /// A request head over its limit.
    HeadTooLarge "head_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE "The head of the request is too large",
    /// A fault of the server.
    Internal "internal" INTERNAL_SERVER_ERROR "The server has a fault",
    /// As many followers as may be.
    TooManyFollowers "too_many_followers" SERVICE_UNAVAILABLE "There are too many followers",
    /// The log takes no events.
    LogUnavailable "log_unavailable" SERVICE_UNAVAILABLE "The log takes no events",
    /// The run states are not as new as the log yet.
    StateBehind "state_behind" SERVICE_UNAVAILABLE "The state of the runs is still being read",
    /// The disk is full.
    NoRoom "no_room" INSUFFICIENT_STORAGE "There is no room",
}

/// The media type of every problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem(Box<Content>);

#[derive(Debug, Clone, PartialEq)]
struct Content {
    code: Code,
    detail: String,
    members: Vec<(&'static str, Value)>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Content { code, detail: detail.into(), members: Vec::new() }))
    }

    /// The same with a member that names the thing; one of that name that is there is replaced.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.members.retain(|(known, _)| *known != name);
        self.0.members.push((name, value.into()));
        self
    }

    /// What is wrong, for a person.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    pub(crate) fn code(&self) -> Code {
        self.0.code
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.code.status()
    }

    /// After how many seconds to try again, if it may go better then. For `Retry-After`.
    pub(crate) fn retry_after_s(&self) -> Option<u64> {
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE => Some(1),
            StatusCode::INSUFFICIENT_STORAGE => Some(5),
            _ => None,
        }
    }

    pub(crate) fn parameter(name: &str, detail: impl std::fmt::Display) -> Self {
        Self::new(Code::InvalidParameter, format!("{name} {detail}")).with("parameter", name)
    }

    pub(crate) fn header(name: &str, detail: impl std::fmt::Display) -> Self {
        Self::new(Code::InvalidHeader, format!("{name} {detail}")).with("header", name)
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a problem has only string keys and plain values")
    }

    /// The whole response as it goes over a connection that no HTTP library has seen yet.
    pub(crate) fn to_raw_response(&self) -> Vec<u8> {
        let (status, body) = (self.0.code.status(), self.to_json());
        let mut head = String::new();
        write!(
            head,
            "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            body.len()
        )
        .expect("a String takes every write");
        let mut response = head.into_bytes();
        response.extend_from_slice(&body);
        response
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Content { code, detail, members } = &*self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("urn:runcast:problem:{}", code.as_str()))?;
        map.serialize_entry("title", code.title())?;
        map.serialize_entry("status", &code.status().as_u16())?;
        map.serialize_entry("detail", detail)?;
        map.serialize_entry("code", code.as_str())?;
        if let Some(seconds) = self.retry_after_s() {
            map.serialize_entry("retry_after_s", &seconds)?;
        }
        for (name, value) in members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.0.code.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_as_rfc_9457_has_it() {
        let problem = Problem::new(Code::OffsetMismatch, "it is 3").with("actual", 3);
        let json: Value = serde_json::from_slice(&problem.to_json()).unwrap();
        let expected = serde_json::json!({
            "type": "urn:runcast:problem:offset_mismatch", "title": "The run is at another offset",
            "status": 409, "detail": "it is 3", "code": "offset_mismatch", "actual": 3,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn what_may_go_better_later_says_when_to_try_again() {
        let response = Problem::new(Code::LogUnavailable, "it is away").into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let problem = Problem::new(Code::NoRoom, "it is full");
        let json: Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(json["retry_after_s"], 5);
        assert_eq!(Problem::new(Code::RunEnded, "it is over").retry_after_s(), None);
    }

    #[test]
    fn every_code_is_in_the_documentation_with_its_status() {
        let documentation = include_str!("../../docs/http-api.md");
        let table = documentation.split("## Errors").nth(1).unwrap();
        for code in Code::ALL {
            let name = format!("`{}`", code.as_str());
            let row = table.lines().find(|line| line.starts_with('|') && line.contains(&name));
            let row = row.unwrap_or_else(|| panic!("{name} is not in the table"));
            let status = code.status().as_u16().to_string();
            assert!(row.contains(&format!("| {status} |")), "{row}");
        }
    }
}
