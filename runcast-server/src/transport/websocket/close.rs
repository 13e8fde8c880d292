//! Why a server closes a connection, as a code that says whether to come back.

use std::borrow::Cow;
use std::time::Duration;

/// The end of a connection, as the server tells it. The codes are in `protocol/PROTOCOL.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Close {
    /// The client has closed: its own word is given back.
    Answer(Option<u16>),
    /// The bytes are no frames, or frames that may not be.
    Protocol(&'static str),
    /// A binary message.
    Binary,
    /// A text that is not UTF-8, or a message that is not JSON.
    Invalid(&'static str),
    /// A message over its limit.
    TooLarge,
    /// The server stops and is back after this time.
    Restart(Duration),
    /// The client did not answer a ping.
    Silent,
}

impl Close {
    /// The code, or none where the client gave none.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Answer(code) => *code,
            Self::Protocol(_) => Some(1002),
            Self::Binary => Some(1003),
            Self::Invalid(_) => Some(1007),
            Self::TooLarge => Some(1009),
            Self::Restart(_) => Some(1012),
            Self::Silent => Some(4100),
        }
    }

    /// The reason, for people; `retry_ms` is for clients.
    pub(crate) fn reason(&self) -> Cow<'static, str> {
        match self {
            Self::Answer(_) => "".into(),
            Self::Protocol(reason) | Self::Invalid(reason) => (*reason).into(),
            Self::Binary => "messages are JSON texts, not binary".into(),
            Self::TooLarge => {
                format!("a message is larger than {} bytes", super::MESSAGE_BYTES_MAX).into()
            }
            Self::Restart(after) => format!("restart; retry_ms={}", after.as_millis()).into(),
            Self::Silent => "no answer to a ping".into(),
        }
    }
}
