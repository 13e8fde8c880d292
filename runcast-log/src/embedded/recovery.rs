//! Rebuilding what was committed from the files, at the start.
//!
//! Tells an unfinished write, which was never acknowledged, from damage to acknowledged events, as
//! [`crate::embedded::wal`] describes. Changes nothing before it has decided.

use std::path::Path;
use std::sync::Arc;

use runcast_event::{IdError, ProducerId, RunId};

use crate::embedded::directory::{self, path_of};
use crate::embedded::disk::{Disk, DiskFile};
use crate::embedded::error::OpenError;
use crate::embedded::index::{Entry, Extent, Index};
use crate::embedded::options::Surroundings;
use crate::embedded::scan::{Found, Scan};
use crate::embedded::wal::FORMAT_VERSION;
use crate::embedded::wal::group::HEADER_LENGTH;
use crate::embedded::wal::header::{self, FileHeader, HeaderFault};
use crate::embedded::wal::record::{Note, Record, StoredAppend};
use crate::stream::{Advance, Phase, Stream};

/// What the files say.
pub(crate) struct Recovered {
    pub(crate) index: Index,
    /// The newest file, its header, and its length up to the last whole group.
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: FileHeader,
    pub(crate) length: u64,
    pub(crate) next_group: u64,
    /// Acknowledged events may have been lost, so that a new epoch has to begin.
    pub(crate) lost: bool,
}

/// How the process that had the log last left it.
#[derive(Default)]
struct LastSession {
    boot_id: String,
    relaxed: bool,
    clean: bool,
}

/// Reads a directory. The lock is held by the caller.
pub(crate) fn recover(
    directory: &Path,
    surroundings: &Surroundings,
) -> Result<Recovered, OpenError> {
    let disk = surroundings.disk.as_ref();
    let count = directory::count_files(disk, directory)?;
    let mut recovery = Recovery::default();
    let mut newest = None;
    for number in 1..=count {
        let (file, header) = recovery.open_file(disk, directory, number)?;
        let path = path_of(directory, number);
        let length = recovery.read_file(&path, &file, &header, number == count)?;
        newest = Some((file, header, length));
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
            recovery.index.add_file(Arc::clone(&file));
            (file, header, header::LENGTH as u64)
        }
    };
    let session = &recovery.session;
    let same_boot = surroundings.boot_id.as_deref().is_some_and(|id| id == session.boot_id);
    let crashed = session.relaxed && !session.clean && !same_boot;
    Ok(Recovered {
        index: recovery.index,
        file,
        header,
        length,
        next_group: recovery.next_group,
        lost: recovery.lost || crashed,
    })
}

struct Recovery {
    index: Index,
    log_id: Option<[u8; 16]>,
    next_group: u64,
    session: LastSession,
    lost: bool,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            index: Index::default(),
            log_id: None,
            next_group: 1,
            session: LastSession::default(),
            lost: false,
        }
    }
}

impl Recovery {
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
        self.index.add_file(Arc::clone(&file));
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
        loop {
            match scan.group_at(position, self.next_group).map_err(read())? {
                Found::End => break,
                Found::Group { length, records } => {
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
            // What is read now is shown to readers, so it must not be lost later.
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

    fn apply(
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
                if !self.index.delete(run) {
                    return Err(format!("a deletion of the run {run}, which does not exist"));
                }
            }
            Record::Note(Note::NewEpoch) => self.index.begin_epoch(),
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
            match self.index.entry_by_name(append.run) {
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
        let expected = match self.index.stream(&run) {
            None => Some(self.index.first_epoch),
            Some(stream) if stream.phase == Phase::Deleted => Some(stream.epoch.next()),
            Some(_) => None,
        };
        if expected != Some(append.epoch) || append.first.get() != 1 {
            return Err(does_not_follow(append));
        }
        Ok(self.index.alive(&run, || Stream::new(append.epoch)))
    }
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
