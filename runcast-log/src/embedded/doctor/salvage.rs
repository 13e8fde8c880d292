//! Reading write-ahead logs past what is damaged in them: every record that is whole counts.
//!
//! What a lost record would have said is made up for as little as it takes: a stream whose events
//! begin behind others than are known has a hole there.

use std::io;
use std::path::Path;
use std::sync::Arc;

use runcast_event::{Offset, RunId};

use super::{Finding, Findings};
use crate::embedded::directory::path_of;
use crate::embedded::disk::Disk as _;
use crate::embedded::error::OpenError;
use crate::embedded::read_only::ReadOnlyDisk;
use crate::embedded::recovery::Recovery;
use crate::embedded::scan::{Found, Scan};
use crate::embedded::wal;
use crate::embedded::wal::group::HEADER_LENGTH;
use crate::embedded::wal::header::{self, FileHeader, HeaderFault};
use crate::embedded::wal::record::{Note, Record, StoredAppend};
use crate::stream::{Phase, Stream};

/// What is read of write-ahead logs.
pub(super) struct Salvage {
    pub(super) recovery: Recovery,
    pub(super) findings: Findings,
    /// Something that was acknowledged is damaged or missing.
    pub(super) is_damaged: bool,
    /// What is read may be in the segments already, because nothing says what is.
    may_repeat: bool,
}

/// A place where there is no whole group.
struct Damage {
    position: u64,
    reason: &'static str,
    /// Where the next group's header is, or the file's end.
    next: u64,
}

impl Salvage {
    pub(super) fn over(recovery: Recovery, may_repeat: bool) -> Self {
        Self { recovery, findings: Findings::default(), is_damaged: false, may_repeat }
    }

    /// Reads a file of the log with this tag.
    pub(super) fn read_wal(
        &mut self,
        directory: &Path,
        number: u32,
        log_id: [u8; 16],
        is_newest: bool,
    ) -> Result<(), OpenError> {
        let path = path_of(directory, number);
        let read = || OpenError::io("read", &path);
        let file = ReadOnlyDisk.open(&path).map_err(read())?;
        let mut bytes = [0; header::LENGTH];
        let there = file.length().map_err(read())?.min(header::LENGTH as u64) as usize;
        file.read_exact_at(&mut bytes[..there], 0).map_err(read())?;
        let wanted =
            FileHeader { version: 0, log_id, number, first_group: self.recovery.next_group };
        match FileHeader::decode(&bytes) {
            Err(HeaderFault::Newer(found)) => return Err(OpenError::Newer { path, found }),
            Ok(header) if (header.log_id, header.number) == (log_id, number) => {
                if header.first_group > self.recovery.next_group {
                    self.missing_groups(number, 0, header.first_group);
                }
            }
            Ok(_) => self.damaged(number, 0, "it belongs to another log or place", "nothing of it"),
            Err(_) => self.damaged(number, 0, "its header is damaged", "nothing by that"),
        }
        self.recovery.index.add_wal(number, Arc::clone(&file));
        let mut scan = Scan::new(file, wanted.tag()).map_err(read())?;
        self.read_groups(number, &mut scan, is_newest).map_err(read())
    }

    fn read_groups(&mut self, number: u32, scan: &mut Scan, is_newest: bool) -> io::Result<()> {
        let mut at = header::LENGTH as u64;
        loop {
            let Some(header) = scan.header_at(at)? else {
                if at >= scan.length() || scan.is_room(at)? {
                    return Ok(());
                }
                match self.pass_damage(number, scan, at, "no group's header", is_newest)? {
                    Some(next) => at = next,
                    None => return Ok(()),
                }
                continue;
            };
            if header.number > self.recovery.next_group {
                self.missing_groups(number, at, header.number);
            }
            let is_repeated = header.number < self.recovery.next_group;
            match scan.group_at(at, header.number)? {
                Found::Group { length, records, .. } => {
                    for (place, record) in records.iter().filter(|_| !is_repeated) {
                        let position = at + (HEADER_LENGTH + place) as u64;
                        self.apply(number, position, record);
                    }
                    self.recovery.next_group = self.recovery.next_group.max(header.number + 1);
                    at += length as u64;
                }
                Found::End => return Ok(()),
                Found::Fault(reason) => {
                    match self.pass_damage(number, scan, at, reason, is_newest)? {
                        Some(next) => at = next,
                        None => return Ok(()),
                    }
                    self.recovery.next_group = self.recovery.next_group.max(header.number + 1);
                }
            }
        }
    }

