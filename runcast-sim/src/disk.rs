//! A disk in memory, with everything that can go wrong with one.
//!
//! Each file has two contents: what the system shows, and what is on the medium. Writes, lengths and
//! names reach the medium when they are synced. When the power goes, each sector of what was not
//! synced is there, is not, or is there in part, each apart from all others: so writes are torn and
//! change places. Names likewise: a file can be there under no name, or under the one it had before.
//!
//! A process works through a [`ProcessDisk`]. Once it is killed, nothing that it still tries has an
//! effect, and everything fails. Before each operation another part of the simulation may come in
//! between ([`Interrupt`]).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use runcast_log::disk::{Disk, DiskFile};

use crate::content::{Content, Kept};
use crate::trace::Trace;

/// `EIO`, which is what a medium that fails answers.
const EIO: i32 = 5;

/// What may come in between two operations of a process.
pub(crate) trait Interrupt: Send + Sync {
    fn interrupt(&self);
}

/// How likely the faults are, each in 10,000 operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Anything but a sync fails, a write perhaps when a part of it is done.
    pub(crate) io: u32,
    /// A sync fails. What was not synced may then be on the medium or not, whatever is synced later.
    pub(crate) sync: u32,
}

const IN: u32 = 10_000;

/// Names and the numbers of their files.
type Names = BTreeMap<String, usize>;

struct State {
    files: Vec<Content>,
    names: Names,
    durable_names: Names,
    /// Changes of names that are not synced: what each name is of then.
    unsynced_names: Vec<Vec<(String, Option<usize>)>>,
    rng: Rng,
    faults: Faults,
    /// Faults that were made so far.
    faults_made: u64,
    /// Faults of syncs of a write-ahead log, among them.
    wal_syncs_failed: u64,
    /// Bytes that files with names can have together.
    capacity: u64,
    /// How many operations until the process is killed.
    killed_in: Option<u32>,
    operations: u64,
    trace: Trace,
}

/// The disk. It outlives all processes.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    pub(crate) fn new(rng: Rng, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(State {
            files: Vec::new(),
            names: Names::new(),
            durable_names: Names::new(),
            unsynced_names: Vec::new(),
            rng,
            faults: Faults::default(),
            faults_made: 0,
            wal_syncs_failed: 0,
            capacity: u64::MAX,
            killed_in: None,
            operations: 0,
            trace,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something in the trace.
    pub(crate) fn note(&self, line: std::fmt::Arguments<'_>) {
        self.state().trace.add(line);
    }

    /// Looks at the trace.
    pub(crate) fn with_trace<T>(&self, look: impl FnOnce(&Trace) -> T) -> T {
        look(&self.state().trace)
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Faults that were made so far, a full disk's among them.
    pub(crate) fn faults_made(&self) -> u64 {
        self.state().faults_made
    }

    /// Syncs of write-ahead logs that failed so far.
    pub(crate) fn wal_syncs_failed(&self) -> u64 {
        self.state().wal_syncs_failed
    }

    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Leaves so much room beside what there is; none: all that one may want.
    pub(crate) fn set_room(&self, room: Option<u64>) {
        let mut state = self.state();
        state.capacity = room.map_or(u64::MAX, |room| state.used() + room);
    }

    /// Kills the process when it has done so many more operations.
    pub(crate) fn kill_in(&self, operations: Option<u32>) {
        self.state().killed_in = operations;
    }

    /// The power goes and comes back.
    pub(crate) fn lose_power(&self) {
        let mut state = self.state();
        let state = &mut *state;
        let mut kept = Kept::choose(&mut state.rng);
        for changes in std::mem::take(&mut state.unsynced_names) {
            if kept.is_kept(&mut state.rng) {
                change_names(&mut state.durable_names, &changes);
            }
        }
        state.names.clone_from(&state.durable_names);
        for file in &mut state.files {
            file.lose_power(&mut kept, &mut state.rng);
        }
        state.trace.add(format_args!("disk: power lost, {kept:?}"));
    }

    /// The system forgets what it has in memory of what the medium has not and never will.
    pub(crate) fn evict(&self) {
        self.state().files.iter_mut().for_each(Content::evict);
    }

    /// Names of files that begin so, in order.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        let state = self.state();
        state.names.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// Whether a file that has a name, now or after a loss of power, has these bytes.
    pub(crate) fn has_bytes(&self, bytes: &[u8]) -> Option<String> {
        let state = self.state();
        let mut named = state.names.iter().chain(&state.durable_names);
        named.find(|(_, file)| state.files[**file].has(bytes)).map(|(name, _)| name.clone())
    }

    /// Lets a byte of a file become another on the medium. None when there is none.
    pub(crate) fn rot(&self, name: &str) -> Option<Rot> {
        let mut state = self.state();
        let state = &mut *state;
        let file = *state.names.get(name)?;
        let (position, before, after) = state.files[file].rot(&mut state.rng)?;
        state.trace.add(format_args!("disk: {name} rots at {position}: {before} to {after}"));
        Some(Rot { file, position, before, after })
    }

    /// Undoes what [`Self::rot`] did, if it is still there.
    pub(crate) fn restore(&self, rot: Rot) {
        let mut state = self.state();
        state.files[rot.file].restore(rot.position, rot.after, rot.before);
    }

    /// The disk as one process has it.
    pub(crate) fn process(&self, interrupt: Arc<dyn Interrupt>) -> ProcessDisk {
        ProcessDisk { disk: self.clone(), interrupt, is_dead: Arc::default() }
    }
}

