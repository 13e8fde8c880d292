//! The pipe named in `RUNCAST_EVENTS`: typed events from any language, a line of JSON each.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

/// A named pipe in a directory that only this user can enter. Removed when dropped.
#[derive(Debug)]
pub(super) struct EventsPipe {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl EventsPipe {
    /// Makes the pipe, and opens it to read and write: nobody who opens it waits, and nobody sees
    /// its end when one writer closes it.
    pub(super) fn create() -> io::Result<(Self, File)> {
        let dir = tempfile::Builder::new().prefix("runcast-").tempdir()?;
        let path = dir.path().join("events");
        rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok((Self { path, _dir: dir }, File::from(file)))
    }

    /// What children write to.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
