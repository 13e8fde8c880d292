//! What is done beside appending, one thing at a time: full write-ahead logs are sealed into
//! segments, segments are merged, what was given up is erased, and what is stored is looked over.
//!
//! Each step leaves the directory so that a crash at any instant finds either the files before it or
//! those after it: new files first, then the manifest that tells of them, then the old ones go. A
//! step that fails gives its files back and is tried again in new ones; a file that could not be
//! synced is never used. Seals come first, because appends wait for them when too many are due; a
//! merge goes on between them, some megabytes at a time.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use runcast_event::RunId;

use crate::contract::Join;
use crate::embedded::directory;
use crate::embedded::disk::Disk;
use crate::embedded::error::OpenError;
use crate::embedded::lock::DirectoryLock;
use crate::embedded::manifest::{ListedSegment, Manifest};
use crate::embedded::number::u64_at;
use crate::embedded::open_files::OpenFiles;
use crate::embedded::options::{Clock, EmbeddedOptions, Surroundings, UpkeepBy};
use crate::embedded::segment::header::{SegmentFault, SegmentHeader};
use crate::embedded::segment::writer::SegmentWriter;
use crate::embedded::segment::{self, Segment};
use crate::embedded::writer::Shared;
use crate::stream::{Phase, Stream};

mod erase;
mod gather;
mod merge;
pub(crate) mod progress;
mod scrub;
mod seal;

use merge::Merge;
use scrub::Scrub;

/// How long a step that failed waits before it is tried again: at first, and at most.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Between two steps that need not be soon, so that appends and reads have the machine.
const PAUSE: Duration = Duration::from_millis(50);
/// Work of less than this needs no rest behind it.
const WORK_MIN: Duration = Duration::from_millis(5);
/// The longest rest.
const REST_MAX: Duration = Duration::from_millis(100);
/// When so many write-ahead logs wait, there is no rest.
const HURRY_WALS: u32 = 3;

/// What a step has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something that others may wait for.
    Worked,
    /// Something that nobody waits for.
    Scrubbed,
    /// There is nothing to do before this time, unless a write-ahead log becomes full.
    Idle(Option<Instant>),
}

/// Why a step came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpkeepError {
    #[error("cannot {action} {}: {error}", path.display())]
    Io { action: &'static str, path: PathBuf, error: io::Error },
    /// What was to be sealed or merged cannot be read, or what was written is not right.
    #[error("{0}")]
    Damaged(String),
    #[error("the log is shutting down")]
    Closing,
}

impl UpkeepError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| Self::Io { action, path, error }
    }
}

impl From<OpenError> for UpkeepError {
    fn from(error: OpenError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Files that are not needed and could not be removed, and what they count.
type Leftovers = Arc<Mutex<Vec<(PathBuf, u64)>>>;

/// Owns the manifest and everything that is sealed.
pub(crate) struct Upkeep {
    pub(crate) shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    directory: PathBuf,
    options: EmbeddedOptions,
    files: Arc<OpenFiles>,
    /// Let go of when the upkeep ends.
    _lock: Arc<DirectoryLock>,
    manifest: Manifest,
    segments: Arc<[Arc<Segment>]>,
    merge: Option<Merge>,
    scrub: Scrub,
    /// Segments that are no part of the log, or will be none when a manifest has been replaced.
    orphans: Vec<u32>,
    leftovers: Leftovers,
    /// When it last rested.
    rested: Cell<Instant>,
}

impl Upkeep {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        surroundings: &Surroundings,
        directory: &Path,
        options: &EmbeddedOptions,
        files: Arc<OpenFiles>,
        lock: Arc<DirectoryLock>,
        manifest: Manifest,
    ) -> Self {
        let index = shared.index.read().unwrap_or_else(PoisonError::into_inner);
        let segments = Arc::clone(index.segments());
        drop(index);
        Self {
            shared: Arc::clone(shared),
            disk: Arc::clone(&surroundings.disk),
            clock: Arc::clone(&surroundings.clock),
            directory: directory.to_path_buf(),
            options: options.clone(),
            files,
            _lock: lock,
            manifest,
            segments,
            merge: None,
            scrub: Scrub::new(options.scrub_every, surroundings.clock.now()),
            orphans: Vec::new(),
            leftovers: Leftovers::default(),
            rested: Cell::new(Instant::now()),
        }
    }

    /// Works until the log is closed.
    pub(crate) fn run(mut self) {
        let _end = EndOfUpkeep(Arc::clone(&self.shared));
        let mut retry = RETRY_MIN;
        while !self.shared.progress.is_closing() {
            let wait_until = match self.step() {
                Ok(Step::Worked) => {
                    retry = RETRY_MIN;
                    continue;
                }
                Ok(Step::Scrubbed) => Some(Instant::now() + PAUSE),
                Ok(Step::Idle(until)) => until,
                Err(_) => {
                    let until = Instant::now() + retry;
                    retry = (retry * 2).min(RETRY_MAX);
                    self.shared.progress.wait_until_closing(until);
                    continue;
                }
            };
            self.shared.progress.wait_for_work(self.manifest.wal_first, wait_until);
            self.rested.set(Instant::now());
        }
    }

    /// Does the next thing that is to be done. What failed is tried again by the next step.
    pub(crate) fn step(&mut self) -> Result<Step, UpkeepError> {
        let done = self.next_thing();
        match &done {
            Ok(_) => self.shared.progress.worked(self.manifest.wal_first),
            Err(UpkeepError::Closing) => {}
            Err(error) => {
                self.shared.counts.upkeep_failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "the log's upkeep did not work and is tried again");
                self.shared.progress.failed(error.to_string());
            }
        }
        done
    }

