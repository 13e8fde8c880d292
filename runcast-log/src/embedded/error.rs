//! Why a log could not be opened: what, where, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::embedded::wal::FORMAT_VERSION;

/// Why a data directory could not be opened. Nothing in it was changed, except that an unfinished
/// write at the very end may have been cut off.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refused something.
    #[error("cannot {action} {}: {error}. The data directory must be readable and writable for this user", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another process has the directory.
    #[error("{} is in use by {holder}: one process at a time can serve a data directory", directory.display())]
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// Who has it, such as `process 4711`.
        holder: String,
    },
    /// A file has the name of one of ours and is not.
    #[error("{} is not a file of Runcast's log ({reason}): give a data directory of its own", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was expected of it.
        reason: String,
    },
    /// A newer Runcast wrote the directory.
    #[error("{} has log format {found}, this version of runcast reads up to {FORMAT_VERSION}: use the newer runcast that wrote it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Acknowledged events are damaged or missing.
    #[error("{} is damaged at byte {position}: {reason}. Going on would lose acknowledged events, so nothing was changed. `runcast doctor` says what can be saved. Restore the data directory from a backup, or move it away to begin with an empty log", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
}

impl OpenError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| Self::Io { action, path, error }
    }

    pub(crate) fn damaged(path: &Path, position: u64, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_path_buf(), position, reason: reason.into() }
    }
}
