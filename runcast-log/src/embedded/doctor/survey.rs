//! Reading a whole data directory with what is left of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rebuild::{Rebuilt, rebuild};
use super::salvage::Salvage;
use super::{Checkup, Finding, Findings, manifest};
use crate::embedded::backup::NOTE_NAME;
use crate::embedded::directory::{
    DAMAGED_SUFFIX, NEW_SUFFIX, RESTORING_NAME, STATES_NAME, UNSYNCED_NAME, check_restored,
    is_ours, path_of, segment_path,
};
use crate::embedded::disk::Disk as _;
use crate::embedded::error::OpenError;
use crate::embedded::lock::LOCK_NAME;
use crate::embedded::manifest::{ListedSegment, Manifest, NAME};
use crate::embedded::open_files::OpenFiles;
use crate::embedded::options::EmbeddedOptions;
use crate::embedded::read_only::ReadOnlyDisk;
use crate::embedded::recovery::{Recovery, read_manifest};
use crate::embedded::segment::header::{self, SegmentFault, SegmentHeader};
use crate::embedded::segment::{self, Segment};
use crate::embedded::verify::{StreamFault, Verified, Visitor, verify};
use crate::embedded::wal::header::{self as wal_header, FileHeader};
use crate::embedded::{number, wal};

/// What is in a directory.
pub(super) struct Survey {
    pub(super) directory: PathBuf,
    pub(super) wals: Vec<u32>,
    /// Names that make a server refuse the directory.
    pub(super) foreign: Vec<String>,
    /// As it is, or as it should be if it cannot be read.
    pub(super) manifest: Manifest,
    pub(super) manifest_is_lost: bool,
    /// What can be used of the manifest's segments.
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) rebuilt: Vec<Rebuilt>,
    /// Those of the manifest that cannot be used as they are, by their numbers.
    pub(super) unusable: Vec<u32>,
    pub(super) salvage: Salvage,
    /// The log does not open, or not with everything that can be read.
    pub(super) is_to_be_rewritten: bool,
    pub(super) verified: Verified,
    findings: Findings,
    bytes: u64,
}

/// The names in a directory.
#[derive(Default)]
struct Listing {
    wals: Vec<u32>,
    segments: Vec<u32>,
    has_manifest: bool,
    unfinished: Vec<String>,
    foreign: Vec<String>,
    strangers: Vec<String>,
    set_aside: Vec<String>,
}

