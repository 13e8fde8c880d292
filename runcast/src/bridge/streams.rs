//! Streams of Redis into runs, each entry once and in order.
//!
//! An entry has a number as an event of its producer before it is appended, and is acknowledged to Redis
//! after the server has it: a bridge that is killed in between sends the same entry under the same number
//! again, which is stored once.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, Script};
use runcast_client::{Producer, RunDefinition};
use runcast_event::{ProducerId, RunId, Timestamp, is_terminal};
use tokio::sync::watch;

use super::World;
use super::config::{From, In, Place};
use super::counts::Counts;
use super::deliver::Unnumbered;
use super::place::Broken;
use super::translate::{Body, MARK, Message, Translated, translate};

/// The one consumer of the group: one bridge of a name works at a time.
const CONSUMER: &str = "bridge";
/// Entries of a stream that are read in one go.
const ENTRIES_MAX: usize = 500;
/// Entries of all streams that are read with one command.
const READ_MAX: usize = 8_192;
/// Streams that are read with one command.
const STREAMS_STEP: usize = 256;
/// Streams that are read. More wait until there are fewer.
const STREAMS_MAX: usize = 10_000;
/// How often new streams are looked for.
const DISCOVER_EVERY: Duration = Duration::from_secs(2);
/// How long a read waits for entries.
const BLOCK_MS: u64 = 500;
/// Streams, and of each runs, that are worked on at a time.
const AT_A_TIME: usize = 16;
/// How many seconds the notes of a stream are kept that nothing comes of any more.
const NOTES_S: u64 = 30 * 24 * 60 * 60;
/// Keys that are looked at in one step when streams are looked for.
const SCAN_STEP: usize = 1_000;

/// An entry: its id and its fields, none if it was deleted.
type Entry = (String, Option<Vec<Vec<u8>>>);
type Entries = Vec<Entry>;

/// The streams of all mappings.
pub(super) struct Streams<'a> {
    world: &'a World,
    redis: MultiplexedConnection,
    waiting: MultiplexedConnection,
    /// Which mapping each is read by.
    known: BTreeMap<String, &'a In>,
    discovered: Option<Instant>,
    note: Script,
}

impl<'a> Streams<'a> {
    /// Finds the streams, and takes over what a bridge before has left unfinished.
    pub(super) async fn open(world: &'a World) -> Result<Self, Broken> {
        let mut streams = Self {
            world,
            redis: world.redis.connect().await?,
            waiting: world.redis.connect_to_wait().await?,
            known: BTreeMap::new(),
            discovered: None,
            note: Script::new(include_str!("note.lua")),
        };
        streams.discover().await?;
        Ok(streams)
    }

