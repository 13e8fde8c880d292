//! The way of entries into the feed: out of the outbox of the run that they tell of, each once.
//!
//! Before a script puts entries into a run's outbox, in one step with what they tell of, it is noted that
//! it will. So whoever notices that a node has died on the way can go the rest of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};
use runcast_event::{Offset, RunId};
use runcast_log::{Record, StreamStat};
use tokio::time::Instant;

use crate::error::CallError;
use crate::keys::Keys;
use crate::link::Up;
use crate::read::{Entry, Reader};
use crate::replica::Replica;

/// How often it is tried to bring entries that others bring as well.
const TRIES_MAX: usize = 4;
/// Runs that are looked at at once for entries that nobody brings.
const PENDING_STEP: usize = 256;

/// Entries that came into the feed.
pub(crate) struct Brought {
    pub(crate) records: Vec<Record>,
    /// The feed behind them.
    pub(crate) stat: StreamStat,
}

/// What is to be tidied up when entries are in the feed.
pub(crate) struct Finish {
    run: RunId,
    number: u64,
    /// Behind the last entry.
    behind: Option<String>,
    /// Nothing must have changed since: it is done for a node that is gone.
    serial: Option<u64>,
}

/// Brings entries. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outbox {
    pub(crate) reader: Reader,
    pub(crate) node: Arc<str>,
}

/// An entry and its place in the outbox: the version of its stream, and the number in it.
type Placed = ((u64, u64), Entry);

impl Outbox {
    /// Notes that a run will have entries in its outbox.
    pub(crate) async fn intend(&self, run: &RunId) -> Result<u64, CallError> {
        let Reader { link, keys } = &self.reader;
        let add = |cmd: &mut Cmd, _: &Up| {
            cmd.arg(run.as_str());
        };
        let slot = Keys::slot(&RunId::feed());
        let number = link.run(slot, &link.scripts().intend, &[keys.pending()], add).await?;
        redis::from_redis_value(number).map_err(|error| CallError::Garbled(error.to_string()))
    }

    /// Takes back that a run will have entries. What cannot be taken back is found later.
    pub(crate) async fn give_up(&self, run: &RunId, number: u64) {
        self.finish(Finish { run: run.clone(), number, behind: None, serial: None }).await;
    }

    /// Brings what is in the outbox, which may be known. What cannot be brought now is brought later.
    pub(crate) async fn bring(
        &self,
        run: &RunId,
        number: u64,
        outbox: Option<Value>,
    ) -> (Option<Brought>, Option<Finish>) {
        match self.try_to_bring(run, number, outbox).await {
            Ok((brought, finish)) => (brought, Some(finish)),
            Err(error) => {
                tracing::warn!(%run, %error, "entries of the feed are brought there later");
                (None, None)
            }
        }
    }

    async fn try_to_bring(
        &self,
        run: &RunId,
        mut number: u64,
        mut outbox: Option<Value>,
    ) -> Result<(Option<Brought>, Finish), CallError> {
        let mut tries = 0;
        loop {
            let entries = match outbox.take() {
                Some(outbox) => placed(outbox)?,
                None => self.entries(run).await?,
            };
            let Some(((version, at), _)) = entries.last() else {
                let finish = Finish { run: run.clone(), number, behind: None, serial: None };
                return Ok((None, finish));
            };
            let behind = Some(format!("{version}-{}", at + 1));
            tries += 1;
            match self.take(run, number, &entries).await? {
                Taken::In(brought) => {
                    let finish = Finish { run: run.clone(), number, behind, serial: None };
                    return Ok((brought, finish));
                }
                _ if tries >= TRIES_MAX => {
                    return Err(CallError::Refused("others bring them as well".to_owned()));
                }
                Taken::NotPending => number = self.intend(run).await?,
                Taken::OlderHistory => self.renew().await?,
            }
        }
    }

