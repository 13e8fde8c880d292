//! Backups: a log's files copied from outside, also while a process serves them, and put back.
//!
//! A target holds sets, each a whole data directory of its own. What is acknowledged before a backup
//! begins is in it. Nothing is asked of the process that serves the log, because its files can be
//! read in an order that gives one moment of the log:
//!
//! - The manifest is replaced by a rename, so that whichever is read is whole. Its write-ahead logs
//!   are opened at once: they can be read to the end, sealed or not.
//! - The manifest's segments are copied next. They change in one way: events that were given up are
//!   erased. The write-ahead log that says so is on the disk before, so it is copied after.
//! - Write-ahead logs come last, up to the last whole group, whose checksums are checked.
//!
//! If a file is gone by then, it begins again with the manifest of now and keeps what it has copied.
//! A segment that a set of the target has already is linked there, not copied; never linked to the
//! log's own file, in which events may be erased later. A set counts once it has its name, which it gets when
//! all of it is on the disk and was read back.

use std::io;
use std::path::{Path, PathBuf};

use crate::embedded::error::OpenError;

mod copy;
mod note;
mod restore;
mod set;

pub(crate) use note::NAME as NOTE_NAME;
pub use restore::{Restored, restore};
pub use set::{BackedUp, BackupOptions, back_up};

/// Why a backup or a restore came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The log cannot be read, or another backup is under way.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The system refused something.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The directory has no log.
    #[error("{} has no log of Runcast in it: give the directory that the server has as --data", path.display())]
    NoLog {
        /// The directory.
        path: PathBuf,
    },
    /// The log's files went too fast.
    #[error("the files of {} changed {tries} times while they were read: back up when there is less load, or on a faster disk", path.display())]
    Changing {
        /// The data directory.
        path: PathBuf,
        /// How often it was tried.
        tries: usize,
    },
    /// One directory is, or is in, the other.
    #[error("{} is in the data directory or the other way round: give a target elsewhere, on another disk", target.display())]
    Within {
        /// The target.
        target: PathBuf,
    },
    /// The target has backups of another log.
    #[error("{} has backups of another log: give each log a target of its own", target.display())]
    OtherLog {
        /// The target.
        target: PathBuf,
    },
    /// There is no whole backup.
    #[error("{} is no backup ({reason}): give the target of a \"runcast backup\", or one set in it", path.display())]
    NoBackup {
        /// Where one was looked for.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A restore does not touch what is there.
    #[error("{} is not empty: a restore makes a new data directory, give the path of one", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
}

impl BackupError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| Self::Io { action, path, error }
    }
}
