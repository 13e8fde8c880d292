//! What can be wrong with Redis, and what that means for who asked.

use redis::{ErrorKind, RedisError};
use runcast_log::{AppendError, DeleteError, ReadError};

use crate::options::OptionsError;
use crate::replica::Garbled;

/// Why a log in Redis cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The options cannot be used.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// Redis does not answer, or not as it should.
    #[error("the Redis at {url} cannot be used: {reason}")]
    Unusable {
        /// Where it should be.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// It is too old.
    #[error("the Redis at {url} has version {version}; {VERSION_MIN} is the oldest that will do")]
    TooOld {
        /// Where it is.
        url: String,
        /// What it says.
        version: String,
    },
    /// It would throw streams away.
    #[error(
        "the Redis at {url} throws keys away when its memory is full (maxmemory-policy {policy}), and \
         with them acknowledged events; set maxmemory-policy noeviction"
    )]
    Evicts {
        /// Where it is.
        url: String,
        /// Its policy.
        policy: String,
    },
}

/// The oldest Redis that has all that is used.
pub(crate) const VERSION_MIN: &str = "6.2";

/// Why a command was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// There is no connection: it was not sent.
    #[error("{0}")]
    Away(String),
    /// The answer was lost: it may have been done.
    #[error("{0}")]
    Lost(String),
    /// Redis has no memory left for it.
    #[error("{0}")]
    NoRoom(String),
    /// Redis does not have the script.
    #[error("Redis does not have the script")]
    NoScript,
    /// Redis refused it.
    #[error("{0}")]
    Refused(String),
    /// What came is not what is stored there.
    #[error("{0}")]
    Garbled(String),
}

impl From<RedisError> for CallError {
    fn from(error: RedisError) -> Self {
        let text = error.to_string();
        match (error.kind(), error.code()) {
            (_, Some("NOSCRIPT")) => Self::NoScript,
            (_, Some("OOM")) => Self::NoRoom(text),
            _ if text.contains("OOM command not allowed") => Self::NoRoom(text),
            (ErrorKind::Server(_) | ErrorKind::Extension, _) => Self::Refused(text),
            (ErrorKind::UnexpectedReturnType, _) => Self::Garbled(text),
            _ => Self::Lost(format!("the connection to Redis was lost: {text}")),
        }
    }
}

impl From<Garbled> for CallError {
    fn from(Garbled(reason): Garbled) -> Self {
        Self::Garbled(format!("the stream's hash in Redis is not as it was written: {reason}"))
    }
}

impl CallError {
    /// What is answered to an append that was certainly not stored.
    pub(crate) fn of_append(self) -> AppendError {
        match self {
            Self::NoRoom(reason) => AppendError::NoRoom { reason },
            other => AppendError::Unavailable { reason: other.to_string() },
        }
    }

    /// What is answered to a deletion or a trim that was certainly not done.
    pub(crate) fn of_change(self) -> DeleteError {
        match self {
            Self::NoRoom(reason) => DeleteError::NoRoom { reason },
            other => DeleteError::Unavailable { reason: other.to_string() },
        }
    }
}

impl From<CallError> for ReadError {
    fn from(error: CallError) -> Self {
        let reason = error.to_string();
        match error {
            CallError::Away(_) | CallError::Lost(_) => Self::Away { reason },
            _ => Self::Failed { reason },
        }
    }
}