    /// Reads until `stop`.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), Broken> {
        if !self.mappings().any(|_| true) {
            let _never_dropped_before = stop.wait_for(|stop| *stop).await;
            return Ok(());
        }
        loop {
            if self.discovered.is_none_or(|at| at.elapsed() >= DISCOVER_EVERY) {
                self.discover().await?;
            }
            let read = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                read = self.read() => read,
            };
            match read {
                Ok(entries) => self.take_all(entries).await?,
                // A stream was deleted, and its group with it.
                Err(error) if error.code() == Some("NOGROUP") => {
                    self.known.clear();
                    self.discovered = None;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn mappings(&self) -> impl Iterator<Item = &'a In> + use<'a> {
        let ins = self.world.mappings.ins.iter();
        ins.filter(|mapping| matches!(mapping.place, Place::Stream(_)))
    }

    async fn discover(&mut self) -> Result<(), Broken> {
        for mapping in self.mappings() {
            let pattern = mapping.place.name();
            if pattern.is_fixed() {
                self.add(pattern.text().to_owned(), mapping).await?;
                continue;
            }
            let mut cursor = "0".to_owned();
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(&cursor).arg("MATCH").arg(pattern.glob());
                scan.arg("COUNT").arg(SCAN_STEP).arg("TYPE").arg("stream");
                let (next, names): (String, Vec<String>) =
                    scan.query_async(&mut self.redis).await?;
                for name in names.into_iter().filter(|name| pattern.matches(name).is_some()) {
                    self.add(name, mapping).await?;
                }
                if next == "0" {
                    break;
                }
                cursor = next;
            }
        }
        self.discovered = Some(Instant::now());
        Ok(())
    }

    /// Begins to read a stream: first what was read before and not finished.
    async fn add(&mut self, stream: String, mapping: &'a In) -> Result<(), Broken> {
        if self.known.contains_key(&stream) {
            return Ok(());
        }
        if self.known.len() >= STREAMS_MAX {
            let trouble = format!("not read: there are {STREAMS_MAX} streams already");
            self.world.counts.tell(pattern_of(mapping), &trouble);
            return Ok(());
        }
        let mut create = redis::cmd("XGROUP");
        let from = if mapping.from == From::Start { "0" } else { "$" };
        create.arg("CREATE").arg(&stream).arg(self.world.redis.name()).arg(from).arg("MKSTREAM");
        match create.query_async::<()>(&mut self.redis).await {
            Ok(()) => {}
            Err(error) if error.code() == Some("BUSYGROUP") => {}
            Err(error) => return Err(error.into()),
        }
        self.known.insert(stream.clone(), mapping);
        let mut from = "0-0".to_owned();
        loop {
            let mut claim = redis::cmd("XAUTOCLAIM");
            claim.arg(&stream).arg(self.world.redis.name()).arg(CONSUMER).arg(0).arg(&from);
            claim.arg("COUNT").arg(ENTRIES_MAX);
            let claimed: redis::Value = claim.query_async(&mut self.redis).await?;
            let Claimed { next, entries, deleted } = claimed_of(claimed)?;
            self.take(&stream, mapping, entries).await?;
            if !deleted.is_empty() {
                let trouble =
                    format!("{} entries were deleted before they were stored", deleted.len());
                self.world.counts.tell(&stream, &trouble);
                let mut forget = redis::cmd("HDEL");
                forget.arg(self.world.redis.notes_key(&stream)).arg(&deleted);
                forget.exec_async(&mut self.redis).await?;
            }
            if next == "0-0" {
                return Ok(());
            }
            from = next;
        }
    }

    /// Reads what is new in all streams.
    async fn read(&mut self) -> Result<Vec<(String, Entries)>, RedisError> {
        let names: Vec<&String> = self.known.keys().collect();
        if names.is_empty() {
            tokio::time::sleep(Duration::from_millis(BLOCK_MS)).await;
            return Ok(Vec::new());
        }
        let steps = names.len().div_ceil(STREAMS_STEP) as u64;
        let mut all = Vec::new();
        for step in names.chunks(STREAMS_STEP) {
            let mut read = redis::cmd("XREADGROUP");
            read.arg("GROUP").arg(self.world.redis.name()).arg(CONSUMER);
            let count = (READ_MAX / step.len()).clamp(1, ENTRIES_MAX);
            read.arg("COUNT").arg(count).arg("BLOCK").arg((BLOCK_MS / steps).max(1));
            read.arg("STREAMS").arg(step).arg(vec![">"; step.len()]);
            let read: Option<Vec<(String, Entries)>> = read.query_async(&mut self.waiting).await?;
            all.extend(read.unwrap_or_default());
        }
        Ok(all)
    }

    async fn take_all(&self, read: Vec<(String, Entries)>) -> Result<(), Broken> {
        let works = read.into_iter().filter_map(|(stream, entries)| {
            let mapping = *self.known.get(&stream)?;
            Some(async move { self.take(&stream, mapping, entries).await })
        });
        stream::iter(works).buffer_unordered(AT_A_TIME).try_collect().await
    }

    /// Has entries of one stream stored, and acknowledges them.
    async fn take(&self, stream: &str, mapping: &In, entries: Entries) -> Result<(), Broken> {
        if entries.is_empty() {
            return Ok(());
        }
        Counts::add(&self.world.counts.read, entries.len() as u64);
        let ids: Vec<String> = entries.iter().map(|(id, _)| id.clone()).collect();
        let mut runs: HashMap<RunId, Batch> = HashMap::new();
        for (id, fields) in entries {
            if let Some(translated) = self.translated(stream, mapping, &id, fields) {
                let Translated { run, line, definition } = translated;
                let batch = runs.entry(run).or_default();
                batch.definition = batch.definition.take().or(definition);
                batch.events.push((id, line));
            }
        }
        let works = runs.iter().map(|(run, batch)| self.append(stream, run, batch));
        let ended: Vec<Option<&RunId>> =
            stream::iter(works).buffer_unordered(AT_A_TIME).try_collect().await?;
        let mut done = redis::pipe();
        done.atomic();
        done.cmd("XACK").arg(stream).arg(self.world.redis.name()).arg(&ids).ignore();
        done.cmd("HDEL").arg(self.world.redis.notes_key(stream)).arg(&ids);
        done.arg(ended.iter().flatten().map(|run| next_field(run)).collect::<Vec<_>>()).ignore();
        done.cmd("EXPIRE").arg(self.world.redis.notes_key(stream)).arg(NOTES_S).ignore();
        done.exec_async(&mut self.redis.clone()).await?;
        Ok(())
    }

    /// The event that an entry is; none if it is no event, or a bridge's own.
    fn translated(
        &self,
        stream: &str,
        mapping: &In,
        id: &str,
        fields: Option<Vec<Vec<u8>>>,
    ) -> Option<Translated> {
        let Some(fields) = fields else {
            self.world.counts.bad(stream, "it was deleted before it was read");
            return None;
        };
        let named = |pair: &[Vec<u8>]| {
            let [name, value] = pair else { return None };
            Some((String::from_utf8_lossy(name).into_owned(), value.clone()))
        };
        if fields.chunks(2).any(|pair| pair.first().is_some_and(|name| name == MARK)) {
            return None;
        }
        let fields: Vec<_> = fields.chunks(2).filter_map(named).collect();
        let caught = mapping.place.name().matches(stream).unwrap_or_default();
        let body = Body::Fields(&fields);
        let message = Message { source: stream, caught, body, time: time_of(id) };
        match translate(mapping, &message) {
            Ok(translated) => Some(translated),
            Err(reason) => {
                self.world.counts.bad(stream, &format!("{id}: {reason}"));
                None
            }
        }
    }

    /// Appends a run's events under the numbers that they have; the run, if that has ended it.
    async fn append<'r>(
        &self,
        stream: &str,
        run: &'r RunId,
        batch: &Batch,
    ) -> Result<Option<&'r RunId>, Broken> {
        let delivery = &self.world.delivery;
        if let Some(definition) = &batch.definition {
            delivery.define(definition).await;
        }
        let producer_id = producer_of(self.world.redis.name(), stream);
        let mut numbers = self.numbers(stream, run, &batch.events, None).await?;
        let mut at = 0;
        while at < batch.events.len() {
            let (epoch, sequence) = numbers[at];
            // Those that have one number behind the other.
            let expected = (sequence..).map(|number| (epoch, number));
            let is_next = |(number, expected): &(&(u64, u64), (u64, u64))| **number == *expected;
            let count = numbers[at..].iter().zip(expected).take_while(is_next).count();
            let lines: Vec<Bytes> =
                batch.events[at..at + count].iter().map(|(_, line)| line.clone()).collect();
            let mut producer = Producer { id: producer_id.clone(), epoch, sequence };
            match delivery.deliver(run, &mut producer, lines).await {
                Ok(()) => at += count,
                Err(Unnumbered::Epoch(before)) => {
                    let left = &batch.events[at..];
                    let again = self.numbers(stream, run, left, Some(before + 1)).await?;
                    numbers.truncate(at);
                    numbers.extend(again);
                }
            }
        }
        let is_end = |(_, line): &(String, Bytes)| is_end(line);
        Ok(batch.events.last().is_some_and(is_end).then_some(run))
    }

    /// The numbers of entries, given now if they have none; or again, in a new epoch.
    async fn numbers(
        &self,
        stream: &str,
        run: &RunId,
        events: &[(String, Bytes)],
        epoch: Option<u64>,
    ) -> Result<Vec<(u64, u64)>, Broken> {
        let redis = &self.world.redis;
        let mut call = self.note.key(redis.owner_key());
        call.key(redis.notes_key(stream)).arg(redis.id());
        // Later than any that was forgotten with its stream.
        let now = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now.as_millis() as u64
        };
        call.arg(epoch.unwrap_or_else(now)).arg(u8::from(epoch.is_some()));
        for (id, _) in events {
            call.arg(id).arg(run.as_str());
        }
        let noted: Option<Vec<String>> = call.invoke_async(&mut self.redis.clone()).await?;
        let parsed = |text: &String| {
            let (epoch, number) = text.split_once(' ')?;
            Some((epoch.parse().ok()?, number.parse().ok()?))
        };
        let numbers: Option<Vec<_>> = noted.ok_or(Broken::Replaced)?.iter().map(parsed).collect();
        numbers.filter(|numbers| numbers.len() == events.len()).ok_or_else(|| garbled("a note"))
    }
}

