//! The inbox: what producers have left in Redis by a call of a function there, which every node brings along.
//!
//! Needs Redis 7. On one that has no functions, or does not let its user load them, there is no inbox, which
//! is said once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, Value};
use runcast_event::{ProducerId, RunId, Timestamp};
use runcast_log::{Inbox, ProducerStamp, ReadError, Received, Rejected};

use crate::error::CallError;
use crate::keys::Keys;
use crate::link::Up;
use crate::options::RedisOptions;
use crate::read::Reader;
use crate::slots::Slot;

/// Batches that are read in one go.
const READ_MAX: usize = 64;
/// About so many rejected batches are kept.
const REJECTED_MAX: usize = 1_000;
/// Who appends what names no producer.
const PRODUCER: &str = "runcast-inbox";

/// The inbox of a log in Redis.
pub(crate) struct RedisInbox {
    reader: Reader,
    library: String,
    /// The connection on which the library was last brought along.
    loaded: AtomicU64,
    /// The one on which it could not be.
    refused: AtomicU64,
}

impl RedisInbox {
    pub(crate) fn new(reader: Reader, options: &RedisOptions) -> Arc<Self> {
        let library = format!(
            "#!lua name=runcast\nlocal INBOX_ENTRIES_MAX, INBOX_BYTES_MAX = {}, {}\n{}",
            options.inbox_entries_max,
            options.inbox_bytes_max,
            include_str!("scripts/publish.lua")
        );
        Arc::new(Self { reader, library, loaded: 0.into(), refused: 0.into() })
    }

    fn keys(&self) -> &Keys {
        &self.reader.keys
    }

    fn slot(&self) -> Slot {
        Slot::of("inbox")
    }

    /// Brings the library along on a connection that is new; whether Redis has it.
    async fn load(&self) -> Result<bool, CallError> {
        let link = &self.reader.link;
        let up = link.up(self.slot(), link.deadline()).await?;
        if self.loaded.load(Ordering::Relaxed) == up.number {
            return Ok(true);
        }
        if self.refused.load(Ordering::Relaxed) == up.number {
            return Ok(false);
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(&self.library);
        match up.send(&pipeline).await?.pop() {
            Some(Err(error @ CallError::Refused(_))) => {
                let before = self.refused.swap(up.number, Ordering::Relaxed);
                if before == 0 {
                    tracing::warn!(%error, "nothing can be published by a function of Redis");
                }
                Ok(false)
            }
            Some(Err(error)) => Err(error),
            _ => {
                self.loaded.store(up.number, Ordering::Relaxed);
                Ok(true)
            }
        }
    }

    async fn entries(&self) -> Result<Vec<Received>, CallError> {
        if !self.load().await? {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        let range = pipeline.cmd("XRANGE").arg(self.keys().inbox("events")).arg("-").arg("+");
        range.arg("COUNT").arg(READ_MAX);
        let (mut values, _) = self.reader.link.ask(self.slot(), &pipeline).await?;
        let entries: Vec<(String, Vec<Bytes>)> =
            redis::from_redis_value(values.pop().unwrap_or(Value::Nil))
                .map_err(|error| CallError::Garbled(error.to_string()))?;
        let mut received = Vec::with_capacity(entries.len());
        for (place, fields) in entries {
            match received_of(&place, &fields) {
                Some(batch) => received.push(batch),
                None => {
                    // Whatever it is, it would stand in the way of all that comes behind it.
                    tracing::error!(place, "an entry of the inbox is not as it was written");
                    self.take_out(0, std::slice::from_ref(&place), &[]).await?;
                }
            }
        }
        Ok(received)
    }

    async fn take_out(
        &self,
        bytes: usize,
        places: &[String],
        rejected: &[Rejected],
    ) -> Result<(), CallError> {
        let keys = ["events", "numbers", "refused"].map(|what| self.keys().inbox(what));
        let add = |cmd: &mut Cmd, _: &Up| {
            cmd.arg(bytes).arg(REJECTED_MAX).arg(places.len()).arg(places);
            for Rejected { place, run, reason, events } in rejected {
                cmd.arg(run.as_str()).arg(place).arg(reason).arg(&events[..]);
            }
        };
        let script = &self.reader.link.scripts().received;
        self.reader.link.run(self.slot(), script, &keys, add).await.map(drop)
    }
}

#[async_trait]
impl Inbox for RedisInbox {
    fn name(&self) -> RunId {
        RunId::new("inbox").expect("it is a name")
    }

    async fn read(&self) -> Result<Vec<Received>, ReadError> {
        Ok(self.entries().await?)
    }

    async fn done(&self, done: &[Received], rejected: &[Rejected]) -> Result<(), ReadError> {
        let bytes = done.iter().flat_map(|batch| &batch.events).map(Bytes::len).sum();
        let places: Vec<String> = done.iter().map(|batch| batch.place.clone()).collect();
        Ok(self.take_out(bytes, &places, rejected).await?)
    }
}

/// An entry as the function writes it.
fn received_of(place: &str, fields: &[Bytes]) -> Option<Received> {
    let (head, events) = fields.split_at_checked(8)?;
    let text = |at: usize, name: &str| {
        (head[at] == name).then(|| std::str::from_utf8(&head[at + 1]).ok()).flatten()
    };
    let run = RunId::new(text(0, "run")?).ok()?;
    let producer = text(2, "producer")?;
    let is_counted = producer.is_empty();
    let id = if is_counted { PRODUCER } else { producer };
    let stamp = ProducerStamp {
        id: ProducerId::new(id).ok()?,
        epoch: text(4, "epoch")?.parse().ok()?,
        sequence: text(6, "sequence")?.parse().ok()?,
    };
    let millis: i64 = place.split('-').next()?.parse().ok()?;
    let events: Vec<Bytes> = events.chunks_exact(2).map(|pair| pair[1].clone()).collect();
    (!events.is_empty()).then(|| Received {
        place: place.to_owned(),
        time: Timestamp::from_micros(millis.saturating_mul(1_000)),
        run,
        producer: stamp,
        is_counted,
        events,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[&str]) -> Option<Received> {
        let fields: Vec<Bytes> =
            fields.iter().map(|field| Bytes::copy_from_slice(field.as_bytes())).collect();
        received_of("1767225600000-0", &fields)
    }

    #[test]
    fn an_entry_says_whose_events_it_has() {
        let head = ["run", "r", "producer", "", "epoch", "7", "sequence", "3"];
        let batch = entry(&[&head[..], &["event", "{}", "event", "[]"]].concat()).unwrap();
        assert_eq!((batch.producer.id.as_str(), batch.producer.sequence), (PRODUCER, 3));
        assert!(batch.is_counted && batch.events.len() == 2);
        assert_eq!(batch.time, "2026-01-01T00:00:00Z".parse().unwrap());
        assert!(entry(&head).is_none(), "it has no events");
        assert!(entry(&["run", "r"]).is_none());
        let no_run = ["run", "a b", "producer", "", "epoch", "7", "sequence", "3", "event", "{}"];
        assert!(entry(&no_run).is_none());
    }
}
