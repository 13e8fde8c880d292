//! Waits until replicas have what was written, on a connection of its own: Redis answers nothing else on
//! one that waits.
//!
//! One WAIT at a time is under way to a server. It is for all that was written before it began; who comes
//! later waits for the next.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::Value;
use tokio::sync::Mutex as Turn;

use crate::error::CallError;
use crate::history::word;
use crate::shards::Shards;
use crate::slots::Slot;

/// Servers that are remembered: more than any Cluster has primaries, dead ones among them.
const SERVERS_MAX: usize = 4_096;

/// What was found out by one WAIT.
#[derive(Default)]
struct Round {
    /// It was for all who came up to this one.
    upto: u64,
    have: u32,
}

/// Those who wait for the replicas of one server.
#[derive(Default)]
struct Line {
    came: AtomicU64,
    round: Turn<Round>,
}

/// Waits for replicas.
pub(crate) struct Replicas {
    link: Shards,
    /// By the process that answers there.
    lines: Mutex<HashMap<Arc<str>, Arc<Line>>>,
    pub(crate) want: u32,
    time: Duration,
}

impl Replicas {
    pub(crate) fn new(link: Shards, want: u32, time: Duration) -> Self {
        Self { link, lines: Mutex::default(), want, time }
    }

    fn line(&self, server: &Arc<str>) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= SERVERS_MAX {
            lines.clear();
        }
        Arc::clone(lines.entry(Arc::clone(server)).or_default())
    }

    /// How many replicas of a server have what it wrote into a slot before this was called.
    pub(crate) async fn have(&self, server: &Arc<str>, slot: Slot) -> u32 {
        let line = self.line(server);
        let number = line.came.fetch_add(1, Ordering::SeqCst) + 1;
        let mut round = line.round.lock().await;
        if round.upto >= number {
            return round.have;
        }
        let upto = line.came.load(Ordering::SeqCst);
        let have = self.ask(server, slot).await;
        if let Err(error) = &have {
            tracing::debug!(%error, "it is not known what replicas have");
        }
        *round = Round { upto, have: have.unwrap_or(0) };
        round.have
    }

    async fn ask(&self, server: &Arc<str>, slot: Slot) -> Result<u32, CallError> {
        let up = self.link.up(slot, self.link.deadline()).await?;
        if up.server != *server {
            // What was written was written to another, which may be gone with it.
            return Ok(0);
        }
        let keys = self.link.keys();
        let key = match self.link.is_cluster() {
            true => keys.history_of_slot(word(slot)),
            false => keys.history(),
        };
        let mut pipeline = redis::pipe();
        // WAIT is for what its own connection has written: this comes behind all the rest.
        pipeline.cmd("HSET").arg(key).arg("waited").arg(1);
        pipeline.cmd("WAIT").arg(self.want).arg(self.time.as_millis() as u64);
        let mut answers = up.send(&pipeline).await?.into_iter();
        answers.next().transpose()?;
        match answers.next().transpose()? {
            Some(Value::Int(have)) => Ok(u32::try_from(have).unwrap_or(0)),
            other => Err(CallError::Garbled(format!("WAIT gave {other:?}"))),
        }
    }
}
