//! What can be wrong with Redis, and what that means for who asked.

use redis::{ErrorKind, RedisError, ServerErrorKind};
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
    #[error("the Redis at {url} has version {version}; {oldest} is the oldest that will do")]
    TooOld {
        /// Where it is.
        url: String,
        /// What it says.
        version: String,
        /// The oldest that will do: a Cluster has to be newer.
        oldest: &'static str,
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
    /// It wants another user or password.
    #[error(
        "the Redis at {url} refuses the user or the password ({reason}); write them into the URL, \
         redis://user:password@host:6379, or into REDIS_USER and REDIS_PASSWORD"
    )]
    Login {
        /// Where it is.
        url: String,
        /// What it says.
        reason: String,
    },
    /// Its user may not do what is needed.
    #[error(
        "the Redis at {url} does not let its user do what is needed ({reason}); ACL SETUSER <user> {RIGHTS}"
    )]
    Denies {
        /// Where it is.
        url: String,
        /// What it says.
        reason: String,
    },
    /// Its certificate is not to be trusted.
    #[error(
        "the Redis at {url} cannot show who it is ({reason}); redis_ca_file names the certificates of who \
         signed its own"
    )]
    Certificate {
        /// Where it is.
        url: String,
        /// What is wrong.
        reason: String,
    },
}

/// The oldest Redis that has all that is used.
pub(crate) const VERSION_MIN: &str = "6.2";

/// The oldest Cluster that has: one with channels that belong to a slot.
pub(crate) const CLUSTER_VERSION_MIN: &str = "7.0";

/// What a user of Redis needs, if keys begin with `rc`.
pub(crate) const RIGHTS: &str = "~rc:* &rc@* +@read +@write +@pubsub +@scripting +@connection -@dangerous \
                                 +time +wait +info +cluster|slots";

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
    /// Another server has it, or will have it in a moment: it was not done.
    #[error("{0}")]
    Elsewhere(String),
    /// It was not done, and another server is to be asked, this time.
    #[error("the slot is on its way to {address}")]
    Ask {
        /// The other server.
        address: String,
    },
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
        use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, TryAgain};
        let text = error.to_string();
        match (error.kind(), error.code()) {
            (ErrorKind::Server(Ask), _) => {
                let address = error.redirect_node().map_or("", |(address, _)| address).to_owned();
                Self::Ask { address }
            }
            (ErrorKind::Server(Moved | TryAgain | ClusterDown | MasterDown | BusyLoading), _) => {
                Self::Elsewhere(text)
            }
            _ if is_demoted(&error) => Self::Elsewhere(text),
            (_, Some("NOSCRIPT")) => Self::NoScript,
            (_, Some("OOM")) => Self::NoRoom(text),
            _ if text.contains("OOM command not allowed") => Self::NoRoom(text),
            (ErrorKind::Server(_) | ErrorKind::Extension, _) => Self::Refused(text),
            (ErrorKind::UnexpectedReturnType, _) => Self::Garbled(text),
            _ => Self::Lost(format!("the connection to Redis was lost: {text}")),
        }
    }
}

/// Whether a server says that it is no primary.
pub(crate) fn is_demoted(error: &RedisError) -> bool {
    // Redis 6 says it inside of another error.
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || error.detail().is_some_and(|detail| detail.contains("-READONLY"))
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
