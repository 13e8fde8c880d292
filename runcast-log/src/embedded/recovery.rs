//! Rebuilding what was committed from the files.
//!
//! At the start: the manifest and its segments, and over them the write-ahead logs that are not
//! sealed. Tells an unfinished write, which was never acknowledged, from damage to acknowledged
//! events, as `docs/log-format.md` describes. Changes nothing before it has decided.
//!
//! The same reading, of full write-ahead logs over the segments before them, tells a seal what to
//! write: what is sealed is what would be recovered.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use runcast_event::{IdError, ProducerId, RunId};

use crate::embedded::base::BasePlace;
use crate::embedded::directory::{self, Names, path_of, segment_path};
use crate::embedded::disk::{Disk, DiskFile};
use crate::embedded::error::OpenError;
use crate::embedded::extent::Extent;
use crate::embedded::index::{Entry, Index};
use crate::embedded::manifest::{LastSession, Manifest, ManifestFault};
use crate::embedded::open_files::OpenFiles;
use crate::embedded::options::Surroundings;
use crate::embedded::scan::{Found, Scan};
use crate::embedded::segment::Segment;
use crate::embedded::segment::header::SegmentFault;
use crate::embedded::wal::FORMAT_VERSION;
use crate::embedded::wal::group::HEADER_LENGTH;
use crate::embedded::wal::header::{self, FileHeader, HeaderFault};
use crate::embedded::wal::record::{Note, Record, StoredAppend};
use crate::stream::{Advance, Phase, Stream};

/// What the files say.
pub(crate) struct Recovered {
    pub(crate) index: Index,
    pub(crate) manifest: Manifest,
    /// The newest file, its header, and its length up to the last whole group.
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: FileHeader,
    pub(crate) length: u64,
    pub(crate) next_group: u64,
    /// Acknowledged events may have been lost, so that a new epoch has to begin.
    pub(crate) lost: bool,
    /// The newest file gives events up that are still to be erased.
    pub(crate) gives_up: bool,
}

impl Recovered {
    /// Bytes of all files.
    pub(crate) fn disk_bytes(&self) -> io::Result<u64> {
        let segments: u64 = self.manifest.segments.iter().map(|listed| listed.length).sum();
        Ok(segments + self.index.wal_bytes()?)
    }
}

/// Reads a directory. The lock is held by the caller.
pub(crate) fn recover(
    directory: &Path,
    surroundings: &Surroundings,
    files: &Arc<OpenFiles>,
) -> Result<Recovered, OpenError> {
    let disk = surroundings.disk.as_ref();
    let names = Names::read(disk, directory)?;
    let mut manifest = match names.has_manifest {
        true => read_manifest(disk, directory)?,
        false => Manifest::empty(surroundings.new_log_id),
    };
    names.check(directory, &manifest)?;
    let segments = open_segments(directory, &manifest, files)?;
    let log_id = names.has_manifest.then_some(manifest.log_id);
    let mut recovery = Recovery::over(&manifest, segments, log_id);
    let mut newest = None;
    let live: Vec<u32> =
        names.wals.iter().copied().filter(|number| *number >= manifest.wal_first).collect();
    for number in &live {
        let is_newest = Some(number) == live.last();
        recovery.gave_up.clear();
        newest = Some(recovery.read_wal(disk, directory, *number, is_newest)?);
    }
    let (file, header, length) = match newest {
        Some(newest) => newest,
        None => {
            let header = FileHeader {
                log_id: surroundings.new_log_id,
                number: 1,
                first_group: 1,
                version: FORMAT_VERSION,
            };
            let file = directory::create_file(disk, directory, &header)
                .map_err(OpenError::io("create a log file in", directory))?;
            recovery.index.add_wal(header.number, Arc::clone(&file));
            (file, header, header::LENGTH as u64)
        }
    };
    names.tidy(disk, directory, &manifest)?;
    manifest.log_id = header.log_id;
    let session = &recovery.session;
    let same_boot = surroundings.boot_id.as_deref().is_some_and(|id| id == session.boot_id);
    let crashed = session.relaxed && !session.clean && !same_boot;
    Ok(Recovered {
        index: recovery.index,
        manifest,
        file,
        header,
        length,
        next_group: recovery.next_group,
        lost: recovery.lost || crashed || names.is_unsynced,
        gives_up: !recovery.gave_up.is_empty(),
    })
}

