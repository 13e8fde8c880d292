//! Making a data directory open again with everything in it that can be read.
//!
//! New files first, then what is set aside gets a second name, then the manifest that tells of the
//! new files, then the old names go: at any instant there is either what was or what is to be, and
//! a repair that was killed is done again.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::survey::Survey;
use super::write::NewSegments;
use super::{Checkup, check};
use crate::embedded::directory::{self, DAMAGED_SUFFIX, path_of};
use crate::embedded::disk::{Disk as _, SystemDisk};
use crate::embedded::error::OpenError;
use crate::embedded::lock::DirectoryLock;
use crate::embedded::manifest::{LastSession, ListedSegment, Manifest, NAME};
use crate::embedded::number::u64_at;
use crate::embedded::open_files::OpenFiles;
use crate::embedded::options::{EmbeddedOptions, Surroundings};
use crate::embedded::recovery::recover;
use crate::embedded::segment;
use crate::embedded::wal::header::FileHeader;
use crate::embedded::wal::{self, FORMAT_VERSION};

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// Each thing that it did, in order.
    pub done: Vec<String>,
    /// What a check finds now.
    pub after: Checkup,
}

/// Repairs a data directory that no process serves. What was acknowledged and cannot be read is
/// gone; where that may have been, streams that are not closed begin a new epoch, at least `epoch_min`.
///
/// # Errors
/// Why it cannot be repaired, [`OpenError::Locked`] when it is served.
pub fn repair(
    directory: &Path,
    epoch_min: u32,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Repaired, OpenError> {
    let lock = DirectoryLock::take(directory)?;
    let survey = Survey::make(directory, false, progress)?;
    let mut done = Vec::new();
    for name in &survey.foreign {
        second_name(directory, name)?;
        remove(directory, name)?;
        done.push(format!("set {name} aside as {name}{DAMAGED_SUFFIX}"));
    }
    if survey.is_to_be_rewritten {
        rewrite(&survey, epoch_min, &mut done)?;
    }
    drop(survey);
    tidy(directory, &mut done)?;
    drop(lock);
    let after = check(directory, progress)?;
    Ok(Repaired { done, after })
}

/// Writes what can be read into a log of new files.
fn rewrite(survey: &Survey, epoch_min: u32, done: &mut Vec<String>) -> Result<(), OpenError> {
    let directory = survey.directory.as_path();
    let recovery = &survey.salvage.recovery;
    let first_epoch = recovery.index.first_epoch;
    let log_id = survey.manifest.log_id;
    let unused = segments_there(directory)?.max(survey.manifest.next_segment);
    let tag = u64_at(&log_id, 8);
    let epochs_begun = recovery.index.epochs_begun;
    let mut new = NewSegments { directory, log_id, tag, epochs_begun, next: unused };
    let mut segments = Vec::new();
    for kept in &survey.segments {
        segments.push(keep(survey, kept.number(), kept.length, &mut new, done)?);
    }
    let salvaged = new.write_changed(&recovery.index)?;
    for listed in &salvaged {
        let name = segment::file_name(listed.number);
        done.push(format!("wrote what can be read of the write-ahead logs to {name}"));
    }
    segments.extend(salvaged);
    let newest = survey.wals.last().copied().unwrap_or(0).max(survey.manifest.wal_first - 1);
    let header = FileHeader {
        version: FORMAT_VERSION,
        log_id,
        number: newest + 1,
        first_group: recovery.next_group,
    };
    let made = directory::create_file(&SystemDisk, directory, &header);
    made.map_err(OpenError::io("create a log file in", directory))?;
    let by = epoch_min.saturating_sub(first_epoch.get()).max(1);
    let manifest = Manifest {
        log_id,
        wal_first: header.number,
        next_group: header.first_group,
        next_segment: new.next,
        first_epoch: first_epoch.plus(by),
        epochs_begun: epochs_begun.saturating_add(by),
        streams: survey.verified.streams,
        events: survey.verified.events,
        session: LastSession::default(),
        segments,
    };
    install(survey, &manifest, done)
}

/// A segment's line in the new manifest; one whose index was made anew is written first.
fn keep(
    survey: &Survey,
    number: u32,
    length: u64,
    new: &mut NewSegments<'_>,
    done: &mut Vec<String>,
) -> Result<ListedSegment, OpenError> {
    let Some(rebuilt) = survey.rebuilt.iter().find(|r| r.segment.number() == number) else {
        let listed = survey.manifest.listed(number).copied();
        let level = survey.segments.iter().find(|segment| segment.number() == number);
        let level = level.map_or(0, |segment| segment.header.level);
        return Ok(listed.unwrap_or(ListedSegment { number, level, length, erased: 0 }));
    };
    let listed = new.write_rebuilt(rebuilt)?;
    let (from, to) = (segment::file_name(number), segment::file_name(listed.number));
    done.push(format!("wrote the events of {from} with a new index to {to}"));
    Ok(listed)
}

/// Makes the new files count, and sets aside what they replace.
fn install(survey: &Survey, manifest: &Manifest, done: &mut Vec<String>) -> Result<(), OpenError> {
    let directory = survey.directory.as_path();
    let is_there = |name: &String| directory.join(name).exists();
    let wals = survey.wals.iter().filter(|number| **number >= survey.manifest.wal_first);
    let wals = wals.map(|number| wal::file_name(*number));
    let segments = survey.unusable.iter().map(|number| segment::file_name(*number));
    let aside: Vec<String> = wals.chain(segments).filter(is_there).collect();
    for name in &aside {
        second_name(directory, name)?;
    }
    if survey.manifest_is_lost && is_there(&NAME.to_owned()) {
        second_name(directory, NAME)?;
    }
    let replaced = manifest.replace(&SystemDisk, directory);
    replaced.map_err(OpenError::io("replace the manifest in", directory))?;
    done.push("wrote a new manifest; all runs that have not ended begin a new epoch".to_owned());
    for name in &aside {
        remove(directory, name)?;
        done.push(format!("set {name} aside as {name}{DAMAGED_SUFFIX}"));
    }
    SystemDisk.sync_directory(directory).map_err(OpenError::io("sync", directory))
}

/// One more than the highest number of a segment.
fn segments_there(directory: &Path) -> Result<u32, OpenError> {
    let names = SystemDisk.names(directory).map_err(OpenError::io("list", directory))?;
    let number = |name: &String| segment::file_number(name.trim_end_matches(DAMAGED_SUFFIX));
    Ok(names.iter().filter_map(number).max().unwrap_or(0) + 1)
}

/// Gives a file another name beside its own, under which no log looks for it.
fn second_name(directory: &Path, name: &str) -> Result<(), OpenError> {
    let (from, aside) = (directory.join(name), directory.join(format!("{name}{DAMAGED_SUFFIX}")));
    match std::fs::hard_link(&from, &aside) {
        // An earlier repair set something aside by this name, or this was killed here.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !is_same(&from, &aside) => {
            let free = (2..).map(|at| directory.join(format!("{name}.{at}{DAMAGED_SUFFIX}")));
            let free = free.into_iter().find(|path| !path.exists() || is_same(&from, path));
            let free = free.expect("numbers do not end before the files do");
            if free.exists() {
                return Ok(());
            }
            std::fs::hard_link(&from, &free).map_err(OpenError::io("set aside", &from))
        }
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(OpenError::io("set aside", &from)(error))
        }
        _ => Ok(()),
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let id = |path: &Path| path.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    id(one).is_some() && id(one) == id(other)
}

