//! One producer's spool: numbers events and keeps them until they are acknowledged.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use runcast_event::{Draft, Timestamp};
use serde_json::json;

use super::disk::{Disk, try_lock};
use super::header::Header;
use super::mailbox::MailboxPlace;
use super::segment::{Segment, encoded_bytes};

/// How much a spool may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpoolLimits {
    /// Bytes on disk.
    pub(crate) disk_bytes_max: u64,
    /// Bytes of events in memory, for what the disk does not take.
    pub(crate) memory_bytes_max: usize,
}

/// Events that could not be kept, since the last gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) reason: String,
    since: Timestamp,
}

/// How far a spool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// The number of the next event.
    pub(crate) next: u64,
    /// All events below are acknowledged.
    pub(crate) acknowledged: u64,
    /// Events lost in all, each told of by a gap.
    pub(crate) lost: u64,
}

/// A spool. Shared by who appends and who sends.
#[derive(Debug)]
pub(crate) struct Spool {
    state: Mutex<State>,
    limits: SpoolLimits,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) header: Header,
    pub(super) disk: Option<Disk>,
    /// Events that the disk did not take; their numbers follow on the disk's last.
    pub(super) memory: VecDeque<Bytes>,
    memory_bytes: usize,
    next: u64,
    acknowledged: u64,
    lost: Option<Lost>,
    lost_total: u64,
}

impl Spool {
    /// Makes a spool under `root`, or one in memory when the disk cannot be used: then with why.
    pub(crate) fn create(
        root: &Path,
        header: Header,
        limits: SpoolLimits,
    ) -> (Self, Option<io::Error>) {
        match Disk::create(root, &header, limits.disk_bytes_max) {
            Ok(disk) => (Self::with(header, Some(disk), limits), None),
            Err(error) => (Self::with(header, None, limits), Some(error)),
        }
    }

    /// Takes over the spool that another process has left in `dir`. None while one owns it.
    pub(crate) fn take_over(dir: &Path, limits: SpoolLimits) -> io::Result<Option<Self>> {
        let Some(lock) = try_lock(dir)? else { return Ok(None) };
        let header = Header::read(dir)?;
        let segments = VecDeque::from(Segment::find_all(dir)?);
        let first = segments.front().map_or(0, |segment| segment.first);
        let next = segments.back().map_or(0, Segment::end).max(header.base);
        let disk = Disk::new(dir.to_owned(), lock, segments, limits.disk_bytes_max);
        let spool = Self::with(header, Some(disk), limits);
        {
            let mut state = spool.lock();
            state.next = next;
            // Of what is here, some may have been acknowledged: the server will know.
            state.acknowledged = first;
        }
        Ok(Some(spool))
    }

    fn with(header: Header, disk: Option<Disk>, limits: SpoolLimits) -> Self {
        let state = State {
            header,
            disk,
            memory: VecDeque::new(),
            memory_bytes: 0,
            next: 0,
            acknowledged: 0,
            lost: None,
            lost_total: 0,
        };
        Self { state: Mutex::new(state), limits }
    }

    /// Appends events, each one line of JSON. What cannot be kept is counted and told of later.
    pub(crate) fn append(&self, lines: &[Bytes], now: Timestamp) {
        let mut state = self.lock();
        if let Some(lost) = state.lost.clone() {
            if !state.has_ample_room(self.limits) {
                state.lose(lines, &lost.reason, now);
                return;
            }
            let gap = gap_line(&lost);
            if !state.keep(std::slice::from_ref(&gap), self.limits) {
                state.lose(lines, &lost.reason, now);
                return;
            }
            state.lost = None;
        }
        if state.keep(lines, self.limits) {
            return;
        }
        // The batch as a whole has no room; its beginning may.
        for (at, line) in lines.iter().enumerate() {
            if !state.keep(std::slice::from_ref(line), self.limits) {
                let reason = state.why_full();
                state.lose(&lines[at..], &reason, now);
                return;
            }
        }
    }

    /// Appends the event that must not be lost, the run's end, whatever the bounds say; and in
    /// front of it the gap, if events were lost.
    pub(crate) fn append_last(&self, line: Bytes) {
        let unbounded = SpoolLimits { disk_bytes_max: u64::MAX, memory_bytes_max: usize::MAX };
        let mut state = self.lock();
        let gap = state.lost.take().map(|lost| gap_line(&lost));
        let lines: Vec<Bytes> = gap.into_iter().chain([line]).collect();
        state.keep(&lines, unbounded);
    }

