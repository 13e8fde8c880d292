//! What a spool says about itself: whose events it holds, and how they are numbered on the wire.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use runcast_event::{ProducerId, RunId, Timestamp};
use serde::{Deserialize, Serialize};

/// The format of the directory that this version writes and reads.
const FORMAT: u32 = 1;
/// The producer that whoever publishes a run as its own is to the server.
const OWNER: &str = "owner";
/// The header's file.
const FILE: &str = "header.json";
/// The header while it is being replaced.
const FILE_NEW: &str = "header.json.new";

/// A spool's header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The directory's format.
    pub(crate) format: u32,
    /// The run whose events these are.
    pub(crate) run: RunId,
    /// The server that they go to.
    pub(crate) url: String,
    /// Who sends them.
    pub(crate) producer: ProducerId,
    /// The producer's epoch.
    pub(crate) epoch: u64,
    /// Event `n` has the sequence `n - base` in this epoch.
    pub(crate) base: u64,
    /// How many events were lost in front of this epoch. Its sequence 0 says so, when not 0.
    pub(crate) lost_before: u64,
    /// When the spool was made.
    pub(crate) created_at: Timestamp,
}

impl Header {
    /// The header of a process that begins to publish a run now.
    ///
    /// All that publish a run so are one producer to the server: the newest fences the others off.
    pub(crate) fn new(run: RunId, url: String, now: Timestamp) -> Self {
        Self {
            format: FORMAT,
            run,
            url,
            producer: ProducerId::new(OWNER).expect("a short name"),
            epoch: u64::try_from(now.as_micros()).unwrap_or(0),
            base: 0,
            lost_before: 0,
            created_at: now,
        }
    }

    /// Reads the header of the spool in `dir`.
    pub(crate) fn read(dir: &Path) -> io::Result<Self> {
        let text = fs::read(dir.join(FILE))?;
        let header: Self = serde_json::from_slice(&text)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if header.format != FORMAT {
            let message = format!(
                "the spool has format {}, this version reads {FORMAT}: use the version that wrote it",
                header.format
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(header)
    }

    /// Replaces the header of the spool in `dir`, whole or not at all.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let new = dir.join(FILE_NEW);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(new, dir.join(FILE))
    }

    /// Removes the header's files, as the last step of deleting a spool.
    pub(crate) fn remove(dir: &Path) -> io::Result<()> {
        let _absent_is_fine = fs::remove_file(dir.join(FILE_NEW));
        fs::remove_file(dir.join(FILE))
    }
}