/// A byte that became another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rot {
    file: usize,
    pub(crate) position: usize,
    before: u8,
    after: u8,
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].length()).sum()
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether a file is a write-ahead log by now, whatever it was opened as.
    fn is_wal(&self, number: usize) -> bool {
        let mut names = self.names.iter().filter(|(_, file)| **file == number);
        names.any(|(name, _)| name.starts_with("wal-") && name.ends_with(".log"))
    }

    fn rename(&mut self, changes: Vec<(String, Option<usize>)>) {
        change_names(&mut self.names, &changes);
        self.unsynced_names.push(changes);
    }

    fn fault(&mut self, error: io::Error) -> io::Error {
        self.faults_made += 1;
        self.trace.add(format_args!("disk: fails with {:?}", error.kind()));
        error
    }

    fn by_chance(&mut self, chance: u32) -> bool {
        chance > 0 && self.rng.u32(..IN) < chance
    }

    /// How much of a write there is room for.
    fn fits(&mut self, file: usize, position: usize, length: usize) -> usize {
        if self.capacity == u64::MAX {
            return length;
        }
        let free = self.capacity.saturating_sub(self.used());
        let there = (self.files[file].length() as usize).saturating_sub(position);
        there.saturating_add(usize::try_from(free).unwrap_or(usize::MAX)).min(length)
    }

    fn write(&mut self, file: usize, position: usize, bytes: &[u8]) -> io::Result<()> {
        let fits = self.fits(file, position, bytes.len());
        if fits < bytes.len() {
            self.files[file].write(position, &bytes[..fits]);
            return Err(self.fault(io::ErrorKind::StorageFull.into()));
        }
        if self.by_chance(self.faults.io) {
            // Not all of it, or nothing would have failed.
            let part = self.rng.usize(..=bytes.len().saturating_sub(1));
            self.files[file].write(position, &bytes[..part]);
            return Err(self.fault(io::Error::from_raw_os_error(EIO)));
        }
        self.files[file].write(position, bytes);
        Ok(())
    }

    /// The process dies within this write: a part of it is done.
    fn write_and_die(&mut self, file: usize, position: usize, bytes: &[u8]) {
        let part = self.rng.usize(..=bytes.len());
        self.files[file].write(position, &bytes[..part]);
    }
}

fn change_names(names: &mut Names, changes: &[(String, Option<usize>)]) {
    for (name, file) in changes {
        match file {
            Some(file) => names.insert(name.clone(), *file),
            None => names.remove(name),
        };
    }
}

/// The disk as one process has it, until it dies.
#[derive(Clone)]
pub(crate) struct ProcessDisk {
    disk: SimDisk,
    interrupt: Arc<dyn Interrupt>,
    is_dead: Arc<AtomicBool>,
}