impl Survey {
    /// Reads everything. Of a directory that is served, files may go meanwhile.
    pub(super) fn make(
        directory: &Path,
        is_served: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, OpenError> {
        check_restored(&ReadOnlyDisk, directory)?;
        let listing = Listing::read(directory)?;
        let mut findings = Findings::default();
        let disk = Arc::new(ReadOnlyDisk);
        let files_max = EmbeddedOptions::default().files_open_max;
        let files = OpenFiles::new(disk, directory.to_path_buf(), files_max);
        let known = known_manifest(directory, &listing, &mut findings)?;
        let manifest_is_lost = known.is_none();
        let mut reading =
            Reading { directory, files, is_served, findings, ..Reading::new(directory) };
        let manifest = match known {
            Some(manifest) => {
                reading.open_listed(&manifest)?;
                manifest
            }
            None => reading.guess(&listing)?,
        };
        let mut salvage = reading.read_wals(&listing, &manifest, manifest_is_lost)?;
        salvage.recovery.index.count();
        listing.leftovers(&manifest, &mut reading.findings);
        let mut visitor = Told {
            findings: &mut reading.findings,
            progress,
            bytes: 0,
            bytes_all: reading.segments.iter().map(|segment| segment.length).sum(),
        };
        let tag = number::u64_at(&manifest.log_id, 8);
        let verified = verify(&salvage.recovery.index, tag, &mut visitor);
        let verified = verified.map_err(OpenError::io("read", directory))?;
        let bytes = visitor.bytes;
        let mut survey = Self {
            directory: directory.to_path_buf(),
            is_to_be_rewritten: manifest_is_lost
                || !reading.unusable.is_empty()
                || salvage.is_damaged,
            wals: listing.wals,
            foreign: listing.foreign,
            manifest,
            manifest_is_lost,
            segments: reading.segments,
            rebuilt: reading.rebuilt,
            unusable: reading.unusable,
            salvage,
            verified,
            findings: reading.findings,
            bytes,
        };
        survey.check_totals();
        Ok(survey)
    }

    fn check_totals(&mut self) {
        let totals = self.salvage.recovery.index.totals();
        let counted = (self.verified.streams, self.verified.events);
        if self.is_to_be_rewritten || (totals.streams, totals.events) == counted {
            return;
        }
        self.is_to_be_rewritten = true;
        self.findings.add(Finding {
            is_harmless: false,
            file: Some(NAME.to_owned()),
            position: None,
            lost_events: None,
            what: format!(
                "it counts {} runs and {} events, and there are {} and {}",
                totals.streams, totals.events, counted.0, counted.1
            ),
            lost: "nothing".to_owned(),
            repair: "write it anew".to_owned(),
        });
    }

    pub(super) fn checkup(self, served_by: Option<String>) -> Checkup {
        let mut all = self.salvage.findings;
        self.findings.kept.into_iter().for_each(|finding| all.add(finding));
        Checkup {
            served_by,
            findings: all.kept,
            findings_more: all.more + self.findings.more,
            segments: self.segments.len() as u64,
            wals: self.salvage.recovery.index.measure().files - self.segments.len() as u64,
            runs: self.verified.streams,
            events: self.verified.events,
            bytes: self.bytes,
        }
    }
}

/// Whether a file went while it was read, as it does when it is sealed or merged.
pub(super) fn is_gone(error: &OpenError) -> bool {
    matches!(error, OpenError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound)
}

impl Listing {
    fn read(directory: &Path) -> Result<Self, OpenError> {
        let mut listing = Self::default();
        let names = ReadOnlyDisk.names(directory).map_err(OpenError::io("list", directory))?;
        for name in names {
            if let Some(number) = wal::file_number(&name) {
                listing.wals.push(number);
            } else if let Some(number) = segment::file_number(&name) {
                listing.segments.push(number);
            } else if name == NAME {
                listing.has_manifest = true;
            } else if name.ends_with(DAMAGED_SUFFIX) {
                listing.set_aside.push(name);
            } else if name.ends_with(NEW_SUFFIX) && is_ours(&name) {
                listing.unfinished.push(name);
            } else if name.starts_with("wal-") || name.starts_with("seg-") {
                listing.foreign.push(name);
            } else if ![LOCK_NAME, NOTE_NAME, RESTORING_NAME, UNSYNCED_NAME]
                .contains(&name.as_str())
                && name.strip_suffix(NEW_SUFFIX).unwrap_or(&name) != STATES_NAME
            {
                listing.strangers.push(name);
            }
        }
        listing.wals.sort_unstable();
        listing.segments.sort_unstable();
        if listing.wals.is_empty() && listing.segments.is_empty() && !listing.has_manifest {
            let reason = "there is no file of a log in it".to_owned();
            return Err(OpenError::Foreign { path: directory.to_path_buf(), reason });
        }
        Ok(listing)
    }

    /// What does no harm, and what only keeps a server from opening.
    fn leftovers(&self, manifest: &Manifest, findings: &mut Findings) {
        let is_listed = |number: &u32| manifest.listed(*number).is_some();
        let segments = self.segments.iter().filter(|number| !is_listed(number));
        let segments = segments.map(|number| segment::file_name(*number));
        let wals = self.wals.iter().filter(|number| **number < manifest.wal_first);
        let wals = wals.map(|number| wal::file_name(*number));
        let mut add = |name: &String, is_harmless: bool, what: &str, repair: &str| {
            findings.add(Finding {
                is_harmless,
                file: Some(name.clone()),
                position: None,
                lost_events: None,
                what: what.to_owned(),
                lost: "nothing".to_owned(),
                repair: repair.to_owned(),
            });
        };
        for name in &self.unfinished {
            add(name, true, "a file that was not finished", "remove it, as the next start does");
        }
        for name in segments.chain(wals) {
            let what = "what is in it is in other files too, or was not finished";
            add(&name, true, what, "remove it, as the next start does");
        }
        for name in &self.foreign {
            let what = "it is no file of the log, and has a name as the log's files have";
            add(name, false, what, "set it aside");
        }
        for name in &self.strangers {
            add(name, true, "it does not belong to the log", "leave it as it is");
        }
        for name in &self.set_aside {
            add(name, true, "a repair has set it aside", "leave it as it is");
        }
    }
}

/// The manifest, or that of a log that has none yet. None if there must have been one.
fn known_manifest(
    directory: &Path,
    listing: &Listing,
    findings: &mut Findings,
) -> Result<Option<Manifest>, OpenError> {
    let what = if listing.has_manifest {
        match read_manifest(&ReadOnlyDisk, directory) {
            Ok(manifest) => return Ok(Some(manifest)),
            Err(OpenError::Damaged { reason, .. } | OpenError::Foreign { reason, .. }) => reason,
            Err(error) => return Err(error),
        }
    } else if listing.segments.is_empty() || listing.wals.first() == Some(&1) {
        return Ok(Some(Manifest::empty(log_id(directory, listing)?)));
    } else {
        "it is missing".to_owned()
    };
    findings.add(Finding {
        is_harmless: false,
        file: Some(NAME.to_owned()),
        position: None,
        lost_events: None,
        what,
        lost: "which segments count, and in which order; their own headers tell of it".to_owned(),
        repair: "make it anew from the files that are there".to_owned(),
    });
    Ok(None)
}

/// The log's id as its files have it.
fn log_id(directory: &Path, listing: &Listing) -> Result<[u8; 16], OpenError> {
    let head = |path: &Path| {
        let mut bytes = [0; header::LENGTH];
        let file = ReadOnlyDisk.open(path).ok()?;
        file.read_exact_at(&mut bytes, 0).ok()?;
        Some(bytes)
    };
    let wals = listing.wals.iter().map(|number| path_of(directory, *number));
    let of_wal = |path: PathBuf| FileHeader::decode(&head(&path)?).ok().map(|header| header.log_id);
    let segments = listing.segments.iter().map(|number| segment_path(directory, *number));
    let of_segment =
        |path: PathBuf| SegmentHeader::decode(&head(&path)?).ok().map(|header| header.log_id);
    let id = wals.filter_map(of_wal).next().or_else(|| segments.filter_map(of_segment).next());
    let no_id = || OpenError::damaged(directory, 0, "no file says which log it belongs to");
    id.ok_or_else(no_id)
}

/// The files as they are read.
struct Reading<'a> {
    directory: &'a Path,
    files: Arc<OpenFiles>,
    is_served: bool,
    findings: Findings,
    segments: Vec<Arc<Segment>>,
    rebuilt: Vec<Rebuilt>,
    unusable: Vec<u32>,
}

