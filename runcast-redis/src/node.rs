//! The one task that decides: it has the states of the streams that are appended to here, and tells the
//! observer of everything, in order.
//!
//! Redis is asked beside it. Of one run one decision is carried out at a time, with all that waits
//! meanwhile in the next; different runs do not wait for each other.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use runcast_event::{Offset, RunId};
use runcast_log::{AppendError, CommitObserver, Committed, DeleteError, Record, StreamStat};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::commit::{Committer, Deed, Done, MISSED_MAX, Outcome, missed};
use crate::decide::{Group, GroupLimits, decide_front};
use crate::duties::Duties;
use crate::error::CallError;
use crate::feed::{Brought, Sweep};
use crate::follows::Follows;
use crate::heard::Heard;
use crate::kept::Kept;
use crate::live::{Live, Looked, Seen};
use crate::messages::Messages;
use crate::options::RedisOptions;
use crate::queue::{Queued, Told};
use crate::read::{Entry, Reader};
use crate::recent::Recent;
use crate::replica::Replica;
use crate::shards::Shards;

mod others;

/// How often an append is decided on again because other nodes were faster, before it is refused.
const TRIES_MAX: u32 = 64;
/// From which try on the other nodes are asked to wait.
const TRIES_PATIENT: u32 = 2;
/// Channels that are subscribed to in one command.
const SUBSCRIBE_STEP: usize = 256;
/// Streams whose ends are compared in one command.
const CHECK_STEP: usize = 256;
/// Streams that are said to have changed in one go, when it is not known which have.
const CHANGED_STEP: usize = 1_000;

/// How long changes gather before other nodes are told which streams they are of.
const GATHER: Duration = Duration::from_millis(10);
/// How long to wait before the streams are listed again, or the other nodes told, if it did not work.
const AGAIN: Duration = Duration::from_millis(200);

/// What others can see of the node.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Streams that there are, deleted ones among them.
    pub(crate) streams: AtomicU64,
    pub(crate) events_bytes: AtomicU64,
}

/// The requests of one run.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Queued>,
    /// One is being carried out, or the stream is being read for it.
    is_busy: bool,
    /// How often the front was decided on.
    tries: u32,
}

/// What has come of something that was asked of Redis.
enum Event {
    Loaded(RunId, Offset, Result<(Replica, Vec<Entry>), CallError>),
    CarriedOut(Box<Group>, Outcome),
    Looked(RunId, Option<Seen>, Looked),
    /// Connections for messages have come or gone.
    Subscribable(u64),
    /// The channels of runs are heard.
    Subscribed(Vec<RunId>),
    /// All changes are heard again.
    SubscribedToChanges,
    Compared(Vec<(RunId, Option<StreamStat>)>),
    Swept(Box<Sweep>, Vec<Brought>),
    /// Streams of which any may have changed, and behind which others follow.
    MayHaveChanged(Vec<RunId>),
    Counted(u64),
    /// Changes have gathered.
    TellChanged,
    Nothing,
}

/// What a node is made of.
pub(crate) struct Parts {
    pub(crate) options: RedisOptions,
    pub(crate) committer: Committer,
    /// The connections on which messages come.
    pub(crate) subscriber: Shards,
    pub(crate) observer: Arc<dyn CommitObserver>,
    pub(crate) told: mpsc::UnboundedReceiver<Told>,
    pub(crate) follows: Arc<Follows>,
    pub(crate) messages: Arc<Messages>,
    pub(crate) duties: Duties,
    pub(crate) counts: Arc<Counts>,
}

pub(crate) struct Node {
    parts: Parts,
    reader: Reader,
    limits: GroupLimits,
    lines: HashMap<RunId, Line>,
    replicas: Kept,
    live: Live,
    heard: Heard,
    sweep: Option<Box<Sweep>>,
    /// Streams that were changed here and the other nodes were not told of yet.
    changed: HashSet<RunId>,
    recent: Recent,
    asked: FuturesUnordered<BoxFuture<'static, Event>>,
    is_closing: bool,
}