    fn next_thing(&mut self) -> Result<Step, UpkeepError> {
        let newest = self.shared.progress.newest_wal();
        if self.manifest.wal_first < newest {
            self.seal(newest)?;
            return Ok(Step::Worked);
        }
        if self.merge_a_piece()? {
            return Ok(Step::Worked);
        }
        self.remove_leftovers()?;
        Ok(self.scrub_a_piece())
    }

    /// What marks the log's groups.
    fn tag(&self) -> u64 {
        u64_at(&self.manifest.log_id, 8)
    }

    /// What joins the events of a stream that stands like this, if they may be.
    fn join(&self, run: &RunId, stream: &Stream) -> Option<Box<dyn Join>> {
        let joiner = self.shared.joiner.get().filter(|_| stream.phase == Phase::Closed)?;
        joiner.of(run, &stream.stat())
    }

    /// Says when the log is shutting down. Rests as long as it worked before, so that appends and
    /// reads have the machine, unless appends are about to wait for it. A lower priority would not do:
    /// a thread that is put off while it holds the index holds everybody up.
    fn breathe(&self) -> Result<(), UpkeepError> {
        let progress = &self.shared.progress;
        let worked = self.rested.get().elapsed();
        let is_background = self.options.upkeep == UpkeepBy::Background;
        if is_background && worked >= WORK_MIN && progress.waiting() < HURRY_WALS {
            progress.wait_until_closing(Instant::now() + worked.min(REST_MAX));
            self.rested.set(Instant::now());
        }
        if progress.is_closing() { Err(UpkeepError::Closing) } else { Ok(()) }
    }

    /// Begins a segment in a file that has not its name yet.
    fn begin_segment(&mut self, level: u32) -> Result<NewSegment, UpkeepError> {
        let number = self.manifest.next_segment;
        self.manifest.next_segment += 1;
        let path = directory::segment_path(&self.directory, number);
        let unfinished =
            self.directory.join(format!("{}{}", segment::file_name(number), directory::NEW_SUFFIX));
        let file = self.disk.create(&unfinished).map_err(UpkeepError::io("make", &unfinished))?;
        let header = SegmentHeader { level, log_id: self.manifest.log_id, number };
        let writer = SegmentWriter::new(file, &header);
        let (disk, leftovers) = (Arc::clone(&self.disk), Arc::clone(&self.leftovers));
        Ok(NewSegment {
            writer: Some(writer),
            number,
            path,
            file: UnfinishedFile { disk, path: unfinished, leftovers },
        })
    }

    /// Gives a segment that is written its name, durably, and reads it back.
    fn finish_segment(
        &mut self,
        mut new: NewSegment,
        epochs_begun: u32,
    ) -> Result<(Arc<Segment>, u64), UpkeepError> {
        let writer = new.writer.take().expect("a segment is finished once");
        let written = writer.finish(epochs_begun);
        let length = written.map_err(UpkeepError::io("write", &new.file.path))?;
        let renamed = self.disk.rename(&new.file.path, &new.path);
        renamed.map_err(UpkeepError::io("rename", &new.file.path))?;
        new.file.path.clone_from(&new.path);
        let synced = self.disk.sync_directory(&self.directory);
        synced.map_err(UpkeepError::io("sync", &self.directory))?;
        let opened = Segment::open(new.number, &self.files);
        let segment = opened.map_err(|fault| {
            self.files.close(new.number);
            UpkeepError::Damaged(format!("{} was not written right: {fault}", new.path.display()))
        })?;
        new.file.keep();
        self.shared.counts.resized(0, length);
        Ok((segment, length))
    }

