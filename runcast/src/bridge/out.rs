//! Runs to channels and streams of Redis.
//!
//! How far a run has been published is kept in Redis and moves in one transaction with what is published, so
//! that a bridge that comes after goes on where the last one was. A run is forgotten when it is published to its
//! end and the feed has told of that end: until then something that the feed says could make it new again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis::aio::MultiplexedConnection;
use redis::{AsyncIter, Pipeline};
use runcast_client::{Backoff, Choice, ClientError, FeedEntry, FeedQuery, FollowItem, ListQuery};
use runcast_event::{Cursor, Event, RunId, is_terminal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::sleep;

use super::World;
use super::channels::times_heard;
use super::config::{Out, Place};
use super::counts::Counts;
use super::place::Broken;
use super::render::render;
use super::translate::MARK;

/// Runs that are followed at a time, for one mapping. More wait; they lose nothing by it.
const RUNS_MAX: usize = 1_024;
/// Events that are published in one transaction.
const EVENTS_MAX: usize = 100;
/// Runs in a page of the list.
const LIST_MAX: u32 = 1_000;
/// How long the feed is waited for.
const FEED_WAIT_MS: u32 = 20_000;
/// The field that has the feed's cursor; no run has this name.
const FEED_FIELD: &str = "$feed";

/// A run that is to be published.
type Found = (RunId, Cursor, Option<String>);
/// Runs that are published to their end, of which the feed has not told that.
type Finished = Mutex<HashSet<RunId>>;

/// The field that says that the feed has told of a run's end.
fn ended_field(run: &RunId) -> String {
    format!("$ended {run}")
}

/// Publishes what one mapping says, until `stop`.
pub(super) async fn run(
    world: &World,
    mapping: &Out,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Broken> {
    let redis = world.redis.connect().await?;
    let (find, mut found) = mpsc::channel::<Found>(RUNS_MAX);
    let seats = Arc::new(Semaphore::new(RUNS_MAX));
    let finished = Finished::default();
    let finder = Finder { world, mapping, redis: redis.clone(), find, finished: &finished };
    let finding = finder.run();
    tokio::pin!(finding);
    let (mut at_work, mut known) = (FuturesUnordered::new(), HashSet::new());
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            ended = &mut finding => return ended,
            Some((run, cursor, workflow)) = found.recv() => {
                if known.insert(run.clone()) {
                    let redis = redis.clone();
                    let finished = &finished;
                    let publisher = Publisher { world, mapping, redis, run, workflow, finished };
                    at_work.push(publisher.run(cursor, Arc::clone(&seats)));
                }
            }
            Some(done) = at_work.next() => {
                known.remove(&done?);
            }
        }
    }
}

/// Finds the runs that a mapping publishes.
struct Finder<'a> {
    world: &'a World,
    mapping: &'a Out,
    redis: MultiplexedConnection,
    find: mpsc::Sender<Found>,
    finished: &'a Finished,
}

