//! A spool's directory: its segments, its lock, and the room that is kept for the end.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use runcast_event::{Draft, Timestamp};
use rustix::fs::FallocateFlags;
use serde_json::{Value, json};

use super::header::Header;
use super::mailbox::MailboxPlace;
use super::segment::{Segment, encode};

/// A segment is full when it has this many bytes; smaller when the spool's bound is small.
const SEGMENT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The smallest a segment is made for a small bound.
const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// How long a disk that has failed is left alone.
const DISK_RETRY: Duration = Duration::from_millis(250);
/// The file whose lock says that a process owns the spool.
const LOCK_FILE: &str = "lock";
/// A file that only takes room, so that there is some for a run's last events on a full disk.
const RESERVE_FILE: &str = "reserve";
/// How large it is.
const RESERVE_BYTES: u64 = 32 * 1024;
/// How many of the last events come first when there is no room for all: a gap, and the run's end.
const RESCUED_EVENTS: usize = 2;
/// How the JSON of a gap begins.
const GAP_HEAD: &[u8] = b"{\"type\":\"producer.gap\"";
/// How the name of a spool that is still being made begins; such ones are nobody's business.
pub(super) const UNFINISHED_PREFIX: &str = ".new-";

/// The part of a spool that is on disk, owned by this process.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) dir: PathBuf,
    /// In the order of their numbers.
    pub(super) segments: VecDeque<Segment>,
    /// What the segments take.
    pub(super) bytes: u64,
    /// When a segment is full.
    pub(super) segment_bytes_max: u64,
    /// After a failure: when to try again, and what it said.
    pub(super) failed: Option<(Instant, String)>,
    /// Held while this process owns the spool.
    _lock: File,
}

