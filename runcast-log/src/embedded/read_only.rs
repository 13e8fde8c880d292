//! A disk that is read and never changed.
//!
//! What is written, cut off, renamed or removed through it goes nowhere, so that a directory can be
//! opened to see what would come of it, also one that another process serves or that is write-protected.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use crate::embedded::disk::{Disk, DiskFile, SystemDisk};

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReadOnlyDisk;

impl ReadOnlyDisk {
    /// A file that is open already, also when its name is gone.
    pub(crate) fn open_as_it_is(self, file: &File) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(ReadOnlyFile(Some(file.try_clone()?))))
    }
}

impl Disk for ReadOnlyDisk {
    fn create_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        SystemDisk.names(directory)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(ReadOnlyFile(Some(File::open(path)?))))
    }

    fn create(&self, _path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(ReadOnlyFile(None)))
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// A file, or none: one that would have been made is empty.
struct ReadOnlyFile(Option<File>);

impl DiskFile for ReadOnlyFile {
    fn length(&self) -> io::Result<u64> {
        self.0.as_ref().map_or(Ok(0), |file| Ok(file.metadata()?.len()))
    }

    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        match &self.0 {
            Some(file) => file.read_exact_at(bytes, position),
            None if bytes.is_empty() => Ok(()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn write_all_at(&self, _bytes: &[u8], _position: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _length: u64) -> io::Result<()> {
        Ok(())
    }
}
