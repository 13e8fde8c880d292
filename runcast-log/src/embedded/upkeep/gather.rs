//! Reading the events of write-ahead logs in another order than they lie in: that of the streams.
//!
//! As many extents as there is memory for are read at a time, in the order in which they lie in the
//! files, neighbours together.

use bytes::Bytes;
use runcast_event::{Offset, RunId};

use super::UpkeepError;
use crate::embedded::extent::Extent;
use crate::embedded::index::{Entry, Index};
use crate::embedded::joined::StoredEvent;
use crate::embedded::wal;
use crate::embedded::walk::walk;

/// Extents with at most this many bytes between them are read together.
const READ_GAP_BYTES_MAX: u64 = 4 * 1024;
/// The most bytes that are read in one piece, unless an extent is larger.
const READ_BYTES_MAX: u64 = 256 * 1024;

/// An extent of a stream, and the stream's place among all.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) stream: usize,
    pub(super) extent: Extent,
}

/// The extents of streams, in the streams' order, in pieces of at most about `bytes_max` bytes.
pub(super) fn pieces<'a>(
    streams: &'a [(&RunId, &Entry)],
    bytes_max: usize,
) -> impl Iterator<Item = Vec<Wanted>> + 'a {
    let all = streams.iter().enumerate().flat_map(|(stream, (_, entry))| {
        entry.extents().iter().map(move |extent| Wanted { stream, extent: *extent })
    });
    let mut all = all.peekable();
    std::iter::from_fn(move || {
        let mut piece = vec![all.next()?];
        let mut bytes = piece[0].extent.length as usize;
        while let Some(next) = all.next_if(|next| {
            bytes += next.extent.length as usize;
            bytes <= bytes_max
        }) {
            piece.push(next);
        }
        Some(piece)
    })
}

/// The bytes of each extent of a piece.
pub(super) fn read(index: &Index, piece: &[Wanted]) -> Result<Vec<Bytes>, UpkeepError> {
    let mut order: Vec<usize> = (0..piece.len()).collect();
    order.sort_unstable_by_key(|at| (piece[*at].extent.file, piece[*at].extent.position));
    // What lies between them is read and let go of.
    let bytes = piece.iter().map(|wanted| wanted.extent.length as usize).sum();
    let mut kept = Vec::with_capacity(bytes);
    let mut places = vec![0; piece.len()];
    let mut buffer = Vec::new();
    let mut rest = &order[..];
    while let Some(first) = rest.first() {
        let start = piece[*first].extent;
        let mut end = start.end();
        let together = rest.iter().take_while(|at| {
            let extent = &piece[**at].extent;
            let joins = extent.file == start.file
                && extent.position <= end + READ_GAP_BYTES_MAX
                && (extent.end() - start.position <= READ_BYTES_MAX
                    || extent.position == start.position);
            if joins {
                end = end.max(extent.end());
            }
            joins
        });
        let (together, behind) = rest.split_at(together.count());
        buffer.resize((end - start.position) as usize, 0);
        let file = index.wal(start.file).expect("an extent is in a file that was read");
        file.read_exact_at(&mut buffer, start.position).map_err(|error| {
            let name = wal::file_name(start.file);
            UpkeepError::Damaged(format!("{name}, byte {}: {error}", start.position))
        })?;
        for at in together {
            let extent = &piece[*at].extent;
            let from = (extent.position - start.position) as usize;
            places[*at] = kept.len();
            kept.extend_from_slice(&buffer[from..from + extent.length as usize]);
        }
        rest = behind;
    }
    let kept = Bytes::from(kept);
    let slice = |(wanted, place): (&Wanted, usize)| {
        kept.slice(place..place + wanted.extent.length as usize)
    };
    Ok(piece.iter().zip(places).map(slice).collect())
}

/// The events of an extent that the stream keeps.
pub(super) fn events(
    run: &RunId,
    extent: &Extent,
    bytes: &Bytes,
    tag: u64,
    first: Offset,
    mut take: impl FnMut(StoredEvent),
) -> Result<(), UpkeepError> {
    let walked = walk(bytes, extent, run.as_str(), tag, |event| {
        if event.last >= first {
            take(event.read(bytes).from(first));
        }
        true
    });
    walked.map_err(|fault| {
        let (name, position) = (wal::file_name(extent.file), extent.position + fault.at as u64);
        UpkeepError::Damaged(format!("{name}, byte {position}: {}", fault.reason))
    })
}
