//! Finding out which files make up a log when the manifest does not say it.

use std::collections::BTreeSet;
use std::sync::Arc;

use runcast_event::Epoch;

use crate::embedded::manifest::{LastSession, ListedSegment, Manifest};
use crate::embedded::segment::Segment;
use crate::embedded::segment::index::{NameHash, SegmentIndex};

/// What a manifest would say of these segments and write-ahead logs. The segments are put in order,
/// without those that a merge has replaced.
pub(super) fn guess(
    log_id: [u8; 16],
    mut segments: Vec<Arc<Segment>>,
    wal_first: u32,
    next_group: u64,
) -> (Manifest, Vec<Arc<Segment>>) {
    // What was merged more often is older; merges keep the order of what they merge.
    segments.sort_by_key(|segment| (u32::MAX - segment.header.level, segment.number()));
    let replaced: BTreeSet<u32> = segments
        .iter()
        .filter(|one| segments.iter().any(|other| is_merged_into(one, other)))
        .map(|segment| segment.number())
        .collect();
    let newest = segments.iter().map(|segment| segment.number()).max().unwrap_or(0);
    segments.retain(|segment| !replaced.contains(&segment.number()));
    let listed = segments.iter().map(|segment| ListedSegment {
        number: segment.number(),
        level: segment.header.level,
        length: segment.length,
        erased: 0,
    });
    let epochs_begun = segments.iter().map(|segment| segment.trailer.epochs_begun).max();
    let epochs_begun = epochs_begun.unwrap_or(0);
    let manifest = Manifest {
        log_id,
        wal_first,
        next_group,
        next_segment: newest + 1,
        first_epoch: Epoch::FIRST.plus(epochs_begun),
        epochs_begun,
        streams: 0,
        events: 0,
        session: LastSession::default(),
        segments: listed.collect(),
    };
    (manifest, segments)
}

/// Whether the events of one segment are in another that is newer and was merged more often.
fn is_merged_into(one: &Segment, other: &Segment) -> bool {
    let is_later = other.header.level > one.header.level
        || other.header.level == one.header.level && other.number() > one.number();
    is_later && (0..one.index.len()).any(|at| shares_events(one, at, other))
}

fn shares_events(one: &Segment, at: usize, other: &Segment) -> bool {
    let entry = one.index.entry(at);
    let Some(there) = other.index.find(entry.name, NameHash::of(entry.name)) else { return false };
    let there = other.index.entry(there);
    if there.born != entry.born {
        return false;
    }
    let mut others = SegmentIndex::read(there).1;
    SegmentIndex::read(entry).1.next().is_some_and(|block| {
        others.any(|other| other.first <= block.first && block.first <= other.last())
    })
}