pub(crate) fn read_manifest(disk: &dyn Disk, directory: &Path) -> Result<Manifest, OpenError> {
    let path = directory.join(crate::embedded::manifest::NAME);
    let bytes = Manifest::read(disk, directory).map_err(OpenError::io("read", &path))?;
    Manifest::decode(&bytes).map_err(|fault| match fault {
        ManifestFault::Foreign => {
            OpenError::Foreign { path, reason: "it does not begin as a manifest does".to_owned() }
        }
        ManifestFault::Newer(found) => OpenError::Newer { path, found },
        ManifestFault::Damaged => OpenError::damaged(&path, 0, "the manifest's checksum is wrong"),
    })
}

fn open_segments(
    directory: &Path,
    manifest: &Manifest,
    files: &Arc<OpenFiles>,
) -> Result<Arc<[Arc<Segment>]>, OpenError> {
    let open = |listed: &crate::embedded::manifest::ListedSegment| {
        let path = segment_path(directory, listed.number);
        let segment = Segment::open(listed.number, files).map_err(|fault| match fault {
            SegmentFault::Foreign => OpenError::Foreign {
                path: path.clone(),
                reason: "it does not begin as a segment does".to_owned(),
            },
            SegmentFault::Newer(found) => OpenError::Newer { path: path.clone(), found },
            SegmentFault::At(position, reason) => OpenError::damaged(&path, position, reason),
            SegmentFault::Io(error) => OpenError::io("read", &path)(error),
        })?;
        let header = &segment.header;
        let found = (header.log_id, header.number, header.level, segment.length);
        if found != (manifest.log_id, listed.number, listed.level, listed.length) {
            let reason = "the file is not the one that the manifest tells of";
            return Err(OpenError::damaged(&path, 0, reason));
        }
        Ok(segment)
    };
    manifest.segments.iter().map(open).collect()
}

/// Streams as they stand behind what was read so far.
pub(crate) struct Recovery {
    pub(crate) index: Index,
    log_id: Option<[u8; 16]>,
    pub(crate) next_group: u64,
    pub(crate) session: LastSession,
    lost: bool,
    /// Streams of which events were given up.
    pub(crate) gave_up: BTreeSet<RunId>,
}

impl Recovery {
    /// Begins where a manifest's segments end.
    pub(crate) fn over(
        manifest: &Manifest,
        segments: Arc<[Arc<Segment>]>,
        log_id: Option<[u8; 16]>,
    ) -> Self {
        Self {
            index: Index::over(manifest, segments),
            log_id,
            next_group: manifest.next_group,
            session: manifest.session.clone(),
            lost: false,
            gave_up: BTreeSet::new(),
        }
    }

    /// Reads the next write-ahead log: the file, its header, and its length up to the last whole
    /// group.
    pub(crate) fn read_wal(
        &mut self,
        disk: &dyn Disk,
        directory: &Path,
        number: u32,
        is_newest: bool,
    ) -> Result<(Arc<dyn DiskFile>, FileHeader, u64), OpenError> {
        let (file, header) = self.open_file(disk, directory, number)?;
        let path = path_of(directory, number);
        let length = self.read_file(&path, &file, &header, is_newest)?;
        Ok((file, header, length))
    }