/// Whether a process lives to see the end of an operation.
enum Life<'a> {
    Lives(MutexGuard<'a, State>),
    /// It dies with this operation.
    Dies(MutexGuard<'a, State>),
    Dead,
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

impl ProcessDisk {
    pub(crate) fn kill(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
        self.disk.state().killed_in = None;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    fn begin(&self, what: std::fmt::Arguments<'_>) -> Life<'_> {
        if self.is_dead() {
            return Life::Dead;
        }
        self.interrupt.interrupt();
        if self.is_dead() {
            return Life::Dead;
        }
        let mut state = self.disk.state();
        state.operations += 1;
        state.trace.add(what);
        match &mut state.killed_in {
            Some(0) => {
                state.killed_in = None;
                self.is_dead.store(true, Ordering::SeqCst);
                state.trace.add(format_args!("disk: the process is killed here"));
                return Life::Dies(state);
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Life::Lives(state)
    }

    /// An operation that happens or does not.
    fn operate(&self, what: std::fmt::Arguments<'_>) -> io::Result<MutexGuard<'_, State>> {
        let Life::Lives(mut state) = self.begin(what) else { return Err(dead()) };
        let chance = state.faults.io;
        if state.by_chance(chance) {
            return Err(state.fault(io::Error::from_raw_os_error(EIO)));
        }
        Ok(state)
    }

    fn file(&self, number: usize, name: &str) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), number, name: name.to_owned() })
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Disk for ProcessDisk {
    fn create_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn names(&self, _directory: &Path) -> io::Result<Vec<String>> {
        let mut state = self.operate(format_args!("list"))?;
        let mut names: Vec<String> = state.names.keys().cloned().collect();
        state.rng.shuffle(&mut names);
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let name = name_of(path);
        let number = self.operate(format_args!("open {name}"))?.find(&name)?;
        Ok(self.file(number, &name))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let name = name_of(path);
        let mut state = self.operate(format_args!("create {name}"))?;
        let number = match state.find(&name) {
            Ok(number) => {
                state.files[number].truncate(0);
                number
            }
            Err(_) => {
                let number = state.files.len();
                state.files.push(Content::default());
                state.rename(vec![(name.clone(), Some(number))]);
                number
            }
        };
        drop(state);
        Ok(self.file(number, &name))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (name_of(from), name_of(to));
        let mut state = self.operate(format_args!("rename {from} to {to}"))?;
        let number = state.find(&from)?;
        state.rename(vec![(to, Some(number)), (from, None)]);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let name = name_of(path);
        let mut state = self.operate(format_args!("remove {name}"))?;
        state.find(&name)?;
        state.rename(vec![(name, None)]);
        Ok(())
    }

    fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        let Life::Lives(mut state) = self.begin(format_args!("sync names")) else {
            return Err(dead());
        };
        let state = &mut *state;
        let chance = state.faults.sync;
        if state.by_chance(chance) {
            return Err(state.fault(io::Error::from_raw_os_error(EIO)));
        }
        state.unsynced_names.clear();
        state.durable_names.clone_from(&state.names);
        Ok(())
    }
}

struct SimFile {
    disk: ProcessDisk,
    number: usize,
    /// The name that it was opened by, for the trace.
    name: String,
}

impl SimFile {
    fn read(&self, state: &State, bytes: &mut [u8], position: u64) -> io::Result<()> {
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        if state.files[self.number].read(bytes, position) {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        let state = self.disk.operate(format_args!("length of {}", self.name))?;
        Ok(state.files[self.number].length())
    }

    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        let length = bytes.len();
        let state = self.disk.operate(format_args!("read {} {position} {length}", self.name))?;
        self.read(&state, bytes, position)
    }

    fn read_cached_at(&self, bytes: &mut [u8], position: u64) -> bool {
        let length = bytes.len();
        let what = format_args!("read cached {} {position} {length}", self.name);
        let Life::Lives(state) = self.disk.begin(what) else { return false };
        self.read(&state, bytes, position).is_ok()
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let length = bytes.len();
        let at = usize::try_from(position).unwrap_or(usize::MAX);
        match self.disk.begin(format_args!("write {} {position} {length}", self.name)) {
            Life::Lives(mut state) => state.write(self.number, at, bytes),
            Life::Dies(mut state) => {
                state.write_and_die(self.number, at, bytes);
                Err(dead())
            }
            Life::Dead => Err(dead()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let Life::Lives(mut state) = self.disk.begin(format_args!("sync {}", self.name)) else {
            return Err(dead());
        };
        let state = &mut *state;
        let chance = state.faults.sync;
        if state.by_chance(chance) {
            state.wal_syncs_failed += u64::from(state.is_wal(self.number));
            let keeps = state.rng.bool();
            state.files[self.number].fail_to_sync(keeps, &mut state.rng);
            return Err(state.fault(io::Error::from_raw_os_error(EIO)));
        }
        state.files[self.number].sync();
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.operate(format_args!("truncate {} {length}", self.name))?;
        state.files[self.number].truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    }
}
