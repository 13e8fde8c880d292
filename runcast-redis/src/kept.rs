//! The streams whose states are kept: those that were asked for last, so many at most.

use std::collections::HashMap;

use runcast_event::RunId;

use crate::replica::Replica;

/// A stream as it was known last.
#[derive(Debug)]
pub(crate) struct KeptReplica {
    pub(crate) replica: Replica,
    /// Another node has changed it.
    pub(crate) is_outdated: bool,
}

#[derive(Debug)]
pub(crate) struct Kept {
    /// Those that were asked for since the others were put aside.
    recent: HashMap<RunId, KeptReplica>,
    /// The others. They are forgotten when the recent ones are put aside.
    others: HashMap<RunId, KeptReplica>,
    count_max: usize,
}

impl Kept {
    pub(crate) fn new(count_max: usize) -> Self {
        Self { recent: HashMap::new(), others: HashMap::new(), count_max: count_max.max(2) }
    }

    pub(crate) fn get(&mut self, run: &RunId) -> Option<&KeptReplica> {
        if let Some(kept) = self.others.remove(run) {
            self.recent.insert(run.clone(), kept);
        }
        self.recent.get(run)
    }

    pub(crate) fn put(&mut self, run: &RunId, replica: Replica) {
        self.others.remove(run);
        self.recent.insert(run.clone(), KeptReplica { replica, is_outdated: false });
        if self.recent.len() > self.count_max / 2 {
            self.others = std::mem::take(&mut self.recent);
        }
    }

    pub(crate) fn remove(&mut self, run: &RunId) {
        self.recent.remove(run);
        self.others.remove(run);
    }

    /// Another node has changed a stream.
    pub(crate) fn outdate(&mut self, run: &RunId) {
        for kept in [self.recent.get_mut(run), self.others.get_mut(run)].into_iter().flatten() {
            kept.is_outdated = true;
        }
    }

    /// Other nodes may have changed any.
    pub(crate) fn outdate_all(&mut self) {
        for kept in self.recent.values_mut().chain(self.others.values_mut()) {
            kept.is_outdated = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_kept_and_those_asked_for_last() {
        let run = |number: usize| RunId::new(&format!("r{number}")).unwrap();
        let mut kept = Kept::new(8);
        for number in 0..100 {
            kept.put(&run(number), Replica::none(1));
            assert!(kept.get(&run(0)).is_some(), "it is asked for all the time");
            assert!(kept.recent.len() + kept.others.len() <= 8);
        }
        assert!(kept.get(&run(50)).is_none());
        kept.outdate(&run(99));
        assert!(kept.get(&run(99)).unwrap().is_outdated && !kept.get(&run(0)).unwrap().is_outdated);
    }
}
