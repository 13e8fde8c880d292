//! The runs that a shard's viewers follow, and who follows each.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use runcast_event::RunId;
use runcast_hub::{Hub, Watch};
use slab::Slab;

use super::inbox::Inbox;
use super::wheel::Tick;
use crate::transport::shape::Shape;

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
    /// Which of all groups that were ever here it is.
    serial: u64,
    shape: Arc<Shape>,
    /// By their place in the shard.
    readers: Vec<usize>,
}

struct Run {
    watch: Arc<Watch>,
    groups: Vec<Group>,
    by_shape: HashMap<Arc<Shape>, usize>,
    /// Groups without readers.
    free: Vec<usize>,
    readers: usize,
    /// Which of the moments at which a run was left was its last.
    left: u64,
}

impl Run {
    /// The group of a shape, which is made, with this serial, if there is none.
    fn group_of(&mut self, shape: Shape, serial: u64) -> usize {
        if let Some(group) = self.by_shape.get(&shape) {
            return *group;
        }
        let shape = Arc::new(shape);
        let group = Group { serial, shape: Arc::clone(&shape), readers: Vec::new() };
        let at = match self.free.pop() {
            Some(at) => {
                self.groups[at] = group;
                at
            }
            None => {
                self.groups.push(group);
                self.groups.len() - 1
            }
        };
        self.by_shape.insert(shape, at);
        at
    }
}

pub(super) struct Runs {
    hub: Hub,
    inbox: Arc<Inbox>,
    runs: Slab<Run>,
    by_id: HashMap<RunId, usize>,
    /// Runs that were left, and when they are let go of if nobody came.
    empty: VecDeque<(Tick, usize, u64)>,
    left: u64,
    /// Readers that there ever were.
    joined: u64,
}

impl Runs {
    pub(super) fn new(hub: Hub, inbox: Arc<Inbox>) -> Self {
        let (runs, by_id, empty) = (Slab::new(), HashMap::new(), VecDeque::new());
        Self { hub, inbox, runs, by_id, empty, left: 0, joined: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Adds a reader of a run; gives its membership and an eye on the run.
    pub(super) fn join(
        &mut self,
        id: &RunId,
        shape: Shape,
        viewer: usize,
    ) -> (Membership, Arc<Watch>) {
        let at = match self.by_id.get(id) {
            Some(at) => *at,
            None => self.add(id),
        };
        self.joined += 1;
        let run = &mut self.runs[at];
        run.readers += 1;
        let group = run.group_of(shape, self.joined);
        let readers = &mut run.groups[group].readers;
        readers.push(viewer);
        let membership = Membership { run: at, group, seat: readers.len() - 1 };
        (membership, Arc::clone(&run.watch))
    }

    fn add(&mut self, id: &RunId) -> usize {
        let entry = self.runs.vacant_entry();
        let at = entry.key();
        let watch = self.hub.watch(id, at as u64, Arc::clone(&self.inbox) as _);
        let (groups, by_shape, free) = (Vec::new(), HashMap::new(), Vec::new());
        entry.insert(Run { watch: Arc::new(watch), groups, by_shape, free, readers: 0, left: 0 });
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
        let Group { shape, readers, .. } = &mut run.groups[membership.group];
        readers.swap_remove(membership.seat);
        let moved = readers.get(membership.seat).map(|viewer| (*viewer, membership));
        if readers.is_empty() {
            run.by_shape.remove(shape);
            run.free.push(membership.group);
        }
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

    pub(super) fn watch(&self, of: Membership) -> &Arc<Watch> {
        &self.runs[of.run].watch
    }

    pub(super) fn shape(&self, of: Membership) -> &Arc<Shape> {
        &self.runs[of.run].groups[of.group].shape
    }

    /// A number that no other group of readers ever has in this shard.
    pub(super) fn serial(&self, of: Membership) -> u64 {
        self.runs[of.run].groups[of.group].serial
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
