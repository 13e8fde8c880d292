//! Spools that other processes have left: killed, or ended while the server was away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use runcast_event::{RunId, Timestamp};

use super::disk::{UNFINISHED_PREFIX, is_owned};
use super::header::Header;
use super::segment::Segment;

/// A spool on disk.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// Its directory.
    pub dir: PathBuf,
    /// The run whose events it has.
    pub run: RunId,
    /// The server that they go to.
    pub url: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many events it has; some of them may be with the server already.
    pub events: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// Whether a living process owns it, and will send it.
    pub in_use: bool,
}

/// What is in a directory of spools.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// The spools, oldest first.
    pub spools: Vec<Leftover>,
    /// What is there and cannot be read, with why.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// The spools under `root`.
///
/// # Errors
/// When `root` cannot be read. That it does not exist is no error.
pub fn leftovers(root: &Path) -> io::Result<Leftovers> {
    let mut found = Leftovers::default();
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let dir = entry?.path();
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(UNFINISHED_PREFIX) {
            continue;
        }
        match look_at(&dir) {
            Ok(spool) => found.spools.push(spool),
            // Its owner has sent everything and removed it, just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !dir.exists() => {}
            Err(error) => found.unreadable.push((dir, error)),
        }
    }
    found.spools.sort_by_key(|spool| spool.created_at);
    Ok(found)
}

fn look_at(dir: &Path) -> io::Result<Leftover> {
    let header = Header::read(dir)?;
    let in_use = is_owned(dir)?;
    let segments = Segment::find_all(dir)?;
    Ok(Leftover {
        dir: dir.to_owned(),
        run: header.run,
        url: header.url,
        created_at: header.created_at,
        events: segments.iter().map(|segment| segment.count).sum(),
        bytes: segments.iter().map(|segment| segment.bytes).sum(),
        in_use,
    })
}
