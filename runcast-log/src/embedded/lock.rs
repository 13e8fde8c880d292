//! One process a data directory, by a lock that the system lets go of when the process ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::embedded::error::OpenError;

/// The file that is locked; it holds the id of the process that has it.
pub(crate) const LOCK_NAME: &str = "lock";

/// Holds the directory as long as it lives.
#[derive(Debug)]
#[must_use]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    pub(crate) fn take(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(LOCK_NAME);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(OpenError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file);
                return Err(OpenError::Locked { directory: directory.to_path_buf(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(OpenError::io("lock", &path)(error)),
        }
        // Who holds the lock is only said in an error: a full disk must not keep a log from
        // being read.
        if let Err(error) = note_holder(&mut file) {
            tracing::warn!(path = %path.display(), %error, "the lock file does not name its holder");
        }
        Ok(Self { _file: file })
    }
}

/// Who may have a directory beside this process.
pub(crate) enum Holder {
    /// Nobody, as long as this lock lives; without a file to lock, nobody has had it.
    Nobody(Option<DirectoryLock>),
    /// Another process serves it.
    Other(String),
}

/// Keeps others from a directory without changing anything in it.
pub(crate) fn look(directory: &Path) -> Result<Holder, OpenError> {
    let path = directory.join(LOCK_NAME);
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody(None)),
        file => file.map_err(OpenError::io("open", &path))?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Holder::Nobody(Some(DirectoryLock { _file: file }))),
        Err(TryLockError::WouldBlock) => Ok(Holder::Other(holder(&mut file))),
        Err(TryLockError::Error(error)) => Err(OpenError::io("lock", &path)(error)),
    }
}

fn note_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> String {
    /// More than a process id never stands there.
    const PID_BYTES_MAX: u64 = 32;
    let mut text = String::new();
    let read = file.take(PID_BYTES_MAX).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(pid) if read.is_ok() => format!("process {pid}"),
        _ => "another process".to_owned(),
    }
}