    fn open_file(
        &mut self,
        disk: &dyn Disk,
        directory: &Path,
        number: u32,
    ) -> Result<(Arc<dyn DiskFile>, FileHeader), OpenError> {
        let path = path_of(directory, number);
        let file = disk.open(&path).map_err(OpenError::io("open", &path))?;
        let length = file.length().map_err(OpenError::io("look at", &path))?;
        let mut bytes = [0; header::LENGTH];
        let there = length.min(header::LENGTH as u64) as usize;
        file.read_exact_at(&mut bytes[..there], 0).map_err(OpenError::io("read", &path))?;
        let header = FileHeader::decode(&bytes).map_err(|fault| match fault {
            HeaderFault::Foreign => OpenError::Foreign {
                path: path.clone(),
                reason: "it does not begin as a write-ahead log does".to_owned(),
            },
            HeaderFault::Newer(found) => OpenError::Newer { path: path.clone(), found },
            HeaderFault::Checksum => {
                OpenError::damaged(&path, 0, "the checksum of the file's header is wrong")
            }
        })?;
        let log_id = *self.log_id.get_or_insert(header.log_id);
        if header.log_id != log_id || header.number != number {
            return Err(OpenError::damaged(&path, 0, "the file belongs to another log or place"));
        }
        if header.first_group != self.next_group {
            let reason = format!(
                "the file begins with group {}, but the one before it ends with group {}",
                header.first_group,
                self.next_group - 1
            );
            return Err(OpenError::damaged(&path, 0, reason));
        }
        self.index.add_wal(number, Arc::clone(&file));
        Ok((file, header))
    }

    /// Reads a file's groups and says where the last whole one ends.
    fn read_file(
        &mut self,
        path: &Path,
        file: &Arc<dyn DiskFile>,
        header: &FileHeader,
        newest: bool,
    ) -> Result<u64, OpenError> {
        let read = || OpenError::io("read", path);
        let mut scan = Scan::new(Arc::clone(file), header.tag()).map_err(read())?;
        let mut position = header::LENGTH as u64;
        let mut unsure = VecDeque::new();
        loop {
            match scan.group_at(position, self.next_group).map_err(read())? {
                Found::End => break,
                Found::Group { length, synced, records } => {
                    unsure.push_back((self.next_group, position));
                    while unsure.front().is_some_and(|(number, _)| *number <= synced) {
                        unsure.pop_front();
                    }
                    for (at, record) in &records {
                        let place = position + (HEADER_LENGTH + at) as u64;
                        self.apply(header.number, place, record)
                            .map_err(|reason| OpenError::damaged(path, place, reason))?;
                    }
                    self.next_group += 1;
                    position += length as u64;
                }
                Found::Fault(fault) if newest => {
                    self.cut_off(path, file, &mut scan, position, fault)?;
                    break;
                }
                Found::Fault(fault) => return Err(OpenError::damaged(path, position, fault)),
            }
        }
        if newest {
            // What is read now is shown to readers, so it must not be lost later. If a sync failed
            // before, the system may show what is not on the disk, and would not write it any more.
            let from = unsure.front().map_or(position, |(_, position)| *position);
            match write_again(file.as_ref(), from, position) {
                // A full disk keeps no log from being read.
                Err(error) if error.kind() != io::ErrorKind::StorageFull => {
                    return Err(OpenError::io("write", path)(error));
                }
                _ => {}
            }
            file.sync().map_err(OpenError::io("sync", path))?;
        }
        Ok(position)
    }

    /// Cuts an unfinished write off the newest file, if that is what it is.
    fn cut_off(
        &mut self,
        path: &Path,
        file: &Arc<dyn DiskFile>,
        scan: &mut Scan,
        position: u64,
        fault: &str,
    ) -> Result<(), OpenError> {
        let later = scan.later_groups(position, self.next_group);
        let later = later.map_err(OpenError::io("read", path))?;
        if let Some(synced) = later.synced_max
            && synced >= self.next_group
        {
            let reason = format!(
                "{fault}, in group {}; a later group says that it was on the disk",
                self.next_group
            );
            return Err(OpenError::damaged(path, position, reason));
        }
        self.lost |= later.synced_max.is_some();
        let bytes = scan.length() - position;
        tracing::warn!(
            path = %path.display(), position, bytes, fault, acknowledged = self.lost,
            "cutting off an unfinished write"
        );
        file.truncate(position).map_err(OpenError::io("cut off", path))
    }