impl<'a> Reading<'a> {
    fn new(directory: &'a Path) -> Self {
        let files = OpenFiles::new(Arc::new(ReadOnlyDisk), directory.to_path_buf(), 1);
        Self {
            directory,
            files,
            is_served: false,
            findings: Findings::default(),
            segments: Vec::new(),
            rebuilt: Vec::new(),
            unusable: Vec::new(),
        }
    }

    fn open_listed(&mut self, manifest: &Manifest) -> Result<(), OpenError> {
        for listed in &manifest.segments {
            let path = segment_path(self.directory, listed.number);
            let (position, reason, is_there) = match Segment::open(listed.number, &self.files) {
                Ok(segment) if is_the_one(&segment, listed, manifest) => {
                    self.segments.push(segment);
                    continue;
                }
                Ok(_) => (0, "it is not the file that the manifest tells of".to_owned(), true),
                Err(SegmentFault::Newer(found)) => return Err(OpenError::Newer { path, found }),
                Err(SegmentFault::Foreign) => (0, SegmentFault::Foreign.to_string(), true),
                Err(SegmentFault::At(at, reason)) => (at, reason.to_owned(), true),
                Err(SegmentFault::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                    if self.is_served {
                        return Err(OpenError::io("open", &path)(error));
                    }
                    (0, "it is missing".to_owned(), false)
                }
                Err(SegmentFault::Io(error)) => (0, error.to_string(), true),
            };
            let rebuilt = if is_there { self.rebuild(listed, manifest) } else { None };
            self.unusable(listed, position, reason, rebuilt);
        }
        Ok(())
    }

    fn rebuild(&self, listed: &ListedSegment, manifest: &Manifest) -> Option<Rebuilt> {
        let (number, level, log_id) = (listed.number, listed.level, manifest.log_id);
        let header = SegmentHeader { level, log_id, number };
        rebuild(header, &self.segments, &self.files).ok().flatten()
    }

    fn unusable(
        &mut self,
        listed: &ListedSegment,
        position: u64,
        what: String,
        rebuilt: Option<Rebuilt>,
    ) {
        let (lost, repair) = match &rebuilt {
            Some(rebuilt) => {
                let Segment { trailer, index, .. } = &*rebuilt.segment;
                (
                    format!(
                        "the index; {} events of {} runs in the file can be read without it",
                        trailer.events,
                        index.len()
                    ),
                    "make the index anew in a new file, set this one aside",
                )
            }
            None => ("all events in it".to_owned(), "go on without it"),
        };
        self.findings.add(Finding {
            is_harmless: false,
            file: Some(segment::file_name(listed.number)),
            position: Some(position),
            lost_events: None,
            what,
            lost,
            repair: repair.to_owned(),
        });
        self.unusable.push(listed.number);
        if let Some(rebuilt) = rebuilt {
            self.segments.push(Arc::clone(&rebuilt.segment));
            self.rebuilt.push(rebuilt);
        }
    }

