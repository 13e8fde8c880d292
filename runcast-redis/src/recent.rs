//! What this node did last: kept for a while, in case a Redis takes over that does not have it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use runcast_event::RunId;
use tokio::time::Instant;

use crate::commit::{Decision, Deed};

/// What a decision takes beside its events, about.
const DECISION_BYTES: usize = 1_024;

/// The decisions that were carried out last.
pub(crate) struct Recent {
    decisions: VecDeque<(Instant, Arc<Decision>)>,
    bytes: usize,
    bytes_max: usize,
    time_max: Duration,
}

fn bytes_of(decision: &Decision) -> usize {
    let entries: usize = decision.entries.iter().map(bytes::Bytes::len).sum();
    let deed = match &decision.deed {
        Deed::Store { records, .. } => records.iter().map(|record| record.payload.len()).sum(),
        Deed::Trim { base } => base.len(),
        Deed::Check | Deed::Delete => 0,
    };
    let producers = decision.after.stream.producers.all();
    DECISION_BYTES + entries + deed + size_of_val(producers)
}

impl Recent {
    pub(crate) fn new(bytes_max: usize, time_max: Duration) -> Self {
        Self { decisions: VecDeque::new(), bytes: 0, bytes_max, time_max }
    }

    /// Keeps a decision that was carried out, and forgets what is too old, or too much.
    pub(crate) fn keep(&mut self, decision: Decision) {
        self.bytes += bytes_of(&decision);
        self.decisions.push_back((Instant::now(), Arc::new(decision)));
        while let Some((at, decision)) = self.decisions.front()
            && (self.bytes > self.bytes_max || at.elapsed() > self.time_max)
        {
            self.bytes -= bytes_of(decision);
            self.decisions.pop_front();
        }
    }

    /// All that is kept, by run, in the order in which it was done.
    pub(crate) fn by_run(&self) -> HashMap<RunId, Vec<Arc<Decision>>> {
        let mut runs: HashMap<RunId, Vec<Arc<Decision>>> = HashMap::new();
        for (_, decision) in &self.decisions {
            runs.entry(decision.run.clone()).or_default().push(Arc::clone(decision));
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Replica;

    fn decision(run: &str, bytes: usize) -> Decision {
        let replica = Replica::none(1);
        let entries = vec![vec![0; bytes].into()];
        let run = RunId::new(run).unwrap();
        let (before, after) = (replica.clone(), replica);
        Decision { run, before, after, deed: Deed::Check, entries, is_again: false }
    }

    #[test]
    fn so_much_is_kept_and_the_newest() {
        let mut recent = Recent::new(5 * DECISION_BYTES, Duration::from_secs(60));
        for number in 0..10 {
            recent.keep(decision(&format!("r{}", number % 2), number));
        }
        let runs = recent.by_run();
        let sizes = |run: &str| {
            let decisions = &runs[&RunId::new(run).unwrap()];
            decisions.iter().map(|decision| decision.entries[0].len()).collect::<Vec<_>>()
        };
        assert_eq!((sizes("r0"), sizes("r1")), (vec![6, 8], vec![7, 9]));
        assert!(Recent::new(1 << 20, Duration::ZERO).by_run().is_empty());
    }
}
