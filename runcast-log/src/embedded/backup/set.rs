//! Making a set: a data directory in the target that is one moment of the log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::BackupError;
use super::copy::{PART_SUFFIX, copy, is_copy_of, read_if_there, sync_names, write};
use super::note::{self, Note};
use crate::embedded::directory::{self, NEW_SUFFIX, Names, path_of, segment_path};
use crate::embedded::disk::{Disk as _, SystemDisk};
use crate::embedded::error::OpenError;
use crate::embedded::lock::DirectoryLock;
use crate::embedded::manifest::{self, Manifest};
use crate::embedded::open_files::OpenFiles;
use crate::embedded::options::{EmbeddedOptions, Surroundings};
use crate::embedded::read_only::ReadOnlyDisk;
use crate::embedded::recovery::{Recovered, read_manifest, recover};
use crate::embedded::scan::{Found, Scan};
use crate::embedded::segment;
use crate::embedded::verify::{StreamFault, Verified, Visitor, verify};
use crate::embedded::wal;
use crate::embedded::wal::header::{self, FileHeader};

/// How often it begins again because the log's files changed under it.
const TRIES_MAX: usize = 100;
/// How often a group that is being written is read again before it counts as damaged.
const SCANS_MAX: usize = 100;

/// How a backup is made.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// The set's name, and what its note says of when it was made. Names sort by time.
    pub name: String,
    /// So many sets are kept, with the new one; at least 1.
    pub keep: usize,
    /// Read everything back, and not only what was copied.
    pub verify_all: bool,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackedUp {
    /// The set.
    pub set: PathBuf,
    /// Runs in it.
    pub runs: u64,
    /// Events in it.
    pub events: u64,
    /// Files that were copied, and their bytes.
    pub files_copied: u64,
    /// Bytes of them.
    pub bytes_copied: u64,
    /// Files that an earlier set had already.
    pub files_linked: u64,
    /// What of the log could not be read: it is in no backup from now on. With any, earlier sets are
    /// all kept.
    pub damaged: Vec<String>,
    /// Earlier sets that were removed.
    pub removed: Vec<PathBuf>,
}

/// Backs a data directory up, also while it is served. `copied` is told of bytes as they are copied.
///
/// # Errors
/// Why there is no new set. Those that the target has are as they were.
pub fn back_up(
    data: &Path,
    target: &Path,
    options: &BackupOptions,
    copied: &mut dyn FnMut(u64),
) -> Result<BackedUp, BackupError> {
    let made = SystemDisk.create_directory(target);
    made.map_err(BackupError::io("make the directory", target))?;
    check_apart(data, target)?;
    directory::check_restored(&SystemDisk, data)?;
    let _lock = DirectoryLock::take(target)?;
    let sets = sets(target)?;
    let unfinished = target.join(format!("{}{NEW_SUFFIX}", options.name));
    let made = SystemDisk.create_directory(&unfinished);
    made.map_err(BackupError::io("make the directory", &unfinished))?;
    // What a backup copied that did not come to its end is good: each file got its name last.
    let known: Vec<PathBuf> = sets.whole.iter().chain(&sets.unfinished).cloned().collect();
    let mut making = Making { data, set: &unfinished, known, done: BTreeMap::new(), copied };
    let made = making.make(options);
    let making = making.done;
    let (note, damaged) = match made {
        Ok(made) => made,
        Err(error) => {
            // The next backup removes what stays.
            let _stays = std::fs::remove_dir_all(&unfinished);
            return Err(error);
        }
    };
    let set = target.join(&options.name);
    std::fs::rename(&unfinished, &set).map_err(BackupError::io("rename", &unfinished))?;
    sync_names(target)?;
    for left in sets.unfinished.iter().filter(|left| **left != unfinished) {
        remove(left)?;
    }
    let keep = if damaged.is_empty() { options.keep.max(1) - 1 } else { sets.whole.len() };
    let removed: Vec<PathBuf> = sets.whole.iter().rev().skip(keep).cloned().collect();
    for old in &removed {
        remove(old)?;
    }
    let copied = making.values().filter(|done| done.is_copied);
    Ok(BackedUp {
        set,
        runs: note.runs,
        events: note.events,
        files_copied: copied.clone().count() as u64,
        bytes_copied: copied.map(|done| done.length).sum(),
        files_linked: making.values().filter(|done| !done.is_copied).count() as u64,
        damaged,
        removed,
    })
}

