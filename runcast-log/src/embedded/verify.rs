//! Reading everything that is stored, stream by stream, to find what a reader would not get.
//!
//! Changes nothing and stops at nothing: each fault is told with the events that it costs. Memory is
//! that of the index, and of one block.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use runcast_event::RunId;

use crate::embedded::base::BaseFault;
use crate::embedded::extent::Extent;
use crate::embedded::index::Index;
use crate::embedded::plan::Source;
use crate::embedded::segment::index::{NameHash, SegmentIndex};
use crate::embedded::segment::{self, Segment};
use crate::embedded::wal;
use crate::embedded::walk::walk;
use crate::stream::{Phase, Stream};

/// Events that a reader does not get, or would get twice; or that were trimmed, and nothing stands
/// for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamFault {
    pub(crate) run: RunId,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// It is what stands for them that a reader does not get.
    pub(crate) is_base: bool,
    /// The file and the byte, if they are in one.
    pub(crate) place: Option<(String, u64)>,
    pub(crate) reason: String,
}

impl std::fmt::Display for StreamFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { run, first, last, place, reason, is_base: _ } = self;
        if let Some((file, position)) = place {
            write!(f, "{file}, byte {position}: ")?;
        }
        write!(f, "{reason}: run {run}, events {first} to {last}")
    }
}

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) streams: u64,
    pub(crate) events: u64,
}

/// A stream's events in one place.
struct Piece<'a> {
    segment: Option<&'a Arc<Segment>>,
    extent: Extent,
}

impl Piece<'_> {
    fn file(&self) -> String {
        match self.segment {
            Some(segment) => segment::file_name(segment.number()),
            None => wal::file_name(self.extent.file),
        }
    }
}

/// Who is told of what is found, and asked what to read.
pub(crate) trait Visitor {
    /// Whether a segment's blocks are read, or only their places looked at.
    fn reads(&self, segment: u32) -> bool;
    fn fault(&mut self, fault: StreamFault);
    /// So many bytes more were read.
    fn read(&mut self, bytes: u64);
}

/// Goes through all streams. The records of write-ahead logs were checked when the index was made.
///
/// # Errors
/// When a segment's file is gone, as it is when the log is served and has merged it meanwhile.
pub(crate) fn verify(index: &Index, tag: u64, visitor: &mut dyn Visitor) -> io::Result<Verified> {
    let mut verified = Verified::default();
    let mut names = Names::of(index);
    while let Some(run) = names.next() {
        let Some(stream) = index.stream(&run) else { continue };
        if stream.phase == Phase::Deleted {
            continue;
        }
        if !run.is_feed() {
            verified.streams += 1;
            verified.events += stream.kept();
        }
        verify_stream(index, tag, &run, &stream, visitor)?;
    }
    Ok(verified)
}

fn verify_stream(
    index: &Index,
    tag: u64,
    run: &RunId,
    stream: &Stream,
    visitor: &mut dyn Visitor,
) -> io::Result<()> {
    verify_base(index, run, stream, visitor)?;
    let mut next = stream.first.get();
    let missing = |first: u64, last: u64| StreamFault {
        run: run.clone(),
        first,
        last,
        is_base: false,
        place: None,
        reason: "these events are in no file".to_owned(),
    };
    for piece in pieces(index, run, stream) {
        let Extent { first, position, .. } = piece.extent;
        let last = piece.extent.last();
        if last < next && last < stream.first.get() {
            continue;
        }
        if first > next {
            visitor.fault(missing(next, first - 1));
        } else if first < next && next > stream.first.get() {
            visitor.fault(StreamFault {
                run: run.clone(),
                first,
                last: last.min(next - 1),
                is_base: false,
                place: Some((piece.file(), position)),
                reason: "these events are here and in an older file".to_owned(),
            });
        }
        if let Some(segment) = piece.segment.filter(|segment| visitor.reads(segment.number())) {
            visitor.read(piece.extent.length.into());
            if let Err((at, reason)) = check_block(segment, run, &piece.extent, tag)? {
                visitor.fault(StreamFault {
                    run: run.clone(),
                    first: first.max(stream.first.get()),
                    last,
                    is_base: false,
                    place: Some((piece.file(), at)),
                    reason,
                });
            }
        }
        next = next.max(last + 1);
    }
    if next <= stream.last.get() {
        visitor.fault(missing(next, stream.last.get()));
    }
    Ok(())
}