impl Finder<'_> {
    fn key(&self) -> String {
        self.world.redis.cursors_key(self.mapping.place.name().text())
    }

    async fn run(mut self) -> Result<(), Broken> {
        let mut after = self.begin().await?;
        let mut backoff = Backoff::new();
        loop {
            let query = FeedQuery {
                after,
                workflow: self.mapping.workflow.clone(),
                tags: self.mapping.tags.clone(),
                wait_ms: Some(FEED_WAIT_MS),
            };
            let page = match self.world.client.feed(&query).await {
                Ok(page) => page,
                Err(error) => {
                    self.away(&error, &mut backoff).await;
                    continue;
                }
            };
            backoff.succeeded();
            let mut noting = redis::pipe();
            noting.atomic();
            let mut found = HashMap::new();
            for entry in page.entries {
                if self.is_wanted(&entry.run) && self.note(&entry, &mut noting) {
                    found.insert(entry.run, entry.data.workflow);
                }
            }
            let next = page.next.to_string();
            noting.cmd("HSET").arg(self.key()).arg(FEED_FIELD).arg(next).ignore();
            noting.exec_async(&mut self.redis).await?;
            after = page.next;
            for (run, workflow) in found {
                self.found(run, workflow).await?;
            }
        }
    }

    /// Notes what the feed says of a run; whether there may be something to publish.
    fn note(&self, entry: &FeedEntry, noting: &mut Pipeline) -> bool {
        let (run, key) = (&entry.run, self.key());
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        let is_end = is_terminal(&entry.event_type) || entry.event_type == "run.deleted";
        match (finished.contains(run), is_end) {
            (true, false) => return false,
            (true, true) => {
                finished.remove(run);
                noting.cmd("HDEL").arg(key).arg(run.as_str()).arg(ended_field(run)).ignore();
                return false;
            }
            (false, true) => {
                noting.cmd("HSET").arg(&key).arg(ended_field(run)).arg(1).ignore();
            }
            (false, false) => {}
        }
        noting.cmd("HSETNX").arg(key).arg(run.as_str()).arg(Cursor::START.to_string()).ignore();
        true
    }

    /// What was under way, and then what the feed says behind it.
    async fn begin(&mut self) -> Result<Cursor, Broken> {
        let mut kept: HashMap<String, String> = HashMap::new();
        let mut scan = redis::cmd("HSCAN");
        let mut fields: AsyncIter<'_, (String, String)> =
            scan.arg(self.key()).cursor_arg(0).clone().iter_async(&mut self.redis).await?;
        while let Some(field) = fields.next_item().await {
            let (name, cursor) = field?;
            kept.insert(name, cursor);
        }
        drop(fields);
        let feed = kept.remove(FEED_FIELD).and_then(|cursor| cursor.parse().ok());
        for name in kept.keys() {
            if let Ok(run) = RunId::new(name) {
                let workflow = self.workflow_of(&run).await;
                self.found(run, workflow).await?;
            }
        }
        match feed {
            Some(feed) => Ok(feed),
            None => self.list().await,
        }
    }

    /// The workflow of a run that was found in another life.
    async fn workflow_of(&self, run: &RunId) -> Option<String> {
        let mut backoff = Backoff::new();
        loop {
            match self.world.client.run(run).await {
                Ok(info) => return info.workflow,
                Err(error) if error.is_retryable() => self.away(&error, &mut backoff).await,
                Err(_) => return None,
            }
        }
    }

    /// All runs that have not ended; the feed's cursor that goes with them.
    async fn list(&mut self) -> Result<Cursor, Broken> {
        let mut query = ListQuery {
            workflow: self.mapping.workflow.clone(),
            tags: self.mapping.tags.clone(),
            limit: Some(LIST_MAX),
            ..ListQuery::default()
        };
        let (mut feed, mut backoff) = (None, Backoff::new());
        loop {
            let page = match self.world.client.list(&query).await {
                Ok(page) => page,
                Err(error) => {
                    self.away(&error, &mut backoff).await;
                    continue;
                }
            };
            let feed = *feed.get_or_insert(page.feed);
            for info in page.runs.into_iter().filter(|info| !info.is_terminal) {
                if self.is_wanted(&info.id) {
                    self.found(info.id, info.workflow).await?;
                }
            }
            query.cursor = page.next;
            if query.cursor.is_none() {
                return Ok(feed);
            }
        }
    }

    fn is_wanted(&self, run: &RunId) -> bool {
        let prefix = self.mapping.prefix.as_deref().unwrap_or_default();
        run.as_str().starts_with(prefix)
    }

    async fn found(&mut self, run: RunId, workflow: Option<String>) -> Result<(), Broken> {
        let mut get = redis::cmd("HGET");
        get.arg(self.key()).arg(run.as_str());
        let kept: Option<String> = get.query_async(&mut self.redis).await?;
        let cursor = kept.and_then(|kept| kept.parse().ok()).unwrap_or(Cursor::START);
        // Nobody receives only when this future is dropped too.
        let _received = self.find.send((run, cursor, workflow)).await;
        Ok(())
    }

    async fn away(&self, error: &ClientError, backoff: &mut Backoff) {
        self.world.counts.tell("the server", &error.to_string());
        sleep(backoff.failed()).await;
    }
}

