//! Gives a Redis that has taken over what it lacks of what this node did, before anything else is asked of
//! it.
//!
//! Each change is made again exactly as it was, on the stream exactly as it was before it: so changes of
//! several nodes to one stream come back in their order, each from the node that has it. A stream that
//! somebody has changed in the new history is left as it is.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use redis::Value;
use runcast_event::RunId;
use tokio::time::{Instant, sleep, sleep_until};

use crate::commit::{Committer, Decision, Deed};
use crate::error::CallError;
use crate::keys::Keys;
use crate::link::Up;
use crate::replica::Replica;
use crate::shards::AGAIN;

/// Streams that are refilled at once.
const RUNS_MAX: usize = 64;

/// How a stream of a new history stands, beside what was done to it.
enum Next<'a> {
    /// This has to be done again.
    Again(&'a Decision),
    /// Another node has to do something before.
    Wait,
    /// Nothing is missing, or it is too late.
    Nothing,
}

/// What has to be done to a stream that stands like this in Redis.
fn next<'a>(standing: Option<&Replica>, history: u32, decisions: &'a [Arc<Decision>]) -> Next<'a> {
    let (version, last) = standing.map_or((0, 0), |it| (it.version, it.stream.last.get()));
    if standing.is_some_and(|it| it.history >= history) {
        return Next::Nothing;
    }
    let newest = decisions.iter().map(|decision| decision.after.version).max();
    if newest.is_none_or(|newest| newest <= version) {
        return Next::Nothing;
    }
    let is_next = |decision: &&Arc<Decision>| {
        let before = &decision.before;
        before.version == version
            && (version == 0 || before.stream.last.get() == last)
            && decision.after.history < history
    };
    decisions.iter().find(is_next).map_or(Next::Wait, |decision| Next::Again(decision))
}

/// What was done again to a stream.
#[derive(Default)]
struct Again {
    changes: usize,
    /// It begins with one of them.
    begins: bool,
    /// Entries for the feed came with them.
    has_entries: bool,
    /// When its server is asked other things.
    settles_at: Option<Instant>,
}

impl Committer {
    /// Refills all streams that this node has changed and that lack something, as long as there is time.
    pub(crate) async fn refill(&self, runs: HashMap<RunId, Vec<Arc<Decision>>>) {
        let refilled: Vec<(RunId, Again)> = stream::iter(runs)
            .map(|(run, decisions)| async move {
                let again = self.refill_run(&run, &decisions).await;
                (run, again)
            })
            .buffer_unordered(RUNS_MAX)
            .filter(|(_, again)| std::future::ready(again.changes > 0))
            .collect()
            .await;
        if !refilled.is_empty() {
            let changes: usize = refilled.iter().map(|(_, again)| again.changes).sum();
            let runs = refilled.len();
            tracing::warn!(
                runs,
                changes,
                "what the Redis that took over did not have was restored"
            );
        }
        for (run, again) in refilled {
            if let Some(settles_at) = again.settles_at {
                sleep_until(settles_at).await;
            }
            if let Err(error) = self.tidy_up(&run, &again).await {
                tracing::warn!(%run, %error, "a run that was restored may not be in lists or the feed");
            }
        }
    }

    async fn refill_run(&self, run: &RunId, decisions: &[Arc<Decision>]) -> Again {
        let mut again = Again::default();
        loop {
            let Some(up) = self.reader.link.current(Keys::slot(run)) else { return again };
            if Instant::now() >= up.settles_at {
                return again;
            }
            again.settles_at = Some(up.settles_at);
            let Ok(standing) = self.standing(&up, run).await else {
                sleep(AGAIN).await;
                continue;
            };
            match next(standing.as_ref(), up.history, decisions) {
                Next::Nothing => return again,
                Next::Wait => sleep(AGAIN).await,
                Next::Again(decision) => match self.attempt(&up, decision).await {
                    // It is another by now.
                    Ok(Value::Int(_)) | Err(_) => sleep(AGAIN).await,
                    Ok(_) => {
                        again.changes += 1;
                        again.begins |= matches!(decision.deed, Deed::Store { begins: true, .. });
                        again.has_entries |= !decision.entries.is_empty();
                    }
                },
            }
        }
    }

    /// What belongs to changes and is not where the stream is.
    async fn tidy_up(&self, run: &RunId, again: &Again) -> Result<(), CallError> {
        if again.begins {
            self.reader.register(run).await?;
        }
        if again.has_entries {
            let number = self.outbox.intend(run).await?;
            if let (_, Some(finish)) = self.outbox.bring(run, number, None).await {
                self.outbox.finish(finish).await;
            }
        }
        Ok(())
    }

    /// How a stream stands in Redis, in whichever history.
    async fn standing(&self, up: &Up, run: &RunId) -> Result<Option<Replica>, CallError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(self.reader.keys.meta(run));
        let values = self.reader.link.send(up, &pipeline).await?;
        Ok(Replica::from_hash(values.into_iter().next().unwrap_or_default())?)
    }
}

#[cfg(test)]
mod tests {
    use runcast_event::Offset;

    use super::*;

    fn replica(version: u64, last: u64, history: u32) -> Replica {
        let mut replica = Replica { version, history, ..Replica::none(1) };
        replica.stream.last = Offset::new(last);
        replica
    }

    fn decisions(versions: &[u64]) -> Vec<Arc<Decision>> {
        let decision = |version: &u64| {
            let (before, after) =
                (replica(version - 1, version - 1, 1), replica(*version, *version, 1));
            let (run, deed, entries) = (RunId::new("r").unwrap(), Deed::Check, Vec::new());
            Arc::new(Decision { run, before, after, deed, entries, is_again: false })
        };
        versions.iter().map(decision).collect()
    }

    #[test]
    fn what_is_missing_is_done_again_in_its_order_and_nothing_else() {
        let own = decisions(&[1, 3, 4]);
        let at = |standing: Option<Replica>| match next(standing.as_ref(), 2, &own) {
            Next::Again(decision) => decision.after.version.to_string(),
            Next::Wait => "wait".to_owned(),
            Next::Nothing => "nothing".to_owned(),
        };
        assert_eq!(at(None), "1", "the whole stream is gone");
        assert_eq!(at(Some(replica(1, 1, 1))), "wait", "another node has the second change");
        assert_eq!(at(Some(replica(2, 2, 1))), "3");
        assert_eq!(at(Some(replica(3, 3, 1))), "4");
        assert_eq!(at(Some(replica(4, 4, 1))), "nothing");
        assert_eq!(at(Some(replica(2, 2, 2))), "nothing", "somebody has gone on without it");
        assert_eq!(at(Some(replica(3, 9, 1))), "wait", "it is another stream");
    }
}
