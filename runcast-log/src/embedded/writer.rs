//! The one thread that writes: takes everything that waits, decides it, writes it as one group,
//! syncs, shows it to readers, tells the observer, answers.
//!
//! Owns the newest file. A write that fails leaves nothing behind and is
//! tried again with the next group; a sync that fails ends writing until a restart, because the
//! system may have thrown away what it could not sync.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::contract::{AppendError, CommitObserver, Joiner, LogHealth};
use crate::distribution::Distribution;
use crate::embedded::directory;
use crate::embedded::disk::Disk;
use crate::embedded::index::Index;
use crate::embedded::lock::DirectoryLock;
use crate::embedded::options::{Clock, Durability, EmbeddedOptions};
use crate::embedded::pending::{InGroup, Pending};
use crate::embedded::queue::{Queue, Queued, Woken};
use crate::embedded::tail::{Room, Tail};
use crate::embedded::upkeep::progress::Progress;
use crate::embedded::wal::FORMAT_VERSION;
use crate::embedded::wal::group::GroupBuffer;
use crate::embedded::wal::header::{self, FileHeader};
use crate::embedded::wal::record::Note;

/// What readers, callers and the writer share.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) index: RwLock<Index>,
    pub(crate) health: Mutex<LogHealth>,
    /// True once the writer has let go of the data.
    pub(crate) ended: watch::Sender<bool>,
    pub(crate) counts: Counts,
    /// Between the writer and the upkeep.
    pub(crate) progress: Progress,
    /// What joins events of closed streams, as soon as it is known.
    pub(crate) joiner: OnceLock<Arc<dyn Joiner>>,
}

/// After a turn to a new file that did not work, it is tried again this much later.
const TURN_AGAIN: Duration = Duration::from_secs(1);

/// What the writer and the upkeep count as they go.
pub(crate) struct Counts {
    /// Bytes of all files.
    pub(crate) disk_bytes: AtomicU64,
    /// Changes in each group.
    pub(crate) group_changes: Distribution,
    /// How long each sync took.
    pub(crate) syncs: Distribution,
    /// Bytes of events that were appended, and of the groups that they were written in.
    pub(crate) events_written: AtomicU64,
    pub(crate) groups_written: AtomicU64,
    pub(crate) written_by_seals: AtomicU64,
    pub(crate) written_by_merges: AtomicU64,
    pub(crate) upkeep_failures: AtomicU64,
    /// Bytes that the scrubber has read.
    pub(crate) scrubbed: AtomicU64,
    /// Damaged places that it has found.
    pub(crate) damaged: AtomicU64,
}

impl Counts {
    pub(crate) fn new(disk_bytes: u64) -> Self {
        Self {
            disk_bytes: AtomicU64::new(disk_bytes),
            group_changes: Distribution::of_counts(),
            syncs: Distribution::of_times(),
            events_written: AtomicU64::new(0),
            groups_written: AtomicU64::new(0),
            written_by_seals: AtomicU64::new(0),
            written_by_merges: AtomicU64::new(0),
            upkeep_failures: AtomicU64::new(0),
            scrubbed: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
        }
    }

    /// A file has another length.
    pub(crate) fn resized(&self, from: u64, to: u64) {
        // The sum wraps round and back.
        self.disk_bytes.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
    }
}

impl Shared {
    fn set_health(&self, health: LogHealth) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }
}

/// The write side.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) observer: Arc<dyn CommitObserver>,
    pub(crate) options: EmbeddedOptions,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) directory: PathBuf,
    pub(crate) boot_id: String,
    /// Let go of when the writer ends.
    pub(crate) _lock: Arc<DirectoryLock>,
    pub(crate) tail: Tail,
    pub(crate) buffer: GroupBuffer,
    /// The note that this process has the log is still to be written: with it, whether a new
    /// epoch begins.
    pub(crate) opening: Option<NewEpoch>,
    /// When the newest file has to be followed by another, so that it is sealed: it gives events up.
    pub(crate) turn_due: Option<Instant>,
    /// The next file may be there already, and says with which group it begins: before it is gone
    /// on in, no group is written.
    pub(crate) must_turn: bool,
    pub(crate) refused: Refused,
}

