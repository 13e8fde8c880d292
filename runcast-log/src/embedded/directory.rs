//! The write-ahead log's files in their directory: which there are, and making the next one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::embedded::disk::{Disk, DiskFile};
use crate::embedded::error::OpenError;
use crate::embedded::wal::header::FileHeader;
use crate::embedded::wal::{file_name, file_number};

/// A file that is not finished has this behind its name.
const NEW_SUFFIX: &str = ".new";

pub(crate) fn path_of(directory: &Path, number: u32) -> PathBuf {
    directory.join(file_name(number))
}

/// How many files there are: they are numbered from 1 without a hole.
pub(crate) fn count_files(disk: &dyn Disk, directory: &Path) -> Result<u32, OpenError> {
    let names = disk.names(directory).map_err(OpenError::io("list", directory))?;
    let mut numbers = Vec::new();
    for name in names.iter().filter(|name| name.starts_with("wal-")) {
        let path = directory.join(name);
        if let Some(number) = file_number(name) {
            numbers.push(number);
        } else if name.strip_suffix(NEW_SUFFIX).and_then(file_number).is_some() {
            disk.remove(&path).map_err(OpenError::io("remove the unfinished", &path))?;
        } else {
            let reason = format!("the log's files have names such as {}", file_name(1));
            return Err(OpenError::Foreign { path, reason });
        }
    }
    numbers.sort_unstable();
    for (number, expected) in numbers.iter().zip(1..) {
        if *number != expected {
            let path = path_of(directory, expected);
            return Err(OpenError::damaged(&path, 0, "the file is missing"));
        }
    }
    Ok(numbers.last().copied().unwrap_or(0))
}

/// Makes a file with its header, durably. It can be tried again.
pub(crate) fn create_file(
    disk: &dyn Disk,
    directory: &Path,
    header: &FileHeader,
) -> io::Result<Arc<dyn DiskFile>> {
    let path = path_of(directory, header.number);
    let unfinished = directory.join(format!("{}{NEW_SUFFIX}", file_name(header.number)));
    let file = disk.create(&unfinished)?;
    file.write_all_at(&header.encode(), 0)?;
    file.sync()?;
    disk.rename(&unfinished, &path)?;
    disk.sync_directory(directory)?;
    Ok(file)
}
