//! Segments: the runs of the index, each with its blocks.

use std::sync::Arc;

use bytes::Bytes;
use runcast_event::Offset;

use super::{Fields, InspectError, Telling, Value, fields_of_trim, hex, number, text};
use crate::embedded::base::{self, BaseFault, BasePlace};
use crate::embedded::disk::DiskFile;
use crate::embedded::error::OpenError;
use crate::embedded::extent::Extent;
use crate::embedded::scan::Scan;
use crate::embedded::segment::Segment;
use crate::embedded::segment::entry::StoredEntry;
use crate::embedded::segment::header::{self, SegmentFault};
use crate::embedded::segment::index::SegmentIndex;
use crate::embedded::wal::record::{Note, Record};
use crate::embedded::walk::walk;
use crate::stream::Phase;

impl Telling<'_, '_> {
    pub(super) fn segment(&mut self, file: Arc<dyn DiskFile>) -> Result<(), InspectError> {
        let path = self.path;
        let length = file.length().map_err(OpenError::io("look at", path))?;
        match Segment::read(file.as_ref()) {
            Ok((header, trailer, index, _)) => {
                self.whole(
                    0,
                    header::LENGTH as u64,
                    "segment",
                    vec![
                        ("number", number(header.number)),
                        ("level", number(header.level)),
                        ("log", hex(&header.log_id)),
                        ("runs", number(trailer.entries)),
                        ("events", number(trailer.events)),
                        ("epochs_begun", number(trailer.epochs_begun)),
                        ("length", number(length)),
                    ],
                )?;
                (0..index.len()).try_for_each(|at| self.entry(&file, index.entry(at)))
            }
            Err(SegmentFault::Newer(found)) => Err(self.newer(found)),
            Err(SegmentFault::Io(error)) => Err(OpenError::io("read", path)(error).into()),
            Err(fault) => {
                let position = if let SegmentFault::At(at, _) = fault { at } else { 0 };
                self.damaged(position, length, &fault.to_string())?;
                self.blocks_alone(&file)
            }
        }
    }

    fn entry(
        &mut self,
        file: &Arc<dyn DiskFile>,
        entry: StoredEntry<'_>,
    ) -> Result<(), InspectError> {
        if !self.wants(entry.name) {
            return Ok(());
        }
        let (stream, blocks) = SegmentIndex::read(entry);
        let phase = match stream.phase {
            Phase::Open => "open",
            Phase::Closed => "ended",
            Phase::Deleted => "deleted",
        };
        let (mut bytes, mut count, mut position) = (0, 0, 0);
        for block in blocks {
            if count == 0 {
                position = block.position;
            }
            bytes += u64::from(block.length);
            count += 1;
        }
        self.of_run(
            (position, bytes),
            "run",
            entry.name,
            vec![
                ("state", text(phase)),
                ("first", number(stream.first.get())),
                ("last", number(stream.last.get())),
                ("epoch", number(stream.epoch.get())),
                ("producers", number(stream.producers.all().len() as u64)),
                ("blocks", Value::Number(count)),
            ],
        )?;
        if let Some(base) = &entry.base {
            self.base(file, entry.name, entry.first, base)?;
        }
        SegmentIndex::read(entry).1.try_for_each(|block| self.block(file, entry.name, &block))
    }

    /// What stands for the events of a run before one.
    fn base(
        &mut self,
        file: &Arc<dyn DiskFile>,
        run: &str,
        first: Offset,
        base: &BasePlace,
    ) -> Result<(), InspectError> {
        let mut bytes = vec![0; base.length as usize];
        let read = file.read_exact_at(&mut bytes, base.position).map_err(BaseFault::Io);
        let place = (base.position, u64::from(base.length));
        if read.is_ok() && bytes.iter().all(|byte| *byte == 0) {
            return self.of_run(place, "erased", run, vec![("before", number(first.get()))]);
        }
        match read.and_then(|()| base::check(&bytes, run, first)) {
            Ok(base) => self.of_run(place, "trim", run, fields_of_trim(first, base)),
            Err(fault) => {
                let reason = format!("run {run}, what stands for events before {first}: {fault}");
                self.damaged(base.position, base.end(), &reason)
            }
        }
    }

    fn block(
        &mut self,
        file: &Arc<dyn DiskFile>,
        run: &str,
        block: &Extent,
    ) -> Result<(), InspectError> {
        let end = block.end();
        let mut bytes = vec![0; block.length as usize];
        if let Err(error) = file.read_exact_at(&mut bytes, block.position) {
            return self.damaged(block.position, end, &format!("block of {run}: {error}"));
        }
        let place = (block.position, u64::from(block.length));
        if bytes.iter().all(|byte| *byte == 0) {
            return self.of_run(place, "erased", run, fields_of(block));
        }
        let bytes = Bytes::from(bytes);
        let mut events = Vec::new();
        // The tag marks groups, of which there are none in a block.
        let walked = walk(&bytes, block, run, 0, |event| {
            if self.selection.events {
                events.push((event.last.get(), event.count(), event.place));
            }
            true
        });
        if let Err(fault) = walked {
            let (first, last) = (block.first, block.last());
            let reason = format!("run {run}, events {first} to {last}: {}", fault.reason);
            return self.damaged(block.position, end, &reason);
        }
        self.of_run(place, "block", run, fields_of(block))?;
        events.into_iter().try_for_each(|(offset, count, place)| {
            let position = block.position + place.start as u64;
            self.event((position, bytes.slice(place)), run, (offset, count))
        })
    }

    /// The blocks of a file of which the index cannot be read.
    fn blocks_alone(&mut self, file: &Arc<dyn DiskFile>) -> Result<(), InspectError> {
        let path = self.path;
        let read = || OpenError::io("read", path);
        let mut scan = Scan::new(Arc::clone(file), 0).map_err(read())?;
        let end = scan.length();
        // As many as an index would have.
        let (mut found, mut trims) = (Vec::new(), Vec::new());
        scan.records_between(header::LENGTH as u64, end, |position, (record, length)| {
            let append = match record {
                Record::Append(append) => append,
                Record::Note(Note::Trim { run, before, .. }) => {
                    let place = BasePlace::new((position as usize, *length));
                    return trims.push(((*run).to_owned(), *before, place));
                }
                Record::Note(_) => return,
            };
            found.push((append.run.to_owned(), Extent::block(append, position, *length)));
        })
        .map_err(read())?;
        for (run, first, base) in trims {
            if self.wants(&run) {
                self.base(file, &run, first, &base)?;
            }
        }
        found.into_iter().try_for_each(|(run, block)| self.block(file, &run, &block))
    }
}

fn fields_of(block: &Extent) -> Fields {
    vec![("first", Value::Number(block.first)), ("last", Value::Number(block.last()))]
}