/// Whether a new epoch begins with this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NewEpoch(pub(crate) bool);

/// Why the last write did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    No,
    /// It is tried again.
    Once,
    /// Until a restart.
    ForGood(String),
}

/// All of the writer's work until the log is closed. Ends after the upkeep's thread.
pub(crate) fn run_to_end(writer: Writer, upkeep: Option<JoinHandle<()>>) {
    // Says that the end has come when everything of the writer, the lock too, is gone.
    let _end = EndOfWriting { shared: Arc::clone(&writer.shared), upkeep };
    writer.run();
}

impl Writer {
    /// Works until the queue is closed, then lets go of the data.
    fn run(mut self) {
        let mut requests = Vec::new();
        loop {
            let due = self.sync_due().into_iter().chain(self.turn_due).min();
            if self.step(&mut requests, due) == Woken::Closing {
                break;
            }
        }
        self.finish();
    }

    /// Waits at most until a time, then does one group of what waits, and what is due.
    pub(crate) fn step(&mut self, requests: &mut Vec<Queued>, until: Option<Instant>) -> Woken {
        let woken = self.shared.queue.take(requests, until);
        match woken {
            Woken::Requests => self.commit(requests),
            Woken::Due => {}
            Woken::Closing => return woken,
        }
        self.sync_if_due();
        self.turn_if_due();
        woken
    }

    /// One group: all of `requests`.
    fn commit(&mut self, requests: &mut Vec<Queued>) {
        let count = requests.len();
        let bytes = requests.iter().map(Queued::bytes).sum();
        if let Err(error) = self.note_opening() {
            let mut pending = Pending::default();
            self.decide(requests, &mut pending);
            self.refuse_all(pending, &error);
        } else {
            let mut pending = Pending::default();
            self.buffer.clear();
            self.decide(requests, &mut pending);
            self.carry_out(pending);
        }
        self.shared.queue.release(count, bytes);
    }

    fn decide(&mut self, requests: &mut Vec<Queued>, pending: &mut Pending) {
        let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
        let mut group = InGroup {
            index: &index,
            producers_max: self.options.producers_max,
            buffer: &mut self.buffer,
            observer: self.observer.as_ref(),
        };
        for queued in requests.drain(..) {
            pending.add(queued.request, &mut group);
        }
    }

    fn carry_out(&mut self, pending: Pending) {
        if self.buffer.is_empty() {
            pending.answers.into_iter().for_each(|answer| answer.give());
            return;
        }
        match self.write_group(pending.gives_up) {
            Ok(start) => {
                self.publish(pending.touched, start);
                if pending.gives_up {
                    // The other half of the time is for sealing and erasing.
                    let due = self.clock.now() + self.options.erase_within / 2;
                    self.turn_due = Some(self.turn_due.map_or(due, |before| before.min(due)));
                }
                let counts = &self.shared.counts;
                counts.events_written.fetch_add(pending.events_bytes, Ordering::Relaxed);
                counts.group_changes.add(pending.changes.len() as u64, 1);
                if !pending.changes.is_empty() {
                    self.observer.committed(pending.changes);
                }
                pending.answers.into_iter().for_each(|answer| answer.give());
            }
            Err(error) => self.refuse_all(pending, &error),
        }
    }

    fn refuse_all(&self, pending: Pending, error: &AppendError) {
        pending.touched.keys().for_each(|run| self.observer.discarded(run));
        pending.answers.into_iter().for_each(|answer| answer.refuse(error));
    }

    /// Shows a group to readers.
    fn publish(&self, touched: Touches, start: u64) {
        let file = self.tail.header.number;
        let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
        for (run, mut touched) in touched {
            for extent in &mut touched.extents {
                extent.file = file;
                extent.position += start;
            }
            if let Some(base) = &mut touched.base {
                base.file = file;
                base.position += start;
            }
            index.put(run, touched, file);
        }
    }