    /// Takes what is whole of a damaged place, and says where to go on; none at the end.
    fn pass_damage(
        &mut self,
        number: u32,
        scan: &mut Scan,
        position: u64,
        reason: &'static str,
        is_newest: bool,
    ) -> io::Result<Option<u64>> {
        let next_group = self.recovery.next_group;
        let later = scan.later_groups(position, next_group)?;
        if is_newest && later.synced_max.is_none_or(|synced| synced < next_group) {
            self.findings.add(Finding {
                is_harmless: true,
                file: Some(wal::file_name(number)),
                position: Some(position),
                lost_events: None,
                what: "a write that was not finished when the process ended".to_owned(),
                lost: "nothing that was acknowledged".to_owned(),
                repair: "cut it off, as the next start does".to_owned(),
            });
            return Ok(None);
        }
        let next = scan.next_header(position + 1)?;
        let damage = Damage { position, reason, next: next.unwrap_or(scan.length()) };
        let mut saved = 0;
        scan.records_between(position, damage.next, |at, record| {
            saved += 1;
            self.apply(number, at, record);
        })?;
        let Damage { position, reason, next: end } = damage;
        let lost = format!(
            "what is in the bytes {position} to {end} but for {saved} appends that are whole; if those \
             were the newest events of a run, nothing else tells of them"
        );
        self.damaged(number, position, reason, &lost);
        Ok(next)
    }

    fn damaged(&mut self, number: u32, position: u64, reason: &str, lost: &str) {
        self.is_damaged = true;
        self.findings.add(Finding {
            is_harmless: false,
            file: Some(wal::file_name(number)),
            position: Some(position),
            lost_events: None,
            what: reason.to_owned(),
            lost: lost.to_owned(),
            repair: "write what can be read into new files, set this one aside".to_owned(),
        });
    }

    fn missing_groups(&mut self, number: u32, position: u64, found: u64) {
        let next = self.recovery.next_group;
        self.recovery.next_group = found;
        let what = format!("the groups {next} to {} are missing before this", found - 1);
        self.damaged(number, position, &what, "what was in them");
    }

    fn apply(&mut self, file: u32, position: u64, record: &(Record<'_>, usize)) {
        match &record.0 {
            Record::Append(append) if !self.make_follow(file, append) => return,
            Record::Note(Note::Trim { run, before, .. }) => self.make_trimmable(file, run, *before),
            _ => {}
        }
        // What a note tells of may be lost: then it has nothing to say any more.
        let _nothing_to_do = self.recovery.apply(file, position, record);
    }

    /// Has a stream stand so that a trim finds all events that it gave up, also those that are lost.
    fn make_trimmable(&mut self, file: u32, name: &str, before: Offset) {
        let Ok(run) = RunId::from_stored(name) else { return };
        let index = &mut self.recovery.index;
        let last = Offset::new(before.get().saturating_sub(1));
        if index.stream(&run).is_none() {
            let epoch = index.first_epoch;
            index.begin(&run, Stream::new(epoch));
        }
        let Some(entry) = index.entry_by_name(name, file) else { return };
        if entry.stream.phase == Phase::Open {
            entry.stream.last = entry.stream.last.max(last);
        }
    }

    /// Has the stream stand as it must have stood before an append. False if the append is known.
    fn make_follow(&mut self, file: u32, append: &StoredAppend<'_>) -> bool {
        let Ok(run) = RunId::from_stored(append.run) else { return false };
        let index = &mut self.recovery.index;
        let standing = index.stream(&run).map(std::borrow::Cow::into_owned);
        let before = Offset::new(append.first.get() - 1);
        let alive = standing.filter(|stream| stream.phase != Phase::Deleted || append.begins);
        if append.begins {
            let expected = match &alive {
                None => index.first_epoch,
                Some(stream) if stream.phase == Phase::Deleted => stream.epoch.next(),
                Some(stream) if self.may_repeat && stream.born == append.epoch => return false,
                Some(_) => index.first_epoch,
            };
            let is_free = alive.is_none_or(|stream| stream.phase == Phase::Deleted);
            if !is_free || expected != append.epoch {
                // Its deletion, or what began its epoch, is lost.
                let epoch = append.epoch.get().checked_sub(1).and_then(runcast_event::Epoch::new);
                let Some(epoch) = epoch else { return false };
                index.delete(append.run, file);
                let mut tombstone = Stream::new(epoch);
                tombstone.delete();
                index.begin(&run, tombstone);
            }
            return true;
        }
        match alive {
            Some(stream) if self.may_repeat && stream.last > before => false,
            Some(stream) => {
                let Some(entry) = index.entry_by_name(append.run, file) else { return false };
                entry.stream.phase = Phase::Open;
                entry.stream.begin_epoch(append.epoch.get().saturating_sub(stream.epoch.get()));
                (entry.stream.epoch, entry.stream.last) = (append.epoch, before);
                true
            }
            None => {
                let stream = Stream { last: before, ..Stream::new(append.epoch) };
                index.begin(&run, stream);
                true
            }
        }
    }
}