    /// Counts events that were lost before they came here.
    pub(crate) fn lose(&self, events: u64, bytes: u64, reason: &str, now: Timestamp) {
        self.lock().count_lost(events, bytes, reason, now);
    }

    /// Keeps the place in the run's mailbox, where there is a directory to keep it in.
    ///
    /// # Errors
    /// When it cannot be written: the place that was kept before stays.
    pub(crate) fn keep_place(&self, place: &MailboxPlace) -> io::Result<()> {
        let dir = self.lock().disk.as_ref().map(|disk| disk.dir.clone());
        dir.map_or(Ok(()), |dir| place.write(&dir))
    }

    /// Everything below `number` is with the server.
    pub(crate) fn acknowledge(&self, number: u64) {
        let mut state = self.lock();
        state.acknowledged = state.acknowledged.max(number);
        state.forget_acknowledged(false);
    }

    /// Begins a new epoch of the producer at event `number`, because the server has lost `lost`
    /// events in front of it.
    ///
    /// # Errors
    /// When the header cannot be written. The epoch has begun nevertheless.
    pub(crate) fn begin_epoch(&self, number: u64, lost: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.header.epoch += 1;
        state.header.lost_before = lost;
        // With a gap as sequence 0, the event itself is sequence 1.
        state.header.base = if lost > 0 { number.saturating_sub(1) } else { number };
        state.acknowledged = state.acknowledged.max(number);
        let dir = state.disk.as_ref().map(|disk| disk.dir.clone());
        dir.map_or(Ok(()), |dir| state.header.write(&dir))
    }

    /// Begins an epoch behind `fence`, the newest that the server knows, at event `number`.
    ///
    /// # Errors
    /// When the header cannot be written. The epoch has begun nevertheless.
    pub(crate) fn claim(&self, fence: u64, number: u64) -> io::Result<()> {
        self.lock().header.epoch = fence;
        self.begin_epoch(number, 0)
    }

    /// The place in the run's mailbox that was kept with it.
    pub(crate) fn place(&self) -> Option<MailboxPlace> {
        let dir = self.lock().disk.as_ref().map(|disk| disk.dir.clone());
        MailboxPlace::read(&dir?)
    }

    /// Gives up everything that is not acknowledged: the server will never take it.
    pub(crate) fn discard(&self) {
        let mut state = self.lock();
        state.acknowledged = state.next;
        state.lost = None;
        state.forget_acknowledged(true);
    }