    /// Writes what is in the buffer as a group, as durably as the options say, and gives its
    /// position in the newest file.
    fn write_group(&mut self, must_sync: bool) -> Result<u64, AppendError> {
        if let Refused::ForGood(reason) = &self.refused {
            return Err(AppendError::Unavailable { reason: reason.clone() });
        }
        self.make_way()?;
        let relaxed = self.options.durability != Durability::Sync;
        let room = Room { bytes_max: self.options.room_bytes_max, end: self.options.wal_bytes_max };
        let tail = &mut self.tail;
        let (number, start, length_before) = (tail.next_group, tail.length, tail.file_length());
        let group = self.buffer.finish(number, tail.synced_group, relaxed, tail.header.tag());
        let group_bytes = group.len() as u64;
        let written = tail.write(group, room, self.clock.now());
        self.shared.counts.resized(length_before, tail.file_length());
        self.shared.counts.groups_written.fetch_add(group_bytes, Ordering::Relaxed);
        written.map_err(|error| self.refuse("write", &error))?;
        if (!relaxed || must_sync)
            && let Err(error) = self.sync()
        {
            // Nobody was told that the group is there: after a restart it should not be.
            self.tail.length = start;
            let _before_the_next = self.cut();
            return Err(error);
        }
        if self.refused != Refused::No {
            self.refused = Refused::No;
            self.shared.set_health(LogHealth::Healthy);
            tracing::info!("the log takes events again");
        }
        Ok(start)
    }

    /// Makes the place for the next group: cuts off what failed, begins a new file.
    fn make_way(&mut self) -> Result<(), AppendError> {
        if self.tail.is_dirty()
            && let Err(error) = self.cut()
        {
            return Err(self.refuse("cut off a failed write in", &error));
        }
        let length = self.tail.length;
        let is_full = length >= self.options.wal_bytes_max && length > header::LENGTH as u64;
        // Its version promises what is in it to those that read no newer one.
        let is_older = self.tail.header.version < FORMAT_VERSION;
        if is_full || is_older || self.must_turn { self.turn() } else { Ok(()) }
    }

    /// Goes on in a new file; those before are sealed.
    fn turn(&mut self) -> Result<(), AppendError> {
        if let Err(reason) = self.shared.progress.wait_for_place(self.options.wals_waiting_max) {
            let error = io::Error::other(reason);
            return Err(self.refuse("begin the file after", &error));
        }
        self.sync()?;
        let header = FileHeader {
            number: self.tail.header.number + 1,
            first_group: self.tail.next_group,
            version: FORMAT_VERSION,
            ..self.tail.header
        };
        self.must_turn = true;
        match directory::create_file(self.disk.as_ref(), &self.directory, &header) {
            Ok(file) => {
                let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
                index.add_wal(header.number, Arc::clone(&file));
                drop(index);
                // The file before may keep its room: where it ends, the next one says.
                let _kept = self.cut();
                self.tail.turn_to(file, header);
                (self.turn_due, self.must_turn) = (None, false);
                self.shared.counts.resized(0, self.tail.file_length());
                self.shared.progress.turned(header.number);
                Ok(())
            }
            Err(error) => Err(self.refuse("begin the file after", &error)),
        }
    }

    /// Cuts off what stands behind the last group. What could not be cut off is before the next.
    fn cut(&mut self) -> io::Result<()> {
        let length_before = self.tail.file_length();
        let cut = self.tail.cut();
        self.shared.counts.resized(length_before, self.tail.file_length());
        cut
    }

    /// Makes all groups durable.
    fn sync(&mut self) -> Result<(), AppendError> {
        if self.tail.unsynced_since.is_none() {
            return Ok(());
        }
        let began = Instant::now();
        let synced = self.tail.file.sync();
        self.shared.counts.syncs.add_time(began.elapsed());
        match synced {
            Ok(()) => {
                self.tail.unsynced_since = None;
                self.tail.synced_group = self.tail.next_group - 1;
                Ok(())
            }
            Err(error) => {
                let path = directory::path_of(&self.directory, self.tail.header.number);
                let reason = format!(
                    "{} could not be synced ({error}); check the disk, then restart",
                    path.display()
                );
                tracing::error!(reason, "the log takes no events until it is restarted");
                self.note_unsynced();
                self.refused = Refused::ForGood(reason.clone());
                self.shared.set_health(LogHealth::Failed { reason: reason.clone() });
                Err(AppendError::Unavailable { reason })
            }
        }
    }

