//! Carries decisions out in Redis, each if the stream is as it was when it was decided on.
//!
//! An answer that was lost is looked for in the stream, so that what was stored is acknowledged and what
//! was not is decided on again. Owns no state.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value};
use runcast_event::{Offset, ProducerId, RunId};
use runcast_log::Record;
use tokio::time::{Instant, sleep};

use crate::error::CallError;
use crate::feed::{Brought, Finish, Outbox};
use crate::keys::Keys;
use crate::link::Up;
use crate::message::{EVENTS_BYTES_MAX, head};
use crate::pack::{Pack, pack};
use crate::read::{Entry, Reader};
use crate::replica::Replica;
use crate::shards::AGAIN;
use crate::wait::Replicas;

/// The most entries of other nodes that are brought along when a stream turns out to be another.
pub(crate) const MISSED_MAX: usize = 256;
/// How long to wait when it is another node's turn.
const TURN: Duration = Duration::from_millis(2);
/// How long to wait before looking again what became of an append.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What is to be done to a stream.
#[derive(Clone)]
pub(crate) enum Deed {
    /// Nothing: only see whether it is as it was.
    Check,
    /// Store these events.
    Store {
        records: Vec<Record>,
        producers: Vec<ProducerId>,
        marks: Vec<(Offset, u64)>,
        begins: bool,
    },
    /// Delete it.
    Delete,
    /// Give up its oldest events for this.
    Trim { base: Bytes },
}

/// A decision.
#[derive(Clone)]
pub(crate) struct Decision {
    pub(crate) run: RunId,
    /// The stream that was decided on, and what it becomes.
    pub(crate) before: Replica,
    pub(crate) after: Replica,
    pub(crate) deed: Deed,
    /// What goes into the feed with it.
    pub(crate) entries: Vec<Bytes>,
    /// It was decided on before, and the stream had become another.
    pub(crate) is_again: bool,
}

/// What became of a decision.
pub(crate) enum Outcome {
    Done(Done),
    /// Nothing was done: this is the stream by now, and its events behind the one that was decided on.
    Changed {
        replica: Replica,
        missed: Vec<Record>,
    },
    /// Nothing was done.
    Refused(CallError),
    /// It may have been done.
    Unknown(String),
}

#[derive(Default)]
pub(crate) struct Done {
    /// The stream, if it is more than was decided on by now.
    pub(crate) replica: Option<Replica>,
    /// What came into the feed.
    pub(crate) brought: Option<Brought>,
    /// What is left to do, which nobody waits for.
    pub(crate) finish: Option<Finish>,
    /// Too few replicas have it: this many.
    pub(crate) short_of_replicas: Option<u32>,
}

/// What carries decisions out. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Committer {
    pub(crate) reader: Reader,
    pub(crate) outbox: Outbox,
    pub(crate) node: Arc<str>,
    pub(crate) unknown_max: Duration,
    /// For how long a tombstone stays.
    pub(crate) tombstone: Duration,
    /// Those that must have a change before it is acknowledged, if any must.
    pub(crate) replicas: Option<Arc<Replicas>>,
}

/// A change that was made.
struct Changed {
    up: Up,
    /// The stream, if it was looked at afterwards.
    replica: Option<Replica>,
    /// What the script said of the outbox, unless its answer was lost.
    outbox: Option<Value>,
}

impl Changed {
    /// It was made by a try before.
    fn before(up: Up, replica: Replica) -> Self {
        Self { up, replica: Some(replica), outbox: None }
    }
}

/// What became of a decision whose answer was lost.
enum Found {
    Done(Replica),
    NotDone(Replica, Vec<Record>),
}

impl Committer {
    /// Carries a decision out.
    pub(crate) async fn carry_out(&self, decision: &Decision) -> Outcome {
        let pending = match self.prepare(decision).await {
            Ok(pending) => pending,
            Err(error) => return Outcome::Refused(error),
        };
        let Changed { up, replica, outbox } = match self.change(decision).await {
            Ok(changed) => changed,
            Err(outcome) => {
                if let (Some(number), Outcome::Changed { .. } | Outcome::Refused(_)) =
                    (pending, &outcome)
                {
                    self.outbox.give_up(&decision.run, number).await;
                }
                return outcome;
            }
        };
        let mut done = Done { replica, ..Done::default() };
        if let Some(replicas) = &self.replicas
            && !matches!(decision.deed, Deed::Check)
        {
            let have = replicas.have(&up.server, Keys::slot(&decision.run)).await;
            done.short_of_replicas = (have < replicas.want).then_some(have);
        }
        if let Some(number) = pending {
            (done.brought, done.finish) = self.outbox.bring(&decision.run, number, outbox).await;
        }
        Outcome::Done(done)
    }

