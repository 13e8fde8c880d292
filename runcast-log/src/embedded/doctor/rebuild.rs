//! Making a segment's index anew from its blocks, each of which says whose events it has.
//!
//! How the streams stood is not in the blocks. It is taken from what is left of the index where that
//! agrees with the blocks, else from older segments. A block that cannot be read between two that can
//! keeps its place: its events stay an error, and no others come in their place.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use runcast_event::{Epoch, Offset, RunId};

use crate::embedded::base::BasePlace;
use crate::embedded::disk::DiskFile;
use crate::embedded::extent::Extent;
use crate::embedded::number::u64_at;
use crate::embedded::open_files::OpenFiles;
use crate::embedded::scan::Scan;
use crate::embedded::segment::Segment;
use crate::embedded::segment::entry::{self, NewBlocks, StoredEntry};
use crate::embedded::segment::header::{self, SegmentHeader, TRAILER_LENGTH, Trailer};
use crate::embedded::segment::index::{NameHash, SegmentIndex};
use crate::embedded::wal::record::{Note, Record};
use crate::stream::{Phase, Stream};

/// A segment that can be read again.
pub(super) struct Rebuilt {
    pub(super) segment: Arc<Segment>,
    /// Where the blocks end in its file.
    pub(super) blocks_end: u64,
    /// Its index as bytes.
    pub(super) index: Vec<u8>,
}

/// The blocks of one stream, and what is before them.
#[derive(Default)]
struct Found {
    /// A trim's record: the first event that it keeps, and where the record is.
    base: Option<(Offset, BasePlace)>,
    born: Option<Epoch>,
    blocks: Vec<Extent>,
}

/// How a stream stands, and where the index says that its trim's base is.
type Standing = (Stream, Option<BasePlace>);

/// Reads what is left of a segment. None when that is nothing.
pub(super) fn rebuild(
    header: SegmentHeader,
    older: &[Arc<Segment>],
    files: &Arc<OpenFiles>,
) -> io::Result<Option<Rebuilt>> {
    let file = files.get(header.number)?;
    let length = file.length()?;
    let (found, blocks_end) = blocks(&file, &header)?;
    let (stored, epochs_begun) = what_is_left(&file, blocks_end, length, &found, older)?;
    let epochs_begun = epochs_begun
        .or_else(|| older.iter().map(|segment| segment.trailer.epochs_begun).max())
        .unwrap_or(0);
    let mut streams = stored;
    for (name, found) in &found {
        if !streams.contains_key(name)
            && let Some(stream) = derived(name, found, older)
        {
            streams.insert(name.clone(), stream);
        }
    }
    if streams.is_empty() {
        return Ok(None);
    }
    for (_, base) in streams.values_mut() {
        // Behind the last block that can be read it is lost, which its flag still tells.
        base.take_if(|base| base.end() > blocks_end);
    }
    let (index, trailer) = encode(&streams, &found, epochs_begun);
    let checked = SegmentIndex::check(index.clone(), &trailer, blocks_end);
    let checked = checked.map_err(io::Error::other)?;
    let segment = Segment::rebuilt(header, trailer, checked, length, files);
    Ok(Some(Rebuilt { segment, blocks_end, index }))
}

/// All blocks that can be read, and where the last one ends.
fn blocks(
    file: &Arc<dyn DiskFile>,
    header: &SegmentHeader,
) -> io::Result<(BTreeMap<String, Found>, u64)> {
    let mut scan = Scan::new(Arc::clone(file), u64_at(&header.log_id, 8))?;
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let mut end = header::LENGTH as u64;
    let length = scan.length();
    scan.records_between(end, length, |position, (record, length)| {
        let append = match record {
            Record::Append(append) => append,
            Record::Note(Note::Trim { run, before, .. }) if RunId::from_stored(run).is_ok() => {
                let place = BasePlace::new((position as usize, *length));
                end = place.end();
                let stream = found.entry((*run).to_owned()).or_default();
                stream.base.get_or_insert((*before, place));
                return;
            }
            Record::Note(_) => return,
        };
        if append.begins || append.producer.is_some() || RunId::from_stored(append.run).is_err() {
            return;
        }
        end = position + *length as u64;
        let stream = found.entry(append.run.to_owned()).or_default();
        stream.add(append.epoch, Extent::block(append, position, *length));
    })?;
    Ok((found, end))
}

impl Found {
    fn add(&mut self, born: Epoch, block: Extent) {
        if self.born != Some(born) {
            // What was found of another stream of the name is not this one's.
            let base = self.base.filter(|_| self.born.is_none());
            *self = Self { base, born: Some(born), blocks: Vec::new() };
        }
        if let Some(last) = self.blocks.last() {
            let next = last.last() + 1;
            match (block.first.checked_sub(next), block.position.checked_sub(last.end())) {
                (Some(0), Some(0)) => {}
                (Some(events), Some(bytes)) if events > 0 && bytes > 0 => {
                    let (Ok(count), Ok(length)) = (events.try_into(), bytes.try_into()) else {
                        return;
                    };
                    let (first, position) = (next, last.end());
                    self.blocks.push(Extent { first, position, count, length, ..block });
                }
                // It does not follow: the first that was found is taken.
                _ => return,
            }
        }
        self.blocks.push(block);
    }

    /// Whether an entry tells of this base, if it can be read.
    fn has_base_of(&self, (stream, base): &Standing) -> bool {
        self.base.is_none() || self.base == base.map(|base| (stream.first, base))
    }