    pub(crate) fn apply(
        &mut self,
        file: u32,
        position: u64,
        record: &(Record<'_>, usize),
    ) -> Result<(), String> {
        let (record, length) = record;
        self.session.clean = false;
        match record {
            Record::Append(append) => return self.apply_append(file, position, append, *length),
            Record::Note(Note::Delete { run }) => {
                if !self.index.delete(run, file) {
                    return Err(format!("a deletion of the run {run}, which does not exist"));
                }
                self.gave_up.insert(RunId::from_stored(run).map_err(not_an_id)?);
            }
            Record::Note(Note::Trim { run, before, base }) => {
                let place = || BasePlace { file, ..BasePlace::new((position as usize, *length)) };
                let base = (!base.is_empty()).then(place);
                if !self.index.trim(run, *before, base, file) {
                    return Err(format!("a trim of the run {run}, which has no such events"));
                }
                self.gave_up.insert(RunId::from_stored(run).map_err(not_an_id)?);
            }
            Record::Note(Note::NewEpoch { by }) => self.index.begin_epoch(*by),
            Record::Note(Note::Opened { boot_id, relaxed }) => {
                let boot_id = (*boot_id).to_owned();
                self.session = LastSession { boot_id, relaxed: *relaxed, clean: false };
            }
            Record::Note(Note::ClosedCleanly) => self.session.clean = true,
        }
        Ok(())
    }

    fn apply_append(
        &mut self,
        file: u32,
        position: u64,
        append: &StoredAppend<'_>,
        length: usize,
    ) -> Result<(), String> {
        let entry = if append.begins {
            self.begin_stream(append)?
        } else {
            match self.index.entry_by_name(append.run, file) {
                Some(entry) if follows(&entry.stream, append) => entry,
                _ => return Err(does_not_follow(append)),
            }
        };
        let producer = match append.producer {
            Some((id, epoch, next)) => Some((ProducerId::new(id).map_err(not_an_id)?, epoch, next)),
            None => None,
        };
        entry.stream.advance(&Advance {
            begins: append.begins,
            epoch: append.epoch,
            first: append.first,
            count: append.count,
            close: append.close,
            producer: producer.as_ref().map(|(id, epoch, next)| (id, *epoch, *next)),
        });
        let narrow = |number: u64| u32::try_from(number).map_err(|_| "too many events".to_owned());
        entry.push(Extent {
            first: append.first.get(),
            position,
            count: narrow(append.count)?,
            file,
            length: narrow(length as u64)?,
            events_bytes: narrow(append.events_bytes as u64)?,
        });
        Ok(())
    }

    fn begin_stream(&mut self, append: &StoredAppend<'_>) -> Result<&mut Entry, String> {
        let run = RunId::from_stored(append.run).map_err(not_an_id)?;
        let follows = match self.index.stream(&run) {
            // A name may have been forgotten, and the first epoch have grown by that, since then.
            None => append.epoch <= self.index.first_epoch,
            Some(stream) if stream.phase == Phase::Deleted => append.epoch == stream.epoch.next(),
            Some(_) => false,
        };
        if !follows || append.first.get() != 1 {
            return Err(does_not_follow(append));
        }
        Ok(self.index.begin(&run, Stream::new(append.epoch)))
    }
}

/// Writes what is in a part of a file to the same place.
fn write_again(file: &dyn DiskFile, mut from: u64, to: u64) -> io::Result<()> {
    const PIECE_BYTES: u64 = 1024 * 1024;
    while from < to {
        let mut piece = vec![0; PIECE_BYTES.min(to - from) as usize];
        file.read_exact_at(&mut piece, from)?;
        file.write_all_at(&piece, from)?;
        from += piece.len() as u64;
    }
    Ok(())
}

fn follows(stream: &Stream, append: &StoredAppend<'_>) -> bool {
    stream.phase == Phase::Open
        && stream.last.next() == append.first
        && stream.epoch == append.epoch
}

fn does_not_follow(append: &StoredAppend<'_>) -> String {
    format!(
        "events of the run {} from offset {}, which do not follow what is before them",
        append.run, append.first
    )
}

fn not_an_id(error: IdError) -> String {
    format!("an id that is none: {error}")
}
