//! The log's files in their directory: which there are, and making the next write-ahead log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::embedded::disk::{Disk, DiskFile};
use crate::embedded::error::OpenError;
use crate::embedded::manifest::{self, Manifest};
use crate::embedded::wal::header::FileHeader;
use crate::embedded::{segment, wal};

/// A file that is not finished has this behind its name.
pub(crate) const NEW_SUFFIX: &str = ".new";
/// What a server saves of run states beside the log: no part of it, and made again where it is missing.
pub const STATES_NAME: &str = "states.saved";
/// A file that could not be used has this behind its name: it was set aside by a repair.
pub(crate) const DAMAGED_SUFFIX: &str = ".damaged";
/// As long as this is there, a restore has not put everything back.
pub(crate) const RESTORING_NAME: &str = "restoring";

/// As long as this is there, a sync has failed of what had been acknowledged, with relaxed durability: the
/// system may show it for a while yet, or not.
pub(crate) const UNSYNCED_NAME: &str = "unsynced";

/// Whether a file, finished or not, is one of a log by its name.
pub(crate) fn is_ours(name: &str) -> bool {
    let finished = [NEW_SUFFIX, ".part"].iter().find_map(|suffix| name.strip_suffix(suffix));
    let name = finished.unwrap_or(name);
    wal::file_number(name).is_some()
        || segment::file_number(name).is_some()
        || name == manifest::NAME
}

/// Whether what is in a directory is all of a log, and not a part that a restore has put there.
pub(crate) fn check_restored(disk: &dyn Disk, directory: &Path) -> Result<(), OpenError> {
    let names = disk.names(directory).map_err(OpenError::io("list", directory))?;
    if !names.iter().any(|name| name == RESTORING_NAME) {
        return Ok(());
    }
    let reason = "a restore into this directory was not finished: do it again".to_owned();
    Err(OpenError::Foreign { path: directory.join(RESTORING_NAME), reason })
}

/// The path of a write-ahead log.
pub(crate) fn path_of(directory: &Path, number: u32) -> PathBuf {
    directory.join(wal::file_name(number))
}

/// The path of a segment.
pub(crate) fn segment_path(directory: &Path, number: u32) -> PathBuf {
    directory.join(segment::file_name(number))
}

/// The log's files by their names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Write-ahead logs, sorted.
    pub(crate) wals: Vec<u32>,
    pub(crate) segments: Vec<u32>,
    pub(crate) has_manifest: bool,
    /// [`UNSYNCED_NAME`] is there.
    pub(crate) is_unsynced: bool,
    /// What was not finished when the process before ended.
    unfinished: Vec<String>,
}

impl Names {
    pub(crate) fn read(disk: &dyn Disk, directory: &Path) -> Result<Self, OpenError> {
        let mut names = Self::default();
        for name in disk.names(directory).map_err(OpenError::io("list", directory))? {
            names.take(directory, name)?;
        }
        names.wals.sort_unstable();
        Ok(names)
    }

    fn take(&mut self, directory: &Path, name: String) -> Result<(), OpenError> {
        if name.ends_with(DAMAGED_SUFFIX) {
            return Ok(());
        } else if name.ends_with(NEW_SUFFIX) && is_ours(&name) {
            self.unfinished.push(name);
        } else if let Some(number) = wal::file_number(&name) {
            self.wals.push(number);
        } else if let Some(number) = segment::file_number(&name) {
            self.segments.push(number);
        } else if name == manifest::NAME {
            self.has_manifest = true;
        } else if name == UNSYNCED_NAME {
            self.is_unsynced = true;
        } else if name.starts_with("wal-") || name.starts_with("seg-") {
            let reason = format!(
                "the log's files have names such as {} and {}",
                wal::file_name(1),
                segment::file_name(1)
            );
            return Err(OpenError::Foreign { path: directory.join(name), reason });
        }
        Ok(())
    }

    /// Whether every file is there that has to be.
    pub(crate) fn check(&self, directory: &Path, manifest: &Manifest) -> Result<(), OpenError> {
        let missing = |path: PathBuf| OpenError::damaged(&path, 0, "the file is missing");
        if !self.has_manifest && !self.segments.is_empty() && self.wals.first() != Some(&1) {
            return Err(missing(directory.join(manifest::NAME)));
        }
        if let Some(lost) =
            manifest.segments.iter().find(|listed| !self.segments.contains(&listed.number))
        {
            return Err(missing(segment_path(directory, lost.number)));
        }
        let live = self.wals.iter().filter(|number| **number >= manifest.wal_first);
        let lost = live.zip(manifest.wal_first..).find(|(number, expected)| *number != expected);
        if let Some((_, expected)) = lost {
            return Err(missing(path_of(directory, expected)));
        }
        if self.has_manifest && self.wals.last().is_none_or(|newest| *newest < manifest.wal_first) {
            return Err(missing(path_of(directory, manifest.wal_first)));
        }
        Ok(())
    }

    /// Removes what is no part of the log any more, or has not become one, and makes all names
    /// durable.
    pub(crate) fn tidy(
        &self,
        disk: &dyn Disk,
        directory: &Path,
        manifest: &Manifest,
    ) -> Result<(), OpenError> {
        let is_listed =
            |number: u32| manifest.segments.iter().any(|listed| listed.number == number);
        let segments = self.segments.iter().filter(|number| !is_listed(**number));
        let wals = self.wals.iter().filter(|number| **number < manifest.wal_first);
        let paths = self.unfinished.iter().map(|name| directory.join(name));
        let paths = paths
            .chain(segments.map(|number| segment_path(directory, *number)))
            .chain(wals.map(|number| path_of(directory, *number)));
        for path in paths {
            match disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(OpenError::io("remove the unneeded", &path)(error));
                }
                // It is gone, or was made anew and has its name.
                _ => {}
            }
        }
        // A process that was killed may have left names that are not durable, and others are gone.
        disk.sync_directory(directory).map_err(OpenError::io("sync", directory))
    }
}

/// Makes a write-ahead log with its header, durably. It can be tried again.
pub(crate) fn create_file(
    disk: &dyn Disk,
    directory: &Path,
    header: &FileHeader,
) -> io::Result<Arc<dyn DiskFile>> {
    let path = path_of(directory, header.number);
    let unfinished = directory.join(format!("{}{NEW_SUFFIX}", wal::file_name(header.number)));
    let file = disk.create(&unfinished)?;
    file.write_all_at(&header.encode(), 0)?;
    file.sync()?;
    disk.rename(&unfinished, &path)?;
    disk.sync_directory(directory)?;
    Ok(file)
}

/// Notes that what was acknowledged may be lost, for the next start.
pub(crate) fn mark_unsynced(disk: &dyn Disk, directory: &Path) -> io::Result<()> {
    disk.create(&directory.join(UNSYNCED_NAME))?;
    disk.sync_directory(directory)
}

/// Takes the note back, if there is one.
pub(crate) fn unmark_unsynced(disk: &dyn Disk, directory: &Path) -> io::Result<()> {
    match disk.remove(&directory.join(UNSYNCED_NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| disk.sync_directory(directory)),
    }
}
