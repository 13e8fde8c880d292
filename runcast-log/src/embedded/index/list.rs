//! Streams in the order of their names: the map's and every segment's, as one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Bound;

use runcast_event::RunId;

use super::Index;
use crate::contract::StreamStat;
use crate::embedded::segment::Segment;
use crate::stream::Phase;

/// The next name of a source. Of two that are the same, that of the newer source comes first.
type Next<'a> = Reverse<(&'a str, Reverse<usize>)>;

/// So many names are looked at at a time, deleted ones too: the writer waits meanwhile.
const NAMES_AT_ONCE: usize = 4_096;

/// Streams in the order of their names.
pub(crate) struct Listed {
    pub(crate) streams: Vec<(RunId, StreamStat)>,
    /// The name behind which there may be more.
    pub(crate) more_after: Option<RunId>,
}

impl Index {
    /// Up to `limit` streams that are not deleted, behind a name.
    pub(crate) fn list(&self, after: Option<&RunId>, limit: usize) -> Listed {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut changed = self.names.range::<RunId, _>((start, Bound::Unbounded));
        let mut places: Vec<usize> = self.segments.iter().map(|s| first_behind(s, after)).collect();
        let map = places.len();
        let mut next: BinaryHeap<Next<'_>> = BinaryHeap::with_capacity(map + 1);
        let of_segment = |segment: usize, at: usize| {
            let index = &self.segments[segment].index;
            (at < index.len()).then(|| Reverse((index.entry(at).name, Reverse(segment))))
        };
        next.extend(changed.next().map(|run| Reverse((run.as_str(), Reverse(map)))));
        next.extend(places.iter().enumerate().filter_map(|(s, at)| of_segment(s, *at)));
        let mut listed = Listed { streams: Vec::new(), more_after: None };
        let (mut seen, mut names) = (None, 0);
        while let Some(Reverse((name, Reverse(source)))) = next.pop() {
            if source == map {
                next.extend(changed.next().map(|run| Reverse((run.as_str(), Reverse(map)))));
            } else {
                places[source] += 1;
                next.extend(of_segment(source, places[source]));
            }
            if seen.replace(name) == Some(name) {
                continue;
            }
            if listed.streams.len() == limit {
                break;
            }
            let place = places.get(source).map(|next| next - 1);
            listed.streams.extend(self.listed(name, source, place));
            names += 1;
            if names == NAMES_AT_ONCE {
                listed.more_after = RunId::from_stored(name).ok();
                break;
            }
        }
        listed
    }

    /// A stream as its newest source has it, unless it is in no list.
    fn listed(&self, name: &str, source: usize, at: Option<usize>) -> Option<(RunId, StreamStat)> {
        let (run, stream) = match (self.entries.get_key_value(name), at) {
            (Some((run, entry)), _) => (run.clone(), entry.stream.clone()),
            (None, at) => {
                let segment = &self.segments[source];
                let run = segment.index.entry(at?).run()?;
                (run, self.stream_of(segment, at?))
            }
        };
        let is_listed = !run.is_feed() && stream.phase != Phase::Deleted;
        is_listed.then(|| (run, stream.stat()))
    }
}

/// The first entry of a segment behind a name.
fn first_behind(segment: &Segment, after: Option<&RunId>) -> usize {
    let index = &segment.index;
    let Some(after) = after else { return 0 };
    let at = index.first_from(after.as_str());
    at + usize::from(at < index.len() && index.entry(at).name == after.as_str())
}
