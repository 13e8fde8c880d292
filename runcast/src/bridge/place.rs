//! Redis as the bridge uses it: its connections, its keys, and the lease by which one bridge of a name works
//! at a time.

use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, RedisError, Script};
use tokio::time::sleep;

/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long Redis may take to answer.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// For how long the lease is taken.
const LEASE: Duration = Duration::from_secs(5);
/// How often it is taken again.
const LEASE_EVERY: Duration = Duration::from_secs(1);

/// Why a session on Redis ended before it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The connection broke, or Redis refused.
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    /// The connection for messages ended.
    #[error("Redis closed the connection for messages")]
    Closed,
    /// Another bridge of this name works now.
    #[error("another bridge of this name has taken over")]
    Replaced,
}

/// Where Redis is, and the bridge's name there.
pub(super) struct Redis {
    client: Client,
    name: String,
    /// This process.
    id: String,
}

impl Redis {
    pub(super) fn new(url: &str, name: &str, id: &str) -> Result<Self, RedisError> {
        Ok(Self { client: Client::open(url)?, name: name.to_owned(), id: id.to_owned() })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// A connection for commands that are answered at once.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        self.connect_with(Some(COMMAND_TIMEOUT)).await
    }

    /// A connection for commands that wait.
    pub(super) async fn connect_to_wait(&self) -> Result<MultiplexedConnection, RedisError> {
        self.connect_with(None).await
    }

    async fn connect_with(
        &self,
        timeout: Option<Duration>,
    ) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(timeout);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// A connection for messages.
    pub(super) async fn listen(&self) -> Result<PubSub, RedisError> {
        self.client.get_async_pubsub().await
    }

    /// Who works.
    pub(super) fn owner_key(&self) -> String {
        format!("{}:owner", self.name)
    }

    /// The numbers that entries of a stream have been given.
    pub(super) fn notes_key(&self, stream: &str) -> String {
        format!("{}:in:{stream}", self.name)
    }

    /// How far runs have been published to a place.
    pub(super) fn cursors_key(&self, target: &str) -> String {
        format!("{}:out:{target}", self.name)
    }

    /// Whether the lease is this bridge's, from now on.
    pub(super) async fn lease(
        &self,
        redis: &mut MultiplexedConnection,
    ) -> Result<bool, RedisError> {
        let script = Script::new(include_str!("lease.lua"));
        let mut call = script.key(self.owner_key());
        call.arg(&self.id).arg(LEASE.as_millis() as u64);
        Ok(call.invoke_async::<u8>(redis).await? == 1)
    }

    /// Waits for the lease; `waits` is told once if another bridge has it.
    pub(super) async fn wait_for_lease(
        &self,
        redis: &mut MultiplexedConnection,
        waits: impl FnOnce(),
    ) -> Result<(), RedisError> {
        let mut waits = Some(waits);
        while !self.lease(redis).await? {
            if let Some(waits) = waits.take() {
                waits();
            }
            sleep(LEASE_EVERY / 2).await;
        }
        Ok(())
    }

    /// Keeps the lease; returns when it is another's.
    pub(super) async fn keep_lease(&self, mut redis: MultiplexedConnection) -> Broken {
        loop {
            sleep(LEASE_EVERY).await;
            match self.lease(&mut redis).await {
                Ok(true) => {}
                Ok(false) => return Broken::Replaced,
                Err(error) => return error.into(),
            }
        }
    }

    /// Gives the lease back, so that another need not wait for its end.
    pub(super) async fn give_up_lease(&self, redis: &mut MultiplexedConnection) {
        let script = Script::new(
            "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end",
        );
        // Its end comes by itself.
        let _ends = script.key(self.owner_key()).arg(&self.id).invoke_async::<()>(redis).await;
    }
}
