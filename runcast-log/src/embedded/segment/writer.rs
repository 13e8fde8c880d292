//! Writing a segment: streams in the order of their names, each with its events in their order.
//!
//! Nothing of it counts before the file has its name and the manifest tells of it.

use std::io;
use std::sync::Arc;

use runcast_event::{Epoch, Offset, RunId};

use crate::contract::Join;
use crate::embedded::base::BasePlace;
use crate::embedded::disk::DiskFile;
use crate::embedded::joined::{Joining, StoredEvent};
use crate::embedded::segment::BLOCK_BYTES_MAX;
use crate::embedded::segment::entry::{self, NewBlocks};
use crate::embedded::segment::header::{SegmentHeader, Trailer};
use crate::embedded::wal::record::NewBlock;
use crate::stream::Stream;

/// So much is written at once.
const WRITE_BYTES: usize = 1024 * 1024;
/// So much is written between two syncs: a disk that has to take all of a segment at once keeps the
/// syncs of appends waiting.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;

pub(crate) struct SegmentWriter {
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    /// Bytes of the file before the buffer.
    written: u64,
    synced: u64,
    entries: Vec<u8>,
    places: Vec<u8>,
    count: u32,
    events: u64,
    /// The stream that is being written: its next block and those before.
    block: Vec<StoredEvent>,
    block_bytes: usize,
    blocks: NewBlocks,
    /// What joins its events, if they may be.
    joining: Option<Joining>,
}

impl SegmentWriter {
    /// Begins in an empty file.
    pub(crate) fn new(file: Arc<dyn DiskFile>, header: &SegmentHeader) -> Self {
        Self {
            file,
            buffer: header.encode().to_vec(),
            written: 0,
            synced: 0,
            entries: Vec::new(),
            places: Vec::new(),
            count: 0,
            events: 0,
            block: Vec::new(),
            block_bytes: 0,
            blocks: NewBlocks::default(),
            joining: None,
        }
    }

    /// Adds what stands for trimmed events of the next stream, the trim's record, before its events.
    pub(crate) fn base(&mut self, record: &[u8]) -> io::Result<()> {
        debug_assert!(
            self.block.is_empty() && self.blocks.next().is_none(),
            "nothing is before it"
        );
        let place = (self.position() as usize, record.len());
        self.blocks.base = Some(BasePlace::new(place));
        self.buffer.extend_from_slice(record);
        self.write_if_full()
    }

    /// What joins the events of the next stream; none if they stay as they are.
    pub(crate) fn join_by(&mut self, join: Option<Box<dyn Join>>) {
        self.joining = join.map(Joining::new);
    }

    /// Adds an event of the stream that is being written, behind those before it.
    pub(crate) fn event(&mut self, run: &RunId, born: Epoch, event: StoredEvent) -> io::Result<()> {
        let next = match &mut self.joining {
            Some(joining) => joining.add(event),
            None => Some(event),
        };
        next.map_or(Ok(()), |event| self.put(run, born, event))
    }

    /// Whether the events of the stream that is being written are joined.
    pub(crate) fn joins(&self) -> bool {
        self.joining.is_some()
    }

    fn put(&mut self, run: &RunId, born: Epoch, event: StoredEvent) -> io::Result<()> {
        // The lengths of what is stored as one may be as much as the event.
        let bytes = event.bytes.len() + event.lengths.len();
        if self.block_bytes + bytes > BLOCK_BYTES_MAX && !self.block.is_empty() {
            self.end_block(run, born)?;
        }
        self.block_bytes += bytes;
        self.block.push(event);
        Ok(())
    }

    /// Adds a block of another segment as it is, of a stream whose events are not joined.
    pub(crate) fn block(
        &mut self,
        run: &RunId,
        born: Epoch,
        first: Offset,
        events: u32,
        record: &[u8],
    ) -> io::Result<()> {
        self.end_block(run, born)?;
        let position = self.position();
        self.buffer.extend_from_slice(record);
        self.note_block(position, first, events, record.len())
    }

    /// Ends the stream, which stands as `stream` says.
    pub(crate) fn end(&mut self, run: &RunId, stream: &Stream) -> io::Result<()> {
        if let Some(event) = self.joining.take().and_then(Joining::end) {
            self.put(run, stream.born, event)?;
        }
        self.end_block(run, stream.born)?;
        let place = u32::try_from(self.entries.len()).map_err(|_| too_large())?;
        self.places.extend_from_slice(&place.to_le_bytes());
        entry::encode(run.as_str(), stream, &self.blocks, &mut self.entries);
        self.count += 1;
        self.blocks.clear();
        Ok(())
    }

    /// Writes the index behind the blocks, makes all of it durable and says how long it is.
    pub(crate) fn finish(mut self, epochs_begun: u32) -> io::Result<u64> {
        let checksum = crc32c::crc32c(&self.entries);
        let trailer = Trailer {
            entries_bytes: u32::try_from(self.entries.len()).map_err(|_| too_large())?,
            entries: self.count,
            checksum: crc32c::crc32c_append(checksum, &self.places),
            epochs_begun,
            events: self.events,
        };
        for part in [std::mem::take(&mut self.entries), std::mem::take(&mut self.places)] {
            for piece in part.chunks(WRITE_BYTES) {
                self.buffer.extend_from_slice(piece);
                self.write_if_full()?;
            }
        }
        self.buffer.extend_from_slice(&trailer.encode());
        self.write()?;
        self.file.sync()?;
        Ok(self.written)
    }

    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn end_block(&mut self, run: &RunId, born: Epoch) -> io::Result<()> {
        let Some(first) = self.block.first().map(StoredEvent::first) else { return Ok(()) };
        let position = self.position();
        NewBlock { run: run.as_str(), born, events: &self.block }.encode(&mut self.buffer);
        let events = self.block.iter().map(StoredEvent::count).sum::<u64>();
        let events = u32::try_from(events).map_err(|_| too_large())?;
        let length = (self.position() - position) as usize;
        self.block.clear();
        self.block_bytes = 0;
        self.note_block(position, first, events, length)
    }

    fn note_block(
        &mut self,
        position: u64,
        first: Offset,
        events: u32,
        length: usize,
    ) -> io::Result<()> {
        debug_assert!(self.blocks.next().is_none_or(|next| next == first.get()), "no hole");
        let length = u32::try_from(length).map_err(|_| too_large())?;
        self.blocks.push(position, first, events, length);
        self.events += u64::from(events);
        self.write_if_full()
    }

    fn write_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() < WRITE_BYTES {
            return Ok(());
        }
        self.write()?;
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync()?;
            self.synced = self.written;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "a segment's index has at most 4 GiB")
}