    /// What has to be in Redis before the change: the name of a stream that begins, and that there will
    /// be entries for the feed.
    async fn prepare(&self, decision: &Decision) -> Result<Option<u64>, CallError> {
        if let Deed::Store { begins: true, .. } = decision.deed {
            self.reader.register(&decision.run).await?;
        }
        match decision.entries.is_empty() {
            true => Ok(None),
            false => self.outbox.intend(&decision.run).await.map(Some),
        }
    }

    async fn change(&self, decision: &Decision) -> Result<Changed, Outcome> {
        let link = &self.reader.link;
        let give_up = Instant::now() + self.unknown_max;
        let deadline = link.deadline();
        let mut is_unknown = false;
        let failed = |error: CallError, is_unknown| match is_unknown {
            true => Outcome::Unknown(error.to_string()),
            false => Outcome::Refused(error),
        };
        loop {
            let slot = Keys::slot(&decision.run);
            let up = link.up(slot, if is_unknown { give_up } else { deadline }).await;
            let up = up.map_err(|error| failed(error, is_unknown))?;
            if is_unknown || up.history != decision.before.history {
                match self.look(decision, is_unknown).await {
                    Ok(Found::Done(replica)) => return Ok(Changed::before(up, replica)),
                    // It can still be tried: the try before cannot be done as well.
                    Ok(Found::NotDone(replica, _)) if replica == decision.before => {}
                    Ok(Found::NotDone(replica, missed)) => {
                        return Err(Outcome::Changed { replica, missed });
                    }
                    Err(_) if Instant::now() < give_up => {
                        sleep(LOOK_AGAIN).await;
                        continue;
                    }
                    Err(error) => return Err(failed(error, is_unknown)),
                }
            }
            match self.attempt(&up, decision).await {
                // It is another stream by now; perhaps what an earlier try made it.
                Ok(Value::Int(0)) => {
                    return match self.look(decision, is_unknown).await {
                        Ok(Found::Done(replica)) => Ok(Changed::before(up, replica)),
                        Ok(Found::NotDone(replica, missed)) => {
                            Err(Outcome::Changed { replica, missed })
                        }
                        Err(error) => Err(failed(error, is_unknown)),
                    };
                }
                Ok(Value::Int(-1)) => sleep(TURN).await,
                Ok(outbox) => return Ok(Changed { up, replica: None, outbox: Some(outbox) }),
                Err(CallError::Lost(_)) if Instant::now() < give_up => is_unknown = true,
                Err(error @ CallError::Lost(_)) => return Err(failed(error, true)),
                Err(_) if is_unknown && Instant::now() < give_up => sleep(LOOK_AGAIN).await,
                Err(CallError::Elsewhere(_)) if Instant::now() < deadline => sleep(AGAIN).await,
                Err(error) => return Err(failed(error, is_unknown)),
            }
        }
    }

    /// Looks what the stream is now, and, if a try was made whose answer was lost, whether it did it.
    async fn look(&self, decision: &Decision, is_unknown: bool) -> Result<Found, CallError> {
        let last = decision.before.stream.last;
        let (replica, entries) = self.reader.load(&decision.run, last, MISSED_MAX).await?;
        let is_next = replica.version == decision.after.version;
        let is_done = is_unknown
            && match &decision.deed {
                Deed::Check => false,
                Deed::Store { records, begins, .. } => {
                    // A stream that begins may come after another's end.
                    let first = if *begins { self.first(&decision.run).await? } else { None };
                    let entry = if *begins { first.as_ref() } else { entries.first() };
                    records.first().zip(entry).is_some_and(|(record, entry)| {
                        entry.offset == record.offset
                            && entry.payload == record.payload
                            && entry.node == self.node.as_bytes()
                    })
                }
                Deed::Delete | Deed::Trim { .. } => {
                    is_next
                        && replica.stream.phase == decision.after.stream.phase
                        && replica.stream.first == decision.after.stream.first
                }
            };
        if is_done {
            return Ok(Found::Done(replica));
        }
        let missed = missed(last, &replica, entries, decision.before.stream.epoch);
        Ok(Found::NotDone(replica, missed))
    }

    async fn first(&self, run: &RunId) -> Result<Option<Entry>, CallError> {
        let (_, entries) = self.reader.load(run, Offset::START, 1).await?;
        Ok(entries.into_iter().next())
    }