/// The sets of a target, the oldest first.
pub(super) struct Sets {
    pub(super) whole: Vec<PathBuf>,
    unfinished: Vec<PathBuf>,
}

pub(super) fn sets(target: &Path) -> Result<Sets, BackupError> {
    let (mut whole, mut unfinished) = (Vec::new(), Vec::new());
    let names = SystemDisk.names(target).map_err(BackupError::io("list", target))?;
    for name in names {
        let path = target.join(&name);
        if !path.is_dir() {
            continue;
        }
        if name.ends_with(NEW_SUFFIX) {
            unfinished.push(path);
        } else if path.join(note::NAME).exists() {
            whole.push(path);
        }
    }
    whole.sort();
    Ok(Sets { whole, unfinished })
}

/// Removes a set. Its note goes first, so that half of it is none.
fn remove(set: &Path) -> Result<(), BackupError> {
    match std::fs::remove_file(set.join(note::NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(BackupError::io("remove", set)(error));
        }
        _ => {}
    }
    std::fs::remove_dir_all(set).map_err(BackupError::io("remove", set))
}

fn check_apart(data: &Path, target: &Path) -> Result<(), BackupError> {
    let whole = |path: &Path| path.canonicalize().map_err(BackupError::io("find", path));
    let (data, target) = (whole(data)?, whole(target)?);
    if data.starts_with(&target) || target.starts_with(&data) {
        return Err(BackupError::Within { target });
    }
    Ok(())
}

/// A file of the set.
#[derive(Debug, Clone, Copy)]
struct Done {
    length: u64,
    is_copied: bool,
}

/// A write-ahead log that is open: it can be read when it has no name any more.
struct OpenWal {
    number: u32,
    file: File,
}

struct Making<'a> {
    data: &'a Path,
    set: &'a Path,
    /// Directories that may have a segment already.
    known: Vec<PathBuf>,
    done: BTreeMap<String, Done>,
    copied: &'a mut dyn FnMut(u64),
}