    async fn entries(&self, run: &RunId) -> Result<Vec<Placed>, CallError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("XRANGE").arg(self.reader.keys.outbox(run)).arg("-").arg("+");
        let (values, _) = self.reader.link.ask(Keys::slot(run), &pipeline).await?;
        placed(values.into_iter().next().unwrap_or_default())
    }

    async fn take(&self, run: &RunId, number: u64, entries: &[Placed]) -> Result<Taken, CallError> {
        let Reader { link, keys } = &self.reader;
        let feed = RunId::feed();
        let names = [keys.meta(&feed), keys.events(&feed), keys.pending()];
        let add = |cmd: &mut Cmd, up: &Up| {
            cmd.arg(run.as_str()).arg(number).arg(up.history).arg(&*self.node);
            cmd.arg(keys.channel(&feed));
            for ((version, at), entry) in entries {
                cmd.arg(*version).arg(*at).arg(&entry.payload[..]);
            }
        };
        let answer = link.run(Keys::slot(&feed), &link.scripts().take, &names, add).await?;
        match answer {
            Value::Int(-1) => Ok(Taken::NotPending),
            Value::Int(-2) => Ok(Taken::OlderHistory),
            Value::Array(parts) => brought(parts, entries).map(Taken::In),
            other => Err(CallError::Garbled(format!("no answer about the feed: {other:?}"))),
        }
    }

    /// Takes the feed over into this history of Redis.
    async fn renew(&self) -> Result<(), CallError> {
        let Reader { link, keys } = &self.reader;
        let feed = RunId::feed();
        let (mut replica, _) = self.reader.load(&feed, Offset::START, 0).await?;
        let version = replica.version;
        replica.version += 1;
        let fields = replica.fields();
        let names = [keys.meta(&feed), keys.events(&feed), keys.sizes(&feed), keys.outbox(&feed)];
        let add = |cmd: &mut Cmd, _: &Up| {
            cmd.arg(version).arg("").arg("").arg(0).arg(&*self.node);
            cmd.arg(fields.len()).arg(0).arg(0).arg(0).arg(0);
            for (name, value) in &fields {
                cmd.arg(name).arg(value);
            }
        };
        link.run(Keys::slot(&feed), &link.scripts().append, &names, add).await.map(drop)
    }

    /// Tidies up. What is not done now is done later.
    pub(crate) async fn finish(&self, finish: Finish) {
        if let Err(error) = self.try_to_finish(&finish).await {
            tracing::debug!(run = %finish.run, %error, "an outbox is tidied up later");
        }
    }

    async fn try_to_finish(&self, finish: &Finish) -> Result<(), CallError> {
        let Reader { link, keys } = &self.reader;
        if let Some(behind) = &finish.behind {
            let add = |cmd: &mut Cmd, _: &Up| {
                cmd.arg(behind);
            };
            let (slot, key) = (Keys::slot(&finish.run), keys.outbox(&finish.run));
            link.run(slot, &link.scripts().taken, &[key], add).await?;
        }
        let add = |cmd: &mut Cmd, _: &Up| {
            cmd.arg(finish.run.as_str()).arg(finish.number);
            if let Some(serial) = finish.serial {
                cmd.arg(serial);
            }
        };
        let slot = Keys::slot(&RunId::feed());
        link.run(slot, &link.scripts().settle, &[keys.pending()], add).await.map(drop)
    }

    /// Some of the runs that are pending: the number of the time, and the serial number of the change.
    async fn pending(&self, cursor: &str) -> Result<(String, Vec<(RunId, u64, u64)>), CallError> {
        let mut pipeline = redis::pipe();
        let cmd = pipeline.cmd("HSCAN").arg(self.reader.keys.pending()).arg(cursor);
        cmd.arg("COUNT").arg(PENDING_STEP);
        let slot = Keys::slot(&RunId::feed());
        let (values, _) = self.reader.link.ask(slot, &pipeline).await?;
        let answer = values.into_iter().next().unwrap_or_default();
        let (cursor, pairs): (String, Vec<(String, String)>) = redis::from_redis_value(answer)
            .map_err(|error| CallError::Garbled(error.to_string()))?;
        let pending = |(run, value): (String, String)| {
            let mut numbers = value.split(' ').map(str::parse::<u64>);
            let number = numbers.next()?.ok()?;
            let serial = numbers.nth(1)?.ok()?;
            Some((RunId::new(&run).ok()?, number, serial))
        };
        Ok((cursor, pairs.into_iter().filter_map(pending).collect()))
    }

    /// Goes the rest of the way for nodes that are gone: for runs at which nothing has happened for some
    /// time although they are pending.
    pub(crate) async fn sweep(&self, sweep: &mut Sweep) -> Result<Vec<Brought>, CallError> {
        let mut all = Vec::new();
        let (cursor, pending) = self.pending(&sweep.cursor).await?;
        if sweep.cursor == "0" {
            sweep.last = std::mem::take(&mut sweep.seen);
        }
        sweep.cursor = cursor;
        for (run, number, serial) in pending {
            let before = sweep.last.get(&run).filter(|seen| (seen.0, seen.1) == (number, serial));
            let since = before.map_or_else(Instant::now, |seen| seen.2);
            if since.elapsed() < sweep.pending_max {
                sweep.seen.insert(run, (number, serial, since));
                continue;
            }
            let (brought, mut finish) = self.try_to_bring(&run, number, None).await?;
            // What was brought has changed it: then it is looked at once more.
            finish.serial = Some(serial);
            tracing::info!(%run, "entries of the feed were brought there for another node");
            all.extend(brought);
            self.try_to_finish(&finish).await?;
        }
        Ok(all)
    }
}