    /// Whether an entry tells of these blocks and this base, and of the stream what they say of it too.
    fn agrees(&self, standing: &Standing, mut listed: entry::Blocks<'_>) -> bool {
        let (Some(first), Some(last)) = (self.blocks.first(), listed.last()) else { return false };
        let (stream, _) = standing;
        let place = |block: &Extent| (block.first, block.position, block.count, block.length);
        self.has_base_of(standing)
            && self.born == Some(stream.born)
            && stream.first.get() <= first.last()
            && stream.last.get() == last.last()
            && self.blocks.iter().all(|seen| listed.any(|block| place(&block) == place(seen)))
    }
}

/// Whether a stream without blocks stands as older segments say that it may.
fn is_known(name: &str, stream: &Stream, older: &[Arc<Segment>]) -> bool {
    let before = sealed_before(name, older);
    let same = before.is_some_and(|b| b.born == stream.born && b.last == stream.last);
    same || stream.phase == Phase::Deleted
}

/// How a stream stood in older segments.
fn sealed_before(name: &str, older: &[Arc<Segment>]) -> Option<Stream> {
    let hash = NameHash::of(name);
    older.iter().rev().find_map(|segment| {
        let entry = segment.index.entry(segment.index.find(name, hash)?);
        Some(SegmentIndex::read(entry).0)
    })
}

/// Entries of the old index that can be read and agree with the blocks, and how many epochs the trailer says had begun.
fn what_is_left(
    file: &Arc<dyn DiskFile>,
    blocks_end: u64,
    length: u64,
    found: &BTreeMap<String, Found>,
    older: &[Arc<Segment>],
) -> io::Result<(BTreeMap<String, Standing>, Option<u32>)> {
    let mut streams = BTreeMap::new();
    let mut tail = [0; TRAILER_LENGTH];
    let trailer_at = length.saturating_sub(TRAILER_LENGTH as u64);
    let mut trailer = None;
    if length >= TRAILER_LENGTH as u64 {
        file.read_exact_at(&mut tail, trailer_at)?;
        trailer = Trailer::decode(&tail);
    }
    let start = trailer.and_then(|trailer| trailer_at.checked_sub(trailer.index_bytes()));
    let start = start.unwrap_or(blocks_end);
    let mut bytes = vec![0; usize::try_from(length.saturating_sub(start)).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start)?;
    let mut at = 0;
    let mut before = String::new();
    while let Some((name, standing, blocks, end)) = entry_at(&bytes, at) {
        if name <= before.as_str() || RunId::from_stored(name).is_err() {
            break;
        }
        before = name.to_owned();
        let is_right = match found.get(name) {
            Some(found) if !found.blocks.is_empty() => found.agrees(&standing, blocks),
            Some(found) if !found.has_base_of(&standing) => false,
            // Its trim's record says where it ends.
            Some(_) if standing.0.kept() == 0 => true,
            _ => is_known(name, &standing.0, older),
        };
        if is_right {
            streams.insert(name.to_owned(), standing);
        }
        at = end;
    }
    Ok((streams, trailer.map(|trailer| trailer.epochs_begun)))
}

fn entry_at(bytes: &[u8], at: usize) -> Option<(&str, Standing, entry::Blocks<'_>, usize)> {
    let stored = StoredEntry::decode(bytes, at)?;
    let (stream, blocks, end) = stored.read()?;
    Some((stored.name, (stream, stored.base), blocks, end))
}

/// How a stream stands as far as its blocks, its base and older segments say.
fn derived(name: &str, found: &Found, older: &[Arc<Segment>]) -> Option<Standing> {
    let before = sealed_before(name, older);
    let before = before.filter(|stream| {
        stream.phase != Phase::Deleted && found.born.is_none_or(|born| born == stream.born)
    });
    let mut stream = match before {
        Some(stream) => stream,
        None => Stream::new(found.born?),
    };
    let trimmed = found.base.map_or(0, |(first, _)| first.get().saturating_sub(1));
    let last = found.blocks.last().map_or(0, Extent::last);
    stream.last = stream.last.max(Offset::new(last.max(trimmed)));
    stream.phase = Phase::Open;
    let base = found.base.filter(|(first, _)| stream.trim(*first, true));
    Some((stream, base.map(|(_, place)| place)))
}

fn encode(
    streams: &BTreeMap<String, Standing>,
    found: &BTreeMap<String, Found>,
    epochs_begun: u32,
) -> (Vec<u8>, Trailer) {
    let (mut entries, mut places, mut events) = (Vec::new(), Vec::new(), 0);
    for (name, (stream, base)) in streams {
        let mut blocks = NewBlocks::default();
        blocks.base = *base;
        for block in found.get(name).map_or(&[][..], |found| &found.blocks) {
            blocks.push(block.position, Offset::new(block.first), block.count, block.length);
            events += u64::from(block.count);
        }
        places.extend_from_slice(&(entries.len() as u32).to_le_bytes());
        entry::encode(name, stream, &blocks, &mut entries);
    }
    let entries_bytes = entries.len() as u32;
    entries.extend_from_slice(&places);
    let trailer = Trailer {
        entries_bytes,
        entries: streams.len() as u32,
        checksum: crc32c::crc32c(&entries),
        epochs_begun,
        events,
    };
    (entries, trailer)
}
