//! Channels of Redis into runs. What is published while nobody listens is lost, and that is said.
//!
//! Messages wait in a line of their run, in memory and bounded; a server that is away costs none as long as
//! there is room. What finds no room is counted, and a gap says so in the run.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream::StreamExt as _;
use redis::Msg;
use redis::aio::PubSub;
use runcast_client::{Producer, RunDefinition};
use runcast_event::{ProducerId, RunId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::World;
use super::config::{In, Place};
use super::counts::Counts;
use super::deliver::{Delivery, Unnumbered, gap};
use super::place::Broken;
use super::translate::{Body, Message, Translated, translate};

/// Messages of one run that wait.
const RUN_MESSAGES_MAX: usize = 4_096;
/// Bytes of messages of all runs that wait.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Runs whose messages wait or came lately. Of more, messages are lost.
const RUNS_MAX: usize = 10_000;
/// Messages of a run that go to the server at once.
const BATCH_MAX: usize = 500;
/// After how long without a message a run's line is given up.
const IDLE: Duration = Duration::from_secs(60);
/// Why events are missing that came faster than they could be sent.
const TOO_FAST: &str = "the bridge had no room for what was published to Redis";

/// A message on its way.
struct Waiting {
    line: Bytes,
    definition: Option<RunDefinition>,
    _room: OwnedSemaphorePermit,
}

/// A run that messages come of.
struct Line {
    waiting: mpsc::Sender<Waiting>,
    /// Messages that found no room and are not told of yet.
    lost: Arc<AtomicU64>,
    /// Whether the bridge was away since the last message.
    was_away: Arc<AtomicU64>,
}

/// The lines of all runs. They outlive a connection to Redis.
pub(super) struct Lines {
    delivery: Delivery,
    counts: Arc<Counts>,
    producer: ProducerId,
    room: Arc<Semaphore>,
    runs: HashMap<RunId, Line>,
    tasks: JoinSet<()>,
    /// When nobody listened any more.
    away_since: Option<Instant>,
}

impl Lines {
    pub(super) fn new(delivery: Delivery, counts: Arc<Counts>, bridge: &str) -> Self {
        let id = ProducerId::new(&format!("bridge-{bridge}"));
        Self {
            delivery,
            counts,
            producer: id.unwrap_or_else(|_| ProducerId::random()),
            room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            runs: HashMap::new(),
            tasks: JoinSet::new(),
            away_since: None,
        }
    }

    /// Nobody listens from now on.
    pub(super) fn go_away(&mut self) {
        self.away_since.get_or_insert_with(Instant::now);
    }

    /// Somebody listens again: runs that were under way have a gap of unknown size.
    fn come_back(&mut self) {
        let Some(since) = self.away_since.take() else { return };
        let away_ms = since.elapsed().as_millis() as u64;
        let trouble = format!("what was published in {away_ms} ms without a connection is lost");
        self.counts.tell("channels", &trouble);
        for line in self.runs.values() {
            line.was_away.fetch_add(away_ms.max(1), Ordering::Relaxed);
        }
    }

    fn push(&mut self, translated: Translated) {
        let Translated { run, line, definition } = translated;
        while self.tasks.try_join_next().is_some() {}
        if self.runs.len() >= RUNS_MAX {
            self.runs.retain(|_, line| !line.waiting.is_closed());
        }
        let is_known = self.runs.get(&run).is_some_and(|line| !line.waiting.is_closed());
        if !is_known {
            if self.runs.len() >= RUNS_MAX {
                Counts::add(&self.counts.lost, 1);
                self.counts.tell("channels", &format!("more than {RUNS_MAX} runs at a time"));
                return;
            }
            let begun = self.begin(run.clone());
            self.runs.insert(run.clone(), begun);
        }
        let Some(of_run) = self.runs.get(&run) else { return };
        let bytes = u32::try_from(line.len().clamp(1, WAITING_BYTES_MAX)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        let pushed = room.is_ok_and(|room| {
            of_run.waiting.try_send(Waiting { line, definition, _room: room }).is_ok()
        });
        if !pushed {
            Counts::add(&self.counts.lost, 1);
            of_run.lost.fetch_add(1, Ordering::Relaxed);
            self.counts.tell(run.as_str(), TOO_FAST);
        }
    }

    fn begin(&mut self, run: RunId) -> Line {
        let (waiting, messages) = mpsc::channel(RUN_MESSAGES_MAX);
        let (lost, was_away) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        // Later than that of any line before, of this bridge or of the last.
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let sender = Sender {
            producer: Producer {
                id: self.producer.clone(),
                epoch: epoch.as_micros() as u64,
                sequence: 0,
            },
            run,
            delivery: self.delivery.clone(),
            messages,
            lost: Arc::clone(&lost),
            was_away: Arc::clone(&was_away),
        };
        self.tasks.spawn(sender.run());
        Line { waiting, lost, was_away }
    }

    /// Waits until the server has everything, for so long at most; how many runs have some left.
    pub(super) async fn drain(mut self, patience: Duration) -> usize {
        self.runs.clear();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _in_time = timeout(patience, all).await;
        while self.tasks.try_join_next().is_some() {}
        self.tasks.len()
    }
}

/// Sends the messages of one run.
struct Sender {
    run: RunId,
    producer: Producer,
    delivery: Delivery,
    messages: mpsc::Receiver<Waiting>,
    lost: Arc<AtomicU64>,
    was_away: Arc<AtomicU64>,
}

impl Sender {
    async fn run(mut self) {
        loop {
            let mut batch = Vec::new();
            let read = self.messages.recv_many(&mut batch, BATCH_MAX);
            match timeout(IDLE, read).await {
                Ok(0) => break,
                Ok(_) => self.send(batch).await,
                // What was pushed in this moment is still sent.
                Err(_) => self.messages.close(),
            }
        }
        self.send(Vec::new()).await;
    }

    async fn send(&mut self, batch: Vec<Waiting>) {
        let (away_ms, lost) =
            (self.was_away.swap(0, Ordering::Relaxed), self.lost.swap(0, Ordering::Relaxed));
        let mut lines = Vec::with_capacity(batch.len() + 1);
        if away_ms > 0 {
            let reason = format!(
                "the bridge was without Redis for {away_ms} ms: what was published then is not here"
            );
            lines.push(gap(0, &reason));
        }
        lines.extend(batch.iter().map(|waiting| waiting.line.clone()));
        if lost > 0 {
            lines.push(gap(lost, TOO_FAST));
        }
        if lines.is_empty() {
            return;
        }
        if let Some(definition) = batch.iter().find_map(|waiting| waiting.definition.as_ref()) {
            self.delivery.define(definition).await;
        }
        let at = self.producer.sequence;
        while let Err(Unnumbered::Epoch(before)) =
            self.delivery.deliver(&self.run, &mut self.producer, lines.clone()).await
        {
            // What was taken of these before the server forgot the producer stays taken.
            let taken = self.producer.sequence.saturating_sub(at) as usize;
            lines.drain(..taken.min(lines.len()));
            self.producer.epoch = before + 1;
            self.producer.sequence = 0;
        }
    }
}

/// The subscriptions of all mappings.
pub(super) struct Channels<'a> {
    world: &'a World,
    listener: Option<PubSub>,
}

impl<'a> Channels<'a> {
    /// Subscribes; from here on nothing is missed.
    pub(super) async fn open(world: &'a World, lines: &mut Lines) -> Result<Self, Broken> {
        let globs = globs(&world.mappings.ins);
        if globs.is_empty() {
            return Ok(Self { world, listener: None });
        }
        let mut listener = world.redis.listen().await?;
        for glob in globs {
            listener.psubscribe(glob).await?;
        }
        lines.come_back();
        Ok(Self { world, listener: Some(listener) })
    }

    /// Hears until `stop`.
    pub(super) async fn run(
        self,
        lines: &mut Lines,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Broken> {
        let Some(mut listener) = self.listener else {
            let _never_dropped_before = stop.wait_for(|stop| *stop).await;
            return Ok(());
        };
        let mut messages = listener.on_message();
        loop {
            let message = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                message = messages.next() => message.ok_or(Broken::Closed)?,
            };
            take(self.world, &message, lines);
        }
    }
}

fn take(world: &World, message: &Msg, lines: &mut Lines) {
    let channel = message.get_channel_name().to_owned();
    let glob: Option<String> = message.get_pattern().ok();
    let payload = message.get_payload_bytes();
    let heard = world.mappings.ins.iter().filter(|mapping| glob_of(mapping) == glob);
    let fits = |mapping: &'_ In| mapping.place.name().matches(&channel);
    let mut is_new = None;
    for (mapping, caught) in heard.filter_map(|mapping| Some((mapping, fits(mapping)?))) {
        if !*is_new.get_or_insert_with(|| !world.echoes.is_echo(&channel, payload)) {
            return;
        }
        Counts::add(&world.counts.read, 1);
        let body = Body::Bytes(payload);
        let message = Message { source: &channel, caught, body, time: None };
        match translate(mapping, &message) {
            Ok(translated) => lines.push(translated),
            Err(reason) => world.counts.bad(&channel, &reason),
        }
    }
}

fn glob_of(mapping: &In) -> Option<String> {
    match &mapping.place {
        Place::Channel(name) => Some(name.glob()),
        Place::Stream(_) => None,
    }
}

/// What is subscribed to, each once.
fn globs(ins: &[In]) -> Vec<String> {
    let mut globs: Vec<String> = ins.iter().filter_map(glob_of).collect();
    globs.sort();
    globs.dedup();
    globs
}

/// How often a message of this channel is heard.
pub(super) fn times_heard(ins: &[In], channel: &str) -> usize {
    let heard = ins.iter().filter(|mapping| mapping.place.name().matches(channel).is_some());
    let mut globs: Vec<String> = heard.filter_map(glob_of).collect();
    globs.sort();
    globs.dedup();
    globs.len()
}