/// The events of one run among entries.
#[derive(Default)]
struct Batch {
    definition: Option<RunDefinition>,
    /// Each with the entry that it is of.
    events: Vec<(String, Bytes)>,
}

fn pattern_of(mapping: &In) -> &str {
    mapping.place.name().text()
}

/// The field that has a run's next number.
fn next_field(run: &RunId) -> String {
    format!("next {run}")
}

fn garbled(what: &'static str) -> Broken {
    Broken::Redis((ErrorKind::UnexpectedReturnType, what).into())
}

/// What a bridge before has left.
struct Claimed {
    /// Where to go on.
    next: String,
    entries: Entries,
    /// Entries that are not there any more, as Redis 7 says; 6.2 gives nothing in their place.
    deleted: Vec<String>,
}

fn claimed_of(claimed: redis::Value) -> Result<Claimed, Broken> {
    let redis::Value::Array(parts) = claimed else { return Err(garbled("XAUTOCLAIM")) };
    let mut parts = parts.into_iter();
    let (Some(next), Some(entries)) = (parts.next(), parts.next()) else {
        return Err(garbled("XAUTOCLAIM"));
    };
    let entries: Vec<Option<Entry>> = redis::from_redis_value(entries).map_err(RedisError::from)?;
    let deleted = parts.next().map(redis::from_redis_value).transpose();
    Ok(Claimed {
        next: redis::from_redis_value(next).map_err(RedisError::from)?,
        entries: entries.into_iter().flatten().collect(),
        deleted: deleted.map_err(RedisError::from)?.unwrap_or_default(),
    })
}

