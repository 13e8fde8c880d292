//! Writing what a repair keeps into new files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use runcast_event::RunId;

use super::rebuild::Rebuilt;
use crate::embedded::directory::{NEW_SUFFIX, segment_path};
use crate::embedded::disk::{Disk as _, DiskFile, SystemDisk};
use crate::embedded::error::OpenError;
use crate::embedded::index::{Entry, Index};
use crate::embedded::joined::StoredEvent;
use crate::embedded::manifest::ListedSegment;
use crate::embedded::scan::Scan;
use crate::embedded::segment;
use crate::embedded::segment::header::{self, SegmentHeader};
use crate::embedded::segment::writer::SegmentWriter;
use crate::embedded::wal::record::{self, Record};

/// So much of a segment is copied at a time.
const COPY_BYTES: u64 = 1024 * 1024;

/// What new segments have in common.
pub(super) struct NewSegments<'a> {
    pub(super) directory: &'a Path,
    pub(super) log_id: [u8; 16],
    pub(super) tag: u64,
    pub(super) epochs_begun: u32,
    /// The number of the next one.
    pub(super) next: u32,
}

impl Drop for NewSegments<'_> {
    /// A file that was not finished goes: its room may be what is missing.
    fn drop(&mut self) {
        let _gone = SystemDisk.remove(&self.unfinished());
    }
}

impl NewSegments<'_> {
    /// What the next one is called until it is written.
    fn unfinished(&self) -> PathBuf {
        self.directory.join(format!("{}{NEW_SUFFIX}", segment::file_name(self.next)))
    }

    fn header(&self, level: u32) -> SegmentHeader {
        SegmentHeader { level, log_id: self.log_id, number: self.next }
    }

    fn create(&self) -> Result<Arc<dyn DiskFile>, OpenError> {
        let path = self.unfinished();
        SystemDisk.create(&path).map_err(OpenError::io("make", &path))
    }

    /// Gives a file that is written its name.
    fn finish(&mut self, level: u32, length: u64) -> Result<ListedSegment, OpenError> {
        let number = self.next;
        let new = self.unfinished();
        let renamed = SystemDisk.rename(&new, &segment_path(self.directory, number));
        renamed.map_err(OpenError::io("rename", &new))?;
        self.next += 1;
        Ok(ListedSegment { number, level, length, erased: 0 })
    }

    /// A segment again, with its new index.
    pub(super) fn write_rebuilt(&mut self, rebuilt: &Rebuilt) -> Result<ListedSegment, OpenError> {
        let level = rebuilt.segment.header.level;
        let file = self.create()?;
        let head = self.header(level).encode();
        let written = copy_rebuilt(rebuilt, &head, file.as_ref());
        let length = written.map_err(OpenError::io("write in", self.directory))?;
        self.finish(level, length)
    }

    /// The streams that changed in write-ahead logs: in a segment what of each is without a hole,
    /// and in as many more as there are holes.
    pub(super) fn write_changed(&mut self, index: &Index) -> Result<Vec<ListedSegment>, OpenError> {
        let mut streams: Vec<(&RunId, &Entry)> = index.changed().collect();
        streams.sort_unstable_by_key(|(run, _)| *run);
        let mut made = Vec::new();
        while !streams.is_empty() {
            let piece = made.len();
            let mut writer = SegmentWriter::new(self.create()?, &self.header(0));
            let mut with_more = Vec::new();
            let mut write = || {
                for (run, entry) in &streams {
                    if self.write_piece(index, run, entry, piece, &mut writer)? {
                        with_more.push((*run, *entry));
                    }
                }
                Ok(())
            };
            let written = write().and_then(|()| writer.finish(self.epochs_begun));
            let length = written.map_err(OpenError::io("write in", self.directory))?;
            made.push(self.finish(0, length)?);
            streams = with_more;
        }
        Ok(made)
    }

    /// Writes the events of a stream between two holes, and says whether there are more behind.
    fn write_piece(
        &self,
        index: &Index,
        run: &RunId,
        entry: &Entry,
        wanted: usize,
        writer: &mut SegmentWriter,
    ) -> io::Result<bool> {
        let (mut piece, mut next) = (0, None);
        let stream = &entry.stream;
        if wanted == 0
            && let Some(base) = entry.base()
            && let Some(file) = index.wal(base.file)
        {
            let record = base.read(file.as_ref(), run.as_str(), stream.first);
            writer.base(&record.map_err(io::Error::other)?)?;
        }
        self.each_event(index, run, entry, |event| {
            let offset = event.first();
            if offset < stream.first || next.is_some_and(|next| offset < next) {
                return Ok(());
            }
            if next.is_some_and(|next| offset > next) {
                piece += 1;
            }
            next = Some(event.last.next());
            if piece == wanted { writer.event(run, stream.born, event) } else { Ok(()) }
        })?;
        writer.end(run, stream)?;
        Ok(piece > wanted)
    }

    fn each_event(
        &self,
        index: &Index,
        run: &RunId,
        entry: &Entry,
        mut take: impl FnMut(StoredEvent) -> io::Result<()>,
    ) -> io::Result<()> {
        for extent in entry.extents() {
            let Some(file) = index.wal(extent.file) else { continue };
            let mut records = Vec::new();
            let mut scan = Scan::new(Arc::clone(file), self.tag)?;
            scan.records_between(extent.position, extent.end(), |position, (record, length)| {
                if let Record::Append(append) = record
                    && append.run == run.as_str()
                {
                    records.push((position, *length));
                }
            })?;
            for (position, length) in records {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, position)?;
                let bytes = Bytes::from(bytes);
                let Ok((Record::Append(append), _)) = record::decode(&bytes) else {
                    return Err(io::Error::other("a record has changed while it was read"));
                };
                append.events().try_for_each(|event| take(event.read(&bytes)))?;
            }
        }
        Ok(())
    }
}

fn copy_rebuilt(rebuilt: &Rebuilt, head: &[u8], to: &dyn DiskFile) -> io::Result<u64> {
    let from = rebuilt.segment.file()?;
    to.write_all_at(head, 0)?;
    let mut at = header::LENGTH as u64;
    while at < rebuilt.blocks_end {
        let mut bytes = vec![0; (rebuilt.blocks_end - at).min(COPY_BYTES) as usize];
        from.read_exact_at(&mut bytes, at)?;
        to.write_all_at(&bytes, at)?;
        at += bytes.len() as u64;
    }
    to.write_all_at(&rebuilt.index, at)?;
    at += rebuilt.index.len() as u64;
    let trailer = rebuilt.segment.trailer.encode();
    to.write_all_at(&trailer, at)?;
    to.sync()?;
    Ok(at + trailer.len() as u64)
}
