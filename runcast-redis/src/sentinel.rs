//! Asks sentinels where the primary is, each time that it is connected to.
//!
//! All are asked: after a failover some still name the old primary, which may run again and believe that it
//! is one. Who has the newest configuration is right; while a failover is under way nobody is.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis::aio::ConnectionLike as _;
use redis::{ConnectionInfo, RedisConnectionInfo, RedisError, Value};
use tokio::time::{Instant, timeout_at};

use crate::dial::Common;
use crate::error::OpenError;
use crate::fit::unusable;

/// How long the others may take to answer when most have.
const PATIENCE: Duration = Duration::from_millis(300);

/// The sentinels of a primary.
pub(crate) struct Sentinels {
    sentinels: Vec<ConnectionInfo>,
    name: String,
}

/// What a sentinel says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    /// Which configuration it knows: it goes up with every failover.
    epoch: u64,
    /// Another server is being made the primary, and it is not known yet which.
    is_unsettled: bool,
    host: String,
    port: u16,
}

impl Sentinels {
    pub(crate) fn new(sentinels: Vec<ConnectionInfo>, name: String) -> Self {
        Self { sentinels, name }
    }

    /// Where the primary is.
    pub(crate) async fn find(&self, common: &Common) -> Result<ConnectionInfo, OpenError> {
        let begun = Instant::now();
        let (patience, limit) = (begun + PATIENCE, begun + common.options.connect_timeout);
        let mut asked: FuturesUnordered<_> = self
            .sentinels
            .iter()
            .map(async |sentinel| (sentinel, self.ask(common, sentinel).await))
            .collect();
        let (mut answers, mut reasons) = (Vec::new(), Vec::new());
        while !asked.is_empty() {
            let until = if answers.len() * 2 > self.sentinels.len() { patience } else { limit };
            let Ok(Some((sentinel, said))) = timeout_at(until, asked.next()).await else { break };
            let at = sentinel.addr();
            match said {
                Ok(Some(said)) => answers.push(said),
                Ok(None) => reasons.push(format!("{at} knows no primary {:?}", self.name)),
                Err(error) => reasons.push(format!("{at}: {error}")),
            }
        }
        let url = common.options.shown_url();
        match settled(answers) {
            Ok(Some((host, port))) => Ok(common.address.server(&host, port)),
            Ok(None) if reasons.is_empty() => Err(unusable(&url, "no sentinel answers")),
            Ok(None) => {
                let reasons = reasons.join("; ");
                Err(unusable(&url, &format!("no sentinel says where the primary is: {reasons}")))
            }
            Err(()) => Err(unusable(&url, "the sentinels are making another server the primary")),
        }
    }

    async fn ask(
        &self,
        common: &Common,
        sentinel: &ConnectionInfo,
    ) -> Result<Option<Said>, RedisError> {
        let settings = sentinel.redis_settings();
        // Most sentinels want no login, and refuse one that they do not know.
        let nobody = RedisConnectionInfo::default().set_protocol(settings.protocol());
        match self.ask_as(common, sentinel.clone().set_redis_settings(nobody)).await {
            Err(error) if !error.is_io_error() && settings.password().is_some() => {
                self.ask_as(common, sentinel.clone()).await
            }
            answer => answer,
        }
    }

    async fn ask_as(
        &self,
        common: &Common,
        sentinel: ConnectionInfo,
    ) -> Result<Option<Said>, RedisError> {
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(common.options.connect_timeout))
            .set_response_timeout(Some(common.options.command_timeout));
        let client = common.address.client(sentinel)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut pipeline = redis::pipe();
        // In this order: an address is never older than the configuration that it is said to be of.
        pipeline.cmd("SENTINEL").arg("MASTER").arg(&self.name);
        pipeline.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let answers = connection.req_packed_commands(&pipeline, 0, 2).await?;
        let mut answers = answers.into_iter().map(Value::extract_error);
        let (master, address) = (answers.next().transpose(), answers.next().transpose()?);
        let address: Option<(String, u16)> = redis::from_redis_value(address.unwrap_or_default())?;
        let Some((host, port)) = address else { return Ok(None) };
        let master: HashMap<String, String> = redis::from_redis_value(master?.unwrap_or_default())?;
        Ok(Some(said(&master, host, port)))
    }
}

fn said(master: &HashMap<String, String>, host: String, port: u16) -> Said {
    let field = |name: &str| master.get(name).map_or("", String::as_str);
    let is_named = field("ip") == host && field("port") == port.to_string();
    Said {
        epoch: field("config-epoch").parse().unwrap_or(0),
        // It names the one that was chosen as soon as that is a primary.
        is_unsettled: is_named && field("flags").contains("failover_in_progress"),
        host,
        port,
    }
}

/// Where the primary is by the newest configuration; an error if that is about to be another.
fn settled(said: Vec<Said>) -> Result<Option<(String, u16)>, ()> {
    let Some(newest) = said.iter().map(|said| said.epoch).max() else { return Ok(None) };
    let mut newest = said.into_iter().filter(|said| said.epoch == newest);
    let Some(first) = newest.next() else { return Ok(None) };
    match first.is_unsettled || newest.any(|said| said.is_unsettled) {
        true => Err(()),
        false => Ok(Some((first.host, first.port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(epoch: u64, flags: &str, ip: &str, host: &str) -> Said {
        let fields = [("ip", ip), ("port", "1"), ("flags", flags)];
        let mut master: HashMap<String, String> =
            fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        master.insert("config-epoch".to_owned(), epoch.to_string());
        said(&master, host.to_owned(), 1)
    }

    #[test]
    fn the_sentinel_with_the_newest_configuration_is_right() {
        let old = || says(1, "master", "old", "old");
        assert_eq!(settled(vec![]), Ok(None));
        assert_eq!(settled(vec![old(), old()]), Ok(Some(("old".to_owned(), 1))));
        let new = says(2, "master,failover_in_progress", "old", "new");
        assert_eq!(settled(vec![old(), new, old()]), Ok(Some(("new".to_owned(), 1))));
    }

    #[test]
    fn while_another_primary_is_being_made_there_is_none() {
        let old = says(1, "master", "old", "old");
        let leader = says(1, "master,o_down,failover_in_progress", "old", "old");
        assert_eq!(settled(vec![old, leader]), Err(()));
    }
}
