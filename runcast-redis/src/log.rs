//! The log as the contract has it: puts requests on their way to the node, and reads for itself.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use runcast_event::{Epoch, Offset, RunId};
use runcast_log::{
    Append, AppendError, Appended, BytesWritten, CommitObserver, DeleteError, Inbox, Log,
    LogHealth, LogStats, Page, ReadError, ReadLimit, StreamStat, Trim,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::commit::Committer;
use crate::duties::{Duties, Renewal};
use crate::error::OpenError;
use crate::feed::Outbox;
use crate::follows::Follows;
use crate::inbox::RedisInbox;
use crate::messages::Messages;
use crate::node::{Counts, Node, Parts, SHUT_DOWN};
use crate::options::RedisOptions;
use crate::queue::{Queue, Request};
use crate::read::Reader;
use crate::shards::{Purpose, Shards};
use crate::wait::Replicas;

/// Streams in Redis, which any number of nodes append to, read and follow.
pub struct RedisLog {
    queue: Queue,
    reader: Reader,
    follows: Arc<Follows>,
    counts: Arc<Counts>,
    duties: Duties,
    inbox: Arc<RedisInbox>,
    renewal: Mutex<Option<Renewal>>,
    /// The node's task, until it was waited for.
    node: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    /// Why it takes nothing any more.
    closed: Mutex<Option<&'static str>>,
}

impl RedisLog {
    /// Connects to Redis and tells `observer` of every commit that happens here, and of what other nodes
    /// do to streams that are followed here.
    ///
    /// # Errors
    /// When Redis is not there, is too old, would throw streams away, or does not let its user do what is
    /// needed; says what to do.
    pub async fn open(
        options: RedisOptions,
        observer: Arc<dyn CommitObserver>,
    ) -> Result<Arc<Self>, OpenError> {
        let messages = Arc::new(Messages::new(&options));
        let on_push = {
            let messages = Arc::clone(&messages);
            Arc::new(move |push| messages.take(push))
        };
        let id = RunId::random();
        // The last digits are random.
        let node: Arc<str> = Arc::from(&id.as_str()[id.as_str().len() - 12..]);
        let link = Shards::open(&options, &node, Purpose::Commands).await?;
        let subscriber = Shards::open(&options, &node, Purpose::Messages(on_push)).await?;
        let replicas = match options.wait_replicas {
            0 => None,
            want => {
                let link = Shards::open(&options, &node, Purpose::Waits).await?;
                let time = options.wait_timeout.min(options.command_timeout / 2);
                Some(Arc::new(Replicas::new(link, want, time)))
            }
        };
        let reader = Reader { keys: link.keys().clone(), link };
        let lease = options.lease.max(Duration::from_millis(1));
        let duties = Duties::new(reader.clone(), Arc::clone(&node), lease);
        let renewal = Mutex::new(Some(duties.keep().await));
        let inbox = RedisInbox::new(reader.clone(), &options);
        let outbox = Outbox { reader: reader.clone(), node: Arc::clone(&node) };
        let committer = Committer {
            reader: reader.clone(),
            outbox,
            node,
            unknown_max: options.unknown_max,
            tombstone: options.tombstone.max(Duration::from_millis(1)),
            replicas,
        };
        let (queue, told) = Queue::new(&options);
        let (follows, counts) = (Arc::<Follows>::default(), Arc::<Counts>::default());
        let parts = Parts {
            options,
            committer,
            subscriber,
            observer,
            told,
            follows: Arc::clone(&follows),
            messages,
            duties: duties.clone(),
            counts: Arc::clone(&counts),
        };
        let node = tokio::spawn(Node::new(parts).run());
        let node = tokio::sync::Mutex::new(Some(node));
        let closed = Mutex::new(None);
        Ok(Arc::new(Self { queue, reader, follows, counts, duties, inbox, renewal, node, closed }))
    }

    /// Why it takes nothing any more, if so.
    fn closed(&self) -> Option<String> {
        let closed = *self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.map(str::to_owned)
    }

    async fn change(
        &self,
        request: Request,
        bytes: usize,
        answered: oneshot::Receiver<Result<bool, DeleteError>>,
    ) -> Result<bool, DeleteError> {
        let unavailable = || DeleteError::Unavailable { reason: SHUT_DOWN.to_owned() };
        if self.closed().is_some() {
            return Err(unavailable());
        }
        self.queue.push(request, bytes).await.map_err(|_| unavailable())?;
        answered.await.unwrap_or_else(|_| Err(unavailable()))
    }
}

impl std::fmt::Debug for RedisLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisLog").finish_non_exhaustive()
    }
}

