//! The runs that a shard's viewers follow, and who follows each.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use runcast_event::RunId;
use runcast_hub::{Format, Hub, Watch};
use slab::Slab;

use super::inbox::Inbox;
use super::wheel::Tick;

/// How long a run is watched on without viewers: those who come back find its newest events in
/// memory.
const EMPTY_TICKS: u32 = 2;

/// Which of a run's readers a viewer is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Membership {
    pub(super) run: usize,
    pub(super) group: usize,
    seat: usize,
}

/// Readers who get the same bytes.
struct Group {
    format: Format,
    /// By their place in the shard.
    readers: Vec<usize>,
}

struct Run {
    /// Which of all runs that were ever here it is.
    serial: u64,
    watch: Arc<Watch>,
    groups: Vec<Group>,
    readers: usize,
    /// Which of the moments at which a run was left was its last.
    left: u64,
}

pub(super) struct Runs {
    hub: Hub,
    inbox: Arc<Inbox>,
    runs: Slab<Run>,
    by_id: HashMap<RunId, usize>,
    /// Runs that were left, and when they are let go of if nobody came.
    empty: VecDeque<(Tick, usize, u64)>,
    left: u64,
    added: u64,
}

impl Runs {
    pub(super) fn new(hub: Hub, inbox: Arc<Inbox>) -> Self {
        let (runs, by_id, empty) = (Slab::new(), HashMap::new(), VecDeque::new());
        Self { hub, inbox, runs, by_id, empty, left: 0, added: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Adds a reader of a run; gives its membership and an eye on the run.
    pub(super) fn join(
        &mut self,
        id: &RunId,
        format: Format,
        viewer: usize,
    ) -> (Membership, Arc<Watch>) {
        let at = match self.by_id.get(id) {
            Some(at) => *at,
            None => self.add(id),
        };
        let run = &mut self.runs[at];
        run.readers += 1;
        let same = run.groups.iter().position(|group| group.format == format);
        let free = || run.groups.iter().position(|group| group.readers.is_empty());
        let group = same.or_else(free).unwrap_or(run.groups.len());
        if group == run.groups.len() {
            run.groups.push(Group { format, readers: Vec::new() });
        }
        let Group { format: of, readers } = &mut run.groups[group];
        *of = format;
        readers.push(viewer);
        let membership = Membership { run: at, group, seat: readers.len() - 1 };
        (membership, Arc::clone(&run.watch))
    }

    fn add(&mut self, id: &RunId) -> usize {
        let entry = self.runs.vacant_entry();
        let at = entry.key();
        let watch = self.hub.watch(id, at as u64, Arc::clone(&self.inbox) as _);
        let (watch, groups) = (Arc::new(watch), Vec::new());
        self.added += 1;
        entry.insert(Run { serial: self.added, watch, groups, readers: 0, left: 0 });
        self.by_id.insert(id.clone(), at);
        at
    }

    /// Takes a reader out. Gives the reader that sits in its place now, and its membership.
    pub(super) fn leave(
        &mut self,
        membership: Membership,
        now: Tick,
    ) -> Option<(usize, Membership)> {
        let run = &mut self.runs[membership.run];
        let readers = &mut run.groups[membership.group].readers;
        readers.swap_remove(membership.seat);
        let moved = readers.get(membership.seat).map(|viewer| (*viewer, membership));
        run.readers -= 1;
        if run.readers == 0 {
            self.left += 1;
            run.left = self.left;
            self.empty.push_back((now.plus(EMPTY_TICKS), membership.run, self.left));
        }
        moved
    }

    /// Lets go of the runs that have been without readers for long enough.
    pub(super) fn tick(&mut self, now: Tick) {
        while let Some((due, at, left)) = self.empty.front().copied()
            && due <= now
        {
            self.empty.pop_front();
            let Some(run) = self.runs.get(at) else { continue };
            if run.readers > 0 || run.left != left {
                continue;
            }
            // The waker goes by the run's number here, so that no watch may outlive it.
            if Arc::strong_count(&run.watch) > 1 {
                self.empty.push_back((now.plus(EMPTY_TICKS), at, left));
            } else {
                self.by_id.remove(run.watch.run());
                self.runs.remove(at);
            }
        }
    }

    pub(super) fn watch(&self, membership: Membership) -> (&Arc<Watch>, Format) {
        let run = &self.runs[membership.run];
        (&run.watch, run.groups[membership.group].format)
    }

    /// A number that no other run ever has in this shard.
    pub(super) fn serial(&self, membership: Membership) -> u64 {
        self.runs[membership.run].serial
    }

    /// Groups of a run; none if it is not there any more.
    pub(super) fn groups(&self, run: usize) -> usize {
        self.runs.get(run).map_or(0, |run| run.groups.len())
    }

    /// Takes a group's readers out, to be put back when each was served.
    pub(super) fn take_readers(&mut self, run: usize, group: usize) -> Vec<usize> {
        std::mem::take(&mut self.runs[run].groups[group].readers)
    }

    pub(super) fn put_back(&mut self, run: usize, group: usize, readers: Vec<usize>) {
        self.runs[run].groups[group].readers = readers;
    }
}
