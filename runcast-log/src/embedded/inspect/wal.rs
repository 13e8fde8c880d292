//! Write-ahead logs: groups and their records.

use std::sync::Arc;

use bytes::Bytes;

use super::{Fields, InspectError, Telling, Value, fields_of_trim, hex, number, text};
use crate::embedded::disk::DiskFile;
use crate::embedded::error::OpenError;
use crate::embedded::joined::EventPlace;
use crate::embedded::number::u64_at;
use crate::embedded::scan::{Found, Scan};
use crate::embedded::wal::group::HEADER_LENGTH;
use crate::embedded::wal::header::{self, FileHeader, HeaderFault};
use crate::embedded::wal::record::{Note, Record, StoredAppend};

/// A record that is told when its file's buffer is not in use any more.
struct Told {
    position: u64,
    bytes: u64,
    kind: &'static str,
    run: String,
    fields: Fields,
    /// Offsets of its events with how many each stands for, positions and bytes.
    events: Vec<((u64, u64), u64, u64)>,
}

impl Telling<'_, '_> {
    pub(super) fn wal(&mut self, file: Arc<dyn DiskFile>) -> Result<(), InspectError> {
        let path = self.path;
        let read = || OpenError::io("read", path);
        let length = file.length().map_err(read())?;
        let mut bytes = [0; header::LENGTH];
        let there = length.min(header::LENGTH as u64) as usize;
        file.read_exact_at(&mut bytes[..there], 0).map_err(read())?;
        match FileHeader::decode(&bytes) {
            Ok(header) => self.whole(
                0,
                header::LENGTH as u64,
                "wal",
                vec![
                    ("number", number(header.number)),
                    ("version", number(header.version)),
                    ("log", hex(&header.log_id)),
                    ("first_group", number(header.first_group)),
                    ("length", number(length)),
                ],
            )?,
            Err(HeaderFault::Newer(found)) => return Err(self.newer(found)),
            Err(_) => self.damaged(0, there as u64, "the file's header is damaged")?,
        }
        // The tag is in every group too: a header that is damaged elsewhere still has it.
        let mut scan = Scan::new(Arc::clone(&file), u64_at(&bytes, 24)).map_err(read())?;
        let mut at = header::LENGTH as u64;
        while at < length {
            at = match scan.header_at(at).map_err(read())? {
                Some(header) => self.group(&file, &mut scan, at, header.number)?,
                None if scan.is_room(at).map_err(read())? => {
                    return self.whole(at, length - at, "room", Vec::new());
                }
                None => self.passed(&file, &mut scan, at, "no group's header")?,
            };
        }
        Ok(())
    }

    /// Tells a group, and where the next one is.
    fn group(
        &mut self,
        file: &Arc<dyn DiskFile>,
        scan: &mut Scan,
        at: u64,
        group: u64,
    ) -> Result<u64, InspectError> {
        let path = self.path;
        let read = || OpenError::io("read", path);
        let header = scan.header_at(at).map_err(read())?;
        let (synced, relaxed) = header.map_or((0, false), |header| (header.synced, header.relaxed));
        let (length, told) = match scan.group_at(at, group).map_err(read())? {
            Found::Group { length, records, .. } => {
                let wanted = |record: &Record<'_>| name_of(record).is_none_or(|n| self.wants(n));
                let wanted = records.iter().filter(|(_, (record, _))| wanted(record));
                let told: Vec<Told> = wanted
                    .map(|(place, record)| self.record(at + (HEADER_LENGTH + place) as u64, record))
                    .collect();
                let fields = vec![
                    ("number", Value::Number(group)),
                    ("synced", Value::Number(synced)),
                    ("relaxed", Value::Is(relaxed)),
                    ("records", Value::Number(records.len() as u64)),
                ];
                (length as u64, (fields, told))
            }
            Found::End => return Ok(scan.length()),
            Found::Fault(fault) => return self.passed(file, scan, at, fault),
        };
        self.whole(at, length, "group", told.0)?;
        told.1.into_iter().try_for_each(|told| self.tell_record(file, told))?;
        Ok(at + length)
    }

