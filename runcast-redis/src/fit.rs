//! What a Redis must be: new enough, a primary, one that throws nothing away, one that lets its user do what
//! is needed. The one place that knows.

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};

use crate::error::{CLUSTER_VERSION_MIN, CallError, OpenError, VERSION_MIN};
use crate::keys::Keys;
use crate::script::Scripts;

/// The `maxmemory-policy` of a Redis that keeps what it has.
const POLICY: &str = "noeviction";

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Which process it is.
    pub(crate) run_id: String,
    /// It is a node of a Cluster.
    pub(crate) is_cluster: bool,
    pub(crate) is_replica: bool,
    version: String,
    policy: String,
}

impl Server {
    /// Asks a server what it is.
    pub(crate) async fn ask(
        connection: &mut MultiplexedConnection,
        url: &str,
    ) -> Result<Self, OpenError> {
        let info = redis::cmd("INFO").query_async::<String>(connection).await;
        let info = info.map_err(|error| refused(url, &error))?;
        Self::read(&info).ok_or_else(|| unusable(url, "it does not say its run_id"))
    }

    fn read(info: &str) -> Option<Self> {
        let said = |name, otherwise: &str| field(info, name).unwrap_or(otherwise).to_owned();
        Some(Self {
            run_id: field(info, "run_id").filter(|id| !id.is_empty())?.to_owned(),
            is_cluster: field(info, "cluster_enabled") == Some("1"),
            is_replica: is_replica(info),
            // Valkey says here which Redis it is like.
            version: said("redis_version", "unknown"),
            policy: policy(info).to_owned(),
        })
    }

    /// Whether streams can be kept there.
    pub(crate) fn check(&self, url: &str) -> Result<(), OpenError> {
        let oldest = if self.is_cluster { CLUSTER_VERSION_MIN } else { VERSION_MIN };
        if numbers(&self.version) < numbers(oldest) {
            let (url, version) = (url.to_owned(), self.version.clone());
            return Err(OpenError::TooOld { url, version, oldest });
        }
        if throws_away(&self.policy) {
            return Err(OpenError::Evicts { url: url.to_owned(), policy: self.policy.clone() });
        }
        if self.is_replica {
            return Err(unusable(url, "it is a replica; name its primary"));
        }
        Ok(())
    }
}

/// The `maxmemory-policy` that INFO says.
pub(crate) fn policy(info: &str) -> &str {
    field(info, "maxmemory_policy").unwrap_or(POLICY)
}

/// Whether a Redis with this `maxmemory-policy` throws keys away when its memory is full.
pub(crate) fn throws_away(policy: &str) -> bool {
    policy != POLICY
}

/// Whether what INFO says is of a replica.
pub(crate) fn is_replica(info: &str) -> bool {
    field(info, "role") == Some("slave")
}

/// Has the server try what will be asked of it. The keys have `word` in their braces, if it is a node of a
/// Cluster.
pub(crate) async fn check_rights(
    connection: &mut MultiplexedConnection,
    scripts: &Scripts,
    keys: &Keys,
    (url, word): (&str, Option<u32>),
) -> Result<(), OpenError> {
    match denied(connection, scripts, keys, word).await {
        Ok(denied) => denied.into_iter().next().map_or(Ok(()), |first| Err(denies(url, first))),
        Err(error) => match CallError::from(error.clone()) {
            // The slot is on its way to another server: the user may ask, which is most of it.
            CallError::Elsewhere(_) | CallError::Ask { .. } => Ok(()),
            _ => Err(refused(url, &error)),
        },
    }
}

/// What the user may not do of all that will be asked, in Redis's words.
pub(crate) async fn denied(
    connection: &mut MultiplexedConnection,
    scripts: &Scripts,
    keys: &Keys,
    word: Option<u32>,
) -> RedisResult<Vec<String>> {
    let tag = word.map_or_else(|| "{$rights}".to_owned(), |word| format!("{{{word}}}"));
    let own =
        ["hash", "stream", "set"].map(|kind| format!("{}:{tag}:rights:{kind}", keys.prefix()));
    let mut cmd = scripts.rights.call_in_full(&own);
    cmd.arg(keys.channel_of(&tag)).arg(keys.changes());
    cmd.query_async(connection).await
}

pub(crate) fn unusable(url: &str, reason: &str) -> OpenError {
    OpenError::Unusable { url: url.to_owned(), reason: reason.to_owned() }
}

fn denies(url: &str, reason: String) -> OpenError {
    OpenError::Denies { url: url.to_owned(), reason }
}

/// Why a server could not be talked to.
pub(crate) fn refused(url: &str, error: &RedisError) -> OpenError {
    let reason = error.to_string();
    let is_login = error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"))
        || ["WRONGPASS", "NOAUTH"].iter().any(|code| reason.contains(code));
    let is_right = error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm);
    match (is_login, is_right) {
        (true, _) => OpenError::Login { url: url.to_owned(), reason },
        (_, true) => denies(url, reason),
        _ if reason.contains("certificate") => {
            OpenError::Certificate { url: url.to_owned(), reason }
        }
        _ => unusable(url, &reason),
    }
}

/// A field of what INFO says.
pub(crate) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// A version's first two numbers.
pub(crate) fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(fields: &str) -> Server {
        Server::read(&format!("run_id:a\r\n{fields}")).unwrap()
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(numbers("7.0.15") > numbers(VERSION_MIN));
        assert!(numbers("6.2.0") >= numbers(VERSION_MIN));
        assert!(numbers("6.0.20") < numbers(VERSION_MIN));
        assert!(numbers("10.1") > numbers(VERSION_MIN));
    }

    #[test]
    fn a_field_of_info_is_found_by_its_whole_name() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n";
        assert_eq!(field(info, "run_id"), Some("abc"));
        assert_eq!(field(info, "run"), None);
    }

    #[test]
    fn a_cluster_needs_sharded_channels_which_redis_7_has() {
        let said = "redis_version:6.2.9\r\ncluster_enabled:";
        assert_eq!(server(&format!("{said}0")).check("u"), Ok(()));
        let refused = server(&format!("{said}1")).check("u").unwrap_err().to_string();
        assert!(refused.contains("7.0 is the oldest"), "{refused}");
    }

    #[test]
    fn valkey_is_as_new_as_the_redis_that_it_is_like() {
        let valkey = "server_name:valkey\r\nvalkey_version:8.1.1\r\nredis_version:7.2.4\r\n";
        assert_eq!(server(&format!("{valkey}cluster_enabled:1")).check("u"), Ok(()));
    }

    #[test]
    fn any_policy_that_throws_something_away_is_refused() {
        for policy in ["volatile-lru", "volatile-ttl", "allkeys-lfu"] {
            let server = server(&format!("redis_version:7.0\r\nmaxmemory_policy:{policy}"));
            assert!(matches!(server.check("u"), Err(OpenError::Evicts { .. })));
        }
    }
}