    /// Notes for the next start that what was acknowledged may be lost, if it may be.
    fn note_unsynced(&self) {
        let is_acknowledged = self.options.durability != Durability::Sync;
        let note = || directory::mark_unsynced(self.disk.as_ref(), &self.directory);
        if is_acknowledged && let Err(error) = note() {
            tracing::error!(%error, "the next start may not tell that acknowledged events are lost");
        }
    }

    /// Notes that the disk refused a write, which the next group tries again.
    fn refuse(&mut self, action: &str, error: &io::Error) -> AppendError {
        let path = directory::path_of(&self.directory, self.tail.header.number);
        let reason = format!("cannot {action} {}: {error}", path.display());
        if self.refused == Refused::No {
            tracing::error!(reason, "the log takes no events for now");
        }
        self.refused = Refused::Once;
        self.shared.set_health(LogHealth::Full { reason: reason.clone() });
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => AppendError::NoRoom { reason },
            _ => AppendError::Unavailable { reason },
        }
    }

    /// Notes in the log that this process has it, before anything else is written.
    pub(crate) fn note_opening(&mut self) -> Result<(), AppendError> {
        let Some(NewEpoch(new_epoch)) = self.opening else { return Ok(()) };
        self.buffer.clear();
        if new_epoch {
            self.buffer.push_note(&Note::NewEpoch { by: 1 });
        }
        let relaxed = self.options.durability != Durability::Sync;
        self.buffer.push_note(&Note::Opened { boot_id: &self.boot_id, relaxed });
        self.write_group(true)?;
        self.opening = None;
        if new_epoch
            && let Err(error) = directory::unmark_unsynced(self.disk.as_ref(), &self.directory)
        {
            tracing::warn!(%error, "the next start will begin a new epoch although nothing is lost");
        }
        Ok(())
    }

    fn sync_due(&self) -> Option<Instant> {
        match (self.options.durability, self.tail.unsynced_since, &self.refused) {
            (_, _, Refused::ForGood(_)) => None,
            (Durability::Relaxed { sync_every }, Some(since), _) => Some(since + sync_every),
            _ => None,
        }
    }

    fn sync_if_due(&mut self) {
        if self.sync_due().is_some_and(|due| due <= self.clock.now()) {
            // A failure is noted in `refused`, for those who append next.
            let _noted = self.sync();
        }
    }

    fn turn_if_due(&mut self) {
        if self.turn_due.is_none_or(|due| due > self.clock.now()) {
            return;
        }
        let can_turn = !self.tail.is_dirty() && !matches!(self.refused, Refused::ForGood(_));
        if !can_turn || self.turn().is_err() {
            // Why is noted in `refused`, for those who append next.
            self.turn_due = Some(self.clock.now() + TURN_AGAIN);
        }
    }

    /// Leaves the log so that the next process knows that nothing is missing.
    fn finish(&mut self) {
        if self.opening.is_some() || matches!(self.refused, Refused::ForGood(_)) {
            return;
        }
        self.buffer.clear();
        self.buffer.push_note(&Note::ClosedCleanly);
        if let Err(error) = self.write_group(true) {
            tracing::warn!(%error, "the log could not be closed cleanly; nothing is lost by that");
            if !matches!(self.refused, Refused::ForGood(_)) {
                // There may be no place for the note, and yet something that is not durable.
                let _noted = self.sync();
            }
        }
        let _kept = self.cut();
    }
}

type Touches = std::collections::HashMap<runcast_event::RunId, crate::embedded::pending::Touched>;

/// Tells everybody that there is no writer any more, even if it panicked.
struct EndOfWriting {
    shared: Arc<Shared>,
    upkeep: Option<JoinHandle<()>>,
}

impl Drop for EndOfWriting {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = "its writer failed; see the error output, then restart".to_owned();
            self.shared.set_health(LogHealth::Failed { reason });
        }
        self.shared.queue.abandon();
        self.shared.progress.close();
        if let Some(upkeep) = self.upkeep.take() {
            // A panic in it was printed when it happened.
            let _printed = upkeep.join();
        }
        self.shared.ended.send_replace(true);
    }
}
