//! Files as the embedded engine needs them.
//!
//! The seam at which tests and simulations put a disk that fills up, tears writes or forgets what
//! was not synced. [`SystemDisk`] is the real one. All calls block.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

/// Directories and the making of files.
pub trait Disk: Send + Sync + 'static {
    /// Makes a directory, and those above it, for this user only. Nothing if it is there.
    ///
    /// # Errors
    /// What the system says.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// What the system says.
    fn names(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Opens a file that is there, to read and write.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes an empty file, or empties it.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, replacing what has it.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// One file.
pub trait DiskFile: Send + Sync + 'static {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> io::Result<u64>;

    /// Fills `bytes` from a position.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::UnexpectedEof`] when the file is too short.
    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()>;

    /// Fills `bytes` from a position if that is possible without waiting for the disk.
    fn read_cached_at(&self, _bytes: &mut [u8], _position: u64) -> bool {
        false
    }

    /// Says that these bytes are about to be read, so that the disk can fetch many places at once.
    fn will_read(&self, _position: u64, _length: usize) {}

    /// Writes all of `bytes` at a position.
    ///
    /// # Errors
    /// What the system says. Some of the bytes may have been written then.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// What the system says. What was not durable before is lost then, even if a later call works.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file off.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Makes a part of the file zeros and gives its place on the disk back, if the disk can do that.
    /// The file stays as long as it is.
    ///
    /// # Errors
    /// What the system says. Some of the bytes may be zeros then.
    fn erase(&self, position: u64, length: u64) -> io::Result<()> {
        write_zeros(self, position, length)
    }
}

/// So many zeros are written at once.
const ZEROS: &[u8] = &[0; 64 * 1024];

fn write_zeros(
    file: &(impl DiskFile + ?Sized),
    mut position: u64,
    mut length: u64,
) -> io::Result<()> {
    while length > 0 {
        let piece = length.min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..piece as usize], position)?;
        position += piece;
        length -= piece;
    }
    Ok(())
}

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

/// The data is this user's alone.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

impl Disk for SystemDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.sync_directory(parent.unwrap_or(Path::new(".")))
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(SystemFile(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(FILE_MODE);
        Ok(Arc::new(SystemFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

struct SystemFile(File);

impl DiskFile for SystemFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, position)
    }

    #[cfg(target_os = "linux")]
    fn read_cached_at(&self, bytes: &mut [u8], position: u64) -> bool {
        use rustix::io::{ReadWriteFlags, preadv2};
        let wanted = bytes.len();
        let mut parts = [io::IoSliceMut::new(bytes)];
        preadv2(&self.0, &mut parts, position, ReadWriteFlags::NOWAIT) == Ok(wanted)
    }

    #[cfg(target_os = "linux")]
    fn will_read(&self, position: u64, length: usize) {
        use rustix::fs::{Advice, fadvise};
        // Without it the reads only take longer.
        let length = std::num::NonZeroU64::new(length as u64);
        let _advised = fadvise(&self.0, position, length, Advice::WillNeed);
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    #[cfg(target_os = "linux")]
    fn erase(&self, position: u64, length: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.0, flags, position, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) if length > 0 => {
                write_zeros(self, position, length)
            }
            erased => Ok(erased?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_erased_is_zeros_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = SystemDisk.create(&directory.path().join("file")).unwrap();
        file.write_all_at(&[7; 200_000], 0).unwrap();
        file.erase(1_000, 150_000).unwrap();
        write_zeros(&*file, 160_000, 70).unwrap();
        let mut bytes = vec![0; 200_000];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let erased = |at: usize| (1_000..151_000).contains(&at) || (160_000..160_070).contains(&at);
        assert!(bytes.iter().enumerate().all(|(at, byte)| (*byte == 0) == erased(at)));
        assert_eq!(file.length().unwrap(), 200_000);
    }
}
