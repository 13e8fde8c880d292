//! Reads streams: pages, how they stand, what stands for trimmed events, their names.
//!
//! Reads go to Redis in one go and not as a transaction, which a Redis whose memory is full refuses: what
//! another node may have changed in between is read again. A stream that lacks events in Redis is said to
//! be damaged there; never is it shorter than its hash says without a word.

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};
use runcast_event::{Epoch, Offset, RunId};
use runcast_log::engine::Phase;
use runcast_log::{Page, ReadError, ReadLimit, Record, StreamStat};

use crate::error::CallError;
use crate::keys::Keys;
use crate::pack::Pack;
use crate::replica::{FIELDS, Replica};
use crate::shards::Shards;
use crate::slots::Slot;

/// Entries that are asked for first, when nothing is known of how large they are.
const FIRST_ENTRIES: usize = 16;
/// The most entries that are asked for at once.
const ENTRIES_MAX: usize = 1_024;
/// What lies between two marks of a stream's size, unless one event is larger.
const MARKED: ReadLimit = ReadLimit { events_max: 4_096, bytes_max: 64 * 1024 };
/// Streams that a list asks for at once.
const LIST_STEP: usize = 256;

/// An event as it was stored in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) offset: Offset,
    pub(crate) epoch: Epoch,
    /// The node that appended it.
    pub(crate) node: Bytes,
    pub(crate) payload: Bytes,
}

/// Reads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) link: Shards,
    pub(crate) keys: Keys,
}

