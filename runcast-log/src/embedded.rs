//! The embedded engine: streams in one data directory of one machine.
//!
//! All appends go through one writer thread to a write-ahead log ([`wal`]); readers find events by
//! an index in memory and read the files themselves.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;

use async_trait::async_trait;
use runcast_event::{Offset, RunId};
use tokio::sync::{oneshot, watch};

use crate::contract::{
    Append, AppendError, Appended, CommitObserver, DeleteError, Log, LogHealth, Page, ReadError,
    ReadLimit, StreamStat,
};
use crate::stats::LogStats;

mod directory;
pub mod disk;
mod error;
mod index;
mod lock;
mod options;
mod pending;
mod queue;
mod read;
mod recovery;
mod scan;
mod tail;
mod wal;
mod writer;

pub use error::OpenError;
pub use options::{Durability, EmbeddedOptions, Surroundings};
pub use wal::FORMAT_VERSION;

use index::Index;
use lock::DirectoryLock;
use queue::{Queue, Request};
use read::PageRead;
use recovery::{Recovered, recover};
use tail::Tail;
use wal::group::GroupBuffer;
use writer::{Counts, NewEpoch, Refused, Shared, Writer};

/// What a request takes of the queue's bytes beside its events.
const REQUEST_BYTES: usize = 256;
/// A boot id is shorter; what is longer is cut.
const BOOT_ID_BYTES_MAX: usize = 64;

/// Streams in a data directory.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// What marks the log's groups.
    tag: u64,
}

impl EmbeddedLog {
    /// Opens a data directory, or makes it, and tells `observer` of every commit from then on.
    ///
    /// Reads the whole log to rebuild the index: call it where blocking is allowed.
    ///
    /// # Errors
    /// Says what is wrong with the directory, where, and what to do.
    pub fn open(
        directory: &Path,
        options: EmbeddedOptions,
        observer: Arc<dyn CommitObserver>,
    ) -> Result<Arc<Self>, OpenError> {
        Self::open_in(directory, options, Surroundings::system(), observer)
    }

    /// As [`Self::open`], in given surroundings.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(
        directory: &Path,
        options: EmbeddedOptions,
        surroundings: Surroundings,
        observer: Arc<dyn CommitObserver>,
    ) -> Result<Arc<Self>, OpenError> {
        let made = surroundings.disk.create_directory(directory);
        made.map_err(OpenError::io("make the directory", directory))?;
        let lock = DirectoryLock::take(directory)?;
        let mut recovered = recover(directory, &surroundings)?;
        if recovered.lost {
            tracing::warn!(
                directory = %directory.display(),
                "the machine stopped before the newest events were on the disk: new epochs begin"
            );
            recovered.index.begin_epoch();
        }
        recovered.index.count();
        let disk_bytes = recovered.index.disk_bytes();
        let disk_bytes = disk_bytes.map_err(OpenError::io("measure the files of", directory))?;
        let Recovered { index, file, header, length, next_group, lost } = recovered;
        let tag = header.tag();
        let tail = Tail::new(file, header, length, next_group);
        let tail = tail.map_err(OpenError::io("measure the files of", directory))?;
        let shared = Arc::new(Shared {
            queue: Queue::new(&options),
            index: RwLock::new(index),
            health: Mutex::new(LogHealth::Healthy),
            ended: watch::Sender::new(false),
            counts: Counts::new(disk_bytes),
        });
        let mut boot_id = surroundings.boot_id.unwrap_or_default();
        boot_id.truncate(boot_id.floor_char_boundary(BOOT_ID_BYTES_MAX));
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            observer,
            options,
            disk: surroundings.disk,
            directory: directory.to_path_buf(),
            boot_id,
            _lock: lock,
            tail,
            buffer: GroupBuffer::default(),
            opening: Some(NewEpoch(lost)),
            refused: Refused::No,
        };
        if let Err(error) = writer.note_opening() {
            // Events can be read; the note is tried again with the first append.
            tracing::warn!(%error, "the log is open and takes no events");
        }
        let thread = std::thread::Builder::new().name("runcast-log".to_owned());
        let thread = thread
            .spawn(move || writer::run_to_end(writer))
            .map_err(OpenError::io("start the writer thread for", directory))?;
        Ok(Arc::new(Self { shared, writer: Mutex::new(Some(thread)), tag }))
    }

    /// Tells this log from others: the same in all its files, random for each new log.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.tag
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.shared.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the writer thread, unless this is it.
    fn join(&self) {
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic in it was printed when it happened.
            let _printed = thread.join();
        }
    }
}

/// The answer to a request when the writer has ended.
fn ended() -> String {
    "it is shut down".to_owned()
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let queue = &self.shared.queue;
        let events: usize = append.events.iter().map(bytes::Bytes::len).sum();
        let overhead = append.events.len() * size_of::<bytes::Bytes>() + REQUEST_BYTES;
        let bytes = events.saturating_add(overhead);
        let max = queue.append_bytes_max();
        if bytes > max {
            let reason = format!("a batch of {bytes} bytes is larger than its queue ({max} bytes)");
            return Err(AppendError::Unavailable { reason });
        }
        let (answer, answered) = oneshot::channel();
        let unavailable = || AppendError::Unavailable { reason: ended() };
        let pushed = queue.push(Request::Append { append, answer }, bytes).await;
        pushed.map_err(|_| unavailable())?;
        answered.await.unwrap_or_else(|_| Err(unavailable()))
    }

    async fn read(&self, run: &RunId, after: Offset, limit: ReadLimit) -> Result<Page, ReadError> {
        let plan = self.index().plan(run, after, limit)?;
        if plan.spans.is_empty() {
            return Ok(Page { records: Vec::new(), stat: plan.stat });
        }
        let read = PageRead { run: run.clone(), after, limit, plan, tag: self.tag };
        if let Some(page) = read.at_once() {
            return page;
        }
        let page = tokio::task::spawn_blocking(move || read.blocking()).await;
        page.unwrap_or_else(|error| Err(ReadError::Failed { reason: error.to_string() }))
    }

    async fn stat(&self, run: &RunId) -> Result<Option<StreamStat>, ReadError> {
        self.index().stat(run)
    }

    async fn list(
        &self,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<(RunId, StreamStat)>, ReadError> {
        Ok(self.index().list(after, limit))
    }

    async fn delete(&self, run: &RunId) -> Result<bool, DeleteError> {
        let (answer, answered) = oneshot::channel();
        let unavailable = || DeleteError::Unavailable { reason: ended() };
        let request = Request::Delete { run: run.clone(), answer };
        self.shared.queue.push(request, REQUEST_BYTES).await.map_err(|_| unavailable())?;
        answered.await.unwrap_or_else(|_| Err(unavailable()))
    }

    fn health(&self) -> LogHealth {
        let health = self.shared.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if health == LogHealth::Healthy && *self.shared.ended.borrow() {
            return LogHealth::Failed { reason: ended() };
        }
        health
    }

    fn measure(&self) -> LogStats {
        let counts = &self.shared.counts;
        LogStats {
            disk_bytes: counts.disk_bytes.load(Ordering::Relaxed),
            requests_waiting: self.shared.queue.len() as u64,
            group_changes: counts.group_changes.spread(),
            sync_ns: counts.syncs.spread(),
            ..self.index().measure()
        }
    }

    async fn shut_down(&self) {
        self.shared.queue.close();
        let mut ended = self.shared.ended.subscribe();
        // The sender lives as long as this log does, so that waiting cannot fail.
        let _ended = ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.join();
    }
}