/// The time in an entry's id, if it is one.
fn time_of(id: &str) -> Option<Timestamp> {
    /// The years 2000 and 2100.
    const PLAUSIBLE_MS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;
    let millis: i64 = id.split('-').next()?.parse().ok()?;
    PLAUSIBLE_MS.contains(&millis).then(|| Timestamp::from_micros(millis * 1_000))
}

fn is_end(line: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Typed<'a> {
        #[serde(rename = "type", borrow)]
        event_type: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Typed<'_>>(line).is_ok_and(|typed| is_terminal(&typed.event_type))
}

/// Who appends the entries of a stream.
fn producer_of(name: &str, stream: &str) -> ProducerId {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let readable: String = stream.chars().map(allowed).take(60).collect();
    let hash = stable_hash(format!("{name}\n{stream}").as_bytes());
    let id = format!("bridge-{readable}-{hash:016x}");
    ProducerId::new(&id).unwrap_or_else(|_| ProducerId::random())
}

/// FNV-1a: the same on every machine and in every version.
fn stable_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_entry_is_in_its_id_if_that_is_one() {
        let time = time_of("1767225600000-3").unwrap();
        assert_eq!(time, "2026-01-01T00:00:00Z".parse().unwrap());
        assert!(time_of("5-0").is_none() && time_of("x").is_none());
    }

    #[test]
    fn each_stream_has_a_producer_of_its_own_that_stays_the_same() {
        let id = |name, stream| producer_of(name, stream).to_string();
        assert_eq!(id("b", "events:a"), id("b", "events:a"));
        assert_ne!(id("b", "events:a"), id("b", "events-a"));
        assert_ne!(id("b", "events:a"), id("c", "events:a"));
        assert!(id("b", &"ü:".repeat(400)).starts_with("bridge---"));
    }
}