impl Node {
    pub(crate) fn new(parts: Parts) -> Self {
        let options = &parts.options;
        let limits = GroupLimits {
            events_max: options.group_events_max.max(1),
            bytes_max: options.group_bytes_max.max(1),
            producers_max: options.producers_max.max(1),
        };
        // Of the feed it is told to whoever lists runs how far it is.
        let mut live = Live::default();
        live.follow(&RunId::feed());
        let recent = Recent::new(options.refill_bytes_max, options.refill_kept);
        let (kept_max, pending_max) = (options.runs_kept_max, options.pending_max);
        Self {
            reader: parts.committer.reader.clone(),
            parts,
            limits,
            lines: HashMap::new(),
            replicas: Kept::new(kept_max),
            live,
            heard: Heard::default(),
            sweep: Some(Box::new(Sweep::new(pending_max))),
            changed: HashSet::new(),
            recent,
            asked: FuturesUnordered::new(),
            is_closing: false,
        }
    }

    /// Works until it is told to close, and then until everything is done that it was told before.
    pub(crate) async fn run(mut self) {
        let mut tick = every(self.parts.options.check_every);
        self.await_subscriber(None);
        let (follows, messages) =
            (Arc::clone(&self.parts.follows), Arc::clone(&self.parts.messages));
        let (duties, link) = (self.parts.duties.clone(), self.reader.link.clone());
        while !(self.is_closing && self.lines.is_empty()) {
            tokio::select! {
                told = self.parts.told.recv(), if !self.is_closing => self.on_told(told),
                Some(event) = self.asked.next() => self.on_event(event),
                arrived = messages.next() => self.on_arrived(arrived),
                changes = follows.next() => self.on_follows(changes),
                () = link.replaced() => self.refill(),
                () = duties.lost_a_node() => self.list_changed(None),
                _ = tick.tick() => self.check(),
            }
        }
        self.refuse_the_rest();
    }

    fn ask(&self, question: impl Future<Output = Event> + Send + 'static) {
        self.asked.push(Box::pin(question));
    }

    fn tell_all(&self, changes: Vec<Committed>) {
        if !changes.is_empty() {
            self.parts.observer.committed(changes);
        }
    }

    // Requests.

    fn on_told(&mut self, told: Option<Told>) {
        match told {
            Some(Told::Queued(queued)) => {
                let run = queued.request.run().clone();
                self.lines.entry(run.clone()).or_default().waiting.push_back(queued);
                self.go_on(&run);
            }
            Some(Told::Close) | None => self.is_closing = true,
        }
    }

    /// Goes on with the requests of a run, unless one is being carried out.
    fn go_on(&mut self, run: &RunId) {
        let Some(line) = self.lines.get_mut(run) else { return };
        if line.is_busy {
            return;
        }
        if line.waiting.is_empty() {
            self.lines.remove(run);
            return;
        }
        line.is_busy = true;
        let history = match self.replicas.get(run) {
            Some(kept) if !kept.is_outdated => kept.replica.clone(),
            kept => {
                let after = kept.map(|kept| kept.replica.stream.last);
                return self.load(run, after);
            }
        };
        self.decide(run, &history);
    }

    fn load(&mut self, run: &RunId, after: Option<Offset>) {
        let (reader, run) = (self.reader.clone(), run.clone());
        let count = if after.is_some() { MISSED_MAX } else { 0 };
        let after = after.unwrap_or(Offset::START);
        self.ask(async move {
            let loaded = reader.load(&run, after, count).await;
            Event::Loaded(run, after, loaded)
        });
    }

    fn on_loaded(
        &mut self,
        run: &RunId,
        after: Offset,
        loaded: Result<(Replica, Vec<Entry>), CallError>,
    ) {
        match loaded {
            Ok((replica, entries)) => {
                let before = self.replicas.get(run).map(|kept| kept.replica.clone());
                if let Some(before) = before {
                    let missed = missed(after, &replica, entries, before.stream.epoch);
                    self.tell_missed(run, missed, &replica);
                }
                self.replicas.put(run, replica.clone());
                self.decide(run, &replica);
            }
            Err(error) => {
                let Some(line) = self.lines.get_mut(run) else { return };
                line.is_busy = false;
                let waiting = std::mem::take(&mut line.waiting);
                for queued in waiting {
                    queued.request.refuse(error.clone().of_append(), error.clone().of_change());
                }
                self.go_on(run);
            }
        }
    }

