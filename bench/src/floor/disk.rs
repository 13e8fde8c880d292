//! The floor's disk: one file, one write and one `fdatasync` for all that waits.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The file's size, in bytes. It is filled beforehand, so that a write changes no metadata and
/// costs what the disk costs; at its end it begins again.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

const FILL_BYTES: usize = 1024 * 1024;

/// A file that is written round and round.
#[derive(Debug)]
pub(crate) struct Disk {
    file: File,
    at: u64,
}

impl Disk {
    /// Makes the file and fills it.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut file = File::create(path)?;
        let zeros = vec![0; FILL_BYTES];
        for _ in 0..FILE_BYTES / FILL_BYTES as u64 {
            file.write_all(&zeros)?;
        }
        file.sync_all()?;
        Ok(Self { file, at: 0 })
    }

    /// Writes and waits until it is on the disk.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.at + bytes.len() as u64 > FILE_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at)?;
        self.file.sync_data()?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}
