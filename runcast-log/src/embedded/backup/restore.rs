//! Putting a set back as a data directory.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::BackupError;
use super::copy::{copy, sync_names, write};
use super::note::Note;
use super::set::{read_back, sets};
use crate::embedded::directory::{self, RESTORING_NAME};
use crate::embedded::disk::{Disk as _, SystemDisk};
use crate::embedded::recovery::Recovered;
use crate::embedded::wal::FORMAT_VERSION;
use crate::embedded::wal::group::GroupBuffer;
use crate::embedded::wal::header::{self, FileHeader};
use crate::embedded::wal::record::Note as LogNote;

/// A log that was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The set that it is from.
    pub set: PathBuf,
    /// When that was made.
    pub taken: String,
    /// Runs in it.
    pub runs: u64,
    /// Events in it.
    pub events: u64,
    /// What of them cannot be read.
    pub damaged: Vec<String>,
}

/// Makes a data directory of a set, or of the newest set of a target.
///
/// Later events than those in the set may have been acknowledged and seen. So all streams that are
/// not closed begin a new epoch, at least `epoch_min`: one that was never used, whatever was restored
/// before. A reader with a later cursor is told that what it saw is gone.
///
/// # Errors
/// Why there is none. Until all of it is there, no log can be opened in the directory, and a restore
/// into it begins again.
pub fn restore(
    from: &Path,
    data: &Path,
    epoch_min: u32,
    copied: &mut dyn FnMut(u64),
) -> Result<Restored, BackupError> {
    let set = find_set(from)?;
    let note = Note::read(&set)?;
    make_way(data)?;
    let marker = data.join(RESTORING_NAME);
    write(&marker, b"a restore into this directory is not finished\n")?;
    sync_names(data)?;
    for (name, length) in &note.files {
        copy_file(&set, name, *length, data, copied)?;
    }
    sync_names(data)?;
    let (recovered, verified, damaged) = read_back(data, &|_| true)?;
    begin_epoch(data, &recovered, epoch_min)?;
    std::fs::remove_file(&marker).map_err(BackupError::io("remove", &marker))?;
    sync_names(data)?;
    let (runs, events) = (verified.streams, verified.events);
    Ok(Restored { set, taken: note.taken, runs, events, damaged })
}

fn find_set(from: &Path) -> Result<PathBuf, BackupError> {
    if from.join(super::note::NAME).exists() {
        return Ok(from.to_path_buf());
    }
    let newest = sets(from)?.whole.pop();
    newest.ok_or_else(|| BackupError::NoBackup {
        path: from.to_path_buf(),
        reason: "there is no whole backup in it".to_owned(),
    })
}

/// The directory, empty: made if it is not there, and emptied of a restore that was not finished.
fn make_way(data: &Path) -> Result<(), BackupError> {
    SystemDisk.create_directory(data).map_err(BackupError::io("make the directory", data))?;
    let names = SystemDisk.names(data).map_err(BackupError::io("list", data))?;
    let is_unfinished = names.iter().any(|name| name == RESTORING_NAME);
    if !names.is_empty() && !is_unfinished {
        return Err(BackupError::NotEmpty { path: data.to_path_buf() });
    }
    for name in names.iter().filter(|name| directory::is_ours(name)) {
        let path = data.join(name);
        std::fs::remove_file(&path).map_err(BackupError::io("remove", &path))?;
    }
    Ok(())
}

fn copy_file(
    set: &Path,
    name: &str,
    length: u64,
    data: &Path,
    copied: &mut dyn FnMut(u64),
) -> Result<(), BackupError> {
    let from = set.join(name);
    let no_backup = |reason: String| BackupError::NoBackup { path: set.to_path_buf(), reason };
    // The note has the names of a log's files and no other.
    if !directory::is_ours(name) {
        return Err(no_backup(format!("its backup.txt names {name:?}")));
    }
    let file = File::open(&from).map_err(BackupError::io("open", &from))?;
    let there = file.metadata().map_err(BackupError::io("look at", &from))?.len();
    if there != length {
        return Err(no_backup(format!("its {name} has {there} bytes, and had {length}")));
    }
    copy(&from, &file, length, &data.join(name), copied)
}

/// Has all streams begin a new epoch, in a write-ahead log of its own.
fn begin_epoch(data: &Path, recovered: &Recovered, epoch_min: u32) -> Result<(), BackupError> {
    let by = epoch_min.saturating_sub(recovered.index.first_epoch.get()).max(1);
    let header = FileHeader {
        version: FORMAT_VERSION,
        number: recovered.header.number + 1,
        first_group: recovered.next_group,
        ..recovered.header
    };
    let mut buffer = GroupBuffer::default();
    buffer.clear();
    buffer.push_note(&LogNote::NewEpoch { by });
    let group = buffer.finish(recovered.next_group, recovered.next_group - 1, false, header.tag());
    let written = directory::create_file(&SystemDisk, data, &header).and_then(|file| {
        file.write_all_at(group, header::LENGTH as u64)?;
        file.sync()
    });
    written.map_err(BackupError::io("write a log file in", data))
}
