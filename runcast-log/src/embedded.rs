//! The embedded engine: streams in one data directory of one machine.
//!
//! All appends go through one writer thread to a write-ahead log ([`wal`]). A second thread makes
//! sorted segments ([`segment`]) of those that are full, and keeps them in order ([`upkeep`]). Readers
//! find events by an index in memory and read the files themselves.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use runcast_event::{Epoch, Offset, RunId};
use tokio::sync::{oneshot, watch};

use crate::contract::{
    Append, AppendError, Appended, CommitObserver, DeleteError, Joiner, Log, LogHealth, Page,
    ReadError, ReadLimit, StreamStat, Trim,
};
use crate::stats::{BytesWritten, LogStats};

pub mod backup;
mod base;
mod directory;
pub mod disk;
pub mod doctor;
mod error;
mod extent;
mod index;
pub mod inspect;
mod joined;
mod lock;
mod manifest;
mod number;
mod open_files;
mod options;
mod pending;
mod plan;
mod queue;
mod read;
mod read_only;
mod recovery;
mod scan;
mod segment;
mod tail;
mod upkeep;
mod verify;
mod wal;
mod walk;
mod writer;

pub use directory::STATES_NAME;
pub use error::OpenError;
pub use options::{
    Clock, Durability, EmbeddedOptions, Surroundings, SystemClock, UpkeepBy, WritingBy,
};

pub use wal::FORMAT_VERSION;

use index::Index;
use lock::DirectoryLock;
use open_files::OpenFiles;
use plan::ReadPlan;
use queue::{Queue, Request, Woken};
use read::{PageRead, Taken};
use recovery::{Recovered, recover};
use tail::Tail;
use upkeep::progress::Progress;
use upkeep::{Step, Upkeep};
use wal::group::GroupBuffer;
use writer::{Counts, NewEpoch, Refused, Shared, Writer};

/// What a request takes of the queue's bytes beside its events.
const REQUEST_BYTES: usize = 256;
/// A boot id is shorter; what is longer is cut.
const BOOT_ID_BYTES_MAX: usize = 64;
/// How often a page is read again when the files changed under it.
const READ_TRIES_MAX: usize = 16;