    /// Makes another set of files count. What is not in it any more can be removed then.
    fn install(
        &mut self,
        mut manifest: Manifest,
        segments: Vec<Arc<Segment>>,
        made: Option<u32>,
    ) -> Result<(), UpkeepError> {
        manifest.next_segment = self.manifest.next_segment;
        if let Err(error) = manifest.replace(self.disk.as_ref(), &self.directory) {
            // It may be there after a crash, and then its segment counts: until another takes its place.
            self.orphans.extend(made);
            return Err(UpkeepError::io("replace the manifest in", &self.directory)(error));
        }
        let removed = self.segments.iter().map(|segment| segment.number());
        let removed = removed.filter(|number| manifest.listed(*number).is_none());
        self.orphans.extend(removed);
        self.manifest = manifest;
        // What is in none of the lists any more is freed when the index can be read again.
        let _before = std::mem::replace(&mut self.segments, segments.into());
        let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
        index.replace_segments(Arc::clone(&self.segments), &self.manifest);
        Ok(())
    }

    /// Removes segments that a manifest replaced.
    fn remove_orphans(&mut self) {
        for number in std::mem::take(&mut self.orphans) {
            self.remove_segment(number);
        }
    }

    /// Removes a segment that no manifest tells of.
    fn remove_segment(&mut self, number: u32) {
        let length = self.files.get(number).and_then(|file| file.length()).unwrap_or(0);
        self.files.close(number);
        self.remove(directory::segment_path(&self.directory, number), length);
    }

    /// Removes a file that is not needed. What does not work is tried again.
    fn remove(&mut self, path: PathBuf, length: u64) {
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a file that is not needed stays");
                self.leftovers().push((path, length));
            }
            _ => self.shared.counts.resized(length, 0),
        }
    }

    fn leftovers(&self) -> MutexGuard<'_, Vec<(PathBuf, u64)>> {
        self.leftovers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what could not be removed before.
    fn remove_leftovers(&mut self) -> Result<(), UpkeepError> {
        let leftovers = std::mem::take(&mut *self.leftovers());
        if leftovers.is_empty() {
            return Ok(());
        }
        for (path, length) in leftovers {
            self.remove(path, length);
        }
        self.sync_removals();
        match self.leftovers().first() {
            None => Ok(()),
            Some((path, _)) => {
                let error = io::Error::other("it could not be removed for some time");
                Err(UpkeepError::io("remove", path)(error))
            }
        }
    }

    /// Makes durable that files are gone: when the power goes, what they had comes not back.
    fn sync_removals(&self) {
        if let Err(error) = self.disk.sync_directory(&self.directory) {
            // The next one does it, or the next start.
            let path = self.directory.display();
            tracing::warn!(%path, %error, "files that are not needed may come back");
        }
    }

    /// A new segment's line in the manifest.
    fn listed(segment: &Segment, length: u64) -> ListedSegment {
        let header = &segment.header;
        ListedSegment { number: header.number, level: header.level, length, erased: 0 }
    }
}

/// A segment that is being written.
struct NewSegment {
    writer: Option<SegmentWriter>,
    number: u32,
    path: PathBuf,
    file: UnfinishedFile,
}

impl NewSegment {
    fn writer(&mut self) -> &mut SegmentWriter {
        self.writer.as_mut().expect("a segment that is written is not finished")
    }
}

/// A file that is removed if nothing comes of it: its room is given back at once.
struct UnfinishedFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    leftovers: Leftovers,
}

impl UnfinishedFile {
    /// It is finished.
    fn keep(&mut self) {
        self.path.clear();
    }
}

impl Drop for UnfinishedFile {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() && self.disk.remove(&self.path).is_err() {
            let mut leftovers = self.leftovers.lock().unwrap_or_else(PoisonError::into_inner);
            leftovers.push((std::mem::take(&mut self.path), 0));
        }
    }
}

/// Tells the writer that there is no upkeep any more, even if it panicked.
struct EndOfUpkeep(Arc<Shared>);

impl Drop for EndOfUpkeep {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = "the log's upkeep failed; see the error output, then restart";
            self.0.progress.failed(reason.to_owned());
        }
    }
}

impl std::fmt::Display for SegmentFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Foreign => f.write_str("it does not begin as a segment does"),
            Self::Newer(version) => write!(f, "it has format {version}"),
            Self::At(position, reason) => write!(f, "byte {position}: {reason}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}
