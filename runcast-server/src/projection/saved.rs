//! The run states on disk, so that a start does not fold every run again.
//!
//! Nothing is lost with the file: a state that is missing, damaged, or of another history than the
//! stream is folded from the log. Version 1, all numbers little-endian:
//!
//! | bytes | |
//! |---|---|
//! | 8 | `RUNCASTS` |
//! | 4 | version |
//! | 8 | the log whose runs these are |
//! | | for each run, in order of creation: 4 bytes length, 4 bytes CRC-32C of the rest, and the rest: 1 byte for where its steps stand, and the state as [`RunState::encode`] has it |
//!
//! The file is written under another name, synced and renamed.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runcast_event::RunId;
use runcast_log::StreamStat;
use runcast_run::RunState;

use super::index::{Entry, Index, Place};
use super::lock;

const MAGIC: &[u8; 8] = b"RUNCASTS";
const VERSION: u32 = 1;
/// States that are encoded or put in at a time, while nobody else can look at them.
const STEP: usize = 250;
/// Bytes that are read at a time, to be decoded by one of the processors.
const BLOCK_BYTES: u64 = 1024 * 1024;
/// What is before each state: its length and its checksum.
const HEAD_BYTES: usize = 8;
/// What a state is at most: many times what one may keep.
const STATE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The file is written anew when so many runs have changed, and one of so many.
const CHANGED_MIN: usize = 1_000;
const CHANGED_SHARE: usize = 10;

/// Where the states are saved, and of which log.
#[derive(Debug, Clone)]
pub(crate) struct SavedStates {
    pub(crate) file: PathBuf,
    pub(crate) log: u64,
    /// How often it is looked whether enough has changed.
    pub(crate) every: Duration,
}

impl SavedStates {
    /// Puts the saved states into an index that is empty, with room for so many. Blocks.
    pub(super) fn load(&self, index: &Mutex<Index>, runs: usize) {
        lock(index).entries.reserve(runs);
        match self.read(index) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let file = self.file.display();
                tracing::warn!(%file, %error, "saved run states cannot be used; they are read from the log");
            }
        }
    }

    fn read(&self, index: &Mutex<Index>) -> io::Result<()> {
        let mut file = File::open(&self.file)?;
        let mut header = [0; 20];
        file.read_exact(&mut header)?;
        if header != self.header() {
            return Err(invalid("another version, or another log"));
        }
        let blocks = Mutex::new(Blocks { file, rest: Vec::new() });
        std::thread::scope(|scope| {
            let put_in = || scope.spawn(|| put_in_blocks(&blocks, index));
            let workers: Vec<_> = std::iter::repeat_with(put_in).take(processors()).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().map_err(|_| invalid("a state cannot be read"))?
            })
        })
    }

    fn header(&self) -> [u8; 20] {
        let mut header = [0; 20];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..].copy_from_slice(&self.log.to_le_bytes());
        header
    }

    /// Writes the states as they are, if enough has changed since they were written. Blocks.
    pub(super) fn save_if_due(&self, index: &Mutex<Index>) {
        let changed = {
            let mut index = lock(index);
            let due = CHANGED_MIN + index.len() / CHANGED_SHARE;
            if index.changed_since_saved < due {
                return;
            }
            std::mem::take(&mut index.changed_since_saved)
        };
        if let Err(error) = self.write(index) {
            let file = self.file.display();
            tracing::warn!(%file, %error, "run states cannot be saved; the next start takes longer");
            lock(index).changed_since_saved += changed;
        }
    }

    fn write(&self, index: &Mutex<Index>) -> io::Result<()> {
        let unfinished = self.file.with_added_extension("new");
        let written = self.write_to(&unfinished, index);
        if written.is_err() {
            // The room it takes may be what is missing.
            let _gone = std::fs::remove_file(&unfinished);
        }
        written?;
        std::fs::rename(&unfinished, &self.file)?;
        File::open(self.file.parent().unwrap_or(Path::new(".")))?.sync_all()
    }

    fn write_to(&self, path: &Path, index: &Mutex<Index>) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&self.header())?;
        let mut after: Option<Place> = None;
        loop {
            let (states, last) = lock(index).encode_some(after.as_ref(), STEP);
            let Some(last) = last else { break };
            after = Some(last);
            for state in states {
                let length =
                    u32::try_from(state.len()).map_err(|_| invalid("a state is too large"))?;
                file.write_all(&length.to_le_bytes())?;
                file.write_all(&crc32c::crc32c(&state).to_le_bytes())?;
                file.write_all(&state)?;
            }
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    /// Saves the states again and again.
    pub(super) async fn keep(self, index: Arc<Mutex<Index>>) {
        loop {
            tokio::time::sleep(self.every).await;
            self.clone().save_beside(Arc::clone(&index)).await;
        }
    }

    /// As [`Self::save_if_due`], without holding anybody up.
    pub(super) async fn save_beside(self, index: Arc<Mutex<Index>>) {
        // A panic was printed when it happened; the next time may go better.
        let _printed = tokio::task::spawn_blocking(move || self.save_if_due(&index)).await;
    }
}

impl Index {
    /// Puts in a state as it was saved, in doubt until it is confirmed.
    pub(super) fn put_saved(&mut self, steps: u8, state: RunState) {
        let entry = Entry::new(state, self.listening.clock.now());
        self.put(Entry { steps, is_doubtful: AtomicBool::new(true), ..entry });
    }

