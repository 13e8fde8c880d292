//! The names of all streams, in order: noted before a stream begins, and forgotten when nothing is left of
//! it.
//!
//! Of a deleted stream a tombstone is left for some time, so that a stream that is made again under its
//! name has another epoch. Redis drops it then, and whoever looks after the feed finds that the name stands
//! for nothing.

use std::time::Duration;

use redis::{Cmd, Value};
use runcast_event::RunId;

use crate::error::CallError;
use crate::keys::Keys;
use crate::link::Up;
use crate::read::Reader;
use crate::script::Lua;
use crate::slots::Slot;

/// For how long a name is safe that was noted: longer than it takes until its stream begins.
const NOTED: Duration = Duration::from_mins(30);
/// Names that are looked at at once.
const STEP: usize = 256;

impl Reader {
    /// Notes the name of a stream that there is, or will be in a moment.
    pub(crate) async fn register(&self, run: &RunId) -> Result<(), CallError> {
        let add = |cmd: &mut Cmd, _: &Up| {
            cmd.arg(run.as_str()).arg(NOTED.as_millis() as u64);
        };
        self.change_names(&self.link.scripts().register, add).await
    }

    async fn change_names(
        &self,
        script: &Lua,
        add: impl Fn(&mut Cmd, &Up),
    ) -> Result<(), CallError> {
        let keys = [self.keys.names(), self.keys.noted_names()];
        self.link.run(Slot::of(&keys[0]), script, &keys, add).await.map(drop)
    }

    /// Names of streams, in order.
    pub(crate) async fn names(
        &self,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<RunId>, CallError> {
        let mut pipeline = redis::pipe();
        let from = after.map_or_else(|| "-".to_owned(), |run| format!("({run}"));
        let key = self.keys.names();
        let cmd = pipeline.cmd("ZRANGEBYLEX").arg(&key).arg(from).arg("+");
        cmd.arg("LIMIT").arg(0).arg(limit);
        let (values, _) = self.link.ask(Slot::of(&key), &pipeline).await?;
        let Some(Value::Array(names)) = values.into_iter().next() else { return Ok(Vec::new()) };
        let name = |value: &Value| match value {
            Value::BulkString(name) => RunId::from_stored(std::str::from_utf8(name).ok()?).ok(),
            _ => None,
        };
        Ok(names.iter().filter_map(name).collect())
    }

    /// How many names there are, those of deleted streams among them.
    pub(crate) async fn count(&self) -> Result<u64, CallError> {
        let mut pipeline = redis::pipe();
        let key = self.keys.names();
        pipeline.cmd("ZCARD").arg(&key);
        let (values, _) = self.link.ask(Slot::of(&key), &pipeline).await?;
        let count = redis::from_redis_value(values.into_iter().next().unwrap_or_default());
        count.map_err(|error| CallError::Garbled(error.to_string()))
    }

    /// Forgets some of the names that stand for nothing, behind this one; gives the last that was looked
    /// at, or none if there are no more.
    pub(crate) async fn forget_names(
        &self,
        after: Option<&RunId>,
    ) -> Result<Option<RunId>, CallError> {
        let names = self.names(after, STEP).await?;
        let exists = |run: &RunId| {
            let mut cmd = redis::cmd("EXISTS");
            cmd.arg(self.keys.meta(run));
            (Keys::slot(run), cmd)
        };
        let answers = self.link.ask_each(names.iter().map(exists).collect()).await;
        let is_gone =
            |answer: Result<(Value, u32), CallError>| matches!(answer, Ok((Value::Int(0), _)));
        let gone: Vec<&RunId> = names
            .iter()
            .zip(answers)
            .filter_map(|(run, answer)| is_gone(answer).then_some(run))
            .collect();
        if !gone.is_empty() {
            let add = |cmd: &mut Cmd, _: &Up| {
                for run in &gone {
                    cmd.arg(run.as_str());
                }
            };
            self.change_names(&self.link.scripts().forget, add).await?;
        }
        Ok(names.last().filter(|_| names.len() == STEP).cloned())
    }
}
