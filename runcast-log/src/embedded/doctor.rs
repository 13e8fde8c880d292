//! Looking over a data directory, and making one that does not open any more open again.
//!
//! A check changes nothing. It reads all files with what is left of them, also where opening gives up
//! at the first fault, and tells each fault with what it costs. A repair keeps every event that can
//! still be read, at its offset; it deletes nothing but what no log needs, and sets aside what it
//! replaces. What is gone is an error for its readers and never another event.

use std::path::Path;

use runcast_event::RunId;

use crate::embedded::error::OpenError;
use crate::embedded::lock::{self, Holder};

mod manifest;
mod rebuild;
mod repair;
mod salvage;
mod survey;
mod write;

pub use repair::{Repaired, repair};

use survey::{Survey, is_gone};

/// So many findings are kept; more are counted.
const FINDINGS_MAX: usize = 1_000;
/// How often a directory that is served is looked at again because its files changed meanwhile.
const TRIES_MAX: usize = 20;

/// Something in a data directory that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether nothing is lost by it and a server opens the directory all the same.
    pub is_harmless: bool,
    /// The file's name.
    pub file: Option<String>,
    /// The byte in it.
    pub position: Option<u64>,
    /// The run that it costs events, or what stands for trimmed ones, and the first and the last of
    /// these.
    pub lost_events: Option<(RunId, u64, u64)>,
    /// What is wrong.
    pub what: String,
    /// What is lost by it.
    pub lost: String,
    /// What a repair does.
    pub repair: String,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkup {
    /// The process that serves the directory.
    pub served_by: Option<String>,
    /// What is not as it should be; at most a thousand.
    pub findings: Vec<Finding>,
    /// Findings that are not told one by one.
    pub findings_more: u64,
    /// Segments that were read.
    pub segments: u64,
    /// Write-ahead logs that were read.
    pub wals: u64,
    /// Runs that are kept.
    pub runs: u64,
    /// Events that they should have.
    pub events: u64,
    /// Bytes that were read of the segments.
    pub bytes: u64,
}

impl Checkup {
    /// Whether nothing is lost and a server opens the directory.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings_more == 0 && self.findings.iter().all(|finding| finding.is_harmless)
    }
}

/// Findings as they come.
#[derive(Debug, Default)]
struct Findings {
    kept: Vec<Finding>,
    more: u64,
}

impl Findings {
    fn add(&mut self, finding: Finding) {
        if self.kept.len() < FINDINGS_MAX {
            self.kept.push(finding);
        } else {
            self.more += 1;
        }
    }
}

/// Checks a data directory and changes nothing in it. `progress` is told of bytes that were read, and
/// of how many there are.
///
/// While a process serves the directory, what is in its files is checked and not what is left over
/// beside them; what is found counts when it is found twice.
///
/// # Errors
/// Why it cannot be checked: there is no log, or a newer version wrote it.
pub fn check(directory: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Checkup, OpenError> {
    let served_by = match lock::look(directory)? {
        Holder::Nobody(lock) => {
            let survey = Survey::make(directory, false, progress)?;
            drop(lock);
            return Ok(survey.checkup(None));
        }
        Holder::Other(holder) => holder,
    };
    let mut before: Option<Checkup> = None;
    let mut tries = 0;
    loop {
        tries += 1;
        let survey = match Survey::make(directory, tries < TRIES_MAX, progress) {
            Err(error) if is_gone(&error) && tries < TRIES_MAX => continue,
            survey => survey?,
        };
        let mut checkup = survey.checkup(Some(served_by.clone()));
        checkup.findings.retain(|finding| !finding.is_harmless);
        if let Some(before) = &before {
            checkup.findings.retain(|finding| before.findings.contains(finding));
        }
        if checkup.is_sound() || before.is_some() {
            return Ok(checkup);
        }
        before = Some(checkup);
    }
}
