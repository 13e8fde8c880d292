//! What the tests of the log share: batches, an observer that remembers, a disk with faults.
#![allow(dead_code, unused_imports, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use runcast_event::RunId;
use runcast_log::disk::{Disk, DiskFile, SystemDisk};
use runcast_log::{
    Append, AppendError, Appended, EmbeddedLog, EmbeddedOptions, Join, Joiner, Log, OpenError,
    Record, StreamStat, Surroundings, SystemClock, UpkeepBy,
};
use tokio::task::JoinHandle;

pub mod power;

pub use runcast_contract::model::apart;
pub use runcast_contract::{ALL, Recorder, batch, events, feed, run, stamped, texts};

/// Joins all events of streams that are closed: what stands for several is their bytes one behind the
/// other.
pub struct JoinAll;

impl Joiner for JoinAll {
    fn of(&self, _run: &RunId, stat: &StreamStat) -> Option<Box<dyn Join>> {
        assert!(stat.closed, "others may still be appended to");
        Some(Box::new(Self))
    }
}

impl Join for JoinAll {
    fn join(&mut self, earlier: &Bytes, later: &Bytes) -> Option<(Range<usize>, Range<usize>)> {
        Some((0..earlier.len(), 0..later.len()))
    }
}

/// Starts appends on the test's one thread. Each has been taken up by the log, or waits outside
/// of its queue, when this returns.
pub async fn start(
    log: &Arc<EmbeddedLog>,
    batches: impl IntoIterator<Item = Append>,
) -> Vec<JoinHandle<Result<Appended, AppendError>>> {
    let begun = Arc::new(AtomicU64::new(0));
    let begin = |append| {
        let (log, begun) = (Arc::clone(log), Arc::clone(&begun));
        tokio::spawn(async move {
            begun.fetch_add(1, Ordering::SeqCst);
            log.append(append).await
        })
    };
    let tasks: Vec<_> = batches.into_iter().map(begin).collect();
    while begun.load(Ordering::SeqCst) < tasks.len() as u64 {
        tokio::task::yield_now().await;
    }
    tasks
}

/// A disk whose faults a test switches on. Syncs are counted and done only if asked for.
#[derive(Default)]
pub struct Faults {
    pub syncs: AtomicU64,
    pub sync_fails: AtomicBool,
    /// Bytes that can still be written, if limited.
    pub room: Mutex<Option<usize>>,
    /// What a write fails with when there is no room.
    pub other_error: AtomicBool,
    pub truncate_fails: AtomicBool,
    /// Faults are those of files whose names begin so.
    pub only_of: Mutex<&'static str>,
    held: Mutex<bool>,
    released: Condvar,
}

impl Faults {
    /// Lets syncs wait.
    pub fn hold_syncs(&self) {
        *self.held.lock().unwrap() = true;
    }

    pub fn release_syncs(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    pub fn set_room(&self, room: Option<usize>) {
        *self.room.lock().unwrap() = room;
    }

    fn error(&self) -> io::Error {
        let full = !self.other_error.load(Ordering::SeqCst);
        io::Error::from(if full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other })
    }
}

struct FaultyDisk(Arc<Faults>);

struct FaultyFile {
    faults: Arc<Faults>,
    file: Arc<dyn DiskFile>,
    name: String,
}

impl FaultyFile {
    fn has_faults(&self) -> bool {
        self.name.starts_with(*self.faults.only_of.lock().unwrap())
    }
}

impl FaultyDisk {
    fn wrap(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        Arc::new(FaultyFile { faults: Arc::clone(&self.0), file, name })
    }
}

impl Disk for FaultyDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        SystemDisk.create_directory(path)
    }
    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        SystemDisk.names(directory)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        SystemDisk.open(path).map(|file| self.wrap(path, file))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        SystemDisk.create(path).map(|file| self.wrap(path, file))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }
    fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, position)
    }
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        if !self.has_faults() {
            return self.file.write_all_at(bytes, position);
        }
        let mut room = self.faults.room.lock().unwrap();
        let fits = room.unwrap_or(usize::MAX).min(bytes.len());
        self.file.write_all_at(&bytes[..fits], position)?;
        if let Some(room) = room.as_mut() {
            *room -= fits;
        }
        if fits == bytes.len() { Ok(()) } else { Err(self.faults.error()) }
    }
    fn sync(&self) -> io::Result<()> {
        let held = self.faults.held.lock().unwrap();
        drop(self.faults.released.wait_while(held, |held| *held).unwrap());
        self.faults.syncs.fetch_add(1, Ordering::SeqCst);
        if self.has_faults() && self.faults.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::Other));
        }
        Ok(())
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        if self.faults.truncate_fails.load(Ordering::SeqCst) {
            return Err(self.faults.error());
        }
        self.file.truncate(length)
    }
    fn erase(&self, position: u64, length: u64) -> io::Result<()> {
        self.file.erase(position, length)
    }
}

/// A machine whose start is called `boot_id`, with a disk that has faults.
pub fn machine(boot_id: &str, faults: &Arc<Faults>) -> Surroundings {
    Surroundings {
        disk: Arc::new(FaultyDisk(Arc::clone(faults))),
        boot_id: Some(boot_id.to_owned()),
        new_log_id: *b"the tests' logid",
        clock: Arc::new(SystemClock),
    }
}

/// Opens without waiting for a disk.
pub fn open_with(
    directory: &Path,
    options: EmbeddedOptions,
    boot_id: &str,
) -> Result<Arc<EmbeddedLog>, OpenError> {
    let machine = machine(boot_id, &Arc::default());
    EmbeddedLog::open_in(directory, options, machine, Arc::new(()))
}

pub fn open(directory: &Path) -> Arc<EmbeddedLog> {
    open_with(directory, EmbeddedOptions::default(), "boot").unwrap()
}

/// A log that seals, merges and erases all the time.
pub fn busy() -> EmbeddedOptions {
    EmbeddedOptions {
        wal_bytes_max: 20_000,
        merge_segments: 2,
        segment_bytes_max: 100_000,
        erase_within: std::time::Duration::from_millis(2),
        ..EmbeddedOptions::default()
    }
}

/// A log whose files end where their last group does, and stay as they are.
pub fn without_room() -> EmbeddedOptions {
    EmbeddedOptions { room_bytes_max: 0, ..without_upkeep() }
}

/// A log that seals and merges when the test says so.
pub fn without_upkeep() -> EmbeddedOptions {
    let wals_waiting_max = 1_000;
    EmbeddedOptions { upkeep: UpkeepBy::Stepped, wals_waiting_max, ..EmbeddedOptions::default() }
}

/// Does all that is to be done now.
pub fn keep_up(log: &EmbeddedLog) {
    while log.keep_up().unwrap() {}
}

/// How many files the log has in a directory, and their bytes.
pub fn bytes_in(directory: &Path) -> (u64, u64) {
    let files = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    let is_of_log = |name: &str| name.starts_with("wal-") || name.starts_with("seg-");
    let files = files.filter(|file| is_of_log(&file.file_name().to_string_lossy()));
    let lengths: Vec<_> = files.map(|file| file.metadata().unwrap().len()).collect();
    (lengths.len() as u64, lengths.iter().sum())
}

/// The segments of a directory, by their names.
pub fn segments(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    segments.sort();
    segments
}

pub fn wal(directory: &Path, number: u32) -> std::path::PathBuf {
    directory.join(format!("wal-{number:010}.log"))
}

/// The directory as a process that is killed now leaves it.
pub fn killed(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}