impl Making<'_> {
    fn make(&mut self, options: &BackupOptions) -> Result<(Note, Vec<String>), BackupError> {
        let mut tries = 0;
        while !self.copy_files()? {
            tries += 1;
            if tries == TRIES_MAX {
                return Err(BackupError::Changing { path: self.data.to_path_buf(), tries });
            }
        }
        sync_names(self.set)?;
        let (recovered, verified, damaged) = self.read_back(options.verify_all)?;
        let note = Note {
            log_id: recovered.manifest.log_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            taken: options.name.clone(),
            runs: verified.streams,
            events: verified.events,
            last_group: recovered.next_group - 1,
            files: self.done.iter().map(|(name, done)| (name.clone(), done.length)).collect(),
        };
        self.check_log(&note)?;
        write(&self.set.join(note::NAME), note.encode().as_bytes())?;
        sync_names(self.set)?;
        Ok((note, damaged))
    }

    /// The sets of a target are of one log.
    fn check_log(&self, note: &Note) -> Result<(), BackupError> {
        for known in self.known.iter().filter(|known| known.join(note::NAME).exists()) {
            if Note::read(known).is_ok_and(|other| other.log_id != note.log_id) {
                let target = known.parent().unwrap_or(known).to_path_buf();
                return Err(BackupError::OtherLog { target });
            }
        }
        Ok(())
    }

    /// Copies all files of one moment. False if the log's files changed, so that it has to begin again.
    fn copy_files(&mut self) -> Result<bool, BackupError> {
        let bytes = read_if_there(&self.data.join(manifest::NAME))?;
        let manifest = match &bytes {
            Some(_) => read_manifest(&ReadOnlyDisk, self.data),
            None => Ok(Manifest::empty([0; 16])),
        };
        let manifest = match manifest {
            Err(OpenError::Io { error, .. }) if is_missing(&error) => return Ok(false),
            manifest => manifest?,
        };
        let Some(mut wals) = self.open_wals(manifest.wal_first)? else { return Ok(false) };
        let next = manifest.wal_first + wals.len() as u32;
        for listed in &manifest.segments {
            if !self.take_segment(listed.number)? {
                return Ok(false);
            }
        }
        // Those that were begun meanwhile; they say what was erased meanwhile.
        let Some(begun) = self.open_wals(next)? else { return Ok(false) };
        wals.extend(begun);
        if wals.is_empty() {
            let has_files = bytes.is_some();
            let no_log = || BackupError::NoLog { path: self.data.to_path_buf() };
            return if has_files { Ok(false) } else { Err(no_log()) };
        }
        if let Some(bytes) = &bytes {
            let (name, length) = (manifest::NAME.to_owned(), bytes.len() as u64);
            write(&self.set.join(&name), bytes)?;
            self.done.insert(name, Done { length, is_copied: true });
        }
        let newest = wals.last().map(|wal| wal.number);
        for wal in &wals {
            self.copy_wal(wal, Some(wal.number) == newest)?;
        }
        self.remove_others(&manifest, &wals)?;
        Ok(true)
    }

    /// Opens all write-ahead logs from a number on; none if one of them is missing.
    fn open_wals(&self, first: u32) -> Result<Option<Vec<OpenWal>>, BackupError> {
        let names = Names::read(&ReadOnlyDisk, self.data)?;
        let mut open = Vec::new();
        for number in names.wals.into_iter().filter(|number| *number >= first) {
            if number != first + open.len() as u32 {
                return Ok(None);
            }
            let path = path_of(self.data, number);
            match File::open(&path) {
                Err(error) if is_missing(&error) => return Ok(None),
                file => {
                    let file = file.map_err(BackupError::io("open", &path))?;
                    open.push(OpenWal { number, file });
                }
            }
        }
        Ok(Some(open))
    }

    /// Has a segment in the set. False if its file is gone.
    fn take_segment(&mut self, number: u32) -> Result<bool, BackupError> {
        let (name, from) = (segment::file_name(number), segment_path(self.data, number));
        let to = self.set.join(&name);
        let file = match File::open(&from) {
            Err(error) if is_missing(&error) => return Ok(false),
            file => file.map_err(BackupError::io("open", &from))?,
        };
        let metadata = file.metadata().map_err(BackupError::io("look at", &from))?;
        let length = metadata.len();
        let look = || BackupError::io("look at", &from);
        if is_copy_of(&file, &to).map_err(look())? {
            return Ok(true);
        }
        for known in self.known.iter().rev() {
            let copy = known.join(&name);
            if is_copy_of(&file, &copy).map_err(look())? {
                // It is there if it was erased in since the try before.
                let _gone = std::fs::remove_file(&to);
                std::fs::hard_link(&copy, &to).map_err(BackupError::io("link", &copy))?;
                self.done.insert(name, Done { length, is_copied: false });
                return Ok(true);
            }
        }
        copy(&from, &file, length, &to, self.copied)?;
        self.done.insert(name, Done { length, is_copied: true });
        Ok(true)
    }

    fn copy_wal(&mut self, wal: &OpenWal, is_newest: bool) -> Result<(), BackupError> {
        let path = path_of(self.data, wal.number);
        let length = whole_groups(&path, wal, is_newest)?;
        let name = wal::file_name(wal.number);
        copy(&path, &wal.file, length, &self.set.join(&name), self.copied)?;
        self.done.insert(name, Done { length, is_copied: true });
        Ok(())
    }

    /// Removes what tries before have copied and the log does not have any more.
    fn remove_others(&mut self, manifest: &Manifest, wals: &[OpenWal]) -> Result<(), BackupError> {
        let segments = manifest.segments.iter().map(|listed| segment::file_name(listed.number));
        let wals = wals.iter().map(|wal| wal::file_name(wal.number));
        let mut wanted: Vec<String> = segments.chain(wals).collect();
        wanted.push(manifest::NAME.to_owned());
        for name in SystemDisk.names(self.set).map_err(BackupError::io("list", self.set))? {
            if !wanted.contains(&name) {
                debug_assert!(!name.ends_with(PART_SUFFIX), "what was copied has its name");
                let path = self.set.join(&name);
                std::fs::remove_file(&path).map_err(BackupError::io("remove", &path))?;
            }
        }
        self.done.retain(|name, _| wanted.contains(name));
        Ok(())
    }

    /// Opens the set as a log is opened, and reads it.
    fn read_back(&self, all: bool) -> Result<(Recovered, Verified, Vec<String>), BackupError> {
        let is_copied = |number: u32| {
            let done = self.done.get(&segment::file_name(number));
            done.is_some_and(|done| done.is_copied)
        };
        read_back(self.set, &|number| all || is_copied(number))
    }
}