    /// Moves what is in memory to the disk, beyond the disk's bound if need be, for a later process
    /// to send; removes the spool when nothing is left to send. Where the disk has no room for all,
    /// the last events, which tell of the run's end, go before those in the middle.
    ///
    /// Answers the spool's directory, when it stays, and how many events could not be moved.
    pub(crate) fn close(&self) -> (Option<PathBuf>, u64) {
        let mut state = self.lock();
        state.forget_acknowledged(true);
        let memory_first = state.memory_first();
        let memory = Vec::from(std::mem::take(&mut state.memory));
        let Some(disk) = &mut state.disk else { return (None, memory.len() as u64) };
        let moved = if memory.is_empty() { 0 } else { disk.rescue(&memory, memory_first) };
        let unsaved = (memory.len() - moved) as u64;
        if disk.segments.is_empty() {
            let _the_rest_is_empty = disk.remove();
            return (None, unsaved);
        }
        (Some(disk.dir.clone()), unsaved)
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Progress {
        let state = self.lock();
        Progress { next: state.next, acknowledged: state.acknowledged, lost: state.lost_total }
    }

    /// The header as it is now.
    pub(crate) fn header(&self) -> Header {
        self.lock().header.clone()
    }

    /// The first number that is still here.
    pub(crate) fn first_kept(&self) -> u64 {
        let state = self.lock();
        let on_disk = state.disk.as_ref().and_then(|disk| disk.segments.front());
        on_disk.filter(|segment| segment.count > 0).map_or(state.memory_first(), |s| s.first)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves whole numbers and whole lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The number of the first event in memory, or the next number.
    pub(super) fn memory_first(&self) -> u64 {
        self.next - self.memory.len() as u64
    }

    /// Keeps events on disk or in memory, all or none.
    fn keep(&mut self, lines: &[Bytes], limits: SpoolLimits) -> bool {
        let memory_first = self.memory_first();
        let count = lines.len() as u64;
        if self.move_memory_to_disk(memory_first, limits.disk_bytes_max)
            && self.write_to_disk(lines, self.next, limits.disk_bytes_max)
        {
            self.next += count;
            return true;
        }
        let bytes: usize = lines.iter().map(Bytes::len).sum();
        if self.memory_bytes + bytes > limits.memory_bytes_max {
            return false;
        }
        self.memory_bytes += bytes;
        self.memory.extend(lines.iter().cloned());
        self.next += count;
        true
    }

    /// Whether the memory is empty, after moving it to the disk if that takes it.
    fn move_memory_to_disk(&mut self, first: u64, disk_bytes_max: u64) -> bool {
        if self.memory.is_empty() {
            return true;
        }
        let memory = std::mem::take(&mut self.memory);
        let lines = Vec::from(memory);
        let moved = self.write_to_disk(&lines, first, disk_bytes_max);
        if moved {
            self.memory_bytes = 0;
        } else {
            self.memory = lines.into();
        }
        moved
    }

    fn write_to_disk(&mut self, lines: &[Bytes], first: u64, disk_bytes_max: u64) -> bool {
        let bytes: u64 = lines.iter().map(|line| encoded_bytes(line)).sum();
        let Some(disk) = &self.disk else { return false };
        if disk.failed.as_ref().is_some_and(|(until, _)| Instant::now() < *until) {
            return false;
        }
        if disk.bytes + bytes > disk_bytes_max {
            self.forget_acknowledged(true);
        }
        let Some(disk) = &mut self.disk else { return false };
        disk.bytes + bytes <= disk_bytes_max && disk.append(lines, first)
    }

    /// Room enough that after a loss it is worth to go on, not for one event only.
    fn has_ample_room(&self, limits: SpoolLimits) -> bool {
        let in_memory = self.memory_bytes <= limits.memory_bytes_max / 2;
        let on_disk = self.disk.as_ref().is_some_and(|disk| {
            let retry = disk.failed.as_ref().is_none_or(|(until, _)| Instant::now() >= *until);
            let needed = disk.bytes + self.memory_bytes as u64 + disk.segment_bytes_max;
            retry && needed <= limits.disk_bytes_max
        });
        in_memory || on_disk
    }

    fn why_full(&self) -> String {
        match &self.disk {
            None => "no spool on disk, and its place in memory is full".to_owned(),
            Some(Disk { failed: Some((_, reason)), .. }) => {
                format!("the spool cannot be written: {reason}")
            }
            Some(disk) => format!("the spool is full, with {} bytes", disk.bytes),
        }
    }

    fn lose(&mut self, lines: &[Bytes], reason: &str, now: Timestamp) {
        let bytes = lines.iter().map(|line| line.len() as u64).sum();
        self.count_lost(lines.len() as u64, bytes, reason, now);
    }

    fn count_lost(&mut self, events: u64, bytes: u64, reason: &str, now: Timestamp) {
        let lost = self.lost.get_or_insert_with(|| Lost {
            events: 0,
            bytes: 0,
            reason: reason.to_owned(),
            since: now,
        });
        lost.events += events;
        lost.bytes += bytes;
        self.lost_total += events;
    }

    /// Deletes segments whose events are all acknowledged; the one that is being written only if
    /// `all`, or when it is full.
    fn forget_acknowledged(&mut self, all: bool) {
        while !self.memory.is_empty() && self.memory_first() < self.acknowledged {
            let line = self.memory.pop_front();
            self.memory_bytes -= line.map_or(0, |line| line.len());
        }
        let Some(disk) = &mut self.disk else { return };
        while let Some(oldest) = disk.segments.front() {
            let is_written = disk.segments.len() == 1
                && oldest.is_open()
                && oldest.bytes < disk.segment_bytes_max;
            if oldest.end() > self.acknowledged || (is_written && !all) {
                return;
            }
            if let Err(error) = fs::remove_file(&oldest.path)
                && error.kind() != io::ErrorKind::NotFound
            {
                return;
            }
            disk.bytes -= oldest.bytes;
            disk.segments.pop_front();
        }
    }
}

/// The event that stands for lost ones.
fn gap_line(lost: &Lost) -> Bytes {
    let data = json!({
        "lost_events": lost.events,
        "lost_bytes": lost.bytes,
        "reason": lost.reason,
    });
    Draft::new("producer.gap", data).at(lost.since).to_json().into()
}