impl Disk {
    /// Makes a spool's directory under `root`, and owns it.
    pub(super) fn create(root: &Path, header: &Header, bytes_max: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let owner = fs::metadata(root)?.uid();
        let user = rustix::process::geteuid().as_raw();
        if owner != user && user != 0 {
            let message = format!("{} belongs to another user", root.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        let unfinished = root.join(format!("{UNFINISHED_PREFIX}{}", header.producer));
        let dir = root.join(header.producer.as_str());
        DirBuilder::new().mode(0o700).create(&unfinished)?;
        let made = File::create(unfinished.join(LOCK_FILE)).and_then(|lock| {
            lock.try_lock()?;
            header.write(&unfinished)?;
            let reserve = File::create(unfinished.join(RESERVE_FILE))?;
            rustix::fs::fallocate(&reserve, FallocateFlags::empty(), 0, RESERVE_BYTES)
                .or_else(|_| reserve.set_len(RESERVE_BYTES).map_err(drop))
                .or(Err(io::ErrorKind::StorageFull))?;
            fs::rename(&unfinished, &dir)?;
            Ok(lock)
        });
        match made {
            Ok(lock) => Ok(Self::new(dir, lock, VecDeque::new(), bytes_max)),
            Err(error) => {
                let _nothing_of_worth = fs::remove_dir_all(&unfinished);
                Err(error)
            }
        }
    }

    /// A directory that is owned by `lock`.
    pub(super) fn new(
        dir: PathBuf,
        lock: File,
        segments: VecDeque<Segment>,
        bytes_max: u64,
    ) -> Self {
        let bytes = segments.iter().map(|segment| segment.bytes).sum();
        let segment_bytes_max = (bytes_max / 8).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        Self { dir, segments, bytes, segment_bytes_max, failed: None, _lock: lock }
    }

    /// Appends events, the first of which has the number `first`; all or none.
    pub(super) fn append(&mut self, lines: &[Bytes], first: u64) -> bool {
        let mut encoded = Vec::new();
        for line in lines {
            encode(line, &mut encoded);
        }
        match self.segment_for(first).and_then(|s| s.append(&encoded, lines.len() as u64)) {
            Ok(()) => {
                self.bytes += encoded.len() as u64;
                self.failed = None;
                true
            }
            Err(error) => {
                self.failed = Some((Instant::now() + DISK_RETRY, error.to_string()));
                false
            }
        }
    }

    /// Writes as many events as there is room for, and the last ones in any case where the room that
    /// was kept for them is enough; answers how many.
    pub(super) fn rescue(&mut self, lines: &[Bytes], first: u64) -> usize {
        if self.append(lines, first) {
            return lines.len();
        }
        let (middle, end) = lines.split_at(lines.len().saturating_sub(RESCUED_EVENTS));
        let mut moved = 0;
        for part in middle.chunks(RESCUED_EVENTS) {
            if !self.append(part, first + moved as u64) {
                break;
            }
            moved += part.len();
        }
        let mut encoded = Vec::new();
        let mut end_first = first + middle.len() as u64;
        if moved < middle.len() {
            // The other numbers stay a hole: the server will miss them, and the sender count them.
            end_first -= 1;
            encode(&dropped_gap(&middle[moved..]), &mut encoded);
        }
        end.iter().for_each(|line| encode(line, &mut encoded));
        self.end_segment();
        let _makes_room = fs::remove_file(self.dir.join(RESERVE_FILE));
        let count = first + lines.len() as u64 - end_first;
        let last = Segment::create(&self.dir, end_first)
            .and_then(|mut last| last.append(&encoded, count).map(|()| last));
        if let Ok(last) = last {
            moved += end.len();
            self.segments.push_back(last);
        }
        moved
    }

    /// The segment whose next event is `first`.
    fn segment_for(&mut self, first: u64) -> io::Result<&mut Segment> {
        let fits = self.segments.back().is_some_and(|last| {
            last.is_open() && last.end() == first && last.bytes < self.segment_bytes_max
        });
        if !fits {
            self.end_segment();
            self.segments.push_back(Segment::create(&self.dir, first)?);
        }
        Ok(self.segments.back_mut().expect("a segment that fits, or a new one"))
    }

    /// Nothing more goes to the newest segment; one without events goes away.
    fn end_segment(&mut self) {
        let Some(last) = self.segments.back_mut() else { return };
        last.close();
        if last.count == 0 {
            let _empty_does_no_harm = fs::remove_file(&last.path);
            self.segments.pop_back();
        }
    }

    /// Removes the directory, which has no segments any more.
    pub(super) fn remove(&self) -> io::Result<()> {
        let _makes_room = fs::remove_file(self.dir.join(RESERVE_FILE));
        MailboxPlace::remove(&self.dir);
        Header::remove(&self.dir)?;
        fs::remove_file(self.dir.join(LOCK_FILE))?;
        fs::remove_dir(&self.dir)
    }
}

/// Whether a living process owns the spool in `dir`.
pub(super) fn is_owned(dir: &Path) -> io::Result<bool> {
    let lock = File::open(dir.join(LOCK_FILE))?;
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Locks the spool in `dir`; none when another process owns it.
pub(super) fn try_lock(dir: &Path) -> io::Result<Option<File>> {
    let lock = File::open(dir.join(LOCK_FILE))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The event in place of the last of some that are dropped. It counts itself, and what gaps among
/// them have counted.
fn dropped_gap(dropped: &[Bytes]) -> Bytes {
    let (mut events, mut bytes) = (1, 0);
    for line in dropped {
        bytes += line.len() as u64;
        if line.starts_with(GAP_HEAD)
            && let Ok(gap) = serde_json::from_slice::<Value>(line)
        {
            events += gap["data"]["lost_events"].as_u64().unwrap_or(0);
            bytes += gap["data"]["lost_bytes"].as_u64().unwrap_or(0);
        }
    }
    let reason = "the disk had no room for them when the run ended";
    let data = json!({ "lost_events": events, "lost_bytes": bytes, "reason": reason });
    Draft::new("producer.gap", data).at(Timestamp::now()).to_json().into()
}
