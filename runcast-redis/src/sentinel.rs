//! Asks sentinels where the primary is, each time that it is connected to: whoever they name and is no
//! primary is not written to.

use redis::{ConnectionInfo, RedisError};
use tokio::time::timeout;

use crate::dial::Common;
use crate::error::OpenError;
use crate::fit::unusable;

/// Some sentinels. The one that answered last is asked first.
pub(crate) struct Sentinels {
    sentinels: Vec<ConnectionInfo>,
    name: String,
}

impl Sentinels {
    pub(crate) fn new(sentinels: Vec<ConnectionInfo>, name: String) -> Self {
        Self { sentinels, name }
    }

    /// Where the primary is, as the first sentinel says that knows it. The next time another is asked
    /// first: what one says may be old.
    pub(crate) async fn find(&mut self, common: &Common) -> Result<ConnectionInfo, OpenError> {
        let mut reasons = Vec::new();
        for _ in 0..self.sentinels.len() {
            let sentinel = self.sentinels[0].clone();
            self.sentinels.rotate_left(1);
            let at = sentinel.addr().to_string();
            // One that hangs must not keep the others from being asked.
            let asked = timeout(common.options.connect_timeout, self.ask(common, sentinel)).await;
            match asked {
                Ok(Ok(Some((host, port)))) => return Ok(common.address.server(&host, port)),
                Ok(Ok(None)) => reasons.push(format!("{at} knows no primary {:?}", self.name)),
                Ok(Err(error)) => reasons.push(format!("{at}: {error}")),
                Err(_) => reasons.push(format!("{at} does not answer")),
            }
        }
        let reason = format!("no sentinel says where the primary is: {}", reasons.join("; "));
        Err(unusable(&common.options.shown_url(), &reason))
    }

    async fn ask(
        &self,
        common: &Common,
        sentinel: ConnectionInfo,
    ) -> Result<Option<(String, u16)>, RedisError> {
        let settings = sentinel.redis_settings().clone();
        // Most sentinels want no login, and refuse one that they do not know.
        let without = sentinel.clone().set_redis_settings(
            redis::RedisConnectionInfo::default().set_protocol(settings.protocol()),
        );
        match self.ask_as(common, without).await {
            Err(error) if !error.is_io_error() && settings.password().is_some() => {
                self.ask_as(common, sentinel).await
            }
            answer => answer,
        }
    }

    async fn ask_as(
        &self,
        common: &Common,
        sentinel: ConnectionInfo,
    ) -> Result<Option<(String, u16)>, RedisError> {
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(common.options.connect_timeout))
            .set_response_timeout(Some(common.options.command_timeout));
        let client = common.address.client(sentinel)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut cmd = redis::cmd("SENTINEL");
        cmd.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name).query_async(&mut connection).await
    }
}
