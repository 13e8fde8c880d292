//! What of a Redis is as the engine needs it, and what to do about what is not.
//!
//! Looks and tries, and leaves nothing behind: what is tried has keys of its own, which are deleted. Needs
//! no node, and disturbs none.

mod contents;
mod server;
mod trials;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{Cmd, ConnectionInfo, FromRedisValue, PushInfo, RedisResult};
use tokio::sync::{mpsc, watch};

use crate::address::Place;
use crate::dial::{CLIENT_NAME, Common};
use crate::error::OpenError;
use crate::fit::refused;
use crate::history::word;
use crate::keys::Keys;
use crate::options::RedisOptions;
use crate::script::Scripts;
use crate::sentinel::Sentinels;
use crate::shards::find_seed;
use crate::slots::Slot;

/// Messages that come while it is examined and that are not looked at yet. More are dropped.
const PUSHES_MAX: usize = 64;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// As it must be.
    Ok,
    /// It works, and somebody should know.
    Note,
    /// It does not work, or loses what was acknowledged.
    Problem,
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: `version`, `memory` …
    pub check: &'static str,
    /// How it is.
    pub grade: Grade,
    /// What is so.
    pub what: String,
    /// What to do about it, unless it is ok.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, grade: Grade::Ok, what: what.into(), remedy: None }
    }

    fn note(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, grade: Grade::Note, what: what.into(), remedy: Some(remedy.into()) }
    }

    fn problem(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, grade: Grade::Problem, what: what.into(), remedy: Some(remedy.into()) }
    }
}

/// Looks at the Redis that these options lead to, as a node would that connects to it: of a Cluster at every
/// primary.
///
/// # Errors
/// When it does not answer, or not to these options; what it answers is a finding.
pub async fn examine(options: &RedisOptions) -> Result<Vec<Finding>, OpenError> {
    let address = Arc::new(options.address()?);
    let keys = Keys::new(&options.prefix, address.database());
    let common = Common {
        address: Arc::clone(&address),
        options: options.clone(),
        client_name: format!("{CLIENT_NAME}doctor"),
        keys,
        scripts: Arc::new(Scripts::new(false)),
        on_push: None,
        seen: None,
        changes: Arc::new(watch::channel(0).0),
        replaced: Arc::default(),
    };
    let servers = match &address.place {
        Place::Servers(servers) => servers,
        Place::Sentinels { sentinels, name } => {
            let primary = Sentinels::new(sentinels.clone(), name.clone()).find(&common).await?;
            return examine_one(common, primary, None).await;
        }
    };
    let Some(owned) = find_seed(&common, servers).await? else {
        return examine_one(common, servers[0].clone(), None).await;
    };
    let common = Common { scripts: Arc::new(Scripts::new(true)), ..common };
    let mut primaries: BTreeMap<(String, u16), Slot> = BTreeMap::new();
    for part in &owned {
        let slot = Slot::new(part.first);
        primaries.entry((part.host.clone(), part.port)).or_insert(slot);
    }
    let mut findings = Vec::new();
    for ((host, port), slot) in primaries {
        let info = address.server(&host, port);
        let found = examine_one(common.clone(), info, Some(word(slot))).await?;
        findings.extend(found.into_iter().map(|finding| {
            let what = format!("{host}:{port}: {}", finding.what);
            Finding { what, ..finding }
        }));
    }
    Ok(findings)
}

async fn examine_one(
    common: Common,
    info: ConnectionInfo,
    word: Option<u32>,
) -> Result<Vec<Finding>, OpenError> {
    let mut patient = Patient::connect(common, info, word).await?;
    let server = patient.info().await?;
    let mut findings = server::findings(&mut patient, &server).await;
    findings.extend(trials::findings(&mut patient).await);
    findings.extend(contents::findings(&mut patient).await);
    Ok(findings)
}

/// A server that is being examined.
struct Patient {
    connection: MultiplexedConnection,
    pushes: mpsc::Receiver<PushInfo>,
    common: Common,
    at: String,
    /// What is in a slot of it, if it is a node of a Cluster.
    word: Option<u32>,
}

impl Patient {
    async fn connect(
        common: Common,
        info: ConnectionInfo,
        word: Option<u32>,
    ) -> Result<Self, OpenError> {
        let at = info.addr().to_string();
        let (give, pushes) = mpsc::channel(PUSHES_MAX);
        let connection = common.connect(info, move |push| {
            let _more_than_are_needed = give.try_send(push);
        });
        let connection = connection.await?;
        Ok(Self { connection, pushes, common, at, word })
    }

    /// A key of the doctor's own, which the server has.
    fn own_key(&self, what: &str) -> String {
        let prefix = self.common.keys.prefix();
        match self.word {
            Some(word) => format!("{prefix}:{{{word}}}:doctor:{what}"),
            None => format!("{prefix}:{{$doctor}}:{what}"),
        }
    }

    async fn ask<T: FromRedisValue>(&mut self, cmd: &Cmd) -> RedisResult<T> {
        let value = self.connection.req_packed_command(cmd).await?.extract_error()?;
        Ok(redis::from_redis_value(value)?)
    }

    async fn info(&mut self) -> Result<String, OpenError> {
        let info = self.ask::<String>(&redis::cmd("INFO")).await;
        info.map_err(|error| refused(&self.at, &error))
    }

    /// A setting of the server, if it tells it: many that are rented do not.
    async fn setting(&mut self, name: &str) -> Option<String> {
        let told: RedisResult<HashMap<String, String>> =
            self.ask(redis::cmd("CONFIG").arg("GET").arg(name)).await;
        told.ok()?.remove(name)
    }
}

/// Bytes as people say them.
fn amount(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_said_in_the_unit_that_fits() {
        let said = [0, 1023, 1024, 1536 * 1024, 5 << 40, 5 << 50].map(amount);
        let expected = ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 MiB", "5.0 TiB", "5120.0 TiB"];
        assert_eq!(said, expected);
    }
}
