//! Copying one file so that a crash leaves no half of it under its name.

use std::fs::{File, FileTimes};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::BackupError;
use crate::embedded::segment::header::{LENGTH, TRAILER_LENGTH};

/// A file that is being copied has this behind its name.
pub(super) const PART_SUFFIX: &str = ".part";
/// So much is copied at a time.
const COPY_BYTES: usize = 1024 * 1024;

/// Copies the front of a file, or all of it, durably but for its name.
pub(super) fn copy(
    from: &Path,
    source: &File,
    length: u64,
    to: &Path,
    copied: &mut dyn FnMut(u64),
) -> Result<(), BackupError> {
    let mut part = to.as_os_str().to_owned();
    part.push(PART_SUFFIX);
    let part = PathBuf::from(part);
    let modified = source.metadata().and_then(|metadata| metadata.modified());
    let modified = modified.map_err(BackupError::io("look at", from))?;
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut made = options.open(&part).map_err(BackupError::io("make", &part))?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    while at < length {
        let wanted = (length - at).min(COPY_BYTES as u64) as usize;
        let bytes = &mut buffer[..wanted];
        source.read_exact_at(bytes, at).map_err(BackupError::io("read", from))?;
        let is_hole = bytes.iter().all(|byte| *byte == 0);
        // What was erased takes no place in the copy either.
        let written =
            if is_hole { made.seek_relative(wanted as i64) } else { made.write_all(bytes) };
        written.map_err(BackupError::io("write", &part))?;
        at += wanted as u64;
        copied(wanted as u64);
    }
    let finished = made.set_len(length).and_then(|()| {
        // A later backup tells by the time whether the file is still the one that was copied.
        made.set_times(FileTimes::new().set_modified(modified))?;
        made.sync_all()
    });
    finished.map_err(BackupError::io("write", &part))?;
    std::fs::rename(&part, to).map_err(BackupError::io("rename", &part))
}

/// Whether a copy is of a segment as it is now: of the same length and time, and with the same ends,
/// of which one has the checksum of the index.
pub(super) fn is_copy_of(segment: &File, copy: &Path) -> io::Result<bool> {
    let copy = match File::open(copy) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        copy => copy?,
    };
    let (now, then) = (segment.metadata()?, copy.metadata()?);
    let time = |metadata: &std::fs::Metadata| (metadata.mtime(), metadata.mtime_nsec());
    if now.len() != then.len() || time(&now) != time(&then) {
        return Ok(false);
    }
    let Some(trailer_at) = now.len().checked_sub(TRAILER_LENGTH as u64) else { return Ok(false) };
    Ok(same_bytes(segment, &copy, 0, LENGTH.min(now.len() as usize))?
        && same_bytes(segment, &copy, trailer_at, TRAILER_LENGTH)?)
}

fn same_bytes(one: &File, other: &File, position: u64, length: usize) -> io::Result<bool> {
    let (mut bytes, mut others) = (vec![0; length], vec![0; length]);
    one.read_exact_at(&mut bytes, position)?;
    other.read_exact_at(&mut others, position)?;
    Ok(bytes == others)
}

/// A small file's bytes; none if there is no such file.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, BackupError> {
    /// As far as a manifest can be.
    const BYTES_MAX: u64 = 16 * 1024 * 1024;
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(BackupError::io("open", path))?,
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(BackupError::io("read", path))?;
    Ok(Some(bytes))
}

/// Writes a small file, durably but for its name.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(BackupError::io("write", path))
}

/// Makes the names in a directory durable.
pub(super) fn sync_names(directory: &Path) -> Result<(), BackupError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(BackupError::io("sync", directory))
}