/// Reads the log of a set as it would be opened, and the blocks of some of its segments.
pub(super) fn read_back(
    set: &Path,
    reads: &dyn Fn(u32) -> bool,
) -> Result<(Recovered, Verified, Vec<String>), BackupError> {
    let surroundings = Surroundings { disk: Arc::new(ReadOnlyDisk), ..Surroundings::system() };
    let files_max = EmbeddedOptions::default().files_open_max;
    let disk = Arc::clone(&surroundings.disk);
    let files = OpenFiles::new(disk, set.to_path_buf(), files_max);
    let recovered = recover(set, &surroundings, &files)?;
    let mut found = Damaged { reads, damaged: Vec::new() };
    let verified = verify(&recovered.index, recovered.header.tag(), &mut found);
    let verified = verified.map_err(BackupError::io("read", set))?;
    Ok((recovered, verified, found.damaged))
}

/// So much of what is damaged is told one by one.
const DAMAGED_MAX: usize = 1_000;

struct Damaged<'a> {
    reads: &'a dyn Fn(u32) -> bool,
    damaged: Vec<String>,
}

impl Visitor for Damaged<'_> {
    fn reads(&self, segment: u32) -> bool {
        (self.reads)(segment)
    }

    fn fault(&mut self, fault: StreamFault) {
        if self.damaged.len() < DAMAGED_MAX {
            self.damaged.push(fault.to_string());
        }
    }

    fn read(&mut self, _bytes: u64) {}
}

/// Where the last whole group of a write-ahead log ends; what is before it does not change any more.
fn whole_groups(path: &Path, wal: &OpenWal, is_newest: bool) -> Result<u64, BackupError> {
    let read = || BackupError::io("read", path);
    let source = ReadOnlyDisk.open_as_it_is(&wal.file).map_err(read())?;
    let mut bytes = [0; header::LENGTH];
    source.read_exact_at(&mut bytes, 0).map_err(read())?;
    let header = FileHeader::decode(&bytes)
        .map_err(|_| OpenError::damaged(path, 0, "the file's header is wrong"))?;
    let (mut position, mut number) = (header::LENGTH as u64, header.first_group);
    let mut scans = 0;
    loop {
        let mut scan = Scan::new(Arc::clone(&source), header.tag()).map_err(read())?;
        let fault = loop {
            match scan.group_at(position, number).map_err(read())? {
                Found::Group { length, .. } => {
                    position += length as u64;
                    number += 1;
                }
                Found::End => return Ok(position),
                Found::Fault(fault) => break fault,
            }
        };
        if !is_newest {
            return Err(OpenError::damaged(path, position, fault).into());
        }
        let later = scan.later_groups(position, number).map_err(read())?;
        if later.synced_max.is_none_or(|synced| synced < number) {
            // It is being written, and nobody was told that it is there.
            return Ok(position);
        }
        // It was being written when it was read, unless that is so every time.
        scans += 1;
        if scans == SCANS_MAX {
            return Err(OpenError::damaged(path, position, fault).into());
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