    /// A manifest of all files that are there.
    fn guess(&mut self, listing: &Listing) -> Result<Manifest, OpenError> {
        let log_id = log_id(self.directory, listing)?;
        for number in &listing.segments {
            match Segment::open(*number, &self.files) {
                Ok(segment) if segment.header.log_id == log_id => self.segments.push(segment),
                Err(SegmentFault::Newer(found)) => {
                    let path = segment_path(self.directory, *number);
                    return Err(OpenError::Newer { path, found });
                }
                Ok(_) | Err(_) => {
                    let listed = ListedSegment { number: *number, level: 0, length: 0, erased: 0 };
                    let header = SegmentHeader { level: 0, log_id, number: *number };
                    let rebuilt = rebuild(header, &self.segments, &self.files).ok().flatten();
                    let what = "it is not a whole segment of this log".to_owned();
                    self.unusable(&listed, 0, what, rebuilt);
                }
            }
        }
        let newest = listing.wals.last().copied().unwrap_or(0);
        let together = listing.wals.iter().rev().zip(0..).take_while(|(n, at)| **n + at == newest);
        let wal_first = together.last().map_or(1, |(number, _)| *number);
        let next_group = self.first_group(wal_first).unwrap_or(1);
        let segments = std::mem::take(&mut self.segments);
        let (manifest, segments) = manifest::guess(log_id, segments, wal_first, next_group);
        self.segments = segments;
        Ok(manifest)
    }

    fn first_group(&self, wal: u32) -> Option<u64> {
        let file = ReadOnlyDisk.open(&path_of(self.directory, wal)).ok()?;
        let mut bytes = [0; wal_header::LENGTH];
        file.read_exact_at(&mut bytes, 0).ok()?;
        FileHeader::decode(&bytes).ok().map(|header| header.first_group)
    }

    fn read_wals(
        &mut self,
        listing: &Listing,
        manifest: &Manifest,
        may_repeat: bool,
    ) -> Result<Salvage, OpenError> {
        let segments: Arc<[Arc<Segment>]> = self.segments.clone().into();
        let recovery = Recovery::over(manifest, segments, Some(manifest.log_id));
        let mut salvage = Salvage::over(recovery, may_repeat);
        let live = listing.wals.iter().filter(|number| **number >= manifest.wal_first);
        let mut expected = manifest.wal_first;
        for number in live {
            if *number != expected {
                self.missing_wal(expected, &mut salvage)?;
            }
            expected = number + 1;
            let is_newest = Some(number) == listing.wals.last();
            salvage.read_wal(self.directory, *number, manifest.log_id, is_newest)?;
        }
        if expected == manifest.wal_first && listing.has_manifest {
            self.missing_wal(expected, &mut salvage)?;
        }
        Ok(salvage)
    }

    fn missing_wal(&mut self, number: u32, salvage: &mut Salvage) -> Result<(), OpenError> {
        if self.is_served {
            let error = io::Error::from(io::ErrorKind::NotFound);
            return Err(OpenError::io("open", &path_of(self.directory, number))(error));
        }
        salvage.is_damaged = true;
        self.findings.add(Finding {
            is_harmless: false,
            file: Some(wal::file_name(number)),
            position: None,
            lost_events: None,
            what: "it is missing".to_owned(),
            lost: "all events in it".to_owned(),
            repair: "go on without it".to_owned(),
        });
        Ok(())
    }
}

fn is_the_one(segment: &Segment, listed: &ListedSegment, manifest: &Manifest) -> bool {
    let header = &segment.header;
    let found = (header.log_id, header.number, header.level, segment.length);
    found == (manifest.log_id, listed.number, listed.level, listed.length)
}

/// What is told of faults in streams.
struct Told<'a> {
    findings: &'a mut Findings,
    progress: &'a mut dyn FnMut(u64, u64),
    bytes: u64,
    bytes_all: u64,
}

impl Visitor for Told<'_> {
    fn reads(&self, _segment: u32) -> bool {
        true
    }

    fn fault(&mut self, fault: StreamFault) {
        let StreamFault { run, first, last, is_base, place, reason } = fault;
        let (file, position) = place.unzip();
        let mut lost = format!("events {first} to {last} of run {run}");
        if is_base {
            lost = format!("what stands for the trimmed events 1 to {last} of run {run}");
        }
        self.findings.add(Finding {
            is_harmless: false,
            lost,
            lost_events: Some((run, first, last)),
            what: reason,
            repair: match file {
                Some(_) => "leave it as it is: readers are told, and read on behind it",
                None => "nothing: readers are told",
            }
            .to_owned(),
            file,
            position,
        });
    }

    fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
        (self.progress)(self.bytes, self.bytes_all);
    }
}