    fn decide(&mut self, run: &RunId, replica: &Replica) {
        let Some(line) = self.lines.get_mut(run) else { return };
        line.tries += 1;
        let is_again = line.tries > TRIES_PATIENT;
        let observer = self.parts.observer.as_ref();
        let group = decide_front(run, replica, &mut line.waiting, self.limits, observer);
        let Some(mut group) = group else {
            line.is_busy = false;
            return self.go_on(run);
        };
        group.decision.is_again = is_again;
        let committer = self.parts.committer.clone();
        self.ask(async move {
            let outcome = committer.carry_out(&group.decision).await;
            Event::CarriedOut(Box::new(group), outcome)
        });
    }

    fn on_carried_out(&mut self, group: Box<Group>, outcome: Outcome) {
        let run = group.decision.run.clone();
        match outcome {
            Outcome::Done(done) => self.on_done(*group, done),
            Outcome::Changed { replica, missed } => self.on_changed(*group, replica, missed),
            Outcome::Refused(error) => {
                self.forget(&run);
                group.refuse(&error.clone().of_append(), &error.of_change());
            }
            Outcome::Unknown(reason) => {
                self.forget(&run);
                let reason = format!("it may be stored: {reason}");
                let append = AppendError::Unavailable { reason: reason.clone() };
                group.refuse(&append, &DeleteError::Unavailable { reason });
            }
        }
        if let Some(line) = self.lines.get_mut(&run) {
            line.is_busy = false;
        }
        self.go_on(&run);
    }

    /// What is known of a run may not hold any more.
    fn forget(&mut self, run: &RunId) {
        self.note_changed(run);
        self.replicas.remove(run);
        self.parts.observer.discarded(run);
        if let Some(line) = self.lines.get_mut(run) {
            line.tries = 0;
        }
    }

    fn on_done(&mut self, group: Group, done: Done) {
        let decision = &group.decision;
        let run = decision.run.clone();
        let replica = done.replica.unwrap_or_else(|| decision.after.clone());
        if let Some(line) = self.lines.get_mut(&run) {
            line.tries = 0;
        }
        self.replicas.put(&run, replica);
        let stat = decision.after.stream.stat();
        let is_change = !matches!(decision.deed, Deed::Check);
        if is_change {
            self.note_changed(&run);
        }
        match &decision.deed {
            Deed::Store { records, .. } => {
                let bytes = records.iter().map(|record| record.payload.len() as u64).sum();
                self.parts.counts.events_bytes.fetch_add(bytes, Ordering::Relaxed);
                let todo = self.live.stored(&run, records.clone(), &stat, true);
                self.do_it(&run, todo);
            }
            Deed::Delete => {
                let todo = self.live.deleted(&run, stat.epoch, true);
                self.do_it(&run, todo);
            }
            Deed::Check | Deed::Trim { .. } => {}
        }
        if let Some(brought) = done.brought {
            self.tell_brought(brought, true);
        }
        if let Some(finish) = done.finish {
            let outbox = self.parts.committer.outbox.clone();
            self.ask(async move {
                outbox.finish(finish).await;
                Event::Nothing
            });
        }
        let decision = match done.short_of_replicas {
            None => group.answer(),
            Some(have) => {
                let want = self.parts.options.wait_replicas;
                let reason = format!(
                    "it is stored, and only {have} of {want} replicas have confirmed it in time: it \
                     is lost if the primary is"
                );
                let append = AppendError::Unavailable { reason: reason.clone() };
                group.refuse(&append, &DeleteError::Unavailable { reason })
            }
        };
        if is_change {
            self.recent.keep(decision);
        }
    }

