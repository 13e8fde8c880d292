//! A disk in memory whose machine can lose its power at any operation. Of what was not synced then,
//! any sectors are on it or not, and any changes of names.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use runcast_log::disk::{Disk, DiskFile};

/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;

/// What the disk has of what was not synced when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Nothing,
    All,
    /// Something, by a seed.
    Some(u64),
}

impl Kept {
    fn next(&mut self) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Some(seed) => {
                // Steps of xorshift.
                *seed ^= *seed << 13;
                *seed ^= *seed >> 7;
                *seed ^= *seed << 17;
                *seed & 8 == 0
            }
        }
    }
}

enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Default)]
struct File {
    durable: Vec<u8>,
    now: Vec<u8>,
    unsynced: Vec<Change>,
}

impl File {
    fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.unsynced.push(change);
    }

    fn lose_power(&mut self, kept: &mut Kept) {
        for change in std::mem::take(&mut self.unsynced) {
            let Change::Write(at, bytes) = &change else {
                if kept.next() {
                    apply(&mut self.durable, &change);
                }
                continue;
            };
            let mut start = 0;
            while start < bytes.len() {
                let end = ((at + start) / SECTOR_BYTES + 1) * SECTOR_BYTES - at;
                let end = end.min(bytes.len());
                if kept.next() {
                    let sector = Change::Write(at + start, bytes[start..end].to_vec());
                    apply(&mut self.durable, &sector);
                }
                start = end;
            }
        }
        self.now.clone_from(&self.durable);
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, new) => {
            let end = at + new.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*at..end].copy_from_slice(new);
        }
        Change::Length(length) => bytes.resize(*length, 0),
    }
}

/// Names and the files that they are of.
type Names = BTreeMap<PathBuf, usize>;

#[derive(Default)]
struct State {
    files: Vec<File>,
    durable: Names,
    now: Names,
    /// Changes of names that are not synced: what each name is of then.
    unsynced: Vec<Vec<(PathBuf, Option<usize>)>>,
    operations: usize,
    /// Syncs fail, and what they were to make durable is shown and never will be.
    syncs_fail: bool,
    /// The power goes with this operation.
    fails_at: Option<usize>,
    /// This operation fails, and the power stays.
    fails_once: Option<usize>,
}

impl State {
    /// An operation that changes something.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.fails_at.is_some_and(|at| self.operations >= at) {
            return Err(io::Error::other("the power is gone"));
        }
        if self.fails_once == Some(self.operations) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk has a fault"));
        }
        Ok(())
    }

    fn rename(&mut self, changes: Vec<(PathBuf, Option<usize>)>) {
        change_names(&mut self.now, &changes);
        self.unsynced.push(changes);
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.now.get(path).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn change_names(names: &mut Names, changes: &[(PathBuf, Option<usize>)]) {
    for (path, file) in changes {
        match file {
            Some(file) => names.insert(path.clone(), *file),
            None => names.remove(path),
        };
    }
}

#[derive(Clone, Default)]
pub struct PowerDisk(Arc<Mutex<State>>);

impl PowerDisk {
    /// A disk with files that are durable.
    pub fn with_files(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Self {
        let disk = Self::default();
        let mut state = disk.0.lock().unwrap();
        for (path, bytes) in files {
            let number = state.files.len();
            state.files.push(File { durable: bytes.clone(), now: bytes, unsynced: Vec::new() });
            state.durable.insert(path.clone(), number);
            state.now.insert(path, number);
        }
        drop(state);
        disk
    }

    /// Lets the power go with an operation, counted from 1.
    pub fn fail_at(&self, operation: usize) {
        self.0.lock().unwrap().fails_at = Some(operation);
    }

    /// Lets one operation fail, counted from 1. If it is a sync, what it was to sync is lost for good,
    /// and seems to be there until the power goes.
    pub fn fail_once(&self, operation: usize) {
        self.0.lock().unwrap().fails_once = Some(operation);
    }

    /// The process has ended; the machine goes on.
    pub fn revive(&self) {
        self.0.lock().unwrap().fails_at = None;
    }

    pub fn let_syncs_fail(&self, fail: bool) {
        self.0.lock().unwrap().syncs_fail = fail;
    }

    pub fn operations(&self) -> usize {
        self.0.lock().unwrap().operations
    }

    /// The disk when the machine is on again.
    pub fn restart(&self, mut kept: Kept) {
        let mut state = self.0.lock().unwrap();
        let state = &mut *state;
        for changes in std::mem::take(&mut state.unsynced) {
            if kept.next() {
                change_names(&mut state.durable, &changes);
            }
        }
        state.files.iter_mut().for_each(|file| file.lose_power(&mut kept));
        state.now.clone_from(&state.durable);
        (state.operations, state.fails_at, state.fails_once) = (0, None, None);
    }

    /// What every file that has a name has in it.
    pub fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.0.lock().unwrap();
        let content =
            |(path, file): (&PathBuf, &usize)| (path.clone(), state.files[*file].now.clone());
        state.now.iter().map(content).collect()
    }
}

struct PowerFile {
    disk: PowerDisk,
    number: usize,
}

impl Disk for PowerDisk {
    fn create_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock().unwrap();
        let names = state.now.keys().filter_map(|path| path.strip_prefix(directory).ok());
        Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let number = self.0.lock().unwrap().find(path)?;
        Ok(Arc::new(PowerFile { disk: self.clone(), number }))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        let number = match state.find(path) {
            Ok(number) => {
                state.files[number].change(Change::Length(0));
                number
            }
            Err(_) => {
                state.files.push(File::default());
                let number = state.files.len() - 1;
                state.rename(vec![(path.to_path_buf(), Some(number))]);
                number
            }
        };
        Ok(Arc::new(PowerFile { disk: self.clone(), number }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        let number = state.find(from)?;
        state.rename(vec![(to.to_path_buf(), Some(number)), (from.to_path_buf(), None)]);
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        state.find(path)?;
        state.rename(vec![(path.to_path_buf(), None)]);
        Ok(())
    }
    fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        let state = &mut *state;
        state.unsynced.clear();
        state.durable.clone_from(&state.now);
        Ok(())
    }
}

impl DiskFile for PowerFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().unwrap().files[self.number].now.len() as u64)
    }
    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        let state = self.disk.0.lock().unwrap();
        let position = position as usize;
        let there = state.files[self.number].now.get(position..position + bytes.len());
        bytes.copy_from_slice(there.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let operated = state.operate();
        // The write that the power goes with may have been begun.
        if operated.is_ok() || state.fails_at == Some(state.operations) {
            let write = Change::Write(position as usize, bytes.to_vec());
            state.files[self.number].change(write);
        } else if state.fails_once == Some(state.operations) {
            let part = Change::Write(position as usize, bytes[..bytes.len() / 2].to_vec());
            state.files[self.number].change(part);
        }
        operated
    }
    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let operated = state.operate();
        let has_power = state.fails_at.is_none_or(|at| state.operations < at);
        let works = operated.is_ok() && !state.syncs_fail;
        let file = &mut state.files[self.number];
        if has_power {
            for change in std::mem::take(&mut file.unsynced) {
                if works {
                    apply(&mut file.durable, &change);
                }
            }
        }
        operated?;
        if works { Ok(()) } else { Err(io::Error::other("the disk did not take it")) }
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        state.operate()?;
        state.files[self.number].change(Change::Length(length as usize));
        Ok(())
    }
}