    /// Takes note of the runs that the log has as they were saved, with all processors. Gives those of
    /// which more is to be noted, by [`Self::confirm`].
    pub(super) fn confirm_all(
        &self,
        streams: Vec<(RunId, StreamStat)>,
    ) -> Vec<(RunId, StreamStat)> {
        let share = streams.len().div_ceil(processors()).max(1);
        std::thread::scope(|scope| {
            let confirm = |streams: &[(RunId, StreamStat)]| {
                let others = streams.iter().filter(|(run, stat)| !self.is_as_saved(run, stat));
                others.cloned().collect::<Vec<_>>()
            };
            let shares = streams.chunks(share);
            let workers: Vec<_> =
                shares.map(|streams| scope.spawn(move || confirm(streams))).collect();
            let others = workers.into_iter().map(|worker| worker.join());
            others.flat_map(|others| others.expect("to look at a state does not panic")).collect()
        })
    }

    fn is_as_saved(&self, run: &RunId, stat: &StreamStat) -> bool {
        let entry = self.entries.get(run);
        let entry = entry.filter(|entry| entry.first == stat.first && entry.is_at(stat));
        entry.is_some_and(|entry| {
            entry.is_doubtful.store(false, Ordering::Relaxed);
            true
        })
    }

    /// Takes note of how the log has a run. False when its state has to be folded further, or anew.
    pub(super) fn confirm(&mut self, run: &RunId, stat: &StreamStat) -> bool {
        let Some(entry) = self.entries.get_mut(run) else { return false };
        *entry.is_doubtful.get_mut() = false;
        let is_trimmed = std::mem::replace(&mut entry.first, stat.first) != stat.first;
        let is_folded = entry.is_at(stat);
        if is_trimmed {
            self.note_retention(run);
        }
        is_folded
    }

    /// Removes the runs that were saved and that the log does not have.
    pub(super) fn remove_doubtful(&mut self) {
        let doubtful =
            self.entries.values().filter(|entry| entry.is_doubtful.load(Ordering::Relaxed));
        let runs: Vec<_> = doubtful.map(|entry| entry.state.run().clone()).collect();
        runs.iter().for_each(|run| self.remove(run));
        self.complete_agenda();
    }

    /// The records of so many runs behind `after`, to be saved, and where the last of them is.
    pub(super) fn encode_some(
        &self,
        after: Option<&Place>,
        count: usize,
    ) -> (Vec<Vec<u8>>, Option<Place>) {
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let places = self.order.range::<Place, _>((behind, Bound::Unbounded)).take(count);
        let mut last = None;
        let mut records = Vec::new();
        for place in places {
            let entry = self.entries.get(&place.run).expect("a place in the order has an entry");
            if entry.failure.is_none() {
                let mut record = vec![entry.steps];
                record.extend(entry.state.encode());
                records.push(record);
            }
            last = Some(place.clone());
        }
        (records, last)
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The file's states, some at a time.
struct Blocks {
    file: File,
    /// The beginning of a state whose end was not read yet.
    rest: Vec<u8>,
}

impl Blocks {
    /// The next states, each whole and with its head; none at the file's end.
    fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut block = std::mem::take(&mut self.rest);
        loop {
            let read = (&mut self.file).take(BLOCK_BYTES).read_to_end(&mut block)?;
            let whole = whole_states(&block)?;
            if whole > 0 {
                self.rest = block.split_off(whole);
                return Ok(block);
            }
            if read == 0 {
                let is_end = block.is_empty();
                return if is_end { Ok(block) } else { Err(invalid("the last state is cut off")) };
            }
        }
    }
}

/// Bytes of the states whose ends are in a block.
fn whole_states(block: &[u8]) -> io::Result<usize> {
    let mut at = 0;
    while let Some((length, _)) = head(&block[at..])? {
        let end = at + HEAD_BYTES + length;
        if end > block.len() {
            break;
        }
        at = end;
    }
    Ok(at)
}

/// The length and the checksum of the state that begins here.
fn head(bytes: &[u8]) -> io::Result<Option<(usize, u32)>> {
    let Some(&[l0, l1, l2, l3, c0, c1, c2, c3]) = bytes.first_chunk() else { return Ok(None) };
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > STATE_BYTES_MAX {
        return Err(invalid("a state is longer than any can be"));
    }
    Ok(Some((length, u32::from_le_bytes([c0, c1, c2, c3]))))
}

/// Decodes blocks and puts their states in, until there are no more.
fn put_in_blocks(blocks: &Mutex<Blocks>, index: &Mutex<Index>) -> io::Result<()> {
    loop {
        let block = blocks.lock().unwrap_or_else(PoisonError::into_inner).next()?;
        if block.is_empty() {
            return Ok(());
        }
        let mut states = decode(&block)?.into_iter();
        while states.len() > 0 {
            let mut index = lock(index);
            states.by_ref().take(STEP).for_each(|(steps, state)| index.put_saved(steps, state));
        }
    }
}

fn decode(mut block: &[u8]) -> io::Result<Vec<(u8, RunState)>> {
    let mut states = Vec::new();
    while let Some((length, checksum)) = head(block)? {
        let (record, rest) = block[HEAD_BYTES..].split_at(length);
        states.push(decode_one(checksum, record)?);
        block = rest;
    }
    Ok(states)
}

fn decode_one(checksum: u32, record: &[u8]) -> io::Result<(u8, RunState)> {
    if crc32c::crc32c(record) != checksum {
        return Err(invalid("a state is damaged"));
    }
    let (steps, state) = record.split_first().ok_or_else(|| invalid("a state is empty"))?;
    let state = RunState::decode(state).map_err(|error| invalid(&error.to_string()))?;
    Ok((*steps, state))
}

#[cfg(test)]
mod tests;