/// Publishes one run.
struct Publisher<'a> {
    world: &'a World,
    mapping: &'a Out,
    redis: MultiplexedConnection,
    run: RunId,
    workflow: Option<String>,
    finished: &'a Finished,
}

impl Publisher<'_> {
    async fn run(mut self, cursor: Cursor, seats: Arc<Semaphore>) -> Result<RunId, Broken> {
        let _seat = seats.acquire().await;
        let choice = Choice { types: self.mapping.events.clone(), ..Choice::default() };
        let mut follower = self.world.client.follow_chosen(&self.run, cursor, choice);
        let mut events = Vec::new();
        loop {
            let item = if events.is_empty() {
                follower.next().await
            } else {
                // What has come already goes along.
                tokio::select! {
                    biased;
                    item = follower.next(), if events.len() < EVENTS_MAX => item,
                    () = std::future::ready(()) => {
                        self.publish(&mut events, follower.cursor()).await?;
                        continue;
                    }
                }
            };
            match item {
                Some(Ok(FollowItem::Event(event))) => events.push(event),
                Some(Ok(FollowItem::Gap(gap))) => {
                    let trouble =
                        format!("events from {} on are missing: {}", gap.from, gap.reason);
                    self.world.counts.tell(self.run.as_str(), &trouble);
                }
                Some(Ok(FollowItem::State(_))) => {}
                Some(Ok(FollowItem::End { .. } | FollowItem::Deleted)) | None => break,
                Some(Err(error)) => {
                    self.world.counts.tell(self.run.as_str(), &error.to_string());
                    return Ok(self.run);
                }
            }
        }
        self.publish(&mut events, follower.cursor()).await?;
        self.finish().await?;
        Ok(self.run)
    }

    /// The run is published to its end.
    async fn finish(&mut self) -> Result<(), Broken> {
        let finished = || self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        finished().insert(self.run.clone());
        let mut told = redis::cmd("HEXISTS");
        told.arg(self.key()).arg(ended_field(&self.run));
        if told.query_async::<bool>(&mut self.redis.clone()).await? {
            finished().remove(&self.run);
            let mut done = redis::cmd("HDEL");
            done.arg(self.key()).arg(self.run.as_str()).arg(ended_field(&self.run));
            done.exec_async(&mut self.redis.clone()).await?;
        }
        Ok(())
    }

    fn key(&self) -> String {
        self.world.redis.cursors_key(self.mapping.place.name().text())
    }

    async fn publish(&mut self, events: &mut Vec<Event>, cursor: Cursor) -> Result<(), Broken> {
        if events.is_empty() {
            return Ok(());
        }
        let (mut publishing, mut count) = (redis::pipe(), 0);
        publishing.atomic();
        for event in events.drain(..) {
            count += u64::from(self.put(&mut publishing, &event));
        }
        publishing.cmd("HSET").arg(self.key()).arg(self.run.as_str());
        publishing.arg(cursor.to_string()).ignore();
        publishing.exec_async(&mut self.redis).await?;
        Counts::add(&self.world.counts.published, count);
        Ok(())
    }

    /// Adds an event to what is published, if there is a message for it.
    fn put(&self, publishing: &mut Pipeline, event: &Event) -> bool {
        let rendered = render(self.mapping, &self.run, self.workflow.as_deref(), event);
        let Some(rendered) = rendered else { return false };
        match self.mapping.place {
            Place::Channel(_) => {
                let times = times_heard(&self.world.mappings.ins, &rendered.target);
                self.world.echoes.expect(&rendered.target, rendered.payload.as_bytes(), times);
                publishing.cmd("PUBLISH").arg(&rendered.target).arg(&rendered.payload).ignore();
            }
            Place::Stream(_) => {
                publishing.cmd("XADD").arg(&rendered.target).arg("MAXLEN").arg("~");
                publishing.arg(self.mapping.maxlen).arg("*");
                for (name, value) in &rendered.fields {
                    publishing.arg(name).arg(value);
                }
                publishing.arg(MARK).arg(self.world.redis.name()).ignore();
            }
        }
        true
    }
}
