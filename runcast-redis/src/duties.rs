//! Which streams it falls to this node to look after: of each shard of all names one node has a lease.
//!
//! A node that is gone loses its shards when its lease ends, to those that are there. What is done by
//! lease has to be safe to be done twice: a node that was held up may still be at it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Cmd;
use runcast_event::RunId;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::error::CallError;
use crate::keys::Keys;
use crate::link::Up;
use crate::read::Reader;
use crate::slots::Slot;

/// Shards that the names of all streams are in.
const SHARDS: usize = 64;
/// Leases are renewed so many times before they end.
const RENEWALS: u32 = 5;

/// The leases of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Duties {
    reader: Reader,
    node: Arc<str>,
    lease: Duration,
    held: Arc<Mutex<Held>>,
    gone: Arc<Notify>,
}

#[derive(Debug)]
struct Held {
    shards: u64,
    until: Instant,
    /// The other nodes that were there.
    others: HashSet<String>,
}

/// Renews leases until it is dropped.
pub(crate) struct Renewal(AbortHandle);

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Duties {
    pub(crate) fn new(reader: Reader, node: Arc<str>, lease: Duration) -> Self {
        let held = Held { shards: 0, until: Instant::now(), others: HashSet::new() };
        let (held, gone) = (Arc::new(Mutex::new(held)), Arc::default());
        Self { reader, node, lease, held, gone }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it falls to this node to look after a stream, at this moment.
    pub(crate) fn has(&self, run: &RunId) -> bool {
        let held = self.held();
        held.shards & (1 << shard_of(run)) != 0 && Instant::now() < held.until
    }

    /// Waits until another node has gone: it may not have told of all that it did.
    pub(crate) async fn lost_a_node(&self) {
        self.gone.notified().await;
    }

    /// Takes leases, and goes on renewing them.
    pub(crate) async fn keep(&self) -> Renewal {
        let duties = self.clone();
        duties.try_to_renew().await;
        let task = tokio::spawn(async move {
            loop {
                sleep(duties.lease / RENEWALS).await;
                duties.try_to_renew().await;
            }
        });
        Renewal(task.abort_handle())
    }

    async fn try_to_renew(&self) {
        if let Err(error) = self.renew(self.lease).await {
            tracing::debug!(%error, "the leases of this node cannot be renewed now");
        }
    }

    /// Leaves everything to the others.
    pub(crate) async fn leave(&self) {
        self.held().shards = 0;
        if let Err(error) = self.renew(Duration::ZERO).await {
            tracing::debug!(%error, "the leases of this node end by themselves");
        }
    }

    async fn renew(&self, lease: Duration) -> Result<(), CallError> {
        let Reader { link, keys } = &self.reader;
        let asked_at = Instant::now();
        let add = |cmd: &mut Cmd, _: &Up| {
            cmd.arg(&*self.node).arg(lease.as_millis() as u64).arg(SHARDS);
        };
        let (script, key) = (&link.scripts().duties, keys.duties());
        let answer = link.run(Slot::of(&key), script, std::slice::from_ref(&key), add).await?;
        let (shards, others): (Vec<usize>, HashSet<String>) = redis::from_redis_value(answer)
            .map_err(|error| CallError::Garbled(error.to_string()))?;
        let shards = shards.into_iter().filter(|shard| *shard < SHARDS);
        // It ends here before it ends there.
        let until = asked_at + lease.mul_f32(0.9);
        let shards = shards.fold(0, |all, shard| all | (1 << shard));
        let before = std::mem::replace(&mut *self.held(), Held { shards, until, others });
        if !before.others.is_subset(&self.held().others) {
            self.gone.notify_one();
        }
        Ok(())
    }
}

/// All nodes agree on it.
fn shard_of(run: &RunId) -> usize {
    Keys::slot(run).index() % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spread_over_all_shards() {
        let mut runs = [0_u32; SHARDS];
        for number in 0..6_400 {
            let run = RunId::new(&format!("run-{number}")).unwrap();
            runs[shard_of(&run)] += 1;
        }
        assert!(runs.iter().all(|runs| (50..150).contains(runs)), "{runs:?}");
    }
}
