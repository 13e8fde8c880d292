//! The pipes that the child finds by name: `RUNCAST_EVENTS`, to which it writes typed events, and
//! `RUNCAST_COMMANDS`, from which it reads what is asked of the run. A line of JSON each.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

/// Named pipes in a directory that only this user can enter. Removed when dropped.
#[derive(Debug)]
pub(super) struct Pipes {
    dir: tempfile::TempDir,
}

impl Pipes {
    /// Makes the directory.
    pub(super) fn create() -> io::Result<Self> {
        Ok(Self { dir: tempfile::Builder::new().prefix("runcast-").tempdir()? })
    }

    /// Makes the pipe that the child writes to, and opens it to read and write: nobody who opens it
    /// waits, and nobody sees its end when one writer closes it.
    pub(super) fn events(&self) -> io::Result<(PathBuf, File)> {
        let path = self.make("events")?;
        let file = open(&path, OFlags::RDWR)?;
        Ok((path, file))
    }

    /// Makes the pipe that the child reads, and opens it to write only: a child that opens it does
    /// not wait, and whether it has is told by writing.
    pub(super) fn commands(&self) -> io::Result<(PathBuf, File)> {
        let path = self.make("commands")?;
        // A pipe that nobody reads cannot be opened to write: for a moment, this one is read.
        let reader = open(&path, OFlags::RDWR)?;
        let writer = open(&path, OFlags::WRONLY)?;
        drop(reader);
        Ok((path, writer))
    }

    fn make(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.dir.path().join(name);
        rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)?;
        Ok(path)
    }
}

fn open(path: &Path, access: OFlags) -> io::Result<File> {
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}