/// Streams in a data directory.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// What [`Self::write`] does, unless a thread does it.
    stepped_writer: Mutex<Option<(Writer, Option<JoinHandle<()>>)>>,
    /// What [`Self::keep_up`] does, unless a thread does it.
    stepped: Mutex<Option<Upkeep>>,
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
        let lock = Arc::new(DirectoryLock::take(directory)?);
        directory::check_restored(surroundings.disk.as_ref(), directory)?;
        let disk = Arc::clone(&surroundings.disk);
        let files =
            OpenFiles::new(Arc::clone(&disk), directory.to_path_buf(), options.files_open_max);
        let mut recovered = recover(directory, &surroundings, &files)?;
        if recovered.lost {
            tracing::warn!(
                directory = %directory.display(),
                "the machine stopped before the newest events were on the disk: new epochs begin"
            );
        }
        recovered.index.count();
        if recovered.lost {
            recovered.index.begin_epoch(1);
        }
        let disk_bytes = recovered.disk_bytes();
        let disk_bytes = disk_bytes.map_err(OpenError::io("measure the files of", directory))?;
        let Recovered { index, manifest, file, header, length, next_group, lost, gives_up } =
            recovered;
        let tail = Tail::new(file, header, length, next_group);
        let tail = tail.map_err(OpenError::io("measure the files of", directory))?;
        let is_stepped = options.upkeep == UpkeepBy::Stepped;
        let shared = Arc::new(Shared {
            queue: Queue::new(&options),
            index: RwLock::new(index),
            health: Mutex::new(LogHealth::Healthy),
            ended: watch::Sender::new(false),
            counts: Counts::new(disk_bytes),
            progress: Progress::new(header.number, manifest.wal_first, is_stepped),
            joiner: OnceLock::new(),
        });
        let upkeep = Upkeep::new(
            &shared,
            &surroundings,
            directory,
            &options,
            files,
            Arc::clone(&lock),
            manifest,
        );
        let (stepped, background) =
            if is_stepped { (Some(upkeep), None) } else { (None, Some(upkeep)) };
        let mut boot_id = surroundings.boot_id.unwrap_or_default();
        boot_id.truncate(boot_id.floor_char_boundary(BOOT_ID_BYTES_MAX));
        let turn_due = gives_up.then(|| surroundings.clock.now() + options.erase_within / 2);
        let writing = options.writing;
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            observer,
            options,
            disk,
            clock: surroundings.clock,
            directory: directory.to_path_buf(),
            boot_id,
            _lock: lock,
            tail,
            buffer: GroupBuffer::default(),
            opening: Some(NewEpoch(lost)),
            turn_due,
            must_turn: false,
            refused: Refused::No,
        };
        if let Err(error) = writer.note_opening() {
            // Events can be read; the note is tried again with the first append.
            tracing::warn!(%error, "the log is open and takes no events");
        }
        let start = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
            thread.map_err(OpenError::io("start a thread for", directory))
        };
        let background =
            background.map(|upkeep| start("runcast-log-seal", Box::new(|| upkeep.run())));
        let background = background.transpose()?;
        let (thread, stepped_writer) = match writing {
            WritingBy::Background => {
                let work = Box::new(|| writer::run_to_end(writer, background));
                (Some(start("runcast-log", work)?), None)
            }
            WritingBy::Stepped => (None, Some((writer, background))),
        };
        let (stepped, stepped_writer) = (Mutex::new(stepped), Mutex::new(stepped_writer));
        let (writer, tag) = (Mutex::new(thread), header.tag());
        Ok(Arc::new(Self { shared, writer, stepped_writer, stepped, tag }))
    }

    /// Writes a group of what waits to be written, and does what is due, if the log was opened with
    /// [`WritingBy::Stepped`]. False when nothing waited.
    pub fn write(&self) -> bool {
        let mut writer = self.stepped_writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((writer, _)) = writer.as_mut() else { return false };
        // There is nobody to wait for.
        writer.step(&mut Vec::new(), Some(Instant::now())) == Woken::Requests
    }

    /// Seals, merges, erases or scrubs a piece, if that is to be done and the log was opened with
    /// [`UpkeepBy::Stepped`]. False when there is nothing to do now.
    ///
    /// # Errors
    /// Why the step came to nothing. Nothing is lost by that; the next call tries again.
    pub fn keep_up(&self) -> Result<bool, String> {
        let mut stepped = self.stepped.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(upkeep) = stepped.as_mut() else { return Ok(false) };
        match upkeep.step() {
            Ok(step) => Ok(!matches!(step, Step::Idle(_))),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Tells this log from others: the same in all its files, random for each new log.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.tag
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.shared.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_plan(
        &self,
        run: &RunId,
        after: Offset,
        limit: ReadLimit,
        plan: ReadPlan,
    ) -> Taken {
        if plan.spans.is_empty() {
            return Taken::nothing(plan.stat, after);
        }
        let stat = plan.stat.clone();
        let read = PageRead { run: run.clone(), after, limit, plan, tag: self.tag };
        if let Some(taken) = read.at_once() {
            return taken;
        }
        let taken = tokio::task::spawn_blocking(move || read.blocking()).await;
        taken.unwrap_or_else(|error| Taken::failed(stat, error.to_string()))
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

    /// Lets a writer that has no thread do what is left.
    fn end_stepped_writer(&self) {
        let writer = self.stepped_writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((writer, upkeep)) = writer {
            writer::run_to_end(writer, upkeep);
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
        let mut tries = 0;
        loop {
            let plan = self.index().plan(run, after, limit)?;
            let basis = plan.basis;
            let taken = self.read_plan(run, after, limit, plan).await;
            tries += 1;
            // What cannot be read may have been given up, merged or sealed meanwhile.
            let is_over = taken.fault.is_none() || tries == READ_TRIES_MAX;
            if is_over || self.index().basis(run) == Some(basis) {
                return taken.into_page();
            }
        }
    }

    async fn stat(&self, run: &RunId) -> Result<Option<StreamStat>, ReadError> {
        self.index().stat(run)
    }

    async fn list(
        &self,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<(RunId, StreamStat)>, ReadError> {
        let mut listed = self.index().list(after, limit);
        while let Some(after) = listed.more_after.take() {
            let more = self.index().list(Some(&after), limit - listed.streams.len());
            listed.streams.extend(more.streams);
            listed.more_after = more.more_after.filter(|_| listed.streams.len() < limit);
        }
        Ok(listed.streams)
    }

    async fn delete_in(&self, run: &RunId, epoch: Option<Epoch>) -> Result<bool, DeleteError> {
        let (answer, answered) = oneshot::channel();
        let unavailable = || DeleteError::Unavailable { reason: ended() };
        let request = Request::Delete { run: run.clone(), epoch, answer };
        self.shared.queue.push(request, REQUEST_BYTES).await.map_err(|_| unavailable())?;
        answered.await.unwrap_or_else(|_| Err(unavailable()))
    }

    async fn trim(&self, run: &RunId, trim: Trim) -> Result<bool, DeleteError> {
        trim.check()?;
        let bytes = REQUEST_BYTES + trim.base.len();
        let (answer, answered) = oneshot::channel();
        let unavailable = || DeleteError::Unavailable { reason: ended() };
        let request = Request::Trim { run: run.clone(), trim, answer };
        self.shared.queue.push(request, bytes).await.map_err(|_| unavailable())?;
        answered.await.unwrap_or_else(|_| Err(unavailable()))
    }

    async fn base(&self, run: &RunId) -> Result<Option<Bytes>, ReadError> {
        let mut tries = 0;
        loop {
            let Some(plan) = self.index().base_plan(run)? else { return Ok(None) };
            let basis = plan.basis;
            let failed =
                |error: tokio::task::JoinError| ReadError::Failed { reason: error.to_string() };
            let read = tokio::task::spawn_blocking(move || plan.read()).await.map_err(failed)?;
            tries += 1;
            // As with a page.
            if read.is_ok() || tries == READ_TRIES_MAX || self.index().basis(run) == Some(basis) {
                return read.map(Some);
            }
        }
    }

    async fn first_within(&self, run: &RunId, bytes_max: u64) -> Result<Offset, ReadError> {
        self.index().first_within(run, bytes_max)
    }

    fn join_by(&self, joiner: Arc<dyn Joiner>) {
        // The first one stays.
        let _is_first = self.shared.joiner.set(joiner);
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
            written: BytesWritten {
                events: counts.events_written.load(Ordering::Relaxed),
                wal: counts.groups_written.load(Ordering::Relaxed),
                seal: counts.written_by_seals.load(Ordering::Relaxed),
                merge: counts.written_by_merges.load(Ordering::Relaxed),
            },
            wals_waiting: self.shared.progress.waiting().into(),
            upkeep_failures: counts.upkeep_failures.load(Ordering::Relaxed),
            scrubbed_bytes: counts.scrubbed.load(Ordering::Relaxed),
            damaged_places: counts.damaged.load(Ordering::Relaxed),
            ..self.index().measure()
        }
    }

    async fn shut_down(&self) {
        self.shared.queue.close();
        self.end_stepped_writer();
        let mut ended = self.shared.ended.subscribe();
        // The sender lives as long as this log does, so that waiting cannot fail.
        let _ended = ended.wait_for(|ended| *ended).await;
        // It has the directory's lock too.
        self.stepped.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.end_stepped_writer();
        self.join();
    }
}