    /// Tells what is damaged and what is whole in it.
    fn passed(
        &mut self,
        file: &Arc<dyn DiskFile>,
        scan: &mut Scan,
        at: u64,
        reason: &str,
    ) -> Result<u64, InspectError> {
        let path = self.path;
        let read = || OpenError::io("read", path);
        let next = scan.next_header(at + 1).map_err(read())?.unwrap_or(scan.length());
        self.damaged(at, next, reason)?;
        let mut told = Vec::new();
        scan.records_between(at, next, |position, record| {
            if name_of(&record.0).is_none_or(|name| self.wants(name)) {
                told.push(self.record(position, record));
            }
        })
        .map_err(read())?;
        told.into_iter().try_for_each(|told| self.tell_record(file, told))?;
        Ok(next)
    }

    fn record(&self, position: u64, (record, length): &(Record<'_>, usize)) -> Told {
        let told = |kind, run: &str, fields| {
            let (bytes, run) = (*length as u64, run.to_owned());
            Told { position, bytes, kind, run, fields, events: Vec::new() }
        };
        match record {
            Record::Append(append) => {
                let mut told = told("append", append.run, fields_of(append));
                if self.selection.events {
                    let event = |event: EventPlace<'_>| {
                        let start = position + event.place.start as u64;
                        ((event.last.get(), event.count()), start, event.place.len() as u64)
                    };
                    told.events = append.events().map(event).collect();
                }
                told
            }
            Record::Note(Note::Delete { run }) => told("delete", run, Vec::new()),
            Record::Note(Note::Trim { run, before, base }) => {
                told("trim", run, fields_of_trim(*before, base))
            }
            Record::Note(Note::NewEpoch { by }) => told("new_epoch", "", vec![("by", number(*by))]),
            Record::Note(Note::Opened { boot_id, relaxed }) => {
                let fields = vec![("boot", text(*boot_id)), ("relaxed", Value::Is(*relaxed))];
                told("opened", "", fields)
            }
            Record::Note(Note::ClosedCleanly) => told("closed_cleanly", "", Vec::new()),
        }
    }

    fn tell_record(&mut self, file: &Arc<dyn DiskFile>, told: Told) -> Result<(), InspectError> {
        let Told { position, bytes, kind, run, fields, events } = told;
        if run.is_empty() {
            return self.whole(position, bytes, kind, fields);
        }
        self.of_run((position, bytes), kind, &run, fields)?;
        for (offset, position, length) in events {
            let mut event = vec![0; length as usize];
            let read = file.read_exact_at(&mut event, position);
            read.map_err(OpenError::io("read", self.path))?;
            self.event((position, Bytes::from(event)), &run, offset)?;
        }
        Ok(())
    }
}

/// The run of a record, if it has one.
fn name_of<'a>(record: &Record<'a>) -> Option<&'a str> {
    match record {
        Record::Append(append) => Some(append.run),
        Record::Note(Note::Delete { run } | Note::Trim { run, .. }) => Some(run),
        Record::Note(_) => None,
    }
}

fn fields_of(append: &StoredAppend<'_>) -> Fields {
    let mut fields = vec![
        ("first", number(append.first.get())),
        ("last", number(append.first.get() + append.count - 1)),
        ("event_bytes", number(append.events_bytes as u64)),
        ("epoch", number(append.epoch.get())),
    ];
    if append.begins {
        fields.push(("begins", Value::Is(true)));
    }
    if append.close {
        fields.push(("ends", Value::Is(true)));
    }
    if let Some((id, epoch, sequence)) = append.producer {
        fields.push(("producer", text(id)));
        fields.push(("producer_epoch", number(epoch)));
        fields.push(("producer_seq", number(sequence)));
    }
    fields
}
