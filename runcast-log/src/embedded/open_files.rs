//! The segments' files that are open: a bounded number, opened when they are read, the one that was
//! read least recently closed first. Who has a closed file in use goes on with it.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::embedded::disk::{Disk, DiskFile};
use crate::embedded::segment::file_name;

pub(crate) struct OpenFiles {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    files_max: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    files: HashMap<u32, (Arc<dyn DiskFile>, u64)>,
    /// Counts every use.
    clock: u64,
}

impl OpenFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, directory: PathBuf, files_max: usize) -> Arc<Self> {
        Arc::new(Self { disk, directory, files_max: files_max.max(1), open: Mutex::default() })
    }

    /// A segment's file, opened if it is not.
    pub(crate) fn get(&self, number: u32) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.get_open(number) {
            return Ok(file);
        }
        let file = self.disk.open(&self.directory.join(file_name(number)))?;
        let mut open = self.lock();
        open.clock += 1;
        let now = open.clock;
        open.files.insert(number, (Arc::clone(&file), now));
        if open.files.len() > self.files_max {
            let oldest = open.files.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(number, _)| *number) {
                open.files.remove(&oldest);
            }
        }
        Ok(file)
    }

    /// A segment's file if it is open.
    pub(crate) fn get_open(&self, number: u32) -> Option<Arc<dyn DiskFile>> {
        let mut open = self.lock();
        open.clock += 1;
        let now = open.clock;
        let (file, used) = open.files.get_mut(&number)?;
        *used = now;
        Some(Arc::clone(file))
    }

    /// Closes the file of a segment that is removed.
    pub(crate) fn close(&self, number: u32) {
        self.lock().files.remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::disk::SystemDisk;

    #[test]
    fn at_most_so_many_files_are_open_and_those_in_use_stay() {
        let directory = tempfile::tempdir().unwrap();
        for number in 1..=3 {
            std::fs::write(directory.path().join(file_name(number)), [number as u8]).unwrap();
        }
        let files = OpenFiles::new(Arc::new(SystemDisk), directory.path().to_path_buf(), 2);
        for number in [1, 2, 1, 3] {
            files.get(number).unwrap();
        }
        assert!(files.get_open(2).is_none(), "the one that was used least recently is closed");
        assert!(files.get_open(1).is_some() && files.get_open(3).is_some());
        files.close(3);
        assert!(files.get_open(3).is_none());
        assert_eq!(files.get(2).unwrap().length().unwrap(), 1);
    }
}
