//! What of a Redis is as the engine needs it, and what to do about what is not.
//!
//! Looks and tries, and leaves nothing behind: what is tried has keys of its own, which are deleted. Needs
//! no node, and disturbs none.

mod contents;
mod server;
mod trials;

use std::collections::HashMap;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, PushInfo, RedisResult};
use tokio::sync::mpsc;

use crate::error::OpenError;
use crate::keys::Keys;
use crate::options::RedisOptions;

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

/// Looks at the Redis that these options lead to, as a node would that connects to it.
///
/// # Errors
/// When it does not answer, or not to these options; what it answers is a finding.
pub async fn examine(options: &RedisOptions) -> Result<Vec<Finding>, OpenError> {
    let mut patient = Patient::connect(options).await?;
    let server = patient.info().await?;
    let mut findings = server::findings(&mut patient, &server).await;
    let trials = trials::findings(&mut patient, &server).await;
    findings.extend(trials);
    findings.extend(contents::findings(&mut patient).await);
    Ok(findings)
}

/// A Redis that is being examined.
struct Patient {
    connection: MultiplexedConnection,
    pushes: mpsc::Receiver<PushInfo>,
    options: RedisOptions,
    keys: Keys,
}

impl Patient {
    async fn connect(options: &RedisOptions) -> Result<Self, OpenError> {
        let info = options.connection()?;
        let keys = Keys::new(&options.prefix, info.redis_settings().db());
        let unusable = |reason: String| OpenError::Unusable { url: options.shown_url(), reason };
        let client = Client::open(info).map_err(|error| unusable(error.to_string()))?;
        let (give, pushes) = mpsc::channel(PUSHES_MAX);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.command_timeout))
            .set_push_sender(move |push: PushInfo| {
                let _more_than_are_needed = give.try_send(push);
                Ok::<(), redis::aio::SendError>(())
            });
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connection.map_err(|error| unusable(error.to_string()))?;
        Ok(Self { connection, pushes, options: options.clone(), keys })
    }

    async fn ask<T: FromRedisValue>(&mut self, cmd: &Cmd) -> RedisResult<T> {
        let value = self.connection.req_packed_command(cmd).await?.extract_error()?;
        Ok(redis::from_redis_value(value)?)
    }

    async fn info(&mut self) -> Result<String, OpenError> {
        let mut info = String::new();
        for section in ["server", "memory", "persistence", "replication"] {
            let said = self.ask::<String>(redis::cmd("INFO").arg(section)).await;
            info += &said.map_err(|error| OpenError::Unusable {
                url: self.options.shown_url(),
                reason: error.to_string(),
            })?;
        }
        Ok(info)
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