    pub(crate) async fn attempt(&self, up: &Up, decision: &Decision) -> Result<Value, CallError> {
        let Reader { link, keys } = &self.reader;
        let run = &decision.run;
        let (meta, events) = (keys.meta(run), keys.events(run));
        let (sizes, outbox, base) = (keys.sizes(run), keys.outbox(run), keys.base(run));
        let version = decision.before.version;
        match &decision.deed {
            Deed::Check => {
                let (replica, _) = self.reader.load(run, Offset::START, 0).await?;
                Ok(if replica == decision.before { Value::Okay } else { Value::Int(0) })
            }
            Deed::Store { .. } => {
                let call = Store::of(decision, self);
                let add = |cmd: &mut Cmd| call.add(cmd, self, decision);
                link.call(up, &link.scripts().append, &[meta, events, sizes, outbox], add).await
            }
            Deed::Delete => {
                let stream = &decision.after.stream;
                let head = head(&self.node, 'd', (&stream.stat(), stream.phase), &[]);
                let add = |cmd: &mut Cmd| {
                    cmd.arg(version).arg(keys.channel(run)).arg(&head).arg(decision.entries.len());
                    cmd.arg(self.tombstone.as_millis() as u64);
                    add_entries(cmd, decision);
                    decision.after.fields().iter().for_each(|pair| add_pair(cmd, pair));
                };
                let keys = [meta, events, sizes, outbox, base];
                link.call(up, &link.scripts().delete, &keys, add).await
            }
            Deed::Trim { base: stands_for } => {
                let add = |cmd: &mut Cmd| {
                    cmd.arg(version).arg(decision.after.stream.first.get()).arg(&stands_for[..]);
                    decision.after.fields().iter().for_each(|pair| add_pair(cmd, pair));
                };
                link.call(up, &link.scripts().trim, &[meta, events, sizes, base], add).await
            }
        }
    }
}

/// The events that a stream has behind an offset, if it is still the same stream.
pub(crate) fn missed(
    last: Offset,
    replica: &Replica,
    entries: Vec<Entry>,
    epoch: runcast_event::Epoch,
) -> Vec<Record> {
    if replica.stream.epoch != epoch || !replica.stream.is_there(None) {
        return Vec::new();
    }
    let next = (last.get() + 1..).map(Offset::new);
    let known = entries.into_iter().zip(next).take_while(|(entry, offset)| {
        entry.offset == *offset
            && entry.offset <= replica.stream.last
            && entry.epoch <= replica.stream.epoch
    });
    known.map(|(entry, _)| Record::single(entry.offset, entry.payload)).collect()
}

fn add_pair(cmd: &mut Cmd, (name, value): &(String, String)) {
    cmd.arg(name).arg(value);
}

/// Entries of the outbox, by the version of the stream that they come with.
fn add_entries(cmd: &mut Cmd, decision: &Decision) {
    for (at, entry) in decision.entries.iter().enumerate() {
        cmd.arg(format!("{}-{at}", decision.after.version)).arg(&entry[..]);
    }
}

/// The arguments of a call that stores events.
struct Store<'a> {
    fields: Vec<(String, String)>,
    packs: Vec<Pack>,
    marks: &'a [(Offset, u64)],
    head: String,
    with_events: bool,
    begins: bool,
}

impl<'a> Store<'a> {
    fn of(decision: &'a Decision, committer: &Committer) -> Self {
        let Deed::Store { records, producers, marks, begins } = &decision.deed else {
            unreachable!("only what stores is stored")
        };
        let (before, after) = (&decision.before, &decision.after);
        let is_whole = *begins || before.is_ahead || after.stream.phase != before.stream.phase;
        let mut fields = if is_whole { after.fields() } else { after.moving_fields() };
        fields.extend(producers.iter().filter_map(|id| after.producer(id)));
        let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
        let packs = pack(records);
        let head = head(&committer.node, 'a', (&after.stream.stat(), after.stream.phase), &packs);
        Self { fields, packs, marks, head, with_events: bytes <= EVENTS_BYTES_MAX, begins: *begins }
    }

    fn add(&self, cmd: &mut Cmd, committer: &Committer, decision: &Decision) {
        let (keys, run) = (&committer.reader.keys, &decision.run);
        cmd.arg(decision.before.version).arg(keys.channel(run)).arg(&self.head);
        cmd.arg(u8::from(self.with_events)).arg(&*committer.node);
        cmd.arg(self.fields.len()).arg(decision.entries.len()).arg(self.marks.len());
        cmd.arg(u8::from(decision.is_again)).arg(u8::from(self.begins));
        self.fields.iter().for_each(|pair| add_pair(cmd, pair));
        add_entries(cmd, decision);
        for (offset, bytes) in self.marks {
            cmd.arg(offset.get()).arg(*bytes);
        }
        let epoch = decision.after.stream.epoch;
        for pack in &self.packs {
            let id = format!("{}-{epoch}", pack.last);
            cmd.arg(id).arg(pack.field(&committer.node)).arg(&pack.value[..]);
        }
    }
}