fn remove(directory: &Path, name: &str) -> Result<(), OpenError> {
    let path = directory.join(name);
    std::fs::remove_file(&path).map_err(OpenError::io("set aside", &path))
}

/// Does what the next start would do: cuts off what was not finished, removes what is left over.
fn tidy(directory: &Path, done: &mut Vec<String>) -> Result<(), OpenError> {
    let names = || SystemDisk.names(directory).map_err(OpenError::io("list", directory));
    let before = names()?;
    let surroundings = Surroundings::system();
    let files_max = EmbeddedOptions::default().files_open_max;
    let disk = Arc::clone(&surroundings.disk);
    let files = OpenFiles::new(disk, directory.to_path_buf(), files_max);
    let length = |number: u32| std::fs::metadata(path_of(directory, number)).map(|m| m.len()).ok();
    let newest = before.iter().filter_map(|name| wal::file_number(name)).max().unwrap_or(0);
    let length_before = length(newest);
    recover(directory, &surroundings, &files)?;
    if let (Some(before), Some(now)) = (length_before, length(newest))
        && now < before
    {
        let name = wal::file_name(newest);
        done.push(format!("cut {} bytes off {name}, which nobody was told of", before - now));
    }
    let after = names()?;
    for name in before.iter().filter(|name| !after.contains(name)) {
        done.push(format!("removed {name}, which no log needs"));
    }
    Ok(())
}