/// Looks at what stands for a stream's trimmed events.
fn verify_base(
    index: &Index,
    run: &RunId,
    stream: &Stream,
    visitor: &mut dyn Visitor,
) -> io::Result<()> {
    if !stream.has_base {
        return Ok(());
    }
    let (place, reason) = match index.base_place(run, stream) {
        None => (None, "what stands for these trimmed events is in no file".to_owned()),
        // As all records of write-ahead logs it was checked.
        Some((Source::Wal(..), _)) => return Ok(()),
        Some((Source::Segment(segment), _)) if !visitor.reads(segment.number()) => return Ok(()),
        Some((Source::Segment(segment), base)) => {
            visitor.read(base.length.into());
            let file = match segment.file() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
                file => file.map_err(BaseFault::Io),
            };
            let read = file.and_then(|file| base.read(file.as_ref(), run.as_str(), stream.first));
            let Err(fault) = read else { return Ok(()) };
            let place = (segment::file_name(segment.number()), base.position);
            (Some(place), format!("what stands for trimmed events is damaged: {fault}"))
        }
    };
    visitor.fault(StreamFault {
        run: run.clone(),
        first: 1,
        last: stream.first.get() - 1,
        is_base: true,
        place,
        reason,
    });
    Ok(())
}

/// Where a stream's events are, the oldest first.
fn pieces<'a>(index: &'a Index, run: &RunId, stream: &Stream) -> Vec<Piece<'a>> {
    let hash = NameHash::of(run.as_str());
    let mut pieces = Vec::new();
    for segment in index.segments().iter() {
        let Some(at) = segment.index.find(run.as_str(), hash) else { continue };
        let entry = segment.index.entry(at);
        if entry.born == stream.born {
            let blocks = SegmentIndex::read(entry).1;
            pieces.extend(blocks.map(|extent| Piece { segment: Some(segment), extent }));
        }
    }
    let unsealed = index.entry(run).map_or(&[][..], |entry| entry.extents());
    pieces.extend(unsealed.iter().map(|extent| Piece { segment: None, extent: *extent }));
    pieces
}

/// Reads a block. What is wrong with it is inside; outside is only that its file is gone.
fn check_block(
    segment: &Segment,
    run: &RunId,
    block: &Extent,
    tag: u64,
) -> io::Result<Result<(), (u64, String)>> {
    let file = match segment.file() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
        file => file,
    };
    let mut bytes = vec![0; block.length as usize];
    if let Err(error) = file.and_then(|file| file.read_exact_at(&mut bytes, block.position)) {
        return Ok(Err((block.position, error.to_string())));
    }
    let walked = walk(&Bytes::from(bytes), block, run.as_str(), tag, |_| true);
    Ok(walked.map_err(|fault| (block.position + fault.at as u64, fault.reason.to_owned())))
}

/// The names of all streams and tombstones, in order.
struct Names<'a> {
    segments: Vec<(&'a Arc<Segment>, usize)>,
    changed: std::vec::IntoIter<&'a RunId>,
    next_changed: Option<&'a RunId>,
}

impl<'a> Names<'a> {
    fn of(index: &'a Index) -> Self {
        let mut changed: Vec<&RunId> = index.changed().map(|(run, _)| run).collect();
        changed.sort_unstable();
        let mut changed = changed.into_iter();
        let next_changed = changed.next();
        Self { segments: index.segments().iter().map(|s| (s, 0)).collect(), changed, next_changed }
    }

    fn next(&mut self) -> Option<RunId> {
        let sealed = self.segments.iter().filter_map(|(segment, at)| name(segment, *at)).min();
        let name = match (sealed, self.next_changed) {
            (Some(sealed), Some(changed)) => sealed.min(changed.as_str()),
            (Some(sealed), None) => sealed,
            (None, changed) => changed?.as_str(),
        };
        let run = RunId::from_stored(name).expect("names were checked when the index was made");
        if self.next_changed == Some(&run) {
            self.next_changed = self.changed.next();
        }
        for (segment, at) in &mut self.segments {
            if self::name(segment, *at) == Some(run.as_str()) {
                *at += 1;
            }
        }
        Some(run)
    }
}

fn name(segment: &Segment, at: usize) -> Option<&str> {
    (at < segment.index.len()).then(|| segment.index.entry(at).name)
}
