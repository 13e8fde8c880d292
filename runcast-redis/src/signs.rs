//! Signs of producers, which every node hears of: who is silent to one node may talk to another.

use std::time::Duration;

use redis::Cmd;
use runcast_event::RunId;

use crate::error::CallError;
use crate::link::Up;
use crate::read::Reader;
use crate::slots::Slot;

/// For how long a sign is remembered: longer than any producer may be silent.
const KEPT: Duration = Duration::from_hours(48);
/// Signs that are noted in one go.
const STEP: usize = 1_000;

impl Reader {
    pub(crate) async fn sign(&self, runs: &[RunId]) -> Result<(), CallError> {
        for some in runs.chunks(STEP) {
            let add = |cmd: &mut Cmd, _: &Up| {
                cmd.arg(KEPT.as_millis() as u64);
                for run in some {
                    cmd.arg(run.as_str());
                }
            };
            let (script, key) = (&self.link.scripts().sign, self.keys.signs());
            self.link.run(Slot::of(&key), script, std::slice::from_ref(&key), add).await?;
        }
        Ok(())
    }

    pub(crate) async fn signed(&self, run: &RunId) -> Result<Option<Duration>, CallError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("TIME").cmd("ZSCORE").arg(self.keys.signs()).arg(run.as_str());
        let (values, _) = self.link.ask(Slot::of(&self.keys.signs()), &pipeline).await?;
        let values = redis::Value::Array(values);
        let ((seconds, micros), signed): ((u64, u64), Option<f64>) =
            redis::from_redis_value(values)
                .map_err(|error| CallError::Garbled(error.to_string()))?;
        let now = Duration::from_secs(seconds) + Duration::from_micros(micros);
        Ok(signed.map(|at| now.saturating_sub(Duration::from_secs_f64(at.max(0.0) / 1_000.0))))
    }
}