#[async_trait]
impl Log for RedisLog {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let unavailable = || AppendError::Unavailable { reason: SHUT_DOWN.to_owned() };
        if self.closed().is_some() {
            return Err(unavailable());
        }
        let bytes = append.events.iter().map(|event| event.len() + size_of::<Bytes>()).sum();
        let max = self.queue.append_bytes_max();
        if bytes > max {
            let reason = format!("a batch of {bytes} bytes is larger than its queue ({max} bytes)");
            return Err(AppendError::Unavailable { reason });
        }
        let (answer, answered) = oneshot::channel();
        let pushed = self.queue.push(Request::Append { append, answer }, bytes).await;
        pushed.map_err(|_| unavailable())?;
        answered.await.unwrap_or_else(|_| Err(unavailable()))
    }

    async fn read(&self, run: &RunId, after: Offset, limit: ReadLimit) -> Result<Page, ReadError> {
        self.reader.page(run, after, limit).await
    }

    async fn stat(&self, run: &RunId) -> Result<Option<StreamStat>, ReadError> {
        self.reader.stat(run).await
    }

    async fn list(
        &self,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<(RunId, StreamStat)>, ReadError> {
        self.reader.list(after, limit).await
    }

    async fn delete_in(&self, run: &RunId, epoch: Option<Epoch>) -> Result<bool, DeleteError> {
        let (answer, answered) = oneshot::channel();
        self.change(Request::Delete { run: run.clone(), epoch, answer }, 0, answered).await
    }

    async fn trim(&self, run: &RunId, trim: Trim) -> Result<bool, DeleteError> {
        trim.check()?;
        let (answer, answered) = oneshot::channel();
        let bytes = trim.base.len();
        self.change(Request::Trim { run: run.clone(), trim, answer }, bytes, answered).await
    }

    async fn base(&self, run: &RunId) -> Result<Option<Bytes>, ReadError> {
        self.reader.base(run).await
    }

    async fn first_within(&self, run: &RunId, bytes_max: u64) -> Result<Offset, ReadError> {
        self.reader.first_within(run, bytes_max).await
    }

    fn follow(&self, run: &RunId, is_followed: bool) {
        self.follows.set(run, is_followed);
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn inbox(&self) -> Option<Arc<dyn Inbox>> {
        Some(Arc::clone(&self.inbox) as Arc<dyn Inbox>)
    }

    fn has_duty(&self, run: &RunId) -> bool {
        self.duties.has(run)
    }

    fn is_away(&self) -> bool {
        self.reader.link.health().is_err()
    }

    async fn sign(&self, runs: &[RunId]) -> Result<(), ReadError> {
        Ok(self.reader.sign(runs).await?)
    }

    async fn signed(&self, run: &RunId) -> Result<Option<Duration>, ReadError> {
        Ok(self.reader.signed(run).await?)
    }

    fn health(&self) -> LogHealth {
        let reason = self.closed().map_or_else(|| self.reader.link.health(), Err);
        match reason {
            Ok(()) => LogHealth::Healthy,
            Err(reason) => LogHealth::Failed { reason },
        }
    }

    fn measure(&self) -> LogStats {
        let events = self.counts.events_bytes.load(Ordering::Relaxed);
        LogStats {
            streams: self.counts.streams.load(Ordering::Relaxed),
            requests_waiting: self.queue.waiting(),
            written: BytesWritten { events, ..BytesWritten::default() },
            ..LogStats::default()
        }
    }

    async fn shut_down(&self) {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(SHUT_DOWN);
        self.queue.close();
        if let Some(node) = self.node.lock().await.take() {
            // A panic in it was printed when it happened.
            let _printed = node.await;
        }
        drop(self.renewal.lock().unwrap_or_else(PoisonError::into_inner).take());
        // Whoever sees it go looks for what it did not tell of.
        self.duties.leave().await;
    }
}