    /// Another node was faster: what was decided is decided again.
    fn on_changed(&mut self, group: Group, replica: Replica, missed: Vec<Record>) {
        let run = group.decision.run.clone();
        self.parts.observer.discarded(&run);
        self.tell_missed(&run, missed, &replica);
        self.replicas.put(&run, replica);
        let Some(line) = self.lines.get_mut(&run) else { return };
        if line.tries < TRIES_MAX {
            for (queued, _) in group.requests.into_iter().rev() {
                line.waiting.push_front(queued);
            }
            return;
        }
        line.tries = 0;
        let reason =
            format!("other nodes changed the run {TRIES_MAX} times before it could be stored");
        let append = AppendError::Unavailable { reason: reason.clone() };
        group.refuse(&append, &DeleteError::Unavailable { reason });
    }

    /// Gives a Redis that has taken over what it lacks of what was done here.
    fn refill(&self) {
        let (committer, runs) = (self.parts.committer.clone(), self.recent.by_run());
        self.ask(async move {
            committer.refill(runs).await;
            Event::Nothing
        });
    }

    // Time.

    fn check(&mut self) {
        let followed: Vec<RunId> = self.live.runs().cloned().collect();
        for some in followed.chunks(CHECK_STEP) {
            let (reader, some) = (self.reader.clone(), some.to_vec());
            self.ask(async move {
                let known = reader.stats(some).await.into_iter();
                // What is away is compared when it is back.
                Event::Compared(known.filter_map(|(run, stat)| Some((run, stat.ok()?))).collect())
            });
        }
        if self.parts.duties.has(&RunId::feed())
            && let Some(mut sweep) = self.sweep.take()
        {
            let outbox = self.parts.committer.outbox.clone();
            self.ask(async move {
                let brought = outbox.sweep(&mut sweep).await.unwrap_or_default();
                // With the next ones next time, or with these again.
                if let Ok(last) = outbox.reader.forget_names(sweep.name.as_ref()).await {
                    sweep.name = last;
                }
                Event::Swept(sweep, brought)
            });
        }
        let reader = self.reader.clone();
        self.ask(async move { reader.count().await.map_or(Event::Nothing, Event::Counted) });
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Loaded(run, after, loaded) => self.on_loaded(&run, after, loaded),
            Event::CarriedOut(group, outcome) => self.on_carried_out(group, outcome),
            Event::Looked(run, begun, looked) => {
                let todo = self.live.was_read(&run, begun, looked);
                self.do_it(&run, todo);
            }
            Event::Subscribable(changes) => self.on_subscribable(changes),
            Event::Subscribed(runs) => runs.iter().for_each(|run| self.look(run)),
            Event::SubscribedToChanges => {
                // Those of streams that nobody follows here may not have been heard.
                self.replicas.outdate_all();
                self.list_changed(None);
            }
            Event::Compared(stats) => {
                for (run, stat) in stats {
                    if !self.live.is_told(&run, stat.as_ref()) {
                        self.look(&run);
                    }
                }
            }
            Event::Swept(sweep, brought) => {
                self.sweep = Some(sweep);
                brought.into_iter().for_each(|brought| self.tell_brought(brought, false));
            }
            Event::MayHaveChanged(runs) => {
                if runs.len() == CHANGED_STEP {
                    self.list_changed(runs.last().cloned());
                }
                let changed = |run: RunId| Committed::Changed { run };
                self.tell_all(runs.into_iter().map(changed).collect());
            }
            Event::Counted(streams) => {
                self.parts.counts.streams.store(streams, Ordering::Relaxed);
            }
            Event::TellChanged => self.tell_changed(),
            Event::Nothing => {}
        }
    }

    /// Answers whoever came too late.
    fn refuse_the_rest(&mut self) {
        self.parts.told.close();
        let reason = || SHUT_DOWN.to_owned();
        while let Ok(told) = self.parts.told.try_recv() {
            if let Told::Queued(Queued { request, .. }) = told {
                let append = AppendError::Unavailable { reason: reason() };
                request.refuse(append, DeleteError::Unavailable { reason: reason() });
            }
        }
    }
}

/// Why a node that has ended takes nothing.
pub(crate) const SHUT_DOWN: &str = "it is shut down";

fn every(time: Duration) -> Interval {
    let mut tick = interval(time.max(Duration::from_millis(1)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}