impl Reader {
    /// The whole stream as it stands, and the events behind an offset that lie in so many entries.
    pub(crate) async fn load(
        &self,
        run: &RunId,
        after: Offset,
        entries_max: usize,
    ) -> Result<(Replica, Vec<Entry>), CallError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(self.keys.meta(run));
        if entries_max > 0 {
            self.range(&mut pipeline, run, after, entries_max);
        }
        let (values, up) = self.link.ask(Keys::slot(run), &pipeline).await?;
        let mut values = values.into_iter();
        let replica = Replica::from_hash(values.next().unwrap_or_default())?;
        let found = values.next().map(found).transpose()?.unwrap_or_default();
        let replica = replica.unwrap_or_else(|| Replica::none(up.history));
        Ok((replica.in_history(up.history), found.behind(after).collect()))
    }

    /// Entries from the one on that has the event behind an offset.
    fn range(&self, pipeline: &mut Pipeline, run: &RunId, after: Offset, entries_max: usize) {
        let next = after.get().saturating_add(1);
        let cmd = pipeline.cmd("XRANGE").arg(self.keys.events(run)).arg(next).arg("+");
        cmd.arg("COUNT").arg(entries_max);
    }

    /// Asks how a stream stands.
    pub(crate) fn fields(&self, run: &RunId) -> Cmd {
        let mut cmd = redis::cmd("HMGET");
        cmd.arg(self.keys.meta(run)).arg(&FIELDS);
        cmd
    }

    /// How a stream stands that is there, and what else was asked for right behind it.
    async fn standing(
        &self,
        run: &RunId,
        add: impl FnOnce(&mut Pipeline),
    ) -> Result<(Replica, Option<Value>), ReadError> {
        let mut pipeline = redis::pipe();
        pipeline.add_command(self.fields(run));
        add(&mut pipeline);
        let (values, up) = self.link.ask(Keys::slot(run), &pipeline).await?;
        let mut values = values.into_iter();
        let fields = values.next().unwrap_or_default();
        let replica = Replica::from_fields(&fields).map_err(CallError::from)?;
        let replica = replica.ok_or(ReadError::NotFound)?.in_history(up.history);
        if replica.stream.phase == Phase::Deleted {
            return Err(ReadError::Deleted);
        }
        Ok((replica, values.next()))
    }

    pub(crate) async fn stat(&self, run: &RunId) -> Result<Option<StreamStat>, ReadError> {
        match self.standing(run, |_| ()).await {
            Ok((replica, _)) => Ok(Some(replica.stream.stat())),
            Err(ReadError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn base(&self, run: &RunId) -> Result<Option<Bytes>, ReadError> {
        let get = |pipeline: &mut Pipeline| {
            pipeline.cmd("GET").arg(self.keys.base(run));
        };
        let mut version = None;
        loop {
            let (replica, base) = self.standing(run, get).await?;
            match base {
                Some(Value::BulkString(base)) => return Ok(Some(base.into())),
                _ if !replica.stream.has_base => return Ok(None),
                // It may have been trimmed between the two.
                _ if version != Some(replica.version) => version = Some(replica.version),
                _ => {
                    let (first, last) =
                        (Offset::new(1), Offset::new(replica.stream.first.get() - 1));
                    let reason = format!("Redis has no key {} any more", self.keys.base(run));
                    return Err(ReadError::Damaged { first, last, reason });
                }
            }
        }
    }

    pub(crate) async fn first_within(
        &self,
        run: &RunId,
        bytes_max: u64,
    ) -> Result<Offset, ReadError> {
        let (replica, _) = self.standing(run, |_| ()).await?;
        let Some(excess) = replica.bytes.checked_sub(bytes_max).filter(|excess| *excess > 0) else {
            return Ok(replica.stream.first);
        };
        let script = &self.link.scripts().within;
        let keys = [self.keys.sizes(run)];
        let found = self.link.run(Keys::slot(run), script, &keys, |cmd, _| {
            cmd.arg(excess);
        });
        let found = redis::from_redis_value::<(u64, u64, u64)>(found.await?);
        let (before, mark, up_to) = found.map_err(|error| CallError::Garbled(error.to_string()))?;
        let Replica { stream, bytes, .. } = replica;
        let (mark, behind) = match mark {
            0 => (stream.last, 0),
            mark => (Offset::new(mark), bytes.saturating_sub(up_to)),
        };
        let after = Offset::new(before.max(stream.first.get() - 1));
        self.last_that_fit(run, (after, mark), bytes_max.saturating_sub(behind)).await
    }

    /// Which of the events behind `after` and up to `last` is the first of those at the end that have at
    /// most so many bytes.
    async fn last_that_fit(
        &self,
        run: &RunId,
        (mut after, last): (Offset, Offset),
        bytes_max: u64,
    ) -> Result<Offset, ReadError> {
        let mut sizes = Vec::new();
        while after < last {
            let page = self.page(run, after, MARKED).await?;
            let records = page.records.iter().take_while(|record| record.offset <= last);
            let before = sizes.len();
            sizes.extend(records.map(|record| (record.offset, record.payload.len() as u64)));
            if sizes.len() == before {
                break;
            }
            after = sizes[sizes.len() - 1].0;
        }
        let mut bytes = 0;
        let fit = sizes.iter().rev().take_while(|(_, size)| {
            bytes += size;
            bytes <= bytes_max
        });
        Ok(fit.last().map_or(last.next(), |(offset, _)| *offset))
    }

    pub(crate) async fn page(
        &self,
        run: &RunId,
        after: Offset,
        limit: ReadLimit,
    ) -> Result<Page, ReadError> {
        let events_max = limit.events_max.max(1);
        let mut asked = FIRST_ENTRIES.min(events_max);
        let (mut records, mut bytes, mut next) = (Vec::new(), 0_usize, after);
        let (mut read, mut entries_read) = (0_usize, 0_usize);
        let mut known: Option<StreamStat> = None;
        let mut doubtful = None;
        loop {
            let range = |pipeline: &mut Pipeline| self.range(pipeline, run, next, asked);
            let (replica, answer) = self.standing(run, range).await?;
            let stat = replica.stream.stat();
            if next.get().saturating_add(1) < stat.first.get()
                || known.as_ref().is_some_and(|known| known.epoch != stat.epoch)
            {
                // It is another than it was at the first look.
                return match known {
                    Some(stat) => Ok(Page { records, stat }),
                    None => Err(ReadError::Trimmed { first: stat.first }),
                };
            }
            let found = answer.map(found).transpose()?.unwrap_or_default();
            let hole = found.hole(next, &stat, found.entries < asked);
            if hole.is_some() && doubtful != Some(replica.version) {
                // It may have been trimmed or deleted between the two.
                doubtful = Some(replica.version);
                continue;
            }
            (read, entries_read) = (read + found.bytes(), entries_read + found.entries);
            let sound = hole.map_or(stat.last, |(first, _)| Offset::new(first.get() - 1));
            for event in found.behind(next).take_while(|event| event.offset <= sound) {
                bytes += event.payload.len();
                let is_full = records.len() >= events_max || bytes > limit.bytes_max;
                if is_full && !records.is_empty() {
                    return Ok(Page { records, stat });
                }
                next = event.offset;
                records.push(Record::single(event.offset, event.payload));
            }
            if let (Some((first, last)), true) = (hole, records.is_empty()) {
                let key = self.keys.events(run);
                let reason = format!("they are missing in the key {key} of Redis");
                return Err(ReadError::Damaged { first, last, reason });
            }
            if hole.is_some() || next >= stat.last || records.len() >= events_max {
                return Ok(Page { records, stat });
            }
            let entry_bytes = (read / entries_read.max(1)).max(1);
            let fit = limit.bytes_max.saturating_sub(bytes) / entry_bytes + 1;
            asked = fit.min(events_max - records.len()).min(ENTRIES_MAX);
            known = Some(stat);
        }
    }

    pub(crate) async fn list(
        &self,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<(RunId, StreamStat)>, ReadError> {
        let mut listed = Vec::new();
        let mut after = after.cloned();
        while listed.len() < limit {
            let step = LIST_STEP.min(limit - listed.len());
            let names = self.names(after.as_ref(), step).await?;
            let Some(last) = names.last() else { break };
            after = Some(last.clone());
            for (run, stat) in self.stats(names).await {
                listed.extend(stat?.map(|stat| (run, stat)));
            }
        }
        Ok(listed)
    }

    /// How these streams stand; none for those that are not there.
    pub(crate) async fn stats(
        &self,
        runs: Vec<RunId>,
    ) -> Vec<(RunId, Result<Option<StreamStat>, CallError>)> {
        let questions = runs.iter().map(|run| (Keys::slot(run), self.fields(run))).collect();
        let answers = self.link.ask_each(questions).await;
        let stat = |answer: Result<(Value, u32), CallError>| {
            let (fields, history) = answer?;
            let replica = Replica::from_fields(&fields)?.map(|found| found.in_history(history));
            let there = replica.filter(|replica| replica.stream.is_there(None));
            Ok(there.map(|replica| replica.stream.stat()))
        };
        runs.into_iter().zip(answers.into_iter().map(stat)).collect()
    }

    /// Tells the other nodes which streams have changed.
    pub(crate) async fn publish_change(&self, message: &str) -> Result<(), CallError> {
        let changes = self.keys.changes();
        let mut pipeline = redis::pipe();
        pipeline.cmd("PUBLISH").arg(&changes).arg(message);
        self.link.ask(Slot::of(&changes), &pipeline).await.map(drop)
    }
}

/// Events that lie behind each other in Redis.
#[derive(Debug, Default)]
pub(crate) struct Found {
    events: Vec<Entry>,
    /// In so many entries.
    entries: usize,
}

impl Found {
    /// Those behind an offset: an entry may have some before.
    fn behind(self, after: Offset) -> impl Iterator<Item = Entry> {
        self.events.into_iter().skip_while(move |event| event.offset <= after)
    }

    /// All of them.
    pub(crate) fn into_events(self) -> Vec<Entry> {
        self.events
    }

    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.payload.len()).sum()
    }

    /// The first events behind `after` that should be here and are not. `is_all`: there are no more.
    fn hole(&self, after: Offset, stat: &StreamStat, is_all: bool) -> Option<(Offset, Offset)> {
        let mut expected = after;
        for event in self.events.iter().skip_while(|event| event.offset <= after) {
            if expected >= stat.last {
                return None;
            }
            expected = expected.next();
            if event.offset != expected || event.epoch > stat.epoch {
                let last = Offset::new(event.offset.get().saturating_sub(1));
                return Some((expected, last.clamp(expected, stat.last)));
            }
        }
        (is_all && expected < stat.last).then(|| (expected.next(), stat.last))
    }
}

/// Takes the answer to XRANGE.
pub(crate) fn found(answer: Value) -> Result<Found, CallError> {
    let garbled = || CallError::Garbled("the stream's entries are not as they were written".into());
    let Value::Array(values) = answer else { return Err(garbled()) };
    let mut found = Found { events: Vec::with_capacity(values.len()), entries: values.len() };
    for value in values {
        add_events(value, &mut found.events).ok_or_else(garbled)?;
    }
    Ok(found)
}

/// Adds the events of an entry.
fn add_events(value: Value, events: &mut Vec<Entry>) -> Option<()> {
    let Value::Array(mut parts) = value else { return None };
    let (Value::Array(mut fields), Value::BulkString(id)) = (parts.pop()?, parts.pop()?) else {
        return None;
    };
    let (Value::BulkString(value), Value::BulkString(name)) = (fields.pop()?, fields.pop()?) else {
        return None;
    };
    let name = Bytes::from(name);
    let (node, count) = Pack::read_field(&name)?;
    let node = name.slice_ref(node);
    let (offset, epoch) = std::str::from_utf8(&id).ok()?.split_once('-')?;
    let last = Offset::new(offset.parse().ok()?);
    // The outbox counts from 0 there.
    let epoch = Epoch::new(epoch.parse().ok()?).unwrap_or_default();
    let unpacked = Pack { last, count, value: value.into() }.unpack()?;
    events.extend(unpacked.into_iter().map(|(offset, payload)| Entry {
        offset,
        epoch,
        node: node.clone(),
        payload,
    }));
    Some(())
}