/// What was seen of runs that are pending.
pub(crate) struct Sweep {
    pub(crate) pending_max: Duration,
    /// The last name that was looked at whether it stands for anything.
    pub(crate) name: Option<RunId>,
    cursor: String,
    seen: HashMap<RunId, (u64, u64, Instant)>,
    last: HashMap<RunId, (u64, u64, Instant)>,
}

impl Sweep {
    pub(crate) fn new(pending_max: Duration) -> Self {
        let (seen, last) = (HashMap::new(), HashMap::new());
        Self { pending_max, name: None, cursor: "0".to_owned(), seen, last }
    }
}

enum Taken {
    In(Option<Brought>),
    NotPending,
    OlderHistory,
}

/// What the script says of entries that are in the feed now: it passed over those that were before.
fn brought(parts: Vec<Value>, entries: &[Placed]) -> Result<Option<Brought>, CallError> {
    let garbled = || CallError::Garbled("no answer about the feed".to_owned());
    let [before, count, meta] = <[Value; 3]>::try_from(parts).map_err(|_| garbled())?;
    let (Value::Int(before), Value::Int(count)) = (before, count) else { return Err(garbled()) };
    let count = usize::try_from(count).map_err(|_| garbled())?;
    let feed = Replica::from_hash(meta)?.ok_or_else(garbled)?;
    if count == 0 {
        return Ok(None);
    }
    let first = u64::try_from(before).map_err(|_| garbled())? + 1;
    let new = &entries[entries.len().saturating_sub(count)..];
    let record = |(offset, (_, entry)): (u64, &Placed)| {
        Record::single(Offset::new(offset), entry.payload.clone())
    };
    let records = (first..).zip(new).map(record).collect();
    Ok(Some(Brought { records, stat: feed.stream.stat() }))
}

/// Takes what is in an outbox.
fn placed(outbox: Value) -> Result<Vec<Placed>, CallError> {
    let garbled = || CallError::Garbled("the outbox is not as it was written".to_owned());
    let Value::Array(values) = outbox else { return Err(garbled()) };
    let placed = |value: Value| {
        let place = place(&value)?;
        let entry = crate::read::found(Value::Array(vec![value])).ok()?.into_events().pop()?;
        Some((place, entry))
    };
    values.into_iter().map(placed).collect::<Option<_>>().ok_or_else(garbled)
}

fn place(value: &Value) -> Option<(u64, u64)> {
    let Value::Array(parts) = value else { return None };
    let Value::BulkString(id) = parts.first()? else { return None };
    let (version, at) = std::str::from_utf8(id).ok()?.split_once('-')?;
    Some((version.parse().ok()?, at.parse().ok()?))
}
