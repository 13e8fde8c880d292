//! How the Redis engine is set: where Redis is, and every bound and time.

use std::path::PathBuf;
use std::time::Duration;

use crate::address::Address;

/// The longest prefix of keys and channels.
const PREFIX_CHARS_MAX: usize = 32;

/// Where Redis is, and the engine's bounds.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://…` for TLS: a server, or any node
    /// of a Cluster; several, with commas between them, are nodes of one Cluster.
    /// `redis-sentinel://[user:password@]host[:port],…/name[/database]` asks sentinels.
    pub url: String,
    /// A file of certificates, in PEM, of who may have signed those of Redis, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What all keys and channels begin with, so that several logs can share a Redis: letters, digits,
    /// `-` and `_`.
    pub prefix: String,
    /// How long it may take to connect.
    pub connect_timeout: Duration,
    /// How long Redis may take to answer a command. Then the connection is given up.
    pub command_timeout: Duration,
    /// How long a call waits for a Redis that is away, before it is refused.
    pub away_max: Duration,
    /// How long it is tried to find out what became of an append whose answer was lost, before it is
    /// refused as one that may be stored.
    pub unknown_max: Duration,
    /// How often the ends of followed streams are compared with what was told of them, so that a last
    /// message that was lost is found.
    pub check_every: Duration,
    /// After how long entries of the feed are brought there for a node that said it would.
    pub pending_max: Duration,
    /// For how long nothing is asked of another Redis process than before, but what nodes have to give it of
    /// what it lacks.
    pub refill_time: Duration,
    /// For how long a node keeps what it did last, for that.
    pub refill_kept: Duration,
    /// The most bytes of it. None is kept with 0: what is lost is lost.
    pub refill_bytes_max: usize,
    /// For how long it is remembered that a run was deleted, so that one that is made again under its name
    /// has another epoch.
    pub tombstone: Duration,
    /// How long it takes at most until others look after what a node looked after that is gone.
    pub lease: Duration,
    /// Replicas that must have an append before it is acknowledged.
    pub wait_replicas: u32,
    /// How long they may take.
    pub wait_timeout: Duration,
    /// The most appends that wait. More wait in their callers.
    pub queue_appends_max: usize,
    /// The most bytes of appends that wait, at most 1 GiB. More wait in their callers; a single append
    /// that is larger is refused.
    pub queue_bytes_max: usize,
    /// The most events of one run that go to Redis at once, unless one append has more.
    pub group_events_max: usize,
    /// The most bytes of events of one run that go to Redis at once, unless one append has more.
    pub group_bytes_max: usize,
    /// The most producers that a stream remembers.
    pub producers_max: usize,
    /// Runs that are appended to whose streams' states are kept, so that they need not be read again.
    pub runs_kept_max: usize,
    /// Messages of other nodes that wait to be looked at. When there are more, the followed streams are
    /// read instead.
    pub messages_max: usize,
    /// The most bytes of such messages.
    pub messages_bytes_max: usize,
    /// Batches that wait in the inbox. More are refused.
    pub inbox_entries_max: usize,
    /// The most bytes of events that wait there.
    pub inbox_bytes_max: usize,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            ca_file: None,
            prefix: "rc".to_owned(),
            connect_timeout: Duration::from_secs(2),
            command_timeout: Duration::from_secs(2),
            away_max: Duration::from_secs(1),
            unknown_max: Duration::from_secs(10),
            check_every: Duration::from_secs(2),
            pending_max: Duration::from_secs(10),
            refill_time: Duration::from_secs(2),
            refill_kept: Duration::from_secs(60),
            refill_bytes_max: 32 * 1024 * 1024,
            tombstone: Duration::from_hours(30 * 24),
            lease: Duration::from_secs(5),
            wait_replicas: 0,
            wait_timeout: Duration::from_secs(1),
            queue_appends_max: 16_384,
            queue_bytes_max: 64 * 1024 * 1024,
            group_events_max: 1_000,
            group_bytes_max: 4 * 1024 * 1024,
            producers_max: 1_024,
            runs_kept_max: 16_384,
            messages_max: 16_384,
            messages_bytes_max: 64 * 1024 * 1024,
            inbox_entries_max: 100_000,
            inbox_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Options that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The URL is not one of Redis.
    #[error(
        "{url:?} is not where a Redis is ({reason}); write redis://host:6379 or rediss://host:6379, \
         redis://host:6379,host:6380 for a Cluster, or redis-sentinel://host:26379/name"
    )]
    Url {
        /// What was given, without a password.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The file of certificates cannot be used.
    #[error("the certificates in {} cannot be used: {reason}", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The prefix cannot begin keys.
    #[error(
        "{prefix:?} cannot begin the keys; it needs 1 to {PREFIX_CHARS_MAX} letters, digits, - or _"
    )]
    Prefix {
        /// What was given.
        prefix: String,
    },
}

/// A URL without what is before the host, which may be a password.
pub(crate) fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}

impl RedisOptions {
    /// Where Redis is, as it may be told to anybody.
    #[must_use]
    pub fn shown_url(&self) -> String {
        without_password(&self.url)
    }

    pub(crate) fn address(&self) -> Result<Address, OptionsError> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let prefix = &self.prefix;
        if prefix.is_empty() || prefix.len() > PREFIX_CHARS_MAX || !prefix.chars().all(is_allowed) {
            return Err(OptionsError::Prefix { prefix: prefix.clone() });
        }
        Address::read(&self.url, self.ca_file.as_deref())
    }
}

impl std::fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisOptions").field("url", &self.shown_url()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let url = "rediss://user:p@ss@example.com:1/2".to_owned();
        let options = RedisOptions { url, ..RedisOptions::default() };
        assert_eq!(options.shown_url(), "rediss://example.com:1/2");
        assert!(!format!("{options:?}").contains("p@ss"));
    }

    #[test]
    fn what_is_no_redis_is_refused_with_what_would_be() {
        for url in ["", "http://localhost", "localhost"] {
            let options = RedisOptions { url: url.to_owned(), ..RedisOptions::default() };
            let error = options.address().unwrap_err().to_string();
            assert!(error.contains("redis://host:6379"), "{error}");
        }
        let options = RedisOptions { prefix: "a{b".to_owned(), ..RedisOptions::default() };
        assert!(matches!(options.address(), Err(OptionsError::Prefix { .. })));
    }
}
